"""What to believe about an effect after the experiment, given a stated belief before it."""

from dataclasses import dataclass
from math import inf, isfinite, pi, sqrt

import numpy as np

from causal_assets.estimators.inference import Floats, Refusal, degrees_of_freedom
from causal_assets.types import Estimate

# Gauss-Legendre nodes on each stretch of the narrower posterior's normal scores, which end 8.5 SD out.
NODES, FARTHEST = 64, 8.5
# With fewer degrees of freedom the t test of a CR2 error no longer holds its level (Tipton 2015, Psych. Methods 20(3)).
FEWEST_DEGREES = 4.0


@dataclass(frozen=True, kw_only=True)
class Posterior:
    """A posterior of the effect: mean, SD and equal-tailed credible interval in ``estimate``, and what a choice costs.

    ``chance_to_win`` is P(effect > 0), ``expected_loss`` E[max(0, -effect)] of treating everyone,
    ``expected_loss_of_holding`` E[max(0, effect)] of treating no one, both in the outcome's unit per unit.
    """

    estimate: Estimate
    chance_to_win: float
    expected_loss: float
    expected_loss_of_holding: float


@dataclass(frozen=True)
class Beta:
    """A belief about a proportion: ``a`` successes and ``b`` failures seen before; Beta(1, 1) is uniform.

    Raises:
        ValueError: a or b that is not a positive number.
    """

    a: float
    b: float

    def __post_init__(self) -> None:
        if not (0 < self.a < inf and 0 < self.b < inf):
            raise ValueError(f"a, b: a beta prior needs two positive numbers, got {self.a} and {self.b}")

    @property
    def mean(self) -> float:
        """Expected proportion."""
        return self.a / (self.a + self.b)

    @property
    def variance(self) -> float:
        """Variance of the proportion."""
        return self.mean * (1 - self.mean) / (self.a + self.b + 1)


def normal_posterior(look: Estimate, *, prior_mean: float = 0.0, prior_sd: float) -> Posterior:
    """Posterior of the effect from its estimate, standard error and t test; the flat prior's interval is ``look``'s.

    The prior of the effect is N(``prior_mean``, ``prior_sd``^2) in the outcome's unit; ``prior_sd=inf`` is the flat
    prior, by choice and never by default. The estimate lies about the effect as t with the degrees of freedom of
    ``look``, because its error is estimated as well: it is normal given the true error, over which the posterior is
    averaged, so that few clusters are not believed more than their t test is. Of a look by cluster the posterior is one
    by cluster. Valid at one look as at many. The interval has the level of ``look``.

    Source: Gelman et al. (2013), Bayesian Data Analysis, 2.5 (known variance) and 3.2 (estimated variance).

    Raises:
        ValueError: a prior that is not a number with positive SD, or a look without a standard error.
        Refusal: fewer than 4 degrees of freedom.
    """
    from scipy.special import ndtr

    if not isfinite(prior_mean) or not prior_sd > 0:
        raise ValueError(f"prior: needs a finite mean and a positive SD, got {prior_mean} and {prior_sd}")
    df = degrees_of_freedom(look)
    if not df > FEWEST_DEGREES - 1e-6:  # read off an interval, they carry its rounding
        raise Refusal(
            f"prior: the error of {look.outcome} has {df:.3g} degrees of freedom; a posterior needs at least "
            f"{FEWEST_DEGREES:g}: more units, or clusters of more equal size"
        )
    error, share = _true_errors(look, df)
    if prior_sd < inf:
        spread = error**2 + prior_sd**2
        likelihood = np.exp(-((look.value - prior_mean) ** 2) / 2 * (1 / spread - 1 / spread.max())) / np.sqrt(spread)
        share = share * likelihood
    share = share / share.sum()
    weight = 1 / (1 + (error / prior_sd) ** 2)
    means, sds = prior_mean + weight * (look.value - prior_mean), error * np.sqrt(weight)
    mean = float(share @ means)
    density = np.exp(-((means / sds) ** 2) / 2) / sqrt(2 * pi)
    loss = np.maximum(sds * density - np.abs(means) * ndtr(-np.abs(means) / sds), 0.0)  # of the likelier choice
    prior = "flat prior" if prior_sd == inf else f"prior N({prior_mean:g}, SD {prior_sd:g})"
    low, high = (_quantile(tail, means, sds, share) for tail in ((1 - look.level) / 2, (1 + look.level) / 2))
    sd = sqrt(share @ (sds**2 + (means - mean) ** 2))
    return Posterior(
        estimate=_estimate(look, f"{look.method}, Bayesian, {prior}", mean, sd, low, high),
        chance_to_win=float(share @ ndtr(means / sds)),
        expected_loss=float(share @ (loss + np.maximum(-means, 0.0))),
        expected_loss_of_holding=float(share @ (loss + np.maximum(means, 0.0))),
    )


def _true_errors(look: Estimate, df: float) -> tuple[Floats, Floats]:
    """What the true standard error may be (q,) given the estimated one, and how likely (q,): df / chi-square of df."""
    from scipy.special import gammainccinv, gammaincinv, ndtr

    assert look.std_error is not None  # it has degrees of freedom
    if df == inf:
        return np.array([look.std_error]), np.ones(1)
    points, weights = np.polynomial.legendre.leggauss(NODES)
    score = FARTHEST * points
    tail = ndtr(-np.abs(score))  # 1 minus a tail would lose the digits of the smallest errors
    halved = np.where(score < 0, gammaincinv(df / 2, tail), gammainccinv(df / 2, tail))
    return look.std_error * np.sqrt(df / 2 / halved), weights * np.exp(-(score**2) / 2)


def _quantile(chance: float, means: Floats, sds: Floats, share: Floats) -> float:
    """Of a mixture of normals (q,)."""
    from scipy.optimize import brentq
    from scipy.special import ndtr, ndtri

    ends = means + sds * ndtri(chance)
    low, high = float(ends.min()), float(ends.max())
    if low == high:
        return low
    return float(brentq(lambda x: share @ ndtr((x - means) / sds) - chance, low, high, xtol=1e-12 * (high - low)))


def _estimate(look: Estimate, method: str, value: float, sd: float, low: float, high: float) -> Estimate:
    return Estimate(
        outcome=look.outcome,
        estimand=look.estimand,
        method=method,
        value=value,
        std_error=sd,
        low=low,
        high=high,
        p_value=None,
        level=look.level,
        n_treated=look.n_treated,
        n_control=look.n_control,
        control_mean=look.control_mean,
    )


def proportions_posterior(
    *,
    control_events: int,
    control_n: int,
    treated_events: int,
    treated_n: int,
    control_prior: Beta,
    treated_prior: Beta,
    outcome: str,
    level: float = 0.95,
) -> Posterior:
    """Posterior of the difference of two proportions, treated minus control, under independent beta priors.

    Counts are units; sufficient statistics of one pass. Exact but for quadrature (error below 1e-9), also with no
    event in an arm. ``control_mean`` is the control's posterior mean. A binomial likelihood knows no cluster: where
    rows hang together, take the ``normal_posterior`` of an estimate by cluster.

    Source: Gelman et al. (2013), Bayesian Data Analysis, 2.4; expected loss: Stucchi (2015), VWO whitepaper.

    Raises:
        ValueError: counts that are not 0 <= events <= n with n >= 1, or a level outside (0, 1).
    """
    from scipy.optimize import brentq

    for arm, events, n in (("control", control_events, control_n), ("treated", treated_events, treated_n)):
        if not (n >= 1 and 0 <= events <= n):
            raise ValueError(f"{arm} arm: needs 0 <= events <= n and n >= 1, got {events} of {n}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level: must lie strictly between 0 and 1, got {level}")
    control = Beta(control_prior.a + control_events, control_prior.b + control_n - control_events)
    treated = Beta(treated_prior.a + treated_events, treated_prior.b + treated_n - treated_events)
    low, high = (
        float(
            brentq(lambda gap, tail: difference_cdf(gap, control, treated) - tail, -1.0, 1.0, args=(tail,), xtol=1e-10)
        )
        for tail in ((1 - level) / 2, (1 + level) / 2)
    )
    win = 1 - difference_cdf(0.0, control, treated)
    # E[c 1(c > t)] = E[c] P(c' > t) with one more success in c'
    up_control, up_treated = Beta(control.a + 1, control.b), Beta(treated.a + 1, treated.b)
    above = difference_cdf(0.0, up_control, treated), difference_cdf(0.0, control, up_treated)
    value = treated.mean - control.mean
    return Posterior(
        estimate=Estimate(
            outcome=outcome,
            estimand="ATE",
            method=f"beta-binomial, priors {control_prior} and {treated_prior}",
            value=value,
            std_error=sqrt(control.variance + treated.variance),
            low=low,
            high=high,
            p_value=None,
            level=level,
            n_treated=treated_n,
            n_control=control_n,
            control_mean=control.mean,
        ),
        chance_to_win=win,
        expected_loss=max(control.mean * above[0] - treated.mean * above[1], 0.0),
        expected_loss_of_holding=max(treated.mean * (1 - above[1]) - control.mean * (1 - above[0]), 0.0),
    )


def difference_cdf(gap: float, control: Beta, treated: Beta) -> float:
    """P(treated - control <= gap) for independent betas.

    The wider one's distribution function is averaged over the normal score of the narrower, so that nothing jumps, in
    stretches that end where that function reaches 0 or 1, so that nothing bends either.
    """
    from scipy.special import betainc, betaincinv, ndtr, ndtri

    over_control = control.variance < treated.variance
    narrow, wide = (control, treated) if over_control else (treated, control)
    shift = gap if over_control else -gap
    bends = ndtri(betainc(narrow.a, narrow.b, np.clip([-shift, 1 - shift], 0, 1)))
    ends = np.unique(np.clip([-FARTHEST, *bends, FARTHEST], -FARTHEST, FARTHEST))
    points, weights = np.polynomial.legendre.leggauss(NODES)
    half = np.diff(ends)[:, None] / 2
    score = (ends[:-1, None] + half) + half * points
    below = betainc(wide.a, wide.b, np.clip(betaincinv(narrow.a, narrow.b, ndtr(score)) + shift, 0, 1))
    share = float((below * half * weights * np.exp(-(score**2) / 2)).sum() / sqrt(2 * pi))
    return share if over_control else 1 - share
