"""Does an outcome move that the treatment cannot move?"""

from collections.abc import Sequence

from causal_assets.diagnostics.grading import below, diagnostic
from causal_assets.types import Diagnostic, Estimate

# Adjusted for the number of negative controls, so these are the shares of healthy studies that are flagged.
FAIL_P = 0.01
REVIEW_P = 0.05


def negative_control(estimates: Sequence[Estimate]) -> Diagnostic:
    """The smallest p-value over outcomes the treatment should not move, times their number (Bonferroni).

    Without any, REVIEW: a hidden reason for treatment leaves no other trace in the data.

    Source: Lipsitch, Tchetgen Tchetgen & Cohen (2010), Negative controls, Epidemiology 21(3).
    """
    if not estimates:
        return diagnostic(
            "negative_control",
            below(0.0, review=1.0),
            0.0,
            "Whether a hidden reason for treatment is left, cannot know: no outcome is named that the treatment cannot "
            "move, so it would go unseen.",
            "Name an outcome with the role negative_control that the same reasons drive, or randomise.",
        )
    tested = [(1.0 if e.p_value is None else e.p_value, e) for e in estimates]
    smallest, worst = min(tested, key=lambda one: one[0])
    p = min(1.0, smallest * len(estimates))
    return diagnostic(
        "negative_control",
        below(p, review=REVIEW_P, fail=FAIL_P),
        p,
        f"{worst.outcome}, which the treatment should not move, moves by {worst.value:+.4g} "
        f"(SE {worst.spread:.3g}, p = {p:.2g} for the largest of {len(estimates)}).",
        "Assume that the effect holds the same confounding; find what drives both, or randomise.",
    )
