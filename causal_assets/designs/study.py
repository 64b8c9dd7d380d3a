"""What every design shares: the graph of a study, from its cohort to its memo.

A design says who is in the cohort, how outcomes become estimates and what is checked; the bodies here read, call that,
write and report. Keys are ``[study, stage]``; a stage's code version is the hash of the protocol fields it reads.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any, ClassVar

import dagster as dg
from pydantic import model_validator

from causal_assets import tracking
from causal_assets.component import YamlComponent, yaml_file
from causal_assets.decision import Profit, decide
from causal_assets.designs import reporting
from causal_assets.home import Home
from causal_assets.ledger import Kind, Ledger
from causal_assets.protocol import NAME, Outcome, Protocol, hash_of, stage_hash
from causal_assets.types import Diagnostic, Estimate, Role
from causal_assets.warehouse import results
from causal_assets.warehouse.engine import Warehouse, literal
from causal_assets.warehouse.queries.cohorts import cohort
from causal_assets.warehouse.queries.filters import filter_columns, parse_filter
from causal_assets.warehouse.queries.windows import Window, course_windows, covariate_windows, outcome_windows
from causal_assets.warehouse.results import Finding

MARTS = [dg.AssetKey(["marts", name]) for name in ("unit_days", "assignments", "unit_attributes", "coverage")]
TRUTH = dg.AssetKey(["marts", "planted_truth"])
MOMENTS = dg.AssetKey(["studies", "study_moments"])
# Schemas that belong to the warehouse; a study's tables live in the schema of its own name.
RESERVED = {"raw", "reference", "staging", "intermediate", "marts", "studies", "results", "main", "landing"}
# Bumped when a stage's method changes, so that it shows as stale although no YAML changed.
METHODS = {"cohort": "1", "outcomes": "1", "estimate": "1", "evidence": "1", "decision": "1", "memo": "1"}
COHORT_CHECKS = ("one_row_per_unit", "both_arms_present", "covariates_before_assignment")


class Study(Protocol, YamlComponent):
    """One causal question; its YAML is its protocol, its folder's name is its name."""

    design: ClassVar[str]
    randomised: ClassVar[bool]
    estimand: str
    checks: ClassVar[tuple[str, ...]]
    cohort_fields: ClassVar[tuple[str, ...]]
    outcome_grain: ClassVar[str]

    @model_validator(mode="after")
    def _population_is_a_condition(self) -> "Study":
        if self.population is not None:
            parse_filter(self.population, filter_columns(self.population))
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

    def write_extras(self, warehouse: Warehouse, study: str) -> None:
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
                f"and none of {sorted(RESERVED)}"
            )
        return dg.Definitions(assets=list(self._graph(name, str(yaml_file(context)))))

    def _graph(self, study: str, file: str) -> Iterator[dg.AssetsDefinition]:
        document, protocol = self.protocol_document, self.protocol_hash

        def spec(stage: str, fields: Sequence[str], deps: Sequence[str | dg.AssetKey], grain: str) -> dict[str, Any]:
            return {
                "key": dg.AssetKey([study, stage]),
                "group_name": study,
                "deps": [dg.AssetKey([study, dep]) if isinstance(dep, str) else dep for dep in deps],
                "code_version": stage_hash(document, ["design", *fields], METHODS.get(stage, "1")),
                "tags": {"causal_assets/study": study, "causal_assets/stage": stage},
                "metadata": {"question": self.question, "grain": grain, "protocol file": file},
            }

        def check_specs(stage: str, names: Sequence[str], *, blocking: bool) -> list[dg.AssetCheckSpec]:
            return [dg.AssetCheckSpec(name, asset=dg.AssetKey([study, stage]), blocking=blocking) for name in names]

        outcome_fields = (*self.cohort_fields, "outcomes", "arms")

        @dg.asset(
            **spec("registration", list(document), [], "one entry of the ledger per protocol"),
            description="The protocol, written before its outcome is read.",
        )
        def registration(ledger: Ledger) -> dg.MaterializeResult:
            entry = ledger.append_if_new(Kind.REGISTERED, study, protocol, document)
            return dg.MaterializeResult(
                data_version=dg.DataVersion(protocol),
                metadata={"protocol": protocol, "registered at": entry.at, "document": dg.MetadataValue.json(document)},
            )

        @dg.asset(
            **spec("cohort", self.cohort_fields, MARTS, "one row per unit"),
            description="Units with arm and covariates as known before assignment. Grain: one row per unit.",
            kinds={"duckdb"},
            check_specs=check_specs("cohort", COHORT_CHECKS, blocking=True),
        )
        def cohort_asset(warehouse: Warehouse) -> dg.MaterializeResult:
            self._write_cohort(warehouse, study, file)
            return reporting.cohort_result(self, warehouse, study)

        @dg.asset(
            **spec(
                "outcomes", outcome_fields, ["cohort", "registration", MOMENTS, MARTS[0], MARTS[3]], self.outcome_grain
            ),
            description="What the cohort did after assignment; read under a registered protocol only.",
            kinds={"duckdb"},
        )
        def outcomes(warehouse: Warehouse, ledger: Ledger) -> dg.MaterializeResult:
            ledger.require_registration(study, protocol)
            ledger.append_if_new(Kind.OUTCOMES_READ, study, protocol, {"data through": self.data_through(warehouse)})
            self.write_outcomes(warehouse, study)
            return reporting.table_result(warehouse, f"{study}.outcomes")

        @dg.asset(
            **spec(
                "estimate",
                (*outcome_fields, "level", "estimand"),
                ["cohort", "outcomes"],
                "one row per role, outcome and method",
            ),
            description="Effects with intervals: primary, secondary, guardrails, course over time, alternatives.",
            kinds={"python", "mlflow"},
        )
        def estimate(warehouse: Warehouse) -> dg.MaterializeResult:
            from causal_assets.memo.plots import svg

            findings = self.estimates(warehouse, study)
            results.write_estimates(warehouse, study, protocol, findings)
            figures = reporting.estimate_plots(self, findings)
            pictures = {f"{name}.svg": svg(figure) for name, figure in figures.items()}
            tracking.log_estimates(Home.current(), study, self.design, protocol, findings, pictures)
            return reporting.estimate_result(self, findings, figures)

        @dg.asset(
            **spec(
                "evidence",
                (*outcome_fields, "plausible_effect", "estimand"),
                ["estimate", "cohort"],
                "one row per check",
            ),
            description="What the estimate was put through: every check with its number and threshold.",
            check_specs=check_specs("evidence", self.checks, blocking=False),
        )
        def evidence(warehouse: Warehouse, ledger: Ledger) -> dg.MaterializeResult:
            findings = results.read_estimates(warehouse, study)
            found = self._evidence(warehouse, ledger, study, findings)
            results.write_diagnostics(warehouse, study, protocol, found)
            return reporting.evidence_result(self, warehouse, study, found)

        @dg.asset(
            **spec("decision", (*outcome_fields, "decision"), ["evidence", "estimate"], "one row per study"),
            description="What the protocol's rule says, given estimate and evidence.",
        )
        def decision(warehouse: Warehouse, ledger: Ledger) -> dg.MaterializeResult:
            findings = results.read_estimates(warehouse, study)
            taken = decide(
                results.primary(findings),
                self.guardrails(findings),
                results.read_diagnostics(warehouse, study),
                self.decision,
                randomised=self.randomised,
                days_left=self.days_left(warehouse),
            )
            results.write_decision(warehouse, study, protocol, self.design, taken)
            ledger.append_if_new(Kind.DECIDED, study, protocol, {"verdict": taken.verdict, "grade": taken.grade})
            if not taken.allows_action:
                reporting.revoke(ledger, study, protocol, taken)
            return reporting.decision_result(taken)

        @dg.asset(
            **spec("mandate", ("decision",), ["decision", "registration"], "one entry of the ledger while it stands"),
            output_required=False,
            description="The right to act. Materialises only when the decision allows it; what acts asks the ledger.",
        )
        def mandate(warehouse: Warehouse, ledger: Ledger) -> Iterator[dg.MaterializeResult]:
            if results.read_decision(warehouse, study).allows_action:
                entry = reporting.grant(ledger, study, protocol)
                yield dg.MaterializeResult(
                    data_version=dg.DataVersion(entry.hash),
                    metadata={"protocol": protocol, "granted at": entry.at},
                )

        @dg.asset(
            **spec(
                "memo",
                list(document),
                ["decision", "evidence", "estimate", "cohort", TRUTH],
                "one page per study",
            ),
            description="The page a decision-maker reads.",
            kinds={"html"},
        )
        def memo(warehouse: Warehouse, ledger: Ledger) -> dg.MaterializeResult:
            from causal_assets.memo.memo import render

            html = render(reporting.facts(self, warehouse, ledger, study))
            return reporting.write_memo(Home.current().memos / f"{study}.html", html)

        yield from (registration, cohort_asset, outcomes, estimate, evidence, decision, mandate, memo)

    def _write_cohort(self, warehouse: Warehouse, study: str, file: str) -> None:
        self._validate_against_data(warehouse, file)
        windows = [*covariate_windows(self.covariates), *self.extra_windows()]
        sql = cohort(self.units(), self.source, windows, self.cohort_attributes, self.population_filter(warehouse))
        warehouse.replace(f"{study}.cohort", f"SELECT * FROM ({sql}) ORDER BY unit_id")
        for arm, units in self.arm_counts(warehouse, study).items():
            if units == 0:
                own = f"source = {literal(self.source)} AND program = {literal(self.program)}"
                rows = warehouse.rows(f"SELECT DISTINCT arm FROM marts.assignments WHERE {own} ORDER BY arm")
                raise dg.Failure(
                    f"{file}: program {self.program!r}, arms: no unit in arm {arm!r} of the cohort; "
                    f"the programme's arms are {[row['arm'] for row in rows]}"
                )
        self.write_extras(warehouse, study)

    def _validate_against_data(self, warehouse: Warehouse, file: str) -> None:
        def known(column: str, table: str) -> set[str]:
            rows = warehouse.rows(f"SELECT DISTINCT {column} AS v FROM {table} WHERE source = {literal(self.source)}")
            return {row["v"] for row in rows}

        metrics = known("metric", "marts.unit_days")
        given = {**{f"outcomes.{o.name}.metric": o.metric for o in self.outcomes}}
        given |= {f"covariates.{c.metric}.metric": c.metric for c in self.covariates}
        for field, value in given.items():
            if value not in metrics:
                raise dg.Failure(f"{file}: {field}: unknown metric {value!r}; allowed are {sorted(metrics)}")
        attributes = known("attribute", "marts.unit_attributes")
        for name in self.cohort_attributes:
            if name not in attributes:
                raise dg.Failure(f"{file}: unknown attribute {name!r}; allowed are {sorted(attributes)}")
        programs = known("program", "marts.assignments")
        if self.program not in programs:
            raise dg.Failure(f"{file}: program: unknown program {self.program!r}; allowed are {sorted(programs)}")

    def population_filter(self, warehouse: Warehouse) -> str | None:
        """The population's condition as SQL."""
        return parse_filter(self.population, self.known_columns(warehouse)) if self.population else None

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

    def _evidence(
        self, warehouse: Warehouse, ledger: Ledger, study: str, findings: Sequence[Finding]
    ) -> list[Diagnostic]:
        from causal_assets.diagnostics.data_loss import data_loss
        from causal_assets.diagnostics.maturity import maturity
        from causal_assets.diagnostics.power import power
        from causal_assets.diagnostics.retrospective import retrospective

        lost, rows_in = reporting.lost_rows(warehouse, self.source)
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


SHARED_CHECKS = ("power", "maturity", "data_loss", "retrospective")
