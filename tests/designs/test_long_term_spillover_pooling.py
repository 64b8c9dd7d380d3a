"""Surrogate index, two-stage experiment and meta-analysis over prepared tables."""

from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from pydantic import ValidationError

from causal_assets.designs.meta_analysis import MetaAnalysis
from causal_assets.designs.spillover import SpilloverExperiment
from causal_assets.designs.surrogate_index import SurrogateIndex
from causal_assets.home import Home
from causal_assets.types import Role, Status
from tests.designs.direct import find
from tests.designs.tables import tell
from tests.house import live_in

COMMON: dict[str, Any] = {
    "question": "What does it do?",
    "intervention": "the offer",
    "unit": "customer",
    "plausible_effect": 3.0,
    "decision": {"value_per_outcome": 1.0, "cost_per_unit": 0.1},
}
SURROGATE: dict[str, Any] = COMMON | {
    "columns": {"arm": "arm"},
    "arms": {"control": "old", "treatment": "new"},
    "outcomes": [{"name": "year", "role": "primary"}, {"name": "month"}, {"name": "visits"}],
    "covariates": ["tenure"],
}
SPILLOVER: dict[str, Any] = COMMON | {
    "columns": {"arm": "arm", "cluster": "city", "saturation": "share"},
    "arms": {"control": "none", "treatment": "offer"},
    "saturation": 0.5,
    "outcomes": [{"name": "revenue", "role": "primary"}],
}
META: dict[str, Any] = COMMON | {
    "unit": "market",
    "columns": {"unit_id": "market", "std_error": "error"},
    "outcomes": [{"name": "revenue", "column": "effect", "role": "primary"}],
}


@pytest.fixture
def home(tmp_path: Path):
    with live_in(tmp_path) as root:
        yield Home(root)


def _customers(direct: float, known: bool, n: int = 3_000) -> dict[str, Any]:
    """A third history, the rest the experiment: +1 on the month, +0.5 on visits, ``direct`` past both."""
    rng = np.random.default_rng(0)
    arm = np.repeat(["history", "old", "new"], n // 3)
    tenure, treated = rng.normal(size=n), arm == "new"
    month = tenure + treated + rng.normal(size=n)
    visits = 0.5 * treated + rng.normal(size=n)
    year = 2 * month - visits + tenure + direct * treated + rng.normal(size=n)  # 1.5 through the surrogates
    year[(arm != "history") & (not known)] = np.nan
    order = rng.permutation(n)
    return {
        k: v[order] for k, v in {"arm": arm, "tenure": tenure, "month": month, "visits": visits, "year": year}.items()
    }


def test_the_long_term_effect_is_foretold_and_left_for_review_while_nothing_tests_surrogacy(home: Home) -> None:
    told = tell(home, SurrogateIndex, SURROGATE, _customers(0.0, known=False))
    assert told.primary.low < 1.5 < told.primary.high
    assert (told.primary.n_treated, told.primary.n_control) == (1_000, 1_000)
    assert [e.outcome for role, e in told.findings if role is Role.SECONDARY] == ["month", "visits"]
    assert told.evidence["surrogacy"].status is Status.REVIEW
    assert told.evidence["surrogate_support"].status is Status.PASS
    assert told.evidence["srm"].status is Status.PASS  # the history is in neither arm
    assert told.evidence["data_loss"].value == 0  # an outcome still to come is not lost
    assert "(surrogacy)" in told.memo


def test_a_long_term_effect_beside_the_surrogates_is_found_as_soon_as_it_is_known(home: Home) -> None:
    told = find(home.root, SurrogateIndex, SURROGATE, _customers(2.0, known=True))
    own = told.alternatives()["difference in means, covariate-adjusted"]
    assert own.low < 3.5 < own.high
    assert told.primary.high < 3.0  # the index is wrong, and the check says so
    assert told.evidence["surrogacy"].status is Status.FAIL


def test_a_surrogate_index_without_surrogates_or_with_an_arm_as_history_is_no_study() -> None:
    with pytest.raises(ValidationError, match="needs at least one secondary outcome"):
        SurrogateIndex.resolve_from_dict(
            SURROGATE | {"table": "t.parquet", "outcomes": [{"name": "year", "role": "primary"}]}
        )
    with pytest.raises(ValidationError, match="history: 'old' is an arm"):
        SurrogateIndex.resolve_from_dict(SURROGATE | {"table": "t.parquet", "history": "old"})


def _cities(cities: int = 60, size: int = 20) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    city, share = np.repeat(np.arange(cities), size), np.repeat(np.arange(cities) % 2 / 2, size)
    treated = np.concatenate([rng.permutation(size) < s * size for s in share[::size]])
    revenue = rng.normal(size=cities)[city] * 0.3 + rng.normal(size=city.size) + treated + 2 * share
    return {"arm": np.where(treated, "offer", "none"), "city": city, "share": share, "revenue": revenue}


def test_a_two_stage_experiment_tells_direct_spillover_total_and_overall_effects_apart(home: Home) -> None:
    told = find(home.root, SpilloverExperiment, SPILLOVER, _cities())
    found = {e.estimand.split()[0]: e for _, e in told.findings}
    assert {
        name: e.covers(v) for (name, e), v in zip(sorted(found.items()), (1.0, 1.5, 1.0, 2.0), strict=True)
    } == dict.fromkeys(("direct", "overall", "spillover", "total"), True)
    assert told.primary == found["overall"]


def test_an_effect_that_a_saturation_cannot_show_is_an_error_by_name(home: Home) -> None:
    columns = _cities()
    columns["share"] = columns["share"] * 2
    columns["arm"] = np.where(columns["share"] == 1, "offer", "none")
    with pytest.raises(dg.Failure, match="effect: 'direct' has no comparison at saturation 1"):
        find(home.root, SpilloverExperiment, SPILLOVER | {"saturation": 1.0, "effect": "direct"}, columns)


def test_markets_are_pooled_with_each_drawn_to_the_mean(home: Home) -> None:
    # Rubin (1981): coaching in eight schools
    effect, error = [28.0, 8, -3, 7, -1, 1, 18, 12], [15.0, 10, 16, 11, 9, 11, 10, 18]
    told = find(home.root, MetaAnalysis, META, {"market": list("ABCDEFGH"), "effect": effect, "error": error})
    assert told.primary.value == pytest.approx(7.69, abs=0.01)  # tau^2 is 0: the common effect, its published value
    assert told.primary.method.startswith("random-effects meta-analysis (REML")
    assert told.evidence["heterogeneity"].status is Status.PASS
    groups = [e for role, e in told.findings if role is Role.SECONDARY]
    assert [g.outcome for g in groups] == [f"revenue: {name}" for name in "ABCDEFGH"]
    assert all(g.p_value is None for g in groups)
    assert groups[0].value < 28
