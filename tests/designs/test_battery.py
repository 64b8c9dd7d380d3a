"""Checks of the battery through the designs over events, without the graph around them."""

from pathlib import Path

import pytest

from causal_assets.types import Diagnostic, Role, Status
from causal_assets.warehouse.engine import Warehouse
from causal_assets.warehouse.results import primary
from tests.designs.shop import mailing, mailing_shop, trial, trial_shop
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


def test_the_trials_other_covariates_are_specifications_from_the_same_moments(warehouse: Warehouse) -> None:
    trial_shop().write(warehouse)
    study = trial()
    found = findings(study, warehouse)
    by_set = {e.method: e for role, e in found if role is Role.SPECIFICATION}
    assert list(by_set) == ["all covariates", "no covariate", "revenue_7_0 alone", "revenue_14_7 alone"]
    answer = primary(found)
    assert answer is not None
    assert (by_set["all covariates"].low, by_set["all covariates"].high) == (answer.low, answer.high)
    (bare,) = [e for role, e in found if role is Role.ALTERNATIVE]
    assert by_set["no covariate"].value == bare.value
    assert list(study.figures(warehouse, "page", found)) == ["the answer under other choices"]


def test_an_observational_study_estimates_what_it_declared_as_well(warehouse: Warehouse) -> None:
    mailing_shop().write(warehouse)
    study = mailing(specifications={"covariates": [["revenue"]], "fractions": [1.0, 0.5]})
    study.write_cohort(warehouse, "letter", "letter/defs.yaml")
    study.write_outcomes(warehouse, "letter")
    found = study.estimates(warehouse, "letter")
    whole, half = (e for role, e in found if role is Role.SPECIFICATION)
    answer = primary(found)
    assert answer is not None
    assert whole.value == pytest.approx(answer.value, rel=1e-6)
    assert half.n_treated + half.n_control == pytest.approx(500, abs=70)
    with pytest.raises(ValueError, match=r"specifications: allowed are covariates of \['revenue'\]"):
        mailing(specifications={"methods": ["ipw"]})
