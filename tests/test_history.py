"""What the ledger's order makes of a study: versions, deviations field by field, and how far it confirms."""

from pathlib import Path
from typing import Any

import pytest

from causal_assets.history import changes, registrations
from causal_assets.ledger import Kind, Ledger
from causal_assets.protocol import hash_of
from causal_assets.types import Registration, Standing

BASE: dict[str, Any] = {
    "design": "randomised experiment",
    "question": "Does it?",
    "level": 0.95,
    "population": None,
    "decision": {"value_per_outcome": 1.0, "cost_per_unit": 0.1},
    "outcomes": [{"name": "revenue", "days": 14}, {"name": "complaints", "days": 14}],
    "covariates": [{"metric": "revenue", "windows": [[-7, 0]]}],
}
FUTURE, PAST = "2999-01-01", "2020-01-01"


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(path=str(tmp_path / "ledger.sqlite"))


def register(ledger: Ledger, begins: str | None = FUTURE, study: str = "page", **changed: Any) -> None:
    document = BASE | changed
    said = {
        "author": "A. Uthor",
        "commit": "c0ffee",
        "uncommitted": False,
        "assumptions": [{"words": "It was chance."}],
    }
    payload = {"document": document, "outcomes_begin": begins, **said}
    ledger.append(Kind.REGISTERED, study, hash_of(document), payload)


def read(ledger: Ledger, study: str = "page") -> None:
    ledger.append(Kind.OUTCOMES_READ, study, "whichever protocol")


def last(ledger: Ledger) -> Registration:
    return registrations(ledger.entries("page"))[-1]


def test_a_study_registered_once_before_its_outcomes_is_confirmatory_and_has_no_deviation(ledger: Ledger) -> None:
    register(ledger)
    read(ledger)
    (only,) = registrations(ledger.entries("page"))
    assert (only.version, only.standing, only.deviations) == (1, Standing.CONFIRMATORY, ())
    assert (only.author, only.commit, only.uncommitted) == ("A. Uthor", "c0ffee", False)
    assert only.assumptions == ("It was chance.",)
    assert only.registered_at == only.settled_at == ledger.entries()[0].at


@pytest.mark.parametrize("begins", [PAST, None])
def test_a_study_whose_outcomes_could_exist_when_it_was_registered_is_retrospective(
    ledger: Ledger, begins: str | None
) -> None:
    register(ledger, begins)
    assert last(ledger).standing is Standing.RETROSPECTIVE


def test_a_change_before_outcomes_were_read_is_a_deviation_and_leaves_the_study_confirmatory(ledger: Ledger) -> None:
    register(ledger)
    register(ledger, level=0.9)
    read(ledger)
    (change,) = last(ledger).deviations
    assert (change.field, change.before, change.after) == ("level", 0.95, 0.9)
    assert (change.after_outcomes, change.matters, change.explores) == (False, True, False)
    assert change.registered_at == ledger.entries()[1].at
    assert last(ledger).standing is Standing.CONFIRMATORY


@pytest.mark.parametrize(
    "changed",
    [
        {"level": 0.9},
        {"decision": {"value_per_outcome": 1.0, "cost_per_unit": 0.0}},
        {"population": "tenure > 3"},
        {"outcomes": [{"name": "revenue", "days": 28}, {"name": "complaints", "days": 14}]},
        {"design": "observational target trial"},
    ],
)
def test_a_change_of_what_a_stage_reads_after_outcomes_were_read_is_exploratory(
    ledger: Ledger, changed: dict[str, Any]
) -> None:
    register(ledger)
    read(ledger)
    register(ledger, **changed)
    first, second = registrations(ledger.entries("page"))
    assert (first.standing, second.standing) == (Standing.CONFIRMATORY, Standing.EXPLORATORY)
    assert all(change.explores for change in second.deviations)


def test_a_change_of_words_after_outcomes_were_read_is_listed_but_settles_nothing_anew(ledger: Ledger) -> None:
    register(ledger)
    read(ledger)
    register(ledger, PAST, question="Does it, really?")  # by now its outcomes have begun
    register(ledger, FUTURE, question="Does it, really?", intervention="the page")
    version = last(ledger)
    assert [(d.field, d.after_outcomes, d.matters) for d in version.deviations] == [
        ("question", True, False), ("intervention", True, False),
    ]  # fmt: skip
    assert (version.standing, version.settled_at) == (Standing.CONFIRMATORY, ledger.entries()[0].at)


def test_a_change_that_is_taken_back_stays_exploratory_with_both_changes_listed(ledger: Ledger) -> None:
    register(ledger)
    read(ledger)
    register(ledger, level=0.9)
    register(ledger)
    assert [(d.before, d.after) for d in last(ledger).deviations] == [(0.95, 0.9), (0.9, 0.95)]
    assert last(ledger).standing is Standing.EXPLORATORY


def test_outcomes_read_before_the_first_registration_make_the_study_exploratory(ledger: Ledger) -> None:
    read(ledger)
    register(ledger)
    assert last(ledger).standing is Standing.EXPLORATORY


def test_what_other_studies_read_and_change_is_not_this_ones(ledger: Ledger) -> None:
    register(ledger)
    read(ledger, "mail")
    register(ledger, study="mail", level=0.8)
    register(ledger, level=0.9)
    assert last(ledger).standing is Standing.CONFIRMATORY
    assert len(last(ledger).deviations) == 1


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, []),
        ({"decision": {"value_per_outcome": 1.0, "cost_per_unit": 0.2}}, [("decision.cost_per_unit", 0.1, 0.2)]),
        (
            {"outcomes": [{"name": "revenue", "days": 7}, {"name": "complaints", "days": 14}]},
            [("outcomes.revenue.days", 14, 7)],
        ),
        ({"outcomes": [{"name": "revenue", "days": 14}]}, [("outcomes.complaints", BASE["outcomes"][1], None)]),
        ({"outcomes": BASE["outcomes"][::-1]}, [("outcomes", ["revenue", "complaints"], ["complaints", "revenue"])]),
        ({"covariates": []}, [("covariates", BASE["covariates"], [])]),
        ({"population": "a > 1", "level": 0.9}, [("level", 0.95, 0.9), ("population", None, "a > 1")]),
        ({"added with no value": None}, []),
    ],
)
def test_what_differs_is_told_by_its_path_with_before_and_after(
    changed: dict[str, Any], told: list[tuple[str, Any, Any]]
) -> None:
    assert list(changes(BASE, BASE | changed)) == told
