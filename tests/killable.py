"""A small run of the main job in a process of its own that can be killed with everything it started.

Imported once by a fork server, so that the imports and the loading of definitions are paid for once and a run costs
its own work only. The home is the one of the environment in which the server was started.
"""

import gc
import os
from pathlib import Path
from typing import Any

import dagster as dg
import matplotlib.pyplot  # noqa: F401  the heavy libraries of the assets, imported once for all runs
import mlflow  # noqa: F401
import scipy.stats  # noqa: F401
import sklearn.linear_model  # noqa: F401
import yaml

from causal_assets.definitions import defs
from causal_assets.home import PROJECT
from causal_assets.sources.contract import TableContract
from causal_assets.warehouse.engine import Warehouse

CUSTOMERS = 1_000  # the smallest world there is
JOURNEY = PROJECT / "causal_assets" / "defs" / "warehouse" / "complete_journey" / "defs.yaml"
# One household with one basket and one coupon: enough for every model to have a row.
JOURNEY_ROW = {
    "household_id": 1, "store_id": 1, "basket_id": 1, "product_id": 1, "quantity": 1, "sales_value": 5,
    "retail_disc": 0, "coupon_disc": 1, "coupon_match_disc": 0, "week": 19,
    "transaction_timestamp": "2017-05-09 16:00",
    "campaign_id": 8, "campaign_type": "Type A", "start_date": "2017-05-08", "end_date": "2017-06-25", "coupon_upc": 1,
    "redemption_date": "2017-05-09",
}  # fmt: skip

DEFINITIONS = defs()
gc.freeze()  # what every run is forked with stays: no run need walk through it


def deliver_journey(warehouse: Warehouse) -> None:
    """Raw tables of the real data as their contracts declare them, one row each, so that dbt has something to read."""
    declared = yaml.safe_load(JOURNEY.read_text(encoding="utf-8"))["attributes"]["tables"]
    with warehouse.transaction() as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS raw")
        for name, fields in declared.items():
            contract = TableContract.resolve_from_dict(fields)
            connection.execute(contract.create_table(f"raw.complete_journey__{name}"))
            row: dict[str, Any] = {c: JOURNEY_ROW[c] for c in contract.columns if c in JOURNEY_ROW}
            places = ", ".join("?" * len(row))
            connection.execute(
                f"INSERT INTO raw.complete_journey__{name} ({', '.join(row)}) VALUES ({places})", [*row.values()]
            )


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
