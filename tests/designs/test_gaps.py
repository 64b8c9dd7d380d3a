"""Values that are missing by arm, through the designs that leave such rows out."""

from pathlib import Path

import numpy as np

from causal_assets.designs.adjusted_comparison import AdjustedComparison
from causal_assets.designs.experiment import Experiment
from causal_assets.types import Status
from causal_assets.warehouse.engine import Warehouse
from tests.designs.direct import find
from tests.designs.shop import mailing, mailing_shop
from tests.designs.test_adjusted_comparison import FIELDS, table

TRIAL = {
    "question": "Does the page raise spending?",
    "intervention": "the page",
    "unit": "customer",
    "columns": {"arm": "arm"},
    "arms": {"control": "old", "treatment": "new"},
    "outcomes": [{"name": "spend", "role": "primary"}],
    "covariates": ["age", "before"],
    "plausible_effect": 1.0,
    "decision": {"value_per_outcome": 1.0},
}


def experiment_rows(gaps: float, n: int = 1_000):
    """A covariate is missing in a tenth of all rows, and in a share ``gaps`` more of the new arm's."""
    rng = np.random.default_rng(1)
    arm, age = np.where(np.arange(n) % 2, "new", "old"), rng.normal(size=n)
    age[rng.random(n) < 0.1 + gaps * (arm == "new")] = np.nan
    return {"arm": arm, "age": age, "before": rng.normal(size=n), "spend": rng.normal(size=n)}


def test_a_covariate_that_one_arm_of_an_experiment_lacks_fails(tmp_path: Path) -> None:
    assert find(tmp_path, Experiment, TRIAL, experiment_rows(0.0)).evidence["missing_pattern"].status is Status.PASS
    broken = find(tmp_path, Experiment, TRIAL, experiment_rows(0.2)).evidence
    assert broken["missing_pattern"].status is Status.FAIL
    assert "age is missing least alike" in broken["missing_pattern"].message
    whole = find(tmp_path, Experiment, TRIAL | {"covariates": ["before"]}, experiment_rows(0.2)).evidence
    assert "missing_pattern" not in whole


def test_gaps_of_chosen_units_are_for_review(tmp_path: Path) -> None:
    columns = table()
    treated = columns["app"] == 1
    columns["before"] = np.where(treated & (np.arange(len(treated)) % 4 == 0), np.nan, columns["before"])
    columns["spend"] = np.where(~treated & (np.arange(len(treated)) % 5 == 0), np.nan, columns["spend"])
    found = find(tmp_path, AdjustedComparison, FIELDS, columns).evidence
    assert found["missing_pattern"].status is Status.REVIEW
    assert found["attrition"].status is Status.REVIEW


def test_an_attribute_known_of_the_treated_only_is_for_review(tmp_path: Path) -> None:
    warehouse = Warehouse(path=str(tmp_path / "warehouse.duckdb"))
    mailing_shop().write(warehouse)
    with warehouse.transaction() as connection:
        connection.execute(
            "INSERT INTO marts.unit_attributes SELECT 'shop', unit_id, 'income', 'high', TIMESTAMP '2026-01-01' "
            "FROM marts.assignments"
        )
    study = mailing(attributes=["income"])
    study.write_cohort(warehouse, "letter", "letter/defs.yaml")
    (found,) = [d for d in study.cohort_diagnostics(warehouse, "letter") if d.name == "missing_pattern"]
    assert found.status is Status.REVIEW
    assert "in 100.00% of" in found.message
