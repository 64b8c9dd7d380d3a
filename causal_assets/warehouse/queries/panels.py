"""Panels by grouped queries, as SQL text: sums by period, then by unit; rows never leave the engine.

How they fit together is in ``designs.panel_reading``. A panel is a table of one row per unit and period.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from causal_assets.warehouse.engine import identifier, literal

# Bits per mask: what a signed 32-bit integer, a third cheaper to combine than one of 64, keeps with room to spare.
MASK_BITS = 30
# Up to this many units (and some 50 bytes for each of twice as many) sums by unit may be kept in a plain array.
ARRAY_UNITS = 1 << 21


@dataclass(frozen=True)
class PanelColumns:
    """A table (``schema.table``, quoted as needed) and the names of its columns; errors by ``cluster``, or by unit."""

    table: str
    unit: str
    period: str
    outcome: str
    treatment: str
    cluster: str | None = None


def panel_periods(panel: PanelColumns) -> str:
    """One row per period and treatment, in order: rows ``n`` and rows with an outcome, ``known``.

    The treatment ``d`` is as it stands, so that one that is no 0 or 1 is seen.
    """
    return f"""
SELECT p.period, p.d, count(*) AS n, count(p.y) AS known
FROM {_rows(panel, cast=False)} GROUP BY p.period, p.d ORDER BY p.period, p.d"""


def period_totals(panel: PanelColumns) -> str:
    """The sum of the outcome by period, in order."""
    return f"SELECT sum(p.y) AS total FROM {_rows(panel)} GROUP BY p.period ORDER BY p.period"


def bad_outcomes(panel: PanelColumns) -> str:
    """How many outcomes are NULL, NaN or infinite."""
    return f"SELECT count(*) AS bad FROM {_rows(panel)} WHERE p.y IS NULL OR NOT isfinite(p.y)"


def double_units(panel: PanelColumns) -> str:
    """How many units have more than one row in a period."""
    return (
        f"SELECT count(*) AS double FROM (SELECT p.unit FROM {_rows(panel)} GROUP BY p.unit "
        "HAVING count(*) > count(DISTINCT p.period))"
    )


def unit_patterns(
    panel: PanelColumns,
    periods: Sequence[Any],
    units: int,
    effects: Sequence[float] | None = None,
    centre: float | None = None,
) -> str:
    """Units by the periods they are observed and treated in: how many, and moments of their scores. One scan.

    The pattern is the integers ``mask_0``, ``mask_1`` ...: ``MASK_BITS`` bits each, the lowest first, two per period,
    for a row without and with treatment. Given the period effects of the treatment, ``score`` is the mean over units of
    the covariance of y and d less its effect over a unit's rows, and ``spread`` its variance, both ddof 0; given a
    ``centre``, ``y`` is the mean over units of their mean outcome less it. With a cluster, by that as well (numbered).

    About as many ``units`` are expected. The engine keeps sums by a dense integer in an array instead of a hash table,
    at half the cost, if told how long that may be; it is kept per thread and never spilled, and so on one thread only.
    """
    index, join = _place(periods)
    masks = [f"mask_{k}" for k in range(-(-2 * len(periods) // MASK_BITS))]
    cells = []
    for place in range(2 * len(periods)):
        bit = [1 << place % MASK_BITS if k == place // MASK_BITS else 0 for k in range(len(masks))]
        cell = [f"{mask}: {value}::INTEGER" for mask, value in zip(masks, bit, strict=True)]
        dose = [] if effects is None else [f"dose: {_number(place % 2 - effects[place // 2])}"]
        cells.append(f"{{{', '.join(cell + dose)}}}")
    per_unit, moments = [f"bit_or(cell.{mask}) AS {mask}" for mask in masks], ["count(*) AS units"]
    if effects is not None:
        per_unit.append("covar_pop(y, cell.dose) AS score")
        moments += ["avg(score) AS score", "covar_pop(score, score) AS spread"]
    if centre is not None:
        per_unit.append("avg(y) AS y")
        moments.append(f"avg(y - {_number(centre)}) AS y")
    owner, number, by = "", "", ", ".join(masks)
    if panel.cluster is not None:
        owner, number = "any_value(cluster) AS cluster, ", "dense_rank() OVER (ORDER BY cluster) AS cluster, "
        by = f"cluster, {by}"
    array = f"SET threads = 1; SET perfect_ht_threshold = {units.bit_length() + 1};" if units <= ARRAY_UNITS else ""
    return f"""{array}
WITH placed AS (SELECT p.*, [{", ".join(cells)}][{index}] AS cell FROM {_rows(panel)}{join}),
units AS (SELECT {owner}{", ".join(per_unit)} FROM placed GROUP BY unit)
SELECT {number}{", ".join(masks + moments)} FROM units GROUP BY {by} ORDER BY {by}"""


def split_units(panel: PanelColumns) -> str:
    """How many units are in more than one cluster. One scan."""
    return (
        f"SELECT count(*) AS split FROM (SELECT min(p.cluster) <> max(p.cluster) AS apart FROM {_rows(panel)} "
        "GROUP BY p.unit) WHERE apart"
    )


def cluster_kinds(panel: PanelColumns, centre: float) -> str:
    """By cluster, kind of unit and period: treatment ``d``, units ``n`` and their mean outcome ``y`` less ``centre``.

    Units of a kind are observed and treated in the same periods, so that errors by cluster need no more than this. Two
    scans; as many rows as clusters, kinds in them and periods.
    """
    cluster = "p.unit" if panel.cluster is None else "any_value(p.cluster)"
    return f"""
WITH units AS (
    SELECT p.unit, {cluster} AS cluster, bit_xor(hash(p.period)) AS seen,
        coalesce(bit_xor(hash(p.period)) FILTER (p.d = 1), 0) AS path
    FROM {_rows(panel)} GROUP BY p.unit
)
SELECT u.cluster, u.seen, u.path, p.period, any_value(p.d) AS d, count(*) AS n, avg(p.y - {_number(centre)}) AS y
FROM {_rows(panel)} JOIN units AS u ON u.unit = p.unit
GROUP BY u.cluster, u.seen, u.path, p.period ORDER BY u.cluster, u.seen, u.path, p.period"""


def event_differences(panel: PanelColumns, reference: Any, last: Any) -> str:
    """By period and arm, mean and variance over units of the outcome minus the unit's own at ``reference``.

    The arm is the treatment in the ``last`` period. ``code`` and ``n`` are one for all periods of an arm where each has
    the same units once, and ``twice`` is then 2; ``lowest`` and ``highest`` bracket its treatment. Two scans, one of
    them of two periods only.
    """
    return f"""
WITH base AS (
    SELECT p.unit, max(p.y) FILTER (p.period = {_value(reference)}) AS level,
        max(p.d) FILTER (p.period = {_value(last)}) = 1 AS treated, count(*) AS n
    FROM {_rows(panel)} WHERE p.period IN ({_value(reference)}, {_value(last)}) GROUP BY p.unit
)
SELECT p.period, b.treated, count(*) AS n, bit_xor(hash(p.unit)) AS code, max(b.n) AS twice,
    min(p.d) AS lowest, max(p.d) AS highest,
    avg(p.y - b.level) AS difference, coalesce(covar_samp(p.y - b.level, p.y - b.level), 0) AS variance
FROM {_rows(panel)} JOIN base AS b ON b.unit = p.unit
GROUP BY p.period, b.treated ORDER BY p.period, b.treated"""


def event_cluster_sums(panel: PanelColumns, periods: Sequence[Any], reference: Any) -> str:
    """One row per cluster and arm: units ``n`` and the sum over them of each period minus ``reference``. One scan."""
    wide, columns = _wide(periods, reference)
    sums = ", ".join(f"sum({column})" for column in columns)
    return f"""
WITH units AS (
    SELECT any_value(p.cluster) AS cluster, max(p.d) = 1 AS treated, {wide} FROM {_rows(panel)} GROUP BY p.unit
)
SELECT cluster, treated, count(*) AS n, [{sums}] AS totals FROM units GROUP BY cluster, treated ORDER BY cluster"""


def event_moments(panel: PanelColumns, periods: Sequence[Any], reference: Any) -> str:
    """One row per arm: n, means and covariances (upper triangle, row by row) of each period minus ``reference``.

    What a joint test and a sensitivity analysis need beyond ``event_differences``; work grows with periods squared.
    """
    wide, columns = _wide(periods, reference)
    means = ", ".join(f"avg({column})" for column in columns)
    pairs = ", ".join(f"covar_samp({a}, {b})" for k, a in enumerate(columns) for b in columns[k:])
    return f"""
WITH units AS (SELECT max(p.d) = 1 AS treated, {wide} FROM {_rows(panel)} GROUP BY p.unit)
SELECT treated, count(*) AS n, [{means}] AS means, [{pairs}] AS covariances
FROM units GROUP BY treated ORDER BY treated"""


def first_treatment(panel: PanelColumns, arm: str) -> str:
    """The first treated period, ``adoption``; the mean outcome, ``centre``. One scan.

    ``parted`` says whether a row of the treated group, the column ``arm``, is untreated from then on.
    """
    period, d, ever = (identifier(column) for column in (panel.period, panel.treatment, arm))
    adoption = f"min({period}) FILTER ({d} = 1)"
    return (
        f"SELECT {adoption} AS adoption, coalesce(max({period}) FILTER ({ever} = 1 AND {d} = 0) >= {adoption}, false) "
        f"AS parted, avg({identifier(panel.outcome)}) AS centre FROM {panel.table} AS p"
    )


def two_by_two_kinds(panel: PanelColumns, adoption: Any, centre: float) -> str:
    """Kinds of clusters by how many rows they have in the cells of the 2x2, which is all their CR2 error asks of them.

    The cells are untreated before and after ``adoption``, treated before and after; the panel's treatment is here the
    arm of a row. One row per kind: ``rows`` (4) of one cluster, ``size`` clusters, ``total`` (4) their mean sums of the
    outcome less ``centre``, ``products`` the upper triangle of their summed products of deviations. One scan, memory a
    row of sums per cluster in the engine.
    """
    late = f"p.period >= {_value(adoption)}"
    where = [f"p.d = {arm} AND {'' if after else 'NOT '}({late})" for arm in (0, 1) for after in (False, True)]
    counts = ", ".join(f"count(*) FILTER ({cell}) AS n{k}" for k, cell in enumerate(where))
    sums = ", ".join(
        f"coalesce(sum(p.y - {_number(centre)}) FILTER ({cell}), 0) AS t{k}" for k, cell in enumerate(where)
    )
    products = ", ".join(f"covar_pop(t{j}, t{k}) * count(*)" for j in range(4) for k in range(j, 4))
    label = "p.unit" if panel.cluster is None else "p.cluster"
    return f"""
WITH clusters AS (SELECT {counts}, {sums} FROM {_rows(panel)} GROUP BY {label})
SELECT [n0, n1, n2, n3] AS rows, count(*) AS size, [avg(t0), avg(t1), avg(t2), avg(t3)] AS total,
    [{products}] AS products
FROM clusters GROUP BY n0, n1, n2, n3 ORDER BY n0, n1, n2, n3"""


def _rows(panel: PanelColumns, *, cast: bool = True) -> str:
    """The panel under names of our own, ``p``: what its columns are called can then clash with nothing."""
    treatment = identifier(panel.treatment)
    dose = f"CAST({treatment} AS INTEGER)" if cast else treatment
    cluster = "" if panel.cluster is None else f", {identifier(panel.cluster)} AS cluster"
    return (
        f"(SELECT {identifier(panel.unit)} AS unit, {identifier(panel.period)} AS period, "
        f"CAST({identifier(panel.outcome)} AS DOUBLE) AS y, {dose} AS d"
        f"{cluster} FROM {panel.table}) AS p"
    )


def _wide(periods: Sequence[Any], reference: Any) -> tuple[str, list[str]]:
    """SQL of a unit's outcome in each period minus that at ``reference``, and the columns' names."""
    base = f"max(p.y) FILTER (p.period = {_value(reference)})"
    others = [period for period in periods if period != reference]
    columns = [f"e{k}" for k in range(len(others))]
    pairs = zip(others, columns, strict=True)
    wide = ", ".join(f"max(p.y) FILTER (p.period = {_value(period)}) - {base} AS {name}" for period, name in pairs)
    return wide, columns


def _value(value: Any) -> str:
    """A period's own value as SQL: a number as it is, anything else (a date, a text) as a text the engine casts."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else literal(str(value))


def _number(value: float) -> str:
    """A double in full, never a decimal."""
    return f"{float(value)!r}::DOUBLE"


def _place(periods: Sequence[Any]) -> tuple[str, str]:
    """SQL of where a row's period and treatment stand in a list of two per period, from 1, and the join that needs."""
    if all(isinstance(period, int) and period == periods[0] + k for k, period in enumerate(periods)):
        return f"2 * CAST(p.period AS BIGINT) + p.d + {1 - 2 * periods[0]}", ""
    places = ", ".join(f"({_value(period)}, {k}::BIGINT)" for k, period in enumerate(periods))
    return "2 * s.place + p.d + 1", f" JOIN (VALUES {places}) AS s (period, place) ON s.period = p.period"
