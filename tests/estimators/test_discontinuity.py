import warnings
from math import inf
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from scipy.stats import binomtest

from causal_assets.diagnostics.bandwidth import bandwidth
from causal_assets.diagnostics.continuity import continuity
from causal_assets.diagnostics.donut import donut as donut_check
from causal_assets.diagnostics.first_stage import first_stage
from causal_assets.diagnostics.manipulation import manipulation
from causal_assets.diagnostics.mass_points import mass_points
from causal_assets.estimators.discontinuity import (
    Discontinuity,
    density_jump,
    donut,
    local_window,
    over_bandwidths,
    robust_discontinuity,
)
from causal_assets.types import Status

SEEDS = 400
JUMP = 0.5


def _scores(seed, n=500, jump=JUMP):
    """A curve that bends differently on the two sides and jumps at 0."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, n)
    y = 0.8 * x + np.where(x < 0, 1.5, -1.0) * x**2 + jump * (x >= 0) + 0.5 * rng.normal(size=n)
    return y, x, rng


def _fuzzy(seed, n=500, jump=JUMP, pull=0.6):
    """Crossing the cutoff moves ``pull`` of the units to take the treatment; who takes it anyway is richer by 1."""
    y, x, rng = _scores(seed, n, 0.0)
    kind = rng.random(n)
    always = kind > 0.8
    t = np.where(kind < pull, x >= 0, always).astype(float)
    return y + jump * t + always, x, t


def _rd(y, x, **options) -> Discontinuity:
    return robust_discontinuity(y, x, outcome="y", **options)


def _honest(estimates, truth):
    errors = np.array([e.value - truth for e in estimates])
    assert abs(errors.mean()) / errors.std() < 0.15
    assert 0.93 < np.mean([e.std_error for e in estimates]) / errors.std() < 1.07
    assert binomtest(sum(e.covers(truth) for e in estimates), len(estimates), 0.93, alternative="less").pvalue > 0.05


@pytest.mark.parametrize("truth", [JUMP, 0.0])
def test_the_jump_of_a_bending_curve_is_recovered_with_honest_errors(truth):
    found = []
    for seed in range(SEEDS):
        y, x, _ = _scores(seed, jump=truth)
        found.append(_rd(y, x, bandwidth=0.7).estimate)
    _honest(found, truth)


def test_the_effect_on_compliers_is_recovered_where_many_do_not_comply():
    found = []
    for seed in range(SEEDS):
        y, x, t = _fuzzy(seed, n=2_000)
        found.append(_rd(y, x, takeup=t, bandwidth=0.9).estimate)
    errors = np.array([e.value - JUMP for e in found])
    assert abs(errors.mean()) / errors.std() < 0.15
    assert binomtest(sum(e.covers(JUMP) for e in found), SEEDS, 0.93, alternative="less").pvalue > 0.05


def test_errors_by_cluster_cover_where_errors_by_row_do_not():
    by_cluster, by_row = [], []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        shop = np.repeat(np.arange(150), 4)
        x = rng.uniform(-1, 1, 150)[shop] + 1e-9 * np.arange(600)
        y = x**2 + JUMP * (x >= 0) + 0.5 * rng.normal(size=150)[shop] + 0.3 * rng.normal(size=600)
        by_cluster.append(_rd(y, x, bandwidth=0.9, cluster=shop).estimate)
        by_row.append(_rd(y, x, bandwidth=0.9).estimate)
    errors = np.array([e.value - JUMP for e in by_cluster])
    assert abs(errors.mean()) / errors.std() < 0.15
    assert 0.9 < np.mean([e.std_error for e in by_cluster]) / errors.std() < 1.07
    assert binomtest(sum(e.covers(JUMP) for e in by_cluster), SEEDS, 0.91, alternative="less").pvalue > 0.05
    assert sum(e.covers(JUMP) for e in by_row) < 0.85 * SEEDS


def test_the_interval_follows_the_bias_corrected_point_and_covers_where_the_conventional_one_does_not():
    robust = conventional = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        x = rng.uniform(-1, 1, 500)
        found = _rd(np.sign(x) * 2 * x**2 + 0.3 * rng.normal(size=500), x, bandwidth=0.7)
        robust += found.estimate.covers(0.0)
        conventional += abs(found.conventional.value) < 1.96 * found.estimate.std_error
        assert found.estimate.value == pytest.approx((found.estimate.low + found.estimate.high) / 2)
    assert robust >= 182
    assert conventional < 140


def test_a_weak_take_up_jump_gives_a_set_that_covers_and_may_be_unbounded():
    covered = unbounded = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        x, taste = rng.uniform(-1, 1, 300), rng.normal(size=300)
        t = 0.4 * (x >= 0) + taste
        found = _rd(JUMP * t + 3 * taste + 0.3 * rng.normal(size=300), x, takeup=t, bandwidth=0.9)
        covered += found.estimate.covers(JUMP)
        unbounded += found.estimate.high == inf
        assert found.estimate.covers(0.0) == (found.estimate.p_value > 0.05)
        assert ("Anderson-Rubin" in found.estimate.method) == (found.strength < 16.38)
    assert covered >= 273
    assert unbounded > 100


@pytest.mark.parametrize("jump", [JUMP, 0.0])
@pytest.mark.parametrize("treated", [">=", "<"])
def test_the_relative_effect_is_against_the_untreated_limit(jump, treated):
    level = 2.0 if treated == ">=" else 2.0 + jump  # the curve meets the cutoff at 2 from the left
    truth = (jump if treated == ">=" else -jump) / level
    found = []
    for seed in range(60):
        y, x, _ = _scores(1_000 + seed, jump=jump)
        found.append(_rd(y + 2, x, treated=treated).estimate)
    covered = sum(e.relative_low <= truth <= e.relative_high for e in found)
    assert binomtest(covered, 60, 0.93, alternative="less").pvalue > 0.05
    assert all((e.relative_low <= 0 <= e.relative_high) == e.covers(0.0) == (e.p_value > 0.05) for e in found)
    assert all(e.relative_low < e.relative < e.relative_high for e in found)
    y, x, _ = _scores(1, jump=jump)
    far, clustered = _rd(y + 1e6, x, treated=treated), _rd(y + 2, x, treated=treated, cluster=np.arange(500) // 4)
    assert far.estimate.relative == pytest.approx(far.estimate.value / 1e6, rel=1e-4)
    assert clustered.conventional.relative is None
    assert (clustered.estimate.relative_low <= 0 <= clustered.estimate.relative_high) == clustered.estimate.covers(0.0)


def _senate():
    import pandas as pd
    import rdrobust

    path = Path(rdrobust.__path__[0]) / "data" / "rdrobust_RDsenate.csv"
    rows = pd.read_csv(path)
    voted = rows.dropna(subset=["vote", "margin"])
    return voted["vote"].to_numpy(), voted["margin"].to_numpy(), rows["margin"].to_numpy()


def test_incumbency_in_the_senate_is_the_published_answer():
    # Cattaneo, Frandsen & Titiunik (2015) data; Calonico, Cattaneo, Farrell & Titiunik (2017), Stata Journal 17(2).
    y, x, every_x = _senate()
    found = _rd(y, x)
    assert found.conventional.value == pytest.approx(7.414, abs=5e-4)
    assert found.estimate.value == pytest.approx(7.5065, abs=5e-5)
    assert (found.estimate.low, found.estimate.high) == pytest.approx((4.094, 10.919), abs=5e-4)
    assert found.estimate.std_error == pytest.approx(1.7413, abs=5e-5)
    assert (found.bandwidth, found.bias_bandwidth) == pytest.approx((17.754, 28.028), abs=5e-4)
    assert found.rows == (360, 323)
    flat = _rd(y, x, kernel="uniform")
    assert (flat.conventional.value, flat.estimate.value) == pytest.approx((7.2025, 7.5935), abs=5e-5)
    assert flat.bandwidth == pytest.approx(11.597, abs=5e-4)
    # Cattaneo, Jansson & Ma (2018), Stata Journal 18(1), with rddensity 3.0: T = -0.8753, p = 0.3814
    assert density_jump(every_x).p_value == pytest.approx(0.3814, abs=5e-5)


def test_transfers_and_political_support_keep_their_sign_on_either_side_of_the_cutoff():
    # Manacorda, Miguel & Vigorito (2011): households below the cutoff are treated. Numbers: rdrobust, jump upwards.
    import causaldata

    rows = causaldata.gov_transfers.load_pandas().data
    y, x = rows["Support"].to_numpy(dtype=float), rows["Income_Centered"].to_numpy(dtype=float)
    right, left = _rd(y, x, treated=">="), _rd(y, x, treated="<")
    assert right.conventional.value == pytest.approx(0.0247, abs=5e-5)
    assert (right.estimate.low, right.estimate.high) == pytest.approx((-0.0974, 0.1883), abs=5e-5)
    assert (left.estimate.value, left.estimate.low) == (-right.estimate.value, -right.estimate.high)
    assert left.estimate.control_mean == pytest.approx(right.estimate.control_mean + right.conventional.value)
    assert (left.estimate.n_treated, left.estimate.n_control) == left.rows
    assert left.warnings == ("Mass points: many rows share their value of the running variable.",)
    line = local_window(y, x < 0, x, outcome="support", window=(-1, 1), cutoff=0.0, order=1)
    assert (line.value, line.std_error) == pytest.approx((0.09985, 0.02992), abs=5e-6)


def test_close_elections_are_the_published_comparisons_of_means():
    # Lee, Moretti & Butler (2004), table I, as reproduced in Cunningham, Causal Inference: The Mixtape, ch. 6:
    # 21.28 (1.95), 47.71 (1.36), 0.48 (0.03) within 48 to 52% of the vote, clustered by district.
    import causaldata

    rows = causaldata.close_elections_lmb.load_pandas().data.dropna()
    published = {
        ("score", "lagdemocrat"): (21.284, 1.951, 5e-4),
        ("score", "democrat"): (47.706, 1.356, 5e-4),
        ("democrat", "lagdemocrat"): (0.4843, 0.0289, 5e-5),
    }
    for (y, d), (value, error, digits) in published.items():
        found = local_window(
            rows[y], rows[d], rows["lagdemvoteshare"], outcome=y, window=(0.48, 0.52), cutoff=0.5, cluster=rows["id"]
        )
        assert (found.value, found.std_error) == pytest.approx((value, error), abs=digits)
        assert found.n_treated + found.n_control == 915


@pytest.mark.parametrize("seed", range(20))
def test_every_replicate_equals_rdrobust(seed):
    from rdrobust import rdrobust

    kernel, order = ("triangular", "epanechnikov", "uniform")[seed % 3], 1 + (seed % 5 == 0)
    y, x, t = _fuzzy(seed, n=600)
    z = np.random.default_rng(seed + 10**6).normal(size=(600, 2))
    y = y + z @ [0.3, 0.1]
    takeup, covariates = (t if seed % 2 else None), (z if seed % 4 > 1 else None)
    manual = {} if seed < 14 else {"h": 0.5, "b": 0.8}
    found = _rd(
        y, x, kernel=kernel, order=order, takeup=takeup, covariates=covariates,
        bandwidth=manual.get("h"), bias_bandwidth=manual.get("b"),
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = rdrobust(y, x, fuzzy=takeup, covs=covariates, kernel=kernel[:3], p=order, **manual)
    assert found.bandwidth == pytest.approx(peer.bws.iloc[0, 0], rel=1e-6)
    assert found.conventional.value == pytest.approx(peer.coef.iloc[0, 0], rel=1e-6)
    assert found.conventional.std_error == pytest.approx(peer.se.iloc[0, 0], rel=1e-6)
    if found.strength > 16.38:  # below that the set is another one
        theirs = (peer.coef.iloc[2, 0], peer.se.iloc[2, 0], peer.ci.iloc[2, 0], peer.ci.iloc[2, 1])
        ours = found.estimate
        assert (ours.value, ours.std_error, ours.low, ours.high) == pytest.approx(theirs, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("bias_bandwidth", [0.3, 0.4, 0.7])
@pytest.mark.parametrize("fuzzy", [False, True])
@pytest.mark.parametrize("adjusted", [False, True])
def test_clustered_errors_equal_rdrobusts_where_no_cluster_straddles_the_cutoff(bias_bandwidth, fuzzy, adjusted):
    from rdrobust import rdrobust

    y, x, t = _fuzzy(3, n=3_000)
    shop = np.floor(x * 60).astype(int)
    z = np.random.default_rng(1).normal(size=3_000)
    takeup, covariates = (t if fuzzy else None), (z if adjusted else None)
    found = _rd(
        y + z, x, cluster=shop, takeup=takeup, covariates=covariates, bandwidth=0.4, bias_bandwidth=bias_bandwidth
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = rdrobust(y + z, x, cluster=shop, fuzzy=takeup, covs=covariates, h=0.4, b=bias_bandwidth)
    assert found.strength > 16.38
    assert found.estimate.value == pytest.approx(peer.coef.iloc[2, 0], rel=1e-6)
    assert found.estimate.std_error == pytest.approx(peer.se.iloc[2, 0], rel=1e-6)


def test_a_cluster_on_both_sides_counts_once():
    y, x, _ = _scores(1, n=1_000)
    x = np.concatenate([x, -x])
    noise = np.random.default_rng(2).normal(size=1_000)
    y = np.concatenate([noise, noise])  # the pair's shared part cancels in the jump
    pairs = np.tile(np.arange(1_000), 2)
    together, apart = _rd(y, x, cluster=pairs, bandwidth=0.5), _rd(y, x, cluster=np.arange(2_000), bandwidth=0.5)
    assert together.estimate.std_error < 0.1 * apart.estimate.std_error


def test_order_origin_and_scale_change_nothing_they_should_not_and_sides_flip_the_sign():
    y, x, rng = _scores(5)
    base = _rd(y, x).estimate
    order = rng.permutation(len(y))
    assert _rd(y[order], x[order]).estimate.value == pytest.approx(base.value, rel=1e-9)
    moved = _rd(100 * y + 1e9, 7 * x + 3, cutoff=3.0)
    assert moved.estimate.value == pytest.approx(100 * base.value, rel=1e-4)
    assert moved.estimate.low == pytest.approx(100 * base.low, rel=1e-4)
    assert moved.estimate.p_value == pytest.approx(base.p_value, rel=1e-3)
    for treated, flipped in (("<=", ">="), ("<", ">")):
        mirrored = _rd(y, -x, treated=treated).estimate
        straight = _rd(y, x, treated=flipped).estimate
        assert (mirrored.value, mirrored.low, mirrored.high) == pytest.approx(
            (straight.value, straight.low, straight.high), rel=1e-9
        )
    down = _rd(y, x, treated="<").estimate
    assert (down.value, down.low, down.high) == (-base.value, -base.high, -base.low)
    assert down.p_value == base.p_value


def test_a_unit_exactly_at_the_cutoff_belongs_to_the_side_that_is_named():
    y, x, _ = _scores(6)
    y, x = np.append(y, 50.0), np.append(x, 0.0)
    inside, outside = _rd(y, x, treated=">=", bandwidth=0.5), _rd(y, x, treated=">", bandwidth=0.5)
    assert inside.estimate.value > 1.0 > outside.estimate.value
    assert inside.rows == (outside.rows[0] - 1, outside.rows[1] + 1)


def test_full_take_up_is_the_sharp_design_and_swapping_the_treatment_flips_the_fuzzy_one():
    y, x, t = _fuzzy(8)
    sharp, full = _rd(y, x), _rd(y, x, takeup=x >= 0)
    assert full.strength == inf
    assert (full.estimate.value, full.estimate.low) == pytest.approx((sharp.estimate.value, sharp.estimate.low))
    taken, refused = (_rd(y, x, takeup=took, bandwidth=0.8) for took in (t, 1 - t))
    assert refused.estimate.value == pytest.approx(-taken.estimate.value, rel=1e-9)
    assert refused.estimate.low == pytest.approx(-taken.estimate.high, rel=1e-9)


def test_weak_and_strong_forms_of_the_set_agree_where_the_jump_is_strong(monkeypatch):
    y, x, t = _fuzzy(9, n=4_000)
    options: dict[str, Any] = {"takeup": t, "bandwidth": 0.8}
    strong = _rd(y, x, **options).estimate
    monkeypatch.setattr("causal_assets.estimators.discontinuity.WEAK", inf)
    weak = _rd(y, x, **options).estimate
    assert "Anderson-Rubin" in weak.method
    assert (weak.value, weak.std_error) == pytest.approx((strong.value, strong.std_error), rel=0.1)
    assert abs(weak.low - strong.low) < 0.4 * strong.std_error
    assert abs(weak.high - strong.high) < 0.4 * strong.std_error


def test_a_covariate_that_explains_the_outcome_sharpens_the_answer_and_leaves_it():
    y, x, rng = _scores(10, n=2_000)
    z = rng.normal(size=2_000)
    plain, adjusted = _rd(y + z, x, bandwidth=0.6).estimate, _rd(y + z, x, covariates=z, bandwidth=0.6).estimate
    assert adjusted.std_error < 0.6 * plain.std_error
    assert adjusted.covers(JUMP)
    assert adjusted.control_mean is None


def test_few_values_near_the_cutoff_are_reported_and_too_few_refused():
    y, x, _ = _scores(11, n=2_000)
    coarse = _rd(y, np.floor(x * 20) / 20, bandwidth=0.3)
    assert coarse.distinct == (6, 7)
    assert any("Mass points" in said for said in coarse.warnings)
    assert any("Only 6 distinct" in said for said in coarse.warnings)
    check = mass_points(coarse.distinct, coarse.rows, coarse.warnings)
    assert check.status is Status.REVIEW
    assert "Mass points" in check.message
    with pytest.raises(ValueError, match=r"needs 3 distinct running values within the bandwidth 0.08, got 1 and 2"):
        _rd(y, np.floor(x * 20) / 20, bandwidth=0.08)
    assert mass_points((40, 50), (100, 100)).status is Status.PASS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.full(40, np.nan)}, "y: 40 entries are NaN or infinite"),
        ({"x": np.full(40, np.inf)}, "x: 40 entries are NaN or infinite"),
        ({"y": np.ones(40)}, "y: the outcome is constant at 1.0"),
        ({"x": np.arange(40.0) + 1}, "cutoff: 0.0 leaves one side of the running variable empty"),
        ({"x": np.arange(39.0)}, r"y: expected 39 rows, got shape \(40,\)|cutoff"),
        ({"y": np.arange(10.0), "x": np.arange(10.0) - 4.5}, "at least 20 rows, got 10"),
        ({"treated": "above"}, r"treated: expected one of \('>=', '>', '<=', '<'\), got 'above'"),
        ({"kernel": "gaussian"}, "kernel: expected one of"),
        ({"selector": "msetwo"}, "selector: expected one of"),
        ({"bias_bandwidth": 0.4}, "bias_bandwidth: give bandwidth too"),
        ({"takeup": np.ones(40), "bandwidth": 0.9}, "takeup: constant within the bandwidth 0.9"),
        ({"cluster": np.arange(40) % 3, "bandwidth": 0.9}, "at least 5 clusters on each side"),
        ({"cluster": np.full(40, np.nan)}, "cluster: 40 labels are missing"),
        ({"level": 95}, "level: must lie strictly between 0 and 1"),
        ({"bandwidth": -1.0}, "bandwidth: expected a positive number, got -1.0"),
    ],
)
def test_bad_input_is_refused_by_name(change, message):
    rng = np.random.default_rng(0)
    good = {"y": rng.normal(size=40), "x": rng.uniform(-1, 1, 40), "outcome": "y"}
    with pytest.raises(ValueError, match=message):
        robust_discontinuity(**cast(Any, good | change))


def test_a_window_refuses_what_it_cannot_answer():
    rng = np.random.default_rng(0)
    y, x = rng.normal(size=60), rng.uniform(-1, 1, 60)
    good: dict[str, Any] = {"outcome": "y", "window": (-0.5, 0.5), "cutoff": 0.0}
    for change, message in (
        ({"window": (0.1, 0.5)}, "window: expected low < cutoff"),
        ({"order": 2}, "order: expected 0"),
        ({"cluster": np.zeros(60)}, "cluster: errors need at least 5 clusters, got 1"),
        ({"window": (-1e-9, 0.5)}, "d: expected both 0 and 1 within the window"),
    ):
        with pytest.raises(ValueError, match=message):
            local_window(y, x >= 0, x, **(good | change))


def test_sorting_across_the_cutoff_is_seen_and_an_even_density_passes():
    rng, statuses = np.random.default_rng(1), []
    for seed in range(200):
        x = np.random.default_rng(seed).normal(0.1, 1, 1_500)
        found = density_jump(x)
        statuses.append(manipulation(found.p_value, found.below, found.above).status)
    assert statuses.count(Status.FAIL) <= 4
    assert statuses.count(Status.PASS) >= 180
    x = rng.normal(0.1, 1, 3_000)
    moved = (x > -0.15) & (x < 0) & (rng.random(3_000) < 0.5)
    sorted_up = np.where(moved, rng.uniform(0, 0.1, 3_000), x)
    found = density_jump(sorted_up)
    check = manipulation(found.p_value, found.below, found.above)
    assert check.status is Status.FAIL
    assert "times as dense" in check.message
    with pytest.raises(ValueError, match="cutoff: 9 leaves one side"):
        density_jump(x, cutoff=9)
    with pytest.raises(ValueError, match="p_value: expected a number in"):
        manipulation(1.2, 1.0, 1.0)


def test_a_covariate_that_jumps_fails_continuity_and_many_that_do_not_pass():
    y, x, rng = _scores(16, n=1_000)
    smooth = [_rd(rng.normal(size=1_000) + x, x, bandwidth=0.6).estimate for _ in range(5)]
    assert continuity(smooth).status is Status.PASS
    assert continuity([*smooth, _rd(y + 2 * (x >= 0), x, bandwidth=0.6).estimate]).status is Status.FAIL
    one = min(smooth, key=lambda e: e.p_value)
    assert continuity(smooth).value == min(1.0, 5 * one.p_value)
    assert continuity([]).status is Status.REVIEW


def test_the_answer_is_followed_over_bandwidths_and_without_the_nearest_units():
    y, x, _ = _scores(13, n=1_500)
    main = _rd(y, x)
    others = {multiple: found.estimate for multiple, found in over_bandwidths(y, x, main, outcome="y")}
    assert list(others) == [0.5, 0.75, 1.5, 2.0]
    assert bandwidth(main.estimate, others).status is Status.PASS
    assert bandwidth(main.estimate, {}).status is Status.REVIEW
    ring = donut(y, x, main, hole=0.02, outcome="y")
    assert ring.bandwidth == main.bandwidth
    assert sum(ring.rows) < sum(main.rows)
    assert donut_check(main.estimate, ring.estimate, 0.02).status is Status.PASS
    cheated = y + 3 * ((x >= 0) & (x < 0.02))
    main = _rd(cheated, x)
    ring = donut(cheated, x, main, hole=0.02, outcome="y")
    assert donut_check(main.estimate, ring.estimate, 0.02).status is Status.REVIEW
    with pytest.raises(ValueError, match="hole: expected above 0 and below the bandwidth"):
        donut(y, x, main, hole=5.0, outcome="y")


def test_a_bandwidth_that_bends_the_answer_is_for_review():
    rng = np.random.default_rng(14)
    x = rng.uniform(-1, 1, 3_000)
    y = np.sign(x) * (1 - np.exp(-20 * np.abs(x))) + 0.1 * rng.normal(size=3_000)
    main = _rd(y, x, bandwidth=0.06)
    others = {m: f.estimate for m, f in over_bandwidths(y, x, main, multiples=(0.5, 10.0), outcome="y")}
    assert bandwidth(main.estimate, others).status is Status.REVIEW


def test_the_first_stage_is_graded_by_its_strength():
    assert [first_stage(f).status for f in (50.0, 7.0, 2.0)] == [Status.PASS, Status.REVIEW, Status.FAIL]
    assert first_stage(inf).status is Status.PASS
    with pytest.raises(ValueError, match="strength: an F is not negative"):
        first_stage(-1.0)
