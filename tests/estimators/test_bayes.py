from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import beta, binomtest, chisquare, norm, t

from causal_assets.estimators.bayes import Beta, difference_cdf, normal_posterior, proportions_posterior
from causal_assets.estimators.inference import Refusal, estimate
from causal_assets.types import Estimate

UNIFORM = Beta(1, 1)


def _look(value, error, level=0.95, control_mean=4.0):
    z = norm.ppf((1 + level) / 2)
    return Estimate(
        outcome="y",
        estimand="ATE",
        method="difference in means",
        value=value,
        std_error=error,
        low=value - z * error,
        high=value + z * error,
        p_value=2 * norm.sf(abs(value) / error),
        level=level,
        n_treated=500,
        n_control=500,
        control_mean=control_mean,
    )


def _few(value, df, level=0.95):
    """A look of standard error 0.5 whose t test has few degrees of freedom."""
    return estimate(
        outcome="y",
        estimand="ATE",
        method="difference in means, clustered (CR2)",
        value=value,
        control_mean=4.0,
        cov=np.diag([0.01, 0.25]),
        df=df,
        level=level,
        n_treated=6,
        n_control=6,
    )


def _proportions(control, n_control, treated, n_treated, control_prior=UNIFORM, treated_prior=UNIFORM, **options):
    return proportions_posterior(
        control_events=control,
        control_n=n_control,
        treated_events=treated,
        treated_n=n_treated,
        control_prior=control_prior,
        treated_prior=treated_prior,
        outcome="visit",
        **options,
    )


def test_published_normal_posteriors_are_reproduced():
    # growthbook, packages/stats/tests/bayesian/test_tests.py: TestGaussianEffectABTest, prior's SD relative
    error = (0.6157689162044129 - 0.45725595891154214) / (2 * norm.ppf(0.975))
    flat = normal_posterior(_look(0.5365124375579775, error), prior_sd=np.inf).estimate
    assert (flat.low, flat.high) == pytest.approx((0.45725595891154214, 0.6157689162044129), rel=1e-12)
    informed = normal_posterior(_look(0.5365124375579775, error), prior_sd=7.157987489967789).estimate
    assert informed.value == pytest.approx(0.536495315442269, rel=1e-11)
    assert (informed.low, informed.high) == pytest.approx((0.4572401014910488, 0.6157505293934893), rel=1e-11)
    # TestNorm and TestBinom: sums 100 and 105, squares 1002.25 and 1111.5, n 10; 49 and 51 of 100; relative effects
    control, treated = (1002.25 - 1000) / 9 / 10, (1111.5 - 1102.5) / 9 / 10  # variances of the means 10 and 10.5
    relative = normal_posterior(_look(0.05, np.sqrt(treated + control * 1.05**2) / 10), prior_sd=np.inf)
    assert relative.estimate.std_error == pytest.approx(0.03572, abs=5e-6)
    assert relative.chance_to_win == pytest.approx(0.91923, abs=5e-6)
    assert (relative.expected_loss_of_holding, relative.expected_loss) == pytest.approx((0.05131, 0.00131), abs=5e-6)
    variance = 0.49 * 0.51 / 100
    shares = normal_posterior(_look(2 / 49, np.sqrt(variance * (1 + (51 / 49) ** 2)) / 0.49), prior_sd=np.inf)
    assert (shares.estimate.low, shares.estimate.high) == pytest.approx((-0.24779, 0.32943), abs=1e-5)
    assert shares.chance_to_win == pytest.approx(0.60918, abs=5e-6)
    assert (shares.expected_loss_of_holding, shares.expected_loss) == pytest.approx((0.0814, 0.04058), abs=5e-6)


def test_published_losses_of_proportions_are_reproduced():
    # growthbook, same file: TestBinom; its chance to win is a lognormal approximation (0.61052), ours is exact
    flat = _proportions(49, 100, 51, 100)
    assert (flat.expected_loss_of_holding, flat.expected_loss) == pytest.approx((0.03872, 0.01912), abs=6e-6)
    assert flat.chance_to_win == pytest.approx(0.61052, abs=5e-4)
    prior = _proportions(49, 100, 51, 100, Beta(1e-9, 1e-9), Beta(100, 100))
    assert (prior.expected_loss_of_holding, prior.expected_loss) == pytest.approx((0.03025, 0.01692), abs=6e-6)


def test_the_flat_prior_gives_the_normal_interval_and_no_p():
    look = _look(0.3, 0.2, level=0.9)
    posterior = normal_posterior(look, prior_sd=np.inf)
    assert (posterior.estimate.low, posterior.estimate.high) == pytest.approx((look.low, look.high))
    assert posterior.estimate.p_value is None
    assert posterior.chance_to_win == pytest.approx(norm.cdf(1.5))
    assert "flat prior" in posterior.estimate.method


@pytest.mark.parametrize("df", [4, 5.5, 12, 300, 1e6])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_the_flat_prior_believes_few_clusters_as_much_as_their_t_test(df, level):
    look = _few(0.7, df, level)
    posterior = normal_posterior(look, prior_sd=np.inf)
    assert (posterior.estimate.low, posterior.estimate.high) == pytest.approx((look.low, look.high), rel=1e-8)
    assert posterior.chance_to_win == pytest.approx(1 - look.p_value / 2, rel=1e-9)
    assert posterior.estimate.std_error == pytest.approx(0.5 * np.sqrt(df / (df - 2)), rel=1e-7)
    assert posterior.estimate.value == pytest.approx(0.7, rel=1e-12)


@pytest.mark.parametrize("df", [4, 9, 40])
def test_with_few_clusters_the_posterior_is_that_of_adaptive_quadrature(df):
    posterior = normal_posterior(_few(2.0, df), prior_mean=-0.3, prior_sd=0.4)

    def integral(f, low=-8.0, high=9.0):
        return quad(lambda x: f(x) * norm.pdf(x, -0.3, 0.4) * t.pdf((2 - x) / 0.5, df), low, high, epsabs=1e-13)[0]

    mass = integral(lambda _: 1.0)
    mean = integral(lambda x: x) / mass
    assert posterior.estimate.value == pytest.approx(mean, rel=1e-8)
    assert posterior.estimate.std_error**2 == pytest.approx(integral(lambda x: (x - mean) ** 2) / mass, rel=1e-7)
    assert integral(lambda _: 1.0, high=posterior.estimate.low) / mass == pytest.approx(0.025, rel=1e-7)
    assert integral(lambda _: 1.0, low=posterior.estimate.high) / mass == pytest.approx(0.025, rel=1e-7)
    assert posterior.chance_to_win == pytest.approx(integral(lambda _: 1.0, low=0.0) / mass, rel=1e-8)
    assert posterior.expected_loss == pytest.approx(integral(lambda x: -x, high=0.0) / mass, rel=1e-7)
    assert posterior.expected_loss_of_holding == pytest.approx(integral(lambda x: x, low=0.0) / mass, rel=1e-7)


@given(value=st.floats(-5, 5), error=st.floats(0.05, 5), prior_mean=st.floats(-3, 3), prior_sd=st.floats(0.05, 50))
def test_losses_differ_by_the_mean_and_the_mean_lies_between_prior_and_data(value, error, prior_mean, prior_sd):
    posterior = normal_posterior(_look(value, error), prior_mean=prior_mean, prior_sd=prior_sd)
    mean = posterior.estimate.value
    assert posterior.expected_loss_of_holding - posterior.expected_loss == pytest.approx(mean, abs=1e-9)
    assert min(posterior.expected_loss, posterior.expected_loss_of_holding) >= 0
    assert min(value, prior_mean) - 1e-9 <= mean <= max(value, prior_mean) + 1e-9
    assert posterior.estimate.std_error < min(error, prior_sd) + 1e-12


def test_chance_and_losses_are_those_of_posterior_draws():
    rng = np.random.default_rng(1)
    posterior = normal_posterior(_look(0.3, 0.4), prior_mean=0.1, prior_sd=0.5)
    draws = rng.normal(posterior.estimate.value, posterior.estimate.std_error, 400_000)
    assert posterior.expected_loss == pytest.approx(np.maximum(-draws, 0).mean(), abs=1e-3)
    arms = rng.beta(1 + 3, 1 + 97, 400_000), rng.beta(1 + 7, 1 + 83, 400_000)
    gap = arms[1] - arms[0]
    shares = _proportions(3, 100, 7, 90)
    assert shares.chance_to_win == pytest.approx((gap > 0).mean(), abs=3e-3)
    assert shares.expected_loss == pytest.approx(np.maximum(-gap, 0).mean(), abs=1e-4)
    assert (shares.estimate.low, shares.estimate.high) == pytest.approx(np.quantile(gap, [0.025, 0.975]), abs=6e-4)
    assert shares.estimate.std_error == pytest.approx(gap.std(), rel=5e-3)


@pytest.mark.parametrize("gap", [-0.02, 0.0, 0.015])
@pytest.mark.parametrize(("a", "b"), [((4, 98), (8, 84)), ((1, 101), (40, 4_000)), ((60, 40), (2, 3))])
def test_the_distribution_of_the_difference_is_that_of_adaptive_quadrature(gap, a, b):
    lower, upper = beta(*a).ppf([1e-14, 1 - 1e-14])
    reference, _ = quad(
        lambda x: beta(*a).pdf(x) * beta(*b).cdf(x + gap),
        lower,
        upper,
        epsabs=1e-12,
        limit=200,
        points=[beta(*a).mean()],
    )
    assert difference_cdf(gap, Beta(*a), Beta(*b)) == pytest.approx(reference, abs=1e-8)


def test_intervals_cover_truths_drawn_from_the_prior():
    rng = np.random.default_rng(4)
    truth = rng.normal(0.2, 0.3, 2_000)
    seen = truth + rng.normal(0, 0.25, 2_000)
    posteriors = [normal_posterior(_look(v, 0.25), prior_mean=0.2, prior_sd=0.3) for v in seen]
    hits = sum(p.estimate.covers(t) for p, t in zip(posteriors, truth, strict=True))
    assert binomtest(hits, 2_000, 0.95).pvalue > 0.001
    # and the stated chance to win comes true as often as it says
    chance = np.array([p.chance_to_win for p in posteriors])
    assert abs((truth > 0).mean() - chance.mean()) < 0.03
    likely = chance > 0.8
    assert (truth > 0)[likely].mean() == pytest.approx(chance[likely].mean(), abs=0.03)


def test_ranks_of_the_truth_among_posterior_draws_are_uniform():
    """Simulation-based calibration (Talts et al. 2018), 99 draws each, for both posteriors."""
    rng = np.random.default_rng(5)
    sets, bins = 2_000, 20
    truth = rng.normal(-0.1, 0.5, sets)
    seen = truth + rng.normal(0, 0.3, sets)
    means = np.array([normal_posterior(_look(v, 0.3), prior_mean=-0.1, prior_sd=0.5).estimate.value for v in seen])
    sd = normal_posterior(_look(0.0, 0.3), prior_mean=-0.1, prior_sd=0.5).estimate.std_error
    ranks = (rng.normal(means[:, None], sd, (sets, 99)) < truth[:, None]).sum(axis=1)
    assert chisquare(np.bincount(ranks // (100 // bins), minlength=bins)).pvalue > 0.001
    # proportions: the probability that the posterior puts below the truth is uniform
    sets = 1_000
    p = rng.beta(3, 60, sets), rng.beta(4, 50, sets)
    events = rng.binomial(200, p[0]), rng.binomial(150, p[1])
    below = [
        difference_cdf(t - c, Beta(3 + i, 60 + 200 - i), Beta(4 + j, 50 + 150 - j))
        for c, t, i, j in zip(*p, *events, strict=True)
    ]
    counts = np.histogram(below, bins=bins, range=(0, 1))[0]
    assert chisquare(counts).pvalue > 0.001


def test_swapping_the_arms_swaps_the_losses():
    one = _proportions(5, 100, 9, 120, Beta(1, 9), Beta(2, 8))
    other = _proportions(9, 120, 5, 100, Beta(2, 8), Beta(1, 9))
    assert other.estimate.low == pytest.approx(-one.estimate.high, abs=1e-9)
    assert other.chance_to_win == pytest.approx(1 - one.chance_to_win, abs=1e-9)
    assert other.expected_loss == pytest.approx(one.expected_loss_of_holding, abs=1e-9)
    look, flipped = (normal_posterior(_look(v, 0.2), prior_mean=np.sign(v) * 0.1, prior_sd=1) for v in (0.3, -0.3))
    assert flipped.expected_loss == pytest.approx(look.expected_loss_of_holding)
    assert (flipped.estimate.low, flipped.estimate.high) == pytest.approx((-look.estimate.high, -look.estimate.low))


def test_an_arm_without_events_still_has_a_posterior():
    posterior = _proportions(0, 50, 0, 50)
    assert posterior.estimate.low == pytest.approx(-posterior.estimate.high)
    assert posterior.chance_to_win == pytest.approx(0.5)
    assert _proportions(0, 50, 0, 5_000).estimate.value == pytest.approx(1 / 5_002 - 1 / 52)  # by the prior alone


def test_bad_input_is_refused_by_name():
    with pytest.raises(ValueError, match=r"prior: needs a finite mean and a positive SD, got 0\.0 and 0"):
        normal_posterior(_look(1, 1), prior_sd=0)
    with pytest.raises(ValueError, match="prior: needs a finite mean"):
        normal_posterior(_look(1, 1), prior_mean=np.nan, prior_sd=1)
    with pytest.raises(Refusal, match=r"prior: the error of y has 3\.9 degrees of freedom"):
        normal_posterior(_few(1, 3.9), prior_sd=1)
    with pytest.raises(ValueError, match="expected a standard error and one interval"):
        normal_posterior(replace(_few(1, 9), low=-np.inf), prior_sd=1)
    with pytest.raises(ValueError, match="a, b: a beta prior needs two positive numbers, got 0 and 1"):
        Beta(0, 1)
    with pytest.raises(ValueError, match="treated arm: needs 0 <= events <= n and n >= 1, got 7 of 5"):
        _proportions(1, 5, 7, 5)
    with pytest.raises(ValueError, match="control arm: needs 0 <= events"):
        _proportions(0, 0, 1, 5)
    with pytest.raises(ValueError, match="level: must lie strictly between 0 and 1, got 95"):
        _proportions(1, 5, 2, 5, level=95)
