"""Whatever is edited after a decision, in the warehouse or in the ledger, is noticed by what reads next, and named."""

import json
import sqlite3
from collections.abc import Callable

import pytest

from causal_assets.home import Home
from causal_assets.ledger import GENESIS, BrokenChainError, Kind, Ledger, _digest
from causal_assets.types import Verdict
from causal_assets.warehouse import results, seals
from causal_assets.warehouse.seals import AlteredError, StaleStageError
from tests.designs.shop import house, trial, trial_shop
from tests.house import House, data_versions, failures

Edit = Callable[[sqlite3.Connection], object]


@pytest.fixture
def lived_in(decided: Home) -> House:
    return house(decided, page=trial())


def require_everything(lived_in: House) -> None:
    """Read as a stage after all others would."""
    written = seals.sealed(lived_in.ledger.entries(), "page")
    versions = {stage: entry.payload["version"] for stage, entry in written.items()}
    seals.require(lived_in.warehouse, lived_in.ledger, "page", versions)


def edit(lived_in: House, sql: str) -> None:
    with lived_in.warehouse.transaction() as connection:
        connection.execute(sql)


def edit_ledger(lived_in: House, change: Edit) -> None:
    with sqlite3.connect(lived_in.ledger.path) as connection:
        change(connection)


def test_what_nobody_touched_is_read(lived_in: House) -> None:
    require_everything(lived_in)
    assert seals.require_mandate(lived_in.warehouse, lived_in.ledger, "page", trial().protocol_hash)


@pytest.mark.parametrize(
    ("sql", "table", "writer"),
    [
        ("UPDATE results.estimates SET value = 9, high = 10 WHERE role = 'primary'", "estimates", "estimate"),
        ("UPDATE results.estimates SET protocol = 'other'", "estimates", "estimate"),
        ("DELETE FROM results.estimates WHERE role = 'guardrail'", "estimates", "estimate"),
        ("UPDATE results.diagnostics SET status = 'REVIEW' WHERE name = 'srm'", "diagnostics", "evidence"),
        ("UPDATE results.diagnostics SET value = value + 1e-12 WHERE name = 'srm'", "diagnostics", "evidence"),
        ("DELETE FROM results.diagnostics WHERE name = 'srm'", "diagnostics", "evidence"),
        ("UPDATE results.decisions SET grade = 'C'", "decisions", "decision"),
        ("UPDATE results.decisions SET reasons = ['because']", "decisions", "decision"),
        ("UPDATE results.registrations SET standing = 'exploratory'", "registrations", "registration"),
        ("INSERT INTO results.deviations (study, field) VALUES ('page', 'level')", "deviations", "registration"),
        ("UPDATE results.stages SET version = 'other' WHERE stage = 'cohort'", "stages", "cohort"),
        ("UPDATE results.stages SET content = 'other' WHERE stage = 'estimate'", "stages", "estimate"),
    ],
)
def test_an_edited_table_is_named_with_its_study_and_the_stage_that_wrote_it(
    lived_in: House, sql: str, table: str, writer: str
) -> None:
    before = results.content(lived_in.warehouse, table, "page")
    edit(lived_in, sql)
    if results.content(lived_in.warehouse, table, "page") == before:
        pytest.fail("the edit changed nothing")
    with pytest.raises(AlteredError, match=rf"page: results\.{table} is not what page/{writer} wrote \(entry \d+ of"):
        require_everything(lived_in)


def test_a_decision_edited_into_a_ship_gets_no_mandate_and_no_memo(lived_in: House) -> None:
    lived_in.ledger.revoke("page", trial().protocol_hash, {"verdict": "hold"})
    edit(lived_in, "UPDATE results.decisions SET verdict = 'ship', grade = 'A', days_left = 1")
    for stage in ("mandate", "memo"):
        result = lived_in.run(["page", stage])
        assert "page: results.decisions is not what page/decision wrote" in failures(result)
        assert f"page/{stage}" not in data_versions(result)
    with pytest.raises(AlteredError, match=r"results\.decisions"):
        seals.require_mandate(lived_in.warehouse, lived_in.ledger, "page", trial().protocol_hash)


def test_deciding_again_does_not_launder_an_edited_estimate(lived_in: House) -> None:
    edit(lived_in, "UPDATE results.estimates SET value = 9, low = 8, high = 10 WHERE role = 'primary'")
    for stage in ("evidence", "decision"):
        assert "page: results.estimates is not what page/estimate wrote" in failures(lived_in.run(["page", stage]))
    assert lived_in.run(["page", "estimate"], ["page", "evidence"], ["page", "decision"]).success
    primary = results.primary(results.read_estimates(lived_in.warehouse, "page"))
    assert primary is not None and primary.value < 9


def test_a_new_estimate_that_is_not_decided_on_yet_is_no_tampering_but_the_old_decision_is_not_read(
    lived_in: House,
) -> None:
    trial_shop(effect=0.0).write(lived_in.warehouse)
    numbers = (["page", "cohort"], ["studies", "study_moments"], ["page", "outcomes"], ["page", "estimate"])
    assert lived_in.run(*numbers).success
    with pytest.raises(StaleStageError, match="page: decision was made from other estimates; materialise page/decis"):
        seals.require_mandate(lived_in.warehouse, lived_in.ledger, "page", trial().protocol_hash)
    assert "page: evidence was made from other estimates; materialise page/evidence first" in failures(
        lived_in.run(["page", "decision"])
    )
    assert lived_in.run(["page", "evidence"], ["page", "decision"]).success
    assert results.read_decision(lived_in.warehouse, "page").verdict is not Verdict.SHIP


def test_an_edited_protocol_in_the_ledger_is_named(lived_in: House) -> None:
    def lower_the_bar(connection: sqlite3.Connection) -> None:
        query = "SELECT seq, payload FROM entries WHERE kind = 'registered' AND study = 'page'"
        seq, payload = connection.execute(query).fetchone()
        said = json.loads(payload)
        said["document"]["decision"]["cost_per_unit"] = 0.0
        connection.execute("UPDATE entries SET payload = ? WHERE seq = ?", (json.dumps(said, sort_keys=True), seq))

    edit_ledger(lived_in, lower_the_bar)
    with pytest.raises(BrokenChainError, match=r"entry \d+ \(registered of page\) was changed after it was written"):
        require_everything(lived_in)


def test_a_ledger_whose_whole_chain_was_forged_is_not_the_one_the_warehouse_was_written_under(lived_in: House) -> None:
    def forge(connection: sqlite3.Connection) -> None:
        previous = GENESIS
        rows = connection.execute("SELECT seq, at, kind, study, protocol, payload FROM entries ORDER BY seq").fetchall()
        for seq, _, *said in rows:
            at = "2020-01-01T00:00:00+00:00"  # long before any outcome
            digest = _digest(seq, at, *said, previous)
            new = (at, previous, digest, seq)
            connection.execute("UPDATE entries SET at = ?, previous = ?, hash = ? WHERE seq = ?", new)
            previous = digest

    edit_ledger(lived_in, forge)
    assert lived_in.ledger.entries()  # the chain itself holds
    with pytest.raises(AlteredError, match="which is gone or another one now"):
        require_everything(lived_in)


@pytest.mark.parametrize("kept", [0, 1, -1])
def test_a_ledger_without_its_end_is_noticed(lived_in: House, kept: int) -> None:
    last = lived_in.ledger.head()[0]
    edit_ledger(lived_in, lambda c: c.execute("DELETE FROM entries WHERE seq > ?", (kept % last,)))
    with pytest.raises(
        AlteredError, match=rf"reached entry {last}, which is gone .* it ends with entry {kept % last}:"
    ):
        require_everything(lived_in)
    for stage in ("registration", "memo"):
        assert "entries were deleted, or the file was replaced" in failures(lived_in.run(["page", stage]))


def test_a_revocation_cut_off_the_ledger_does_not_bring_the_mandate_back(lived_in: House) -> None:
    lived_in.ledger.revoke("page", trial().protocol_hash, {"verdict": "hold"})
    assert lived_in.run(["page", "memo"]).success
    (revoked,) = [e.seq for e in lived_in.ledger.entries() if e.kind is Kind.MANDATE_REVOKED]
    edit_ledger(lived_in, lambda c: c.execute("DELETE FROM entries WHERE seq >= ?", (revoked,)))
    with pytest.raises(AlteredError, match="entries were deleted"):
        seals.require_mandate(lived_in.warehouse, lived_in.ledger, "page", trial().protocol_hash)


def test_a_warehouse_that_begins_anew_remembers_nothing_and_asks_for_every_stage(lived_in: House) -> None:
    (lived_in.home.warehouse).unlink()
    with pytest.raises(StaleStageError, match="page: cohort was not made yet; materialise page/cohort first"):
        require_everything(lived_in)


def test_a_column_that_a_later_version_adds_is_no_tampering(lived_in: House) -> None:
    edit(lived_in, "ALTER TABLE results.estimates ADD COLUMN something_new DOUBLE")
    require_everything(lived_in)


def test_the_ledger_knows_the_stages_of_each_study_apart(lived_in: House) -> None:
    other = Ledger(path=lived_in.ledger.path)
    with pytest.raises(StaleStageError, match="mail: cohort was not made yet"):
        seals.require(lived_in.warehouse, other, "mail", {"cohort": "any"})
