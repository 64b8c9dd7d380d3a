"""Replays a decision: the protocol from the ledger, its stages once more in a home of their own, and is it the same?

``python -m causal_assets.replay <hash>``: the beginning of a protocol's hash, or of a decision's (its entry in the
ledger). Nothing of the real home is touched.
"""

import argparse
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import dagster as dg

from causal_assets.designs.catalogue import study_of
from causal_assets.designs.graph import MOMENTS
from causal_assets.designs.portfolio import moments_of
from causal_assets.home import Home
from causal_assets.ledger import Entry, Kind, Ledger
from causal_assets.warehouse import seals
from causal_assets.warehouse.engine import Warehouse

# In order of flow, so that the first difference is the one that made the others.
DATA, NUMBERS = ("cohort", "outcomes"), ("estimate", "evidence", "decision", "memo")


def decision_of(entries: Sequence[Entry], given: str) -> Entry:
    """The last decision whose own hash, or whose protocol's, begins with ``given``.

    Raises:
        LookupError: there is none.
    """
    taken = [e for e in entries if e.kind is Kind.DECIDED]
    found = [e for e in taken if given and (e.protocol.startswith(given) or e.hash.startswith(given))]
    if not found:
        raise LookupError(f"the ledger knows no decision {given!r}, nor one under such a protocol")
    return found[-1]


def replay(home: Home, given: str, into: Home) -> str | None:
    """Run a decision's study again in the empty home ``into``; the first difference from what was decided, or None.

    Raises:
        LookupError: no such decision, or a protocol that today's designs do not read as it was.
    """
    entries = Ledger(path=str(home.ledger)).entries()
    decided = decision_of(entries, given)
    known = entries[: decided.seq]
    said = [e.payload for e in known if e.kind is Kind.REGISTERED and e.study == decided.study][-1]
    study = study_of(said["type"], said["document"])
    graph = study.graph(study, decided.study, said["file"])
    warehouse, ledger = _copies(home, into, decided.seq)
    assets = [asset for asset in graph.assets() if asset.key.path[-1] != "mandate"]
    if MOMENTS in graph.study.outcome_deps():
        assets.append(moments_of(sorted(ledger.registered())))
    with _living_in(into), dg.DagsterInstance.ephemeral() as instance:
        dg.materialize(assets, resources={"warehouse": warehouse, "ledger": ledger}, instance=instance)
    return _difference(decided, entries, ledger.entries())


def _copies(home: Home, into: Home, last: int) -> tuple[Warehouse, Ledger]:
    """The warehouse as it is, and the ledger as it was when the decision had just been written."""
    warehouse, ledger = Warehouse(path=str(into.warehouse)), Ledger(path=str(into.ledger))
    into.root.mkdir(parents=True, exist_ok=True)
    with Warehouse(path=str(home.warehouse)).connect() as connection:  # nobody else can write meanwhile
        connection.execute("CHECKPOINT")
        shutil.copyfile(home.warehouse, into.warehouse)
    with closing(sqlite3.connect(home.ledger)) as real, closing(sqlite3.connect(into.ledger)) as copy:
        real.backup(copy)
        copy.execute("DELETE FROM entries WHERE seq > ?", [last])
        copy.commit()
    with warehouse.transaction() as connection:
        connection.execute("DELETE FROM results.ledger_head")
    return warehouse, ledger


@contextmanager
def _living_in(home: Home) -> Generator[None]:
    """Make ``home`` the one of this process for as long as the block lasts."""
    before = os.environ.get("CAUSAL_HOME")
    os.environ["CAUSAL_HOME"] = str(home.root)
    try:
        yield
    finally:
        os.environ.pop("CAUSAL_HOME")
        if before is not None:
            os.environ["CAUSAL_HOME"] = before


def _difference(decided: Entry, entries: Sequence[Entry], again: Sequence[Entry]) -> str | None:
    was, now = seals.sealed(entries[: decided.seq], decided.study), seals.sealed(again, decided.study)
    was["memo"] = _memo_of(decided, entries) or now["memo"]  # decided, but never told: nothing to compare
    for stage in (*DATA, *NUMBERS):
        then, here = was[stage].payload["content"], now[stage].payload["content"]
        for table in then:
            if then[table] != here[table]:
                why = "other data" if stage in DATA else "the same data, but the code or its libraries changed"
                return f"{stage}: {table} was {then[table][:32]} when decided and is {here[table][:32]} now: {why}"
    return None


def _memo_of(decided: Entry, entries: Sequence[Entry]) -> Entry | None:
    """The memo that was written after the decision and before the next one."""
    own = [e for e in entries[decided.seq :] if e.study == decided.study]
    for entry in own:
        if entry.kind is Kind.DECIDED:
            return None
        if entry.payload.get("stage") == "memo":
            return entry
    return None


def main() -> int:
    """Say whether a decision replays; the exit code is 0 if it does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("hash", help="the beginning of a protocol's hash or of a decision's")
    given = parser.parse_args().hash
    with tempfile.TemporaryDirectory() as folder:
        difference = replay(Home.current(), given, Home(Path(folder)))
    print(difference or "equal: the same data, estimates, evidence, decision and memo")
    return int(difference is not None)


if __name__ == "__main__":
    raise SystemExit(main())
