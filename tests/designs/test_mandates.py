"""Without a mandate nothing downstream acts, whatever is selected, and however."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from causal_assets.designs.graph import MOMENTS
from causal_assets.home import Home
from causal_assets.ledger import Kind, Ledger
from causal_assets.types import Verdict
from causal_assets.warehouse import results, seals
from causal_assets.warehouse.engine import Warehouse
from tests.designs.shop import definitions, trial, trial_shop
from tests.house import QUIET, House, data_versions, failures, live_in

AUDIENCE, SYNC = dg.AssetKey(["activation", "audience"]), dg.AssetKey(["activation", "sync"])
ALL = dg.AssetSelection.groups("page", "activation") | dg.AssetSelection.assets(MOMENTS)
ACTING = dg.AssetSelection.groups("activation")
JOBS = {
    "whole": ALL,
    "acting": ACTING,
    "unchecked": ACTING.without_checks(),
    "audience": dg.AssetSelection.assets(AUDIENCE),
}


def activation(home: Home) -> House:
    """The study, and a group that acts on its mandate: an audience with a blocking check, and its sync."""

    @dg.asset(key=AUDIENCE, group_name="activation", deps=[dg.AssetKey(["page", "mandate"])])
    def audience(warehouse: Warehouse, ledger: Ledger) -> None:
        seals.require_mandate(warehouse, ledger, "page", trial().protocol_hash)
        if (home.root / "broken").exists():
            raise dg.Failure("the destination is down")
        (home.root / "audience").write_text("acted", encoding="utf-8")

    @dg.asset_check(asset=AUDIENCE, blocking=True)
    def someone_is_in_it() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True)

    @dg.asset(key=SYNC, group_name="activation", deps=[AUDIENCE])
    def sync(warehouse: Warehouse, ledger: Ledger) -> None:
        seals.require_mandate(warehouse, ledger, "page", trial().protocol_hash)
        (home.root / "sync").write_text("acted", encoding="utf-8")

    jobs = [dg.define_asset_job(name, selection) for name, selection in JOBS.items()]
    acting = dg.Definitions(assets=[audience, sync], asset_checks=[someone_is_in_it], jobs=jobs)
    merged = dg.Definitions.merge(definitions(home, page=trial()), acting)
    return House(home, merged, dg.DagsterInstance.ephemeral())


def whole() -> dg.JobDefinition:
    """The job of the home that this process lives in, for Dagster to build again."""
    return activation(Home.current()).definitions.resolve_job_def("whole")


def acted(home: Home) -> set[str]:
    return {name for name in ("audience", "sync") if (home.root / name).exists()}


@dataclass(frozen=True)
class Ran:
    house: House
    result: dg.ExecuteInProcessResult


@pytest.fixture(scope="module")
def blocked(decided_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """Study and activation run as a whole after the mandate of before, on data whose sample ratio fails."""
    folder = tmp_path_factory.mktemp("blocked")
    shutil.copytree(decided_once, folder, dirs_exist_ok=True)
    with live_in(folder) as root:
        lived_in = activation(Home(root))
        trial_shop(share=0.6).write(lived_in.warehouse)
        yield Ran(lived_in, lived_in.run(job="whole"))


def test_with_its_mandate_the_group_acts(decided: Home) -> None:
    result = activation(decided).run(job="acting")
    assert result.success, failures(result)
    assert acted(decided) == {"audience", "sync"}


def test_without_a_mandate_the_whole_group_is_skipped_in_a_green_run(blocked: Ran) -> None:
    assert blocked.result.success, failures(blocked.result)
    assert results.read_decision(blocked.house.warehouse, "page").verdict is Verdict.BLOCKED
    skipped = {event.step_key for event in blocked.result.filter_events(lambda event: event.is_step_skipped)}
    assert {"activation__audience", "activation__sync"} <= skipped
    assert "page/mandate" not in data_versions(blocked.result)
    assert acted(blocked.house.home) == set()


def test_a_later_fail_revokes_the_mandate_in_the_ledger_and_says_why(blocked: Ran) -> None:
    mandates = [e for e in blocked.house.ledger.entries("page") if e.kind.value.startswith("mandate")]
    assert [e.kind for e in mandates] == [Kind.MANDATE_GRANTED, Kind.MANDATE_REVOKED]
    assert mandates[-1].payload == {"verdict": "blocked", "grade": "D"}
    with pytest.raises(PermissionError):
        blocked.house.ledger.require_mandate("page", trial().protocol_hash)


@pytest.mark.parametrize("job", ["audience", "acting", "unchecked"])
def test_selected_alone_or_without_checks_what_acts_fails_before_it_acts(blocked: Ran, job: str) -> None:
    result = blocked.house.run(job=job)
    assert not result.success
    assert "PermissionError: page: no mandate to act under protocol" in failures(result)
    assert acted(blocked.house.home) == set()


def test_the_sync_selected_alone_fails_too(blocked: Ran) -> None:
    result = blocked.house.run(["activation", "sync"], job="acting")
    assert "PermissionError: page: no mandate to act" in failures(result)
    assert acted(blocked.house.home) == set()


def test_a_rerun_from_failure_does_not_act_on_a_mandate_revoked_in_between(decided: Home) -> None:
    """The steps before the failure, the mandate among them, are not run again: only the ledger knows."""
    broken = decided.root / "broken"
    broken.touch()
    job, lived_in = dg.reconstructable(whole), activation(decided)
    with dg.DagsterInstance.ephemeral() as instance:
        first = dg.execute_job(job, instance=instance, run_config={"loggers": QUIET})
        assert not first.success
        assert "the destination is down" in str(first.get_step_failure_events())
        broken.unlink()
        lived_in.ledger.revoke("page", trial().protocol_hash, {"verdict": "hold"})
        options = dg.ReexecutionOptions.from_failure(first.run_id, instance)
        again = dg.execute_job(job, instance=instance, run_config={"loggers": QUIET}, reexecution_options=options)
        assert not again.success
        assert "no mandate to act under protocol" in str(again.get_step_failure_events())
        assert "page__decision" not in {event.step_key for event in again.all_events}
    assert acted(decided) == set()
