"""What the memo says in words. Every sentence is made of the facts, so that none can outlive its number."""

import json
from math import isfinite
from typing import Any, NamedTuple

from causal_assets.memo import words
from causal_assets.memo.facts import Assumption, MemoFacts, Reading
from causal_assets.types import GAIN, Deviation, Estimate, Role, Standing, Status, Verdict

ESTIMANDS = {
    "ATE": "all {unit}s of the study",
    "ITT": "all {unit}s of the study, as assigned",
    "ATT": "the treated {unit}s",
    "ATO": "the {unit}s for which either arm was plausible",
    "CACE": "the {unit}s that take up the treatment because it is offered to them",
    "LATE": "the {unit}s that take up the treatment because of the instrument",
    "QTE": "a quantile of all {unit}s’ outcomes, not of their changes",
    "ATE on the triggered": "the {unit}s that met the change, or would have",
    "ATE on the always observed": "the {unit}s whose outcome is known in either arm",
    "ATE of being switched on": "all {unit}s, in periods in which it is switched on",
    "interaction of both experiments": "what the other experiment does to the effect",
    "ACME": "all {unit}s, the part of the effect that goes through the mediator",
    GAIN: "all {unit}s, those the policy leaves alone included",
    "ADE": "all {unit}s, the part of the effect that does not go through the mediator",
}
SCALES_TO_TREATED = frozenset({"ATE", "ITT", "ATT"})  # an overlap effect says nothing of all the treated


class Tile(NamedTuple):
    """One number of the answer: what it is, the number, how sure."""

    label: str
    value: str
    note: str


class Row(NamedTuple):
    """One outcome of the table, as text."""

    role: str
    outcome: str
    control_mean: str
    value: str
    interval: str
    relative: str
    p_value: str
    reading: str
    truth: str


def headline(facts: MemoFacts) -> str:
    """The verdict as one plain sentence."""
    estimate, days = facts.primary, facts.decision.days_left
    outcome = words.name(estimate.outcome) if estimate else "the outcome"
    match facts.decision.verdict:
        case Verdict.SHIP if facts.profit and estimate:
            dollars = words.shower(money=True)
            value, low, high = facts.profit
            what = (
                f"{_chosen(facts)} is worth {dollars(value)} per {facts.unit} more than {_alternative(estimate)}"
                if estimate.estimand == GAIN
                else f"the intervention is worth {dollars(value)} per {facts.unit}"
            )
            interval = f"{words.level(estimate.level)} interval {words.interval(low, high, dollars)}"
            return f"Ship: {what} after its cost ({interval})."
        case Verdict.KEEP_RUNNING if days:
            return f"Keep running: {outcome} can be read for every {facts.unit} in {_days(days)}."
        case Verdict.NOT_IDENTIFIED:
            cannot = f"this data cannot say what the intervention did to {outcome}"
            return f"Not identified: {cannot}. Hold; randomise the next wave."
        case Verdict.BLOCKED:
            return f"Blocked: the evidence fails a check without which nothing can be said about {outcome}."
        case verdict:
            return f"{verdict.capitalize()}: {_clause(facts)}{_but(facts)}."


def _days(n: int) -> str:
    return f"{n} day{'s' * (n != 1)}"


def _chosen(facts: MemoFacts) -> str:
    return f"choosing for each {facts.unit}"


def _alternative(estimate: Estimate) -> str:
    return estimate.method.removeprefix("against ")


def _clause(facts: MemoFacts) -> str:
    estimate = facts.primary
    if estimate is None:
        return "there is no estimate yet"
    if estimate.estimand == GAIN:  # its method names the alternative
        if facts.reading is not Reading.CLEAR:
            return f"that {_chosen(facts)} beats {_alternative(estimate)} cannot be shown"
        size = words.number(abs(estimate.value), money=True)
        more = "more" if estimate.value > 0 else "less"
        return f"{_chosen(facts)} brings {size} per {facts.unit} {more} than {_alternative(estimate)}"
    outcome = words.name(estimate.outcome)
    if facts.reading is not Reading.CLEAR:
        return f"the effect on {outcome} cannot be told from zero"
    size = words.number(abs(estimate.value), money=estimate.outcome in facts.currency_outcomes)
    if not facts.identification.by_chance:
        side = "higher" if estimate.value > 0 else "lower"
        return f"adjusted for what was recorded, {outcome} was {side} by {size} per {facts.unit} with the intervention"
    verb = "raised" if estimate.value > 0 else "lowered"
    return f"the intervention {verb} {outcome} by {size} per {facts.unit}"


def _but(facts: MemoFacts) -> str:
    """Why an effect that is clear of zero is still not shipped."""
    if facts.reading is not Reading.CLEAR or facts.profit is None:
        return ""
    _, low, high = facts.profit
    if low > 0:
        if facts.decision.lacks_evidence:
            return f", but evidence of grade {facts.decision.grade} is not enough to act on"
        return ", but the study\u2019s rule is not met"
    ends = words.interval(low, high, words.shower(money=True, sign=True))
    return f"; after its cost that is worth {ends} per {facts.unit}"


def answer(facts: MemoFacts) -> str:
    """What was found out, with its uncertainty; a lift is claimed only where the study can tell one."""
    estimate, unit, days = facts.primary, facts.unit, facts.decision.days_left
    if estimate is None:
        wait = f" To go: {_days(days)}." if days else ""
        return f"Nothing has been estimated, because no {unit}\u2019s outcome window has passed yet.{wait}"
    plain = words.shower(money=estimate.outcome in facts.currency_outcomes)
    signed = words.shower(money=estimate.outcome in facts.currency_outcomes, sign=True)
    level = f"{words.level(estimate.level)} interval"
    match facts.reading:
        case Reading.CLEAR:
            found = (
                f"{_clause(facts)} ({level} {ends(estimate, signed)}{words.clause(words.p_value(estimate.p_value))})."
            )
            if estimate.estimand == GAIN and estimate.control_mean is not None:
                found += f" That alone earns {plain(estimate.control_mean)} per {unit}."
            elif estimate.control_mean is not None:
                found += f" Without it the mean was {plain(estimate.control_mean)}."
        case Reading.UNCLEAR:
            found = (
                f"{_clause(facts)}: the data fit anything from {words.span(estimate.low, estimate.high, plain)} "
                f"per {unit} ({level})."
            )
        case _:
            return _no_effect(facts, estimate)
    early = (
        f" This is not final; to go: {_days(days)}. Read again and again before the end, such intervals miss more "
        "often than they say: nothing may be decided on them yet."
        if facts.decision.verdict is Verdict.KEEP_RUNNING
        else ""
    )
    return found[0].upper() + found[1:] + early


def ends(estimate: Estimate, show: words.Show) -> str:
    """The confidence set in words, part by part where it is not one interval."""
    parts = estimate.pieces or ((estimate.low, estimate.high),)
    return " or ".join(words.interval(low, high, show) for low, high in parts)


def _no_effect(facts: MemoFacts, estimate: Estimate) -> str:
    control, treated = facts.arms
    if estimate.estimand == GAIN:
        return f"Whether {_chosen(facts)} brings more than {_alternative(estimate)} cannot be told from this data."
    show = words.shower(money=estimate.outcome in facts.currency_outcomes, sign=True)
    values = sorted(e.value for e in (estimate, *facts.alternatives) if e.outcome == estimate.outcome)
    found = f"Whether the intervention changed {words.name(estimate.outcome)} cannot be told from this data."
    if len(values) == 1:
        return f"{found} \u201c{treated}\u201d and \u201c{control}\u201d differ by {show(values[0])} per {facts.unit}."
    sign = " Even its sign depends on the method." if values[0] < 0 < values[-1] else ""
    parts = (
        f" Who responds more cannot be told either: a {facts.unit}\u2019s effect is no better identified than the mean "
        "of all, so targeting by uplift is not estimable here."
    )
    return (
        f"{found} The difference between \u201c{treated}\u201d and \u201c{control}\u201d is anything from "
        f"{show(values[0])} to {show(values[-1])} per {facts.unit}, depending on how they are compared.{sign}"
        f"{'' if facts.identification.by_chance else parts}"
    )


def truth(facts: MemoFacts, estimate: Estimate) -> str:
    """The planted effect and whether the interval holds it; empty on real data."""
    if estimate.outcome not in facts.truth:
        return ""
    planted = facts.truth[estimate.outcome]
    where = "inside" if estimate.low <= planted <= estimate.high else "outside"
    return f"{words.number(planted, money=estimate.outcome in facts.currency_outcomes, sign=True)}, {where}"


def tiles(facts: MemoFacts) -> list[Tile]:
    """The answer in business units; empty where nothing may be called an effect."""
    if facts.primary is None or facts.profit is None or facts.reading is Reading.NOT_AN_EFFECT:
        return []
    estimate, unit, outcome = facts.primary, facts.unit, words.name(facts.primary.outcome)
    level = words.level(estimate.level)
    show = words.shower(money=estimate.outcome in facts.currency_outcomes, sign=True)
    dollars = words.shower(money=True, sign=True)
    if estimate.estimand == GAIN:
        return [_tile(f"Gain per {unit} over {_alternative(estimate)}", *facts.profit, dollars, level)]
    found = [_tile(f"Effect on {outcome}, per {unit}", estimate.value, estimate.low, estimate.high, show, level)]
    if estimate.estimand in SCALES_TO_TREATED:
        n = estimate.n_treated
        total = f"In total, over {n:,} treated {unit}s"
        found.append(_tile(total, n * estimate.value, n * estimate.low, n * estimate.high, show, level))
    if relative := _relative(estimate):
        label = "Relative lift" if facts.reading is Reading.CLEAR and estimate.value > 0 else "Relative difference"
        found.append(_tile(label, *relative, words.percent, level))
    among = {"ATO": f"{unit} for which either arm was plausible"} | dict.fromkeys(SCALES_TO_TREATED, f"treated {unit}")
    whom = among.get(estimate.estimand, unit)
    profit = _tile(f"Profit per {whom}", *facts.profit, dollars, level)
    return [*found, profit, _cost(facts, estimate)]


def _relative(estimate: Estimate) -> tuple[float, float, float] | None:
    """The effect relative to the mean without it, with its ends; None where that mean cannot be told from zero."""
    value, low, high = estimate.relative, estimate.relative_low, estimate.relative_high
    bounded = value is not None and low is not None and high is not None and isfinite(low) and isfinite(high)
    return (value, low, high) if bounded else None


def _tile(label: str, value: float, low: float, high: float, show: words.Show, level: str) -> Tile:
    """The value where the interval is clear of zero, else the interval: a point would read as a finding."""
    ends = words.interval(low, high, show)
    if low <= 0 <= high:
        return Tile(label, ends, f"{level} interval; cannot be told from zero")
    return Tile(label, show(value), f"{level} interval {ends}")


def _cost(facts: MemoFacts, estimate: Estimate) -> Tile:
    """Cost per unit of outcome gained, or avoided where the rule says that less is better.

    Cost over effect, the interval by the same division (exact: it is monotone).
    """
    dollars, cost = words.shower(money=True), facts.cost_per_unit
    of = "$1 of " if estimate.outcome in facts.currency_outcomes else "unit of "
    less = facts.value_per_outcome < 0
    low, high = (-estimate.high, -estimate.low) if less else (estimate.low, estimate.high)
    label = f"Cost per {'' if less else 'extra '}{of}{words.name(estimate.outcome)}{' avoided' if less else ''}"
    note = f"at {dollars(cost)} per treated {facts.unit}"
    if low <= 0:
        return Tile(label, "nothing gained" if high < 0 else "cannot be told", note)
    ends = words.interval(cost / high, cost / low, dollars)
    return Tile(label, dollars(cost / abs(estimate.value)), f"{words.level(estimate.level)} interval {ends}; {note}")


def row(facts: MemoFacts, role: Role, estimate: Estimate) -> Row:
    """One line of the table of outcomes."""
    money = estimate.outcome in facts.currency_outcomes
    signed = words.shower(money=money, sign=True)
    return Row(
        role=words.name(role),
        outcome=words.name(estimate.outcome),
        control_mean="" if estimate.control_mean is None else words.number(estimate.control_mean, money=money),
        value=signed(estimate.value),
        interval=ends(estimate, signed) + ("" if facts.common_level else f" ({words.level(estimate.level)})"),
        relative=words.percent(relative[0]) if (relative := _relative(estimate)) else "",
        p_value=words.p_value(estimate.p_value),
        reading=_row_reading(facts, role, estimate),
        truth=truth(facts, estimate),
    )


def _row_reading(facts: MemoFacts, role: Role, estimate: Estimate) -> str:
    zero_inside = estimate.low <= 0 <= estimate.high
    if role is Role.GUARDRAIL and estimate.outcome in facts.margins:
        return _guardrail(facts, estimate)
    if role is Role.NEGATIVE_CONTROL:
        return "still, as it should be" if zero_inside else "moves, though nothing should move it"
    if zero_inside:
        return "cannot be told from zero"
    if facts.reading is Reading.NOT_AN_EFFECT:
        return "differs; not shown to be an effect"
    higher, lower = ("rose", "fell") if facts.identification.by_chance else ("higher", "lower")
    return higher if estimate.value > 0 else lower


def _guardrail(facts: MemoFacts, estimate: Estimate) -> str:
    rising, margin = estimate.outcome in facts.harmed_by_increase, facts.margins[estimate.outcome]
    worst, best = (estimate.high, estimate.low) if rising else (-estimate.low, -estimate.high)  # as harm
    state = "within" if worst < margin else "worse than" if best > margin else "not shown to be within"
    allowed = words.number(margin, money=estimate.outcome in facts.currency_outcomes)
    harm = "rise" if rising else "fall"
    shown = f", though shown to {harm}" if worst < margin and best > 0 else ""
    return f"{state} its margin, a {harm} of {allowed}{shown}"


def design(facts: MemoFacts) -> tuple[str, list[tuple[str, str]]]:
    """Why the comparison is an effect, and the assumptions under which it is, each with what was found of it."""
    told = facts.identification.filled(facts.unit, facts.arms)
    return told.words, [(one.words, found_of(facts, one)) for one in told.assumptions]


def found_of(facts: MemoFacts, assumption: Assumption) -> str:
    """What the study's checks found of an assumption, the worst first; or why none can."""
    if assumption.untestable is not None:
        return f"Cannot be checked from data: {assumption.untestable}"
    worst = facts.status_by_check
    parts = []
    if assumption.checks:
        order = [*reversed(Status), None]
        by_status = {s: [words.name(c) for c in assumption.checks if worst.get(c) is s] for s in order}
        said = [f"{status or 'not run'} ({', '.join(names)})" for status, names in by_status.items() if names]
        parts.append(f"Checked: {', '.join(said)}.")
    for name in assumption.sensitivity:
        told = " ".join(check.message for check in facts.diagnostics if check.name == name)
        parts.append(f"Sensitivity, {words.name(name)}: {f'{worst[name]}. {told}' if told else 'not run.'}")
    return " ".join(parts)


def sample(facts: MemoFacts, estimate: Estimate) -> str:
    """Who is compared, how many of them, by which method, and whom the number speaks of."""
    control, treated = facts.arms
    speaks = f"The number is the {estimate.estimand}."
    if estimate.estimand in ESTIMANDS:
        speaks = f"The number speaks of {ESTIMANDS[estimate.estimand].format(unit=facts.unit)} ({estimate.estimand})."
    return (
        f"{estimate.n_treated:,} {facts.unit}s with \u201c{treated}\u201d, {estimate.n_control:,} with "
        f"\u201c{control}\u201d. Method: {words.name(estimate.method)}. {speaks}"
    )


def described(estimate: Estimate, money: bool) -> str:
    """One estimate for a reader who cannot see the plot."""
    show = words.shower(money=money, sign=True)
    return f"{show(estimate.value)} ({ends(estimate, show)})"


def registration(facts: MemoFacts) -> str:
    """Which came first, the question or the look at its outcome."""
    if facts.standing is Standing.EXPLORATORY:
        return "Exploratory: the protocol was changed after its outcome had been read."
    if facts.first_read_at is None:
        return "Registered; its outcome has not been read."
    if facts.standing is Standing.RETROSPECTIVE:
        return "Retrospective: registered before this study read its outcome, on data that already held it."
    return "Confirmatory: the question was registered before its outcome was read."


def deviation(change: Deviation) -> str:
    """What one change made of what, when, and whether the outcomes were known."""
    known = "after its outcome had been read" if change.after_outcomes else "before its outcome was read"
    aside = "" if change.matters else "; no number depends on it"
    return f"from {_said(change.before)} to {_said(change.after)}, {words.moment(change.registered_at)}, {known}{aside}"


def _said(value: Any) -> str:
    return "nothing" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
