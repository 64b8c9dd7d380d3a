import numpy as np
import pytest
from scipy.stats import binomtest

from causal_assets.estimators.moments import Moments
from causal_assets.estimators.randomized import difference_in_means
from causal_assets.estimators.triggered import diluted

N = 2_000
SEEDS = 1_000  # so that a right ratio of errors strays by 2%
SHARE = 0.1


def _world(rng, effect=0.5, n=N):
    """Outcome and covariate, who triggers, who is treated; those who trigger spend more."""
    triggers, d = rng.random(n) < SHARE, rng.random(n) < 0.5
    x = rng.normal(size=n)
    y = 5 + 2 * triggers + x + rng.normal(size=n) + effect * (triggers & d)
    return np.column_stack([y, x]), triggers, d


def _fit(rows, triggers, d, columns=(0,), **options):
    control, treated = (Moments.of(rows[triggers & arm][:, columns]) for arm in (~d, d))
    everyone = Moments.of(rows[~d][:, 0])
    return diluted(control, treated, all_control=everyone, n_all_treated=int(d.sum()), outcome="y", **options)


@pytest.mark.parametrize("columns", [(0,), (0, 1)])
@pytest.mark.parametrize("effect", [0.5, 0.0, 5.0])
def test_the_diluted_effect_and_its_relative_twin_are_recovered_with_honest_errors(effect, columns):
    rng = np.random.default_rng(int(10 * effect) + len(columns))
    truth = SHARE * effect
    results = [_fit(*_world(rng, effect), columns) for _ in range(SEEDS)]
    errors = np.array([r.value - truth for r in results])
    assert abs(errors.mean()) / errors.std() < 0.15
    assert 0.93 < np.mean([r.std_error for r in results]) / errors.std() < 1.07
    relative = truth / (5 + 2 * SHARE)
    for covered in (
        sum(r.covers(truth) for r in results),
        sum(r.relative_low <= relative <= r.relative_high for r in results),
    ):
        assert binomtest(covered, SEEDS, 0.93, alternative="less").pvalue > 0.05


def test_it_is_the_effect_on_all_units_more_precisely():
    rows, triggers, d = _world(np.random.default_rng(1))
    result = _fit(rows, triggers, d)
    everyone = difference_in_means(Moments.of(rows[~d][:, 0]), Moments.of(rows[d][:, 0]), outcome="y")
    assert result.std_error < 0.6 * everyone.std_error
    assert everyone.low < result.value < everyone.high
    assert (result.n_treated, result.n_control, result.control_mean) == (
        everyone.n_treated,
        everyone.n_control,
        pytest.approx(everyone.control_mean),
    )


def test_its_p_value_is_that_of_the_effect_on_the_triggered_and_agrees_with_both_intervals():
    for seed in range(40):
        rows, triggers, d = _world(np.random.default_rng(seed), effect=0.25)
        result = _fit(rows, triggers, d)
        arms = (Moments.of(rows[triggers & arm][:, 0]) for arm in (~d, d))
        assert result.p_value == pytest.approx(difference_in_means(*arms, outcome="y").p_value, rel=1e-12)
        assert result.covers(0.0) == (result.p_value > 0.05)
        assert (result.relative_low <= 0 <= result.relative_high) == result.covers(0.0)


def test_where_every_unit_triggers_it_is_the_difference_in_means():
    rows, _, d = _world(np.random.default_rng(2))
    result = _fit(rows, np.ones(N, dtype=bool), d)
    plain = difference_in_means(Moments.of(rows[~d][:, 0]), Moments.of(rows[d][:, 0]), outcome="y")
    for name in ("value", "std_error", "low", "high", "p_value", "relative_low", "relative_high"):
        assert getattr(result, name) == pytest.approx(getattr(plain, name), rel=1e-9)


def test_order_shift_scale_and_swap_do_what_they_should():
    rows, triggers, d = _world(np.random.default_rng(3))
    base = _fit(rows, triggers, d)
    order = np.random.default_rng(4).permutation(N)
    assert _fit(rows[order], triggers[order], d[order]).low == pytest.approx(base.low, rel=1e-9)
    swapped, scaled = _fit(rows, triggers, ~d), _fit(100 * rows + 1e6, triggers, d)
    assert (swapped.value, swapped.low, swapped.high) == pytest.approx((-base.value, -base.high, -base.low), rel=1e-9)
    assert (scaled.low, scaled.high) == pytest.approx((100 * base.low, 100 * base.high), rel=1e-7)


def test_impossible_counts_and_a_share_that_nobody_knows_are_refused():
    rows, triggers, d = _world(np.random.default_rng(5))
    control, treated = (Moments.of(rows[triggers & arm][:, 0]) for arm in (~d, d))
    with pytest.raises(ValueError, match="at most all units"):
        diluted(control, treated, all_control=control, n_all_treated=3, outcome="y")
    two = Moments.of([1.0, 2.0]), Moments.of([1.0, 3.0])
    with pytest.raises(ValueError, match="4 of 8000 units are too few to know their share"):
        diluted(*two, all_control=Moments.of(np.arange(4_000.0)), n_all_treated=4_000, outcome="y")
    with pytest.raises(ValueError, match="level must lie strictly between 0 and 1, got 95"):
        _fit(rows, triggers, d, level=95)
