"""Does the model of the time before the intervention hold, so that it may speak for the time after?"""

from causal_assets.diagnostics.grading import below, diagnostic
from causal_assets.types import Diagnostic, Estimate

# The tests of drift and correlation see small faults, so that 1% is enough for them; together the four flag fewer than
# one healthy study in six. All are REVIEW at most: a model that fits the past may still fail the future, and back.
REVIEW_P = 0.01
REVIEW_BREAK = 0.05
REVIEW_PLACEBO = 0.05


def level_break(period: int, z: float, p: float) -> Diagnostic:
    """The largest step of the level before the intervention; ``p`` is adjusted for the number of periods."""
    return diagnostic(
        "level_break",
        below(p, review=REVIEW_BREAK),
        p,
        f"The largest step of the outcome that the controls do not share is before period {period} "
        f"(z = {z:.1f}, p = {p:.2g} for the largest of all).",
        "Find what happened then: start the fit after it, or add a control that has it. A step since is in the effect.",
    )


def residual_drift(z: float, p: float) -> Diagnostic:
    """A trend of the outcome before the intervention that neither controls nor model share."""
    return diagnostic(
        "residual_drift",
        below(p, review=REVIEW_P),
        p,
        f"Beside its controls the outcome drifts before the intervention with z = {z:.1f} (p = {p:.2g}).",
        "A control that trends otherwise turns its trend into an effect: model the drift, or choose other controls.",
    )


def residual_autocorrelation(p: float) -> Diagnostic:
    """Ljung-Box test of the one-step forecast errors before the intervention."""
    return diagnostic(
        "residual_autocorrelation",
        below(p, review=REVIEW_P),
        p,
        f"The one-step forecast errors before the intervention are correlated in time with p = {p:.2g}.",
        "The interval is too short: model the season, or use longer periods.",
    )


def placebo_split(placebo: Estimate) -> Diagnostic:
    """The same estimator at a made-up date inside the time before the intervention.

    Raises:
        ValueError: an estimate without p-value.
    """
    if placebo.p_value is None:
        raise ValueError(f"placebo: {placebo.method} has no p-value")
    return diagnostic(
        "placebo_split",
        below(placebo.p_value, review=REVIEW_PLACEBO),
        placebo.p_value,
        f"At a date {placebo.n_treated} periods before the intervention, when nothing happened, the model finds "
        f"{placebo.value:+.4g} ({placebo.low:.4g} to {placebo.high:.4g}, p = {placebo.p_value:.2g}).",
        "The controls do not carry the outcome over such a time: choose others, or a shorter time after.",
    )
