"""The result tables: every estimate, diagnostic and decision with the protocol it stands on."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from causal_assets.types import Decision, Diagnostic, Estimate, Role, Status, Verdict
from causal_assets.warehouse.engine import Warehouse

_KEY = "study VARCHAR, protocol VARCHAR"
DDL = f"""
CREATE SCHEMA IF NOT EXISTS results;
CREATE TABLE IF NOT EXISTS results.estimates ({_KEY}, role VARCHAR, outcome VARCHAR, estimand VARCHAR, method VARCHAR,
    value DOUBLE, std_error DOUBLE, low DOUBLE, high DOUBLE, p_value DOUBLE, level DOUBLE, n_treated BIGINT,
    n_control BIGINT, control_mean DOUBLE, relative DOUBLE, relative_low DOUBLE, relative_high DOUBLE);
ALTER TABLE results.estimates ADD COLUMN IF NOT EXISTS pieces DOUBLE[][];
CREATE TABLE IF NOT EXISTS results.diagnostics ({_KEY}, name VARCHAR, status VARCHAR, value DOUBLE, threshold DOUBLE,
    message VARCHAR, next_step VARCHAR);
CREATE TABLE IF NOT EXISTS results.decisions ({_KEY}, design VARCHAR, verdict VARCHAR, grade VARCHAR, reasons VARCHAR[],
    days_left BIGINT);
CREATE TABLE IF NOT EXISTS results.stages (study VARCHAR, stage VARCHAR, version VARCHAR, PRIMARY KEY (study, stage));
"""
Finding = tuple[Role, Estimate]


class StaleStageError(Exception):
    """What a stage wrote stands on other fields of the protocol than those in force."""


def stamp(warehouse: Warehouse, study: str, stage: str, version: str) -> None:
    """Record the code version under which a stage has written."""
    with warehouse.transaction() as connection:
        connection.execute(DDL)
        connection.execute("INSERT OR REPLACE INTO results.stages VALUES (?, ?, ?)", [study, stage, version])


def require(warehouse: Warehouse, study: str, versions: Mapping[str, str]) -> None:
    """Make sure that what each stage wrote was made under its code version in ``versions``.

    Raises:
        StaleStageError: one was made under another version, or never.
    """
    written: dict[str, str] = {}
    if "stages" in warehouse.tables("results"):
        rows = warehouse.rows("SELECT stage, version FROM results.stages WHERE study = ?", [study])
        written = {row["stage"]: row["version"] for row in rows}
    for stage, version in versions.items():
        if written.get(stage) != version:
            was = "made under other fields of the protocol" if stage in written else "not made yet"
            raise StaleStageError(f"{study}: {stage} was {was}; materialise {study}/{stage} first")


def write_estimates(warehouse: Warehouse, study: str, protocol: str, findings: Sequence[Finding]) -> None:
    """Replace the study's estimates."""
    rows = [{"role": role.value, **asdict(estimate)} for role, estimate in findings]
    _replace(warehouse, "estimates", study, protocol, rows)


def write_diagnostics(warehouse: Warehouse, study: str, protocol: str, diagnostics: Sequence[Diagnostic]) -> None:
    """Replace the study's diagnostics."""
    _replace(warehouse, "diagnostics", study, protocol, [asdict(diagnostic) for diagnostic in diagnostics])


def write_decision(warehouse: Warehouse, study: str, protocol: str, design: str, decision: Decision) -> None:
    """Replace the study's decision."""
    _replace(
        warehouse,
        "decisions",
        study,
        protocol,
        [{"design": design, **asdict(decision), "reasons": list(decision.reasons)}],
    )


def read_estimates(warehouse: Warehouse, study: str) -> list[Finding]:
    """The study's estimates with their roles, in the order written."""
    return [
        (Role(row.pop("role")), Estimate(pieces=tuple((low, high) for low, high in row.pop("pieces") or ()), **row))
        for row in _read(warehouse, "estimates", study)
    ]


def read_diagnostics(warehouse: Warehouse, study: str) -> list[Diagnostic]:
    """The study's diagnostics, in the order written."""
    rows = _read(warehouse, "diagnostics", study)
    return [Diagnostic(status=Status(row.pop("status")), **row) for row in rows]


def read_decision(warehouse: Warehouse, study: str) -> Decision:
    """The study's decision.

    Raises:
        LookupError: none has been written.
    """
    rows = _read(warehouse, "decisions", study)
    if not rows:
        raise LookupError(f"{study}: no decision has been written; materialise {study}/decision")
    (row,) = rows
    return Decision(
        verdict=Verdict(row["verdict"]), grade=row["grade"], reasons=tuple(row["reasons"]), days_left=row["days_left"]
    )


def primary(findings: Sequence[Finding]) -> Estimate | None:
    """The estimate the decision rests on, if any unit's window has passed."""
    return next((estimate for role, estimate in findings if role is Role.PRIMARY), None)


def _replace(warehouse: Warehouse, table: str, study: str, protocol: str, rows: Sequence[dict[str, Any]]) -> None:
    with warehouse.transaction() as connection:
        connection.execute(DDL)
        connection.execute(f"DELETE FROM results.{table} WHERE study = ?", [study])
        for row in rows:
            values = {"study": study, "protocol": protocol, **row}
            marks = ", ".join("?" for _ in values)
            connection.execute(
                f"INSERT INTO results.{table} ({', '.join(values)}) VALUES ({marks})", [*values.values()]
            )


def _read(warehouse: Warehouse, table: str, study: str) -> list[dict[str, Any]]:
    if table not in warehouse.tables("results"):
        return []
    return warehouse.rows(
        f"SELECT * EXCLUDE (study, protocol) FROM results.{table} WHERE study = ? ORDER BY rowid", [study]
    )
