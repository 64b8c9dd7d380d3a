"""A small run of the main job in a process of its own that can be killed with everything it started.

Imported once by a fork server, so that the imports and the loading of definitions are paid for once and a run costs
its own work only. The home is the one of the environment in which the server was started.
"""

import gc
import os
from pathlib import Path

import dagster as dg
import matplotlib.pyplot  # noqa: F401  the heavy libraries of the assets, imported once for all runs
import mlflow  # noqa: F401
import scipy.stats  # noqa: F401
import sklearn.linear_model  # noqa: F401

from causal_assets.definitions import defs
from tests.house import planted_keys

CUSTOMERS = 1_000  # the smallest world there is
DEFINITIONS = defs()
gc.freeze()  # what every run is forked with stays: no run need walk through it


def small_job(home: Path, study: str) -> None:
    """Run the main job with one study of the planted world; the process leads a group that can be killed as one."""
    os.setsid()
    (home / "started").touch()
    job = DEFINITIONS.resolve_job_def("main")
    keys = planted_keys(job, study)
    config = {
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        "ops": {"landing__planted_world": {"config": {"customers": CUSTOMERS}}},
    }
    with dg.DagsterInstance.get() as instance:
        job.execute_in_process(run_config=config, instance=instance, asset_selection=keys)
