"""What a study over a table finds, without its graph: for tests of many cases."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from causal_assets.designs.table import TableStudy
from causal_assets.types import Diagnostic, Estimate, Role
from causal_assets.warehouse.engine import Warehouse
from causal_assets.warehouse.results import Finding

NAME = "study"


@dataclass(frozen=True)
class Found:
    """Findings and checks of a study, and the rows that it lost."""

    findings: list[Finding]
    evidence: dict[str, Diagnostic]
    lost: int

    def of(self, role: Role) -> list[Estimate]:
        return [estimate for given, estimate in self.findings if given is role]

    @property
    def primary(self) -> Estimate:
        (only,) = self.of(Role.PRIMARY)
        return only

    def alternatives(self) -> dict[str, Estimate]:
        return {estimate.method: estimate for estimate in self.of(Role.ALTERNATIVE)}


def find(folder: Path, design: type[TableStudy], fields: dict[str, Any], columns: dict[str, Any]) -> Found:
    """Draw the cohort, read the outcomes, estimate and check; raises what a stage would."""
    pq.write_table(pa.table({name: np.asarray(values) for name, values in columns.items()}), folder / "table.parquet")
    study = design.resolve_from_dict({"table": "table.parquet", **fields})
    warehouse = Warehouse(path=str(folder / "warehouse.duckdb"))
    with warehouse.connect():  # held open: a file is slower to open than these tables are to read
        study.write_cohort(warehouse, NAME, str(folder / "defs.yaml"))
        study.write_outcomes(warehouse, NAME)
        findings = study.estimates(warehouse, NAME)
        found = [*study.cohort_diagnostics(warehouse, NAME), *study.diagnostics(warehouse, NAME, findings)]
        return Found(findings, {check.name: check for check in found}, study.losses(warehouse, NAME).counted)
