"""The result tables: every estimate, diagnostic, decision and registration with the protocol it stands on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from causal_assets.protocol import hash_of
from causal_assets.types import Decision, Diagnostic, Estimate, Registration, Role, Status, Verdict
from causal_assets.warehouse.engine import Warehouse

Finding = tuple[Role, Estimate]


@dataclass(frozen=True)
class Table:
    """What a table holds, what one row of it is, and its columns: engine type and meaning."""

    holds: str
    grain: str
    columns: Mapping[str, tuple[str, str]]


_STUDY = {"study": ("VARCHAR", "the study's folder")}
_KEY = {**_STUDY, "protocol": ("VARCHAR", "SHA-256 of the protocol under which the row was written")}
# The one source of what the tables are: the engine's tables and docs/results.md are made of it.
TABLES = {
    "registrations": Table(
        "Every registered version of a study's protocol, and how far an estimate under it confirms.",
        "study and version",
        {
            **_KEY,
            "version": ("BIGINT", "1 for the first registration, one more for every later one"),
            "in_force": ("BOOLEAN", "whether it is the study's last one; join results on this"),
            "registered_at": ("TIMESTAMP", "when, in UTC"),
            "settled_at": ("TIMESTAMP", "when all that a stage reads was first registered as it is now, in UTC"),
            "outcomes_begin": ("DATE", "first day on which an outcome can exist; NULL where the protocol does not say"),
            "standing": ("VARCHAR", "confirmatory; retrospective: outcomes could exist before it was settled; "
                         "exploratory: a field that a stage reads was changed after outcomes had been read"),
            "author": ("VARCHAR", "who registered it: $CAUSAL_AUTHOR, else git's user, else $USER"),
            "commit": ("VARCHAR", "the repository's commit; NULL without one"),
            "uncommitted": ("BOOLEAN", "whether the study's file differed from that commit"),
            "assumptions": ("VARCHAR[]", "what must hold for the answer to be an effect, as registered"),
        },
    ),
    "deviations": Table(
        "What changed between registered versions, field by field.",
        "study, version that made the change, and field",
        {
            **_STUDY,
            "registered_at": ("TIMESTAMP", "registered_at of the version that made the change"),
            "field": ("VARCHAR", "dotted path in the protocol"),
            "before": ("VARCHAR", "as JSON; null where there was nothing"),
            "after": ("VARCHAR", "as JSON; null where there is nothing now"),
            "after_outcomes": ("BOOLEAN", "whether the study's outcomes had been read before, under any protocol"),
            "matters": ("BOOLEAN", "whether a stage reads the field; with after_outcomes, the study is exploratory"),
        },
    ),
    "estimates": Table(
        "Effects with their confidence sets, in the outcome's own unit.",
        "study, role, outcome, estimand and method",
        {
            **_KEY,
            "role": ("VARCHAR", f"{', '.join(Role)}"),
            "outcome": ("VARCHAR", "the outcome's name in the protocol, or a part of it"),
            "estimand": ("VARCHAR", "which effect: ATE, ATT, ATO, CACE ..."),
            "method": ("VARCHAR", "how it was estimated"),
            "value": ("DOUBLE", "the effect per unit"),
            "std_error": ("DOUBLE", "its standard error; NULL for a set from permutations"),
            "low": ("DOUBLE", "lower end of the set; may be -inf"),
            "high": ("DOUBLE", "upper end of the set; may be inf"),
            "p_value": ("DOUBLE", "above 1 - level exactly when the set holds 0; NULL for a posterior"),
            "level": ("DOUBLE", "confidence level of the set"),
            "n_treated": ("BIGINT", "units with the intervention"),
            "n_control": ("BIGINT", "units without it"),
            "control_mean": ("DOUBLE", "mean without the intervention; NULL where there is none"),
            "relative": ("DOUBLE", "value / control_mean"),
            "relative_low": ("DOUBLE", "lower end, Fieller's"),
            "relative_high": ("DOUBLE", "upper end, Fieller's"),
            "pieces": ("DOUBLE[][]", "the set's parts where it is not one interval; else empty"),
        },
    ),
    "diagnostics": Table(
        "What the estimate was put through.",
        "study and name",
        {
            **_KEY,
            "name": ("VARCHAR", "the check; docs/designs.md lists those of each design"),
            "status": ("VARCHAR", "PASS, REVIEW (lowers the grade) or FAIL (blocks the decision)"),
            "value": ("DOUBLE", "what was measured"),
            "threshold": ("DOUBLE", "what it was held against"),
            "message": ("VARCHAR", "what was found, as a sentence"),
            "next_step": ("VARCHAR", "what to do about it"),
        },
    ),
    "decisions": Table(
        "What the protocol's rule says.",
        "study",
        {
            **_KEY,
            "design": ("VARCHAR", "why the effect is identified"),
            "verdict": ("VARCHAR", f"{', '.join(Verdict)}"),
            "grade": ("VARCHAR", "A to D, how far the evidence carries"),
            "reasons": ("VARCHAR[]", "why this verdict"),
            "days_left": ("BIGINT", "days of data still missing; 0 when complete"),
            "grade_reasons": ("VARCHAR[]", "why this grade: the rules that applied, and the checks"),
        },
    ),
    "champions": Table(
        "Which version of the study's uplift model was champion when, and why, as the ledger says it; it only grows.",
        "study and change of champion, in order",
        {
            **_STUDY,
            "entry": ("BIGINT", "number of the entry in the ledger"),
            "at": ("TIMESTAMP", "when, in UTC"),
            "event": ("VARCHAR", "promoted, demoted or rolled back"),
            "version": ("BIGINT", "champion from then on, as the registry numbers it; NULL: none"),
            "model": ("VARCHAR", "SHA-256 of its file; NULL: none"),
            "protocol": ("VARCHAR", "SHA-256 of the protocol it was trained under; NULL: none"),
            "previous": ("BIGINT", "champion until then; NULL: none"),
            "gain": ("DOUBLE", "policy value per unit of the policy fold, in money, over that of the previous "
                     "champion, or of the best simple policy where there was none; NULL unless promoted"),
            "low": ("DOUBLE", "lower end of the gain's interval; NULL unless promoted"),
            "high": ("DOUBLE", "upper end of the gain's interval; NULL unless promoted"),
            "level": ("DOUBLE", "level of that two-sided interval; NULL unless promoted"),
            "earned": ("DOUBLE", "policy value per unit of that one, in money; NULL unless promoted"),
            "rule": ("VARCHAR", "the rule that it was promoted by; NULL unless promoted"),
            "reason": ("VARCHAR", "why, as a sentence"),
        },
    ),
    "stages": Table(
        "Under which code version each stage has written, and what; the ledger has the same.",
        "study and stage",
        {
            **_STUDY,
            "stage": ("VARCHAR", "registration, cohort, outcomes, estimate, evidence, decision or memo"),
            "version": ("VARCHAR", "hash of the protocol fields that it and the stages before it read"),
            "content": ("VARCHAR", "hash of what it wrote"),
        },
    ),
    "ledger_head": Table(
        "The ledger's last entry when a stage last wrote here, so that a ledger cut short is noticed.",
        "warehouse",
        {"seq": ("BIGINT", "the entry's number"), "hash": ("VARCHAR", "its hash")},
    ),
}  # fmt: skip


def prepare(connection: Any) -> None:
    """Create the tables that are not there yet, and the columns that an older warehouse does not have."""
    found = connection.execute("SELECT table_name, column_name FROM duckdb_columns() WHERE schema_name = 'results'")
    known: dict[str, set[str]] = {}
    for name, column in found.fetchall():
        known.setdefault(name, set()).add(column)
    connection.execute("CREATE SCHEMA IF NOT EXISTS results")
    for name, table in TABLES.items():
        missing = [f'"{c}" {kind}' for c, (kind, _) in table.columns.items() if c not in known.get(name, ())]
        if name not in known:
            connection.execute(f"CREATE TABLE results.{name} ({', '.join(missing)})")
            continue
        for column in missing:
            connection.execute(f"ALTER TABLE results.{name} ADD COLUMN {column}")


def write_registrations(warehouse: Warehouse, study: str, versions: Sequence[Registration]) -> None:
    """Replace the study's registrations and deviations by ``versions``, the last one being in force."""
    rows = [
        {
            **{name: value for name, value in asdict(version).items() if name != "deviations"},
            "in_force": version is versions[-1],
            "registered_at": _utc(version.registered_at),
            "settled_at": _utc(version.settled_at),
            "assumptions": list(version.assumptions),
        }
        for version in versions
    ]
    _replace(warehouse, "registrations", study, rows)
    deviations = [
        {**asdict(d), "registered_at": _utc(d.registered_at), "before": _json(d.before), "after": _json(d.after)}
        for d in versions[-1].deviations
    ]
    _replace(warehouse, "deviations", study, deviations)


def write_estimates(warehouse: Warehouse, study: str, protocol: str, findings: Sequence[Finding]) -> None:
    """Replace the study's estimates."""
    rows = [{"protocol": protocol, "role": role.value, **asdict(estimate)} for role, estimate in findings]
    _replace(warehouse, "estimates", study, rows)


def write_diagnostics(warehouse: Warehouse, study: str, protocol: str, diagnostics: Sequence[Diagnostic]) -> None:
    """Replace the study's diagnostics."""
    _replace(warehouse, "diagnostics", study, [{"protocol": protocol, **asdict(found)} for found in diagnostics])


def write_decision(warehouse: Warehouse, study: str, protocol: str, design: str, decision: Decision) -> None:
    """Replace the study's decision."""
    lists = {"reasons": list(decision.reasons), "grade_reasons": list(decision.grade_reasons)}
    _replace(warehouse, "decisions", study, [{"protocol": protocol, "design": design, **asdict(decision), **lists}])


def write_champions(warehouse: Warehouse, study: str, changes: Sequence[Mapping[str, Any]]) -> None:
    """Replace the study's changes of champion by ``changes``, oldest first: a value by column."""
    _replace(warehouse, "champions", study, [{**change, "at": _utc(change["at"])} for change in changes])


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
        verdict=Verdict(row["verdict"]),
        grade=row["grade"],
        reasons=tuple(row["reasons"]),
        days_left=row["days_left"],
        grade_reasons=tuple(row["grade_reasons"] or ()),
    )


def primary(findings: Sequence[Finding]) -> Estimate | None:
    """The estimate the decision rests on, if any unit's window has passed."""
    return next((estimate for role, estimate in findings if role is Role.PRIMARY), None)


def content(warehouse: Warehouse, table: str, study: str) -> str:
    """Hash of the study's rows of a result table, whole and in the order written; a column without values is none."""
    rows = _read(warehouse, table, study, without=("study",))
    return hash_of([repr({name: value for name, value in row.items() if value is not None}) for row in rows])


def _replace(warehouse: Warehouse, table: str, study: str, rows: Sequence[dict[str, Any]]) -> None:
    with warehouse.transaction() as connection:
        prepare(connection)
        connection.execute(f"DELETE FROM results.{table} WHERE study = ?", [study])
        for row in rows:
            values = {"study": study, **row}
            marks = ", ".join("?" for _ in values)
            names = ", ".join(f'"{name}"' for name in values)
            connection.execute(f"INSERT INTO results.{table} ({names}) VALUES ({marks})", [*values.values()])


def _read(
    warehouse: Warehouse, table: str, study: str, without: Sequence[str] = ("study", "protocol")
) -> list[dict[str, Any]]:
    if table not in warehouse.tables("results"):
        return []
    return warehouse.rows(
        f"SELECT * EXCLUDE ({', '.join(without)}) FROM results.{table} WHERE study = ? ORDER BY rowid", [study]
    )


def _utc(at: str) -> datetime:
    return datetime.fromisoformat(at).astimezone(UTC).replace(tzinfo=None)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
