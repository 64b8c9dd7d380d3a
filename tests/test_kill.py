"""Killed at any moment: the next run completes, and nothing tells its tables from those of an undisturbed run."""

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from causal_assets.home import Home
from causal_assets.ledger import Ledger
from causal_assets.tracking import database
from causal_assets.warehouse.engine import Warehouse
from tests.house import contents, deliver_journey, live_in, parsed_once, told

STUDIES = ("personalised_home_page", "winback_email")
ROUNDS = 2  # for each of the studies
KILLS = 5  # in a row, each run starting on what the killed one left; then one run is left to complete
SEED = 20_260_508


def state(home: Home) -> dict[str, Any]:
    """All that a run leaves which may not depend on what happened before it."""
    files = {"warehouse": home.warehouse, "published": home.published}
    tables = {
        f"{name}: {table}": content
        for name, file in files.items()
        for table, content in contents(Warehouse(path=str(file))).items()
    }
    memos = sorted(path.name for path in home.memos.iterdir())
    return {**tables, "ledger": told(Ledger(path=str(home.ledger))), "memos": memos}


@dataclass(frozen=True)
class Runner:
    """Starts runs in a home, and kills them."""

    home: Home
    tracking: Path
    context: multiprocessing.context.ForkServerContext

    def fresh(self) -> None:
        """An empty home with a little real data in its warehouse, and with a tracking database."""
        for path in self.home.root.iterdir():
            if path.name != "dagster":  # where the instance remembers its runs, the killed ones too
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        deliver_journey(Warehouse(path=str(self.home.warehouse)))
        self.home.mlflow.mkdir()
        shutil.copy(self.tracking, self.home.mlflow)  # one half made is the subject of test_tracking

    def start(self, study: str) -> multiprocessing.process.BaseProcess:
        """Start a run and wait until it leads its own process group."""
        from tests.killable import small_job

        started = self.home.root / "started"
        started.unlink(missing_ok=True)
        process = self.context.Process(target=small_job, args=(self.home.root, study))
        process.start()
        while not started.exists():
            time.sleep(0.005)
        return process

    def complete(self, study: str) -> float:
        """Run to the end; returns the seconds it took."""
        process = self.start(study)
        began = time.monotonic()
        process.join()
        assert process.exitcode == 0
        return time.monotonic() - began

    def kill_after(self, study: str, seconds: float) -> None:
        """Kill a run and all its children, dbt included, at the given moment."""
        process = self.start(study)
        process.join(seconds)
        if process.is_alive():
            assert process.pid is not None
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
            assert process.exitcode == -signal.SIGKILL
        else:
            assert process.exitcode == 0  # it was faster than the undisturbed one


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory, manifest: Path) -> Iterator[Runner]:
    with live_in(tmp_path_factory.mktemp("killed")) as root, parsed_once(tmp_path_factory.mktemp("parsed")):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.killable"])
        yield Runner(Home(root), database(tmp_path_factory.mktemp("tracking")), context)


@pytest.mark.parametrize("study", STUDIES)
def test_after_ten_kills_at_random_moments_all_tables_equal_those_of_an_undisturbed_run(
    runner: Runner, study: str
) -> None:
    """Ten for a study with a mandate and ten for one without."""
    rng = np.random.default_rng([SEED, STUDIES.index(study)])
    runner.fresh()
    seconds = runner.complete(study)
    undisturbed = state(runner.home)
    assert undisturbed["warehouse: results.decisions"][0] == 1
    for _ in range(ROUNDS):
        runner.fresh()
        moments = rng.uniform(0, seconds, KILLS)
        for moment in moments:
            runner.kill_after(study, moment)
        runner.complete(study)
        assert state(runner.home) == undisturbed, f"killed after {moments.round(2)} s of {seconds:.1f} s"
