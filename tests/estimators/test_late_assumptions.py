"""What contradicts an instrument's assumptions, planted and not."""

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from causal_assets.diagnostics.monotonicity import density, monotonicity
from causal_assets.estimators.inference import Refusal
from causal_assets.estimators.instruments import two_stage_least_squares
from causal_assets.estimators.late_assumptions import first_stages, shrinking_density
from causal_assets.types import Estimate, Status


def table(seed: int, *, defiers: float = 0.0, direct: float = 0.0, n: int = 2_000) -> dict[str, np.ndarray]:
    """Half comply, a quarter always take it; ``defiers`` of the old go against it; ``direct`` bypasses it."""
    rng = np.random.default_rng(seed)
    z, old = rng.integers(0, 2, n), rng.random(n) < 0.4
    kind = rng.random(n)
    d = np.where(kind < 0.5, z, kind > 0.75)
    d = np.where(old & (rng.random(n) < defiers), 1 - z, d)
    return {"y": d + direct * z + rng.normal(size=n), "d": d.astype(float), "z": z.astype(float), "old": old}


def judged(rows: dict[str, np.ndarray]) -> tuple[Estimate, dict[str, Estimate], Status]:
    stage = two_stage_least_squares(rows["y"], rows["d"], rows["z"], outcome="d").first_stage
    assert stage is not None
    parts = {"old": rows["old"], "young": ~rows["old"], "nobody": np.zeros(len(rows["y"]), dtype=bool)}
    by_part = first_stages(rows["y"], rows["d"], rows["z"], parts, treatment="d")
    return stage, by_part, monotonicity(stage, by_part).status


def test_a_part_that_is_pushed_away_is_named_and_others_are_not():
    _, by_part, status = judged(table(0, defiers=0.8))
    assert set(by_part) == {"old", "young"}  # too few rows say nothing
    assert by_part["old"].value == pytest.approx(0.2 * 0.5 - 0.8, abs=0.1)
    assert by_part["young"].value == pytest.approx(0.5, abs=0.1)
    assert status is Status.REVIEW
    assert all(judged(table(seed))[2] is Status.PASS for seed in range(20))
    with pytest.raises(ValueError, match="at least one"):
        monotonicity(by_part["old"], {})


def test_a_first_stage_of_a_part_is_that_of_its_rows_with_its_controls():
    rows = table(1)
    x, shop = np.random.default_rng(0).normal(size=(2_000, 1)), np.arange(2_000) // 10
    (found,) = first_stages(
        rows["y"], rows["d"], rows["z"], {"old": rows["old"]}, treatment="d", x=x, cluster=shop
    ).values()
    own = rows["old"]
    alone = two_stage_least_squares(*(rows[k][own] for k in "ydz"), outcome="d", x=x[own], cluster=shop[own])
    assert alone.first_stage is not None
    assert (found.value, found.std_error) == (alone.first_stage.value, alone.first_stage.std_error)


def test_an_instrument_that_is_right_is_seldom_contradicted_and_a_wrong_one_is():
    right = [shrinking_density(*(table(seed)[k] for k in "ydz"))[0] for seed in range(200)]
    assert binomtest(sum(p < 0.05 for p in right), 200, 0.05, alternative="greater").pvalue > 0.001
    p, (low, high) = shrinking_density(*(table(0, direct=2.5)[k] for k in "ydz"))
    assert density(p, (low, high)).status is Status.FAIL
    assert low < high
    assert shrinking_density(*(table(0, defiers=1.0)[k] for k in "ydz"))[0] < right[0]


def shops(seed: int, *, direct: float = 0.0, clusters: int = 40) -> dict[str, np.ndarray]:
    """Shops of 20 customers, invited as a whole, that differ in how keen and how rich theirs are."""
    rng = np.random.default_rng(seed)
    shop = np.arange(clusters).repeat(20)
    z, level = (rng.permutation(clusters) % 2)[shop], rng.normal(size=clusters)[shop]
    d = np.where(rng.random(shop.size) < 0.05, z, 0.7 * level + rng.normal(size=shop.size) > 0)
    return {"y": d + direct * z + 1.5 * level + rng.normal(size=shop.size), "d": d * 1.0, "z": z * 1.0, "shop": shop}


def test_shops_that_differ_do_not_contradict_an_instrument_as_rows_would_let_them():
    worlds = [shops(seed) for seed in range(150)]
    by_shop = [shrinking_density(*(w[k] for k in "ydz"), cluster=w["shop"])[0] for w in worlds]
    by_row = [shrinking_density(*(w[k] for k in "ydz"))[0] for w in worlds]
    assert binomtest(sum(p < 0.05 for p in by_shop), 150, 0.05, alternative="greater").pvalue > 0.001
    assert sum(p < 0.05 for p in by_row) > 25
    wrong = shops(0, direct=3.0, clusters=120)
    found = shrinking_density(*(wrong[k] for k in "ydz"), cluster=wrong["shop"])
    assert found[0] < 0.001
    twice = {k: v.repeat(2) for k, v in wrong.items()}
    assert shrinking_density(*(twice[k] for k in "ydz"), cluster=twice["shop"])[0] == pytest.approx(found[0], rel=1e-6)
    with pytest.raises(Refusal, match="cluster: 2 treated and 2 control clusters"):
        shrinking_density(*(wrong[k] for k in "ydz"), cluster=wrong["z"] + 2 * (wrong["shop"] % 4 > 1))


def test_shops_of_one_row_give_the_density_of_rows():
    rows = table(5, direct=2.0, n=20_000)
    p, where = shrinking_density(rows["y"], rows["d"], rows["z"])
    by_shop = shrinking_density(rows["y"], rows["d"], rows["z"], cluster=np.arange(20_000))
    assert by_shop[1] == where
    assert norm.isf(by_shop[0]) == pytest.approx(norm.isf(p), rel=0.05)  # the error is pooled over shares or it is not


def test_the_order_of_rows_and_the_scale_of_the_outcome_change_nothing():
    rows = table(3, direct=0.5)
    order = np.random.default_rng(0).permutation(2_000)
    p, limits = shrinking_density(rows["y"], rows["d"], rows["z"])
    moved = shrinking_density(3 * rows["y"][order] + 5, rows["d"][order], rows["z"][order])
    assert moved[0] == p
    assert moved[1] == pytest.approx([3 * limit + 5 for limit in limits])


def test_other_values_than_0_and_1_are_refused_by_name():
    with pytest.raises(ValueError, match="z: expected 0 and 1"):
        shrinking_density([1.0, 2.0], [0.0, 1.0], [0.0, 2.0])
    with pytest.raises(ValueError, match="d: expected 0 and 1"):
        shrinking_density([1.0, 2.0], [1.0, 1.0], [0.0, 1.0])
    with pytest.raises(ValueError, match="p_value"):
        density(1.5, (0.0, 1.0))
