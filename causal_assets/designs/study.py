"""What every design shares: one causal question, its protocol, and what the graph of its stages asks of it.

A design says who is in the cohort, how outcomes become estimates and what is checked; ``graph.py`` makes assets of it.
``events.py`` draws cohort and outcomes from the marts, ``table.py`` from one prepared table.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import dagster as dg
import numpy as np

from causal_assets.component import YamlComponent, yaml_file
from causal_assets.decision import Profit
from causal_assets.designs import reporting, specifications, subgroups
from causal_assets.designs.graph import StudyGraph
from causal_assets.memo.facts import Identification, Rows
from causal_assets.protocol import KEYWORDS, NAME, Measure, Protocol, Rule, hash_of
from causal_assets.types import Diagnostic, Estimate, Registration, Role
from causal_assets.warehouse import results
from causal_assets.warehouse.engine import Warehouse
from causal_assets.warehouse.results import Finding

if TYPE_CHECKING:
    from causal_assets.estimators.causal_graph import CausalGraph

# Schemas that belong to the warehouse; a study's tables live in the schema of its own name.
RESERVED = {
    "raw", "reference", "staging", "intermediate", "marts", "studies", "results", "main", "landing",
    "warehouse", "temp", "system", "information_schema", "pg_catalog", *KEYWORDS,
}  # fmt: skip


@dataclass(frozen=True)
class Losses:
    """Rows that did not reach the estimate, by reason; ``counted`` of ``rows_in`` are the ones that could bias it."""

    by_reason: tuple[tuple[str, int], ...]
    counted: int
    rows_in: int


class Study(Protocol, YamlComponent):
    """One causal question; its YAML is its protocol, its folder's name is its name."""

    design: ClassVar[str]
    identification: ClassVar[Identification]
    randomised: ClassVar[bool]
    checks: ClassVar[tuple[str, ...]]
    outcome_grain: ClassVar[str]
    cohort_grain: ClassVar[tuple[str, ...]] = ("unit_id",)
    estimate_fields: ClassVar[tuple[str, ...]] = ()
    evidence_fields: ClassVar[tuple[str, ...]] = ()
    graph: ClassVar[type[StudyGraph]] = StudyGraph

    # --- what a design supplies -----------------------------------------------------------------------------------

    @property
    @abstractmethod
    def stage_fields(self) -> dict[str, tuple[str, ...]]:
        """Protocol fields that each stage reads, besides those of the stages before it."""

    @property
    @abstractmethod
    def arm_names(self) -> tuple[str, str]:
        """What the comparison's two sides are called: without the intervention, with it."""

    @abstractmethod
    def cohort_deps(self) -> Sequence[dg.AssetKey]:
        """What the cohort is drawn from."""

    @abstractmethod
    def outcome_deps(self) -> Sequence[dg.AssetKey]:
        """What the outcomes are drawn from, besides the cohort."""

    def memo_deps(self) -> Sequence[dg.AssetKey]:
        """What the memo shows besides the study's own stages."""
        return ()

    @abstractmethod
    def write_cohort(self, warehouse: Warehouse, study: str, file: str) -> None:
        """Write ``<study>.cohort`` with at least ``unit_id`` and ``treated``.

        Raises:
            dagster.Failure: a field that does not fit the data, or an empty arm; names file, field, given and allowed.
        """

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
    def losses(self, warehouse: Warehouse, study: str) -> Losses:
        """Rows that did not reach the estimate."""

    @abstractmethod
    def begins(self) -> str | None:
        """The first day on which an outcome can occur; None where the protocol does not say."""

    @abstractmethod
    def origin(self) -> str:
        """Where the data come from, in a word."""

    @abstractmethod
    def data_through(self, warehouse: Warehouse, study: str) -> str:
        """How far the data reach, in words or as a day."""

    @abstractmethod
    def population_in_words(self) -> str:
        """Who is in the study."""

    def readiness(self, warehouse: Warehouse, study: str) -> list[Diagnostic]:  # noqa: ARG002
        """Whether the outcomes are complete; nothing to say where the table is what it is."""
        return []

    def has_outcomes(self, warehouse: Warehouse, study: str) -> bool:  # noqa: ARG002
        """Whether there is an outcome to read yet; always where the table is what it is."""
        return True

    def days_left(self, warehouse: Warehouse) -> int:  # noqa: ARG002
        """Days of data still missing until the last outcome is complete; none where the table is what it is."""
        return 0

    def balance(self, warehouse: Warehouse, study: str) -> list[tuple[str, float, float | None]]:  # noqa: ARG002
        """Covariate, standardised mean difference before adjustment and after it (None where nothing is adjusted)."""
        return []

    def propensity(self, warehouse: Warehouse, study: str) -> reporting.Propensity | None:  # noqa: ARG002
        """Histogram of the propensity by arm, where the design estimates one."""
        return None

    def truth(self, warehouse: Warehouse, study: str) -> dict[str, float]:  # noqa: ARG002
        """True effects by outcome, where they were planted."""
        return {}

    @property
    def drawn(self) -> "CausalGraph | None":
        """The causal graph that the protocol draws, where it draws one."""
        return None

    def figures(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> dict[str, Any]:  # noqa: ARG002
        """The design's own plots, by title; shown beside those that every estimate has."""
        primary, specified = results.primary(findings), specifications.of(findings)
        if primary is None or not specified:
            return {}
        from causal_assets.memo.design_plots import specification_curve

        return {"the answer under other choices": specification_curve(primary, specified, money=self.primary.money)}

    def tables(self, warehouse: Warehouse, study: str) -> Mapping[str, Rows]:  # noqa: ARG002
        """The design's own tables for the memo, by title: a header, then rows."""
        return {}

    # --- what the graph needs -------------------------------------------------------------------------------------

    @property
    def rule(self) -> Rule:
        """When to act on the primary estimate."""
        return self.decision

    @property
    def primary(self) -> Measure:
        """The outcome the decision rests on."""
        return next(outcome for outcome in self.measures if outcome.role == "primary")

    @property
    def money_outcomes(self) -> list[str]:
        """Outcome columns that are money."""
        return [outcome.name for outcome in self.measures if outcome.money]

    @classmethod
    def kind(cls) -> str:
        """The design's class, as a YAML names it."""
        return f"{cls.__module__}.{cls.__name__}"

    @property
    def assumptions(self) -> list[dict[str, Any]]:
        """What must hold for the answer to be an effect, in words, with the checks it is tied to; plain data."""
        filled = self.identification.filled(self.unit, self.arm_names)
        return [assumption.plain() for assumption in filled.assumptions]

    @property
    def protocol_document(self) -> dict[str, Any]:
        """The resolved protocol as registered."""
        return self.document(self.design)

    @property
    def protocol_hash(self) -> str:
        """SHA-256 of the protocol; the data version of ``registration``."""
        return hash_of(self.protocol_document)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """The study's assets, keyed by the folder's name.

        Raises:
            ValueError: a folder name that cannot name tables, or that the warehouse uses itself.
        """
        name = context.path.name
        if not NAME.fullmatch(name) or name in RESERVED:
            raise ValueError(
                f"{context.path}: {name!r} cannot name a study; allowed are lower-case letters, digits and _, "
                f"and none of {sorted(RESERVED - KEYWORDS)} or of SQL's words"
            )
        return dg.Definitions(assets=self.graph(self, name, str(yaml_file(context))).assets())

    def arm_counts(self, warehouse: Warehouse, study: str) -> dict[str, int]:
        """Units of the cohort per arm."""
        (row,) = warehouse.rows(
            f"SELECT count(DISTINCT unit_id) FILTER (NOT treated) AS control, "
            f"count(DISTINCT unit_id) FILTER (treated) AS treated FROM {study}.cohort"
        )
        return dict(zip(self.arm_names, (row["control"], row["treated"]), strict=True))

    def guardrails(self, findings: Sequence[Finding]) -> list[tuple[Measure, Estimate]]:
        """Guardrail outcomes with their estimates."""
        by_name = {outcome.name: outcome for outcome in self.measures}
        return [(by_name[e.outcome], e) for role, e in findings if role is Role.GUARDRAIL]

    def profit(self, findings: Sequence[Finding]) -> Profit | None:
        """Incremental profit per treated unit."""
        primary = results.primary(findings)
        return Profit.of(primary, self.rule) if primary else None

    def evidence(
        self, warehouse: Warehouse, study: str, findings: Sequence[Finding], version: Registration
    ) -> list[Diagnostic]:
        """All checks of the study as registered; those of an estimate once there is one."""
        from causal_assets.diagnostics.data_loss import data_loss
        from causal_assets.diagnostics.power import power
        from causal_assets.diagnostics.specification_curve import specification_curve

        lost = self.losses(warehouse, study)
        found = [
            *self.cohort_diagnostics(warehouse, study),
            *self.readiness(warehouse, study),
            data_loss(lost.counted, lost.rows_in),
            *reporting.registration_checks(version),
        ]
        primary = results.primary(findings)
        if primary is None:
            return found
        checked = self.diagnostics(warehouse, study, findings)
        if specified := specifications.of(findings):
            checked.append(specification_curve(primary, specified))
        return [
            *checked,
            *_counted_together(findings),
            *subgroups.differences(findings),
            power(primary, self.plausible_effect),
            *found,
        ]


def _counted_together(findings: Sequence[Finding]) -> list[Diagnostic]:
    """Which findings beside the primary one stand among all of them, where there are several."""
    from causal_assets.diagnostics.multiplicity import multiplicity
    from causal_assets.estimators.multiplicity import step_down

    family = [
        (estimate, estimate.p_value)
        for role, estimate in findings
        if role in (Role.SECONDARY, Role.GUARDRAIL) and estimate.p_value is not None
    ]
    if len(family) < 2:
        return []
    return [multiplicity([e for e, _ in family], step_down(np.array([p for _, p in family])).tolist())]
