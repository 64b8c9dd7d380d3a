"""The graph of a study: eight assets, or more, each an adapter that reads, calls its design, writes and reports.

Keys are ``[study, stage]``. A stage's code version is the hash of the protocol fields that it and the stages before it
read, so that a new decision rule reruns a decision, not a cohort. What a stage writes is sealed with that version in
the ledger, and the next stage refuses to read what was made under other fields, or edited since, however selected.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import dagster as dg

from causal_assets import tracking
from causal_assets.decision import decide
from causal_assets.designs import reporting
from causal_assets.history import registrations
from causal_assets.home import PROJECT, Home
from causal_assets.ledger import Kind, Ledger
from causal_assets.protocol import stage_hash
from causal_assets.provenance import provenance
from causal_assets.types import Diagnostic, Registration
from causal_assets.warehouse import results, seals
from causal_assets.warehouse.engine import Warehouse, in_one_opening

if TYPE_CHECKING:
    from causal_assets.designs.study import Study

MARTS = [dg.AssetKey(["marts", name]) for name in ("unit_days", "assignments", "unit_attributes", "coverage")]
TRUTH = dg.AssetKey(["marts", "planted_truth"])
MOMENTS = dg.AssetKey(["studies", "study_moments"])
# In order of flow; a model and a champion have uplift studies only.
STAGES = (
    "registration", "cohort", "outcomes", "model", "estimate", "evidence", "decision", "mandate", "memo", "champion",
)  # fmt: skip
# Bumped when a stage's method changes, so that it shows as stale although no YAML changed.
METHODS = dict.fromkeys(STAGES, "1")


@dataclass(frozen=True)
class StudyGraph:
    """The assets of one study, named after its folder; ``file`` is its YAML, for messages."""

    study: Study
    name: str
    file: str
    # The stages whose tables an estimate is made of.
    read: ClassVar[tuple[str, ...]] = ("cohort", "outcomes")

    def assets(self) -> list[dg.AssetsDefinition]:
        """All stages, in order of flow."""
        return [
            self.registration(), self.cohort(), self.outcomes(), self.estimate(), self.evidence(), self.decision(),
            self.mandate(), self.memo(),
        ]  # fmt: skip

    @cached_property
    def protocol(self) -> str:
        """Hash of the whole protocol."""
        return self.study.protocol_hash

    @cached_property
    def versions(self) -> dict[str, str]:
        """Code version by stage; fields add up along the flow."""
        document = self.study.protocol_document
        fields: tuple[str, ...] = ("design",)
        versions = {}
        for stage, own in self.study.stage_fields.items():
            fields = (*fields, *own)
            versions[stage] = stage_hash(document, fields, METHODS[stage])
        everything = {
            stage: stage_hash(document, tuple(document), METHODS[stage]) for stage in ("registration", "memo")
        }
        acts = dict.fromkeys(("mandate", "champion"), versions["decision"])
        return {**versions, **acts, **everything}

    def registration(self) -> dg.AssetsDefinition:
        """Appends the protocol to the ledger, once."""

        @dg.asset(**self._spec("registration", [], "one entry of the ledger per protocol"))
        @in_one_opening
        def registration(warehouse: Warehouse, ledger: Ledger) -> dg.MaterializeResult:
            """The protocol, written before its outcome is read."""
            seals.require(warehouse, ledger, self.name, {})
            self._register(ledger)
            versions = registrations(ledger.entries(self.name))
            results.write_registrations(warehouse, self.name, versions)
            written = seals.contents(warehouse, self.name, "registrations", "deviations")
            self._seal(warehouse, ledger, "registration", written)
            # What is read under a registration depends on these fields alone: a new rule makes no outcomes stale.
            read_under = dg.DataVersion(self.versions["outcomes"])
            return reporting.registration_result(versions[-1], self.study.protocol_document, read_under)

        return registration

    def _register(self, ledger: Ledger) -> None:
        last = ledger.last(self.name, Kind.REGISTERED)
        if last and last.protocol == self.protocol:
            return
        said = {
            "type": self.study.kind(),
            "document": self.study.protocol_document,
            "assumptions": self.study.assumptions,
            "outcomes_begin": self.study.begins(),
            "file": self.file,
            **provenance(PROJECT / self.file),
        }
        ledger.append(Kind.REGISTERED, self.name, self.protocol, said)

    def cohort(self) -> dg.AssetsDefinition:
        """Writes the cohort; a broken one stops the run."""
        check = dg.AssetCheckSpec("one_row_per_unit", asset=dg.AssetKey([self.name, "cohort"]), blocking=True)

        @dg.asset(
            **self._spec("cohort", self.study.cohort_deps(), "one row per unit"), kinds={"duckdb"}, check_specs=[check]
        )
        @in_one_opening
        def cohort(warehouse: Warehouse, ledger: Ledger) -> dg.MaterializeResult:
            """Units with arm and covariates as known before assignment. Grain: one row per unit."""
            self.study.write_cohort(warehouse, self.name, self.file)
            result = reporting.cohort_result(self.study, warehouse, self.name)
            self._seal(warehouse, ledger, "cohort", self._own("cohort", result))
            return result

        return cohort

    def outcomes(self) -> dg.AssetsDefinition:
        """Reads the outcomes, if the protocol is registered."""
        deps = [self._key("cohort"), self._key("registration"), *self.study.outcome_deps()]

        @dg.asset(**self._spec("outcomes", deps, self.study.outcome_grain), kinds={"duckdb"})
        @in_one_opening
        def outcomes(warehouse: Warehouse, ledger: Ledger) -> dg.MaterializeResult:
            """What the cohort did after assignment; read under a registered protocol only."""
            ledger.require_registration(self.name, self.protocol)
            self._require(warehouse, ledger, "cohort")
            if self.study.has_outcomes(warehouse, self.name):
                through = {"data through": self.study.data_through(warehouse, self.name)}
                ledger.append_if_new(Kind.OUTCOMES_READ, self.name, self.protocol, through)
            self.study.write_outcomes(warehouse, self.name)
            result = reporting.table_result(warehouse, f"{self.name}.outcomes")
            self._seal(warehouse, ledger, "outcomes", self._own("outcomes", result))
            return result

        return outcomes

    def estimate(self) -> dg.AssetsDefinition:
        """Writes and tracks the effects."""
        deps = [self._key(stage) for stage in self.read]

        @dg.asset(**self._spec("estimate", deps, "one row per role, outcome and method"), kinds={"python", "mlflow"})
        @in_one_opening
        def estimate(warehouse: Warehouse, ledger: Ledger) -> dg.MaterializeResult:
            """Effects with intervals: primary, secondary, guardrails, course over time, alternatives."""
            from causal_assets.memo.plots import svg

            self._require(warehouse, ledger, *self.read)
            findings = self.study.estimates(warehouse, self.name)
            results.write_estimates(warehouse, self.name, self.protocol, findings)
            self._seal(warehouse, ledger, "estimate", seals.contents(warehouse, self.name, "estimates"))
            figures = reporting.estimate_plots(self.study, findings)
            figures |= self.study.figures(warehouse, self.name, findings)
            pictures = {f"{name}.svg": svg(figure) for name, figure in figures.items()}
            tracking.log_estimates(Home.current(), self.name, self.study.design, self.protocol, findings, pictures)
            return reporting.estimate_result(self.study, findings, figures)

        return estimate

    def evidence(self) -> dg.AssetsDefinition:
        """Writes every diagnostic and shows each as a non-blocking check."""
        key = self._key("evidence")
        checks = [dg.AssetCheckSpec(check, asset=key) for check in self.study.checks]

        @dg.asset(
            **self._spec("evidence", [self._key("estimate"), self._key("cohort")], "one row per check"),
            check_specs=checks,
        )
        @in_one_opening
        def evidence(warehouse: Warehouse, ledger: Ledger) -> dg.MaterializeResult:
            """What the estimate was put through: every check with its number and threshold."""
            self._require(warehouse, ledger, *self.read, "estimate")
            findings = results.read_estimates(warehouse, self.name)
            found = self.study.evidence(warehouse, self.name, findings, self._in_force(ledger))
            self._write_evidence(warehouse, ledger, found)
            return reporting.evidence_result(self.study, warehouse, self.name, found)

        return evidence

    def decision(self) -> dg.AssetsDefinition:
        """Applies the rule; a decision that does not allow action revokes a standing mandate."""
        deps = [self._key(stage) for stage in ("evidence", "estimate", "registration")]

        @dg.asset(**self._spec("decision", deps, "one row per study"))
        @in_one_opening
        def decision(warehouse: Warehouse, ledger: Ledger) -> dg.MaterializeResult:
            """What the protocol's rule says, given estimate and evidence."""
            self._require(warehouse, ledger, "cohort", "estimate", "evidence")
            findings = results.read_estimates(warehouse, self.name)
            version = self._in_force(ledger)
            taken = decide(
                results.primary(findings),
                self.study.guardrails(findings),
                self._evidence_now(warehouse, ledger, version),
                self.study.rule,
                randomised=self.study.randomised,
                days_left=self.study.days_left(warehouse),
                standing=version.standing,
            )
            results.write_decision(warehouse, self.name, self.protocol, self.study.design, taken)
            verdict = {"verdict": taken.verdict, "grade": taken.grade}
            if not taken.allows_action:  # before the decision is sealed: if killed in between, nothing acts
                ledger.revoke(self.name, self.protocol, verdict)
            stands_on = seals.contents(warehouse, self.name, "estimates", "diagnostics", "decisions")
            said = {**verdict, **self._said("decision", stands_on)}
            entry = seals.seal(warehouse, ledger, self.name, self.protocol, said, Kind.DECIDED)
            return reporting.decision_result(taken, entry.hash)

        return decision

    def mandate(self) -> dg.AssetsDefinition:
        """Grants the right to act, or materialises nothing, so that what follows is skipped."""
        deps = [self._key("decision"), self._key("registration")]

        @dg.asset(**self._spec("mandate", deps, "one entry of the ledger while it stands"), output_required=False)
        def mandate(warehouse: Warehouse, ledger: Ledger) -> Iterator[dg.MaterializeResult]:
            """The right to act. Materialises only when the decision allows it; what acts asks the ledger."""
            self._require(warehouse, ledger, "estimate", "evidence", "decision")
            ledger.require_registration(self.name, self.protocol)
            if results.read_decision(warehouse, self.name).allows_action:
                entry = ledger.grant(self.name, self.protocol)
                yield dg.MaterializeResult(
                    data_version=dg.DataVersion(entry.hash),
                    metadata={"protocol": self.protocol, "granted at": entry.at},
                )

        return mandate

    def memo(self) -> dg.AssetsDefinition:
        """Writes the page."""
        deps = [*map(self._key, ("decision", "evidence", "estimate", "cohort")), *self.study.memo_deps()]

        @dg.asset(**self._spec("memo", deps, "one page per study"), kinds={"html"})
        @in_one_opening
        def memo(warehouse: Warehouse, ledger: Ledger) -> dg.MaterializeResult:
            """The page a decision-maker reads, and its numbers as JSON."""
            self._require(warehouse, ledger, "registration", "cohort", "estimate", "evidence", "decision")
            facts = reporting.facts(self.study, warehouse, ledger, self.name)
            result = reporting.write_memo(Home.current().memos, facts)
            self._seal(warehouse, ledger, "memo", self._own("memo", result))
            return result

        return memo

    def _key(self, stage: str) -> dg.AssetKey:
        return dg.AssetKey([self.name, stage])

    def _spec(self, stage: str, deps: Sequence[dg.AssetKey], grain: str) -> dict[str, Any]:
        return {
            "key": self._key(stage),
            "group_name": self.name,
            "deps": deps,
            "code_version": self.versions[stage],
            "tags": {"causal_assets/study": self.name, "causal_assets/stage": stage},
            "metadata": {"question": self.study.question, "grain": grain, "protocol file": self.file},
        }

    def _in_force(self, ledger: Ledger) -> Registration:
        """The registration of this protocol, with what came before it."""
        ledger.require_registration(self.name, self.protocol)
        return registrations(ledger.entries(self.name))[-1]

    def _write_evidence(self, warehouse: Warehouse, ledger: Ledger, found: Sequence[Diagnostic]) -> None:
        results.write_diagnostics(warehouse, self.name, self.protocol, found)
        self._seal(warehouse, ledger, "evidence", seals.contents(warehouse, self.name, "estimates", "diagnostics"))

    def _evidence_now(self, warehouse: Warehouse, ledger: Ledger, version: Registration) -> list[Diagnostic]:
        """The evidence as written, what the ledger's order says brought up to date: a new rule reruns no evidence."""
        written = {found.name: found for found in results.read_diagnostics(warehouse, self.name)}
        now = written | {found.name: found for found in reporting.registration_checks(version)}
        if now != written:
            self._write_evidence(warehouse, ledger, list(now.values()))
        return list(now.values())

    def _own(self, table: str, result: dg.MaterializeResult) -> dict[str, str]:
        """Hash of what a stage wrote outside the result tables: its data version."""
        assert result.data_version is not None
        return {f"{self.name}.{table}": result.data_version.value}

    def _said(self, stage: str, content: dict[str, str]) -> dict[str, Any]:
        return {"stage": stage, "version": self.versions[stage], "content": content}

    def _seal(self, warehouse: Warehouse, ledger: Ledger, stage: str, content: dict[str, str]) -> None:
        seals.seal(warehouse, ledger, self.name, self.protocol, self._said(stage, content))

    def _require(self, warehouse: Warehouse, ledger: Ledger, *stages: str) -> None:
        seals.require(warehouse, ledger, self.name, {stage: self.versions[stage] for stage in stages})
