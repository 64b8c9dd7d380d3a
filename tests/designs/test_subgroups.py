"""Effects in parts of the units: the planted found, chance not taken for a difference, parts too small left out."""

from pathlib import Path

import dagster as dg
import numpy as np
import pytest

from causal_assets.designs.adjusted_comparison import AdjustedComparison
from causal_assets.designs.experiment import Experiment
from causal_assets.diagnostics.subgroups import subgroups
from causal_assets.types import Role, Status
from tests.designs import test_adjusted_comparison as adjusted
from tests.designs.direct import Found, find
from tests.designs.test_gaps import TRIAL

REGIONS = np.array(["east", "north", "south", "west", "islands"])
FIELDS = TRIAL | {"covariates": [], "subgroups": ["region"]}


def _trial(gain: float, n: int = 4_000, seed: int = 0) -> dict[str, np.ndarray]:
    """The page adds one everywhere, and ``gain`` more in the north; a handful live on islands."""
    rng = np.random.default_rng(seed)
    region = REGIONS[np.where(np.arange(n) < 40, 4, rng.integers(0, 4, n))]
    arm = np.where(rng.random(n) < 0.5, "new", "old")
    spend = (1 + gain * (region == "north")) * (arm == "new") + rng.normal(size=n)
    return {"arm": arm, "region": region, "spend": spend}


def _parts(found: Found) -> dict[str, tuple[float, float, float]]:
    return {e.outcome: (e.value, e.low, e.high) for e in found.of(Role.SUBGROUP)}


def test_each_part_has_its_effect_pooled_and_corrected_and_small_ones_are_left_out(tmp_path: Path) -> None:
    found = find(tmp_path, Experiment, FIELDS, _trial(1.0))
    parts = _parts(found)
    assert list(parts) == [
        f"spend, region={value}{how}" for how in ("", ", pooled") for value in ("east", "north", "south", "west")
    ]
    assert parts["spend, region=north"][1] < 2 < parts["spend, region=north"][2]
    assert parts["spend, region=east"][1] < 1 < parts["spend, region=east"][2]
    # Pooling draws the part that stands out to the others; correction makes its interval longer than one alone.
    assert parts["spend, region=north, pooled"][0] < parts["spend, region=north"][0]
    one = next(e for e in found.of(Role.SUBGROUP) if e.outcome == "spend, region=north")
    assert one.std_error is not None
    assert one.high - one.low == pytest.approx(2 * 2.5 * one.std_error, rel=0.01)
    assert "Bonferroni" in one.method


def test_chance_is_not_taken_for_a_difference(tmp_path: Path) -> None:
    from causal_assets.designs.subgroups import differences

    (told,) = differences(find(tmp_path, Experiment, FIELDS, _trial(1.0)).findings)
    assert (told.status, told.value < 1e-6) == (Status.PASS, True)
    assert "parts by region differ most" in told.message
    (still,) = differences(find(tmp_path, Experiment, FIELDS, _trial(0.0)).findings)
    assert still.value > 0.01


def test_an_adjusted_comparison_adjusts_within_each_part(tmp_path: Path) -> None:
    fields = adjusted.FIELDS | {"subgroups": ["region"], "covariates": ["before", "visits", "region"]}
    columns = adjusted.table()
    columns["spend"] = columns["spend"] + 2.0 * columns["app"] * (columns["region"] == "south")
    parts = _parts(find(tmp_path, AdjustedComparison, fields, columns))
    gain = adjusted.truth("ATT")
    assert parts["spend, region=north"][1] < gain < parts["spend, region=north"][2]
    assert parts["spend, region=south"][1] < gain + 2 < parts["spend, region=south"][2]


def test_a_number_is_no_part_and_clashes_are_named(tmp_path: Path) -> None:
    columns = _trial(0.0) | {"age": np.arange(4_000) % 70}
    with pytest.raises(dg.Failure, match="'age' has 70 values; allowed are 20"):
        find(tmp_path, Experiment, FIELDS | {"subgroups": ["age"]}, columns)
    with pytest.raises(ValueError, match=r"subgroups: cannot be given together with \['columns.cluster'\]"):
        find(tmp_path, Experiment, FIELDS | {"columns": {"arm": "arm", "cluster": "region"}}, columns)
    with pytest.raises(ValueError, match="at least one column"):
        subgroups({}, [], 0)
