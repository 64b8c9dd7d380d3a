import numpy as np
import pytest
from scipy.stats import binomtest

from causal_assets.estimators.moments import Moments
from causal_assets.estimators.randomized import difference_in_means
from causal_assets.estimators.stratified import poststratified

LEVELS = np.array([0.0, 3.0, 8.0])
SHARES = np.array([0.5, 0.3, 0.2])
EFFECTS = np.array([0.0, 0.5, 1.0])  # average 0.35


def _world(rng, n=600, truth=0.35, treated=(0.5, 0.5, 0.5)):
    stratum = rng.choice(3, n, p=SHARES)
    d = rng.random(n) < np.asarray(treated)[stratum]
    y = LEVELS[stratum] + d * (EFFECTS[stratum] + truth - 0.35) + rng.normal(size=n)
    return y, d, stratum


def _fit(y, d, stratum, **options):
    arms = {str(s): (Moments.of(y[~d & (stratum == s)]), Moments.of(y[d & (stratum == s)])) for s in np.unique(stratum)}
    return poststratified(arms, outcome="y", **options)


@pytest.mark.parametrize("treated", [(0.5, 0.5, 0.5), (0.8, 0.5, 0.1)])
@pytest.mark.parametrize("truth", [0.35, 0.0])
def test_the_planted_effect_is_recovered_with_honest_errors_at_any_shares(truth, treated):
    rng = np.random.default_rng(round(100 * truth + 10 * treated[0]))
    results = [_fit(*_world(rng, truth=truth, treated=treated)) for _ in range(400)]
    errors = np.array([r.value - truth for r in results])
    assert abs(errors.mean()) / errors.std() < 0.15
    assert 0.93 < np.mean([r.std_error for r in results]) / errors.std() < 1.07
    assert binomtest(sum(r.covers(truth) for r in results), 400, 0.93, alternative="less").pvalue > 0.05


def test_many_small_strata_do_not_inflate_the_error():
    rng = np.random.default_rng(4)
    stratum, d = np.repeat(np.arange(40), 6), np.tile(np.arange(6) < 3, 40)
    results = [_fit(rng.normal(size=240), d, stratum) for _ in range(400)]
    assert 0.93 < np.mean([r.std_error for r in results]) / np.std([r.value for r in results]) < 1.07


def test_strata_that_explain_the_outcome_shorten_the_interval_and_ignoring_their_shares_is_wrong():
    y, d, stratum = _world(np.random.default_rng(5), n=6_000, treated=(0.8, 0.5, 0.1))
    pooled = difference_in_means(Moments.of(y[~d]), Moments.of(y[d]), outcome="y")
    result = _fit(y, d, stratum)
    assert result.std_error < 0.5 * pooled.std_error
    assert not pooled.low < 0.35 < pooled.high and result.covers(0.35)


def test_it_is_the_regression_with_every_stratum_centred_and_interacted():
    import statsmodels.api as sm

    y, d, stratum = _world(np.random.default_rng(6))
    dummies = (stratum[:, None] == [1, 2]) - np.array([(stratum == s).mean() for s in (1, 2)])
    design = np.column_stack([np.ones(y.size), d, dummies, d[:, None] * dummies])
    reference = sm.OLS(y, design).fit(cov_type="HC2")  # given the strata's shares
    result = _fit(y, d, stratum)
    assert result.value == pytest.approx(reference.params[1], rel=1e-10)
    assert result.control_mean == pytest.approx(reference.params[0], rel=1e-10)
    assert reference.bse[1] <= result.std_error < 1.03 * reference.bse[1]


def test_one_stratum_is_welch():
    y, d, _ = _world(np.random.default_rng(7))
    welch = difference_in_means(Moments.of(y[~d]), Moments.of(y[d]), outcome="y")
    result = _fit(y, d, np.zeros(y.size))
    assert (result.value, result.low, result.p_value) == pytest.approx((welch.value, welch.low, welch.p_value))
    assert result.relative_high == pytest.approx(welch.relative_high)


def test_order_labels_shift_scale_and_swap_change_nothing_they_should_not():
    y, d, stratum = _world(np.random.default_rng(8))
    base, swapped = _fit(y, d, stratum), _fit(y, ~d, stratum)
    assert (swapped.value, swapped.std_error) == pytest.approx((-base.value, base.std_error), rel=1e-9)
    order = np.random.default_rng(9).permutation(y.size)
    relabelled = _fit(y[order], d[order], 9 - stratum[order])
    assert (relabelled.value, relabelled.std_error) == pytest.approx((base.value, base.std_error), rel=1e-10)
    moved = _fit(100 * y + 1e9, d, stratum)
    assert moved.std_error == pytest.approx(100 * base.std_error, rel=1e-6)


def test_empty_small_and_constant_strata_are_refused():
    y, d, _ = _world(np.random.default_rng(10), n=60)
    one = Moments.of([1.0])
    with pytest.raises(ValueError, match=r"each needs 2 units in each arm, merge new \(1 control, 60 treated\)"):
        poststratified({"new": (one, Moments.of(y))}, outcome="y")
    with pytest.raises(ValueError, match="strata: expected at least one"):
        poststratified({}, outcome="y")
    with pytest.raises(ValueError, match="positive variance"):
        _fit(np.ones(60), d, np.zeros(60))
