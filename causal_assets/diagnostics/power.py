"""Could the study have seen an effect of plausible size?"""

from causal_assets.diagnostics.grading import above, diagnostic
from causal_assets.types import Diagnostic, Estimate

POWER = 0.8  # the field's convention for a planned study


def power(estimate: Estimate, plausible: float) -> Diagnostic:
    """Minimum detectable effect at 80% power against the largest ``plausible`` effect, in the outcome's unit.

    It is a function of the standard error alone, never of the estimate (no "observed power").

    Raises:
        ValueError: a plausible effect that is not positive.
    """
    from scipy.stats import norm

    if not plausible > 0:
        raise ValueError(f"plausible: expected a positive effect, got {plausible}")
    detectable = float(norm.ppf((1 + estimate.level) / 2) + norm.ppf(POWER)) * estimate.spread
    return diagnostic(
        "power",
        above(detectable, review=plausible),
        detectable,
        f"The study sees effects of {detectable:.3g} or more in {POWER:.0%} of cases; "
        f"{plausible:.3g} is the largest plausible one.",
        "No effect found does not mean no effect, and one found is probably too large: enlarge the study.",
    )
