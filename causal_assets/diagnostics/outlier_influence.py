"""Does the verdict hang on one unit?"""

from causal_assets.diagnostics.grading import diagnostic
from causal_assets.types import Diagnostic, Estimate, Status


def _side(estimate: Estimate, needed: float) -> int:
    """1 where the whole interval is above what is needed, -1 where it is below, else 0."""
    return (estimate.low > needed) - (estimate.high < needed)


def outlier_influence(
    primary: Estimate,
    without: Estimate | None,
    capped: Estimate | None,
    *,
    needed: float,
    largest: float,
    quantile: float,
) -> Diagnostic:
    """The effect without the unit farthest from its arm's mean, and with both tails cut off at a pooled quantile.

    ``needed`` is the effect from which on the rule ships, ``largest`` that unit's outcome; None where no outcome varies
    any more. REVIEW where leaving the unit out moves the interval from one side of ``needed`` to another; value is how
    many standard errors the effect moves. It never blocks: a large outcome is as real as others. The capped effect is
    another estimand, shown beside.
    """
    margin = min(abs(end - needed) for end in (primary.low, primary.high)) / primary.spread
    moved = abs((without.value if without else 0.0) - primary.value) / primary.spread
    hangs = without is None or _side(primary, needed) != _side(without, needed)
    verdict = "what the rule says hangs on it" if hangs else "what the rule says does not hang on it"
    return diagnostic(
        "outlier_influence",
        (Status.REVIEW if hangs else Status.PASS, margin),
        moved,
        f"Without the one unit farthest from its arm's mean ({largest:.4g}) the effect is {_said(without)} instead of "
        f"{_said(primary)}: {verdict}. With both tails cut off at the {quantile:.1%} quantile of both arms it is "
        f"{_said(capped)}.",
        "Look at that unit: a test order, a reseller, an error? Register a capped outcome for the next study.",
    )


def _said(estimate: Estimate | None) -> str:
    if estimate is None:
        return "none, for no outcome varies"
    return f"{estimate.value:+.4g} [{estimate.low:.4g}, {estimate.high:.4g}]"
