"""One pass over the additive mart for the sufficient statistics of every live study, as SQL text."""

from collections.abc import Sequence
from dataclasses import dataclass

from causal_assets.warehouse.engine import identifier, literal
from causal_assets.warehouse.queries.windows import Window, exact_sum


@dataclass(frozen=True)
class StudyColumns:
    """What one study contributes: its cohort table, the windows of its outcomes, and its covariates' names.

    ``days`` after assignment every window has passed; a unit counts once they have, by the coverage of its source.
    """

    study: str
    protocol: str
    source: str
    windows: tuple[Window, ...]
    covariates: tuple[str, ...]
    days: int

    @property
    def names(self) -> list[str]:
        """Columns of the study's moments, outcomes first."""
        return [*(window.name for window in self.windows), *self.covariates]


def study_moments(studies: Sequence[StudyColumns]) -> str:
    """One row per study and arm: n, names, means, covariances (upper triangle, row by row), skewness of its columns.

    Studies share numbered slots, so that one scan and one grouping of the mart serve them all whatever their windows;
    units and studies are numbered too, since joins and groups on numbers cost a third of those on texts. A unit without
    events counts, with zero. Sample covariances are the engine's own one-pass stable ones.
    """
    outcomes = max(len(study.windows) for study in studies)
    covariates = max(len(study.covariates) for study in studies)
    columns = [f"c{i}" for i in range(outcomes)] + [f"x{i}" for i in range(covariates)]
    slots = ",\n    ".join(
        f"({number}, {slot}, {literal(window.metric)}, {window.start}, {window.end})"
        for number, study in enumerate(studies)
        for slot, window in enumerate(study.windows)
    )
    metrics = ", ".join(sorted({literal(window.metric) for study in studies for window in study.windows}))
    sums = ", ".join(f"{exact_sum('d.value', f'FILTER (WHERE s.slot = {i})')} AS c{i}" for i in range(outcomes))
    filled = ", ".join(
        [f"coalesce(t.c{i}, 0) AS c{i}" for i in range(outcomes)] + [f"p.x{i}" for i in range(covariates)]
    )
    named = ",\n    ".join(
        f"({number}, {literal(study.study)}, {literal(study.protocol)}, {_aligned(study, outcomes, covariates)})"
        for number, study in enumerate(studies)
    )
    return f"""
WITH enrolled AS MATERIALIZED (
{_enrolled(studies, covariates)}
),
units AS MATERIALIZED (
    SELECT source, unit_id, row_number() OVER () AS unit FROM (SELECT DISTINCT source, unit_id FROM enrolled)
),
placed AS MATERIALIZED (
    SELECT e.* EXCLUDE (source, unit_id), u.unit FROM enrolled AS e JOIN units AS u USING (source, unit_id)
),
days AS (
    SELECT u.unit, d.day, d.metric, d.value
    FROM marts.unit_days AS d JOIN units AS u USING (source, unit_id)
    WHERE d.metric IN ({metrics})
),
slots (study, slot, metric, first_day, last_day) AS (VALUES
    {slots}
),
totals AS (
    SELECT p.study, p.unit, {sums}
    FROM days AS d
    JOIN placed AS p ON p.unit = d.unit
    JOIN slots AS s ON s.study = p.study AND s.metric = d.metric
        AND d.day >= p.assigned_on + s.first_day AND d.day < p.assigned_on + s.last_day
    GROUP BY p.study, p.unit
),
filled AS (
    SELECT p.study, p.treated, {filled}
    FROM placed AS p LEFT JOIN totals AS t ON t.study = p.study AND t.unit = p.unit
),
arms AS (
    SELECT study, treated, count(*) AS n, {_statistics(columns)}
    FROM filled GROUP BY study, treated
),
named (number, study, protocol, names) AS (VALUES
    {named}
)
SELECT named.study, named.protocol, arms.treated, arms.n, named.names, arms.means, arms.covariances, arms.skewness
FROM arms JOIN named ON named.number = arms.study
ORDER BY named.number, arms.treated"""


def arm_moments(table: str, columns: Sequence[str]) -> str:
    """The same row per arm for columns of one table."""
    return f"""
SELECT treated, count(*) AS n, [{", ".join(literal(column) for column in columns)}] AS names,
    {_statistics([identifier(column) for column in columns])}
FROM {table} GROUP BY treated ORDER BY treated"""


def _statistics(columns: Sequence[str]) -> str:
    means = ", ".join(f"avg({column})" for column in columns)
    covariances = ", ".join(f"covar_samp({a}, {b})" for i, a in enumerate(columns) for b in columns[i:])
    skewness = ", ".join(f"skewness({column})" for column in columns)
    return f"[{means}] AS means,\n    [{covariances}] AS covariances,\n    [{skewness}] AS skewness"


def _enrolled(studies: Sequence[StudyColumns], covariates: int) -> str:
    """Units of all studies whose windows have passed, covariates in numbered slots."""
    selects = []
    for number, study in enumerate(studies):
        slots = [f"{identifier(name)} AS x{i}" for i, name in enumerate(study.covariates)]
        slots += [f"0.0 AS x{i}" for i in range(len(study.covariates), covariates)]
        selects.append(
            f"SELECT {number} AS study, {literal(study.source)} AS source, unit_id, treated, assigned_on"
            + "".join(f", {slot}" for slot in slots)
            + f" FROM {study.study}.cohort WHERE assigned_on + {study.days} <= "
            f"(SELECT last_day + 1 FROM marts.coverage WHERE source = {literal(study.source)})"
        )
    return "\nUNION ALL\n".join(selects)


def _aligned(study: StudyColumns, outcomes: int, covariates: int) -> str:
    """Names by slot, NULL where the study has no column."""
    padded = [window.name for window in study.windows] + [None] * (outcomes - len(study.windows))
    padded += [*study.covariates] + [None] * (covariates - len(study.covariates))
    return "[" + ", ".join("NULL" if name is None else literal(name) for name in padded) + "]"
