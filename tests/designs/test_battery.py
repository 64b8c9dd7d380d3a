"""Checks of the battery through the designs over events, without the graph around them."""

from pathlib import Path

import pytest

from causal_assets.types import Diagnostic, Status
from causal_assets.warehouse.engine import Warehouse
from tests.designs.shop import trial, trial_shop
from tests.designs.test_study_statistics import execute, findings


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(path=str(tmp_path / "warehouse.duckdb"))


def checked(warehouse: Warehouse, **changed: object) -> dict[str, Diagnostic]:
    """All checks of the trial, by name."""
    study = trial(**changed)
    found = findings(study, warehouse)
    checks = [*study.cohort_diagnostics(warehouse, "page"), *study.diagnostics(warehouse, "page", found)]
    return {check.name: check for check in checks}


def test_a_randomiser_that_broke_for_a_day_is_found_by_day(warehouse: Warehouse) -> None:
    trial_shop(units=3_000).write(warehouse)
    assert checked(warehouse)["srm_sequential"].status is Status.PASS
    execute(warehouse, "DELETE FROM marts.assignments WHERE arm = 'old' AND assigned_at::DATE = '2026-03-03'")
    broken = checked(warehouse)["srm_sequential"]
    assert broken.status is Status.FAIL
    assert "from 2026-03-03 on" in broken.message
