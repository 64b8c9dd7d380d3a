"""What a study's stages tell the person who looks at them: metadata, checks, plots and the facts of the memo."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from causal_assets.history import beginning, first_read_at, registrations
from causal_assets.ledger import Ledger
from causal_assets.protocol import hash_of
from causal_assets.types import Decision, Diagnostic, Registration, Role, Status
from causal_assets.warehouse import results
from causal_assets.warehouse.engine import Warehouse
from causal_assets.warehouse.queries.losses import delivered_rows, lost_rows
from causal_assets.warehouse.results import Finding

if TYPE_CHECKING:
    from causal_assets.designs.study import Study
    from causal_assets.memo.facts import MemoFacts

Propensity = tuple[Sequence[float], Sequence[int], Sequence[int]]
# Rows of machines are set aside on purpose; they are listed, but no outcome is lost with them.
BOTS = "set aside: bot"
SEVERITY = {Status.REVIEW: dg.AssetCheckSeverity.WARN, Status.FAIL: dg.AssetCheckSeverity.ERROR}
WHAT_WOULD_CHANGE = {
    True: ("A longer run or a larger share in treatment, if the interval still holds what would change the decision.",),
    False: (
        "A randomised next wave: hold out 10-20% of the eligible by chance, and this comparison becomes an experiment.",
        "A record of how units were chosen, so that the selection can be modelled instead of guessed.",
    ),
}


def table_result(warehouse: Warehouse, table: str) -> dg.MaterializeResult:
    """Row count, a preview, and the content's hash as data version, so that an equal rerun changes nothing."""
    rows, preview = warehouse.overview([table])[table]
    return dg.MaterializeResult(
        data_version=dg.DataVersion(content_version(warehouse, table)),
        metadata={"dagster/row_count": rows, "preview": dg.MetadataValue.md(preview)},
    )


def content_version(warehouse: Warehouse, table: str) -> str:
    """A hash of a table's rows that does not depend on their order."""
    return str(warehouse.scalar(f"SELECT count(*) || '-' || coalesce(sum(hash(t)::HUGEINT), 0) FROM {table} AS t"))


def cohort_result(study: Study, warehouse: Warehouse, name: str) -> dg.MaterializeResult:
    """Counts by arm, balance before adjustment, and the check that stops a broken cohort."""
    from causal_assets.memo import plots

    base = table_result(warehouse, f"{name}.cohort")
    counts = study.arm_counts(warehouse, name)
    grain = ", ".join(study.cohort_grain)
    rows = warehouse.scalar(f"SELECT count(*) FROM {name}.cohort")
    units = warehouse.scalar(f"SELECT count(*) FROM (SELECT DISTINCT {grain} FROM {name}.cohort)")
    balance = study.balance(warehouse, name)
    once = dg.AssetCheckResult(
        check_name="one_row_per_unit",
        passed=units == rows,
        description=f"one row per {grain}",
        metadata={"rows": rows, "units": units},
    )
    pictures: dict[str, Any] = {}
    if balance:
        pictures["balance"] = dg.MetadataValue.md(plots.png_markdown(plots.balance(balance), "Covariate balance"))
    return dg.MaterializeResult(
        data_version=base.data_version,
        metadata={**(base.metadata or {}), **{f"units in {arm}": n for arm, n in counts.items()}, **pictures},
        check_results=[once],
    )


def estimate_plots(study: Study, findings: Sequence[Finding]) -> dict[str, Any]:
    """Figures of an estimate: its course over time, and the spectrum of its alternatives."""
    from causal_assets.memo import plots

    course = [(e.outcome, e) for role, e in findings if role is Role.OVER_TIME]
    spectrum = [e for role, e in findings if role in (Role.PRIMARY, Role.ALTERNATIVE)]
    drawn: dict[str, Any] = {}
    if course:
        drawn["effect over time"] = plots.effect_over_time(course, money=study.primary.money)
    if spectrum:
        drawn["spectrum of estimates"] = plots.spectrum(spectrum, money=study.primary.money)
    return drawn


def estimate_result(study: Study, findings: Sequence[Finding], figures: dict[str, Any]) -> dg.MaterializeResult:
    """All effects as a table, with the figures."""
    from causal_assets.memo import plots

    lines = ["| role | outcome | estimand | method | effect | interval | p |", "|---|---|---|---|---|---|---|"]
    lines += [
        f"| {role} | {e.outcome} | {e.estimand} | {e.method} | {e.value:.4g} | [{e.low:.4g}, {e.high:.4g}] "
        f"| {'' if e.p_value is None else format(e.p_value, '.2g')} |"
        for role, e in findings
    ]
    primary = results.primary(findings)
    metadata: dict[str, Any] = {"estimates": dg.MetadataValue.md("\n".join(lines))}
    if primary:
        metadata |= {"effect": primary.value, "low": primary.low, "high": primary.high}
        metadata |= {} if primary.p_value is None else {"p": primary.p_value}
    for name, figure in figures.items():
        metadata[name] = dg.MetadataValue.md(plots.png_markdown(figure, f"{name} of {study.primary.name}"))
    version = hash_of([[role, repr(e)] for role, e in findings])
    return dg.MaterializeResult(data_version=dg.DataVersion(version[:16]), metadata=metadata)


def evidence_result(
    study: Study, warehouse: Warehouse, name: str, diagnostics: Sequence[Diagnostic]
) -> dg.MaterializeResult:
    """Each diagnostic as a non-blocking check; one that does not apply passes and says so."""
    from causal_assets.memo import graph_plot, plots

    found = {diagnostic.name: diagnostic for diagnostic in diagnostics}
    idle = "Does not apply: the study has nothing for this check to look at."
    checks = [
        _check(found[check]) if check in found else dg.AssetCheckResult(check_name=check, passed=True, description=idle)
        for check in study.checks
    ]
    lines = ["| check | status | value | threshold | says | next step |", "|---|---|---|---|---|---|"]
    lines += [
        f"| {d.name} | {d.status} | {d.value:.4g} | {d.threshold:.4g} | {d.message} | {d.next_step} |"
        for d in diagnostics
    ]
    metadata: dict[str, Any] = {"evidence": dg.MetadataValue.md("\n".join(lines)), "dagster/row_count": len(found)}
    figures: dict[str, Any] = {}
    if (propensity := study.propensity(warehouse, name)) is not None:
        figures["propensity overlap"] = plots.overlap(*propensity)
        figures["balance"] = plots.balance(study.balance(warehouse, name))
    if study.drawn is not None:
        figures["causal graph"] = graph_plot.causal_graph(study.drawn)
    metadata |= {title: dg.MetadataValue.md(plots.png_markdown(f, title)) for title, f in figures.items()}
    version = hash_of([repr(d) for d in diagnostics])[:16]
    return dg.MaterializeResult(data_version=dg.DataVersion(version), metadata=metadata, check_results=checks)


def _check(diagnostic: Diagnostic) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=diagnostic.name,
        passed=diagnostic.status is Status.PASS,
        severity=SEVERITY.get(diagnostic.status, dg.AssetCheckSeverity.WARN),
        description=diagnostic.message,
        metadata={
            "status": diagnostic.status.value,
            "value": diagnostic.value,
            "threshold": diagnostic.threshold,
            "next step": diagnostic.next_step,
        },
    )


def decision_result(decision: Decision, entry: str) -> dg.MaterializeResult:
    """The verdict with its reasons, and the hash by which it can be replayed."""
    return dg.MaterializeResult(
        data_version=dg.DataVersion(hash_of(repr(decision))[:16]),
        metadata={
            "verdict": decision.verdict.value,
            "grade": decision.grade,
            "days left": decision.days_left,
            "replay by": entry,
            "reasons": dg.MetadataValue.md("\n".join(f"- {reason}" for reason in decision.reasons)),
            "why this grade": dg.MetadataValue.md("\n".join(f"- {reason}" for reason in decision.grade_reasons)),
        },
    )


def losses(warehouse: Warehouse, source: str) -> tuple[list[tuple[str, int]], int]:
    """Rows of a source that were set aside, by reason, and rows delivered."""
    lost = warehouse.rows(lost_rows(source))
    return [(row["reason"], row["n"]) for row in lost if row["n"]], warehouse.scalar(delivered_rows(source))


def registration_checks(version: Registration) -> list[Diagnostic]:
    """What the ledger's order says of the study as registered."""
    from causal_assets.diagnostics.deviations import deviations
    from causal_assets.diagnostics.retrospective import retrospective

    settled = datetime.fromisoformat(version.settled_at)
    return [retrospective(settled, beginning(version.outcomes_begin)), deviations(version.deviations)]


def registration_result(
    version: Registration, document: dict[str, Any], read_under: dg.DataVersion
) -> dg.MaterializeResult:
    """The protocol with its standing; every change since the first version."""
    lines = ["| field | before | after | registered at | outcomes read before |", "|---|---|---|---|---|"]
    lines += [
        f"| {d.field} | {d.before} | {d.after} | {d.registered_at} | {d.after_outcomes} |" for d in version.deviations
    ]
    return dg.MaterializeResult(
        data_version=read_under,
        metadata={
            "protocol": version.protocol,
            "version": version.version,
            "standing": version.standing.value,
            "registered at": version.registered_at,
            "author": version.author or "unknown",
            "commit": version.commit or "unknown",
            "document": dg.MetadataValue.json(document),
            **({"deviations": dg.MetadataValue.md("\n".join(lines))} if version.deviations else {}),
        },
    )


def facts(study: Study, warehouse: Warehouse, ledger: Ledger, name: str) -> MemoFacts:
    """Everything the memo may say."""
    from causal_assets.memo.facts import MemoFacts

    findings = results.read_estimates(warehouse, name)
    entries = ledger.entries(name)
    version = registrations(entries)[-1]
    lost = study.losses(warehouse, name)
    profit = study.profit(findings)
    own = (Role.SECONDARY, Role.GUARDRAIL, Role.OVER_TIME, Role.NEGATIVE_CONTROL, Role.SUBGROUP)
    return MemoFacts(
        study=name,
        design=study.design,
        identification=study.identification,
        question=study.question,
        intervention=study.intervention,
        population=study.population_in_words(),
        unit=study.unit,
        source=study.origin(),
        protocol_hash=study.protocol_hash,
        registered_at=datetime.fromisoformat(version.registered_at).isoformat(timespec="seconds"),
        first_read_at=first_read_at(entries),
        standing=version.standing,
        deviations=version.deviations,
        data_through=study.data_through(warehouse, name),
        arms=study.arm_names,
        currency_outcomes=frozenset(study.money_outcomes),
        primary=results.primary(findings),
        others=tuple((role, e) for role, e in findings if role in own),
        alternatives=tuple(e for role, e in findings if role is Role.ALTERNATIVE),
        diagnostics=tuple(results.read_diagnostics(warehouse, name)),
        decision=results.read_decision(warehouse, name),
        cost_per_unit=study.rule.cost_per_unit,
        value_per_outcome=study.rule.value_per_outcome,
        profit=(profit.value, profit.low, profit.high) if profit else None,
        data_loss=lost.by_reason,
        rows_in=lost.rows_in,
        truth=study.truth(warehouse, name),
        what_would_change=WHAT_WOULD_CHANGE[study.randomised],
        harmed_by_increase=frozenset(o.name for o in study.measures if o.harm == "increase"),
        margins={o.name: o.margin for o in study.measures if o.margin is not None},
        balance=tuple(study.balance(warehouse, name)),
        propensity=study.propensity(warehouse, name),
        figures=study.figures(warehouse, name, findings) if findings else {},
        causal_graph=study.drawn,
        minimum_profit=study.rule.minimum_profit,
        tables=study.tables(warehouse, name) if findings else {},
    )


def write_memo(folder: Path, facts: MemoFacts) -> dg.MaterializeResult:
    """Write the page and its numbers as JSON, each so that a reader never sees half of it."""
    from causal_assets.memo.document import to_json
    from causal_assets.memo.memo import render

    written = {folder / f"{facts.study}.json": to_json(facts), folder / f"{facts.study}.html": render(facts)}
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in written.items():
        part = path.with_suffix(f"{path.suffix}.part")
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    numbers, page = written
    return dg.MaterializeResult(
        data_version=dg.DataVersion(hash_of(list(written.values()))[:16]),
        metadata={
            "memo": dg.MetadataValue.path(str(page)),
            "numbers": dg.MetadataValue.path(str(numbers)),
            "bytes": len(written[page].encode()),
        },
    )
