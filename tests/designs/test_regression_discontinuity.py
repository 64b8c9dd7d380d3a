"""A cutoff decides who is treated, read from one prepared table."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from causal_assets.designs.regression_discontinuity import RegressionDiscontinuity
from causal_assets.home import Home
from causal_assets.types import Role, Status, Verdict
from tests.designs.direct import find
from tests.designs.tables import tell
from tests.house import live_in

TRUTH = 2.0
FIELDS: dict[str, Any] = {
    "question": "Does free shipping raise the basket?",
    "intervention": "free shipping",
    "unit": "customer",
    "columns": {"running": "score"},
    "cutoff": 50.0,
    "outcomes": [{"name": "basket", "role": "primary", "money": True}],
    "covariates": ["age", "region"],
    "donut": 0.5,
    "begins_on": "2099-01-01",
    "plausible_effect": 3.0,
    "decision": {"value_per_outcome": 1.0, "cost_per_unit": 0.1},
}


def table(n: int = 2_000, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    score = rng.uniform(30, 70, n)
    return {
        "score": score,
        "age": rng.normal(40, 10, n),
        "region": rng.choice(np.array(["north", "south"]), n),
        "basket": 0.1 * score + 0.01 * (score - 50) ** 2 + TRUTH * (score >= 50) + rng.normal(0, 1, n),
    }


@pytest.fixture
def home(tmp_path: Path):
    with live_in(tmp_path) as root:
        yield Home(root)


def test_a_cutoff_gives_the_effect_there_with_its_evidence(home: Home) -> None:
    told = tell(home, RegressionDiscontinuity, FIELDS, table())
    assert told.primary.covers(TRUTH)
    assert told.primary.estimand == "effect at the cutoff"
    assert list(told.alternatives()) == [
        "conventional, without bias correction",
        "robust, 0.5 times the bandwidth", "robust, 0.75 times the bandwidth", "robust, 1.5 times the bandwidth",
        "robust, 2 times the bandwidth", "robust, without rows closer than 0.5 to the cutoff",
    ]  # fmt: skip
    assert [e.outcome for role, e in told.findings if role is Role.PLACEBO] == ["age", "region=south"]
    for name in ("manipulation", "continuity", "mass_points", "bandwidth", "donut", "placebo_cutoffs"):
        assert told.evidence[name].status is Status.PASS, told.evidence[name].message
    assert told.decision.verdict is Verdict.SHIP
    assert "Does free shipping raise the basket?" in told.memo
    assert "running variable" in told.memo


def test_who_sorts_across_the_cutoff_makes_the_answer_unidentified(home: Home) -> None:
    columns = table(4_000)
    rng = np.random.default_rng(1)
    near = (columns["score"] > 47) & (columns["score"] < 50) & (rng.random(4_000) < 0.6)
    columns["score"] = np.where(near, rng.uniform(50, 51, 4_000), columns["score"])
    told = tell(home, RegressionDiscontinuity, FIELDS, columns)
    assert told.evidence["manipulation"].status is Status.FAIL
    assert told.decision.verdict is Verdict.NOT_IDENTIFIED


def test_take_up_clusters_and_the_treated_side_are_read_from_the_yaml(home: Home) -> None:
    rng = np.random.default_rng(2)
    columns = table(4_000)
    took = np.where(rng.random(4_000) < 0.7, columns["score"] < 50, rng.random(4_000) < 0.3)
    columns |= {"took": took, "store": np.arange(4_000) // 4, "basket": 0.1 * columns["score"] + TRUTH * took}
    columns["basket"] += rng.normal(size=1_000)[columns["store"]] + rng.normal(0, 1, 4_000)
    named = {"running": "score", "takeup": "took", "cluster": "store"}
    told = find(home.root, RegressionDiscontinuity, FIELDS | {"columns": named, "treated_where": "<"}, columns)
    assert told.primary.covers(TRUTH)
    assert told.primary.estimand == "LATE at the cutoff"
    assert "clusters" in told.primary.method
    assert told.evidence["first_stage"].status is Status.PASS


def test_a_window_compares_means_as_in_close_elections(home: Home) -> None:
    # Lee, Moretti & Butler (2004), table I: 21.28 (1.95).
    import causaldata

    rows = causaldata.close_elections_lmb.load_pandas().data.dropna()
    columns = {name: rows[name].to_numpy() for name in ("score", "lagdemocrat", "lagdemvoteshare", "id")}
    fields = FIELDS | {
        "columns": {"running": "lagdemvoteshare", "takeup": "lagdemocrat", "cluster": "id"},
        "outcomes": [{"name": "score", "role": "primary"}],
        "covariates": [],
        "donut": None,
        "cutoff": 0.5,
        "window": [0.48, 0.52],
    }
    told = find(home.root, RegressionDiscontinuity, fields, columns)
    assert (told.primary.value, told.primary.std_error) == pytest.approx((21.284, 1.951), abs=5e-4)
    assert any("robust bias-corrected" in method for method in told.alternatives())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": [51.0, 60.0]}, "window: .* does not hold the cutoff"),
        ({"lines": True}, "lines: belongs to a window"),
        ({"bias_bandwidth": 3.0}, "bias_bandwidth: give bandwidth too"),
        ({"treated_where": "above"}, "treated_where"),
        ({"cutoff": float("nan")}, "cutoff"),
    ],
)
def test_fields_that_do_not_fit_are_refused_at_load(change: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        RegressionDiscontinuity.resolve_from_dict({"table": "t.parquet", **FIELDS, **change})
