"""What an uplift study's policy does to the protected groups that its protocol names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from causal_assets.estimators.inference import Floats, Refusal
from causal_assets.memo.facts import Rows
from causal_assets.targeting.fairness import GroupFairness, Interval, group_fairness, harmful_parts, price_of_fairness
from causal_assets.targeting.features import UNKNOWN
from causal_assets.targeting.model import POLICY, TEST
from causal_assets.types import Diagnostic, Status
from causal_assets.warehouse.engine import Warehouse, identifier, literal

if TYPE_CHECKING:
    from causal_assets.designs.targeted import Fairness, Judged, Targeted

# Parts of the population in which harm is looked for: tenths of the predicted effect of what the policy gives.
PARTS = 10


@dataclass(frozen=True)
class Fair:
    """One rule of the protocol, and what the policy does to each group of its attribute."""

    rule: Fairness
    groups: list[GroupFairness]


def fair(targeted: Targeted, warehouse: Warehouse, study: str) -> list[Fair]:
    """Every group of every protected attribute, on the policy's own fold; harmful parts are told on the test's."""
    if not targeted.fairness:
        return []
    test, held_out = (targeted.judged(warehouse, study, fold) for fold in (TEST, POLICY))
    edges = np.quantile(_predicted(test), np.linspace(0, 1, PARTS + 1)[1:-1])
    part, own = (np.searchsorted(edges, _predicted(judged)) for judged in (test, held_out))
    harmful = np.isin(own, np.array(sorted(map(int, map(str, harmful_parts(test.potential, test.chosen, part))))))
    value = targeted.decision.value_per_outcome
    free = np.column_stack([np.zeros(len(own)), value * held_out.effect - targeted.cost]).argmax(axis=1)
    return [
        Fair(
            rule,
            group_fairness(
                held_out.potential,
                held_out.chosen,
                labels(targeted, warehouse, study, rule, POLICY),
                unconstrained=free,
                harmful=harmful,
                cost=targeted.cost,
                value=value,
                at_least=rule.ratio,
                cluster=held_out.cluster,
                level=targeted.level,
            ),
        )
        for rule in targeted.fairness
    ]


def labels(targeted: Targeted, warehouse: Warehouse, study: str, rule: Fairness, fold: int | None) -> NDArray[np.str_]:
    """The protected group of the rows of one fold, or of all (None), in the order of ``judged``."""
    where = "" if fold is None else f"WHERE s.fold = {fold}"
    column = f"c.{identifier(targeted.protected(rule))}"
    found = warehouse.arrays(
        f"SELECT coalesce(CAST({column} AS VARCHAR), {literal(UNKNOWN)}) AS label FROM {study}.scored AS s "
        f"JOIN {study}.cohort AS c ON c.{targeted.cohort_key} = s.key {where} ORDER BY s.unit_id, s.key"
    )
    return np.asarray(found["label"]).astype(str)


def _predicted(judged: Judged) -> Floats:
    rows = np.arange(len(judged.arm))
    return np.column_stack([np.zeros(len(rows)), judged.effect])[rows, judged.chosen]


def check(found: Sequence[Fair]) -> list[Diagnostic]:
    """The group that comes off worst, over all protected attributes; nothing where the protocol names none."""
    from causal_assets.diagnostics.fairness import fairness

    checks = []
    for one in found:
        named = {f"{one.rule.attribute} {group.group}": group for group in one.groups}
        statuses = {name: group.status or Status.REVIEW for name, group in named.items()}
        ratios = {
            name: None if group.ratio is None else (group.ratio.value, group.ratio.low, group.ratio.high)
            for name, group in named.items()
        }
        checks.append(fairness(statuses, ratios, at_least=one.rule.ratio))
    order = list(Status)
    return sorted(checks, key=lambda check: -order.index(check.status))[:1]


def tables(targeted: Targeted, warehouse: Warehouse, study: str) -> Mapping[str, Rows]:
    """What each group gets, and what it would cost to meet the rule where it is not shown to be met."""
    told: dict[str, Rows] = {}
    for one in fair(targeted, warehouse, study):
        rows = [["group", "treated", "share of benefit", "share of harm", "forgone", "benefit against others", "rule"]]
        for group in one.groups:
            shares = map(_share, (group.treated, group.benefit_share, group.harm_share))
            price = _price(targeted, warehouse, study, one.rule, group)
            rows.append(
                [str(group.group), *shares, _number(group.forgone), _number(group.ratio), f"{group.status}{price}"]
            )
        told[f"By {one.rule.attribute}: each group should have {one.rule.ratio:g} of the others' benefit, or more"] = (
            rows
        )
    return told


def _price(targeted: Targeted, warehouse: Warehouse, study: str, rule: Fairness, group: GroupFairness) -> str:
    """What meeting the rule for this group would cost, where it is not shown to be met."""
    if group.status is Status.PASS:
        return ""
    everybody = targeted.judged(warehouse, study, None)
    inside = labels(targeted, warehouse, study, rule, None) == group.group
    try:
        met = price_of_fairness(
            everybody.effect,
            targeted.cost,
            inside,
            at_least=rule.ratio,
            value=targeted.decision.value_per_outcome,
            budget=targeted.budget,
            capacity=targeted.most,
            contacts=targeted.contacts,
        )
    except Refusal as refused:
        return f"; {refused}"
    return f"; to meet it would cost {met.price:,.2f} of a predicted {met.free.profit:,.2f}"


def _share(found: Interval | None) -> str:
    return "-" if found is None else f"{found.value:.1%} [{found.low:.1%}, {found.high:.1%}]"


def _number(found: Interval | None) -> str:
    return "-" if found is None else f"{found.value:.3g} [{found.low:.3g}, {found.high:.3g}]"
