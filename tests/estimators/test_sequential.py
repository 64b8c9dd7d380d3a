import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from causal_assets.estimators.inference import estimate, fieller
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.randomized import difference_in_means
from causal_assets.estimators.sequential import (
    confidence_sequence,
    critical_value,
    intersection,
    p_values,
    running,
)

LOOKS, BATCH = 28, 100
PLANNED = 2 * LOOKS * BATCH


def _paths(rng, paths, effect):
    """Differences in means and their errors (paths, looks), from normal sums and squares of batches of 100 an arm."""
    arms = []
    for mean in (0.0, effect):
        sums = rng.normal(mean * BATCH, np.sqrt(BATCH), size=(paths, LOOKS))
        squares = rng.chisquare(BATCH - 1, size=(paths, LOOKS)) + sums**2 / BATCH
        n = BATCH * np.arange(1, LOOKS + 1)
        total, square = sums.cumsum(axis=1), squares.cumsum(axis=1)
        arms.append((total / n, (square - total**2 / n) / (n - 1) / n))
    (m0, v0), (m1, v1) = arms
    return m1 - m0, np.sqrt(v0 + v1)


def _look(n=400, effect=0.3, seed=0, shift=1.0, scale=1.0, **options):
    rng = np.random.default_rng(seed)
    control, treated = (scale * (rng.normal(mean, size=n) + shift) for mean in (0.0, effect))
    return difference_in_means(Moments.of(control), Moments.of(treated), outcome="y", **options)


@pytest.mark.parametrize("truth", [0.0, 0.1])
def test_no_more_than_a_twentieth_of_paths_ever_excludes_the_truth_though_looked_at_28_times(truth):
    value, error = _paths(np.random.default_rng(11), 20_000, truth)
    n = 2 * BATCH * np.arange(1, LOOKS + 1)
    off = np.abs(value - truth) / error
    ever = (off > critical_value(n, planned_n=PLANNED, level=0.95)).any(axis=1).mean()
    assert ever <= 0.055
    assert (off > norm.ppf(0.975)).any(axis=1).mean() > 0.2  # the fixed interval, looked at as often
    if truth == 0:
        p = p_values(value / error, n, planned_n=PLANNED, level=0.95)
        assert (p.min(axis=1) <= 0.05).mean() == ever
        assert (np.diff(np.minimum.accumulate(p, axis=1), axis=1) <= 0).all()


def test_a_real_effect_is_found_before_the_planned_end_by_most():
    value, error = _paths(np.random.default_rng(12), 4_000, 0.1)
    n = 2 * BATCH * np.arange(1, LOOKS + 1)
    found = (p_values(value / error, n, planned_n=PLANNED, level=0.95) <= 0.05).any(axis=1).mean()
    fixed = norm.sf(1.96 - 0.1 / np.sqrt(2 / (LOOKS * BATCH)))
    assert 0.6 < found < fixed  # never free of charge


def test_the_estimate_of_a_look_is_the_vectorised_formula():
    look = _look()
    sequence = confidence_sequence(look, planned_n=2_000)
    half = float(critical_value(800, planned_n=2_000, level=0.95)) * look.std_error
    assert (sequence.low, sequence.high) == pytest.approx((look.value - half, look.value + half), rel=1e-12)
    assert sequence.p_value == pytest.approx(
        float(p_values(look.value / look.std_error, 800, planned_n=2_000, level=0.95)), rel=1e-12
    )


def test_published_sequential_intervals_are_reproduced():
    # growthbook, packages/stats/tests/frequentist/test_tests.py: TestSequentialTTest, n = 3000 + 3461
    half = float(critical_value(6_461, planned_n=1_000, level=0.95)) * 0.33341
    assert (0.50336 - half, 0.50336 + half) == pytest.approx((-0.55844, 1.56516), abs=3e-5)
    assert float(p_values(0.50336 / 0.33341, 6_461, planned_n=1_000, level=0.95)) == 1.0
    half = float(critical_value(6_461, planned_n=5_000, level=0.95)) * 0.03386
    assert (0.50386 - half, 0.50386 + half) == pytest.approx((0.40098, 0.60675), abs=3e-5)


def test_the_sequence_is_narrowest_for_its_size_at_the_planned_end():
    n = np.arange(500, 20_000)
    assert n[critical_value(n, planned_n=5_000, level=0.95).argmin()] == pytest.approx(5_000, rel=0.05)


@given(
    z=st.floats(-8, 8),
    n=st.integers(100, 100_000),
    planned=st.integers(200, 100_000),
    level=st.sampled_from([0.8, 0.95, 0.99]),
)
def test_zero_is_in_the_interval_exactly_when_p_is_above_alpha(z, n, planned, level):
    critical = float(critical_value(2 * n, planned_n=planned, level=level))
    p = float(p_values(z, 2 * n, planned_n=planned, level=level))
    if abs(abs(z) - critical) > 1e-9:
        assert (abs(z) < critical) == (p > 1 - level)


@given(
    value=st.floats(-5, 5).filter(lambda v: abs(v) > 1e-3),
    errors=st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)),
    correlation=st.floats(-0.9, 0.9),
)
def test_the_relative_interval_is_fiellers_at_the_new_critical_value(value, errors, correlation):
    cov = np.outer(errors, errors) * np.array([[1, correlation], [correlation, 1]])
    look = estimate(
        outcome="y",
        estimand="ATE",
        method="t",
        value=value,
        control_mean=4.0,
        cov=cov,
        df=50,
        level=0.95,
        n_treated=500,
        n_control=500,
    )
    if not np.isfinite(look.relative_low) or abs(look.low * look.high) < 1e-6:
        return
    sequence = confidence_sequence(look, planned_n=1_000)
    expected = fieller(value, 4.0, cov, float(critical_value(1_000, planned_n=1_000, level=0.95)))
    assert (sequence.relative_low, sequence.relative_high) == pytest.approx(expected, rel=1e-5, abs=1e-7)
    assert (sequence.relative_low > 0 or sequence.relative_high < 0) == (sequence.low > 0 or sequence.high < 0)


def test_all_looks_together_give_the_running_p_and_the_intersection():
    looks = [_look(n, seed=3) for n in (150, 300, 600, 900)]
    each = [confidence_sequence(look, planned_n=2_000) for look in looks]
    together = running(looks, planned_n=2_000)
    assert together.p_value == min(s.p_value for s in each)
    assert together.low == max(s.low for s in each)
    assert together.high == min(s.high for s in each)
    assert (together.low > 0 or together.high < 0) == (together.p_value <= 0.05)
    assert together.value == looks[-1].value


def test_running_results_stay_coherent_when_later_looks_drift_back():
    rng = np.random.default_rng(5)
    moved = 0
    for _ in range(300):
        y = rng.normal(size=(2, 1_500))
        y[1, :200] += 0.45  # an early fluke
        looks = [
            difference_in_means(Moments.of(y[0, :n]), Moments.of(y[1, :n]), outcome="y") for n in (200, 800, 1_500)
        ]
        try:
            together = running(looks, planned_n=3_000)
        except ValueError as error:
            assert "changes over time" in str(error)
            continue
        assert (together.low > 0 or together.high < 0) == (together.p_value <= 0.05)
        assert together.low <= together.value <= together.high
        moved += "moved into the intersection" in together.method
    assert moved > 0


def test_during_the_burn_in_nothing_is_said():
    sequence = confidence_sequence(_look(99, effect=5.0), planned_n=2_000)
    assert (sequence.low, sequence.high, sequence.p_value) == (-np.inf, np.inf, 1.0)
    assert "burn-in" in sequence.method
    assert confidence_sequence(_look(100, effect=5.0), planned_n=2_000).low > 0


def test_swapping_arms_shifting_and_scaling_do_what_they_should():
    base = confidence_sequence(_look(), planned_n=2_000)
    far = confidence_sequence(_look(shift=1e9), planned_n=2_000)
    assert far.p_value == pytest.approx(base.p_value, rel=1e-5)
    scaled = confidence_sequence(_look(scale=-7.0), planned_n=2_000)
    assert (scaled.low, scaled.high) == pytest.approx((-7 * base.high, -7 * base.low), rel=1e-10)
    assert scaled.p_value == pytest.approx(base.p_value, rel=1e-9)


def test_covariates_may_adjust_the_looks():
    """The adjusted estimate is a look like any other; its sequence misses the truth at any of 10 looks in few seeds."""
    missed = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(2, 1_000))
        y = 2 * x + rng.normal(size=(2, 1_000)) + np.array([[0.0], [0.2]])
        rows = np.stack([y, x], axis=-1)
        looks = [
            difference_in_means(Moments.of(rows[0, :n]), Moments.of(rows[1, :n]), outcome="y")
            for n in range(100, 1_001, 100)
        ]
        missed += not all(confidence_sequence(look, planned_n=2_000).covers(0.2) for look in looks)
    assert binomtest(missed, 300, 0.05, alternative="greater").pvalue > 0.001


def test_bad_input_is_refused_by_name():
    with pytest.raises(ValueError, match="burn_in: at least 100 units in each arm, got 5"):
        confidence_sequence(_look(), planned_n=2_000, burn_in=5)
    with pytest.raises(ValueError, match="planned_n: at least two burn-ins"):
        confidence_sequence(_look(), planned_n=150)
    with pytest.raises(ValueError, match="looks: needs at least one look"):
        running([], planned_n=2_000)
    with pytest.raises(ValueError, match="in order of time, got \\[800, 600\\]"):
        running([_look(400), _look(300)], planned_n=2_000)
    with pytest.raises(ValueError, match="share outcome, estimand and level"):
        intersection([_look(), _look(level=0.9)])
    with pytest.raises(ValueError, match="changes over time"):
        running([_look(900, effect=3.0), _look(1_000, effect=-3.0)], planned_n=2_000)
    no_error = confidence_sequence(_look(99), planned_n=2_000)  # the whole line has no critical value to start from
    with pytest.raises(ValueError, match="needs an interval of value"):
        confidence_sequence(no_error, planned_n=2_000)
