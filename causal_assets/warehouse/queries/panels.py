"""Panels by grouped queries, as SQL text: sums by period, then by unit; rows never leave the engine.

How they fit together is in ``designs.panel_reading``. A panel is a table of one row per unit and period.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from causal_assets.warehouse.engine import identifier, literal

# Periods per integer of a mask: a signed 64-bit integer keeps this many with room to spare.
MASK_BITS = 62


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
    """One row per period and treatment, in order: rows ``n``, rows with an outcome ``known``, and its ``total``.

    ``code`` stands for the period in a unit's code: one row in each period has the codes of all periods, combined. The
    treatment ``d`` is as it stands, so that one that is no 0 or 1 is seen.
    """
    return f"""
SELECT p.period, p.d, count(*) AS n, count(p.y) AS known, sum(p.y) AS total, hash(p.period) AS code
FROM {_rows(panel, cast=False)} GROUP BY p.period, p.d ORDER BY p.period, p.d"""


def bad_outcomes(panel: PanelColumns) -> str:
    """How many outcomes are NULL, NaN or infinite."""
    return f"SELECT count(*) AS bad FROM {_rows(panel)} WHERE p.y IS NULL OR NOT isfinite(p.y)"


def unit_changes(panel: PanelColumns, adoption: Any, weights: tuple[float, float], centre: float) -> str:
    """One adoption date for all who adopt: moments over units of the change, by arm and the periods they are seen in.

    ``weights`` multiply rows before and from ``adoption`` on; one sum, one code (``panel_periods``) and whether it was
    ever treated per unit, one scan. hash(period, treatment) would not do for a code: DuckDB's hash of two columns is
    linear in those of each, so that only whether the number of treated periods is even would be left of the treatment.
    """
    before, after = (_number(weight) for weight in weights)
    return f"""
WITH units AS (
    SELECT bit_xor(hash(p.period)) AS code, max(p.d) AS treated,
        sum((p.y - {_number(centre)})
            * CASE WHEN p.period >= {_value(adoption)} THEN {after} ELSE {before} END) AS change
    FROM {_rows(panel)} GROUP BY p.unit
)
SELECT code, treated, count(*) AS n, avg(change) AS change, coalesce(var_samp(change), 0) AS variance
FROM units GROUP BY code, treated ORDER BY treated LIMIT 3"""


def unit_patterns(panel: PanelColumns, periods: Sequence[Any], centre: float) -> str:
    """Units by the set of periods they are observed in: how many, sums of their means, and how many have double rows.

    The set is the integers ``mask_0``, ``mask_1`` ..., 62 periods each, as ``two_way.unpack`` reads them. One scan.
    """
    masks = [f"mask_{k}" for k in range(-(-len(periods) // MASK_BITS))]
    packed = ", ".join(f"bit_or(s.{mask}) AS {mask}" for mask in masks)
    once = " + ".join(f"bit_count({mask})" for mask in masks)
    return f"""
WITH slots (period, {", ".join(masks)}) AS (VALUES
    {_slots(periods)}
),
units AS (
    SELECT {packed}, count(*) AS n, avg(p.y - {_number(centre)}) AS y, avg(p.d) AS d
    FROM {_rows(panel)} JOIN slots AS s ON s.period = p.period GROUP BY p.unit
)
SELECT {", ".join(masks)}, count(*) AS units, sum(y) AS y, sum(d) AS d, count(*) FILTER (n <> {once}) AS double_rows
FROM units GROUP BY {", ".join(masks)} ORDER BY {", ".join(masks)}"""


def unit_scores(
    panel: PanelColumns, periods: Sequence[Any], effects: Sequence[tuple[float, float]], *, coded: bool
) -> str:
    """Sums over clusters of p, q and their products (``two_way.ScoreSums``), given the period effects of y and d.

    ``effects`` has the pair of each period. With y' and d' freed of them, a unit's p is sum d'y' - sum d' sum y'/n and
    its q is sum d'd' - (sum d')^2/n. One scan; memory one row of sums per unit. In a balanced panel ``low_code`` and
    ``high_code`` are the code of all periods together, and ``fewest`` and ``most`` rows of a unit their number; codes
    are 0 unless ``coded``.
    """
    values = ",\n    ".join(
        f"({_value(period)}, {_number(a)}, {_number(b)})" for period, (a, b) in zip(periods, effects, strict=True)
    )
    cluster = "" if panel.cluster is None else "any_value(cluster) AS cluster, "
    code = "bit_xor(hash(period))" if coded else "0"
    scores = "scores"
    if panel.cluster is not None:
        scores = (
            "(SELECT sum(p) AS p, sum(q) AS q, max(started) AS started, min(low_code) AS low_code, "
            "max(high_code) AS high_code, min(fewest) AS fewest, max(most) AS most FROM scores GROUP BY cluster)"
        )
    return f"""
WITH effects (period, y_effect, d_effect) AS (VALUES
    {values}
),
freed AS (
    SELECT p.* EXCLUDE (y, d), p.d AS dose, p.d - e.d_effect AS d, p.y - e.y_effect AS y
    FROM {_rows(panel)} JOIN effects AS e ON e.period = p.period
),
units AS (
    SELECT {cluster}count(*) AS n, {code} AS code, sum(d) AS d, sum(y) AS y, sum(d * d) AS dd,
        sum(d * y) AS dy, max(dose) AS started
    FROM freed GROUP BY unit
),
scores AS (
    SELECT * EXCLUDE (n, code, d, y, dd, dy), code AS low_code, code AS high_code, n AS fewest, n AS most,
        dy - d * y / n AS p, dd - d * d / n AS q
    FROM units
)
SELECT count(*) FILTER (started = 1) AS treated, count(*) FILTER (started = 0) AS control,
    sum(p) AS p, sum(q) AS q, sum(p * p) AS pp, sum(p * q) AS pq, sum(q * q) AS qq,
    min(low_code) AS low_code, max(high_code) AS high_code, min(fewest) AS fewest, max(most) AS most
FROM {scores}"""


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
    avg(p.y - b.level) AS difference, coalesce(var_samp(p.y - b.level), 0) AS variance
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


def first_treatment(panel: PanelColumns) -> str:
    """The first period with a treated row, ``adoption``, and the mean outcome, ``centre``. One scan."""
    return f"SELECT min(p.period) FILTER (p.d = 1) AS adoption, avg(p.y) AS centre FROM {_rows(panel)}"


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


def _slots(periods: Sequence[Any]) -> str:
    """Each period with its bit in one of the masks."""
    width = -(-len(periods) // MASK_BITS)
    rows = []
    for index, period in enumerate(periods):
        bits = [f"{1 << index % MASK_BITS if k == index // MASK_BITS else 0}::BIGINT" for k in range(width)]
        rows.append(f"({_value(period)}, {', '.join(bits)})")
    return ",\n    ".join(rows)
