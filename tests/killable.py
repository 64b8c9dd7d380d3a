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

CUSTOMERS = 1_000  # the smallest world there is
DEFINITIONS = defs()
gc.freeze()  # what every run is forked with stays: no run need walk through it


def small_job(home: Path) -> None:
    """Run the main job without the real data; the process becomes the leader of a group that can be killed as one."""
    os.setsid()
    (home / "started").touch()
    job = DEFINITIONS.resolve_job_def("main")
    real = ("complete_journey", "coupon_mailing_may")
    keys = [key for key in job.asset_layer.executable_asset_keys if not key.path[-1].startswith(real)]
    keys = [key for key in keys if key.path[0] not in real]
    config = {
        "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
        "ops": {"landing__planted_world": {"config": {"customers": CUSTOMERS}}},
    }
    with dg.DagsterInstance.get() as instance:
        job.execute_in_process(run_config=config, instance=instance, asset_selection=keys)
