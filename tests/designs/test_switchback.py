"""A switchback read from one prepared table."""

from typing import Any

import dagster as dg
import numpy as np
import pytest

from causal_assets.designs.switchback import Switchback
from causal_assets.home import Home
from causal_assets.types import Status, Verdict
from tests.designs.direct import find
from tests.designs.tables import tell
from tests.house import live_in

TRUTH = 2.0
REGIONS, PERIODS, LENGTH = 8, 120, 6
FIELDS: dict[str, Any] = {
    "question": "Does the new rule shorten waits?",
    "intervention": "the new rule",
    "unit": "region",
    "columns": {"unit_id": "region", "period": "hour", "arm": "rule"},
    "arms": {"control": "off", "treatment": "on"},
    "block_length": LENGTH,
    "burn_in": 2,
    "outcomes": [{"name": "rides", "role": "primary"}],
    "plausible_effect": 3.0,
    "decision": {"value_per_outcome": 1.0},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory):
    with live_in(tmp_path_factory.mktemp("home")) as root:
        yield Home(root)


def table(seed: int = 0) -> dict[str, Any]:
    """What was on still adds 3 in the first two hours of the next block."""
    rng = np.random.default_rng(seed)
    on = rng.integers(0, 2, (REGIONS, PERIODS // LENGTH)).repeat(LENGTH, axis=1)
    before = np.roll(on, 2, axis=1)
    before[:, :2] = 0
    rides = 20 + rng.normal(0, 5, (REGIONS, 1)) + TRUTH * on + 3 * before * (1 - on) + rng.normal(size=on.shape)
    start = np.datetime64("2026-03-01T00:00:00", "us")
    return {
        "region": np.arange(REGIONS).repeat(PERIODS),
        "hour": np.tile(start + np.arange(PERIODS) * np.timedelta64(3_600_000_000, "us"), REGIONS),
        "shift": np.tile(np.arange(PERIODS) // LENGTH, REGIONS),
        "rule": np.where(on, "on", "off").ravel(),
        "rides": rides.ravel(),
    }


def test_what_carries_over_ends_within_the_burn_in(home: Home) -> None:
    told = tell(home, Switchback, FIELDS, table())
    assert told.primary.covers(TRUTH)
    assert told.primary.n_treated + told.primary.n_control == REGIONS * PERIODS // LENGTH
    assert told.evidence["srm"].status is Status.PASS
    assert "Of 160 units" in told.evidence["srm"].message
    (replayed,) = told.alternatives().values()
    assert replayed.value == pytest.approx(told.primary.value, abs=0.1)
    assert told.decision.verdict is Verdict.SHIP

    columns = FIELDS["columns"] | {"block": "shift"}
    named = tell(home, Switchback, FIELDS | {"columns": columns, "block_length": None}, table())
    assert named.primary == told.primary

    short = tell(home, Switchback, FIELDS | {"burn_in": 0, "inference": "randomization"}, table())
    assert not short.primary.covers(TRUTH)
    assert not short.alternatives()


def test_a_period_that_is_missing_is_refused_where_the_burn_in_counts_periods(home: Home) -> None:
    columns = table()
    columns["rides"][LENGTH] = np.nan
    with pytest.raises(
        (dg.Failure, ValueError), match=r"outcomes\.rides: 1 periods are missing; a burn_in of 2 needs them all"
    ):
        find(home.root, Switchback, FIELDS, columns)
    assert find(home.root, Switchback, FIELDS | {"burn_in": 0}, columns).primary


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block_length": None}, "name exactly one"),
        ({"columns": FIELDS["columns"] | {"block": "shift"}}, "name exactly one"),
        ({"burn_in": LENGTH}, "burn_in: must be below block_length 6, got 6"),
        ({"covariates": ["shift"]}, "covariates: a switchback takes none"),
    ],
)
def test_wrong_combinations_are_refused_at_load(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Switchback.resolve_from_dict({"table": "table.parquet", **FIELDS, **change})
