"""What designs over events share: a cohort and outcomes drawn from the marts by programme, metric and day."""

from abc import abstractmethod
from collections.abc import Sequence
from datetime import date, timedelta
from typing import ClassVar

import dagster as dg
from pydantic import model_validator

from causal_assets.designs import reporting
from causal_assets.designs.graph import MARTS, MOMENTS, TRUTH
from causal_assets.designs.study import Losses, Study
from causal_assets.protocol import TAKEN, EventProtocol
from causal_assets.types import Diagnostic, Estimate, Role
from causal_assets.warehouse.engine import UnfitQueryErrors, Warehouse, literal
from causal_assets.warehouse.queries.cohorts import cohort
from causal_assets.warehouse.queries.filters import filter_columns, parse_filter
from causal_assets.warehouse.queries.windows import Window, course_windows, covariate_windows, outcome_windows
from causal_assets.warehouse.results import Finding

SHARED_CHECKS = (
    "novelty", "loss_bound", "specification_curve", "multiplicity", "power", "maturity", "data_loss", "retrospective",
    "deviations",
)  # fmt: skip


class EventStudy(EventProtocol, Study):
    """A study whose cohort and outcomes are drawn from the marts."""

    estimand: str
    cohort_fields: ClassVar[tuple[str, ...]]

    @model_validator(mode="after")
    def _population_is_a_condition(self) -> "EventStudy":
        if self.population is not None:
            parse_filter(self.population, filter_columns(self.population))
        return self

    @model_validator(mode="after")
    def _columns_differ(self) -> "EventStudy":
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
    def begins(self) -> str:
        """The first day on which an outcome can occur."""

    @abstractmethod
    def closes(self) -> str:
        """The last day on which a unit can enter the study."""

    def write_extras(self, warehouse: Warehouse, study: str, file: str) -> None:
        """Further tables of the cohort stage; none by default."""

    def extra_windows(self) -> list[Window]:
        """Further pre-assignment columns of the cohort; none by default."""
        return []

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
    def arm_names(self) -> tuple[str, str]:
        """The two arms of the programme."""
        return self.arms.control, self.arms.treatment

    def cohort_deps(self) -> Sequence[dg.AssetKey]:
        """The marts."""
        return MARTS

    def outcome_deps(self) -> Sequence[dg.AssetKey]:
        """The mart of unit days, how far it reaches, and the statistics that all studies share."""
        return [MOMENTS, MARTS[0], MARTS[3]]

    def memo_deps(self) -> Sequence[dg.AssetKey]:
        """What is planted, shown beside what was estimated."""
        return [TRUTH]

    @property
    def stage_fields(self) -> dict[str, tuple[str, ...]]:
        """Protocol fields that each stage reads, besides those of the stages before it."""
        return {
            "cohort": self.cohort_fields,
            "outcomes": ("outcomes",),
            "estimate": ("level", "estimand", *self.estimate_fields),
            "evidence": ("plausible_effect", "lost_row", *self.evidence_fields),
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

    def origin(self) -> str:
        """The source of the events."""
        return self.source

    def losses(self, warehouse: Warehouse, study: str) -> Losses:  # noqa: ARG002
        """Rows of the source that were set aside; machines are listed, but no outcome is lost with them."""
        lost, rows_in = reporting.losses(warehouse, self.source)
        return Losses(tuple(lost), sum(rows for reason, rows in lost if reason != reporting.BOTS), rows_in)

    def loss_bound(self, warehouse: Warehouse, study: str, primary: Estimate) -> list[Diagnostic]:
        """What lost rows could do to the answer if all of them belonged to the treated, or all to the controls."""
        from causal_assets.diagnostics.loss_bound import loss_bound

        lost = self.losses(warehouse, study).counted
        if not lost:
            return []
        worst = None
        if self.lost_row is not None:
            least, most = lost * min(self.lost_row.lowest, 0.0), lost * max(self.lost_row.highest, 0.0)
            low = primary.low + min(least / primary.n_treated, -most / primary.n_control)
            worst = low, primary.high + max(most / primary.n_treated, -least / primary.n_control)
        return [loss_bound(primary, lost, worst, needed=self.decision.needed, what="one row (lost_row)")]

    def novelty(self, findings: Sequence[Finding]) -> list[Diagnostic]:
        """Whether the primary effect changes with the time since assignment, from its course."""
        from causal_assets.diagnostics.novelty import novelty

        found = novelty([estimate for role, estimate in findings if role is Role.OVER_TIME])
        return [found] if found else []

    def data_through(self, warehouse: Warehouse, study: str) -> str:  # noqa: ARG002
        """The last complete day of the study's source."""
        return self.last_day(warehouse)

    def last_day(self, warehouse: Warehouse) -> str:
        """The last complete day of the study's source."""
        return str(warehouse.scalar(f"SELECT last_day FROM marts.coverage WHERE source = {literal(self.source)}"))

    def days_left(self, warehouse: Warehouse) -> int:
        """Days of data still missing until the longest window of the last unit that can enter has passed.

        Counted from the protocol, not from the units seen so far: with those a study of short windows would look final
        on every day of its enrolment, and a decision on each is not a 5% procedure.
        """
        last = date.fromisoformat(self.closes()) + timedelta(days=self.longest_window - 1)
        return max(0, (last - date.fromisoformat(self.last_day(warehouse))).days)

    def matured(self, warehouse: Warehouse, study: str) -> tuple[int, int]:
        """Units whose windows have all passed, and all units."""
        (row,) = warehouse.rows(
            f"SELECT count(*) FILTER ({self.is_mature(warehouse)}) AS matured, count(*) AS units FROM {study}.cohort"
        )
        return row["matured"], row["units"]

    def has_outcomes(self, warehouse: Warehouse, study: str) -> bool:
        """Whether a unit's windows have all passed: before that, nothing is read of any."""
        return self.matured(warehouse, study)[0] > 0

    def is_mature(self, warehouse: Warehouse) -> str:
        """SQL condition: every window of the unit has passed."""
        return f"assigned_on + {self.longest_window - 1} <= DATE '{self.last_day(warehouse)}'"

    def readiness(self, warehouse: Warehouse, study: str) -> list[Diagnostic]:
        """Whether every unit's windows have passed."""
        from causal_assets.diagnostics.maturity import maturity

        return [maturity(*self.matured(warehouse, study), self.days_left(warehouse))]

    def truth(self, warehouse: Warehouse, study: str) -> dict[str, float]:
        """True effects where a world was planted, by outcome; shown beside estimates, never used by one."""
        rows = warehouse.rows(
            f"SELECT outcome, value FROM marts.planted_truth "
            f"WHERE study = {literal(study)} AND estimand = {literal(self.estimand)} AND segment = 'all'"
        )
        return {row["outcome"]: row["value"] for row in rows}
