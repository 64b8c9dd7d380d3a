"""From a panel in the warehouse to its two-way, event-study and 2x2 fits: which grouped queries, in which order."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causal_assets.estimators import did
from causal_assets.estimators.event_study import EventStudy, event_study, event_study_clusters, one_adoption
from causal_assets.estimators.inference import Refusal
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.two_way import Patterns, TwoWayFit, cr1_factor, period_effects, unpack, with_small_errors
from causal_assets.types import Estimate
from causal_assets.warehouse.engine import Warehouse
from causal_assets.warehouse.queries.panels import (
    MASK_BITS,
    PanelColumns,
    bad_outcomes,
    cluster_kinds,
    double_units,
    event_cluster_sums,
    event_differences,
    event_moments,
    first_treatment,
    panel_periods,
    period_totals,
    split_units,
    two_by_two_kinds,
    unit_patterns,
)


def read_two_way(warehouse: Warehouse, panel: PanelColumns) -> TwoWayFit:
    """Two-way fixed effects of a panel, errors by unit or cluster, without reading its rows.

    Two scans where all units have all periods and those ever treated the same ones, three where only the former holds
    (the outcome by period between), and four where units miss periods (which, before their scores). Memory is a row of
    sums per unit in the engine, and in Python the distinct patterns of observed and treated periods, by cluster. Two
    scans more where an arm has fewer than 50 clusters, and then the sums by cluster, kind of unit and period for CR2.

    Raises:
        ValueError: NULL, NaN or infinite outcomes; a treatment other than 0 and 1; a unit in two clusters.
        Refusal: double rows; one period; units treated from the first one on; or as ``ScoreSums.fit``.
    """
    rows = _periods(warehouse, panel)
    counts, dose = (np.array([row[name] for row in rows], dtype=np.float64) for name in ("n", "d"))
    # Where all units have all periods, period effects are the periods' means.
    found = _patterns(warehouse, panel, rows, dose if len(set(counts)) == 1 else None)
    if panel.cluster is None and found.seen.all() and len(found.units) == 1 + found.treated.any(axis=1).sum() == 2:
        return _difference(found)
    totals = np.array([row["total"] for row in warehouse.rows(period_totals(panel), repeatable=True)])
    centre = float(totals.sum() / counts.sum())
    totals -= centre * counts
    if found.seen.all():
        effects = np.stack([totals / counts, dose], axis=1)
    else:
        shares = found.units * found.treated.sum(axis=1) / found.seen.sum(axis=1)
        dose = period_effects(found.seen, found.units, shares[:, None], (dose * counts)[:, None])
        found = _patterns(warehouse, panel, rows, dose[:, 0], centre)
        level = period_effects(found.seen, found.units, (found.units * found.y)[:, None], totals[:, None])
        effects = np.hstack([level, dose])
    fit = found.fit(effects)
    return _small(warehouse, panel, fit, centre) if fit.needs_small_errors else fit


def _patterns(
    warehouse: Warehouse,
    panel: PanelColumns,
    rows: Sequence[dict[str, Any]],
    effects: NDArray[np.float64] | None,
    centre: float | None = None,
) -> Patterns:
    """Patterns of the units, with scores if the treatment's ``effects`` (T,) by period are known; no row is double."""
    periods = [row["period"] for row in rows]
    units = max(row["n"] for row in rows)
    doses = None if effects is None else effects.tolist()
    found = warehouse.arrays(unit_patterns(panel, periods, units, doses, centre))
    masks = np.stack([found[name] for name in found if name.startswith("mask_")], axis=1)
    bits = unpack(masks, 2 * len(periods), MASK_BITS)
    treated, counts = bits[:, 1::2], found["units"].astype(np.float64)
    seen = bits[:, ::2] | treated
    # Each pair of unit and period has its bit once: as many rows, and none is double.
    if counts @ seen.sum(axis=1) != sum(row["n"] for row in rows):
        double = warehouse.scalar(double_units(panel))
        raise Refusal(f"{panel.unit}, {panel.period}: {double} units have more than one row in a period")
    none = np.zeros(len(seen))
    score, spread, y = (found.get(name, none) for name in ("score", "spread", "y"))
    if not np.isfinite(score).all():
        raise _bad_outcomes(warehouse, panel)
    cluster = None if panel.cluster is None else found["cluster"] - 1
    return Patterns(seen, treated, counts, score, spread, y, cluster)


def _difference(found: Patterns) -> TwoWayFit:
    """Units treated in the same periods and units never treated: the difference of the arms' mean changes."""
    order = np.argsort(found.treated.any(axis=1))
    n0, n1 = units = found.units[order]
    periods = found.treated.shape[1]
    total, share = int(units.sum()) * periods, found.treated.sum() / periods
    # A unit's score is its covariance with d less the share of treated units, in the treated periods.
    weight = share * (1 - share) * np.array([-n1, n0]) / units.sum()
    changes, spreads = found.score[order] / weight, found.spread[order] / weight**2
    fit = TwoWayFit(
        value=float(changes[1] - changes[0]),
        std_error=float(np.sqrt(cr1_factor(total, int(units.sum()), 1 + periods) * (spreads / units).sum())),
        rows=total,
        treated=int(n1),
        control=int(n0),
    )
    if units.min() < 2:
        return fit
    return replace(
        fit,
        small_error=float(np.sqrt((spreads / (units - 1)).sum())),
        small_df=float((1 / n1 + 1 / n0) ** 2 / (1 / (n1**2 * (n1 - 1)) + 1 / (n0**2 * (n0 - 1)))),
    )


def _small(warehouse: Warehouse, panel: PanelColumns, found: TwoWayFit, centre: float) -> TwoWayFit:
    """The fit with its CR2 error."""
    kinds = warehouse.arrays(cluster_kinds(panel, centre))
    codes = (np.unique(np.asarray(kinds[k]), return_inverse=True)[1] for k in ("cluster", "seen", "path", "period"))
    cluster, seen, path, period = codes
    unit = np.unique(np.stack([cluster, seen, path]), axis=1, return_inverse=True)[1].ravel()
    y, d, n = (np.asarray(kinds[name], np.float64) for name in ("y", "d", "n"))
    return with_small_errors(found, y, d, unit, period, cluster, n)


def read_event_study(warehouse: Warehouse, panel: PanelColumns, *, joint: bool = True) -> EventStudy:
    """Event study of a balanced panel with one adoption date; ``joint`` reads the full covariance, periods squared.

    With a cluster in ``panel`` the covariance is always full, from the sums of each cluster's arms.

    Raises:
        ValueError: as ``read_two_way``.
        Refusal: as ``read_two_way``; an unbalanced panel; several adoption dates, or treatment from the start.
    """
    with warehouse.connect():  # opened once for both queries: in a small panel that costs as much as a scan
        rows = _periods(warehouse, panel)
        periods = [row["period"] for row in rows]
        if len({row["n"] for row in rows}) > 1:
            raise Refusal(f"{panel.unit}, {panel.period}: the panel is unbalanced; use two_way or staggered")
        highest = max(row["d"] for row in rows)
        if not 0 < highest < 1:
            raise Refusal(f"{panel.treatment}: both treated and untreated units are needed")
        adoption = one_adoption([row["d"] / highest for row in rows])
        differences = warehouse.rows(event_differences(panel, periods[adoption - 1], periods[-1]))
    relative = [k - adoption for k in range(len(periods)) if k != adoption - 1]
    by_arm: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    for row in differences:
        if row["treated"] is None or row["difference"] is None:
            raise Refusal(f"{panel.unit}, {panel.period}: the panel is unbalanced or has double rows")
        if not np.isfinite(row["difference"]):
            raise _bad_outcomes(warehouse, panel)
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
        Refusal: nobody is treated, not all of the group from one date to the end; or as ``did.two_by_two_kinds``.
    """
    (first,) = warehouse.rows(first_treatment(panel, arm))
    if first["adoption"] is None:
        raise Refusal(f"{panel.treatment}: nobody is treated in any period")
    if first["parted"]:
        raise Refusal(
            f"{panel.treatment}: two_by_two needs units that are all treated from one date on, and to the end; use "
            "staggered"
        )
    kinds = warehouse.rows(two_by_two_kinds(replace(panel, treatment=arm), first["adoption"], first["centre"]))
    rows, size, total, upper = (
        np.array([k[n] for k in kinds], np.float64) for n in ("rows", "size", "total", "products")
    )
    spread = np.zeros((len(kinds), 4, 4))
    spread[:, *np.triu_indices(4)] = upper
    spread += np.triu(spread, 1).transpose(0, 2, 1)
    return did.two_by_two_kinds(rows, size, total, spread, outcome=outcome, pilot=first["centre"], level=level)


def _periods(warehouse: Warehouse, panel: PanelColumns) -> list[dict[str, Any]]:
    """One row per period: rows ``n`` and share treated ``d``."""
    cells = warehouse.rows(panel_periods(panel))
    if any(cell["known"] < cell["n"] for cell in cells):
        raise _bad_outcomes(warehouse, panel)
    bad = sum(cell["n"] for cell in cells if cell["d"] not in (0, 1))
    if bad:
        raise ValueError(f"{panel.treatment}: {bad} rows are neither 0 nor 1")
    if panel.cluster is not None and (split := warehouse.scalar(split_units(panel))):
        raise ValueError(f"{panel.cluster}: {split} units are in more than one cluster")
    rows = []
    for period, group in groupby(cells, itemgetter("period")):
        both = list(group)
        n = sum(cell["n"] for cell in both)
        rows.append({"period": period, "n": n, "d": sum(cell["n"] * int(cell["d"]) for cell in both) / n})
    if len(rows) < 2:
        raise Refusal(f"{panel.period}: at least 2 periods are needed, got {len(rows)}")
    if rows[0]["d"] > 0:
        raise Refusal(
            f"{panel.treatment}: units are treated in the first period {rows[0]['period']} and have no pre-period; "
            "leave them out"
        )
    return rows


def _bad_outcomes(warehouse: Warehouse, panel: PanelColumns) -> ValueError:
    bad = warehouse.scalar(bad_outcomes(panel))
    return ValueError(f"{panel.outcome}: {bad} outcomes are NULL, NaN or infinite")


def _diagonal(rows: Sequence[dict[str, Any]]) -> Moments:
    return Moments(
        rows[0]["n"], np.array([row["difference"] for row in rows]), np.diag([row["variance"] for row in rows])
    )


def _full(n: int, means: Sequence[float], covariances: Sequence[float]) -> Moments:
    cov = np.zeros((len(means), len(means)))
    cov[np.triu_indices(len(means))] = covariances
    return Moments(n, np.array(means), cov + np.triu(cov, 1).T)
