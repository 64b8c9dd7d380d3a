"""What a stage wrote is what the next one reads: the result tables held against the ledger.

A stage that has written says so in the ledger: under which code version, and the hash of its rows and of the result
rows it read. ``results.stages`` says the same inside the warehouse, and ``results.ledger_head`` which entry was the
ledger's last. So a table that was edited, a ledger that was cut short, and a warehouse that was restored from an older
copy are each noticed by whatever reads next, and named.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from causal_assets.ledger import Entry, Kind, Ledger
from causal_assets.protocol import hash_of
from causal_assets.warehouse import results
from causal_assets.warehouse.engine import Warehouse, in_one_opening

# The stage that writes a result table.
WRITER = {
    "registrations": "registration",
    "deviations": "registration",
    "estimates": "estimate",
    "diagnostics": "evidence",
    "decisions": "decision",
}


class StaleStageError(Exception):
    """What a stage wrote stands on other fields of the protocol, or other results, than those in force."""


class AlteredError(Exception):
    """A table or the ledger is not as a stage left it."""


def seal(
    warehouse: Warehouse, ledger: Ledger, study: str, protocol: str, said: dict[str, Any], kind: Kind = Kind.WRITTEN
) -> Entry:
    """Record that a stage has written: ``said`` is its ``stage``, code ``version`` and ``content``.

    ``content`` is the hash by table of what it wrote and of the results it read.
    """
    entry = ledger.append_if_new(kind, study, protocol, said)
    with warehouse.transaction() as connection:
        results.prepare(connection)
        connection.execute("DELETE FROM results.stages WHERE study = ? AND stage = ?", [study, said["stage"]])
        row = [study, said["stage"], said["version"], hash_of(said["content"])]
        connection.execute("INSERT INTO results.stages (study, stage, version, content) VALUES (?, ?, ?, ?)", row)
        connection.execute("DELETE FROM results.ledger_head")
        connection.execute("INSERT INTO results.ledger_head (seq, hash) VALUES (?, ?)", ledger.head())
    return entry


def sealed(entries: Sequence[Entry], study: str) -> dict[str, Entry]:
    """The last entry of each of the study's stages."""
    return {e.payload["stage"]: e for e in entries if e.study == study and e.kind in (Kind.WRITTEN, Kind.DECIDED)}


@in_one_opening
def contents(warehouse: Warehouse, study: str, *tables: str) -> dict[str, str]:
    """Hash of the study's rows of each result table."""
    return {table: results.content(warehouse, table, study) for table in tables}


@in_one_opening
def require(warehouse: Warehouse, ledger: Ledger, study: str, versions: Mapping[str, str]) -> None:
    """Make sure that each stage has written under its code version in ``versions``, and nobody else since.

    Raises:
        StaleStageError: one has written under another version, from other results, or never.
        AlteredError: its tables, ``results.stages`` or the ledger's end are not as it left them.
        BrokenChainError: an entry of the ledger was changed.
    """
    entries = ledger.entries()
    _require_head(warehouse, ledger, entries)
    written, here = sealed(entries, study), _stages(warehouse, study)
    for stage, version in versions.items():
        _require_stage(study, stage, version, written.get(stage), here.get(stage))
        _require_tables(warehouse, study, written, stage)


def require_mandate(warehouse: Warehouse, ledger: Ledger, study: str, protocol: str) -> Entry:
    """Return the mandate to act on this protocol; every body that acts outward begins with this call.

    Raises:
        PermissionError: no mandate was granted for this protocol, or it was revoked.
        AlteredError: the study's decision or the ledger's end is not as it was left.
        StaleStageError: the study has new results that are not decided on.
        BrokenChainError: an entry of the ledger was changed.
    """
    decided = ledger.last(study, Kind.DECIDED)
    require(warehouse, ledger, study, {"decision": decided.payload["version"]} if decided else {})
    return ledger.require_mandate(study, protocol)


def _require_stage(study: str, stage: str, version: str, entry: Entry | None, here: tuple[str, str] | None) -> None:
    if entry is None or here is None:
        raise StaleStageError(f"{study}: {stage} was not made yet; materialise {study}/{stage} first")
    said = entry.payload
    if here != (said["version"], hash_of(said["content"])):
        raise AlteredError(_altered(study, "results.stages", entry))
    if said["version"] != version:
        raise StaleStageError(
            f"{study}: {stage} was made under other fields of the protocol; materialise {study}/{stage} first"
        )


def _require_tables(warehouse: Warehouse, study: str, written: Mapping[str, Entry], stage: str) -> None:
    """Each result table that the stage wrote or read is as it was then."""
    for table, stated in written[stage].payload["content"].items():
        if table not in WRITER:
            continue  # a table of the study's own: large, and read again by the stage that reads it
        writer = WRITER[table]
        found = results.content(warehouse, table, study)
        if found != written[writer].payload["content"][table]:
            raise AlteredError(_altered(study, f"results.{table}", written[writer]))
        if found != stated:
            raise StaleStageError(f"{study}: {stage} was made from other {table}; materialise {study}/{stage} first")


def _altered(study: str, table: str, entry: Entry) -> str:
    stage = entry.payload["stage"]
    return (
        f"{study}: {table} is not what {study}/{stage} wrote (entry {entry.seq} of the ledger, {entry.at}): it was "
        f"changed or restored since. Materialise {study}/{stage} again"
    )


def _require_head(warehouse: Warehouse, ledger: Ledger, entries: Sequence[Entry]) -> None:
    if "ledger_head" not in warehouse.tables("results"):
        return
    for row in warehouse.rows("SELECT seq, hash FROM results.ledger_head"):
        if row["seq"] and (len(entries) < row["seq"] or entries[row["seq"] - 1].hash != row["hash"]):
            raise AlteredError(
                f"{ledger.path}: results were written when the ledger reached entry {row['seq']}, which is gone or "
                f"another one now; it ends with entry {len(entries)}: entries were deleted, or the file was replaced. "
                "Put the ledger back, or begin with an empty warehouse"
            )


def _stages(warehouse: Warehouse, study: str) -> dict[str, tuple[str, str]]:
    if "stages" not in warehouse.tables("results"):
        return {}
    rows = warehouse.rows("SELECT stage, version, content FROM results.stages WHERE study = ?", [study])
    return {row["stage"]: (row["version"], row["content"]) for row in rows}
