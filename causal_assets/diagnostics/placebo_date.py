"""Does the estimator find an effect at a date when there was none?"""

from causal_assets.diagnostics.grading import diagnostic
from causal_assets.types import Diagnostic, Estimate, Status

LARGE = 0.5  # a placebo half the size of the effect could explain most of it
NOISE = 1.96


def placebo_date(placebo: Estimate, effect: Estimate) -> Diagnostic:
    """The study moved to an earlier date; value is |placebo| / |effect|.

    REVIEW at most: where treatment was chosen on outcomes inside the placebo's window, a placebo effect appears even
    if adjustment at the true date is right.
    """
    z = placebo.value / placebo.spread
    large = abs(placebo.value) >= LARGE * abs(effect.value)
    ratio = abs(placebo.value / effect.value) if effect.value else float("inf")
    return diagnostic(
        "placebo_date",
        (Status.REVIEW if large and abs(z) > NOISE else Status.PASS, LARGE),
        ratio,
        f"At a date before the treatment the same estimator finds {placebo.value:+.4g} (SE {placebo.spread:.3g}, "
        f"z {z:.1f}), at the date of the treatment {effect.value:+.4g} (SE {effect.spread:.3g}).",
        "Look for differences between the arms that persist over time and are not adjusted for.",
    )
