"""Benefits, harms and costs, and what would change our mind: each sentence names its number and how far it is off."""

from math import isfinite, log

from causal_assets.memo import words
from causal_assets.memo.facts import MemoFacts, Reading
from causal_assets.types import GAIN, Diagnostic, Estimate, Role, Status

BENEFITS, HARMS = "Benefits", "Harms"
UNSAID, STILL = "Moved; the protocol does not say which way is good", "Not shown to move"
WEIGHED = (Role.PRIMARY, Role.SECONDARY, Role.GUARDRAIL)
# More than this many times the units is no plan for a next study.
MOST_TIMES = 100


def benefits_and_harms(facts: MemoFacts) -> dict[str, list[str]]:
    """Outcomes with their effects, by what they are to the decision; empty where nothing may be called an effect."""
    if facts.reading in (Reading.NONE, Reading.NOT_AN_EFFECT):
        return {}
    found: dict[str, list[str]] = {BENEFITS: [], HARMS: [], UNSAID: [], STILL: []}
    for role, estimate in facts.outcomes:
        if role in WEIGHED:
            found[_side(facts, role, estimate)].append(_effect(facts, estimate))
    return {side: told for side, told in found.items() if told}


def _side(facts: MemoFacts, role: Role, estimate: Estimate) -> str:
    if estimate.low <= 0 <= estimate.high:
        return STILL
    better = 0.0  # the sign of a change for the better
    if role is Role.PRIMARY:
        better = facts.value_per_outcome
    elif estimate.outcome in facts.margins:
        better = -1.0 if estimate.outcome in facts.harmed_by_increase else 1.0
    if not better:
        return UNSAID
    return BENEFITS if estimate.value * better > 0 else HARMS


def _effect(facts: MemoFacts, estimate: Estimate) -> str:
    show = words.shower(money=estimate.outcome in facts.currency_outcomes, sign=True)
    ends = words.interval(estimate.low, estimate.high, show)
    level = words.level(estimate.level)
    return f"{words.name(estimate.outcome)}: {show(estimate.value)} per {facts.unit} ({level} interval {ends})"


def costs(facts: MemoFacts) -> list[str]:
    """What the treatment cost, and the effect from which it pays, where there may be one."""
    if facts.primary is None or facts.primary.estimand == GAIN:
        return []
    dollars, unit, primary = words.shower(money=True), facts.unit, facts.primary
    total = facts.cost_per_unit * primary.n_treated
    told = [
        f"{dollars(facts.cost_per_unit)} per treated {unit}, {dollars(total)} for the {primary.n_treated:,} treated."
    ]
    if facts.value_per_outcome and facts.reading is not Reading.NOT_AN_EFFECT:
        pays = (facts.cost_per_unit + facts.minimum_profit) / facts.value_per_outcome
        show = words.shower(money=primary.outcome in facts.currency_outcomes, sign=True)
        side = "or more" if facts.value_per_outcome > 0 else "or less"
        told.append(f"It pays from an effect on {words.name(primary.outcome)} of {show(pays)} {side} per {unit}.")
    return told


def what_would_change(facts: MemoFacts) -> list[str]:
    """The numbers that the verdict hangs on, each with its distance from its line; then what the design can do next."""
    by_status = {status: [d for d in facts.diagnostics if d.status is status] for status in Status}
    against = [*by_status[Status.FAIL], *by_status[Status.REVIEW]]
    return [
        *_profit(facts),
        *(_guardrail(facts, e) for role, e in facts.others if role is Role.GUARDRAIL and e.outcome in facts.margins),
        *map(_line, against),
        *_closest(by_status[Status.PASS]),
        *facts.what_would_change,
    ]


def _profit(facts: MemoFacts) -> list[str]:
    if facts.profit is None or facts.reading is Reading.NOT_AN_EFFECT:
        return []
    (value, low, high), least = facts.profit, facts.minimum_profit
    dollars = words.shower(money=True)
    signed = words.shower(money=True, sign=True)
    end = f"the {{}} end of profit per {facts.unit} is {{}}, the rule asks for more than {dollars(least)}"
    if low > least:
        if facts.primary is not None and facts.primary.estimand == GAIN:
            return [f"Profit: {end.format('lower', signed(low))}. {dollars(low - least)} less would undo that."]
        paid, most = dollars(facts.cost_per_unit), dollars(facts.cost_per_unit + low - least)
        return [
            f"Profit: {end.format('lower', signed(low))}. A cost of {most} instead of {paid} per treated {facts.unit}, "
            f"or an effect worth {dollars(low - least)} less, would undo that."
        ]
    if high < least:
        short = dollars(least - high)
        return [f"Profit: even {end.format('upper', signed(high))}: it would have to be {short} higher."]
    told = f"Profit: {end.format('lower', signed(low))}."
    if value <= least:
        more = f"more {facts.unit}s alone would not be enough"
        return [f"{told} The estimate itself, {signed(value)}, is not above it: {more}."]
    times = ((value - low) / (value - least)) ** 2
    if not isfinite(times) or times > MOST_TIMES:
        return [f"{told} At the same effect more than {MOST_TIMES} times the {facts.unit}s would be needed."]
    return [f"{told} At the same effect it takes about {words.number(times)} times the {facts.unit}s."]


def _guardrail(facts: MemoFacts, estimate: Estimate) -> str:
    worst = estimate.high if estimate.outcome in facts.harmed_by_increase else -estimate.low
    margin = facts.margins[estimate.outcome]
    show = words.shower(money=estimate.outcome in facts.currency_outcomes)
    state = "inside" if worst < margin else "beyond"
    return (
        f"Guardrail {words.name(estimate.outcome)}: at worst a harm of {show(max(worst, 0.0))}, "
        f"{show(abs(margin - worst))} {state} its margin of {show(margin)}."
    )


def _line(check: Diagnostic) -> str:
    way = "fall to" if check.value > check.threshold else "reach"
    return (
        f"{check.status}, {words.name(check.name)}: {words.number(check.value)} now; it would have to {way} "
        f"{words.number(check.threshold)}."
    )


def _closest(passed: list[Diagnostic]) -> list[str]:
    """The passed check whose value and threshold are nearest in proportion, where both are positive."""
    near = [d for d in passed if d.value > 0 and d.threshold > 0 and isfinite(d.value) and isfinite(d.threshold)]
    if not near:
        return []
    closest = min(near, key=lambda check: abs(log(check.value / check.threshold)))
    return [
        f"Of the checks passed, {words.name(closest.name)} came closest to its threshold: "
        f"{words.number(closest.value)} against {words.number(closest.threshold)}."
    ]
