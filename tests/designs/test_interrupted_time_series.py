"""One series before and after an intervention, read from one prepared table."""

from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from causal_assets.designs.interrupted_time_series import InterruptedTimeSeries
from causal_assets.home import Home
from causal_assets.types import Role, Status, Verdict
from tests.designs.direct import find
from tests.designs.tables import tell
from tests.house import live_in

TRUTH, BEFORE, AFTER = 5.0, 90, 30
FIELDS: dict[str, Any] = {
    "question": "Did the campaign raise sales?",
    "intervention": "the campaign",
    "unit": "day",
    "columns": {"time": "day", "controls": ["elsewhere"]},
    "starts": "2026-04-01",
    "outcomes": [{"name": "sales", "role": "primary", "money": True}],
    "begins_on": "2099-01-01",
    "plausible_effect": 6.0,
    "decision": {"value_per_outcome": 1.0, "cost_per_unit": 0.1},
}


def table(effect: float = TRUTH, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    day = np.datetime64("2026-01-01") + np.arange(BEFORE + AFTER)
    elsewhere = 50 + rng.normal(size=day.size).cumsum()
    noise = rng.normal(size=day.size) + 0.1 * rng.normal(size=day.size).cumsum()
    order = rng.permutation(day.size)  # a table has no order
    sales = 10 + elsewhere + noise + effect * (np.arange(day.size) >= BEFORE)
    return {"day": day[order], "elsewhere": elsewhere[order], "sales": sales[order]}


@pytest.fixture
def home(tmp_path: Path):
    with live_in(tmp_path) as root:
        yield Home(root)


def test_a_series_gives_the_average_and_the_summed_effect_of_its_intervention(home: Home) -> None:
    told = tell(home, InterruptedTimeSeries, FIELDS, table())
    assert told.primary.covers(TRUTH)
    assert told.primary.low > 0
    assert (told.primary.n_control, told.primary.n_treated) == (BEFORE, AFTER)
    total = next(e for role, e in told.findings if role is Role.SECONDARY)
    assert total.value == pytest.approx(AFTER * told.primary.value)
    names = ("level_break", "residual_drift", "residual_autocorrelation", "placebo_split")
    assert [told.evidence[name].status for name in names] == [Status.PASS] * 4
    assert told.decision.verdict is Verdict.SHIP
    assert "Everyone was treated at once" in told.memo


def test_a_control_that_trends_otherwise_is_for_review(home: Home) -> None:
    columns = table(effect=0.0)
    columns["sales"] = columns["sales"] + 0.2 * (columns["day"] - columns["day"].min()).astype(int)
    told = find(home.root, InterruptedTimeSeries, FIELDS, columns)
    assert told.evidence["residual_drift"].status is Status.REVIEW
    modelled = find(home.root, InterruptedTimeSeries, FIELDS | {"drift": True}, columns)
    assert modelled.primary.covers(0.0)


def test_times_may_be_numbers_or_text(home: Home) -> None:
    columns = table()
    expected = find(home.root, InterruptedTimeSeries, FIELDS, columns).primary
    as_text = find(home.root, InterruptedTimeSeries, FIELDS, columns | {"day": columns["day"].astype(str)}).primary
    number = (columns["day"] - columns["day"].min()).astype(int)
    as_number = find(home.root, InterruptedTimeSeries, FIELDS | {"starts": BEFORE}, columns | {"day": number}).primary
    assert expected == as_text == as_number


def test_a_missing_period_is_refused(home: Home) -> None:
    columns = table()
    columns["sales"][np.argsort(columns["day"])[40]] = np.nan
    with pytest.raises(dg.Failure, match=r"outcomes\.sales: a period is missing or repeated, look after 2026-02-09"):
        find(home.root, InterruptedTimeSeries, FIELDS, columns)


def test_a_start_outside_the_table_is_an_empty_side(home: Home) -> None:
    with pytest.raises(dg.Failure, match=r"no row of table\.parquet is 'before'"):
        find(home.root, InterruptedTimeSeries, FIELDS | {"starts": "2025-01-01"}, table())
