"""What designs over one prepared table share: a Parquet, CSV or JSON Lines file, or a table of the warehouse.

To write a design: a file here with a class that names its ``columns`` (a ``dg.Model`` of column names by their role),
its ``identification``, ``design``, ``randomised``, ``checks`` (``TABLE_CHECKS`` included) and ``condition`` (SQL over
roles: who is treated), and implements ``estimates`` (from ``rows``) and ``diagnostics``. Its template is
``templates/<Class>.yaml``. ``experiment.py`` is the example to read. The cohort holds the roles and covariates, the
outcomes are read after it, under the registered protocol only; both know the table's content, so that a file replaced
in between is refused instead of misaligned.
"""

import os
import re
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import dagster as dg
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from causal_assets.designs.study import Losses, Study
from causal_assets.home import PROJECT
from causal_assets.protocol import Day, Measure, Protocol
from causal_assets.types import Diagnostic
from causal_assets.warehouse.engine import UnfitQueryErrors, Warehouse, identifier, literal
from causal_assets.warehouse.queries.filters import filter_columns, parse_expression, parse_filter
from causal_assets.warehouse.queries.tables import (
    all_of,
    content_of,
    is_known,
    numbered,
    reader,
    shape,
    sorts_by_time,
)

# A text of more values than this is a name, not a kind.
MOST_LEVELS = 50
TABLE_CHECKS = ("specification_curve", "multiplicity", "power", "data_loss", "retrospective", "deviations")


class Column(Measure):
    """An outcome that is a column of the table; ``column`` where it is not called as the outcome is."""

    column: str | None = None

    @property
    def source(self) -> str:
        """The table's column."""
        return self.column or self.name


class TableProtocol(Protocol):
    """The fields of a study of one table.

    ``table`` is a path, relative to the YAML's folder (``$VARIABLES`` are filled in), or ``schema.table`` of the
    warehouse. ``derived`` names further columns, each computed from the values of its own row. ``begins_on`` is the
    first day on which an outcome could occur: without it, the study is retrospective.
    """

    table: str
    derived: Annotated[dict[str, str], Field(default_factory=dict)]
    outcomes: Annotated[list[Column], Field(min_length=1)]
    covariates: Annotated[list[str], Field(default_factory=list)]
    begins_on: Day | None = None

    @property
    def measures(self) -> Sequence[Measure]:
        """All outcomes declared."""
        return self.outcomes

    @property
    def covariate_names(self) -> list[str]:
        """The covariates, called as in the table."""
        return self.covariates


class TableStudy(TableProtocol, Study):
    """A study whose cohort and outcomes are columns of one prepared table."""

    outcome_grain: ClassVar[str] = "one row per row of the cohort, outcomes where they are known"

    @model_validator(mode="after")
    def _outcomes_are_not_known_before(self) -> "TableStudy":
        for name, text in self.derived.items():
            parse_expression(text, f"derived.{name}")
        if self.population is not None:
            parse_filter(self.population, filter_columns(self.population))
        before = self._made_of([*self.roles.values(), *self.covariates, *filter_columns(self.population)])
        after = {outcome.source for outcome in self.outcomes}
        # An outcome computed from one column is that column; of one computed from several, such as a change, some are
        # known before, and which cannot be told.
        after |= {column for name in after if len(parts := self._parts(name)) == 1 for column in parts}
        leaks = sorted(before & after)
        if leaks:
            raise ValueError(f"outcomes: {leaks} also have another role; an outcome is read after everything else")
        return self

    @model_validator(mode="after")
    def _covariates_are_none_of_its_own_columns(self) -> "TableStudy":
        taken = {"y", *self._own}
        if clash := sorted(name for name in self.covariates if name.lower() in taken):
            raise ValueError(
                f"covariates: {clash} would be mistaken for the study's own columns {sorted(taken)}; "
                "copy them under other names by derived"
            )
        return self

    def _parts(self, column: str) -> list[str]:
        """The table's columns that a derived one is computed from."""
        return filter_columns(self.derived.get(column))

    def _made_of(self, columns: Iterable[str]) -> set[str]:
        return {part for column in columns for part in (column, *self._parts(column))}

    # --- what a design supplies -----------------------------------------------------------------------------------

    @property
    @abstractmethod
    def roles(self) -> dict[str, str]:
        """Columns of the table by their role; ``unit_id`` where rows are not units."""

    @property
    @abstractmethod
    def condition(self) -> str:
        """SQL over the roles: whether a row is treated; rows where it is NULL are in no arm, and left out."""

    # --- what the graph needs -------------------------------------------------------------------------------------

    @property
    def arm_names(self) -> tuple[str, str]:
        """What the two sides are called."""
        return "untreated", "treated"

    @property
    def stage_fields(self) -> dict[str, tuple[str, ...]]:
        """Protocol fields that each stage reads, besides those of the stages before it."""
        return {
            "cohort": ("table", "derived", "columns", "population", "covariates", *self.cohort_fields),
            "outcomes": ("outcomes",),
            "estimate": ("level", *self.estimate_fields),
            "evidence": ("plausible_effect", "begins_on", *self.evidence_fields),
            "decision": ("decision",),
        }

    cohort_fields: ClassVar[tuple[str, ...]] = ()

    def cohort_deps(self) -> Sequence[dg.AssetKey]:
        """The table, where it is one of the warehouse."""
        return [] if _is_file(self.table) else [dg.AssetKey(self.table.split("."))]

    def outcome_deps(self) -> Sequence[dg.AssetKey]:
        """Nothing besides the cohort: it holds the table's place."""
        return []

    def begins(self) -> str | None:
        """As declared."""
        return self.begins_on

    def origin(self) -> str:
        """The table's name."""
        return Path(self.table).name if _is_file(self.table) else self.table

    def data_through(self, warehouse: Warehouse, study: str) -> str:
        """Which content of the table was read."""
        return f"the table's version {self._delivery(warehouse, study)['content'][:12]}"

    def population_in_words(self) -> str:
        """Which rows."""
        return f"every {self.unit} of {self.origin()}" + (f", where {self.population}" if self.population else "")

    def write_cohort(self, warehouse: Warehouse, study: str, file: str) -> None:
        """Write ``<study>.cohort``: a row's number, its roles, covariates and whether it is treated.

        Raises:
            dagster.Failure: names file, field, given and allowed.
        """
        relation = self._relation(warehouse, file)
        where = self._filter(warehouse, file)
        roles = {"unit_id": "_row", **{role: identifier(column) for role, column in self.roles.items()}}
        chosen = ", ".join(f"{column} AS {role}" for role, column in roles.items())
        table = f"(SELECT * FROM ({numbered(relation)}) {where})"
        # The study's own columns come first: the table may have others of the same names.
        members = f"(SELECT ({self.condition}) AS treated, * FROM (SELECT {chosen}, * FROM {table}))"
        try:
            self._require_order(warehouse, file, table)
            each = is_known([*self.roles, *self.covariates], members, warehouse)
            in_an_arm = all_of(["treated IS NOT NULL", *(each[role] for role in self.roles)])
            gaps = "".join(f", count(*) FILTER (NOT ({each[n]})) AS {identifier(n)}" for n in self.covariates)
            complete = all_of(each.values())
            columns = ["_row", *roles, "treated", *self._as_numbers(warehouse, file, f"{members} WHERE {complete}")]
            with warehouse.transaction() as connection:
                connection.execute(f"CREATE SCHEMA IF NOT EXISTS {study}")
                connection.execute(
                    f"CREATE OR REPLACE TABLE {study}.cohort AS SELECT {', '.join(columns)} FROM {members} "
                    f"WHERE treated IS NOT NULL AND {complete} ORDER BY _row"
                )
                connection.execute(
                    f"CREATE OR REPLACE TABLE {study}.delivery AS SELECT {content_of(relation)} AS content, "
                    f"{literal(relation)} AS relation, count(*) AS members, "
                    f"count(*) FILTER (NOT {complete}) AS incomplete FROM {members} WHERE treated IS NOT NULL"
                )
                connection.execute(
                    f"CREATE OR REPLACE TABLE {study}.gaps AS SELECT treated, count(*) AS _rows{gaps} FROM {members} "
                    f"WHERE {in_an_arm} GROUP BY treated"
                )
                self._require_arms(connection, study, file)
                self._require_variation(connection, study, file)
        except UnfitQueryErrors as error:
            raise dg.Failure(f"{file}: population or columns do not fit the table's types: {error}") from error

    def _require_arms(self, connection: Any, study: str, file: str) -> None:
        counts = dict(connection.execute(f"SELECT treated, count(*) FROM {study}.cohort GROUP BY 1").fetchall())
        for name, side in zip(self.arm_names, (False, True), strict=True):
            if not counts.get(side) and not self.one_sided:
                raise dg.Failure(f"{file}: no row of {self.origin()} is {name!r} ({self.condition})")

    def _require_variation(self, connection: Any, study: str, file: str) -> None:
        columns = {d[0] for d in connection.execute(f"FROM {study}.cohort LIMIT 0").description} - self._own
        for name in sorted(columns):
            column = identifier(name)
            (varies,) = connection.execute(f"SELECT min({column}) < max({column}) FROM {study}.cohort").fetchone()
            if not varies:
                raise dg.Failure(f"{file}: covariates: {name!r} is the same in all rows, and adjusts for nothing")

    def _require_order(self, warehouse: Warehouse, file: str, table: str) -> None:
        types = warehouse.columns(table)
        for role, given in self.in_order.items():
            name = self.roles[role]
            if types[name] != "VARCHAR":
                continue
            found = [row["shape"] for row in warehouse.rows(f"SELECT DISTINCT {shape(name)} AS shape FROM {table}")]
            shapes = sorted({one for one in found if one} | {re.sub("[0-9]", "9", value) for value in given})
            if len(shapes) > 1 or not all(map(sorts_by_time, shapes)):
                raise dg.Failure(
                    f"{file}: columns.{role}: {name!r} holds time as text, written like {shapes[:3]} (9 is any digit), "
                    "which does not sort by time; allowed are numbers, days, times, and text that is YYYY-MM-DD or so"
                )

    @property
    def in_order(self) -> dict[str, list[str]]:
        """Roles whose columns are ordered in time, and the times of the protocol that they are compared with."""
        return {}

    def _as_numbers(self, warehouse: Warehouse, file: str, rows: str) -> list[str]:
        """SQL columns of the covariates as numbers; text becomes one column of 0 and 1 per value but its first."""
        types = warehouse.columns(f"(FROM {rows})")
        columns = []
        for name in self.covariates:
            if types[name] != "VARCHAR":
                columns.append(f"CAST({identifier(name)} AS DOUBLE) AS {identifier(name)}")
                continue
            levels = [
                row["level"]
                for row in warehouse.rows(
                    f"SELECT DISTINCT {identifier(name)} AS level FROM {rows} ORDER BY 1 LIMIT {MOST_LEVELS + 1}"
                )
            ]
            if len(levels) > MOST_LEVELS:
                raise dg.Failure(
                    f"{file}: covariates.{name}: a text of more than {MOST_LEVELS} values; group them, or name a number"
                )
            if len(levels) == 1:
                raise dg.Failure(f"{file}: covariates: {name!r} is the same in all rows, and adjusts for nothing")
            columns += [
                f"CAST({identifier(name)} = {literal(level)} AS DOUBLE) AS {identifier(f'{name}={level}')}"
                for level in levels[1:]
            ]
        return columns

    one_sided: ClassVar[bool] = False  # a design that needs no untreated rows says so

    def write_outcomes(self, warehouse: Warehouse, study: str) -> None:
        """Write ``<study>.outcomes``: the outcomes of the cohort's rows, NULL where they are not known.

        Raises:
            dagster.Failure: the table is not the one the cohort was drawn from, or an outcome is infinite.
        """
        delivery = self._delivery(warehouse, study)
        relation = delivery["relation"]
        if warehouse.scalar(f"SELECT {content_of(relation)}") != delivery["content"]:
            raise dg.Failure(f"{study}: {self.origin()} has changed since the cohort was drawn; materialise it again")
        cast = "CAST({0} AS DOUBLE)".format
        columns = ", ".join(
            f"CASE WHEN NOT isnan({cast(identifier(o.source))}) THEN {cast(identifier(o.source))} END "
            f"AS {identifier(o.name)}"
            for o in self.outcomes
        )
        rows = warehouse.replace(
            f"{study}.outcomes",
            f"SELECT _row, {columns} FROM ({numbered(relation)}) SEMI JOIN {study}.cohort USING (_row) ORDER BY _row",
        )
        for outcome in self.outcomes:
            name = identifier(outcome.name)
            known, infinite = warehouse.rows(
                f"SELECT count({name}) AS known, count(*) FILTER (isinf({name})) AS infinite FROM {study}.outcomes"
            )[0].values()
            if infinite or not known:
                what = f"{infinite} of {rows} values are infinite" if infinite else "no value is known"
                raise dg.Failure(f"{study}: outcomes.{outcome.name}: {what}")

    def losses(self, warehouse: Warehouse, study: str) -> Losses:
        """Rows without a covariate or a role, and rows without the primary outcome."""
        delivery = self._delivery(warehouse, study)
        unknown = 0
        if "outcomes" in warehouse.tables(study):
            unknown = warehouse.scalar(
                f"SELECT count(*) - count({identifier(self.primary.name)}) FROM {study}.outcomes"
            )
        reasons = (("a column of the cohort is empty", delivery["incomplete"]), ("the outcome is empty", unknown))
        lost = tuple((reason, rows) for reason, rows in reasons if rows)
        return Losses(lost, sum(rows for _, rows in lost), delivery["members"])

    def cohort_diagnostics(self, warehouse: Warehouse, study: str) -> list[Diagnostic]:  # noqa: ARG002
        """The design's checks that need no outcome; none by default."""
        return []

    def gaps_by_arm(self, warehouse: Warehouse, study: str) -> list[Diagnostic]:
        """Whether covariates are missing by arm, where any is; rows are the units that were assigned."""
        from causal_assets.diagnostics.missing_pattern import missing_pattern

        rows = {row.pop("treated"): row for row in warehouse.rows(f"FROM {study}.gaps")}
        if not self.covariates or not any(row[name] for row in rows.values() for name in self.covariates):
            return []
        control, treated = rows[False], rows[True]
        counts = {name: (control[name], treated[name]) for name in self.covariates}
        return [missing_pattern(counts, (control["_rows"], treated["_rows"]), randomised=self.randomised)]

    # --- what a design's estimates are made of --------------------------------------------------------------------

    def rows(self, warehouse: Warehouse, study: str, outcome: str) -> dict[str, NDArray[Any]]:
        """Columns of the cohort's rows for which ``outcome`` is known, aligned: ``y``, ``treated``, roles, covariates.

        Rows leave the engine here: for estimates that are no function of counts, sums and cross-products.
        """
        data = warehouse.arrays(
            f"SELECT c.*, o.{identifier(outcome)} AS y FROM {study}.cohort AS c "
            f"JOIN {study}.outcomes AS o USING (_row) WHERE y IS NOT NULL ORDER BY _row"
        )
        return {name: np.asarray(values) for name, values in data.items()}

    @property
    def _own(self) -> set[str]:
        return {"_row", "unit_id", "treated", *self.roles}

    def adjusted_for(self, warehouse: Warehouse, study: str) -> list[str]:
        """The covariates' columns in the cohort: all numbers, a text one per value but its first."""
        return [name for name in warehouse.columns(f"{study}.cohort") if name not in self._own]

    def covariate_matrix(self, rows: dict[str, NDArray[Any]]) -> tuple[list[str], NDArray[np.float64]]:
        """Names (k) and columns (n, k) of the covariates among ``rows``."""
        names = [name for name in rows if name not in self._own | {"y"}]
        return names, np.stack([rows[n] for n in names], axis=1) if names else np.empty((len(rows["y"]), 0))

    # --- the table ------------------------------------------------------------------------------------------------

    def _relation(self, warehouse: Warehouse, file: str) -> str:
        """SQL of the table; all its columns that the study names are there."""
        if _is_file(self.table):
            path = (PROJECT / file).parent / os.path.expandvars(self.table)
            if not path.exists():
                raise dg.Failure(f"{file}: table: there is no file {path}")
            relation = reader(path)
        else:
            relation = self.table
            schema, _, name = self.table.partition(".")
            if name not in warehouse.tables(schema):
                raise dg.Failure(
                    f"{file}: table: the warehouse has no {self.table}; {schema} has {sorted(warehouse.tables(schema))}"
                )
        own = warehouse.columns(f"(FROM {relation})")
        for name, text in self.derived.items():
            if name in own:
                raise dg.Failure(f"{file}: derived.{name}: {self.origin()} has a column {name!r} already")
            if unknown := sorted(set(filter_columns(text)) - set(own)):
                raise dg.Failure(
                    f"{file}: derived.{name}: no column {unknown} in {self.origin()}; it has {sorted(own)}"
                )
        computed = [f"{parse_expression(text, name)} AS {identifier(name)}" for name, text in self.derived.items()]
        relation = f"(SELECT {', '.join(['*', *computed])} FROM {relation})"
        known = {*own, *self.derived}
        named = [
            *((f"columns.{role}", column) for role, column in self.roles.items()),
            *((f"outcomes.{outcome.name}", outcome.source) for outcome in self.outcomes),
            *((f"covariates.{name}", name) for name in self.covariates),
        ]
        for field, column in named:
            if column not in known:
                raise dg.Failure(f"{file}: {field}: no column {column!r} in {self.origin()}; it has {sorted(known)}")
        return relation

    def _filter(self, warehouse: Warehouse, file: str) -> str:
        """The population as SQL, over every column but the outcomes."""
        if self.population is None:
            return ""
        outcomes = {outcome.source for outcome in self.outcomes}
        known = [c for c in warehouse.columns(f"(FROM {self._relation(warehouse, file)})") if c not in outcomes]
        try:
            return f"WHERE {parse_filter(self.population, known)}"
        except ValueError as error:
            raise dg.Failure(f"{file}: {error}") from error

    def _delivery(self, warehouse: Warehouse, study: str) -> dict[str, Any]:
        (row,) = warehouse.rows(f"FROM {study}.delivery")
        return row


def columns_of(covariate: str, columns: Sequence[str]) -> list[str]:
    """Which of the cohort's columns a covariate became: itself, or one per value of a text but its first."""
    return [column for column in columns if covariate in (column, column.partition("=")[0])]


def _is_file(table: str) -> bool:
    return table.endswith((".parquet", ".csv", ".jsonl"))
