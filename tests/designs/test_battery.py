"""Checks of the battery through the designs over events, without the graph around them."""

from pathlib import Path

import numpy as np
import pytest

from causal_assets.designs.experiment import Experiment
from causal_assets.types import Diagnostic, Role, Status
from causal_assets.warehouse.engine import Warehouse
from causal_assets.warehouse.results import primary
from tests.designs.direct import find
from tests.designs.shop import mailing, mailing_shop, trial, trial_shop
from tests.designs.test_gaps import TRIAL as FIELDS
from tests.designs.test_gaps import experiment_rows
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


def test_units_assigned_by_what_they_did_before_fail(warehouse: Warehouse) -> None:
    trial_shop().write(warehouse)
    assert checked(warehouse)["placebo_period"].status is Status.PASS
    execute(
        warehouse,
        "UPDATE marts.unit_days SET value = value + 1 WHERE metric = 'revenue' AND day < '2026-03-01' "
        "AND unit_id IN (SELECT unit_id FROM marts.assignments WHERE arm = 'new')",
    )
    assert checked(warehouse)["placebo_period"].status is Status.FAIL


def test_one_order_that_hides_the_effect_is_named(warehouse: Warehouse) -> None:
    trial_shop().write(warehouse)
    calm = checked(warehouse)["outlier_influence"]
    assert calm.status is Status.PASS
    one = "(SELECT min(unit_id) FROM marts.assignments WHERE arm = 'old')"
    execute(warehouse, f"UPDATE marts.unit_days SET value = value + 1500 WHERE day > '2026-03-09' AND unit_id = {one}")
    found = checked(warehouse)["outlier_influence"]
    assert found.status is Status.REVIEW
    assert found.value > calm.value


def test_an_experiment_of_a_table_leaves_its_largest_row_out_too(tmp_path: Path) -> None:
    columns = experiment_rows(0.0) | {"spend": np.random.default_rng(2).normal(size=1_000)}
    assert find(tmp_path, Experiment, FIELDS, columns).evidence["outlier_influence"].status is Status.PASS
    columns["spend"] = columns["spend"] + 0.3 * (columns["arm"] == "new")
    columns["spend"][0], columns["age"][0] = 300.0, 0.0
    found = find(tmp_path, Experiment, FIELDS, columns)
    assert found.evidence["outlier_influence"].status is Status.REVIEW
    methods = [e.method for e in found.of(Role.SPECIFICATION)]
    assert methods[:4] == ["all covariates", "no covariate", "age alone", "before alone"]
    assert "no covariate, capped at the 99.0% quantile" in methods


def test_rows_in_quarantine_are_bounded_by_what_one_could_hold(warehouse: Warehouse) -> None:
    trial_shop().write(warehouse)
    assert "loss_bound" not in checked(warehouse)
    execute(warehouse, "INSERT INTO marts.data_loss VALUES ('shop', 'raw', 'orders', 'no date', 300)")
    assert "no range" in checked(warehouse)["loss_bound"].message
    assert checked(warehouse, lost_row={"lowest": 0.0, "highest": 0.5})["loss_bound"].status is Status.PASS
    found = checked(warehouse, lost_row={"lowest": 0.0, "highest": 50.0})["loss_bound"]
    assert found.status is Status.REVIEW
    assert "If all of 300 lost rows" in found.message


def test_missing_outcomes_are_bounded_by_their_stated_range(tmp_path: Path) -> None:
    columns = experiment_rows(0.0)
    columns["spend"] = columns["spend"] + 0.5 * (columns["arm"] == "new")
    columns["spend"][:100] = np.nan
    fields = FIELDS | {"covariates": ["before"]}
    assert "no range" in find(tmp_path, Experiment, fields, columns).evidence["loss_bound"].message
    ranged = find(tmp_path, Experiment, fields | {"missing": {"lowest": -5.0, "highest": 5.0}}, columns)
    assert ranged.evidence["loss_bound"].status is Status.REVIEW


def test_units_that_met_the_treatment_before_their_assignment_fail_where_exposure_is_logged(
    warehouse: Warehouse,
) -> None:
    trial_shop().write(warehouse)
    assert "exposure_before_assignment" not in checked(warehouse)
    execute(
        warehouse,
        "INSERT INTO marts.unit_days SELECT source, unit_id, assigned_at::DATE, 'views', 1, 1 FROM marts.assignments",
    )
    assert checked(warehouse, exposure="views")["exposure_before_assignment"].status is Status.PASS
    execute(
        warehouse,
        "INSERT INTO marts.unit_days SELECT source, unit_id, assigned_at::DATE - 1, 'views', 1, 1 "
        "FROM marts.assignments WHERE arm = 'new' LIMIT 20",
    )
    found = checked(warehouse, exposure="views")["exposure_before_assignment"]
    assert found.status is Status.FAIL
    assert "20 of 1,000 units" in found.message
