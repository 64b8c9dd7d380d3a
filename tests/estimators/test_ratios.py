import numpy as np
import pytest
from scipy.stats import binomtest

from causal_assets.estimators.moments import Moments
from causal_assets.estimators.randomized import difference_in_means
from causal_assets.estimators.ratios import difference_in_ratios

SEEDS = 400
UNITS = 1_500


def _baskets(rng, units, lift=0.0):
    """Rows (unit, spend): heavy users buy more often and spend more per basket; ``lift`` is added to every basket."""
    habit = rng.gamma(2.0, 1.0, units)
    baskets = 1 + rng.poisson(habit)
    unit = np.repeat(np.arange(units), baskets)
    spend = 5 + 2 * habit[unit] + lift + rng.normal(0, 2, unit.size)
    return unit, spend, habit


def _units(unit, spend, habit):
    """Per unit: spend, baskets, and a covariate from before."""
    return np.column_stack([np.bincount(unit, weights=spend), np.bincount(unit), habit])


def _sums(rng, lift=0.0):
    return _units(*_baskets(rng, UNITS, lift))


def _fit(control, treated, columns=(0, 1), **options):
    arms = (Moments.of(rows[:, columns]) for rows in (control, treated))
    return difference_in_ratios(*arms, outcome="spend per basket", **options)


@pytest.mark.parametrize("columns", [(0, 1), (0, 1, 2)])
@pytest.mark.parametrize("truth", [0.4, 0.0])
def test_the_planted_lift_per_basket_is_recovered_with_honest_errors(columns, truth):
    rng = np.random.default_rng(int(10 * truth))
    results = [_fit(_sums(rng), _sums(rng, truth), columns) for _ in range(SEEDS)]
    errors = np.array([r.value - truth for r in results])
    assert abs(errors.mean()) / errors.std() < 0.15
    assert 0.93 < np.mean([r.std_error for r in results]) / errors.std() < 1.07
    assert binomtest(sum(r.covers(truth) for r in results), SEEDS, 0.93, alternative="less").pvalue > 0.05


def test_a_covariate_of_before_shortens_the_interval():
    rng = np.random.default_rng(0)
    control, treated = _sums(rng), _sums(rng)
    assert _fit(control, treated, (0, 1, 2)).std_error < 0.8 * _fit(control, treated).std_error


def test_baskets_duplicated_within_their_unit_change_neither_estimate_nor_error():
    rng = np.random.default_rng(1)
    control, treated = _sums(rng), _sums(rng, 0.3)
    once, twice = _fit(control, treated), _fit(control * [2, 2, 1], treated * [2, 2, 1])
    assert twice.value == pytest.approx(once.value, rel=1e-12)
    assert twice.std_error == pytest.approx(once.std_error, rel=1e-12)


def test_the_error_is_that_of_a_bootstrap_over_units():
    rng = np.random.default_rng(2)
    control, treated = _sums(rng), _sums(rng, 0.3)
    draws = []
    for rows in (control, treated):
        counts = rng.multinomial(UNITS, np.full(UNITS, 1 / UNITS), size=6_000)
        sums = counts @ rows[:, :2]
        draws.append(sums[:, 0] / sums[:, 1])
    assert _fit(control, treated).std_error == pytest.approx((draws[1] - draws[0]).std(), rel=0.03)


def test_the_ratio_is_that_of_totals_not_the_mean_of_the_units_ratios():
    rng = np.random.default_rng(3)
    control, treated = _sums(rng), _sums(rng)
    result = _fit(control, treated)
    assert result.control_mean == pytest.approx(control[:, 0].sum() / control[:, 1].sum(), rel=1e-12)
    assert abs(result.control_mean - (control[:, 0] / control[:, 1]).mean()) > 5 * result.std_error


def test_the_estimate_and_error_are_tea_tastings():
    import pyarrow as pa
    import tea_tasting as tt

    rng = np.random.default_rng(4)
    control, treated = _sums(rng), _sums(rng, 0.3)
    rows = np.vstack([control, treated])
    variant = np.repeat([0, 1], UNITS)
    data = pa.table({"variant": variant, "spend": rows[:, 0], "baskets": rows[:, 1]})
    metric = tt.RatioOfMeans("spend", "baskets", use_t=True, equal_var=False)
    theirs = tt.Experiment(ratio=metric).analyze(data)["ratio"]
    ours = _fit(control, treated)
    assert ours.value == pytest.approx(theirs.effect_size, rel=1e-10)
    assert (ours.low, ours.high) == pytest.approx((theirs.effect_size_ci_lower, theirs.effect_size_ci_upper), rel=1e-6)


def test_a_denominator_of_one_makes_it_the_difference_in_means():
    rows = np.column_stack([np.random.default_rng(5).normal(3, 1, (400, 1)), np.ones(400)])
    ratio = _fit(rows[:150], rows[150:])
    means = difference_in_means(*(Moments.of(arm[:, 0]) for arm in (rows[:150], rows[150:])), outcome="y")
    assert (ratio.value, ratio.std_error, ratio.p_value) == pytest.approx(
        (means.value, means.std_error, means.p_value), rel=1e-10
    )


def test_swap_scale_and_partitions_do_what_they_should():
    rng = np.random.default_rng(6)
    control, treated = _sums(rng), _sums(rng, 0.3)
    base, swapped = _fit(control, treated), _fit(treated, control)
    assert (swapped.value, swapped.p_value) == pytest.approx((-base.value, base.p_value), rel=1e-9)
    scaled = _fit(control * [100, 1, 1], treated * [100, 1, 1])
    assert (scaled.value / 100, scaled.p_value) == pytest.approx((base.value, base.p_value), rel=1e-9)
    parts = [Moments.of(part[:, :2]) for part in np.split(control, [3, 700])]
    merged = difference_in_ratios(parts[0].merge(parts[1]).merge(parts[2]), Moments.of(treated[:, :2]), outcome="y")
    assert merged.std_error == pytest.approx(base.std_error, rel=1e-10)
    order = rng.permutation(UNITS)
    assert _fit(control[order], treated).value == pytest.approx(base.value, rel=1e-12)


def test_a_denominator_that_may_be_zero_and_a_missing_one_are_refused():
    rng = np.random.default_rng(7)
    good = rng.normal(5, 1, (100, 2))
    for bad in (good * [1, -1], np.column_stack([good[:, 0], rng.normal(0.5, 1, 100)])):
        with pytest.raises(ValueError, match="treated arm: the denominator's mean must be positive and known to 10%"):
            _fit(good, bad)
    with pytest.raises(ValueError, match="a ratio needs columns numerator and denominator, got 1"):
        difference_in_ratios(Moments.of(good[:, 0]), Moments.of(good[:, 0]), outcome="y")
    with pytest.raises(ValueError, match="zero variance in both arms"):
        _fit(np.ones((9, 2)), np.ones((9, 2)))
