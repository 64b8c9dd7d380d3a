"""Ghost ads, read from one prepared table."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from causal_assets.designs.ghost_ads import GhostAds
from causal_assets.estimators.ghost_ads import NAIVE
from causal_assets.home import Home
from causal_assets.types import Status, Verdict
from tests.designs.tables import tell
from tests.house import live_in

CACE = 2.0
FIELDS: dict[str, Any] = {
    "question": "Does seeing the ad raise spending?",
    "intervention": "the campaign's ads",
    "unit": "user",
    "columns": {"arm": "arm", "predicted": "would_serve", "exposed": "saw"},
    "arms": {"control": "holdout", "treatment": "campaign"},
    "outcomes": [{"name": "spend", "role": "primary", "money": True}],
    "covariates": ["before"],
    "begins_on": "2099-01-01",
    "plausible_effect": 3.0,
    "decision": {"value_per_outcome": 1.0, "cost_per_unit": 0.1},
}


def table(n: int = 20_000) -> dict[str, Any]:
    """A third would be served and are richer by 5; 80% of them see the ad when treated."""
    rng = np.random.default_rng(0)
    treated = rng.permutation(np.arange(n) % 2 == 0)
    predicted = rng.random(n) < 1 / 3
    exposed = treated & predicted & (rng.random(n) < 0.8)
    before = rng.normal(10, 3, n)
    return {
        "arm": np.where(treated, "campaign", "holdout"),
        "would_serve": predicted,
        "saw": exposed.astype(int),
        "before": before,
        "spend": before + 5 * predicted + CACE * exposed + rng.normal(0, 2, n),
    }


@pytest.fixture
def home(tmp_path: Path):
    with live_in(tmp_path) as root:
        yield Home(root)


def test_the_effect_on_the_exposed_stands_beside_the_answer_that_is_wrong(home: Home) -> None:
    told = tell(home, GhostAds, FIELDS, table())
    assert told.primary.estimand == "CACE"
    assert abs(told.primary.value - CACE) < 2 * told.primary.spread
    beside = told.alternatives()
    assert beside[NAIVE].value == pytest.approx(CACE + 5, abs=0.5)
    assert beside["ghost ads: predicted users by arm"].value == pytest.approx(0.8 * told.primary.value, rel=0.02)
    for name in ("srm", "prediction", "first_stage"):
        assert told.evidence[name].status is Status.PASS
    assert told.decision.verdict is Verdict.SHIP
    assert "WRONG" in told.memo


def test_a_log_that_serves_the_arms_differently_blocks_the_study(home: Home) -> None:
    columns = table()
    columns["would_serve"] = columns["would_serve"] & ((columns["arm"] == "holdout") | (columns["saw"] == 1))
    told = tell(home, GhostAds, FIELDS, columns)
    assert told.evidence["prediction"].status is Status.FAIL
    assert told.decision.verdict is Verdict.BLOCKED
