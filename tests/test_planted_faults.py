"""Each fault that the demo's world can be given ends the study it breaks, with the check that saw it named."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from causal_assets.designs.observational import ObservationalStudy
from causal_assets.home import PROJECT, Home
from causal_assets.types import Status, Verdict
from causal_assets.warehouse import results
from tests.designs import shop
from tests.house import House, deliver_journey, failures, live_in

CUSTOMERS = 5_000
HOME, MAIL = "personalised_home_page", "winback_email"
# One fault a study and world; both studies of a world are run at once.
WORLDS: dict[str, dict[str, float]] = {
    "lost and hidden": {"lost_assignments": 0.2, "hidden_interest": 1.0},
    "crossed": {"crossed_assignments": 0.02},
    "favoured": {"favoured_buyers": 1.0},
    "broken logs": {"malformed": 0.3},
}


def declared(study: str) -> dict[str, Any]:
    """What a study of the demo says."""
    file = PROJECT / "causal_assets" / "defs" / "studies" / study / "defs.yaml"
    return yaml.safe_load(file.read_text(encoding="utf-8"))["attributes"]


@pytest.fixture(scope="module", params=WORLDS)
def broken(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, manifest: Path) -> Iterator[House]:
    """Both planted studies over a world with faults, from its landing files to their decisions."""
    from causal_assets.definitions import defs

    with live_in(tmp_path_factory.mktemp("broken")) as root:
        house = House(Home(root), defs(), dg.DagsterInstance.ephemeral())
        deliver_journey(house.warehouse)
        keys = house.definitions.resolve_job_def("main").asset_layer.executable_asset_keys
        real = ("complete_journey", "coupon_mailing_may")
        planted = [key.path for key in keys if key.path[0] not in real and not key.path[-1].startswith(real)]
        world = {"customers": CUSTOMERS, "faults": WORLDS[request.param]}
        result = house.run(*planted, config={"ops": {"landing__planted_world": {"config": world}}})
        assert result.success, failures(result)
        yield house


@pytest.mark.parametrize(
    ("broken", "study", "check"),
    [
        ("lost and hidden", HOME, "srm"),
        ("crossed", HOME, "several_arms"),
        ("favoured", HOME, "placebo_period"),
        ("broken logs", HOME, "data_loss"),
        ("broken logs", MAIL, "data_loss"),
    ],
    indirect=["broken"],
)
def test_a_fault_that_can_be_seen_blocks_the_decision_and_is_named(broken: House, study: str, check: str) -> None:
    seen = {d.name: d for d in results.read_diagnostics(broken.warehouse, study)}[check]
    assert seen.status is Status.FAIL
    found = results.read_decision(broken.warehouse, study)
    assert found.verdict is (Verdict.BLOCKED if study == HOME else Verdict.NOT_IDENTIFIED)
    assert found.grade == "D"
    assert seen.message in found.reasons


@pytest.mark.parametrize("broken", ["lost and hidden"], indirect=True)
def test_a_hidden_reason_that_nothing_shows_is_called_unknowable_and_never_acted_on(broken: House) -> None:
    (seen,) = [d for d in results.read_diagnostics(broken.warehouse, MAIL) if d.name == "negative_control"]
    assert seen.status is Status.REVIEW
    assert "cannot know" in seen.message
    found = results.read_decision(broken.warehouse, MAIL)
    assert found.grade >= "C"
    assert found.verdict is not Verdict.SHIP


@pytest.mark.parametrize("broken", ["lost and hidden"], indirect=True)
def test_the_same_hidden_reason_is_seen_where_an_outcome_is_named_that_the_mail_cannot_move(broken: House) -> None:
    """The mail's link lands on a product page, and counts as no visit; what makes customers visit drove the mail."""
    fields = declared(MAIL)
    visits = {"name": "visits_28d", "metric": "visits", "days": 28, "role": "negative_control"}
    study = ObservationalStudy.resolve_from_dict(fields | {"outcomes": [*fields["outcomes"], visits]})
    house = shop.house(broken.home, winback_controlled=study)
    assert house.run().success
    found = results.read_decision(house.warehouse, "winback_controlled")
    assert found.verdict is Verdict.NOT_IDENTIFIED
    assert any(reason.startswith("visits_28d, which the treatment should not move") for reason in found.reasons)
