"""A randomised experiment read from one prepared table."""

import re
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from causal_assets.designs.experiment import Experiment
from causal_assets.home import Home
from causal_assets.types import Status, Verdict
from tests.designs.tables import NAME, house_of, tell, write_table
from tests.house import failures, live_in

TRUTH = 2.0
FIELDS: dict[str, Any] = {
    "question": "Does the new page raise revenue?",
    "intervention": "the new page",
    "unit": "customer",
    "columns": {"arm": "arm", "unit_id": "customer"},
    "arms": {"control": "old", "treatment": "new"},
    "outcomes": [{"name": "revenue", "role": "primary", "money": True}],
    "covariates": ["before", "region"],
    "plausible_effect": 3.0,
    "decision": {"value_per_outcome": 1.0, "cost_per_unit": 0.1},
}


def table(n: int = 4_000, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    arm = rng.permutation(np.array(["old", "new"]).repeat(n // 2))
    before = rng.gamma(2.0, 10.0, n)
    region = rng.choice(np.array(["north", "south"]), n)
    return {
        "customer": np.arange(n),
        "arm": arm,
        "before": before,
        "region": region,
        "revenue": before + 3 * (region == "south") + TRUTH * (arm == "new") + rng.normal(0, 5, n),
    }


@pytest.fixture
def home(tmp_path: Path):
    with live_in(tmp_path) as root:
        yield Home(root)


def test_a_table_gives_its_effect_adjusted_for_what_was_known_before(home: Home) -> None:
    told = tell(home, Experiment, FIELDS, table())
    bare = told.alternatives()["difference in means"]
    assert abs(told.primary.value - TRUTH) < 3 * told.primary.spread
    assert told.primary.spread < bare.spread / 2
    assert told.evidence["srm"].status is Status.PASS
    assert told.evidence["retrospective"].status is Status.REVIEW  # nothing says when the outcomes began
    assert told.decision.verdict is Verdict.SHIP
    assert "Does the new page raise revenue?" in told.memo


def test_rows_without_an_outcome_or_a_covariate_are_left_out_and_counted(home: Home) -> None:
    columns = table()
    columns["revenue"][:100] = np.nan
    columns["before"][100:150] = np.nan
    told = tell(home, Experiment, FIELDS, columns)
    assert told.primary.n_treated + told.primary.n_control == 3_850
    assert told.evidence["data_loss"].value == pytest.approx(150 / 4_000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": {"arm": "group"}}, r"columns\.arm: no column 'group' in table\.parquet; it has \['arm'"),
        ({"outcomes": [{"name": "sales", "role": "primary"}]}, r"outcomes\.sales: no column 'sales'"),
        ({"arms": {"control": "old", "treatment": "newer"}}, r"no row of table\.parquet is 'newer'"),
        ({"population": "income > 3"}, r"unknown column \['income'\]"),
        ({"table": "gone.parquet"}, r"table: there is no file .*gone\.parquet"),
        ({"table": "marts.gone"}, r"the warehouse has no marts\.gone"),
    ],
)
def test_what_the_table_does_not_have_fails_in_the_cohort_by_name(
    home: Home, change: dict[str, Any], message: str
) -> None:
    write_table(home, table(100))
    result = house_of(home, Experiment, FIELDS | change).run((NAME, "cohort"))
    assert not result.success
    assert re.search(message, failures(result)), failures(result)
    assert "defs.yaml" in failures(result)


@pytest.mark.parametrize(
    "change",
    [
        {"population": "revenue > 3"},
        {"derived": {"log_revenue": "ln(1 + revenue)"}, "covariates": ["log_revenue"]},
        {
            "derived": {"log_revenue": "ln(1 + revenue)"},
            "outcomes": [{"name": "log_revenue", "role": "primary"}],
            "covariates": ["revenue"],
        },
        {"derived": {"rich": "revenue > 9"}, "population": "rich = true"},
    ],
)
def test_what_is_known_with_the_outcome_may_not_be_anything_else(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="also have another role"):
        Experiment.resolve_from_dict({"table": "table.parquet", **FIELDS, **change})


def test_a_derived_column_is_computed_row_by_row(home: Home) -> None:
    change = {
        "derived": {"gain": "revenue - before", "page": "CASE WHEN arm = 'new' THEN 'b' ELSE 'a' END"},
        "outcomes": [{"name": "gain", "role": "primary"}],
        "columns": {"arm": "page"},
        "arms": {"control": "a", "treatment": "b"},
    }
    told = tell(home, Experiment, FIELDS | change, table())
    assert told.primary.value == pytest.approx(tell(home, Experiment, FIELDS, table()).primary.value, rel=1e-9)


def test_an_infinite_outcome_is_an_error_by_name(home: Home) -> None:
    columns = table(100)
    columns["revenue"][3] = np.inf
    with pytest.raises(dg.Failure, match=r"outcomes\.revenue: 1 of 100 values are infinite"):
        tell(home, Experiment, FIELDS, columns)


def test_a_table_replaced_after_the_cohort_was_drawn_is_refused(home: Home) -> None:
    write_table(home, table(100))
    house = house_of(home, Experiment, FIELDS)
    assert house.run((NAME, "registration"), (NAME, "cohort")).success
    write_table(home, table(100, seed=1))
    result = house.run((NAME, "outcomes"))
    assert not result.success
    assert "has changed since the cohort was drawn" in failures(result)


def test_a_repeated_unit_stops_the_run(home: Home) -> None:
    columns = table(100)
    columns["customer"][1] = columns["customer"][0]
    write_table(home, columns)
    result = house_of(home, Experiment, FIELDS).run((NAME, "registration"), (NAME, "cohort"), (NAME, "outcomes"))
    assert not result.success
