"""The ledger: in order, chained, and every later change of an entry is seen and named."""

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from causal_assets.ledger import GENESIS, BrokenChainError, Kind, Ledger, NotRegisteredError

OLD, NEW = "a" * 64, "b" * 64
APPEND = """
import sys
from causal_assets.ledger import Kind, Ledger
ledger = Ledger(path=sys.argv[1])
for i in range(25):
    ledger.append(Kind.OUTCOMES_READ, sys.argv[2], "p", {"i": i})
"""


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(path=str(tmp_path / "ledger.sqlite"))


@pytest.fixture
def written(ledger: Ledger) -> Ledger:
    ledger.append(Kind.REGISTERED, "home", OLD, {"fields": {"b": 1, "a": [1, 2]}})
    ledger.append(Kind.REGISTERED, "mail", OLD)
    ledger.append(Kind.OUTCOMES_READ, "home", OLD)
    ledger.append(Kind.DECIDED, "home", OLD, {"verdict": "ship"})
    return ledger


def execute(ledger: Ledger, sql: str, *values: Any) -> None:
    with sqlite3.connect(ledger.path) as connection:
        connection.execute(sql, values)


def test_an_empty_ledger_has_no_entries(ledger: Ledger) -> None:
    assert ledger.entries() == []
    assert ledger.last("home", Kind.DECIDED) is None
    assert ledger.registered() == {}


def test_entries_come_back_in_the_order_written_each_chained_to_the_one_before(written: Ledger) -> None:
    entries = written.entries()
    assert [entry.seq for entry in entries] == [1, 2, 3, 4]
    assert [entry.previous for entry in entries] == [GENESIS, *(entry.hash for entry in entries[:-1])]
    assert [entry.at for entry in entries] == sorted(entry.at for entry in entries)
    assert entries[0].payload == {"fields": {"b": 1, "a": [1, 2]}}


def test_an_entry_reads_back_as_it_was_returned(written: Ledger) -> None:
    entry = written.append(Kind.MANDATE_GRANTED, "home", OLD, {"ünï": None})
    assert written.entries()[-1] == entry


def test_a_studys_entries_are_its_own(written: Ledger) -> None:
    assert [entry.kind for entry in written.entries("home")] == [Kind.REGISTERED, Kind.OUTCOMES_READ, Kind.DECIDED]
    assert [entry.seq for entry in written.entries("mail")] == [2]


@pytest.mark.parametrize("seq", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("at", "2020-01-01T00:00:00+00:00"),
        ("kind", Kind.MANDATE_REVOKED.value),
        ("study", "other"),
        ("protocol", NEW),
        ("payload", '{"verdict": "hold"}'),
        ("previous", "0" * 63 + "1"),
        ("hash", "0" * 63 + "1"),
    ],
)
def test_a_change_of_any_column_of_any_entry_is_detected_and_named(
    written: Ledger, seq: int, column: str, value: str
) -> None:
    execute(written, f"UPDATE entries SET {column} = ? WHERE seq = ?", value, seq)
    with pytest.raises(BrokenChainError, match=rf"ledger\.sqlite: entry {seq} .* was changed after it was written"):
        written.entries()
    with pytest.raises(BrokenChainError):  # whoever reads one study reads the whole chain
        written.require_registration("mail", OLD)


@pytest.mark.parametrize("seq", [1, 2, 3])
def test_an_entry_taken_out_is_seen_at_the_one_after_it(written: Ledger, seq: int) -> None:
    execute(written, "DELETE FROM entries WHERE seq = ?", seq)
    with pytest.raises(BrokenChainError, match=f"entry {seq + 1} "):
        written.entries()


def test_entries_put_in_another_order_are_seen(written: Ledger) -> None:
    execute(written, "UPDATE entries SET seq = CASE seq WHEN 2 THEN -3 WHEN 3 THEN -2 END WHERE seq IN (2, 3)")
    execute(written, "UPDATE entries SET seq = -seq WHERE seq < 0")
    with pytest.raises(BrokenChainError, match="entry 2 "):
        written.entries()


def test_nothing_is_appended_to_a_broken_chain(written: Ledger) -> None:
    execute(written, "UPDATE entries SET study = 'other' WHERE seq = 3")
    with pytest.raises(BrokenChainError, match="entry 3 "):
        written.append_if_new(Kind.DECIDED, "home", OLD, {"verdict": "ship"})


def test_the_same_thing_said_again_adds_nothing(written: Ledger) -> None:
    first = written.append_if_new(Kind.DECIDED, "home", OLD, {"verdict": "ship"})
    assert first.seq == 4
    assert written.append_if_new(Kind.DECIDED, "home", OLD, {"verdict": "hold"}).seq == 5
    assert written.append_if_new(Kind.DECIDED, "home", NEW, {"verdict": "hold"}).seq == 6
    assert written.append_if_new(Kind.DECIDED, "mail", NEW, {"verdict": "hold"}).seq == 7
    assert written.append_if_new(Kind.DECIDED, "home", OLD, {"verdict": "ship"}).seq == 8  # said before, but not last
    assert len(written.entries()) == 8


def test_outcomes_need_the_registration_of_exactly_their_protocol(written: Ledger) -> None:
    assert written.require_registration("home", OLD).seq == 1
    with pytest.raises(NotRegisteredError) as refused:
        written.require_registration("home", NEW)
    assert str(refused.value) == (
        "home: outcomes may not be read under protocol bbbbbbbbbbbb: registered is aaaaaaaaaaaa. "
        "Materialise home/registration first."
    )
    with pytest.raises(
        NotRegisteredError, match=r"new: .*: nothing is registered\. Materialise new/registration first\."
    ):
        written.require_registration("new", NEW)


def test_a_study_registered_again_stands_under_its_last_protocol(written: Ledger) -> None:
    written.append(Kind.REGISTERED, "home", NEW)
    assert written.require_registration("home", NEW).seq == 5
    assert {study: entry.protocol for study, entry in written.registered().items()} == {"home": NEW, "mail": OLD}
    with pytest.raises(NotRegisteredError, match="registered is bbbbbbbbbbbb"):
        written.require_registration("home", OLD)


def test_to_act_needs_a_mandate_for_exactly_this_protocol_that_was_not_revoked(written: Ledger) -> None:
    message = "home: no mandate to act under protocol aaaaaaaaaaaa"
    with pytest.raises(PermissionError, match=message):
        written.require_mandate("home", OLD)
    granted = written.append(Kind.MANDATE_GRANTED, "home", OLD)
    assert written.require_mandate("home", OLD) == granted
    with pytest.raises(PermissionError, match="no mandate to act under protocol bbbbbbbbbbbb"):
        written.require_mandate("home", NEW)
    with pytest.raises(PermissionError, match="mail: no mandate"):
        written.require_mandate("mail", OLD)
    written.append(Kind.MANDATE_REVOKED, "home", OLD)
    with pytest.raises(PermissionError, match=message):
        written.require_mandate("home", OLD)
    written.append(Kind.MANDATE_GRANTED, "home", OLD)
    assert written.require_mandate("home", OLD).seq == 7


def test_two_processes_that_append_at_the_same_time_keep_one_chain(ledger: Ledger) -> None:
    command = [sys.executable, "-c", APPEND, ledger.path]
    writers = [subprocess.Popen([*command, study]) for study in ("one", "two")]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    assert [entry.seq for entry in ledger.entries()] == list(range(1, 51))
    for study in ("one", "two"):
        assert [entry.payload["i"] for entry in ledger.entries(study)] == list(range(25))


def test_an_entry_that_fails_half_way_leaves_nothing(written: Ledger) -> None:
    with pytest.raises(TypeError):
        written.append(Kind.DECIDED, "home", OLD, {"no json": object()})
    assert len(written.entries()) == 4
