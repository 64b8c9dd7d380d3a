"""Running the project's jobs in a test, and reading what a run left behind."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from causal_assets.home import PROJECT, Home
from causal_assets.ledger import Ledger
from causal_assets.sources.contract import TableContract
from causal_assets.warehouse.engine import Warehouse

# When something happened, and at which commit, differs from run to run; what happened does not.
CLOCKS = ("_loaded_at", "loaded_at", "quarantined_at", "registered_at", "settled_at", "commit", "uncommitted")
# Hashes of what holds a clock: a memo says when its study was registered.
HASHED = ("stages", "ledger_head")
# Failures are read from the result; a log of every event would bury them.
QUIET = {"console": {"config": {"log_level": "CRITICAL"}}}

JOURNEY = PROJECT / "causal_assets" / "defs" / "warehouse" / "complete_journey" / "defs.yaml"
# One household with one basket and one coupon: enough for every model to have a row.
JOURNEY_ROW = {
    "household_id": 1, "store_id": 1, "basket_id": 1, "product_id": 1, "quantity": 1, "sales_value": 5,
    "retail_disc": 0, "coupon_disc": 1, "coupon_match_disc": 0, "week": 19,
    "transaction_timestamp": "2017-05-09 16:00",
    "campaign_id": 8, "campaign_type": "Type A", "start_date": "2017-05-08", "end_date": "2017-06-25", "coupon_upc": 1,
    "redemption_date": "2017-05-09",
}  # fmt: skip


@contextmanager
def live_in(root: Path) -> Iterator[Path]:
    """Make a folder the home of this process and of the processes it starts, for as long as the block lasts."""
    (root / "dagster").mkdir(parents=True, exist_ok=True)
    shutil.copy(PROJECT / "instance.yaml", root / "dagster" / "dagster.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CAUSAL_HOME", str(root))
        patch.setenv("CAUSAL_WAREHOUSE", str(Home(root).warehouse))
        patch.setenv("DAGSTER_HOME", str(root / "dagster"))
        yield root


@contextmanager
def parsed_once(folder: Path) -> Iterator[None]:
    """Parse dbt's project for the home lived in, so that no run in it parses again; in another home it would."""
    project = PROJECT / "dbt_project"
    folders = {"target-path": folder, "log-path": folder, "project-dir": project, "profiles-dir": project}
    options = [part for name, path in folders.items() for part in (f"--{name}", str(path))]
    subprocess.run([Path(sys.executable).with_name("dbt"), "parse", *options], check=True, capture_output=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBT_PARTIAL_PARSE_FILE_PATH", str(folder / "partial_parse.msgpack"))
        yield


@dataclass(frozen=True)
class House:
    """One home with its definitions and an instance in memory that remembers its runs."""

    home: Home
    definitions: dg.Definitions
    instance: dg.DagsterInstance

    @property
    def warehouse(self) -> Warehouse:
        return Warehouse(path=str(self.home.warehouse))

    @property
    def ledger(self) -> Ledger:
        return Ledger(path=str(self.home.ledger))

    def run(
        self, *selection: Sequence[str], config: dict[str, Any] | None = None, job: str = "main", day: str | None = None
    ) -> dg.ExecuteInProcessResult:
        """Run a job, whole or the selected asset keys of it."""
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance,
            run_config={"loggers": QUIET} | (config or {}),
            partition_key=day,
            raise_on_error=False,
            asset_selection=[dg.AssetKey(key) for key in selection] or None,
        )

    def mlflow_runs(self) -> int:
        """How many runs the tracking database holds."""
        with closing(sqlite3.connect(self.home.mlflow / "mlflow.db")) as connection:
            return connection.execute("SELECT count(*) FROM runs").fetchone()[0]


def data_versions(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """The data version of every asset that a run materialised."""
    events = result.get_asset_materialization_events()
    found = [event.step_materialization_data.materialization for event in events]
    return {one.asset_key.to_user_string(): (one.tags or {})["dagster/data_version"] for one in found}


def failures(result: dg.ExecuteInProcessResult) -> str:
    """What the failed steps of a run said, causes included."""
    said = []
    for event in result.filter_events(lambda event: event.is_step_failure):
        error = event.step_failure_data.error
        while error is not None:
            said.append(error.message)
            error = error.cause
    return "\n".join(said)


def failed_checks(result: dg.ExecuteInProcessResult) -> set[str]:
    """Names of the checks that did not pass."""
    return {check.check_name for check in result.get_asset_check_evaluations() if not check.passed}


def contents(warehouse: Warehouse) -> dict[str, tuple[int, int]]:
    """Rows and order-independent hash of every table, clocks left out."""
    with warehouse.connect() as connection:
        tables = connection.execute("SELECT schema_name, table_name FROM duckdb_tables() ORDER BY ALL").fetchall()
        found = {}
        for schema, name in tables:
            if schema == "results" and name in HASHED:
                continue
            table = f'{schema}."{name}"'
            kept = f"SELECT COLUMNS(c -> c NOT IN {CLOCKS}) FROM {table}"
            if name == "diagnostics":  # how long after its first outcome a study was registered is a clock too
                kept = f"SELECT * REPLACE (CASE name WHEN 'retrospective' THEN 0 ELSE value END AS value) FROM {table}"
            (rows, digest) = connection.execute(
                f"SELECT count(*), coalesce(sum(hash(t)::HUGEINT), 0) FROM ({kept}) AS t"
            ).fetchall()[0]
            found[f"{schema}.{name}"] = (rows, digest)
    return found


def told(ledger: Ledger) -> list[tuple[str, str, str, dict[str, Any]]]:
    """What the ledger says, in order, without clocks and hashes of them; reading it proves its chain."""
    left_out = (*CLOCKS, "content")
    return [
        (e.kind.value, e.study, e.protocol, {name: said for name, said in e.payload.items() if name not in left_out})
        for e in ledger.entries()
    ]


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


def planted_keys(job: dg.JobDefinition, *studies: str) -> list[dg.AssetKey]:
    """What of a job needs no real data but a row of each of its tables, with these studies only."""
    keys = job.asset_layer.executable_asset_keys
    others = {key.path[0] for key in keys if key.path[-1] == "registration"} - set(studies)
    return [key for key in keys if key.path[0] not in others and not key.path[-1].startswith("complete_journey")]
