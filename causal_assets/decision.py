"""From estimate and evidence to a decision: one pure function, its rules written out."""

from collections.abc import Sequence
from dataclasses import dataclass

from causal_assets.protocol import Measure, Rule
from causal_assets.types import Decision, Diagnostic, Estimate, Status, Verdict

GRADES = "ABCD"
# The best grade a design can reach: chance assigned the arms, or it did not.
RANDOMISED_BEST, OBSERVATIONAL_BEST = "A", "B"
# Acting on an observational study needs evidence without a single REVIEW.
OBSERVATIONAL_ACTS_FROM = "B"


@dataclass(frozen=True)
class Profit:
    """Incremental profit per treated unit with the interval of the primary effect, in money."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, estimate: Estimate, rule: Rule) -> "Profit":
        """value_per_outcome x effect - cost_per_unit, end by end."""
        ends = sorted(rule.value_per_outcome * effect - rule.cost_per_unit for effect in (estimate.low, estimate.high))
        return cls(rule.value_per_outcome * estimate.value - rule.cost_per_unit, ends[0], ends[1])


def grade(diagnostics: Sequence[Diagnostic], *, randomised: bool) -> str:
    """A to D: the design's best, one lower if anything wants review, D if anything failed."""
    best = RANDOMISED_BEST if randomised else OBSERVATIONAL_BEST
    statuses = {diagnostic.status for diagnostic in diagnostics}
    if Status.FAIL in statuses:
        return "D"
    return GRADES[GRADES.index(best) + (Status.REVIEW in statuses)]


def guardrail_state(estimate: Estimate, outcome: Measure) -> Status:
    """PASS: shown non-inferior within the margin. FAIL: shown worse than it. REVIEW: neither."""
    margin = outcome.margin or 0.0
    worst, best = (
        (estimate.high, estimate.low) if outcome.harm == "increase" else (-estimate.low, -estimate.high)
    )  # both as harm: positive is worse
    if worst < margin:
        return Status.PASS
    return Status.FAIL if best > margin else Status.REVIEW


def decide(
    primary: Estimate | None,
    guardrails: Sequence[tuple[Measure, Estimate]],
    diagnostics: Sequence[Diagnostic],
    rule: Rule,
    *,
    randomised: bool,
    days_left: int,
) -> Decision:
    """Apply the protocol's rule; the first that holds wins, in the order written here."""
    given = grade(diagnostics, randomised=randomised)
    failed = tuple(diagnostic.message for diagnostic in diagnostics if diagnostic.status is Status.FAIL)
    if failed:
        verdict = Verdict.BLOCKED if randomised else Verdict.NOT_IDENTIFIED
        return Decision(verdict=verdict, grade=given, reasons=failed, days_left=days_left)
    if primary is None:
        waiting = "No unit's outcome window has passed yet."
        return Decision(verdict=Verdict.KEEP_RUNNING, grade=given, reasons=(waiting,), days_left=days_left)
    if days_left > 0:
        waiting = f"{days_left} days are left until every unit's outcome window has passed."
        return Decision(verdict=Verdict.KEEP_RUNNING, grade=given, reasons=(waiting,), days_left=days_left)
    verdict, reasons = _apply(primary, guardrails, rule)
    if verdict is Verdict.SHIP and not randomised and given > OBSERVATIONAL_ACTS_FROM:
        verdict = Verdict.HOLD
        reasons = (
            *reasons,
            f"An observational study of grade {given} does not act; {OBSERVATIONAL_ACTS_FROM} is needed.",
        )
    return Decision(verdict=verdict, grade=given, reasons=reasons)


def _apply(
    primary: Estimate, guardrails: Sequence[tuple[Measure, Estimate]], rule: Rule
) -> tuple[Verdict, tuple[str, ...]]:
    profit = Profit.of(primary, rule)
    shown = f"incremental profit per treated unit is {profit.value:.2f} [{profit.low:.2f}, {profit.high:.2f}]"
    states = {outcome.name: guardrail_state(estimate, outcome) for outcome, estimate in guardrails}
    harmed = [name for name, state in states.items() if state is Status.FAIL]
    unclear = [name for name, state in states.items() if state is Status.REVIEW]
    if harmed:
        return Verdict.STOP, (f"Guardrail shown to be harmed beyond its margin: {', '.join(harmed)}.",)
    if profit.high < rule.minimum_profit:
        return Verdict.STOP, (f"Even the upper end is below {rule.minimum_profit:g}: {shown}.",)
    if not profit.low > rule.minimum_profit:  # so that a profit that is no number never ships
        return Verdict.HOLD, (f"The interval does not clear {rule.minimum_profit:g}: {shown}.",)
    if unclear:
        return Verdict.HOLD, (f"Not shown non-inferior within its margin: {', '.join(unclear)}.",)
    return Verdict.SHIP, (f"The whole interval clears {rule.minimum_profit:g}: {shown}.",)
