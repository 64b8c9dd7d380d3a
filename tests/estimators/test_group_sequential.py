import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm

from causal_assets.estimators.group_sequential import at_look, boundaries, running, spent
from causal_assets.estimators.inference import estimate

FIFTHS = [0.2, 0.4, 0.6, 0.8, 1.0]
SPENDINGS = ["obrien_fleming", "pocock"]


def _look(z=2.5, n=1_000, level=0.95, error=0.1, df=1e6):
    return estimate(
        outcome="y",
        estimand="ATE",
        method="t",
        value=z * error,
        control_mean=4.0,
        cov=np.diag([0.01, error**2]),
        df=df,
        level=level,
        n_treated=n,
        n_control=n,
    )


def test_published_boundaries_are_reproduced():
    # Lan & DeMets (1983) spending, five equal looks, two-sided 5%; Reboussin, DeMets, Kim & Lan (2000), ld98
    obrien_fleming = boundaries(FIFTHS, alpha=0.05, spending="obrien_fleming")
    assert obrien_fleming == pytest.approx([4.877, 3.357, 2.680, 2.290, 2.031], abs=6e-4)
    pocock = boundaries(FIFTHS, alpha=0.05, spending="pocock")
    assert pocock == pytest.approx([2.438, 2.427, 2.410, 2.397, 2.386], abs=6e-4)


@pytest.mark.parametrize("spending", SPENDINGS)
def test_boundaries_spend_exactly_what_they_may_by_another_integration(spending):
    times = np.array([0.3, 0.45, 1.0])
    critical = boundaries(times, alpha=0.05, spending=spending)
    cov = np.sqrt(np.minimum.outer(times, times) / np.maximum.outer(times, times))
    for k in (1, 2, 3):
        inside = multivariate_normal(cov=cov[:k, :k], maxpts=200_000 * k, abseps=1e-8, releps=1e-8, seed=1).cdf(
            critical[:k], lower_limit=-critical[:k]
        )
        assert 1 - inside == pytest.approx(spent(times[k - 1], alpha=0.05, spending=spending), abs=2e-6)


@pytest.mark.parametrize("spending", SPENDINGS)
@pytest.mark.parametrize("truth", [0.0, 1.5])
def test_all_intervals_hold_the_truth_in_95_percent_of_paths(spending, truth):
    rng = np.random.default_rng(21)
    times = np.array([0.1, 0.3, 0.35, 0.8, 1.0])
    scores = rng.normal(size=(40_000, 5)) * np.sqrt(np.diff(times, prepend=0.0)) + truth * np.diff(times, prepend=0.0)
    z = scores.cumsum(axis=1) / np.sqrt(times)
    missed = np.abs(z - truth * np.sqrt(times)) > boundaries(times, alpha=0.05, spending=spending)
    assert missed.any(axis=1).mean() == pytest.approx(0.05, abs=0.0035)  # 3 Monte-Carlo errors
    assert (np.abs(z - truth * np.sqrt(times)) > norm.ppf(0.975)).any(axis=1).mean() > 0.1  # looked at without a plan


def test_size_holds_for_means_whose_variance_is_estimated():
    """Two arms of exponential outcomes, 200 units an arm and look, five looks."""
    rng = np.random.default_rng(22)
    y = rng.exponential(size=(4_000, 2, 5, 200))
    n = 200 * np.arange(1, 6)
    sums, squares = y.sum(axis=-1).cumsum(axis=-1), (y**2).sum(axis=-1).cumsum(axis=-1)
    variance = (squares - sums**2 / n) / (n - 1) / n
    z = np.diff(sums / n, axis=1)[:, 0] / np.sqrt(variance.sum(axis=1))
    for spending in SPENDINGS:
        rejected = (np.abs(z) > boundaries(FIFTHS, alpha=0.05, spending=spending)).any(axis=1).mean()
        assert 0.04 < rejected < 0.06


@pytest.mark.parametrize("spending", SPENDINGS)
def test_few_clusters_get_the_boundary_of_their_t_test(spending):
    """Two looks, at 5 and at 10 clusters of equal size in either arm: their CR2 error is that of their means."""
    rng, fractions = np.random.default_rng(23), [0.5, 1.0]
    means, n = rng.normal(size=(40_000, 2, 10)), np.array([5, 10])
    parts = [means[:, :, :k] for k in n]
    values = np.stack([np.diff(part.mean(axis=2), axis=1)[:, 0] for part in parts], axis=1)
    errors = np.stack(
        [np.sqrt((part.var(axis=2, ddof=1) / k).sum(axis=1)) for part, k in zip(parts, n, strict=True)], 1
    )
    looks = [at_look(_look(df=2 * k - 2), fractions[: j + 1], spending=spending) for j, k in enumerate(n)]
    critical = np.array([(look.high - look.value) / 0.1 for look in looks])
    assert (np.abs(values / errors) > critical).any(axis=1).mean() == pytest.approx(0.05, abs=0.0035)
    normal = boundaries(fractions, alpha=0.05, spending=spending)
    assert (np.abs(values / errors) > normal).any(axis=1).mean() > 0.07


@pytest.mark.parametrize("df", [4.5, 30, 1e6, np.inf])
def test_one_look_at_the_end_is_the_fixed_test(df):
    fixed = _look(df=df)
    look = at_look(fixed, [1.0], spending="obrien_fleming")
    assert (look.low, look.high) == pytest.approx((fixed.low, fixed.high), rel=1e-9)
    assert look.p_value == pytest.approx(fixed.p_value, rel=1e-8)
    assert (look.relative_low, look.relative_high) == pytest.approx((fixed.relative_low, fixed.relative_high), rel=1e-8)


@settings(max_examples=25, deadline=None)
@given(
    z=st.floats(-6, 6),
    looks=st.integers(1, 5),
    level=st.sampled_from([0.8, 0.95, 0.99]),
    spending=st.sampled_from(SPENDINGS),
)
def test_zero_is_in_the_repeated_interval_exactly_when_p_is_above_alpha(z, looks, level, spending):
    result = at_look(_look(z, level=level), FIFTHS[:looks], spending=spending)
    if abs(result.p_value - (1 - level)) > 1e-9:
        assert (result.low <= 0 <= result.high) == (result.p_value > 1 - level)
        assert (result.relative_low <= 0 <= result.relative_high) == (result.p_value > 1 - level)


@pytest.mark.parametrize("spending", SPENDINGS)
@pytest.mark.parametrize("fractions", [FIFTHS, [0.01, 0.99, 1.0], [0.3, 0.31, 0.32]])
def test_boundaries_fall_as_alpha_grows_so_that_p_is_defined(spending, fractions):
    alphas = np.concatenate([np.geomspace(1e-10, 0.5, 20), np.linspace(0.55, 0.99, 8)])
    critical = np.minimum([boundaries(fractions, alpha=a, spending=spending) for a in alphas], 1e3)
    assert (np.diff(critical, axis=0) <= 1e-9).all()


def test_a_look_so_early_that_nothing_may_be_spent_says_nothing():
    result = at_look(_look(z=12.0), [0.01], spending="obrien_fleming")
    assert (result.low, result.high) == (-np.inf, np.inf)
    assert result.p_value > 0.05


def test_all_looks_together_are_coherent_and_flip_with_the_arms():
    looks = [_look(z, n) for z, n in ((1.0, 400), (3.6, 800), (2.4, 1_200))]
    for spending in SPENDINGS:
        together = running(looks, FIFTHS[:3], spending=spending)
        assert together.p_value < 0.05 < at_look(looks[0], FIFTHS[:1], spending=spending).p_value
        assert together.low > 0
        flipped = running(
            [_look(-z, n) for z, n in ((1.0, 400), (3.6, 800), (2.4, 1_200))], FIFTHS[:3], spending=spending
        )
        assert (flipped.low, flipped.high) == pytest.approx((-together.high, -together.low))
        assert flipped.p_value == together.p_value


def test_bad_input_is_refused_by_name():
    for fractions in ([], [0.5, 0.4], [0.0, 1.0], [0.5, 1.1], [np.nan]):
        with pytest.raises(ValueError, match="fractions: must increase within"):
            boundaries(fractions, alpha=0.05, spending="pocock")
    with pytest.raises(ValueError, match="alpha: must lie strictly between 0 and 1, got 5"):
        boundaries([1.0], alpha=5, spending="pocock")
    with pytest.raises(ValueError, match=r"spending: expected one of .* got 'haybittle'"):
        boundaries([1.0], alpha=0.05, spending="haybittle")
    with pytest.raises(ValueError, match="needs one for each of 2 looks, got 1"):
        running([_look(), _look()], [0.5], spending="pocock")
