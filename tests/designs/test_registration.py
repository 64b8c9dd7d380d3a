"""What registering leaves in the ledger and the tables, and what a protocol changed after a look at outcomes does."""

from datetime import date

import pytest

from causal_assets.home import Home
from causal_assets.ledger import Kind
from causal_assets.types import Status, Verdict
from causal_assets.warehouse import results
from tests.designs.shop import house, mailing, trial, trial_shop
from tests.house import House, data_versions, failures, told

CHEAPER = {"decision": {"value_per_outcome": 1.0, "cost_per_unit": 0.0}}
AFTER_THE_LOOK = (["page", "registration"], ["page", "decision"], ["page", "mandate"], ["page", "memo"])


@pytest.fixture
def lived_in(decided: Home) -> House:
    return house(decided, page=trial())


def registered(lived_in: House) -> list[dict[str, object]]:
    return lived_in.warehouse.rows("FROM results.registrations WHERE study = 'page' ORDER BY version")


def evidence(lived_in: House) -> dict[str, Status]:
    return {found.name: found.status for found in results.read_diagnostics(lived_in.warehouse, "page")}


def test_the_ledger_holds_the_whole_protocol_its_assumptions_author_and_commit(lived_in: House) -> None:
    (entry,) = [e for e in lived_in.ledger.entries("page") if e.kind is Kind.REGISTERED]
    assert entry.protocol == trial().protocol_hash
    assert entry.payload["document"] == trial().protocol_document
    assert entry.payload["assumptions"] == trial().assumptions
    words = [assumption["words"] for assumption in entry.payload["assumptions"]]
    assert "What one customer was given does not change the outcome of another." in words
    assert entry.payload["outcomes_begin"] == "2026-03-01"
    assert entry.payload["type"] == "causal_assets.designs.randomized.RandomizedExperiment"
    assert entry.payload["file"].endswith("studies/page/defs.yaml")
    assert {"author", "commit", "uncommitted"} <= entry.payload.keys()


def test_registering_the_same_protocol_again_adds_nothing_whoever_does_it(
    lived_in: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = told(lived_in.ledger)
    monkeypatch.setenv("CAUSAL_AUTHOR", "somebody else")
    assert lived_in.run(["page", "registration"]).success
    assert told(lived_in.ledger) == before


def test_a_registration_is_a_row_with_its_standing(lived_in: House) -> None:
    (row,) = registered(lived_in)
    assert (row["version"], row["in_force"], row["standing"]) == (1, True, "retrospective")
    assert row["protocol"] == trial().protocol_hash
    assert row["outcomes_begin"] == date(2026, 3, 1)
    assert lived_in.warehouse.rows("FROM results.deviations") == []


def test_a_rule_changed_after_outcomes_were_read_makes_the_study_exploratory_and_takes_its_mandate(
    lived_in: House,
) -> None:
    assert results.read_decision(lived_in.warehouse, "page").grade == "B"
    assert evidence(lived_in)["deviations"] is Status.PASS
    changed = house(lived_in.home, page=trial(**CHEAPER))
    result = changed.run(*AFTER_THE_LOOK)
    assert result.success, failures(result)

    assert [(row["version"], row["in_force"], row["standing"]) for row in registered(changed)] == [
        (1, False, "retrospective"), (2, True, "exploratory"),
    ]  # fmt: skip
    (deviation,) = changed.warehouse.rows("SELECT * EXCLUDE (registered_at) FROM results.deviations")
    assert deviation == {
        "study": "page", "field": "decision.cost_per_unit", "before": "0.1", "after": "0.0",
        "after_outcomes": True, "matters": True,
    }  # fmt: skip
    assert evidence(changed)["deviations"] is Status.REVIEW, "although the evidence was not made again"
    decision = results.read_decision(changed.warehouse, "page")
    assert (decision.verdict, decision.grade) == (Verdict.HOLD, "C")
    assert "The protocol was changed after outcomes had been seen: C at best." in decision.grade_reasons
    assert "page/mandate" not in data_versions(result)
    with pytest.raises(PermissionError):
        changed.ledger.require_mandate("page", trial(**CHEAPER).protocol_hash)
    memo = (changed.home.memos / "page.html").read_text(encoding="utf-8")
    assert "<code>decision.cost_per_unit</code> from 0.1 to 0.0, " in memo
    assert "after its outcome had been read" in memo
    assert "Exploratory: the protocol was changed after its outcome had been read." in memo


def test_a_question_put_in_other_words_after_outcomes_were_read_is_listed_and_costs_nothing(lived_in: House) -> None:
    changed = house(lived_in.home, page=trial(question="Is the new page better?"))
    assert changed.run(*AFTER_THE_LOOK).success
    assert [row["standing"] for row in registered(changed)] == ["retrospective", "retrospective"]
    assert len({row["settled_at"] for row in registered(changed)}) == 1
    assert results.read_decision(changed.warehouse, "page").verdict is Verdict.SHIP
    assert "to Is the new page better?, " in (changed.home.memos / "page.html").read_text(encoding="utf-8")


def test_a_decision_needs_its_rule_registered(lived_in: House) -> None:
    changed = house(lived_in.home, page=trial(**CHEAPER))
    said = failures(changed.run(["page", "decision"]))
    assert f"registered is {trial().protocol_hash[:12]}. Materialise page/registration first." in said


def test_a_day_on_which_no_window_has_passed_is_no_look_at_outcomes(decided: Home) -> None:
    early = house(decided, young=trial())
    trial_shop(last_day=date(2026, 3, 10)).write(early.warehouse)
    stages = ("registration", "cohort", "outcomes")
    assert early.run(["studies", "study_moments"], *(["young", stage] for stage in stages)).success
    assert Kind.OUTCOMES_READ not in [entry.kind for entry in early.ledger.entries("young")]
    trial_shop(last_day=date(2026, 3, 16)).write(early.warehouse)
    assert early.run(["studies", "study_moments"], *(["young", stage] for stage in stages)).success
    assert Kind.OUTCOMES_READ in [entry.kind for entry in early.ledger.entries("young")]


def test_the_pass_that_all_studies_share_is_a_look_at_the_outcomes_of_each(decided: Home) -> None:
    both = house(decided, page=trial(), other=trial(level=0.9), letter=mailing())
    assert both.run(["other", "registration"], ["other", "cohort"], ["studies", "study_moments"]).success
    read = {entry.study for entry in both.ledger.entries() if entry.kind is Kind.OUTCOMES_READ}
    assert read == {"page", "other"}
