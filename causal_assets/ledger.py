"""The append-only, hash-chained record of what was registered, read, decided, granted and promoted, in order.

SQLite, apart from the warehouse: the ledger must outlive every rebuild of the tables and be readable while the
engine's file is locked. Each entry's hash covers its content and the hash before it, so a later change of any entry
breaks the chain from there on.
"""

import hashlib
import json
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import dagster as dg

GENESIS = "0" * 64
_COLUMNS = "seq, at, kind, study, protocol, payload, previous, hash"


class Kind(StrEnum):
    """What an entry records."""

    REGISTERED = "registered"
    OUTCOMES_READ = "outcomes read"
    WRITTEN = "written"
    DECIDED = "decided"
    MANDATE_GRANTED = "mandate granted"
    MANDATE_REVOKED = "mandate revoked"
    PROMOTED = "promoted"
    DEMOTED = "demoted"
    ROLLED_BACK = "rolled back"


class NotRegisteredError(Exception):
    """Outcomes were asked for under a protocol that is not registered."""


class BrokenChainError(Exception):
    """An entry of the ledger was changed after it was written."""


@dataclass(frozen=True)
class Entry:
    """One line of the ledger."""

    seq: int
    at: str
    kind: Kind
    study: str
    protocol: str
    payload: dict[str, Any]
    previous: str
    hash: str


class Ledger(dg.ConfigurableResource):
    """The ledger of one home."""

    path: str

    def append(self, kind: Kind, study: str, protocol: str, payload: dict[str, Any] | None = None) -> Entry:
        """Add one entry after the last one, atomically."""
        with self._connect() as connection:
            connection.execute("BEGIN IMMEDIATE")
            last = connection.execute("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
            seq, previous = (last[0] + 1, last[1]) if last else (1, GENESIS)
            at = datetime.now(UTC).isoformat(timespec="microseconds")
            body = json.dumps(payload or {}, sort_keys=True)
            digest = _digest(seq, at, kind, study, protocol, body, previous)
            connection.execute(
                f"INSERT INTO entries ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (seq, at, kind.value, study, protocol, body, previous, digest),
            )
            connection.execute("COMMIT")
        return Entry(seq, at, kind, study, protocol, json.loads(body), previous, digest)

    def append_if_new(self, kind: Kind, study: str, protocol: str, payload: dict[str, Any] | None = None) -> Entry:
        """Add an entry unless the study's last one of this kind says the same, so that a rerun adds nothing.

        What several stages say (``payload["stage"]``) is compared stage by stage.
        """
        said = json.loads(json.dumps(payload or {}))
        same = [e for e in self.entries(study) if e.kind is kind and e.payload.get("stage") == said.get("stage")]
        if same and (same[-1].protocol, same[-1].payload) == (protocol, said):
            return same[-1]
        return self.append(kind, study, protocol, said)

    def entries(self, study: str | None = None) -> list[Entry]:
        """All entries in order, of one study or of all.

        Raises:
            BrokenChainError: an entry does not follow from the one before it.
        """
        with self._connect() as connection:
            rows = connection.execute(f"SELECT {_COLUMNS} FROM entries ORDER BY seq").fetchall()
        previous, entries = GENESIS, []
        for row in rows:
            seq, at, kind, of_study, protocol, body, stated_previous, stated = row
            if stated_previous != previous or stated != _digest(seq, at, kind, of_study, protocol, body, previous):
                raise BrokenChainError(
                    f"{self.path}: entry {seq} ({kind} of {of_study}) was changed after it was written"
                )
            previous = stated
            if study in (None, of_study):
                entries.append(
                    Entry(seq, at, Kind(kind), of_study, protocol, json.loads(body), stated_previous, stated)
                )
        return entries

    def last(self, study: str, *kinds: Kind) -> Entry | None:
        """The study's latest entry of one of the kinds."""
        found = [entry for entry in self.entries(study) if entry.kind in kinds]
        return found[-1] if found else None

    def head(self) -> tuple[int, str]:
        """Number and hash of the last entry."""
        with self._connect() as connection:
            last = connection.execute("SELECT seq, hash FROM entries ORDER BY seq DESC LIMIT 1").fetchone()
        return last or (0, GENESIS)

    def registered(self) -> dict[str, Entry]:
        """The current registration of every study."""
        return {entry.study: entry for entry in self.entries() if entry.kind is Kind.REGISTERED}

    def require_registration(self, study: str, protocol: str) -> Entry:
        """Return the study's registration of exactly this protocol.

        Raises:
            NotRegisteredError: the protocol is not the one registered last.
        """
        entry = self.last(study, Kind.REGISTERED)
        if entry is None or entry.protocol != protocol:
            have = f"registered is {entry.protocol[:12]}" if entry else "nothing is registered"
            raise NotRegisteredError(
                f"{study}: outcomes may not be read under protocol {protocol[:12]}: {have}. "
                f"Materialise {study}/registration first."
            )
        return entry

    def grant(self, study: str, protocol: str) -> Entry:
        """The mandate to act on this protocol, granted unless it stands already."""
        last = self.last(study, Kind.MANDATE_GRANTED, Kind.MANDATE_REVOKED)
        if last and last.kind is Kind.MANDATE_GRANTED and last.protocol == protocol:
            return last
        return self.append(Kind.MANDATE_GRANTED, study, protocol)

    def revoke(self, study: str, protocol: str, why: dict[str, Any]) -> None:
        """Take a standing mandate of the study back; nothing to do where none stands."""
        last = self.last(study, Kind.MANDATE_GRANTED, Kind.MANDATE_REVOKED)
        if last and last.kind is Kind.MANDATE_GRANTED:
            self.append(Kind.MANDATE_REVOKED, study, protocol, why)

    def require_mandate(self, study: str, protocol: str) -> Entry:
        """Return the mandate to act on this protocol; what acts outward asks by ``seals.require_mandate``.

        Raises:
            PermissionError: no mandate was granted for this protocol, or it was revoked.
        """
        entry = self.last(study, Kind.MANDATE_GRANTED, Kind.MANDATE_REVOKED)
        if entry is None or entry.kind is Kind.MANDATE_REVOKED or entry.protocol != protocol:
            raise PermissionError(f"{study}: no mandate to act under protocol {protocol[:12]}")
        return entry

    @contextmanager
    def _connect(self) -> Generator[sqlite3.Connection]:
        Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.path, timeout=60, isolation_level=None)) as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS entries (seq INTEGER PRIMARY KEY, at TEXT, kind TEXT, study TEXT, "
                "protocol TEXT, payload TEXT, previous TEXT, hash TEXT)"
            )
            yield connection


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()
