"""Units that hang together: weighting, stratifying and augmented weighting by cluster, which may hold both arms."""

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binomtest

from causal_assets.estimators.crossfit import splits
from causal_assets.estimators.inference import Refusal
from causal_assets.estimators.matching import match, matched_effect
from causal_assets.estimators.overlap import effect, fit_nuisances
from causal_assets.estimators.propensity import bounds, fit_logit, fit_propensity
from causal_assets.estimators.weighting import stratified_effect, weighted_effect

CLUSTERS, SEEDS, GAIN = 60, 200, 1.0


def _world(seed, clusters=CLUSTERS, *, whole=False):
    """Clusters of 5 to 15 units with a level and a gain of their own; treatment follows a covariate, or the cluster."""
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(clusters), rng.integers(5, 16, clusters))
    own, gain, leaning = rng.normal(size=(3, clusters))[:, cluster]
    x = rng.normal(size=(cluster.size, 1))
    d = leaning > 0 if whole else rng.random(cluster.size) < expit(x[:, 0] / 2 + leaning / 2)
    y = x[:, 0] + own + (GAIN + gain) * d + rng.normal(size=cluster.size)
    return x, d, y, np.arange(cluster.size), cluster


def _weighted(x, d, y, unit, cluster):
    return weighted_effect(fit_logit(x, d), d, y, unit, cluster=cluster, estimand="ATE", outcome="y")


def _stratified(x, d, y, unit, cluster):
    score = fit_logit(x, d)
    return stratified_effect(score, d, y, unit, cluster=cluster, estimand="ATE", outcome="y", strata=3, x=x)


def _augmented(x, d, y, unit, cluster):
    fitted = fit_nuisances(x, d, y, unit, cluster=cluster, folds=3, repeats=1, seed=0)
    return effect(fitted, d, y, unit, cluster=cluster, estimand="ATE", outcome="y")


def _matched(x, d, y, unit, cluster, **way):
    score = fit_logit(x, d)
    way = {"replacement": True, "caliper": None} | way
    return matched_effect(match(score, d, unit, **way), score, d, y, cluster=cluster, outcome="y", x=x)


@pytest.mark.parametrize("method", [_weighted, _stratified, _augmented, _matched])
def test_intervals_by_cluster_cover_and_intervals_by_unit_do_not(method):
    found = [method(*_world(seed)) for seed in range(SEEDS)]
    assert abs(np.mean([e.value for e in found]) - GAIN) < 0.3 * np.std([e.value for e in found])
    assert binomtest(sum(e.covers(GAIN) for e in found), SEEDS, 0.93, alternative="less").pvalue > 0.05
    alone = [method(*_world(seed)[:4], None) for seed in range(60)]
    assert np.mean([e.covers(GAIN) for e in alone]) < 0.9


def test_a_cluster_of_one_unit_each_changes_nothing_and_rows_of_one_cluster_count_once():
    x, d, y, unit, _ = _world(0, whole=True)
    for method in (_weighted, _stratified, _augmented):
        assert method(x, d, y, unit, unit) == method(x, d, y, unit, None)
    twice = [np.concatenate([part, part]) for part in (x, d, y)]
    doubled = _weighted(*twice, np.arange(2 * y.size), np.tile(unit, 2))
    assert doubled.std_error == pytest.approx(_weighted(x, d, y, unit, None).std_error, rel=1e-6)


def test_counts_are_of_units_and_degrees_of_freedom_of_clusters():
    world = _world(0, clusters=30)
    found = _weighted(*world)
    assert (found.n_treated, found.n_control) == (world[1].sum(), (~world[1]).sum())
    from scipy.stats import t

    assert found.high - found.value == pytest.approx(t.ppf(0.975, 29) * found.std_error)


def test_folds_keep_clusters_together_and_spread_treated_rows():
    _, d, _, _, cluster = _world(0)
    (fold,) = splits(d, cluster, 5, 1, 0)
    assert all(np.unique(fold[cluster == c]).size == 1 for c in range(CLUSTERS))
    assert all(0.2 < d[fold == k].mean() < 0.8 for k in range(5))


def test_a_unit_in_two_clusters_and_labels_of_another_length_are_refused():
    x, d, _, unit, cluster = _world(0)
    with pytest.raises(ValueError, match="cluster: 1 units are in more than one cluster"):
        weighted_effect(
            np.full(4, 0.5), [0, 0, 1, 1], [1.0, 2, 3, 5], [0, 0, 1, 2], cluster=[0, 1, 1, 1], estimand="ATE",
            outcome="y",
        )  # fmt: skip
    with pytest.raises(ValueError, match=r"cluster: expected one label per row"):
        fit_propensity(x, d, unit, cluster=cluster[1:], seed=0)


def test_bounds_of_a_propensity_may_differ_and_may_not_cross():
    x, d, _, unit, _ = _world(0)
    score = fit_propensity(x, d, unit, clip=(1e-9, 0.5), seed=0).median
    assert score.max() == 0.5
    assert score.min() < 0.3
    assert bounds(0.01) == (0.01, 0.99)
    for crossed in (0.5, 0.0, (0.6, 0.4), (0.0, 0.9)):
        with pytest.raises(ValueError, match="clip: expected"):
            bounds(crossed)


@pytest.mark.parametrize("way", [{}, {"ratio": 3}, {"replacement": False}])
def test_matched_pairs_by_cluster_where_whole_clusters_are_treated(way):
    found = [_matched(*_world(seed, whole=True), **way) for seed in range(SEEDS)]
    assert abs(np.mean([e.value for e in found]) - GAIN) < 0.3 * np.std([e.value for e in found])
    assert binomtest(sum(e.covers(GAIN) for e in found), SEEDS, 0.93, alternative="less").pvalue > 0.05
    assert np.mean([e.std_error for e in found]) / np.std([e.value for e in found]) > 0.88
    alone = [_matched(*_world(seed, whole=True)[:4], None, **way) for seed in range(60)]
    assert np.mean([e.covers(GAIN) for e in alone]) < 0.8


def test_where_there_is_no_effect_matching_by_cluster_finds_none():
    found = []
    for seed in range(100):
        x, _, y, unit, cluster = _world(SEEDS + seed)
        d = np.random.default_rng(seed).normal(size=CLUSTERS)[cluster] > 0  # arms drawn anew: y knows nothing of them
        found.append(_matched(x, d, y, unit, cluster))
    assert binomtest(sum(e.covers(0.0) for e in found), 100, 0.93, alternative="less").pvalue > 0.01


def test_matching_by_clusters_of_one_unit_is_the_error_of_abadie_and_imbens():
    # Both estimate the same variance: that of outcomes at one propensity from neighbours, this one from pairs.
    ratios = []
    for seed in range(20):
        x, d, y, unit, _ = _world(seed, clusters=100)
        ratios.append(_matched(x, d, y, unit, unit).spread / _matched(x, d, y, unit, None).spread)
    assert np.mean(ratios) == pytest.approx(1, abs=0.05)


def test_pairs_by_cluster_do_not_depend_on_order_labels_scale_or_origin():
    x, d, y, unit, cluster = _world(1)
    order = np.random.default_rng(0).permutation(y.size)
    base = _matched(x, d, y, unit, cluster)
    names = np.array([f"store {7 * c % 60}" for c in cluster])
    other = _matched(x[order], d[order], 100 * y[order] + 1e6, unit[order], names[order])
    assert other.value == pytest.approx(100 * base.value, rel=1e-7)
    assert other.spread == pytest.approx(100 * base.spread, rel=1e-7)
    assert other.p_value == pytest.approx(base.p_value, rel=1e-5)


@pytest.mark.parametrize("method", [_weighted, _stratified, _augmented, _matched])
def test_fewer_than_five_clusters_of_an_arm_are_refused(method):
    x, d, y, unit, cluster = _world(0, whole=True)
    few = np.where(d, cluster % 4, cluster)  # four treated clusters
    with pytest.raises((Refusal, ValueError), match=r"cluster|folds"):
        method(x, d, y, unit, np.where(d, few, 100 + few))
