"""A synthetic control study of a prepared panel."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from causal_assets.designs.synthetic_control import SyntheticControl
from causal_assets.home import Home
from causal_assets.types import Status
from tests.designs.direct import find
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
    for name in ("resolution", "hull", "placebo_in_time", "anticipation", "placebo_in_space"):
        assert told.evidence[name].status is Status.PASS, told.evidence[name].message
    assert {"donors", "retrospective"} <= told.evidence.keys()
    assert "What did the campaign add?" in told.memo


def test_synthetic_did_of_one_city_asks_for_review_of_its_error(home: Home) -> None:
    told = find(home.root, SyntheticControl, FIELDS | {"estimator": "synthetic_did"}, table())
    assert abs(told.primary.value - TRUTH) < 1
    assert told.evidence["few_treated"].status is Status.REVIEW


def test_placebos_among_few_cities_say_that_they_cannot_reject(home: Home) -> None:
    told = find(home.root, SyntheticControl, FIELDS | {"inference": "placebo"}, table())
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


PREDICTORS: dict[str, Any] = {
    "inference": "placebo",
    "predictors": [{"column": "size", "first": 10, "last": 20}, {"column": "revenue", "first": 30}],
    "fit_over": [40, 59],
}


def with_size() -> dict[str, Any]:
    """A column whose mean over weeks 10 to 20 is a city's number; empty elsewhere, as predictors often are."""
    columns = table()
    number = np.array([int(city[1:]) for city in columns["city"]], dtype=float)
    columns["size"] = np.where((columns["week"] >= 10) & (columns["week"] <= 20), number + columns["week"] - 15, np.nan)
    return columns


def test_donors_can_be_matched_on_predictors_over_their_own_periods(home: Home) -> None:
    columns = with_size()
    # On the first predictor alone u00 lies beyond all donors, so that the nearest one gets all the weight.
    told = find(home.root, SyntheticControl, FIELDS | PREDICTORS | {"importance": [1.0, 0.0]}, columns)
    assert told.primary.method.startswith("synthetic control matched on predictors, placebo in space")
    after = columns["week"] >= 60
    treated, nearest = (columns["revenue"][after & (columns["city"] == city)].mean() for city in ("u00", "u01"))
    assert told.primary.value == pytest.approx(treated - nearest, abs=1e-6)
    assert {"pre_fit", "donors", "resolution"} <= told.evidence.keys()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"inference": "conformal"}, "predictors: they need estimator: synthetic_control and inference: placebo"),
        ({"importance": [1.0]}, "importance: expected 2 shares, as many as predictors, got 1"),
        ({"predictors": [{"column": "size", "first": 50, "last": 60}]}, "both before start 60"),
        ({"predictors": [{"column": "size", "first": "2026-01-01"}]}, "must be written as start is"),
        ({"predictors": []}, "fit_over: belongs to predictors"),
        ({"predictors": [], "fit_over": None, "covariates": ["size"]}, "name them as predictors"),
    ],
)
def test_predictors_that_do_not_fit_the_study_are_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SyntheticControl.model_validate(
            SyntheticControl.resolve_from_dict({"table": "t.csv", **FIELDS, **PREDICTORS, **fields}).model_dump()
        )


def test_a_city_without_a_predictor_stops_the_study_by_name(home: Home) -> None:
    columns = with_size()
    columns["size"][columns["city"] == "u03"] = np.nan
    write_table(home, columns)
    stages = (("study", stage) for stage in ("registration", "cohort", "outcomes"))
    result = house_of(home, SyntheticControl, FIELDS | PREDICTORS).run(*stages)
    assert not result.success
    assert "predictors.size: 1 units have no value over its periods, such as ['u03']" in failures(result)


def test_a_city_that_leaves_its_donors_before_the_treatment_fails_at_earlier_dates(home: Home) -> None:
    columns = table(effect=0.0)
    own = columns["city"] == "u00"
    drifting = columns | {"revenue": columns["revenue"] + own * 0.3 * np.maximum(columns["week"] - 20, 0)}
    told = find(home.root, SyntheticControl, FIELDS, drifting)
    assert told.evidence["placebo_in_time"].status is Status.FAIL
    above = find(home.root, SyntheticControl, FIELDS, columns | {"revenue": columns["revenue"] + own * 50.0})
    assert above.evidence["hull"].status is Status.REVIEW
