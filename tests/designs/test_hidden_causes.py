"""The benchmark of a hidden cause, through the designs that adjust: from grouped queries, the same as from rows."""

import re
from pathlib import Path

import numpy as np
import pytest

from causal_assets.designs.adjusted_comparison import AdjustedComparison
from causal_assets.designs.sequential_trials import SequentialTrials
from causal_assets.types import Status
from causal_assets.warehouse.engine import Warehouse
from tests.designs import test_sequential_trials
from tests.designs.direct import Found, find
from tests.designs.shop import mailing, mailing_shop
from tests.designs.test_adjusted_comparison import FIELDS, table


def _linear(found: Found) -> float:
    """What the message says that the regression says."""
    (said,) = re.findall(r"which says ([+-][\d.]+)\.", found.evidence["robustness_value"].message)
    return float(said)


def test_the_benchmark_named_is_the_one_compared_with_and_texts_count_whole(tmp_path: Path) -> None:
    columns = table()
    fields = FIELDS | {"covariates": ["visits", "region"], "benchmark": "region"}
    found = find(tmp_path, AdjustedComparison, fields, columns)
    assert "times as strong as region" in found.evidence["robustness_value"].message
    assert found.evidence["robustness_value"].status is Status.PASS  # regions drive nothing
    x = np.column_stack([columns["app"], columns["visits"], columns["region"] == "south", np.ones(len(columns["app"]))])
    beta = np.linalg.lstsq(x, columns["spend"], rcond=None)[0]
    assert _linear(found) == pytest.approx(beta[0], rel=1e-3)
    assert found.evidence["e_value"].status is Status.PASS
    assert found.evidence["e_value"].value > 1


def test_a_driver_as_strong_as_the_effect_asks_for_a_look_where_it_was_named(tmp_path: Path) -> None:
    columns = table()
    columns["spend"] = columns["spend"] - 2 * columns["app"]
    named = find(tmp_path, AdjustedComparison, FIELDS | {"benchmark": "visits", "estimand": "ATT"}, columns)
    assert named.evidence["robustness_value"].status is Status.REVIEW
    assert named.evidence["robustness_value"].value < 1
    with pytest.raises(ValueError, match=r"benchmark: 'age' is no covariate; allowed are \['before', 'visits'\]"):
        find(tmp_path, AdjustedComparison, FIELDS | {"benchmark": "age"}, columns)


def test_trials_are_compared_within_their_dates(tmp_path: Path) -> None:
    columns = test_sequential_trials.table()
    months = np.unique(columns["month"], return_inverse=True)[1]
    columns["spend"] = columns["spend"] + 50.0 * months
    found = find(tmp_path, SequentialTrials, test_sequential_trials.FIELDS, columns)
    assert _linear(found) == pytest.approx(test_sequential_trials.GAIN, abs=0.3)


def test_an_observational_study_reads_its_windows_as_one_benchmark(tmp_path: Path) -> None:
    warehouse = Warehouse(path=str(tmp_path / "warehouse.duckdb"))
    mailing_shop().write(warehouse)
    with warehouse.transaction() as connection:
        connection.execute(
            "INSERT INTO marts.unit_attributes SELECT DISTINCT 'shop', unit_id, 'region', "
            "CASE WHEN hash(unit_id) % 3 = 0 THEN 'north' ELSE 'south' END, TIMESTAMP '2026-01-01' FROM marts.unit_days"
        )
    study = mailing(attributes=["region"], benchmark="revenue")
    study.write_cohort(warehouse, "letter", "letter/defs.yaml")
    study.write_outcomes(warehouse, "letter")
    found = study.estimates(warehouse, "letter")
    (told,) = [d for d in study.diagnostics(warehouse, "letter", found) if d.name == "robustness_value"]
    rows = warehouse.arrays(
        "SELECT revenue_14d, treated, revenue_7_0, revenue_14_7, region = 'south' AS south "
        "FROM letter.cohort JOIN letter.outcomes USING (unit_id)"
    )
    x = np.column_stack([rows[n] for n in ("treated", "revenue_7_0", "revenue_14_7", "south")] + [np.ones(1_000)])
    beta = np.linalg.lstsq(x.astype(float), rows["revenue_14d"], rcond=None)[0]
    assert f"which says {beta[0]:+.4g}" in told.message
    assert "times as strong as revenue" in told.message
    with pytest.raises(ValueError, match="benchmark: 'spend' is no covariate"):
        mailing(benchmark="spend")
