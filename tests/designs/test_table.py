"""What a user's table may hold that would become a wrong number: it is told apart, or refused by name."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from pydantic import ValidationError

from causal_assets.designs.adjusted_comparison import AdjustedComparison
from causal_assets.designs.difference_in_differences import DifferenceInDifferences
from causal_assets.designs.experiment import Experiment
from causal_assets.designs.ghost_ads import GhostAds
from causal_assets.designs.interrupted_time_series import InterruptedTimeSeries
from causal_assets.designs.mediation import Mediation
from causal_assets.designs.regression_discontinuity import RegressionDiscontinuity
from causal_assets.designs.sequential_trials import SequentialTrials
from causal_assets.designs.spillover import SpilloverExperiment
from causal_assets.designs.surrogate_index import SurrogateIndex
from causal_assets.designs.switchback import Switchback
from causal_assets.designs.synthetic_control import SyntheticControl
from causal_assets.designs.table import TableStudy
from causal_assets.estimators.inference import Refusal
from causal_assets.types import Status
from causal_assets.warehouse.queries.tables import sorts_by_time
from tests.designs.direct import find

COMMON: dict[str, Any] = {
    "question": "What does it do?",
    "intervention": "the offer",
    "unit": "customer",
    "plausible_effect": 1.0,
    "decision": {"value_per_outcome": 1.0},
    "outcomes": [{"name": "revenue", "role": "primary"}],
}
ARMS = {"arms": {"control": "0", "treatment": "1"}}
N = 400
RNG = np.random.default_rng(0)
ARM, X = np.arange(N) % 2, RNG.normal(size=N)
MEDIATOR, SAW = ARM + RNG.normal(size=N), ARM * (X > 0)
CITY, SHARE = np.arange(N) // 20, np.arange(N) // 20 % 2 / 2
OFFERED = (SHARE > 0) * ARM
# By design: its own fields, and the table; the effect is 1 in each.
STUDIES: dict[str, tuple[type[TableStudy], dict[str, Any], dict[str, Any]]] = {
    "mediation": (
        Mediation,
        ARMS
        | {
            "columns": {"arm": "arm"},
            "mediator": "visits",
            "effect": "direct",
            "draws": 399,
            "outcomes": [{"name": "revenue", "role": "primary"}, {"name": "visits"}],
        },
        {"arm": ARM, "visits": MEDIATOR, "revenue": MEDIATOR + ARM + RNG.normal(size=N)},
    ),
    "discontinuity": (
        RegressionDiscontinuity,
        {"columns": {"running": "score"}, "cutoff": 0.0, "window": [-1.0, 1.0], "lines": True},
        {"score": X, "revenue": X + (X >= 0) + RNG.normal(size=N)},
    ),
    "ghost ads": (
        GhostAds,
        ARMS | {"columns": {"arm": "arm", "predicted": "predicted", "exposed": "saw"}},
        {"arm": ARM, "predicted": (X > 0) * 1, "saw": SAW, "revenue": X + SAW + RNG.normal(size=N)},
    ),
    "surrogate index": (
        SurrogateIndex,
        {
            "arms": {"control": "old", "treatment": "new"},
            "columns": {"arm": "arm"},
            "outcomes": [{"name": "revenue", "role": "primary"}, {"name": "visits"}],
        },
        {
            "arm": np.where(np.arange(N) < N // 2, "history", np.where(ARM, "new", "old")),
            "visits": MEDIATOR,
            "revenue": np.where(np.arange(N) < N // 2, MEDIATOR + 0.1 * RNG.normal(size=N), np.nan),
        },
    ),
    "spillover": (
        SpilloverExperiment,
        ARMS
        | {
            "columns": {"arm": "arm", "cluster": "city", "saturation": "share"},
            "saturation": 0.5,
            "effect": "direct",
        },
        {"arm": OFFERED, "city": CITY, "share": SHARE, "revenue": SHARE + OFFERED + RNG.normal(size=N)},
    ),
    "adjusted": (
        AdjustedComparison,
        {"columns": {"treatment": "mailed"}, "covariates": ["age"], "method": "standardization", "estimand": "ATT"},
        {"mailed": ARM, "age": X, "revenue": X + ARM + RNG.normal(size=N)},
    ),
}


@pytest.mark.parametrize("name", STUDIES)
def test_a_column_that_happens_to_be_called_treated_is_not_the_treatment(name: str, tmp_path: Path) -> None:
    design, fields, columns = STUDIES[name]
    alone = find(tmp_path, design, COMMON | fields, columns).primary
    assert alone.covers(1.0)
    beside = find(tmp_path, design, COMMON | fields, columns | {"treated": RNG.permutation(ARM)}).primary
    assert beside == alone


@pytest.mark.parametrize("name", ["y", "treated", "unit_id", "treatment", "Treatment"])
def test_a_covariate_called_as_a_column_of_the_study_s_own_is_refused(name: str, tmp_path: Path) -> None:
    _, fields, columns = STUDIES["adjusted"]
    with pytest.raises(ValidationError, match=f"covariates: \\['{name}'\\] would be mistaken"):
        find(tmp_path, AdjustedComparison, COMMON | fields | {"covariates": [name]}, columns | {name: X})


@pytest.mark.parametrize("value", [1.0, "north"])
def test_a_covariate_that_is_the_same_in_all_rows_is_refused_by_name(value: Any, tmp_path: Path) -> None:
    _, fields, columns = STUDIES["adjusted"]
    with pytest.raises(dg.Failure, match="covariates: 'region' is the same in all rows"):
        find(
            tmp_path,
            AdjustedComparison,
            COMMON | fields | {"covariates": ["age", "region"]},
            columns | {"region": np.full(N, value)},
        )


def test_a_count_of_units_that_is_none_is_refused(tmp_path: Path) -> None:
    fields = COMMON | ARMS | {"columns": {"arm": "arm", "count": "users"}}
    for odd in (-1.0, 0.5):
        columns = {"arm": ARM, "users": np.where(X > 0, odd, 2.0), "revenue": X}
        with pytest.raises(dg.Failure, match=r"columns\.count: 'users' is no number of units"):
            find(tmp_path, Experiment, fields, columns)


def test_more_treated_than_the_saturation_says_fails_the_sample_ratio(tmp_path: Path) -> None:
    _, fields, columns = STUDIES["spillover"]
    assert find(tmp_path, SpilloverExperiment, COMMON | fields, columns).evidence["srm"].status is Status.PASS
    few = columns | {"arm": OFFERED * (np.arange(N) % 5 == 0)}
    assert find(tmp_path, SpilloverExperiment, COMMON | fields, few).evidence["srm"].status is Status.FAIL


# --- time as text --------------------------------------------------------------------------------------------------

UNITS, PERIODS = 12, 12
UNIT, PERIOD = np.repeat(np.arange(UNITS), PERIODS), np.tile(np.arange(1, PERIODS + 1), UNITS)
ADOPTED = (UNIT < UNITS // 2) & (PERIOD >= 9)
PANEL = {"shop": UNIT, "revenue": UNIT + 0.1 * PERIOD + ADOPTED + RNG.normal(size=UNIT.size)}
DAYS = np.array([date(2025, 6, 1) + timedelta(days=30 * int(k)) for k in PERIOD])
ORDERED: dict[str, tuple[type[TableStudy], dict[str, Any], str]] = {
    "did": (DifferenceInDifferences, {"columns": {"unit_id": "shop", "period": "when", "treatment": "on"}}, "period"),
    "switchback": (
        Switchback,
        ARMS | {"columns": {"unit_id": "shop", "period": "when", "arm": "on"}, "block_length": 2},
        "period",
    ),
    "trials": (
        SequentialTrials,
        {"columns": {"unit_id": "shop", "date": "when", "treatment": "on"}, "covariates": ["age"]},
        "date",
    ),
    "synthetic": (
        SyntheticControl,
        {"columns": {"unit_id": "shop", "period": "when"}, "treated": [3], "start": "2026-01-27"},
        "period",
    ),
    "series": (InterruptedTimeSeries, {"columns": {"time": "when"}, "starts": "2026-01-27"}, "time"),
}


@pytest.mark.parametrize("written", [PERIOD.astype(str), [day.strftime("%m/%d/%Y") for day in DAYS]], ids=["n", "us"])
@pytest.mark.parametrize("name", ORDERED)
def test_time_as_text_that_does_not_sort_by_time_is_refused(name: str, written: Any, tmp_path: Path) -> None:
    design, fields, role = ORDERED[name]
    columns = PANEL | {"when": np.asarray(written), "on": ADOPTED * 1, "age": RNG.normal(size=UNIT.size)}
    with pytest.raises(dg.Failure, match=rf"columns\.{role}: 'when' holds time as text"):
        find(tmp_path, design, COMMON | fields, columns)


def test_days_as_text_are_days_and_a_unit_may_be_a_number(tmp_path: Path) -> None:
    design, fields, _ = ORDERED["synthetic"]
    found = [
        find(tmp_path, design, COMMON | fields, PANEL | {"when": when}).primary
        for when in (DAYS.astype("datetime64[D]"), DAYS.astype(str))
    ]
    assert found[0] == found[1]
    for start in ("2026-1-27", "2026-02-30"):
        with pytest.raises(ValidationError, match="is no day"):
            find(tmp_path, design, COMMON | fields | {"start": start}, PANEL | {"when": DAYS.astype(str)})
    _, series, _ = ORDERED["series"]
    with pytest.raises(dg.Failure, match=r"columns\.time"):
        find(
            tmp_path,
            InterruptedTimeSeries,
            COMMON | series | {"starts": "2026-1-27"},
            {"when": DAYS[:PERIODS].astype(str), "revenue": PANEL["revenue"][:PERIODS]},
        )


def test_shapes_of_text_that_sort_by_time() -> None:
    good = ("9999-99-99", "9999-99-99 99:99:99.999999", "9999Q9", "W99", "99999999")
    assert all(map(sorts_by_time, good))
    assert not any(map(sorts_by_time, ("99/99/9999", "99-99-99", "9-9999", "before", "")))


# --- difference-in-differences --------------------------------------------------------------------------------------


@pytest.mark.parametrize("never", [np.nan, None])
def test_units_without_a_first_treated_period_do_not_vanish(never: Any, tmp_path: Path) -> None:
    first = np.where(UNIT < 4, 5, np.where(UNIT < 8, 9, -1))
    columns = PANEL | {"month": PERIOD, "first": np.array([never if f < 0 else float(f) for f in first])}
    fields = {"columns": {"unit_id": "shop", "period": "month", "first_treated": "first"}, "controls": "not yet"}
    with pytest.raises(dg.Failure, match=r"first_treated: 'first' is empty in 48 rows; a unit never treated has 0"):
        find(tmp_path, DifferenceInDifferences, COMMON | fields, columns)


@pytest.mark.parametrize(
    "on",
    [ADOPTED | ((UNIT < 3) & (PERIOD >= 5)), ADOPTED & (PERIOD < 12)],
    ids=["adopts at two dates", "ends"],
)
def test_two_by_two_is_refused_where_treatment_is_not_one_date_to_the_end(on: Any, tmp_path: Path) -> None:
    fields = ORDERED["did"][1] | {"estimator": "two_by_two"}
    with pytest.raises(Refusal, match="two_by_two needs units that are all treated from one date on"):
        find(tmp_path, DifferenceInDifferences, COMMON | fields, PANEL | {"when": PERIOD, "on": on * 1})
