"""A campaign that is repeated, one target trial per date."""

from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from scipy.special import expit

from causal_assets.designs.sequential_trials import SequentialTrials
from causal_assets.home import Home
from causal_assets.types import Role, Status
from tests.designs.direct import find
from tests.designs.tables import tell
from tests.house import live_in

GAIN = 1.5
FIELDS: dict[str, Any] = {
    "question": "What does the mailing add?",
    "intervention": "the mailing",
    "unit": "household",
    "columns": {"unit_id": "household", "date": "month", "treatment": "mailed"},
    "covariates": ["spend_before"],
    "outcomes": [{"name": "spend", "role": "primary", "money": True}, {"name": "fuel", "role": "negative_control"}],
    "begins_on": "2099-01-01",
    "plausible_effect": 3.0,
    "decision": {"value_per_outcome": 1.0, "cost_per_unit": 0.1},
}
MONTHS = np.array(["2026-01-01", "2026-02-01", "2026-03-01"], dtype="datetime64[D]")


def table(gains: tuple[float, ...] = (GAIN,) * 3, units: int = 500, seed: int = 0) -> dict[str, np.ndarray]:
    """Who spent much is mailed; a household mailed once is mailed each month after, and its spending has jumped."""
    rng = np.random.default_rng(seed)
    own, mailed_before, parts = rng.normal(size=units), np.zeros(units, dtype=bool), []
    for month, gain in zip(MONTHS, gains, strict=True):
        before = own + rng.normal(size=units)
        mailed = mailed_before | (rng.random(units) < expit(before - 1))
        spend = own + before + gain * mailed + rng.normal(size=units)
        parts.append((np.arange(units), month.repeat(units), mailed.astype(int), before, spend, rng.normal(size=units)))
        mailed_before |= mailed
    names = ("household", "month", "mailed", "spend_before", "spend", "fuel")
    return dict(zip(names, map(np.concatenate, zip(*parts, strict=True)), strict=True))


@pytest.fixture
def home(tmp_path: Path):
    with live_in(tmp_path) as root:
        yield Home(root)


def test_the_trials_are_pooled_and_each_is_shown(home: Home) -> None:
    told = tell(home, SequentialTrials, FIELDS, table(units=1_000))
    assert told.primary.estimand == "ATT over 3 trials"
    assert abs(told.primary.value - GAIN) < 3 * told.primary.spread
    each = [e for role, e in told.findings if role is Role.OVER_TIME]
    assert [e.outcome for e in each] == ["spend 2026-01-01", "spend 2026-02-01", "spend 2026-03-01"]
    assert told.primary.spread < min(e.spread for e in each)
    naive = told.alternatives()["naive difference in means"]
    assert naive.value - GAIN > 5 * told.primary.spread
    checks = ("balance", "overlap", "clipping", "heterogeneity", "negative_control")
    assert {check: told.evidence[check].status for check in checks} == dict.fromkeys(checks, Status.PASS)
    assert told.decision.grade == "B"


def test_a_unit_leaves_after_its_first_treatment_unless_it_may_come_again(tmp_path: Path) -> None:
    columns = table()
    first = {h: columns["month"][(columns["household"] == h) & (columns["mailed"] == 1)] for h in range(500)}
    mailed_ever = sum(len(months) > 0 for months in first.values())
    once = find(tmp_path, SequentialTrials, FIELDS, columns)
    assert once.primary.n_treated == mailed_ever
    rows = sum(e.n_treated for e in once.of(Role.OVER_TIME))
    assert rows == mailed_ever  # each in one trial only
    again = find(tmp_path, SequentialTrials, FIELDS | {"again": True}, columns)
    assert sum(e.n_treated for e in again.of(Role.OVER_TIME)) == columns["mailed"].sum()


def test_who_is_not_eligible_is_in_no_trial_but_its_treatment_is_remembered(tmp_path: Path) -> None:
    columns = table()
    january = columns["month"] == MONTHS[0]
    columns["open"] = (~january).astype(int)  # nobody is eligible in January, and some were mailed then
    fields = FIELDS | {"columns": {**FIELDS["columns"], "eligible": "open"}}
    found = find(tmp_path, SequentialTrials, fields, columns)
    trials = found.of(Role.OVER_TIME)
    assert len(trials) == 2
    assert trials[0].n_treated + trials[0].n_control == 500 - columns["mailed"][january].sum()


def test_trials_that_differ_are_reported(tmp_path: Path) -> None:
    found = find(tmp_path, SequentialTrials, FIELDS | {"estimand": "ATO"}, table(gains=(4.0, 0.0, -4.0)))
    assert found.evidence["heterogeneity"].status is Status.REVIEW
    assert "clipping" not in found.evidence
    assert found.primary.estimand == "ATO over 3 trials"


def test_households_of_one_store_are_not_independent(tmp_path: Path) -> None:
    columns = table()
    store = columns["household"] % 40
    rng = np.random.default_rng(4)
    columns["spend"] = columns["spend"] + 2 * rng.normal(size=40)[store] * (2 * columns["mailed"] - 1)
    fields = FIELDS | {"columns": {**FIELDS["columns"], "cluster": "store"}}
    by_unit = find(tmp_path, SequentialTrials, FIELDS, columns).primary
    by_store = find(tmp_path, SequentialTrials, fields, columns | {"store": store}).primary
    assert by_store.spread > 1.5 * by_unit.spread
    with pytest.raises(dg.Failure, match=r"columns\.cluster: 20 clusters"):
        find(tmp_path, SequentialTrials, fields, columns | {"store": store % 20})


def test_the_order_of_rows_changes_nothing(tmp_path: Path) -> None:
    columns = table(units=300)
    order = np.random.default_rng(0).permutation(900)
    found = find(tmp_path, SequentialTrials, FIELDS, columns).primary
    shuffled = find(tmp_path, SequentialTrials, FIELDS, {n: v[order] for n, v in columns.items()}).primary
    assert (shuffled.value, shuffled.std_error) == pytest.approx((found.value, found.std_error), rel=1e-9)


def test_a_trial_without_treated_units_is_named(tmp_path: Path) -> None:
    columns = table(units=300)
    columns["mailed"] = columns["mailed"] * (columns["month"] != MONTHS[0])
    with pytest.raises(ValueError, match=r"trial 2026-01-01.*: folds: .* the smaller arm has 0"):
        find(tmp_path, SequentialTrials, FIELDS, columns)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"estimand": "matched"}, "'ATE', 'ATT' or 'ATO'"),
        ({"estimand": "ATO", "clip": 0.1}, "clip: the weights of an ATO"),
        ({"covariates": []}, "covariates: at least one is needed"),
        ({"covariates": ["spend_before", "spend"]}, "twice"),
    ],
)
def test_fields_that_do_not_fit_fail_when_the_study_is_loaded(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SequentialTrials.resolve_from_dict({"table": "table.parquet", **FIELDS, **change})


def test_eligibility_is_zero_or_one(tmp_path: Path) -> None:
    columns = table(units=300)
    columns["open"] = np.where(columns["household"] == 0, 2, 1)
    fields = FIELDS | {"columns": {**FIELDS["columns"], "eligible": "open"}}
    with pytest.raises(dg.Failure, match=r"columns\.eligible: 'open' must hold 0 and 1, got \['2'\]"):
        find(tmp_path, SequentialTrials, fields, columns)
