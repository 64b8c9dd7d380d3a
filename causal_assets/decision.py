"""From estimate and evidence to a decision: one pure function, its rules written out."""

from collections.abc import Sequence
from dataclasses import dataclass

from causal_assets.protocol import Measure, Rule
from causal_assets.types import ACTS_FROM, GAIN, Decision, Diagnostic, Estimate, Standing, Status, Verdict

GRADES = "ABCD"
# The best grade a design can reach: chance assigned the arms, or it did not.
RANDOMISED_BEST, OBSERVATIONAL_BEST = "A", "B"
# A protocol fitted to outcomes already seen has none of the error rates that its intervals state.
EXPLORATORY_BEST = "C"


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


def grade(
    diagnostics: Sequence[Diagnostic], *, randomised: bool, standing: Standing = Standing.CONFIRMATORY
) -> tuple[str, tuple[str, ...]]:
    """A to D, and the rules that gave it, each with the checks it rests on.

    The design's best (A by chance, else B); one lower if anything wants review; C at best for an exploratory study; D
    if anything failed. So an observational study that could not look for unobserved confounding (no negative control
    is a REVIEW) has C at best.
    """
    best = RANDOMISED_BEST if randomised else OBSERVATIONAL_BEST
    review, failed = ([d.name for d in diagnostics if d.status is status] for status in (Status.REVIEW, Status.FAIL))
    given = GRADES[GRADES.index(best) + bool(review)]
    reasons = ["Chance assigned the arms: A at best." if randomised else "Chance did not assign the arms: B at best."]
    if review:
        reasons.append(f"One lower, for what wants review: {', '.join(review)}.")
    if standing is Standing.EXPLORATORY:
        given = max(given, EXPLORATORY_BEST)
        reasons.append(f"The protocol was changed after outcomes had been seen: {EXPLORATORY_BEST} at best.")
    if failed:
        given = "D"
        reasons.append(f"D, for what failed: {', '.join(failed)}.")
    return given, tuple(reasons)


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
    standing: Standing = Standing.CONFIRMATORY,
) -> Decision:
    """Apply the protocol's rule; the first that holds wins, in the order written here."""
    given, why = grade(diagnostics, randomised=randomised, standing=standing)
    verdict, reasons = _verdict(primary, guardrails, diagnostics, rule, randomised=randomised, days_left=days_left)
    if verdict is Verdict.SHIP and given > ACTS_FROM:
        verdict = Verdict.HOLD
        reasons = (*reasons, f"A study of grade {given} does not act; {ACTS_FROM} is needed.")
    return Decision(verdict=verdict, grade=given, reasons=reasons, days_left=days_left, grade_reasons=why)


def _verdict(
    primary: Estimate | None,
    guardrails: Sequence[tuple[Measure, Estimate]],
    diagnostics: Sequence[Diagnostic],
    rule: Rule,
    *,
    randomised: bool,
    days_left: int,
) -> tuple[Verdict, tuple[str, ...]]:
    if failed := tuple(found.message for found in diagnostics if found.status is Status.FAIL):
        return (Verdict.BLOCKED if randomised else Verdict.NOT_IDENTIFIED), failed
    if primary is None:
        return Verdict.KEEP_RUNNING, ("No unit's outcome window has passed yet.",)
    if days_left > 0:
        waiting = f"{days_left} days are left until every unit's outcome window has passed."
        return Verdict.KEEP_RUNNING, (waiting,)
    return _apply(primary, guardrails, rule)


def _apply(
    primary: Estimate, guardrails: Sequence[tuple[Measure, Estimate]], rule: Rule
) -> tuple[Verdict, tuple[str, ...]]:
    profit = Profit.of(primary, rule)
    per = "unit" if primary.estimand == GAIN else "treated unit"
    shown = f"incremental profit per {per} is {profit.value:.2f} [{profit.low:.2f}, {profit.high:.2f}]"
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
