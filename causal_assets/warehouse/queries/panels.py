"""Panels by grouped queries, as SQL text: sums by period, then by unit; rows never leave the engine.

How they fit together is in ``designs.difference_in_differences``. A panel is a table of one row per unit and period.
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

    ``code`` stands for the period in that of ``unit_scores``; ``code_0`` and ``code_1`` for the period untreated and
    treated in that of ``unit_changes``.
    """
    return f"""
SELECT p.period, p.d, count(*) AS n, count(p.y) AS known, sum(p.y) AS total, hash(p.period) AS code,
    hash(p.period, 0::INTEGER) AS code_0, hash(p.period, 1::INTEGER) AS code_1
FROM {_rows(panel)} GROUP BY p.period, p.d ORDER BY p.period, p.d"""


def bad_outcomes(panel: PanelColumns) -> str:
    """How many outcomes are NULL, NaN or infinite."""
    return f"SELECT count(*) AS bad FROM {_rows(panel)} WHERE p.y IS NULL OR NOT isfinite(p.y)"


def unit_changes(panel: PanelColumns, adoption: Any, weights: tuple[float, float], centre: float) -> str:
    """One adoption date for all who adopt: moments over units of the change, by what the unit's rows are.

    ``weights`` multiply rows before and from ``adoption`` on; one sum and one code per unit, one scan. ``code`` stands
    for period and treatment of all rows of a unit: in a balanced panel it has one value per arm (``panel_periods``),
    and any other value is a unit that fits neither.
    """
    before, after = (_number(weight) for weight in weights)
    return f"""
WITH units AS (
    SELECT bit_xor(hash(p.period, p.d)) AS code,
        sum((p.y - {_number(centre)})
            * CASE WHEN p.period >= {_value(adoption)} THEN {after} ELSE {before} END) AS change
    FROM {_rows(panel)} GROUP BY p.unit
)
SELECT code, count(*) AS n, avg(change) AS change, coalesce(var_samp(change), 0) AS variance
FROM units GROUP BY code ORDER BY n DESC LIMIT 3"""


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


def unit_scores(panel: PanelColumns, periods: Sequence[Any], effects: Sequence[tuple[float, float]]) -> str:
    """Sums over clusters of p, q and their products (``two_way.ScoreSums``), given the period effects of y and d.

    ``effects`` has the pair of each period. With y' and d' freed of them, a unit's p is sum d'y' - sum d' sum y'/n and
    its q is sum d'd' - (sum d')^2/n. One scan; memory one row of sums per unit. In a balanced panel ``low_code`` and
    ``high_code`` are the code of all periods together: one row of each unit in each of them.
    """
    values = ",\n    ".join(
        f"({_value(period)}, {_number(a)}, {_number(b)})" for period, (a, b) in zip(periods, effects, strict=True)
    )
    cluster = "" if panel.cluster is None else "any_value(cluster) AS cluster, "
    scores = "scores"
    if panel.cluster is not None:
        scores = (
            "(SELECT sum(p) AS p, sum(q) AS q, max(started) AS started, min(low_code) AS low_code, "
            "max(high_code) AS high_code FROM scores GROUP BY cluster)"
        )
    return f"""
WITH effects (period, y_effect, d_effect) AS (VALUES
    {values}
),
freed AS (
    SELECT p.* EXCLUDE (y, d), hash(p.period) AS code, p.d AS dose, p.d - e.d_effect AS d, p.y - e.y_effect AS y
    FROM {_rows(panel)} JOIN effects AS e ON e.period = p.period
),
units AS (
    SELECT {cluster}count(*) AS n, bit_xor(code) AS code, sum(d) AS d, sum(y) AS y, sum(d * d) AS dd,
        sum(d * y) AS dy, max(dose) AS started
    FROM freed GROUP BY unit
),
scores AS (
    SELECT * EXCLUDE (n, code, d, y, dd, dy), code AS low_code, code AS high_code,
        dy - d * y / n AS p, dd - d * d / n AS q
    FROM units
)
SELECT count(*) FILTER (started = 1) AS treated, count(*) FILTER (started = 0) AS control,
    sum(p) AS p, sum(q) AS q, sum(p * p) AS pp, sum(p * q) AS pq, sum(q * q) AS qq,
    min(low_code) AS low_code, max(high_code) AS high_code
FROM {scores}"""


def event_differences(panel: PanelColumns, reference: Any, last: Any) -> str:
    """By period and arm, mean and variance over units of the outcome minus the unit's own at ``reference``.

    The arm is the treatment in the ``last`` period. ``code`` is one for all periods of an arm where each has the same
    units once; ``lowest`` and ``highest`` bracket its treatment. Two scans, one of them of two periods only.
    """
    return f"""
WITH base AS (
    SELECT p.unit, max(p.y) FILTER (p.period = {_value(reference)}) AS level,
        max(p.d) FILTER (p.period = {_value(last)}) = 1 AS treated
    FROM {_rows(panel)} WHERE p.period IN ({_value(reference)}, {_value(last)}) GROUP BY p.unit
)
SELECT p.period, b.treated, count(*) AS n, bit_xor(hash(p.unit)) AS code, min(p.d) AS lowest, max(p.d) AS highest,
    avg(p.y - b.level) AS difference, coalesce(var_samp(p.y - b.level), 0) AS variance
FROM {_rows(panel)} JOIN base AS b ON b.unit = p.unit
GROUP BY p.period, b.treated ORDER BY p.period, b.treated"""


def event_moments(panel: PanelColumns, periods: Sequence[Any], reference: Any) -> str:
    """One row per arm: n, means and covariances (upper triangle, row by row) of each period minus ``reference``.

    What a joint test and a sensitivity analysis need beyond ``event_differences``; work grows with periods squared.
    """
    base = f"max(p.y) FILTER (p.period = {_value(reference)})"
    others = [p for p in periods if p != reference]
    wide = ", ".join(f"max(p.y) FILTER (p.period = {_value(k)}) - {base} AS e{i}" for i, k in enumerate(others))
    means = ", ".join(f"avg(e{k})" for k in range(len(others)))
    pairs = ", ".join(f"covar_samp(e{j}, e{k})" for j in range(len(others)) for k in range(j, len(others)))
    return f"""
WITH units AS (SELECT max(p.d) = 1 AS treated, {wide} FROM {_rows(panel)} GROUP BY p.unit)
SELECT treated, count(*) AS n, [{means}] AS means, [{pairs}] AS covariances
FROM units GROUP BY treated ORDER BY treated"""


def _rows(panel: PanelColumns) -> str:
    """The panel under names of our own, ``p``: what its columns are called can then clash with nothing."""
    cluster = "" if panel.cluster is None else f", {identifier(panel.cluster)} AS cluster"
    return (
        f"(SELECT {identifier(panel.unit)} AS unit, {identifier(panel.period)} AS period, "
        f"CAST({identifier(panel.outcome)} AS DOUBLE) AS y, CAST({identifier(panel.treatment)} AS INTEGER) AS d"
        f"{cluster} FROM {panel.table}) AS p"
    )


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
