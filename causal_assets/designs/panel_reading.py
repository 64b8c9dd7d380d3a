"""From a panel in the warehouse to its two-way, event-study and 2x2 fits: which grouped queries, in which order."""

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from itertools import groupby
from math import isfinite
from operator import itemgetter, xor
from typing import Any

import numpy as np

from causal_assets.estimators import did
from causal_assets.estimators.event_study import EventStudy, event_study, event_study_clusters, one_adoption
from causal_assets.estimators.inference import Refusal
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.two_way import ScoreSums, TwoWayFit, cr1_factor, period_effects, unpack, with_small_errors
from causal_assets.types import Estimate
from causal_assets.warehouse.engine import Warehouse
from causal_assets.warehouse.queries.panels import (
    MASK_BITS,
    PanelColumns,
    bad_outcomes,
    cluster_kinds,
    event_cluster_sums,
    event_differences,
    event_moments,
    first_treatment,
    panel_periods,
    split_units,
    two_by_two_kinds,
    unit_changes,
    unit_patterns,
    unit_scores,
)

# What ``unit_scores`` tells of the units' periods beside the sums.
TELLING = ("low_code", "high_code", "fewest", "most")


def read_two_way(warehouse: Warehouse, panel: PanelColumns) -> TwoWayFit:
    """Two-way fixed effects of a panel, errors by unit or cluster, without reading its rows.

    Two scans where the panel is balanced (by period, then by unit), three where it is not (units' periods between).
    Memory is a row of sums per unit in the engine, and in Python the distinct sets of observed periods. Two scans more
    where an arm has fewer than 50 clusters, and then the sums by cluster, kind of unit and period for CR2.

    Raises:
        ValueError: NULL, NaN or infinite outcomes; a treatment other than 0 and 1; a unit in two clusters.
        Refusal: double rows; one period; units treated from the first one on; or as ``ScoreSums.fit``.
    """
    rows = _periods(warehouse, panel)
    balanced = len({row["n"] for row in rows}) == 1
    dose = np.array([row["d"] for row in rows])
    if balanced and panel.cluster is None and _is_block(dose):
        found = _block(warehouse, panel, rows)
        if found is not None:
            return found
    counts = np.array([row["n"] for row in rows], dtype=np.float64)
    centre = float(np.average([row["y"] for row in rows], weights=counts))
    means = np.array([[row["y"] - centre, row["d"]] for row in rows])
    periods = [row["period"] for row in rows]

    def scores(effects: np.ndarray, *, coded: bool) -> dict[str, Any]:
        pairs = [(float(y) + centre, float(d)) for y, d in effects]
        (sums,) = warehouse.rows(unit_scores(panel, periods, pairs, coded=coded))
        return sums

    # Where all units have all periods, period effects are the periods' means; codes and counts tell whether they do.
    sums = scores(means, coded=True) if balanced else {}
    code = reduce(xor, (row["code"] for row in rows))
    if not balanced or _told(sums) != (code, code, len(rows), len(rows)):
        sums = scores(_effects(warehouse, panel, periods, means, counts, centre), coded=False)
    sums = {name: value for name, value in sums.items() if name not in TELLING}
    share = float(np.average(dose, weights=counts))
    total = int(counts.sum())
    found = ScoreSums(rows=total, periods=len(periods), variation=total * share * (1 - share), **sums).fit()
    return _small(warehouse, panel, found, centre) if found.needs_small_errors else found


def _told(sums: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(sums[name] for name in TELLING)


def _small(warehouse: Warehouse, panel: PanelColumns, found: TwoWayFit, centre: float) -> TwoWayFit:
    """The fit with its CR2 error."""
    kinds = warehouse.arrays(cluster_kinds(panel, centre))
    codes = (np.unique(np.asarray(kinds[k]), return_inverse=True)[1] for k in ("cluster", "seen", "path", "period"))
    cluster, seen, path, period = codes
    unit = np.unique(np.stack([cluster, seen, path]), axis=1, return_inverse=True)[1].ravel()
    y, d, n = (np.asarray(kinds[name], np.float64) for name in ("y", "d", "n"))
    return with_small_errors(found, y, d, unit, period, cluster, n)


def _effects(
    warehouse: Warehouse,
    panel: PanelColumns,
    periods: Sequence[Any],
    means: np.ndarray,
    counts: np.ndarray,
    centre: float,
) -> np.ndarray:
    """Period effects (T, 2) of outcome, less ``centre``, and treatment, from which units are observed when."""
    found = warehouse.arrays(unit_patterns(panel, periods, centre))
    if found["double_rows"].sum():
        raise Refusal(
            f"{panel.unit}, {panel.period}: {int(found['double_rows'].sum())} units have more than one row in a period"
        )
    masks = np.stack([found[f"mask_{k}"] for k in range(-(-len(periods) // MASK_BITS))], axis=1)
    return period_effects(
        unpack(masks, len(periods), MASK_BITS),
        found["units"].astype(np.float64),
        np.stack([found["y"], found["d"]], axis=1).astype(np.float64),
        means * counts[:, None],
    )


def read_event_study(warehouse: Warehouse, panel: PanelColumns, *, joint: bool = True) -> EventStudy:
    """Event study of a balanced panel with one adoption date; ``joint`` reads the full covariance, periods squared.

    With a cluster in ``panel`` the covariance is always full, from the sums of each cluster's arms.

    Raises:
        ValueError: as ``read_two_way``.
        Refusal: as ``read_two_way``; an unbalanced panel; several adoption dates, or treatment from the start.
    """
    rows = _periods(warehouse, panel)
    periods = [row["period"] for row in rows]
    if len({row["n"] for row in rows}) > 1:
        raise Refusal(f"{panel.unit}, {panel.period}: the panel is unbalanced; use two_way or staggered")
    highest = max(row["d"] for row in rows)
    if not 0 < highest < 1:
        raise Refusal(f"{panel.treatment}: both treated and untreated units are needed")
    adoption = one_adoption([row["d"] / highest for row in rows])
    relative = [k - adoption for k in range(len(periods)) if k != adoption - 1]
    by_arm: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    for row in warehouse.rows(event_differences(panel, periods[adoption - 1], periods[-1])):
        if row["treated"] is None:
            raise Refusal(f"{panel.unit}, {panel.period}: the panel is unbalanced or has double rows")
        by_arm[row["treated"]].append(row)
    for treated, arm in by_arm.items():
        if len({(row["code"], row["n"]) for row in arm}) > 1 or len(arm) != len(periods) or arm[0]["twice"] != 2:
            raise Refusal(f"{panel.unit}, {panel.period}: the panel is unbalanced or has double rows")
        if any((row["lowest"], row["highest"]) != (treated and k >= adoption,) * 2 for k, row in enumerate(arm)):
            raise Refusal(f"{panel.treatment}: units do not all adopt in one period and stay treated; use staggered")
    if panel.cluster is not None:
        sums = warehouse.rows(event_cluster_sums(panel, periods, periods[adoption - 1]))
        clusters = {cluster: k for k, cluster in enumerate(dict.fromkeys(row["cluster"] for row in sums))}
        units, totals = np.zeros((len(clusters), 2)), np.zeros((len(clusters), 2, len(relative)))
        for row in sums:
            at = clusters[row["cluster"]], int(row["treated"])
            units[at], totals[at] = row["n"], row["totals"]
        return event_study_clusters(units, totals, relative)
    if not joint:
        arms = [_diagonal([row for k, row in enumerate(by_arm[a]) if k != adoption - 1]) for a in (False, True)]
        return event_study(*arms, relative, joint=False)
    arms = [
        _full(row["n"], row["means"], row["covariances"])
        for row in warehouse.rows(event_moments(panel, periods, periods[adoption - 1]))
    ]
    return event_study(*arms, relative)


def read_two_by_two(warehouse: Warehouse, panel: PanelColumns, arm: str, *, outcome: str, level: float) -> Estimate:
    """2x2 before and after the first treated period, from kinds of units or clusters; rows never leave the engine.

    ``arm`` is the column of who is in the treated group, before adoption too. Two scans.

    Raises:
        ValueError: as ``did.two_by_two_kinds``.
        Refusal: nobody is treated; or as ``did.two_by_two_kinds``.
    """
    (first,) = warehouse.rows(first_treatment(panel))
    if first["adoption"] is None:
        raise Refusal(f"{panel.treatment}: nobody is treated in any period")
    kinds = warehouse.rows(two_by_two_kinds(replace(panel, treatment=arm), first["adoption"], first["centre"]))
    rows, size, total, upper = (
        np.array([k[n] for k in kinds], np.float64) for n in ("rows", "size", "total", "products")
    )
    spread = np.zeros((len(kinds), 4, 4))
    spread[:, *np.triu_indices(4)] = upper
    spread += np.triu(spread, 1).transpose(0, 2, 1)
    return did.two_by_two_kinds(rows, size, total, spread, outcome=outcome, pilot=first["centre"], level=level)


def _periods(warehouse: Warehouse, panel: PanelColumns) -> list[dict[str, Any]]:
    """One row per period: rows ``n``, mean outcome ``y``, share treated ``d``, codes."""
    cells = warehouse.rows(panel_periods(panel))
    if not all(cell["known"] == cell["n"] and isfinite(cell["total"]) for cell in cells):
        bad = warehouse.scalar(bad_outcomes(panel))
        raise ValueError(f"{panel.outcome}: {bad} outcomes are NULL, NaN or infinite")
    bad = sum(cell["n"] for cell in cells if cell["d"] not in (0, 1))
    if bad:
        raise ValueError(f"{panel.treatment}: {bad} rows are neither 0 nor 1")
    if panel.cluster is not None and (split := warehouse.scalar(split_units(panel))):
        raise ValueError(f"{panel.cluster}: {split} units are in more than one cluster")
    rows = []
    for _, group in groupby(cells, itemgetter("period")):
        both = list(group)
        n = sum(cell["n"] for cell in both)
        y, d = (sum(part) / n for part in zip(*((c["total"], c["n"] * int(c["d"])) for c in both), strict=True))
        rows.append({**both[0], "n": n, "y": y, "d": d})
    if len(rows) < 2:
        raise Refusal(f"{panel.period}: at least 2 periods are needed, got {len(rows)}")
    if rows[0]["d"] > 0:
        raise Refusal(
            f"{panel.treatment}: units are treated in the first period {rows[0]['period']} and have no pre-period; "
            "leave them out"
        )
    return rows


def _is_block(dose: np.ndarray) -> bool:
    """Whether the share treated by period could be that of one adoption date."""
    return bool(0 < dose.max() < 1 and np.isin(dose, (0.0, dose.max())).all() and (np.diff(dose) >= 0).all())


def _block(warehouse: Warehouse, panel: PanelColumns, rows: list[dict[str, Any]]) -> TwoWayFit | None:
    """One adoption date: the difference of the arms' mean changes; None where units of an arm differ in dates."""
    first = next(k for k, row in enumerate(rows) if row["d"] > 0)
    centre = float(np.mean([row["y"] for row in rows]))
    weights = -1 / first, 1 / (len(rows) - first)
    arms = warehouse.rows(unit_changes(panel, rows[first]["period"], weights, centre))
    code = reduce(xor, (row["code"] for row in rows))
    if [(arm["treated"], arm["code"]) for arm in arms] != [(0, code), (1, code)]:
        return None
    control, treated = arms
    n0, n1 = control["n"], treated["n"]
    # One row of each unit in each period, and as many treated from adoption on as there are units ever treated.
    if n0 + n1 != rows[0]["n"] or any(round(row["n"] * row["d"]) != n1 for row in rows[first:]):
        return None
    total = (n0 + n1) * len(rows)
    squares = sum(arm["variance"] * (arm["n"] - 1) / arm["n"] ** 2 for arm in (control, treated))
    found = TwoWayFit(
        value=treated["change"] - control["change"],
        std_error=float(np.sqrt(cr1_factor(total, n0 + n1, 1 + len(rows)) * squares)),
        rows=total,
        treated=n1,
        control=n0,
    )
    if min(n0, n1) < 2:
        return found
    return replace(
        found,
        small_error=float(np.sqrt(treated["variance"] / n1 + control["variance"] / n0)),
        small_df=(1 / n1 + 1 / n0) ** 2 / (1 / (n1**2 * (n1 - 1)) + 1 / (n0**2 * (n0 - 1))),
    )


def _diagonal(rows: Sequence[dict[str, Any]]) -> Moments:
    return Moments(
        rows[0]["n"], np.array([row["difference"] for row in rows]), np.diag([row["variance"] for row in rows])
    )


def _full(n: int, means: Sequence[float], covariances: Sequence[float]) -> Moments:
    cov = np.zeros((len(means), len(means)))
    cov[np.triu_indices(len(means))] = covariances
    return Moments(n, np.array(means), cov + np.triu(cov, 1).T)
