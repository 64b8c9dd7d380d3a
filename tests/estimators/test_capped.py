import numpy as np
import pytest
from scipy.stats import binomtest, norm

from causal_assets.estimators.capped import difference_in_capped_means, pooled_cap
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.randomized import difference_in_means

SEEDS = 400
N = 2_000


def _revenue(rng, effect=0.0, n=N):
    """Lognormal revenue, multiplied by e^effect for the treated half."""
    d = np.arange(n) % 2
    return np.exp(rng.normal(0, 2, n) + effect * d), d


def _capped_mean(cap, shift):
    """E min(e^(shift + 2 z), cap)."""
    z = (np.log(cap) - shift) / 2
    return np.exp(shift + 2) * norm.cdf(z - 2) + cap * norm.sf(z)


def _fit(y, d, **options):
    return difference_in_capped_means(y, d, outcome="revenue", **options)


@pytest.mark.parametrize("effect", [0.2, 0.0])
def test_the_effect_on_the_capped_mean_is_recovered_with_honest_errors(effect):
    rng = np.random.default_rng(int(10 * effect))
    truth = _capped_mean(20.0, effect) - _capped_mean(20.0, 0.0)
    results = [_fit(*_revenue(rng, effect), cap=20.0) for _ in range(SEEDS)]
    errors = np.array([r.value - truth for r in results])
    assert abs(errors.mean()) / errors.std() < 0.15
    assert 0.93 < np.mean([r.std_error for r in results]) / errors.std() < 1.07
    assert binomtest(sum(r.covers(truth) for r in results), SEEDS, 0.93, alternative="less").pvalue > 0.05


def test_a_quantile_cap_covers_the_capped_mean_at_that_cap():
    rng = np.random.default_rng(7)
    covered = 0
    for _ in range(SEEDS):
        y, d = _revenue(rng, 0.2)
        cap = pooled_cap(y, 0.95)
        covered += _fit(y, d, quantile=0.95).covers(_capped_mean(cap, 0.2) - _capped_mean(cap, 0.0))
    assert binomtest(covered, SEEDS, 0.93, alternative="less").pvalue > 0.05


def test_one_cap_is_taken_from_both_arms_before_the_split():
    # The treatment moves only the top of one arm: caps per arm would differ and hide it or make it up.
    rng = np.random.default_rng(1)
    y, d = _revenue(rng)
    y = np.where((d == 1) & (y > np.quantile(y[d == 1], 0.99)), 50 * y, y)
    cap = pooled_cap(y, 0.99)
    assert cap == np.sort(y)[int(np.ceil(0.99 * N)) - 1]
    assert pooled_cap(y[d == 1], 0.99) != pooled_cap(y[d == 0], 0.99)
    result, swapped = _fit(y, d, quantile=0.99), _fit(y, 1 - d, quantile=0.99)
    assert result.estimand == swapped.estimand == f"ATE on the mean capped at {cap:g}"
    assert swapped.value == -result.value
    assert (swapped.low, swapped.high) == pytest.approx((-result.high, -result.low), rel=1e-12)
    assert result.value == pytest.approx(np.minimum(y[d == 1], cap).mean() - np.minimum(y[d == 0], cap).mean())


def test_with_the_cap_in_the_query_moments_give_the_same():
    y, d = _revenue(np.random.default_rng(2))
    x = np.log(y) + np.random.default_rng(3).normal(size=N)
    rows = np.column_stack([np.minimum(y, 9.0), x])
    expected = difference_in_means(Moments.of(rows[d == 0]), Moments.of(rows[d == 1]), outcome="revenue")
    ours = _fit(y, d, cap=9.0, covariates=x[:, None])
    assert (ours.value, ours.std_error) == (expected.value, expected.std_error)


def test_row_order_and_scale_change_nothing_they_should_not():
    y, d = _revenue(np.random.default_rng(4), 0.3)
    base = _fit(y, d, quantile=0.95)
    order = np.random.default_rng(5).permutation(N)
    assert _fit(y[order], d[order], quantile=0.95).value == pytest.approx(base.value, rel=1e-12)
    scaled = _fit(100 * y, d, quantile=0.95)
    assert (scaled.value / 100, scaled.p_value) == pytest.approx((base.value, base.p_value), rel=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "expected exactly one of them, got None and None"),
        ({"cap": 1.0, "quantile": 0.9}, "expected exactly one of them, got 1.0 and 0.9"),
        ({"cap": np.inf}, "cap: expected a finite number, got inf"),
        ({"quantile": 1.0}, "quantile: expected a number strictly between 0 and 1, got 1.0"),
        ({"cap": 0.1}, "zero variance in both arms"),
        ({"cap": 1.0, "covariates": np.ones(3)}, "covariates, y"),
    ],
)
def test_bad_caps_are_refused_by_name(options, message):
    y, d = np.arange(1.0, 21.0), np.arange(20) % 2
    with pytest.raises(ValueError, match=message):
        _fit(y, d, **options)
    with pytest.raises(ValueError, match="expected a 0 or 1"):
        _fit(y, d + 1, cap=3.0)
    with pytest.raises(ValueError, match="finite outcomes"):
        _fit(np.where(y > 19, np.nan, y), d, cap=3.0)
