"""What would the answer be if all that was lost belonged to one arm?"""

from causal_assets.diagnostics.grading import diagnostic
from causal_assets.types import Diagnostic, Estimate, Status


def loss_bound(
    primary: Estimate, lost: int, worst: tuple[float, float] | None, *, needed: float, what: str
) -> Diagnostic:
    """Whether the ``lost`` rows could overturn the verdict: ``worst`` are the interval's ends in the worst case.

    ``worst`` is None where the protocol states no range for ``what`` a lost row could hold: then there is no bound, and
    that is said. ``needed`` is the effect from which on the rule ships. A bound is no test of a fault: REVIEW at worst.
    Value is how much of the distance to ``needed`` the worst case takes, 1 and more where it takes all.

    Source: Manski (1990), Nonparametric bounds on treatment effects, AER 80(2).

    Raises:
        ValueError: a worst case narrower than the interval.
    """
    if worst is None:
        said = (
            f"{lost:,} rows were lost; what the effect would be if all belonged to one arm cannot be said, for the "
            f"protocol states no range for {what}."
        )
        return diagnostic("loss_bound", (Status.PASS, 1.0), 0.0, said, "Nothing to do.")
    low, high = worst
    if low > primary.low or high < primary.high:
        raise ValueError(f"worst: expected ends around {primary.low, primary.high}, got {worst}")
    above, below = primary.low - needed, needed - primary.high
    distance = max(above, below)  # positive where the interval is clear of what is needed
    taken = (primary.low - low if above > below else high - primary.high) / distance if distance > 0 else 0.0
    verdict = "what the rule says could hang on them" if taken >= 1 else "what the rule says does not hang on them"
    return diagnostic(
        "loss_bound",
        (Status.REVIEW if taken >= 1 else Status.PASS, 1.0),
        taken,
        f"If all of {lost:,} lost rows belonged to the arm that they hurt most, the effect's interval "
        f"[{primary.low:.4g}, {primary.high:.4g}] would reach from {low:.4g} to {high:.4g}: {verdict}.",
        "Repair and replay what is in quarantine, or find why outcomes are missing, before acting.",
    )
