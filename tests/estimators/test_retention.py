import numpy as np
import pytest
from scipy.stats import binomtest

from causal_assets.estimators.retention import Retention, restricted_mean_difference, retention_difference

# Freireich et al. (1963), Blood 21: weeks in remission, 6-MP against placebo (a plus is censored)
MP6 = "6 6 6 6+ 7 9+ 10 10+ 11+ 13 16 17+ 19+ 20+ 22 23 25+ 32+ 32+ 34+ 35+"
PLACEBO = "1 1 2 2 3 4 4 5 5 8 8 8 8 11 11 12 12 15 17 22 23"


def _arm(text):
    return Retention.of(
        [float(word.rstrip("+")) for word in text.split()], [int(not word.endswith("+")) for word in text.split()]
    )


def _draw(rng, n, rate):
    """Customers leave at ``rate`` per month; observation ends after 6 to 18 months."""
    leave, end = np.ceil(rng.exponential(1 / rate, n)), np.ceil(rng.uniform(6, 18, n))
    return np.minimum(leave, end), leave <= end


def test_the_remission_curve_and_its_greenwood_errors_are_the_published_ones():
    # Kalbfleisch & Prentice (2002), The Statistical Analysis of Failure Time Data; Collett (2003), table 2.2
    arm = _arm(MP6)
    weeks = [6, 7, 10, 13, 16, 22, 23]
    shares, variances = zip(*(arm.retained(w) for w in weeks), strict=True)
    assert shares == pytest.approx([0.8571, 0.8067, 0.7529, 0.6902, 0.6275, 0.5378, 0.4482], abs=5e-5)
    assert np.sqrt(variances) == pytest.approx([0.0764, 0.0869, 0.0963, 0.1068, 0.1141, 0.1282, 0.1346], abs=5e-5)


def test_heavily_censored_curves_and_their_errors_are_those_of_statsmodels():
    import statsmodels.api as sm

    time, left = _draw(np.random.default_rng(3), 300, 0.1)
    ours, reference = Retention.of(time, left), sm.SurvfuncRight(time, left.astype(int))
    for horizon in (1.0, 7.5, 12.0):
        at = np.flatnonzero(reference.surv_times <= horizon)[-1]
        share, variance = ours.retained(horizon)
        assert share == pytest.approx(reference.surv_prob[at], rel=1e-10)
        assert np.sqrt(variance) == pytest.approx(reference.surv_prob_se[at], rel=1e-10)


def test_without_censoring_the_difference_is_that_of_two_proportions_and_of_two_means():
    rng = np.random.default_rng(0)
    months = np.ceil(rng.exponential([[5.0], [7.0]], size=(2, 400)))
    arms = [Retention.of(m, np.ones(400)) for m in months]
    share = retention_difference(*arms, horizon=6, outcome="y")
    stay = (months > 6).mean(axis=1)
    assert share.value == pytest.approx(stay[1] - stay[0], rel=1e-10)
    assert share.std_error == pytest.approx(np.sqrt((stay * (1 - stay) / 400).sum()), rel=1e-10)
    mean = restricted_mean_difference(*arms, horizon=6, outcome="y")
    capped = np.minimum(months, 6)
    assert mean.value == pytest.approx(capped[1].mean() - capped[0].mean(), rel=1e-10)
    assert mean.std_error == pytest.approx(np.sqrt((capped.var(axis=1) / 400).sum()), rel=1e-10)


@pytest.mark.parametrize("rate", [0.07, 0.1])
def test_censored_arms_recover_the_planted_difference(rate):
    horizon = 12
    stay = np.exp(-np.outer([0.1, rate], np.arange(horizon + 1)))
    truths = (stay[1, -1] - stay[0, -1], stay[1, :-1].sum() - stay[0, :-1].sum())
    found = []
    for seed in range(400):
        rng = np.random.default_rng([seed, int(1000 * rate)])
        arms = [Retention.of(*_draw(rng, 250, r)) for r in (0.1, rate)]
        found.append(
            [f(*arms, horizon=horizon, outcome="y") for f in (retention_difference, restricted_mean_difference)]
        )
    for results, truth in zip(zip(*found, strict=True), truths, strict=True):
        errors = np.array([r.value - truth for r in results])
        assert abs(errors.mean()) / errors.std() < 0.15
        assert 0.93 < np.mean([r.std_error for r in results]) / errors.std() < 1.07
        assert binomtest(sum(r.covers(truth) for r in results), 400, 0.93, alternative="less").pvalue > 0.05


def test_counting_the_censored_as_gone_or_as_stayers_would_be_wrong():
    rng = np.random.default_rng(1)
    time, left = _draw(rng, 20_000, 0.1)
    truth = np.exp(-1.2)
    share, variance = Retention.of(time, left).retained(12)
    assert abs(share - truth) < 3 * np.sqrt(variance)
    as_gone, as_stayers = np.mean(time > 12), 1 - np.mean(left & (time <= 12))
    assert as_gone < truth - 10 * np.sqrt(variance) and as_stayers > truth + 10 * np.sqrt(variance)


def test_order_units_of_time_and_arms_change_nothing_they_should_not():
    rng = np.random.default_rng(2)
    rows = [_draw(rng, 300, r) for r in (0.1, 0.05)]
    arms = [Retention.of(*r) for r in rows]
    order = rng.permutation(300)
    shuffled = [Retention.of(t[order] * 30, e[order]) for t, e in rows]
    base = restricted_mean_difference(*arms, horizon=12, outcome="y")
    days = restricted_mean_difference(*shuffled[::-1], horizon=360, outcome="y")
    assert days.value == pytest.approx(-30 * base.value, rel=1e-10)
    assert days.p_value == pytest.approx(base.p_value, rel=1e-8)
    assert base.covers(0.0) == (base.p_value > 0.05)


def test_bad_input_is_refused_by_name():
    good = _arm(PLACEBO)
    with pytest.raises(ValueError, match="duration: expected finite numbers from 0"):
        Retention.of([1.0, -2.0], [1, 1])
    with pytest.raises(ValueError, match="duration: expected finite"):
        Retention.of([1.0, np.nan], [1, 1])
    with pytest.raises(ValueError, match="left: expected 0 or 1"):
        Retention.of([1.0, 2.0], [1, 2])
    with pytest.raises(ValueError, match="expected equal shapes"):
        Retention.of([], [])
    with pytest.raises(
        ValueError, match="horizon: expected above 0 and at most 23, the control arm's follow-up, got 30"
    ):
        retention_difference(good, _arm(MP6), horizon=30, outcome="y")
    with pytest.raises(ValueError, match="leaves 2 departures and 19 stayers in the control arm"):
        retention_difference(good, _arm(MP6), horizon=1, outcome="y")
