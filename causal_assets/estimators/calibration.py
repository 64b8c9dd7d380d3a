"""Empirical calibration: how far from zero a design's answers are where the truth is known to be zero."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np

from causal_assets.estimators.inference import Floats
from causal_assets.types import Estimate

# A mean and a spread from fewer controls than this are guesses.
FEWEST_CONTROLS = 5


@dataclass(frozen=True)
class SystematicError:
    """Errors that a design makes beyond chance are Normal(``mean``, ``sd``^2), in the unit of the estimates.

    ``mean_error`` is the standard error of ``mean``, ``controls`` how many negative controls it was learned from.
    """

    mean: float
    sd: float
    mean_error: float
    controls: int


def fit_systematic_error(negative_controls: Sequence[Estimate]) -> SystematicError:
    """Maximum likelihood of b_i ~ Normal(mean, sd^2 + se_i^2) over outcomes or exposures whose true effect is zero.

    All must be in one unit: log ratios, or the study's own outcome. The likelihood may peak at sd = 0.

    Source: Schuemie et al. (2014), Interpreting observational studies, Statistics in Medicine 33(2).

    Raises:
        ValueError: fewer than five controls, or a control without a positive standard error.
    """
    from scipy.optimize import minimize_scalar

    if len(negative_controls) < FEWEST_CONTROLS:
        raise ValueError(
            f"negative_controls: expected at least {FEWEST_CONTROLS}, got {len(negative_controls)}; "
            "one or two controls can warn, they cannot calibrate"
        )
    for control in negative_controls:
        if not (control.std_error and np.isfinite(control.std_error)):
            raise ValueError(f"negative_controls: {control.outcome} has no positive standard error")
    b = np.array([control.value for control in negative_controls])
    variance = np.array([control.std_error for control in negative_controls], dtype=np.float64) ** 2
    unit = b.std() + np.sqrt(variance.mean())  # the search runs in this unit, so it does not depend on the outcome's
    found = minimize_scalar(
        lambda sd: _deviance(sd * unit, b, variance), bounds=(0.0, 2.0), method="bounded", options={"xatol": 1e-9}
    )
    sd = float(found.x) * unit
    sd = sd if _deviance(sd, b, variance) < _deviance(0.0, b, variance) else 0.0
    weight = 1 / (variance + sd**2)
    return SystematicError(float(weight @ b / weight.sum()), sd, float(1 / sqrt(weight.sum())), len(b))


def _deviance(sd: float, b: Floats, variance: Floats) -> float:
    """Minus twice the log likelihood, the mean at its best for this sd."""
    total = variance + sd**2
    mean = (b / total).sum() / (1 / total).sum()
    return float(np.log(total).sum() + ((b - mean) ** 2 / total).sum())


def calibrated(estimate: Estimate, error: SystematicError, *, plug_in: bool = False) -> Estimate:
    """The estimate less the mean systematic error, with an interval and a p-value that count systematic error as well.

    The variance is se^2 + (sd^2 + mean_error^2) m / (m - 1) and the reference t with (m - 1) degrees of freedom, since
    mean and sd come from m controls: exact where systematic error outweighs chance, longer than needed where it does
    not. p and interval invert that one test. ``plug_in`` takes mean and sd as known: the published method, right for
    many controls and too short for ten. Systematic error is assumed to be the same in size whatever
    the true effect. There is no relative effect: the control mean has a systematic error of its own.

    Source: Schuemie et al. (2018), Empirical confidence interval calibration, PNAS 115(11).

    Raises:
        ValueError: an estimate without a standard error.
    """
    from scipy.stats import norm, t

    if estimate.std_error is None:
        raise ValueError(f"estimate: {estimate.outcome}/{estimate.method} has no standard error to calibrate")
    m = error.controls
    reference = norm() if plug_in else t(m - 1)
    systematic = error.sd**2 if plug_in else (error.sd**2 + error.mean_error**2) * m / (m - 1)
    value, std_error = estimate.value - error.mean, sqrt(estimate.std_error**2 + systematic)
    half = float(reference.ppf((1 + estimate.level) / 2)) * std_error
    return replace(
        estimate,
        method=f"{estimate.method}, calibrated on {error.controls} negative controls",
        value=value,
        std_error=std_error,
        low=value - half,
        high=value + half,
        p_value=float(2 * reference.sf(abs(value) / std_error)),
        control_mean=None,
        relative=None,
        relative_low=None,
        relative_high=None,
        pieces=(),
    )
