"""A synthetic control study of a prepared panel."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from causal_assets.designs.synthetic_control import SyntheticControl
from causal_assets.home import Home
from causal_assets.types import Status
from tests.designs.tables import house_of, tell, write_table
from tests.estimators.planted_panel import long_rows, planted
from tests.house import failures, live_in

TRUTH = 3.0
FIELDS: dict[str, Any] = {
    "question": "What did the campaign add?",
    "intervention": "the campaign",
    "unit": "city",
    "columns": {"unit_id": "city", "period": "week"},
    "treated": ["u00"],
    "start": 60,
    "outcomes": [{"name": "revenue", "role": "primary", "money": True}],
    "plausible_effect": 3.0,
    "decision": {"value_per_outcome": 1.0, "cost_per_unit": 0.1},
}


def table(**options: Any) -> dict[str, Any]:
    city, week, revenue = long_rows(planted(0, **{"effect": TRUTH, "noise": 0.5, "pre": 60, **options}))
    order = np.random.default_rng(0).permutation(revenue.size)
    return {"city": city[order], "week": week[order], "revenue": revenue[order]}


@pytest.fixture
def home(tmp_path: Path):
    with live_in(tmp_path) as root:
        yield Home(root)


def test_a_panel_in_any_order_gives_the_effect_and_what_it_hangs_on(home: Home) -> None:
    told = tell(home, SyntheticControl, FIELDS, table())
    assert abs(told.primary.value - TRUTH) < 1
    assert told.primary.covers(TRUTH)
    assert not told.primary.covers(0.0)
    methods = told.alternatives()
    assert any("placebo in space" in method for method in methods)
    assert any("synthetic difference-in-differences" in method for method in methods)
    assert sum("without u" in method for method in methods) >= 1
    assert told.evidence["pre_fit"].status is Status.PASS
    assert told.evidence["resolution"].status is Status.PASS
    assert {"donors", "retrospective"} <= told.evidence.keys()
    assert "What did the campaign add?" in told.memo


def test_synthetic_did_of_one_city_asks_for_review_of_its_error(home: Home) -> None:
    told = tell(home, SyntheticControl, FIELDS | {"estimator": "synthetic_did"}, table())
    assert abs(told.primary.value - TRUTH) < 1
    assert told.evidence["few_treated"].status is Status.REVIEW


def test_placebos_among_few_cities_say_that_they_cannot_reject(home: Home) -> None:
    told = tell(home, SyntheticControl, FIELDS | {"inference": "placebo"}, table())
    assert (told.primary.low, told.primary.high) == (-np.inf, np.inf)
    assert told.evidence["resolution"].status is Status.REVIEW


def test_a_gap_in_the_panel_stops_the_study_by_name(home: Home) -> None:
    columns = table()
    columns["revenue"][7] = np.nan
    write_table(home, columns)
    stages = (("study", stage) for stage in ("registration", "cohort", "outcomes", "estimate"))
    result = house_of(home, SyntheticControl, FIELDS).run(*stages)
    assert not result.success
    assert "have no row: the panel must be balanced" in failures(result)
