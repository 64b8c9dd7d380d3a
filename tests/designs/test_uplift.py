"""Uplift studies through all their stages: who responds, what acting on it is worth, and who is champion."""

from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from causal_assets import registry
from causal_assets.designs.targeted import PROFIT
from causal_assets.designs.uplift import UpliftTable
from causal_assets.home import Home
from causal_assets.ledger import Kind, Ledger
from causal_assets.targeting.model import POLICY
from causal_assets.types import Role, Status, Verdict
from causal_assets.warehouse.engine import Warehouse
from tests.designs.tables import NAME, Told, tell
from tests.house import live_in

UNITS, VALUE, COST = 6_000, 0.5, (0.5, 3.0)
FIELDS: dict[str, Any] = {
    "question": "Who should get which?",
    "intervention": "a letter or a voucher",
    "unit": "customer",
    "columns": {"arm": "arm"},
    "arms": {"control": "none", "treatments": ["letter", "voucher"]},
    "costs": {"letter": COST[0], "voucher": COST[1]},
    "outcomes": [
        {"name": "revenue", "role": "primary", "money": True},
        {"name": "left", "role": "guardrail", "harm": "increase", "margin": 0.05},
    ],
    "covariates": ["recency", "loyalty", "age"],
    "learners": ["none", "linear", "s"],
    "plausible_effect": 5.0,
    "decision": {"value_per_outcome": VALUE},
}


def effects(columns: dict[str, Any]) -> np.ndarray:
    """A letter works on the recent, a voucher on the loyal: nothing is best for all."""
    return np.stack([2 + 3 * columns["recency"], 4 + 6 * (columns["loyalty"] > 0)], axis=1)


def shop(seed: int, *, moved: bool = True, units: int = UNITS) -> dict[str, Any]:
    """A table of customers, offered a letter, a voucher or nothing by chance."""
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {name: rng.normal(size=units) for name in ("recency", "loyalty", "age")}
    arm = rng.integers(0, 3, units)
    added = np.column_stack([np.zeros(units), effects(columns) if moved else np.zeros((units, 2))])
    revenue = 10 + 3 * columns["age"] + added[np.arange(units), arm] + 4 * rng.normal(size=units)
    columns["group"] = np.where(columns["loyalty"] > 0.5, "new", "old")
    columns["left"] = (rng.random(units) < 0.05).astype(float)
    return columns | {"arm": np.array(["none", "letter", "voucher"])[arm], "revenue": revenue}


def told_in(root: Path, columns: dict[str, Any], **fields: Any) -> tuple[Told, Home]:
    with live_in(root) as folder:
        home = Home(folder)
        return tell(home, UpliftTable, FIELDS | fields, columns), home


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Told, Home]:
    return told_in(tmp_path_factory.mktemp("moved"), shop(7), fairness=[{"attribute": "group"}])


@pytest.fixture(scope="module")
def null(tmp_path_factory: pytest.TempPathFactory) -> tuple[Told, Home]:
    return told_in(tmp_path_factory.mktemp("null"), shop(8, moved=False))


def test_the_gain_of_the_policy_holds_what_it_is_truly_worth_on_the_units_it_is_proven_on(
    moved: tuple[Told, Home],
) -> None:
    told, home = moved
    columns = shop(7)
    scored = Warehouse(path=str(home.warehouse)).arrays(f"SELECT key, chosen FROM {NAME}.scored WHERE fold = {POLICY}")
    net = np.column_stack([np.zeros(UNITS), VALUE * effects(columns) - COST])[scored["key"] - 1]
    best = {"none": 0, "letter": 1, "voucher": 2}[told.primary.method.split()[1]]
    truth = (net[np.arange(len(net)), scored["chosen"]] - net[:, best]).mean()
    assert told.primary.outcome == PROFIT
    assert abs(told.primary.value - truth) <= 3 * told.primary.std_error
    assert told.primary.low > 0
    assert {e.method.split()[1] for e in told.alternatives().values()} | {told.primary.method.split()[1]} == {
        "none", "letter", "voucher",
    }  # fmt: skip


def test_mean_effects_of_every_treatment_are_found_and_named(moved: tuple[Told, Home]) -> None:
    found = {e.outcome: e for role, e in moved[0].findings if role is Role.SECONDARY}
    for name, truth in zip(("revenue, letter", "revenue, voucher"), effects(shop(7)).mean(axis=0), strict=True):
        assert abs(found[name].value - truth) <= 3 * found[name].std_error


def test_units_are_in_one_of_four_folds_for_good_whoever_else_is_in_the_table(
    moved: tuple[Told, Home], tmp_path: Path
) -> None:
    folds = Warehouse(path=str(moved[1].warehouse)).rows(
        f"SELECT fold, count(*) AS n FROM {NAME}.folds GROUP BY fold ORDER BY fold"
    )
    shares = [row["n"] / UNITS for row in folds]
    assert np.abs(np.array(shares) - [0.40, 0.15, 0.20, 0.25]).max() < 0.02
    _, other = told_in(tmp_path, {name: values[:5_000] for name, values in shop(7).items()})
    ours, theirs = (
        {row["unit_id"]: row["fold"] for row in Warehouse(path=str(h.warehouse)).rows(f"FROM {NAME}.folds")}
        for h in (moved[1], other)
    )
    assert all(ours[unit] == fold for unit, fold in theirs.items())


def test_an_unfair_policy_is_blocked_by_its_groups_interval_and_names_the_group(moved: tuple[Told, Home]) -> None:
    told, home = moved
    assert told.evidence["fairness"].status is Status.FAIL
    assert "group old" in told.evidence["fairness"].message
    assert told.decision.verdict is Verdict.BLOCKED
    assert not [e for e in Ledger(path=str(home.ledger)).entries(NAME) if e.kind is Kind.PROMOTED]
    assert registry.load(home, NAME, registry.CHALLENGER).version == 1


def test_a_policy_that_pays_within_its_budget_ships_and_its_model_becomes_champion(tmp_path: Path) -> None:
    told, home = told_in(tmp_path, shop(7), budget=6_000.0)  # two thousand vouchers
    given = Warehouse(path=str(home.warehouse)).rows(f"SELECT count(*) AS n FROM {NAME}.scored WHERE chosen = 2")
    assert given[0]["n"] <= 2_200
    assert "against voucher for everybody" not in {told.primary.method, *told.alternatives()}
    assert told.evidence["responders"].status is Status.PASS
    assert told.decision.verdict is Verdict.SHIP
    (promoted,) = [e for e in Ledger(path=str(home.ledger)).entries(NAME) if e.kind is Kind.PROMOTED]
    served = registry.load(home, NAME)
    assert served.protocol == promoted.protocol
    assert [row["version"] for row in Warehouse(path=str(home.warehouse)).rows("FROM results.champions")] == [1]
    assert "choosing for each customer is worth" in told.memo
    assert "What the policy gives" in told.memo


def test_where_nobody_responds_it_says_so_treats_by_no_noise_and_nobody_becomes_champion(
    null: tuple[Told, Home],
) -> None:
    told, home = null
    assert told.evidence["responders"].status is Status.REVIEW
    assert "Nobody in particular responds more" in told.evidence["responders"].message
    assert (told.primary.value, told.primary.low, told.primary.high, told.primary.p_value) == (0, 0, 0, 1)
    assert told.decision.verdict is not Verdict.SHIP
    assert not [e for e in Ledger(path=str(home.ledger)).entries(NAME) if e.kind is Kind.PROMOTED]


def test_an_outcome_that_happens_or_not_has_bounds_on_who_would_have_acted_anyway(tmp_path: Path) -> None:
    columns = shop(10)
    columns["bought"] = (columns["revenue"] > 12).astype(float)
    outcomes = [{"name": "bought", "role": "primary"}]
    told, _ = told_in(tmp_path, columns, outcomes=outcomes, decision={"value_per_outcome": 20.0})
    assert "Who would have acted anyway is not identified" in told.memo
    for stratum in ("only if treated", "either way", "neither way", "only if not treated"):
        assert stratum in told.memo


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"learners": ["oracle"]}, r"learners: unknown \['oracle'\]; allowed are"),
        ({"costs": {"phone": 1.0}}, r"costs: \['phone'\] are no treatments; allowed are \['letter', 'voucher'\]"),
        ({"today": "phone"}, "today: 'phone' is no arm"),
        ({"arms": {"control": "none", "treatments": ["none"]}, "costs": {}}, "control and treatments must differ"),
        ({"decision": {"value_per_outcome": 1.0, "cost_per_unit": 0.1}}, "cost_per_unit must be left out"),
    ],
)
def test_fields_that_do_not_fit_are_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        UpliftTable.resolve_from_dict({"table": "table.parquet", **FIELDS, **fields})


def test_too_few_units_to_prove_anything_are_refused_with_their_number(tmp_path: Path) -> None:
    with pytest.raises(dg.Failure, match=r"the test fold has \{'none': \d+, .*\} rows; each arm needs 200"):
        told_in(tmp_path, shop(9, units=1_500))


def test_a_guardrail_that_is_unknown_for_some_units_is_refused_with_their_number(tmp_path: Path) -> None:
    columns = shop(11)
    columns["left"][::10] = np.nan
    with pytest.raises(dg.Failure, match=r"outcomes.left: \d+ values are empty; a guardrail needs all"):
        told_in(tmp_path, columns)
