"""Is the effect where the treatment aimed?"""

from causal_assets.diagnostics.grading import diagnostic
from causal_assets.types import Diagnostic, Estimate, Status


def specificity(targeted: Estimate, total: Estimate, targeted_share: float) -> Diagnostic:
    """Effect on targeted products beside the part of the total effect that their share of spend would give anyway.

    ``targeted_share`` is the share of targeted products in the treated arm's outcome. PASS only if the whole interval
    of the targeted effect lies beyond ``targeted_share * total``, on the side of the total effect. Value: targeted
    effect as a share of the total effect.

    Raises:
        ValueError: a share outside (0, 1), or a total effect of exactly zero.
    """
    if not 0 < targeted_share < 1:
        raise ValueError(f"targeted_share: expected a share strictly between 0 and 1, got {targeted_share}")
    if total.value == 0:
        raise ValueError(f"total: the effect on {total.outcome} is exactly zero, a share of it is not defined")
    proportional = targeted_share * total.value
    specific = targeted.low > proportional if total.value > 0 else targeted.high < proportional
    return diagnostic(
        "specificity",
        (Status.PASS if specific else Status.REVIEW, targeted_share),
        targeted.value / total.value,
        f"Targeted products hold {targeted.value / total.value:.0%} of the effect and {targeted_share:.0%} of the "
        f"spend: {targeted.value:+.4g} (SE {targeted.std_error:.3g}) against {proportional:+.4g} if all grew alike.",
        "A treatment that works through these products should move them more; suspect better customers, not an effect.",
    )
