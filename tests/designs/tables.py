"""Running a study over a table made in a test, through all its stages."""

import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from causal_assets.designs.table import TableStudy
from causal_assets.home import Home
from causal_assets.tracking import database
from causal_assets.types import Decision, Diagnostic, Estimate, Role
from causal_assets.warehouse import results
from causal_assets.warehouse.results import Finding
from tests.designs.shop import house
from tests.house import House, failures

NAME = "study"


@dataclass(frozen=True)
class Told:
    """What a study wrote."""

    findings: list[Finding]
    evidence: dict[str, Diagnostic]
    decision: Decision
    memo: str

    @property
    def primary(self) -> Estimate:
        found = results.primary(self.findings)
        assert found is not None
        return found

    def alternatives(self) -> dict[str, Estimate]:
        return {e.method: e for role, e in self.findings if role is Role.ALTERNATIVE}


@cache
def tracking_database() -> Path:
    """An empty tracking database, made once: making one takes longer than a small study."""
    return database(Path(tempfile.mkdtemp()) / "mlflow")


def write_table(home: Home, columns: dict[str, Any], file: str = "table.parquet") -> None:
    """Put the table where the study's YAML would lie."""
    folder = home.root / "studies" / NAME
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({name: np.asarray(values) for name, values in columns.items()}), folder / file)


def house_of(home: Home, design: type[TableStudy], fields: dict[str, Any]) -> House:
    """A house of the one study."""
    return house(home, **{NAME: design.resolve_from_dict({"table": "table.parquet", **fields})})


def tell(home: Home, design: type[TableStudy], fields: dict[str, Any], columns: dict[str, Any]) -> Told:
    """Run the study over the table, registration to memo, and read what it wrote; a failure is raised."""
    write_table(home, columns)
    home.mlflow.mkdir(exist_ok=True)
    shutil.copy(tracking_database(), home.mlflow)
    built = house_of(home, design, fields)
    stages = built.definitions.resolve_asset_graph().get_all_asset_keys()
    result = built.run(*(key.path for key in sorted(stages) if key.path[0] == NAME))
    if not result.success:
        raise dg.Failure(failures(result))
    warehouse = built.warehouse
    return Told(
        results.read_estimates(warehouse, NAME),
        {d.name: d for d in results.read_diagnostics(warehouse, NAME)},
        results.read_decision(warehouse, NAME),
        Path(home.memos / f"{NAME}.html").read_text(encoding="utf-8"),
    )
