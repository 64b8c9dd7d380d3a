"""Each fault that the demo's world can be given ends the study it breaks, with the check that saw it named."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from causal_assets.designs.observational import ObservationalStudy
from causal_assets.home import PROJECT, Home
from causal_assets.types import Decision, Diagnostic, Status, Verdict
from causal_assets.warehouse import results
from causal_assets.warehouse.engine import Warehouse
from tests.designs import shop
from tests.house import House, deliver_journey, failures, live_in, parsed_once, planted_keys

CUSTOMERS = 2_000
HOME, MAIL = "personalised_home_page", "winback_email"
# What is wrong with one study's world is seen by one check, so that several faults share a run.
WORLDS: dict[str, dict[str, float]] = {
    "hidden": {"lost_assignments": 0.4, "hidden_interest": 1.0},
    "seen": {"crossed_assignments": 0.02, "favoured_buyers": 1.0, "malformed": 0.3},
}


def declared(study: str) -> dict[str, Any]:
    """What a study of the demo says."""
    file = PROJECT / "causal_assets" / "defs" / "studies" / study / "defs.yaml"
    return yaml.safe_load(file.read_text(encoding="utf-8"))["attributes"]


@dataclass(frozen=True)
class Ended:
    """What a study's evidence and decision were."""

    checks: dict[str, Diagnostic]
    decision: Decision


def ended(warehouse: Warehouse, study: str) -> Ended:
    checks = {check.name: check for check in results.read_diagnostics(warehouse, study)}
    return Ended(checks, results.read_decision(warehouse, study))


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, manifest: Path) -> dict[tuple[str, str], Ended]:
    """Both planted studies of each world, and of the hidden one a third, from landing files to their decisions."""
    from causal_assets.definitions import defs

    fields = declared(MAIL)
    visits = {"name": "visits_28d", "metric": "visits", "days": 28, "role": "negative_control"}
    controlled = ObservationalStudy.resolve_from_dict(fields | {"outcomes": [*fields["outcomes"], visits]})
    found = {}
    with live_in(tmp_path_factory.mktemp("broken")) as root, parsed_once(tmp_path_factory.mktemp("parsed")):
        house = House(Home(root), defs(), dg.DagsterInstance.ephemeral())
        deliver_journey(house.warehouse)
        keys = [key.path for key in planted_keys(house.definitions.resolve_job_def("main"), HOME, MAIL)]
        for world, faults in WORLDS.items():
            config = {"customers": CUSTOMERS, "faults": faults}
            result = house.run(*keys, config={"ops": {"landing__planted_world": {"config": config}}})
            assert result.success, failures(result)
            found |= {(world, study): ended(house.warehouse, study) for study in (HOME, MAIL)}
            if world == "hidden":
                assert shop.house(house.home, controlled=controlled).run().success
                found[world, "controlled"] = ended(house.warehouse, "controlled")
    return found


@pytest.mark.parametrize(
    ("world", "study", "check"),
    [
        ("hidden", HOME, "srm"),
        ("seen", HOME, "several_arms"),
        ("seen", HOME, "placebo_period"),
        ("seen", HOME, "data_loss"),
        ("seen", MAIL, "data_loss"),
    ],
)
def test_a_fault_that_can_be_seen_blocks_the_decision_and_is_named(
    broken: dict[tuple[str, str], Ended], world: str, study: str, check: str
) -> None:
    found = broken[world, study]
    assert found.checks[check].status is Status.FAIL
    assert found.decision.verdict is (Verdict.BLOCKED if study == HOME else Verdict.NOT_IDENTIFIED)
    assert found.decision.grade == "D"
    assert found.checks[check].message in found.decision.reasons


def test_a_hidden_reason_that_nothing_shows_is_called_unknowable_and_never_acted_on(
    broken: dict[tuple[str, str], Ended],
) -> None:
    found = broken["hidden", MAIL]
    assert found.checks["negative_control"].status is Status.REVIEW
    assert "cannot know" in found.checks["negative_control"].message
    assert found.decision.grade >= "C"
    assert found.decision.verdict is not Verdict.SHIP


def test_the_same_hidden_reason_is_seen_where_an_outcome_is_named_that_the_mail_cannot_move(
    broken: dict[tuple[str, str], Ended],
) -> None:
    """The mail's link lands on a product page, and counts as no visit; what makes customers visit drove the mail."""
    found = broken["hidden", "controlled"]
    assert found.checks["negative_control"].status is Status.FAIL
    assert found.decision.verdict is Verdict.NOT_IDENTIFIED
    assert found.checks["negative_control"].message in found.decision.reasons
