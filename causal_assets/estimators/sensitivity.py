"""How strong a hidden cause of treatment and outcome would have to be to explain an estimate away.

Everything here is a function of the estimate and of moments: it weighs what is known and sees nothing hidden.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf, isfinite, sqrt

import numpy as np

from causal_assets.estimators.inference import Floats, Refusal
from causal_assets.estimators.moments import Moments, pseudo_inverse

# A standardised difference d is read as the risk ratio exp(0.91 d), and its error as 1.78 / 1.96 of that scale:
# VanderWeele (2017), On a square-root transformation of the odds ratio, Biometrics 73(4); Hasselblad & Hedges (1995).
LOG_RATIO_PER_SD, LOG_RATIO_PER_HALF = 0.91, 1.78 / 1.96
BISECTIONS = 60  # halvings: a multiple of a benchmark to the last digits


@dataclass(frozen=True)
class Strength:
    """Share of what is left of treatment and of outcome that covariates explain, all others given (partial R2)."""

    of_treatment: float
    of_outcome: float


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Least squares of an outcome on treatment and covariates, classical errors; ``benchmarks`` are named covariates'.

    ``value`` and ``std_error`` in the outcome's unit, ``df`` residual degrees of freedom.
    """

    value: float
    std_error: float
    df: int
    benchmarks: Mapping[str, Strength]

    @property
    def t(self) -> float:
        """The estimate in its standard errors."""
        return self.value / self.std_error


def _left(cov: Floats, wanted: Sequence[int], given: Sequence[int]) -> Floats:
    """Covariance of the columns ``wanted`` less what the columns ``given`` explain of them."""
    own, across = cov[np.ix_(wanted, wanted)], cov[np.ix_(wanted, given)]
    return own - across @ pseudo_inverse(cov[np.ix_(given, given)])[0] @ across.T if given else own


def linear(moments: Moments, groups: Mapping[str, Sequence[int]], *, absorbed: int = 0) -> Linear:
    """The regression and its benchmarks from ``moments`` of (outcome, treatment, covariates ...) over all units.

    ``groups`` names sets of covariates by their columns (from 2 on), such as a text's categories, which count together.
    A set that adds nothing to the others has strength 0. ``absorbed`` fixed effects were taken out of
    all columns before.

    Raises:
        Refusal: no degrees of freedom, or a treatment or outcome that the covariates explain in full.
    """
    cov, covariates = moments.cov, list(range(2, moments.mean.size))
    rank = pseudo_inverse(cov[2:, 2:])[1] if covariates else 0
    df = moments.n - rank - 2 - absorbed
    left = _left(cov, [0, 1], covariates)
    # Beyond rounding: a copy of another column is explained in full.
    if df < 2 or not (left[1, 1] > 1e-9 * cov[1, 1] and left[0, 0] > 1e-12 * cov[0, 0]):
        raise Refusal(f"{moments.n} units, {rank} covariates: nothing is left of treatment or outcome to compare")
    value = left[0, 1] / left[1, 1]
    unexplained = left[0, 0] - value * left[0, 1]
    if not unexplained > 1e-12 * cov[0, 0]:
        raise Refusal("treatment and covariates explain the outcome in full: no hidden cause is left to imagine")

    def strength(columns: Sequence[int]) -> Strength:
        others = [column for column in covariates if column not in columns]
        d, y = _left(cov, [1], others)[0, 0], _left(cov, [0], [1, *others])[0, 0]
        return Strength(max(0.0, float(1 - left[1, 1] / d)), max(0.0, float(1 - unexplained / y)))

    return Linear(
        value=float(value),
        std_error=float(sqrt(unexplained / df / left[1, 1])),
        df=df,
        benchmarks={name: strength(columns) for name, columns in groups.items()},
    )


def partial_r2(t: float, df: int) -> float:
    """Share of the outcome's residual variance that the treatment explains."""
    return t**2 / (t**2 + df)


def robustness_value(t: float, df: int, *, share: float = 1.0, alpha: float | None = None) -> float:
    """The least share of both treatment and outcome that hidden causes must explain to remove ``share`` of an effect.

    With ``alpha``, to leave an estimate that a test at that level no longer rejects. 0 where nothing is needed.

    Source: Cinelli & Hazlett (2020), Making sense of sensitivity, JRSS B 82(1), sec. 4.2; the second branch, for
    effects so strong that the outcome's share ends at 1: Cinelli & Hazlett (2025), An omitted variable bias framework
    for sensitivity analysis of instrumental variables, Biometrika 112(2).

    Raises:
        ValueError: fewer than 2 degrees of freedom, a share that is not positive, or alpha outside (0, 1).
    """
    from scipy.special import stdtrit

    if df < 2 or not share > 0 or (alpha is not None and not 0 < alpha < 1):
        raise ValueError(
            f"df, share, alpha: expected at least 2, a positive number and a level, got {df, share, alpha}"
        )
    f = share * abs(t) / sqrt(df)
    critical = 0.0 if alpha is None else float(stdtrit(df - 1, 1 - alpha / 2)) / sqrt(df - 1)
    beyond = f - critical
    if beyond <= 0:
        return 0.0
    if f * critical >= 1:
        return (f**2 - critical**2) / (1 + f**2)
    return (sqrt(beyond**4 + 4 * beyond**2) - beyond**2) / 2


def as_strong_as(benchmark: Strength, times: float) -> Strength | None:
    """What a hidden cause explains that is ``times`` as strong as the benchmark, in treatment and in outcome.

    None where no cause can be: it would explain more than there is of the treatment. The outcome's share ends at 1.

    Source: Cinelli & Hazlett (2020), sec. 4.4; the bounds of R's sensemakr and of PySensemakr.
    """
    d, y = benchmark.of_treatment, benchmark.of_outcome
    if d >= 1 or y >= 1:
        return None
    of_treatment = times * d / (1 - d)
    if times * d >= 1 or of_treatment >= 1:
        return None
    alike = times * d**2 / ((1 - times * d) * (1 - d))  # of the hidden cause with the benchmark, given the treatment
    if alike >= 1:
        return None
    of_outcome = ((sqrt(times) + sqrt(alike)) / sqrt(1 - alike)) ** 2 * y / (1 - y)
    return Strength(of_treatment, min(of_outcome, 1.0))


def bias(fitted: Linear, hidden: Strength) -> float:
    """By how much a hidden cause of that strength moves the estimate, in the outcome's unit (>= 0)."""
    shift = sqrt(hidden.of_outcome * hidden.of_treatment / (1 - hidden.of_treatment))
    return fitted.std_error * sqrt(fitted.df) * shift


def adjusted(fitted: Linear, hidden: Strength) -> tuple[float, float]:
    """Estimate and standard error once a hidden cause of that strength that works towards zero was adjusted for."""
    value = np.sign(fitted.value) * (abs(fitted.value) - bias(fitted, hidden))
    error = fitted.std_error * sqrt((1 - hidden.of_outcome) / (1 - hidden.of_treatment))
    return float(value), error * sqrt(fitted.df / (fitted.df - 1))


def times_needed(fitted: Linear, benchmark: Strength) -> float:
    """How many times as strong as the benchmark a hidden cause must be to bring the estimate to zero.

    Infinite where the benchmark drives only one of treatment and outcome. Where causes so strong cannot be, the
    strength at which they cease to be.
    """
    if not (benchmark.of_treatment > 0 and benchmark.of_outcome > 0):
        return inf

    def enough(times: float) -> bool:
        hidden = as_strong_as(benchmark, times)
        return hidden is None or bias(fitted, hidden) >= abs(fitted.value)

    low, high = 0.0, 1.0
    while not enough(high):
        low, high = high, 2 * high
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def e_value(ratio: float, low: float, high: float) -> tuple[float, float]:
    """E-values of a risk ratio and of the end of its interval nearer to 1, which is 1 where the interval holds 1.

    The least risk ratio that a hidden cause must have with both treatment and outcome, beyond the covariates, to
    explain the estimate away. Source: VanderWeele & Ding (2017), Sensitivity analysis in observational research, Annals
    of Internal Medicine 167(4).

    Raises:
        ValueError: ends that do not hold the ratio, or a ratio that is not positive.
    """
    if not (0 < ratio < inf and low <= ratio <= high):
        raise ValueError(f"ratio, low, high: expected a positive ratio inside its interval, got {ratio, low, high}")

    def of(risk_ratio: float) -> float:
        away = risk_ratio if risk_ratio >= 1 else 1 / risk_ratio if risk_ratio > 0 else inf
        return away + sqrt(away * (away - 1)) if isfinite(away) else inf

    if low <= 1 <= high:
        return of(ratio), 1.0
    return of(ratio), of(low if low > 1 else high)


def ratio_of_difference(value: float, half_width: float, sd: float) -> tuple[float, float, float]:
    """A difference in means as a risk ratio with its ends; ``half_width`` of its 95% interval, ``sd`` of the outcome.

    An approximation for outcomes that are near normal. Source: as for ``LOG_RATIO_PER_SD``.

    Raises:
        ValueError: a standard deviation that is not positive.
    """
    if not sd > 0:
        raise ValueError(f"sd: expected a positive number, got {sd}")
    log_ratio, half = LOG_RATIO_PER_SD * value / sd, LOG_RATIO_PER_HALF * half_width / sd
    return exp(log_ratio), exp(log_ratio - half), exp(log_ratio + half)
