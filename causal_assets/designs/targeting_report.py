"""What an uplift study tells the person who looks at it: plots and tables, from the rows it was proven on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from causal_assets.memo.facts import Rows
from causal_assets.targeting.allocation import frontier
from causal_assets.targeting.model import POLICY, TEST
from causal_assets.types import Role
from causal_assets.warehouse.engine import Warehouse
from causal_assets.warehouse.results import Finding

if TYPE_CHECKING:
    from causal_assets.designs.targeted import Judged, Targeted

# Budgets of the frontier, as shares of what treating everybody with the dearest treatment would cost.
FRONTIER = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
# Features in the memo's table, the most influential first.
MOST_SHOWN = 10
# Units of like prediction, within which the bounds are taken: the tighter the more they differ between groups.
TENTHS = 10


def figures(targeted: Targeted, warehouse: Warehouse, study: str) -> dict[str, Any]:
    """Uplift curves with their bands, predicted against realised effects, and profit against spend."""
    from causal_assets.memo import uplift_plots

    held_out, everybody = targeted.judged(warehouse, study, POLICY), targeted.judged(warehouse, study, None)
    ranked = _ranked(targeted, held_out)
    money = targeted.primary.money
    figures = {
        "uplift curve": uplift_plots.uplift_curves({arm: one.curve for arm, one in ranked.items()}, money=money),
        "predicted and realised effects": uplift_plots.calibration(by_tenth(targeted, held_out), money=money),
    }
    most = float(targeted.cost.max() * len(everybody.arm))
    if most:
        points = frontier(
            everybody.effect, targeted.cost, value=targeted.decision.value_per_outcome,
            budgets=[share * most for share in FRONTIER],
            capacity=targeted.most,
            contacts=targeted.contacts,
        )  # fmt: skip
        figures["profit against spend"] = uplift_plots.profit_against_spend(points, targeted.budget)
    return figures


def _ranked(targeted: Targeted, held_out: Judged) -> dict[str, Any]:
    """Qini and the like, by treatment, on its own units and the control's."""
    from causal_assets.targeting.ranking import ranking_scores

    found = {}
    for k, arm in enumerate(targeted.arms.treatments):
        own = np.isin(held_out.arm, (0, k + 1))
        found[arm] = ranking_scores(
            held_out.raw[own, k], held_out.y[own], held_out.arm[own] == k + 1, seed=targeted.seed, level=targeted.level
        )
    return found


def tables(targeted: Targeted, warehouse: Warehouse, study: str) -> Mapping[str, Rows]:
    """Who gets what, how well the model ranks, the segments, what was tried, and what the model looks at."""
    held_out = targeted.judged(warehouse, study, POLICY)
    return {
        f"What the policy gives, to {len(held_out.arm):,} {targeted.unit}s it was proven on": _given(
            targeted, held_out
        ),
        "How well the model ranks units that it has not seen": _scores(targeted, held_out),
        "Segments, by predicted effect and by what is expected without treatment": _segments(
            targeted, warehouse, study, held_out
        ),
        **_strata(targeted, warehouse, study, held_out),
        "Features by their part in the predicted effects (mean size); not levers": _influence(
            targeted, warehouse, study
        ),
        "A tree of two questions that comes near the policy; to read, not to act on": [
            ["rule"],
            *([line["line"].replace("  ", "\u2003")] for line in warehouse.rows(f"FROM {study}.policy_tree")),
        ],
        "Candidates, in order of simplicity; kept is the first that varies within one error of the best": _tried(
            warehouse, study
        ),
    }


def metrics(targeted: Targeted, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> dict[str, float]:
    """The numbers of a model's run: how it ranks, what it earns, and the mean effects."""
    held_out = targeted.judged(warehouse, study, POLICY)
    found = {}
    for arm, one in _ranked(targeted, held_out).items():
        found |= {f"{measure.name}, {arm}": measure.value for measure in (one.qini, one.auuc, *one.uplift)}
    for k, arm in enumerate(targeted.arms.treatments):
        predicted = held_out.effect[:, k]
        found |= {f"CATE mean, {arm}": float(predicted.mean()), f"CATE sd, {arm}": float(predicted.std())}
    for role, estimate in findings:
        if role in (Role.PRIMARY, Role.SECONDARY):
            name = "policy gain" if role is Role.PRIMARY else f"ATE {estimate.outcome}"
            found |= {name: estimate.value, f"{name}, low": estimate.low, f"{name}, high": estimate.high}
    return found


def card(targeted: Targeted, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> str:
    """The model's card, as Markdown: what it is for, what it was proven on, and what it looks at."""
    gain = next(estimate for role, estimate in findings if role is Role.PRIMARY)
    lines = [
        f"# {study}", "", targeted.question, "",
        f"- For: {targeted.population_in_words()}.",
        f"- Arms: {', '.join(targeted.arms.every)}; costs {targeted.costs or 'none'}.",
        f"- Outcome: {targeted.primary.name}, worth {targeted.decision.value_per_outcome:g} a unit.",
        f"- Gain per {targeted.unit} {gain.method}: {gain.value:.4g} {_ends(gain.low, gain.high)}, net of cost, on "
        f"{gain.n_treated + gain.n_control:,} {targeted.unit}s that nothing else was decided on.",
        "- Not for: other populations or times than it was learned from, or a feature as a lever.",
    ]  # fmt: skip
    for title, rows in tables(targeted, warehouse, study).items():
        header, *body = rows
        lines += ["", f"## {title}", "", f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
        lines += [f"| {' | '.join(row)} |" for row in body]
    return "\n".join(lines) + "\n"


def _given(targeted: Targeted, held_out: Judged) -> Rows:
    rows = [["arm", "share", "cost per unit"]]
    for k, arm in enumerate(targeted.arms.every):
        cost = targeted.cost[k - 1] if k else 0.0
        rows.append([arm, f"{(held_out.chosen == k).mean():.1%}", f"{cost:.2f}"])
    return rows


def _scores(targeted: Targeted, held_out: Judged) -> Rows:
    from causal_assets.targeting.rate import rate

    rows = [["treatment", "score", "value", "interval", "what it is"]]
    ranked = _ranked(targeted, held_out)
    for k, arm in enumerate(targeted.arms.treatments):
        toc = rate(held_out.raw[:, k], held_out.psi[:, k], seed=targeted.seed, level=targeted.level)
        one = ranked[arm]
        for measure in (one.qini, one.auuc, *one.uplift, toc.qini, toc.autoc):
            rows.append(
                [arm, measure.name, f"{measure.value:.3g}", _ends(measure.low, measure.high), measure.definition]
            )
    return rows


def _segments(targeted: Targeted, warehouse: Warehouse, study: str, held_out: Judged) -> Rows:
    from causal_assets.targeting.segments import segment_effects, segments

    cut = warehouse.scalar(f"SELECT cut FROM {study}.frozen")
    rows = [["treatment", "segment", "share", "realised effect", "interval"]]
    for k, arm in enumerate(targeted.arms.treatments):
        place = segments(held_out.low[:, k], held_out.high[:, k], held_out.expected[:, 0], cut=cut)
        for found in segment_effects(
            place, held_out.psi[:, k], outcome=targeted.primary.name, cluster=held_out.cluster, level=targeted.level
        ):
            told = ["too few", ""] if found.effect is None else [
                f"{found.effect.value:.3g}", _ends(found.effect.low, found.effect.high)
            ]  # fmt: skip
            rows.append([arm, found.segment, f"{found.share:.1%}", *told])
    return rows


def _strata(targeted: Targeted, warehouse: Warehouse, study: str, held_out: Judged) -> Mapping[str, Rows]:
    """Bounds on who would act anyway, for an outcome that happens or not: nobody is seen both ways."""
    from causal_assets.targeting.segments import strata, tighter_sides

    if not np.isin(held_out.y, (0, 1)).all():
        return {}
    test = targeted.judged(warehouse, study, TEST)
    rows = [["treatment", "acts", "share, as estimated", "share, all four at once"]]
    for k, arm in enumerate(targeted.arms.treatments):
        edges = np.unique(np.quantile(test.effect[:, k], np.linspace(0, 1, TENTHS + 1)[1:-1]))
        group, own = (np.searchsorted(edges, judged.effect[:, k]) for judged in (test, held_out))
        pair = [0, k + 1]
        sides = tighter_sides(test.potential[:, pair], group)
        rows += [
            [arm, one.stratum, f"{one.lower:.1%} to {one.upper:.1%}", f"{one.low:.1%} to {one.high:.1%}"]
            for one in strata(
                held_out.y, held_out.potential[:, pair], own, sides, cluster=held_out.cluster, level=targeted.level
            )
        ]
    return {"Who would have acted anyway is not identified: bounds on the shares": rows}


def _influence(targeted: Targeted, warehouse: Warehouse, study: str) -> Rows:
    found = warehouse.rows(f"FROM {study}.influence")
    found.sort(key=lambda row: -max(row[arm] for arm in targeted.arms.treatments))
    rows = [["feature", *targeted.arms.treatments]]
    return rows + [[row["feature"], *(f"{row[a]:.3g}" for a in targeted.arms.treatments)] for row in found[:MOST_SHOWN]]


def _tried(warehouse: Warehouse, study: str) -> Rows:
    rows = [["candidate", "loss saved against no heterogeneity", "behind the best", "standard error"]]
    for row in warehouse.rows(f"FROM {study}.candidates"):
        name = f"{row['candidate']} (kept)" if row["kept"] else row["candidate"]
        rows.append([name, f"{row['gain']:.3g}", f"{row['behind']:.3g}", f"{row['std_error']:.3g}"])
    return rows


def by_tenth(targeted: Targeted, held_out: Judged) -> dict[str, Any]:
    """Predicted and realised effects by tenth of prediction, by treatment."""
    from causal_assets.targeting.calibration import sorted_groups

    return {
        arm: sorted_groups(held_out.psi[:, k], held_out.effect[:, k], cluster=held_out.cluster, level=targeted.level)
        for k, arm in enumerate(targeted.arms.treatments)
    }


def _ends(low: float, high: float) -> str:
    return f"[{low:.3g}, {high:.3g}]"
