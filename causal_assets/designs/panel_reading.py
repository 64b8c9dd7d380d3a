"""From a panel in the warehouse to its two-way and event-study fits: which grouped queries to run, in which order."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from itertools import groupby
from math import isfinite
from operator import itemgetter, xor
from typing import Any

import numpy as np

from causal_assets.estimators.event_study import EventStudy, event_study, one_adoption
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.two_way import ScoreSums, TwoWayFit, cr1_factor, period_effects, unpack
from causal_assets.warehouse.engine import Warehouse
from causal_assets.warehouse.queries.panels import (
    MASK_BITS,
    PanelColumns,
    bad_outcomes,
    event_differences,
    event_moments,
    panel_periods,
    unit_changes,
    unit_patterns,
    unit_scores,
)


def read_two_way(warehouse: Warehouse, panel: PanelColumns) -> TwoWayFit:
    """Two-way fixed effects of a panel, errors by unit or cluster, without reading its rows.

    Two scans where the panel is balanced (by period, then by unit), three where it is not (units' periods between).
    Memory is a row of sums per unit in the engine, and in Python the distinct sets of observed periods.

    Raises:
        ValueError: NULL, NaN or infinite outcomes; a treatment other than 0 and 1; double rows; one period; or as
            ``ScoreSums.fit``.
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

    def scores(effects: np.ndarray) -> dict[str, Any]:
        pairs = [(float(y) + centre, float(d)) for y, d in effects]
        (sums,) = warehouse.rows(unit_scores(panel, periods, pairs))
        return sums

    # Where all units have all periods, the period effects are the periods' means; the codes tell whether they have.
    sums = scores(means) if balanced else {}
    if not balanced or (sums["low_code"], sums["high_code"]) != (_xor(row["code"] for row in rows),) * 2:
        sums = scores(_effects(warehouse, panel, periods, means, counts, centre))
    del sums["low_code"], sums["high_code"]
    share = float(np.average(dose, weights=counts))
    total = int(counts.sum())
    return ScoreSums(rows=total, periods=len(periods), variation=total * share * (1 - share), **sums).fit()


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
        raise ValueError(
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

    Raises:
        ValueError: as ``read_two_way``; an unbalanced panel; several adoption dates, or treatment from the start.
    """
    rows = _periods(warehouse, panel)
    periods = [row["period"] for row in rows]
    if len({row["n"] for row in rows}) > 1:
        raise ValueError(f"{panel.unit}, {panel.period}: the panel is unbalanced; use two_way or staggered")
    highest = max(row["d"] for row in rows)
    if not 0 < highest < 1:
        raise ValueError(f"{panel.treatment}: both treated and untreated units are needed")
    adoption = one_adoption([row["d"] / highest for row in rows])
    relative = [k - adoption for k in range(len(periods)) if k != adoption - 1]
    by_arm: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    for row in warehouse.rows(event_differences(panel, periods[adoption - 1], periods[-1])):
        if row["treated"] is None:
            raise ValueError(f"{panel.unit}, {panel.period}: the panel is unbalanced or has double rows")
        by_arm[row["treated"]].append(row)
    for treated, arm in by_arm.items():
        if len({row["code"] for row in arm}) > 1 or len(arm) != len(periods):
            raise ValueError(f"{panel.unit}, {panel.period}: the panel is unbalanced or has double rows")
        if any((row["lowest"], row["highest"]) != (treated and k >= adoption,) * 2 for k, row in enumerate(arm)):
            raise ValueError(f"{panel.treatment}: units do not all adopt in one period and stay treated; use staggered")
    if not joint:
        arms = [_diagonal([row for k, row in enumerate(by_arm[a]) if k != adoption - 1]) for a in (False, True)]
        return event_study(*arms, relative, joint=False)
    arms = [
        _full(row["n"], row["means"], row["covariances"])
        for row in warehouse.rows(event_moments(panel, periods, periods[adoption - 1]))
    ]
    return event_study(*arms, relative)


def _periods(warehouse: Warehouse, panel: PanelColumns) -> list[dict[str, Any]]:
    """One row per period: rows ``n``, mean outcome ``y``, share treated ``d``, codes."""
    cells = warehouse.rows(panel_periods(panel))
    if not all(cell["known"] == cell["n"] and isfinite(cell["total"]) for cell in cells):
        bad = warehouse.scalar(bad_outcomes(panel))
        raise ValueError(f"{panel.outcome}: {bad} outcomes are NULL, NaN or infinite")
    bad = sum(cell["n"] for cell in cells if cell["d"] not in (0, 1))
    if bad:
        raise ValueError(f"{panel.treatment}: {bad} rows are neither 0 nor 1")
    rows = []
    for _, group in groupby(cells, itemgetter("period")):
        both = list(group)
        n = sum(cell["n"] for cell in both)
        y, d = (sum(part) / n for part in zip(*((c["total"], c["n"] * c["d"]) for c in both), strict=True))
        rows.append({**both[0], "n": n, "y": y, "d": d})
    if len(rows) < 2:
        raise ValueError(f"{panel.period}: at least 2 periods are needed, got {len(rows)}")
    if rows[0]["d"] > 0:
        raise ValueError(
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
    arms = {row["code"]: row for row in warehouse.rows(unit_changes(panel, rows[first]["period"], weights, centre))}
    codes = [_xor(row[f"code_{int(treated and k >= first)}"] for k, row in enumerate(rows)) for treated in (0, 1)]
    if arms.keys() != set(codes):
        return None
    control, treated = (arms[code] for code in codes)
    n0, n1 = control["n"], treated["n"]
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


def _xor(codes: Iterable[int]) -> int:
    return reduce(xor, codes)


def _diagonal(rows: Sequence[dict[str, Any]]) -> Moments:
    return Moments(
        rows[0]["n"], np.array([row["difference"] for row in rows]), np.diag([row["variance"] for row in rows])
    )


def _full(n: int, means: Sequence[float], covariances: Sequence[float]) -> Moments:
    cov = np.zeros((len(means), len(means)))
    cov[np.triu_indices(len(means))] = covariances
    return Moments(n, np.array(means), cov + np.triu(cov, 1).T)
