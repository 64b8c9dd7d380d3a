"""Does the sign depend on which controls are used?"""

from collections.abc import Mapping
from math import hypot

from causal_assets.diagnostics.grading import diagnostic
from causal_assets.types import Diagnostic, Estimate, Status

NOISE = 1.96  # joint standard errors; two groups differ by more in at most 5% of healthy studies


def comparison_groups(by_group: Mapping[str, Estimate]) -> Diagnostic:
    """The same effect against subgroups of controls, defined by what happened to them later.

    Such groups are chosen on the future and may not be the comparison themselves; that they disagree in sign, beyond
    noise, shows how much the answer owes to who is compared. Value: distance of the extremes in joint errors.

    Raises:
        ValueError: fewer than two groups.
    """
    if len(by_group) < 2:
        raise ValueError(f"by_group: expected at least two groups of controls, got {sorted(by_group)}")
    ordered = sorted(by_group.items(), key=lambda item: item[1].value)
    (low_name, low), (high_name, high) = ordered[0], ordered[-1]
    distance = (high.value - low.value) / hypot(low.spread, high.spread)
    turns = low.value < 0 < high.value and distance > NOISE
    return diagnostic(
        "comparison_groups",
        (Status.REVIEW if turns else Status.PASS, NOISE),
        distance,
        f"Against controls '{low_name}' the effect is {low.value:+.4g} (SE {low.spread:.3g}), against "
        f"'{high_name}' {high.value:+.4g} (SE {high.spread:.3g}): {distance:.1f} joint standard errors apart.",
        "Find what sets the groups of controls apart before treatment and adjust for it, or randomise.",
    )
