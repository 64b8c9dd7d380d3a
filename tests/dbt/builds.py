"""Raw tables small enough to work out every mart by hand, and `dbt build` over them."""

import json
import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import yaml

from causal_assets.home import PROJECT
from causal_assets.sources.contract import TableContract

DBT_PROJECT = PROJECT / "dbt_project"
SOURCES = PROJECT / "causal_assets" / "defs" / "warehouse"
Rows = list[dict[str, Any]]
# What a row does not say; a table takes the columns that it has.
DEFAULTS = {"_file": "1", "occurred_at": "2026-03-01 10:00:00", "received_at": "2026-03-02 12:00:00"}


@dataclass(frozen=True)
class Build:
    """A finished `dbt build`: its manifest and the warehouse it left."""

    manifest: dict[str, Any]
    connection: duckdb.DuckDBPyConnection

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql).fetchall()

    def unit_days(self, source: str) -> list[tuple[Any, ...]]:
        columns = "unit_id, day, metric, round(value, 6), events"  # 8 x 1.10 is no exact double
        return self.rows(f"SELECT {columns} FROM marts.unit_days WHERE source = '{source}' ORDER BY ALL")


@contextmanager
def built(project: Path, folder: Path) -> Generator[Build]:
    """One `dbt build` of a project over the warehouse of a folder."""
    done = dbt(project, folder, "build")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "eprecat" not in done.stdout, done.stdout
    manifest = json.loads((folder / "target" / "manifest.json").read_text(encoding="utf-8"))
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as connection:
        yield Build(manifest, connection)


def dbt(project: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One command of dbt on a project, its warehouse and artifacts in a folder."""
    command = [str(Path(sys.executable).with_name("dbt")), "--no-use-colors", *arguments]
    command += ["--project-dir", str(project), "--profiles-dir", str(project)]
    command += ["--target-path", str(folder / "target"), "--log-path", str(folder / "logs")]
    environment = os.environ | {"CAUSAL_WAREHOUSE": str(folder / "warehouse.duckdb")}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def deliver(folder: Path, sources: dict[str, dict[str, Rows]], defs: Path = SOURCES) -> None:
    """Raw tables as their contracts below ``defs`` declare them, filled with the rows given."""
    connection = duckdb.connect(str(folder / "warehouse.duckdb"))
    connection.execute("CREATE SCHEMA IF NOT EXISTS raw")
    for source, deliveries in sources.items():
        declared = yaml.safe_load((defs / source / "defs.yaml").read_text(encoding="utf-8"))["attributes"]["tables"]
        for name, fields in declared.items():
            table = f"raw.{source}__{name}"
            contract = TableContract(**fields)
            connection.execute(contract.create_table(table))
            own = {column: value for column, value in DEFAULTS.items() if column in ("_file", *contract.columns)}
            for row in deliveries.get(name, []):
                given = own | ({"household_id": 1} if "household_id" in contract.columns else {}) | row
                places = ", ".join("?" * len(given))
                connection.execute(f"INSERT INTO {table} ({', '.join(given)}) VALUES ({places})", [*given.values()])
    connection.close()
