"""Randomised experiments whose rows hang together: looks, posteriors, bounds of missing outcomes, retention curves."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from causal_assets.estimators.bayes import normal_posterior
from causal_assets.estimators.bounds import (
    Bounds,
    lee_bounds,
    lee_bounds_clustered,
    manski_bounds,
    manski_bounds_clustered,
)
from causal_assets.estimators.cluster_randomized import Clusters, difference_of_cluster_randomized
from causal_assets.estimators.group_sequential import at_look
from causal_assets.estimators.inference import Refusal
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.randomized import difference_in_means
from causal_assets.estimators.retention import (
    Retention,
    restricted_mean_difference,
    restricted_mean_difference_clustered,
    retention_difference,
    retention_difference_clustered,
)
from causal_assets.estimators.sequential import confidence_sequence
from causal_assets.types import Estimate

World = dict[str, np.ndarray]
EFFECT, HORIZON = 0.5, 12.0
RANGE = {"lowest": 0.0, "highest": 1.0}


def _world(seed: int, clusters: int = 24, effect: float = EFFECT, *, whole: bool = True) -> World:
    """Stores of 4 to 30 customers that share three tenths of their variance.

    ``seen``: the treated answer more often, and those more are the highest, so that the effect is Lee's lower bound.
    ``liked`` (0 or 1, 0.2 ``effect`` more often by treatment) goes missing, in ``told``, where it speaks most for it,
    so that its effect is Manski's lower bound. ``stayed`` months until ``left`` or the end of observation; no effect.
    """
    rng = np.random.default_rng([seed, clusters])
    cluster = np.repeat(np.arange(clusters), rng.integers(4, 31, clusters))
    n, level = cluster.size, rng.normal(size=clusters)[cluster]
    d = (rng.permutation(clusters) % 2)[cluster] if whole else rng.integers(0, 2, n)
    z = np.sqrt(0.3) * level + np.sqrt(0.7) * rng.normal(size=n)
    liked = z < norm.ppf(0.4 + 0.2 * effect * d)
    leaves, ends = np.ceil(rng.exponential(10 * np.exp(-0.5 * level))), np.ceil(rng.uniform(6, 18, n))
    return {
        "y": z + effect * d,
        "d": d,
        "cluster": cluster,
        "seen": z < norm.ppf(0.6 + 0.2 * d),
        "liked": liked * 1.0,
        "told": (liked == d) | (rng.random(n) < 0.8),
        "stayed": np.minimum(leaves, ends),
        "left": leaves <= ends,
    }


def _of_clusters(w: World) -> Estimate:
    return difference_of_cluster_randomized(*Clusters.arms(w["y"], w["d"], w["cluster"]), outcome="y")


def _of_rows(w: World) -> Estimate:
    return difference_in_means(*(Moments.of(w["y"][w["d"] == arm]) for arm in (0, 1)), outcome="y")


def _lee(w: World) -> Bounds:
    return lee_bounds_clustered(np.where(w["seen"], w["y"], np.nan), w["d"], w["seen"], w["cluster"], outcome="y")


def _manski(w: World) -> Bounds:
    return manski_bounds_clustered(
        np.where(w["told"], w["liked"], np.nan), w["d"], w["told"], w["cluster"], **RANGE, outcome="y"
    )


def _lee_of_rows(w: World) -> Bounds:
    arms = [w["y"][w["seen"] & (w["d"] == arm)] for arm in (0, 1)]
    return lee_bounds(*arms, n_control=int((w["d"] == 0).sum()), n_treated=int(w["d"].sum()), outcome="y")


def _manski_of_rows(w: World) -> Bounds:
    arms = [Moments.of(w["liked"][w["told"] & (w["d"] == arm)]) for arm in (0, 1)]
    counts = {"n_control": int((w["d"] == 0).sum()), "n_treated": int(w["d"].sum())}
    return manski_bounds(*arms, **counts, **RANGE, outcome="y")


def _curves(w: World) -> list[Retention]:
    return [Retention.of(w["stayed"][w["d"] == arm], w["left"][w["d"] == arm]) for arm in (0, 1)]


def _curve(method: Any, w: World) -> Estimate:
    return method(w["stayed"], w["left"], w["d"], w["cluster"], horizon=HORIZON, outcome="y")


METHODS = {
    "sequence": lambda w: confidence_sequence(_of_clusters(w), planned_n=400),
    "look": lambda w: at_look(_of_clusters(w), [0.5], spending="pocock"),
    "posterior": lambda w: normal_posterior(_of_clusters(w), prior_sd=0.3).estimate,
    "Lee": lambda w: _lee(w).estimate,
    "Manski": lambda w: _manski(w).estimate,
    "retention": lambda w: _curve(retention_difference_clustered, w),
    "time retained": lambda w: _curve(restricted_mean_difference_clustered, w),
}
OF_ROWS = {
    "sequence": lambda w: confidence_sequence(_of_rows(w), planned_n=400),
    "look": lambda w: at_look(_of_rows(w), [0.5], spending="pocock"),
    "posterior": lambda w: normal_posterior(_of_rows(w), prior_sd=0.3).estimate,
    "Lee": lambda w: _lee_of_rows(w).estimate,
    "Manski": lambda w: _manski_of_rows(w).estimate,
    "retention": lambda w: retention_difference(*_curves(w), horizon=HORIZON, outcome="y"),
    "time retained": lambda w: restricted_mean_difference(*_curves(w), horizon=HORIZON, outcome="y"),
}
FROM_ROWS = ["Lee", "Manski", "retention", "time retained"]


# --- what must not matter -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_a_row_told_twice_says_nothing_new(name):
    world = _world(0, clusters=240)
    twice = {key: np.repeat(values, 2) for key, values in world.items()}
    once, again = METHODS[name](world), METHODS[name](twice)
    assert (again.value, again.low, again.high) == pytest.approx((once.value, once.low, once.high), rel=1e-9)
    assert (again.n_treated, again.n_control) == (once.n_treated, once.n_control) == (120, 120)
    by_row, by_rows_twice = OF_ROWS[name](world), OF_ROWS[name](twice)
    assert by_rows_twice.high - by_rows_twice.low < 0.995 * (by_row.high - by_row.low)  # rows would be believed twice


@pytest.mark.parametrize("name", METHODS)
def test_order_and_labels_change_nothing_and_arms_swap(name):
    world = _world(1, clusters=240)
    order = np.random.default_rng(0).permutation(world["d"].size)
    labels = np.array([f"store {7 * c % 240}" for c in world["cluster"]])
    base = METHODS[name](world)
    moved = METHODS[name]({key: values[order] for key, values in (world | {"cluster": labels}).items()})
    assert (moved.value, moved.low, moved.high) == pytest.approx((base.value, base.low, base.high), rel=1e-9)
    swapped = METHODS[name](world | {"d": 1 - world["d"]})
    assert (swapped.low, swapped.high) == pytest.approx((-base.high, -base.low), rel=1e-9)
    assert base.p_value == swapped.p_value or base.p_value == pytest.approx(swapped.p_value, rel=1e-6)


def test_clusters_of_one_row_give_the_numbers_of_rows():
    world = _world(2, clusters=200)
    world["cluster"] = np.arange(world["d"].size)
    for name, method in METHODS.items():
        ours, theirs = method(world), OF_ROWS[name](world)
        # A prior weighs by the degrees of freedom: Bell and McCaffrey's are those of equal variances, Welch's are not.
        assert ours.value == pytest.approx(theirs.value, rel=1e-6 if name == "posterior" else 1e-10), name
        # In bounds and curves t takes the normal's place.
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.002 * theirs.spread), name
    sequence, by_row = METHODS["sequence"](world), OF_ROWS["sequence"](world)
    assert (sequence.low, sequence.p_value) == pytest.approx((by_row.low, by_row.p_value), rel=1e-10)
    manski, rows = _manski(world), _manski_of_rows(world)
    assert (manski.lower_error, manski.upper_error) == pytest.approx((rows.lower_error, rows.upper_error), rel=1e-10)
    lee, rows = _lee(world), _lee_of_rows(world)
    assert (lee.lower_error, lee.upper_error) == pytest.approx((rows.lower_error, rows.upper_error), rel=1e-3)
    arms = _curves(world)  # Greenwood's variance is over n, ours over n - 1
    share = sum(arm.retained(HORIZON)[1] * arm.n / (arm.n - 1) for arm in arms)
    time = sum(arm.mean(HORIZON)[1] * arm.n / (arm.n - 1) for arm in arms)
    assert METHODS["retention"](world).std_error == pytest.approx(np.sqrt(share), rel=1e-10)
    assert METHODS["time retained"](world).std_error == pytest.approx(np.sqrt(time), rel=1e-10)


@pytest.mark.parametrize("whole", [True, False])
def test_errors_are_those_of_leaving_out_a_cluster_at_a_time(whole):
    world = _world(3, clusters=80, whole=whole)
    clusters = np.unique(world["cluster"])
    without = [{key: values[world["cluster"] != c] for key, values in world.items()} for c in clusters]

    def jackknife(value):
        left = np.array([value(w) for w in without])
        return np.sqrt((len(left) - 1) * left.var(axis=0))

    lee, manski = _lee(world), _manski(world)
    for bounds, of_rows in ((lee, _lee_of_rows), (manski, _manski_of_rows)):
        errors = jackknife(lambda w, of=of_rows: (of(w).lower, of(w).upper))
        assert (bounds.lower_error, bounds.upper_error) == pytest.approx(errors, rel=0.05)
    for name in ("retention", "time retained"):
        error = jackknife(lambda w, of=OF_ROWS[name]: of(w).value)
        assert METHODS[name](world).std_error == pytest.approx(error, rel=0.05)


# --- planted truths -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("effect", [EFFECT, 0.0])
def test_bounds_hold_an_effect_at_their_end_where_errors_of_rows_would_lose_it(effect):
    worlds = [_world(seed, effect=effect) for seed in range(250)]
    for by_cluster, by_row, truth in ((_lee, _lee_of_rows, effect), (_manski, _manski_of_rows, 0.2 * effect)):
        found = [by_cluster(w) for w in worlds]
        lower = np.array([b.lower for b in found])
        assert abs(lower.mean() - truth) < 3 * lower.std() / np.sqrt(250)
        assert 0.85 < np.mean([b.lower_error for b in found]) / lower.std() < 1.1
        hits = sum(b.estimate.covers(truth) for b in found)
        assert binomtest(hits, 250, 0.93, alternative="less").pvalue > 0.05
        assert binomtest(hits, 250, 0.985, alternative="greater").pvalue > 0.01
        assert all(b.estimate.covers(0.0) == (b.estimate.p_value > 0.05) for b in found)
        assert np.mean([by_row(w).estimate.covers(truth) for w in worlds]) < 0.85


@pytest.mark.parametrize("name", ["retention", "time retained"])
def test_curves_of_stores_that_differ_are_told_apart_at_their_rate(name):
    worlds = [_world(seed, clusters=40) for seed in range(200)]
    found, by_row = ([method[name](w) for w in worlds] for method in (METHODS, OF_ROWS))
    values = np.array([e.value for e in found])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(200)
    assert 0.88 < np.mean([e.spread for e in found]) / values.std() < 1.12
    assert binomtest(sum(e.covers(0.0) for e in found), 200, 0.93, alternative="less").pvalue > 0.05
    assert np.mean([e.covers(0.0) for e in by_row]) < 0.85


@pytest.mark.parametrize("effect", [EFFECT, 0.0])
def test_a_sequence_of_looks_at_clusters_seldom_misses_where_one_at_rows_does(effect):
    """Seven looks, from about 120 to 280 clusters in either arm."""
    missed = {_of_clusters: 0, _of_rows: 0}
    for seed in range(120):
        world = _world(seed, 560, effect)
        planned = {_of_clusters: 560, _of_rows: world["d"].size}
        for of in missed:
            ends = np.searchsorted(world["cluster"], np.linspace(240, 560, 7))
            looks = [of({key: values[:end] for key, values in world.items()}) for end in ends]
            missed[of] += not all(confidence_sequence(x, planned_n=planned[of]).covers(effect) for x in looks)
    assert binomtest(missed[_of_clusters], 120, 0.05, alternative="greater").pvalue > 0.05
    assert missed[_of_rows] > 15


def test_posteriors_of_few_clusters_cover_truths_from_the_prior_where_those_of_rows_do_not():
    truths = np.random.default_rng(5).normal(0.1, 0.4, 500)
    worlds = [_world(seed, clusters=12, effect=truth) for seed, truth in enumerate(truths)]
    hits, chances = {}, []
    for kind, of in (("clusters", _of_clusters), ("rows", _of_rows)):
        found = [normal_posterior(of(w), prior_mean=0.1, prior_sd=0.4) for w in worlds]
        hits[kind] = sum(p.estimate.covers(truth) for p, truth in zip(found, truths, strict=True))
        chances.append(np.array([p.chance_to_win for p in found]))
    assert binomtest(hits["clusters"], 500, 0.95).pvalue > 0.01
    assert hits["rows"] < 450
    sure, too_sure = (chance > 0.9 for chance in chances)
    assert (truths > 0)[sure].mean() > chances[0][sure].mean() - 0.05
    assert (truths > 0)[too_sure].mean() < chances[1][too_sure].mean() - 0.02


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FROM_ROWS)
def test_few_clusters_and_bad_rows_are_refused(name):
    world, method = _world(4, clusters=40), METHODS[name]
    with pytest.raises(Refusal, match="cluster: "):
        method(world | {"cluster": world["cluster"] % 4})
    with pytest.raises(ValueError, match="0 or 1"):
        method(world | {"d": world["d"] + 1})
    with pytest.raises(ValueError, match=r"length|shape"):
        method(world | {"cluster": world["cluster"][1:]})


def test_outcomes_that_bounds_cannot_take_are_refused_by_name():
    w = _world(5, clusters=40)
    rows = (w["d"], w["seen"], w["cluster"])
    for bad in (np.nan, np.inf):
        broken = np.where(np.arange(w["y"].size) == np.flatnonzero(w["seen"])[3], bad, w["y"])
        with pytest.raises(ValueError, match="y: 1 observed entries are NaN or infinite"):
            lee_bounds_clustered(broken, *rows, outcome="y")
    for constant in (1.0, 0.1):
        with pytest.raises(ValueError, match="need an outcome that varies"):
            lee_bounds_clustered(np.full(w["y"].size, constant), *rows, outcome="y")
        with pytest.raises(ValueError, match="need an outcome that varies"):
            manski_bounds_clustered(
                np.full(w["y"].size, constant), w["d"], w["d"] >= 0, w["cluster"], lowest=0, highest=3, outcome="y"
            )
    with pytest.raises(ValueError, match=r"y: \d+ observed outcomes do not fit in \[0, 1\]"):
        manski_bounds_clustered(w["y"], *rows, lowest=0, highest=1, outcome="y")
    with pytest.raises(ValueError, match="expected a finite range"):
        manski_bounds_clustered(w["liked"], *rows, lowest=1, highest=1, outcome="y")
    with pytest.raises(ValueError, match="treated arm: expected at least 2 observed outcomes, got 0"):
        lee_bounds_clustered(w["y"], w["d"], w["d"] == 0, w["cluster"], outcome="y")
    with pytest.raises(ValueError, match="d, observed: expected 0 or 1"):
        lee_bounds_clustered(w["y"], w["d"], 2 * w["seen"], w["cluster"], outcome="y")


def test_digits_survive_an_origin_far_away():
    world = _world(6, clusters=40)
    near, far = _lee(world), _lee(world | {"y": world["y"] + 1e9})
    assert (far.lower, far.lower_error) == pytest.approx((near.lower, near.lower_error), rel=1e-6)
