"""What every design shares: a protocol that knows its data.

A design says who is in the cohort, how outcomes become estimates and what is checked; ``graph.py`` makes assets of it.
"""

from abc import abstractmethod
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, ClassVar

import dagster as dg
from pydantic import model_validator

from causal_assets.component import YamlComponent, yaml_file
from causal_assets.decision import Profit
from causal_assets.designs import reporting
from causal_assets.designs.graph import StudyGraph
from causal_assets.ledger import Ledger
from causal_assets.protocol import KEYWORDS, NAME, TAKEN, Outcome, Protocol, hash_of
from causal_assets.types import Diagnostic, Estimate, Role
from causal_assets.warehouse import results
from causal_assets.warehouse.engine import UnfitQueryErrors, Warehouse, literal
from causal_assets.warehouse.queries.cohorts import cohort
from causal_assets.warehouse.queries.filters import filter_columns, parse_filter
from causal_assets.warehouse.queries.windows import Window, course_windows, covariate_windows, outcome_windows
from causal_assets.warehouse.results import Finding

# Schemas that belong to the warehouse; a study's tables live in the schema of its own name.
RESERVED = {
    "raw", "reference", "staging", "intermediate", "marts", "studies", "results", "main", "landing",
    "warehouse", "temp", "system", "information_schema", "pg_catalog", *KEYWORDS,
}  # fmt: skip
SHARED_CHECKS = ("power", "maturity", "data_loss", "retrospective")


class Study(Protocol, YamlComponent):
    """One causal question; its YAML is its protocol, its folder's name is its name."""

    design: ClassVar[str]
    randomised: ClassVar[bool]
    estimand: str
    checks: ClassVar[tuple[str, ...]]
    cohort_fields: ClassVar[tuple[str, ...]]
    estimate_fields: ClassVar[tuple[str, ...]] = ()
    evidence_fields: ClassVar[tuple[str, ...]] = ()
    outcome_grain: ClassVar[str]

    @model_validator(mode="after")
    def _population_is_a_condition(self) -> "Study":
        if self.population is not None:
            parse_filter(self.population, filter_columns(self.population))
        return self

    @model_validator(mode="after")
    def _columns_differ(self) -> "Study":
        own = [*(window.name for window in self.windows), *self.cohort_attributes]
        columns = [*own, *self.covariate_names]
        wrong = sorted({name for name in columns if columns.count(name) > 1} | (TAKEN & set(own)))
        if wrong:
            raise ValueError(
                f"outcomes, covariates, attributes: {wrong} would name two columns; the primary outcome's course is "
                f"{[window.name for window in course_windows(self.primary)]}, the cohort's own are {sorted(TAKEN)}"
            )
        return self

    # --- what a design supplies -----------------------------------------------------------------------------------

    @abstractmethod
    def units(self) -> str:
        """SQL of the study's units: unit_id, treated, assigned_on, assigned_at, arms."""

    @abstractmethod
    def write_outcomes(self, warehouse: Warehouse, study: str) -> None:
        """Write ``<study>.outcomes`` for the units whose windows have passed."""

    @abstractmethod
    def estimates(self, warehouse: Warehouse, study: str) -> list[Finding]:
        """All findings from ``<study>.outcomes``, the primary one included; none if no window has passed."""

    @abstractmethod
    def cohort_diagnostics(self, warehouse: Warehouse, study: str) -> list[Diagnostic]:
        """The design's checks that need no outcome, so that a broken start is seen on its first day."""

    @abstractmethod
    def diagnostics(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> list[Diagnostic]:
        """The design's checks of the findings."""

    @abstractmethod
    def balance(self, warehouse: Warehouse, study: str) -> list[tuple[str, float, float | None]]:
        """Covariate, standardised mean difference before adjustment and after it (None where nothing is adjusted)."""

    @abstractmethod
    def begins(self) -> str:
        """The first day on which an outcome can occur."""

    @abstractmethod
    def closes(self) -> str:
        """The last day on which a unit can enter the study."""

    @abstractmethod
    def population_in_words(self) -> str:
        """Who is in the study."""

    def write_extras(self, warehouse: Warehouse, study: str, file: str) -> None:
        """Further tables of the cohort stage; none by default."""

    def extra_windows(self) -> list[Window]:
        """Further pre-assignment columns of the cohort; none by default."""
        return []

    def propensity(self, warehouse: Warehouse, study: str) -> reporting.Propensity | None:  # noqa: ARG002
        """Histogram of the propensity by arm, where the design estimates one."""
        return None

    # --- what the graph needs -------------------------------------------------------------------------------------

    @property
    def windows(self) -> list[Window]:
        """All outcome columns: those declared, and the primary one's course over time."""
        return [*outcome_windows(self.outcomes), *course_windows(self.primary)]

    @property
    def cohort_attributes(self) -> list[str]:
        """Attributes that the cohort carries: those the population's filter mentions."""
        return [name for name in filter_columns(self.population) if name not in self.covariate_names]

    @property
    def money_outcomes(self) -> list[str]:
        """Outcome columns that are money; the primary one's course is what the primary one is."""
        declared = [outcome.name for outcome in self.outcomes if outcome.money]
        return (
            [*declared, *(window.name for window in course_windows(self.primary))] if self.primary.money else declared
        )

    @property
    def protocol_document(self) -> dict[str, Any]:
        """The resolved protocol as registered."""
        return self.document(self.design)

    @property
    def protocol_hash(self) -> str:
        """SHA-256 of the protocol; the data version of ``registration``."""
        return hash_of(self.protocol_document)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The study's eight assets, keyed by the folder's name.

        Raises:
            ValueError: a folder name that cannot name tables, or that the warehouse uses itself.
        """
        name = context.path.name
        if not NAME.fullmatch(name) or name in RESERVED:
            raise ValueError(
                f"{context.path}: {name!r} cannot name a study; allowed are lower-case letters, digits and _, "
                f"and none of {sorted(RESERVED - KEYWORDS)} or of SQL's words"
            )
        return dg.Definitions(assets=StudyGraph(self, name, str(yaml_file(context))).assets())

    @property
    def stage_fields(self) -> dict[str, tuple[str, ...]]:
        """Protocol fields that each stage reads, besides those of the stages before it."""
        return {
            "cohort": self.cohort_fields,
            "outcomes": ("outcomes",),
            "estimate": ("level", "estimand", *self.estimate_fields),
            "evidence": ("plausible_effect", *self.evidence_fields),
            "decision": ("decision",),
        }

    def write_cohort(self, warehouse: Warehouse, study: str, file: str) -> None:
        """Write ``<study>.cohort``.

        Raises:
            dagster.Failure: a field that does not fit the data, or an empty arm; names file, field, given and allowed.
        """
        self.validate_against_data(warehouse, file)
        windows = [*covariate_windows(self.covariates), *self.extra_windows()]
        sql = cohort(
            self.units(), self.source, windows, self.cohort_attributes, self.population_filter(warehouse, file)
        )
        # Counted before it is kept: a cohort without an arm would be read by the pass that all studies share.
        with warehouse.transaction() as connection:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {study}")
            try:
                connection.execute(f"CREATE OR REPLACE TABLE {study}.cohort AS SELECT * FROM ({sql}) ORDER BY unit_id")
            except UnfitQueryErrors as error:
                raise dg.Failure(
                    f"{file}: population: {self.population!r} does not fit its columns (attributes are text): {error}"
                ) from error
            own = f"source = {literal(self.source)} AND program = {literal(self.program)}"
            rows = connection.execute(
                f"SELECT (SELECT count(*) FROM {study}.cohort WHERE NOT treated), "
                f"(SELECT count(*) FROM {study}.cohort WHERE treated), "
                f"(SELECT list_sort(list(DISTINCT arm)) FROM marts.assignments WHERE {own})"
            ).fetchall()
            self._require_arms(file, *rows[0])
        self.write_extras(warehouse, study, file)

    def _require_arms(self, file: str, control: int, treated: int, known: list[str]) -> None:
        if not control + treated:
            raise dg.Failure(
                f"{file}: nobody is in the study ({self.population_in_words()}); look at the dates, the program and "
                "the population"
            )
        for arm, units in ((self.arms.control, control), (self.arms.treatment, treated)):
            if units == 0:
                raise dg.Failure(
                    f"{file}: program {self.program!r}, arms: no unit in arm {arm!r} of the cohort; "
                    f"the programme's arms are {known}"
                )

    def validate_against_data(self, warehouse: Warehouse, file: str) -> None:
        """Refuse what the marts do not know.

        Raises:
            dagster.Failure: names file, field, given and allowed.
        """

        def known(column: str, table: str) -> set[str]:
            rows = warehouse.rows(f"SELECT DISTINCT {column} AS v FROM {table} WHERE source = {literal(self.source)}")
            return {row["v"] for row in rows}

        def require(field: str, given: str, allowed: set[str]) -> None:
            if given not in allowed:
                noun = field.rpartition(".")[2]
                raise dg.Failure(f"{file}: {field}: unknown {noun} {given!r}; allowed are {sorted(allowed)}")

        sources = {row["source"] for row in warehouse.rows("SELECT DISTINCT source FROM marts.coverage")}
        require("source", self.source, sources)
        metrics, programs = known("metric", "marts.unit_days"), known("program", "marts.assignments")
        for field, metric in self.metrics_used().items():
            require(field, metric, metrics)
        attributes = known("attribute", "marts.unit_attributes")
        for name in self.cohort_attributes:
            require("population or attributes", name, attributes)
        require("program", self.program, programs)
        for other in self.other_programs():
            require("co_interventions", other, programs - {self.program})

    def metrics_used(self) -> dict[str, str]:
        """Every metric that the protocol names, by its field."""
        return {f"outcomes.{o.name}.metric": o.metric for o in self.outcomes} | {
            f"covariates.{c.metric}.metric": c.metric for c in self.covariates
        }

    def other_programs(self) -> list[str]:
        """Further programmes that the protocol names; none by default."""
        return []

    def population_filter(self, warehouse: Warehouse, file: str) -> str | None:
        """The population's condition as SQL."""
        if self.population is None:
            return None
        try:
            return parse_filter(self.population, self.known_columns(warehouse))
        except ValueError as error:
            raise dg.Failure(f"{file}: {error}") from error

    def known_columns(self, warehouse: Warehouse) -> list[str]:
        """Columns a population filter may use: covariates and attributes known before assignment."""
        rows = warehouse.rows(
            f"SELECT DISTINCT attribute FROM marts.unit_attributes WHERE source = {literal(self.source)} ORDER BY 1"
        )
        return [*(row["attribute"] for row in rows), *self.covariate_names]

    def arm_counts(self, warehouse: Warehouse, study: str) -> dict[str, int]:
        """Units of the cohort per arm."""
        (row,) = warehouse.rows(
            f"SELECT count(*) FILTER (NOT treated) AS control, count(*) FILTER (treated) AS treated FROM {study}.cohort"
        )
        return {self.arms.control: row["control"], self.arms.treatment: row["treated"]}

    def data_through(self, warehouse: Warehouse) -> str:
        """The last complete day of the study's source."""
        return str(warehouse.scalar(f"SELECT last_day FROM marts.coverage WHERE source = {literal(self.source)}"))

    def days_left(self, warehouse: Warehouse) -> int:
        """Days of data still missing until the longest window of the last unit that can enter has passed.

        Counted from the protocol, not from the units seen so far: with those a study of short windows would look final
        on every day of its enrolment, and a decision on each is not a 5% procedure.
        """
        last = date.fromisoformat(self.closes()) + timedelta(days=self.longest_window - 1)
        return max(0, (last - date.fromisoformat(self.data_through(warehouse))).days)

    def matured(self, warehouse: Warehouse, study: str) -> tuple[int, int]:
        """Units whose windows have all passed, and all units."""
        (row,) = warehouse.rows(
            f"SELECT count(*) FILTER ({self.is_mature(warehouse)}) AS matured, count(*) AS units FROM {study}.cohort"
        )
        return row["matured"], row["units"]

    def is_mature(self, warehouse: Warehouse) -> str:
        """SQL condition: every window of the unit has passed."""
        return f"assigned_on + {self.longest_window - 1} <= DATE '{self.data_through(warehouse)}'"

    def guardrails(self, findings: Sequence[Finding]) -> list[tuple[Outcome, Estimate]]:
        """Guardrail outcomes with their estimates."""
        by_name = {outcome.name: outcome for outcome in self.outcomes}
        return [(by_name[e.outcome], e) for role, e in findings if role is Role.GUARDRAIL]

    def profit(self, findings: Sequence[Finding]) -> Profit | None:
        """Incremental profit per treated unit."""
        primary = results.primary(findings)
        return Profit.of(primary, self.decision) if primary else None

    def evidence(
        self, warehouse: Warehouse, ledger: Ledger, study: str, findings: Sequence[Finding]
    ) -> list[Diagnostic]:
        """All checks of the study; those of an estimate once there is one."""
        from causal_assets.diagnostics.data_loss import data_loss
        from causal_assets.diagnostics.maturity import maturity
        from causal_assets.diagnostics.power import power
        from causal_assets.diagnostics.retrospective import retrospective

        lost, rows_in = reporting.losses(warehouse, self.source)
        matured, units = self.matured(warehouse, study)
        found = [
            *self.cohort_diagnostics(warehouse, study),
            maturity(matured, units, self.days_left(warehouse)),
            data_loss(sum(rows for reason, rows in lost if reason != reporting.BOTS), rows_in),
            retrospective(*reporting.registration_order(self, ledger, study)),
        ]
        primary = results.primary(findings)
        if primary is None:
            return found
        return [*self.diagnostics(warehouse, study, findings), power(primary, self.plausible_effect), *found]
