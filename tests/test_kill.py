"""Killed at any moment: the next run completes, and nothing tells its tables from those of an undisturbed run."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from causal_assets.home import PROJECT, Home
from causal_assets.ledger import Ledger
from causal_assets.tracking import database
from causal_assets.warehouse.engine import Warehouse
from tests.house import contents, deliver_journey, live_in, told

ROUNDS = 4
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

    def start(self) -> multiprocessing.process.BaseProcess:
        """Start a run and wait until it leads its own process group."""
        from tests.killable import small_job

        started = self.home.root / "started"
        started.unlink(missing_ok=True)
        process = self.context.Process(target=small_job, args=(self.home.root,))
        process.start()
        while not started.exists():
            time.sleep(0.005)
        return process

    def complete(self) -> float:
        """Run to the end; returns the seconds it took."""
        process = self.start()
        began = time.monotonic()
        process.join()
        assert process.exitcode == 0
        return time.monotonic() - began

    def kill_after(self, seconds: float) -> None:
        """Kill a run and all its children, dbt included, at the given moment."""
        process = self.start()
        process.join(seconds)
        if process.is_alive():
            assert process.pid is not None
            os.killpg(process.pid, signal.SIGKILL)
            process.join()
            assert process.exitcode == -signal.SIGKILL
        else:
            assert process.exitcode == 0  # it was faster than the undisturbed one


def parsed_project(folder: Path) -> Path:
    """dbt's own parse of the project for this home, so that no run has to parse it again."""
    command = [
        str(Path(sys.executable).with_name("dbt")),
        "parse",
        "--target-path",
        str(folder),
        "--log-path",
        str(folder),
    ]
    command += ["--project-dir", str(PROJECT / "dbt_project"), "--profiles-dir", str(PROJECT / "dbt_project")]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "partial_parse.msgpack"


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory, manifest: Path) -> Iterator[Runner]:
    with live_in(tmp_path_factory.mktemp("killed")) as root, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBT_PARTIAL_PARSE_FILE_PATH", str(parsed_project(tmp_path_factory.mktemp("parsed"))))
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.killable"])
        yield Runner(Home(root), database(tmp_path_factory.mktemp("tracking")), context)


def test_after_twenty_kills_at_random_moments_all_tables_equal_those_of_an_undisturbed_run(runner: Runner) -> None:
    rng = np.random.default_rng(SEED)
    runner.fresh()
    seconds = runner.complete()
    undisturbed = state(runner.home)
    assert undisturbed["warehouse: results.decisions"][0] == 2
    for _ in range(ROUNDS):
        runner.fresh()
        moments = rng.uniform(0, seconds, KILLS)
        for moment in moments:
            runner.kill_after(moment)
        runner.complete()
        assert state(runner.home) == undisturbed, f"killed after {moments.round(2)} s of {seconds:.1f} s"
