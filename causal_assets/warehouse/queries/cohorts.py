"""Who is in a study, in which arm, and what was known of them before, as SQL text."""

from collections.abc import Sequence

from causal_assets.warehouse.engine import identifier, literal
from causal_assets.warehouse.queries.windows import Window, window_sums


def randomised_units(source: str, program: str, treatment: str, first: str, last: str) -> str:
    """Units a programme assigned within [first, last]: first arm and moment, and how many arms they were ever given."""
    return f"""
SELECT
    unit_id,
    arg_min(arm, assigned_at) = {literal(treatment)} AS treated,
    arg_min(arm, assigned_at) AS arm,
    CAST(min(assigned_at) AS DATE) AS assigned_on,
    min(assigned_at) AS assigned_at,
    count(DISTINCT arm) AS arms
FROM marts.assignments
WHERE source = {literal(source)} AND program = {literal(program)}
GROUP BY unit_id
HAVING CAST(min(assigned_at) AS DATE) BETWEEN {literal(first)} AND {literal(last)}"""


# Column of the observational cohort: ln(1 + other treatments received before).
EARLIER = "earlier_co_interventions"


def units_at_risk(
    source: str,
    program: str,
    active_metric: str | None,
    time_zero: str,
    as_of: str,
    others: Sequence[str] = (),
    treatment: str | None = None,
) -> str:
    """Units known before ``as_of`` and never assigned before ``time_zero``: treated on that day, or not.

    Assigned means to the arm ``treatment`` (a holdout is not treated), or to any arm where that is None. Known means
    active in ``active_metric``, or with any attribute where that is None. Nothing here depends on the future of a unit;
    ``later_on``, the day of a later assignment, is carried along for falsification only. ``as_of`` is the day
    covariates are read at: time zero, or an earlier placebo date. With other programmes, what a unit had of them before
    is a covariate.
    """
    if active_metric is None:
        first_known = (
            f"SELECT unit_id, min(CAST(known_at AS DATE)) AS first_day FROM marts.unit_attributes "
            f"WHERE source = {literal(source)}"
        )
    else:
        first_known = (
            f"SELECT unit_id, min(day) AS first_day FROM marts.unit_days "
            f"WHERE source = {literal(source)} AND metric = {literal(active_metric)}"
        )
    given = "" if treatment is None else f" AND arm = {literal(treatment)}"
    earlier = ""
    if others:
        listed = ", ".join(literal(other) for other in others)
        earlier = f"""
    (
        SELECT ln(1 + count(*)) FROM marts.assignments AS o
        WHERE o.source = {literal(source)} AND o.program IN ({listed}) AND o.unit_id = k.unit_id
            AND o.assigned_at < {literal(as_of)}
    ) AS {EARLIER},"""
    return f"""
WITH known AS ({first_known} GROUP BY unit_id),
assigned AS (
    SELECT
        unit_id,
        min(CAST(assigned_at AS DATE)) AS first_on,
        min(CAST(assigned_at AS DATE)) FILTER (WHERE CAST(assigned_at AS DATE) > {literal(time_zero)}) AS later_on
    FROM marts.assignments
    WHERE source = {literal(source)} AND program = {literal(program)}{given}
    GROUP BY unit_id
)
SELECT
    k.unit_id,
    coalesce(s.first_on = DATE {literal(time_zero)}, false) AS treated,
    s.later_on,{earlier}
    DATE {literal(as_of)} AS assigned_on,
    CAST({literal(as_of)} AS TIMESTAMP) AS assigned_at,
    1 AS arms
FROM known AS k
LEFT JOIN assigned AS s USING (unit_id)
WHERE k.first_day < {literal(as_of)} AND coalesce(s.first_on >= {literal(time_zero)}, true)"""


def cohort(
    units: str, source: str, windows: Sequence[Window], attributes: Sequence[str], population: str | None
) -> str:
    """Units with covariates and attributes as known at assignment, kept where the population's filter holds.

    An attribute is the last value known at the moment of assignment; one learnt a second later is not read, nor is one
    withdrawn before.
    """
    # arg_max would pass over a NULL, and so read a value that was withdrawn.
    known = ",\n        ".join(
        f"arg_max_null(a.value, a.known_at) FILTER (WHERE a.attribute = {literal(name)}) AS {identifier(name)}"
        for name in attributes
    )
    parts = ["units.*"]
    joins = ""
    if windows:
        parts.append("covariates.* EXCLUDE (unit_id)")
        joins += f"\nLEFT JOIN ({window_sums('units', source, windows)}) AS covariates USING (unit_id)"
    if attributes:
        parts.append("attributes.* EXCLUDE (unit_id)")
        joins += f"""
LEFT JOIN (
    SELECT u.unit_id, {known}
    FROM units AS u JOIN marts.unit_attributes AS a
        ON a.unit_id = u.unit_id AND a.source = {literal(source)} AND a.known_at <= u.assigned_at
    GROUP BY u.unit_id
) AS attributes USING (unit_id)"""
    where = f"\nWHERE {population}" if population else ""
    return f"WITH units AS ({units})\nSELECT {', '.join(parts)}\nFROM units{joins}{where}"


def co_interventions(units: str, source: str, programs: Sequence[str], days: int) -> str:
    """Per arm: the number of units that any of the other programmes reached within ``days`` from assignment."""
    listed = ", ".join(literal(program) for program in programs)
    return f"""
SELECT u.treated, count(DISTINCT u.unit_id) AS reached
FROM {units} AS u
JOIN marts.assignments AS a
    ON a.unit_id = u.unit_id AND a.source = {literal(source)} AND a.program IN ({listed})
    AND CAST(a.assigned_at AS DATE) >= u.assigned_on AND CAST(a.assigned_at AS DATE) < u.assigned_on + {days}
GROUP BY u.treated"""
