"""Randomised experiments whose rows hang together: every estimator of one, by cluster."""

import numpy as np
import pytest
from scipy.stats import binomtest

from causal_assets.estimators.capped import difference_in_capped_means
from causal_assets.estimators.cluster_randomized import Clusters, difference_of_cluster_randomized
from causal_assets.estimators.ghost_ads import Cell, ghost_ads, ghost_ads_clustered
from causal_assets.estimators.inference import Refusal
from causal_assets.estimators.interaction import two_experiments, two_experiments_clustered
from causal_assets.estimators.joint import clustered_effects
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.randomized import regression_adjusted
from causal_assets.estimators.stratified import poststratified, poststratified_clustered
from causal_assets.estimators.triggered import diluted, diluted_clustered

CLUSTERS, SEEDS, EFFECT, SHARE = 40, 150, 1.0, 0.5


def _world(seed, effect=EFFECT, *, whole=True, clusters=CLUSTERS):
    """Stores of 4 to 12 customers with a level of their own, assigned whole or customer by customer.

    Half of the customers meet the change (``met``), and only those are moved by it.
    """
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(clusters), rng.integers(4, 13, clusters))
    n, level = cluster.size, rng.normal(size=clusters)
    arms = rng.permutation(np.arange(clusters) % 2)[cluster] if whole else rng.integers(0, 2, n)
    met, other, x = rng.random(n) < SHARE, rng.integers(0, 2, n), rng.normal(size=n)
    spread = level[cluster] + rng.normal(size=n)
    y = 5 + x + met + spread + effect * met * arms
    return {"y": y, "d": arms, "cluster": cluster, "met": met * 1, "other": other, "x": x[:, None]}


def _adjusted(w):
    return regression_adjusted(w["y"], w["d"], w["x"], cluster=w["cluster"], outcome="y")


def _capped(w):
    return difference_in_capped_means(
        w["y"], w["d"], cap=1e6 + w["y"].max(), covariates=w["x"], cluster=w["cluster"], outcome="y"
    )


def _diluted(w):
    return diluted_clustered(w["y"], w["d"], w["met"], w["cluster"], w["x"], outcome="y")


def _stratified(w):
    return poststratified_clustered(w["y"], w["d"], w["met"], w["cluster"], outcome="y")


def _interaction(w):
    return two_experiments_clustered(w["y"], w["d"], w["met"], w["cluster"], outcome="y").interaction


def _ghost(w):
    found = ghost_ads_clustered(w["y"], w["d"], w["met"], w["d"] * w["met"], w["cluster"], w["x"], outcome="y")
    return found.among_predicted.effect


METHODS = {_adjusted: SHARE, _capped: SHARE, _diluted: SHARE, _stratified: SHARE, _interaction: 1.0, _ghost: 1.0}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("effect", [EFFECT, 0.0])
def test_errors_by_cluster_are_honest(method, effect):
    truth = effect * METHODS[method]
    found = [method(_world(seed, effect)) for seed in range(SEEDS)]
    values = np.array([e.value for e in found])
    assert abs(values.mean() - truth) < 3 * values.std() / np.sqrt(SEEDS)
    assert 0.88 < np.mean([e.spread for e in found]) / values.std() < 1.14  # 150 draws know a spread to 6%
    assert binomtest(sum(e.covers(truth) for e in found), SEEDS, 0.93, alternative="less").pvalue > 0.05
    assert all(e.covers(0.0) == (e.p_value > 0.05) for e in found)
    assert all((e.relative_low <= 0 <= e.relative_high) == e.covers(0.0) for e in found if e.relative is not None)


def _of_rows(w):
    """The same estimates with every row on its own."""
    arms = [Moments.of(w["y"][w["d"] == a]) for a in (0, 1)]
    inside = [Moments.of(np.column_stack([w["y"], w["x"]])[(w["d"] == a) & (w["met"] == 1)]) for a in (0, 1)]
    cells = [[Moments.of(w["y"][(w["d"] == a) & (w["met"] == m)]) for m in (0, 1)] for a in (0, 1)]
    strata = {str(m): (cells[0][m], cells[1][m]) for m in (0, 1)}
    users = np.column_stack([w["y"], w["x"]])
    kinds = {(bool(a), bool(m), bool(a * m)) for a in (0, 1) for m in (0, 1)}
    ads = {Cell(*k): Moments.of(users[(w["d"] == k[0]) & (w["met"] == k[1])]) for k in kinds}
    return {
        _adjusted: regression_adjusted(w["y"], w["d"], w["x"], outcome="y"),
        _diluted: diluted(*inside, all_control=arms[0], n_all_treated=arms[1].n, outcome="y"),
        _stratified: poststratified(strata, outcome="y"),
        _interaction: two_experiments(cells, outcome="y").interaction,
        _ghost: ghost_ads(ads, outcome="y").among_predicted.effect,
    }


def test_clusters_of_one_row_give_the_numbers_of_rows():
    world = _world(0, clusters=400)
    world["cluster"] = np.arange(world["y"].size)
    for method, by_row in _of_rows(world).items():
        ours = method(world)
        assert ours.value == pytest.approx(by_row.value, rel=1e-9), method
        assert (ours.control_mean or 0) == pytest.approx(by_row.control_mean or 0, rel=1e-9), method
        assert ours.spread == pytest.approx(by_row.spread, rel=0.01), method
        assert (ours.low, ours.high) == pytest.approx((by_row.low, by_row.high), rel=0.01), method


def test_rows_as_units_would_be_far_too_sure():
    missed = dict.fromkeys((_adjusted, _diluted, _stratified), 0)
    for seed in range(60):
        for method, found in _of_rows(_world(seed, 0.0)).items():
            if method in missed:
                missed[method] += not found.covers(0.0)
    assert all(count > 6 for count in missed.values()), missed  # at 5%, more than 6 of 60 has a chance of 3%


@pytest.mark.parametrize("method", [_adjusted, _diluted, _stratified, _ghost])
def test_clusters_may_hold_both_arms(method):
    found = [method(_world(seed, whole=False)) for seed in range(60)]
    truth = EFFECT * METHODS[method]
    assert binomtest(sum(e.covers(truth) for e in found), 60, 0.93, alternative="less").pvalue > 0.05


def test_without_covariates_it_is_the_comparison_of_whole_clusters():
    w = _world(1)
    ours = clustered_effects(w["y"], w["d"], w["cluster"]).combine(
        [1.0], outcome="y", estimand="ATE", method="difference in means, clustered (CR2)", level=0.95
    )
    theirs = difference_of_cluster_randomized(*Clusters.arms(w["y"], w["d"], w["cluster"]), outcome="y")
    for name in ("value", "std_error", "low", "p_value", "relative_low", "n_treated", "n_control"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_order_labels_scale_and_origin_change_nothing_they_should_not(method):
    world = _world(2)
    base, order = method(world), np.random.default_rng(0).permutation(world["y"].size)
    labels = np.array([f"store {7 * c % CLUSTERS}" for c in world["cluster"]])
    moved = method({k: v[order] for k, v in (world | {"cluster": labels, "y": 100 * world["y"] + 1e6}).items()})
    assert moved.value == pytest.approx(100 * base.value, rel=1e-6)
    assert moved.spread == pytest.approx(100 * base.spread, rel=1e-6)
    assert moved.p_value == pytest.approx(base.p_value, rel=1e-4)
    if method in (_adjusted, _capped, _diluted, _stratified):
        swapped = method(world | {"d": 1 - world["d"]})
        assert (swapped.value, swapped.spread) == pytest.approx((-base.value, base.spread), rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_few_clusters_and_bad_rows_are_refused(method):
    world = _world(3)
    few = world | {"cluster": world["cluster"] % 4}
    with pytest.raises(Refusal, match="cluster: "):
        method(few)
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match=r"finite|NaN"):
            method(world | {"y": np.where(np.arange(world["y"].size) == 3, bad, world["y"])})
    with pytest.raises(ValueError, match="0 or 1"):
        method(world | {"d": world["d"] + 1})
    with pytest.raises(ValueError, match=r"length|shape"):
        method(world | {"cluster": world["cluster"][1:]})
    with pytest.raises(ValueError, match=r"variance|constant"):
        method(world | {"y": np.ones_like(world["y"])})
