import numpy as np
import pytest
from scipy.stats import binomtest

from causal_assets.estimators.cluster_randomized import Clusters, difference_of_cluster_randomized


def _world(rng, clusters=60, share=0.5, icc=0.3, rows=10, effect=0.0, equal=False):
    """Rows of clusters of unequal sizes; variance 1, ``icc`` of it between clusters."""
    size = np.full(clusters, rows) if equal else 1 + rng.poisson(rng.gamma(1.5, rows / 1.5, clusters))
    cluster = np.repeat(np.arange(clusters), size)
    d = (rng.permutation(clusters) < share * clusters)[cluster]
    y = rng.normal(0, icc**0.5, clusters)[cluster] + rng.normal(0, (1 - icc) ** 0.5, cluster.size)
    return 5 + y + effect * d, d, cluster


def _fit(y, d, cluster, **options):
    return difference_of_cluster_randomized(*Clusters.arms(y, d, cluster), outcome="y", **options)


@pytest.mark.parametrize("effect", [0.4, 0.0])
def test_the_planted_effect_is_recovered_with_honest_errors(effect):
    rng = np.random.default_rng(int(effect * 10))
    results = [_fit(*_world(rng, effect=effect)) for _ in range(400)]
    errors = np.array([r.value - effect for r in results])
    assert abs(errors.mean()) / errors.std() < 0.15
    assert 0.93 < np.mean([r.std_error for r in results]) / errors.std() < 1.07
    assert binomtest(sum(r.covers(effect) for r in results), 400, 0.93, alternative="less").pvalue > 0.05


def test_assigned_by_household_a_null_is_rejected_at_its_level_where_rows_as_units_reject_four_times_as_often():
    rng = np.random.default_rng(1)
    ours, naive = 0, 0
    for _ in range(2_000):
        y, d, cluster = _world(rng, clusters=200, equal=True)
        ours += _fit(y, d, cluster).p_value < 0.05
        arms = y[d], y[~d]
        naive += abs(arms[0].mean() - arms[1].mean()) > 1.96 * sum(a.var() / a.size for a in arms) ** 0.5
    assert abs(ours / 2_000 - 0.05) < 0.015
    assert naive / 2_000 > 0.25


def test_twenty_clusters_of_unequal_sizes_keep_their_coverage():
    rng = np.random.default_rng(2)
    covered = sum(_fit(*_world(rng, clusters=20, share=0.25, icc=0.1, rows=20)).covers(0.0) for _ in range(1_000))
    assert binomtest(covered, 1_000, 0.93, alternative="less").pvalue > 0.05


def test_equal_sizes_give_welch_on_cluster_means_with_its_t_test():
    from scipy.stats import ttest_ind

    y, d, cluster = _world(np.random.default_rng(3), clusters=24, equal=True)
    means, arm = y.reshape(24, 10).mean(axis=1), d[::10]
    expected = ttest_ind(means[arm], means[~arm])  # equal numbers of clusters: Bell and McCaffrey's df is 2 (G/2 - 1)
    result = _fit(y, d, cluster)
    assert result.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    interval = expected.confidence_interval()
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_the_estimate_is_the_row_regressions_and_the_error_bell_and_mccaffreys_by_definition():
    y, d, cluster = _world(np.random.default_rng(4), clusters=14)
    x = np.column_stack([np.ones(y.size), d])
    bread = np.linalg.inv(x.T @ x)
    coef = bread @ x.T @ y
    hat = np.eye(y.size) - x @ bread @ x.T
    contrast = bread @ [0.0, 1.0]
    parts = []
    for g in range(14):
        mine = cluster == g
        values, vectors = np.linalg.eigh(hat[np.ix_(mine, mine)])
        root = vectors / np.sqrt(values) @ vectors.T
        parts.append(hat[:, mine] @ root @ x[mine] @ contrast)  # each score is a linear form of the errors
    forms = np.stack(parts)
    variance = ((forms @ y) ** 2).sum()
    products = forms @ forms.T
    result = _fit(y, d, cluster)
    assert result.value == pytest.approx(coef[1], rel=1e-10)
    assert result.std_error == pytest.approx(variance**0.5, rel=1e-9)
    from scipy.stats import t

    df = np.trace(products) ** 2 / (products**2).sum()
    assert result.p_value == pytest.approx(2 * t.sf(abs(coef[1]) / variance**0.5, df), rel=1e-8)


def test_order_labels_partitions_shift_scale_and_swap_change_nothing_they_should_not():
    rng = np.random.default_rng(5)
    y, d, cluster = _world(rng, clusters=16, effect=0.5)
    base = _fit(y, d, cluster)
    order = rng.permutation(y.size)
    labels = np.array([f"store {g:03d}" for g in 100 - cluster])
    for other in (_fit(y[order], d[order], cluster[order]), _fit(y, d, labels)):
        assert (other.value, other.std_error) == pytest.approx((base.value, base.std_error), rel=1e-9)
    swapped = _fit(y, ~d, cluster)
    assert (swapped.value, swapped.std_error) == pytest.approx((-base.value, base.std_error), rel=1e-9)
    moved = _fit(1_000 * y + 1e9, d, cluster)
    assert moved.std_error == pytest.approx(1_000 * base.std_error, rel=1e-6)
    halves = [Clusters.arms(y[half], d[half], cluster[half]) for half in (slice(None, None, 2), slice(1, None, 2))]
    assert sum(arm.total.sum() for half in halves for arm in half) == pytest.approx(y.sum(), rel=1e-12)
    doubled = _fit(np.repeat(y, 2), np.repeat(d, 2), np.repeat(cluster, 2))
    assert doubled.std_error == pytest.approx(base.std_error, rel=1e-9)


def test_few_clusters_crossing_clusters_and_bad_rows_are_refused():
    y, d, cluster = _world(np.random.default_rng(6), clusters=8)
    few = cluster // 2
    with pytest.raises(ValueError, match="use randomisation inference"):
        _fit(y, cluster < 4, cluster)
    with pytest.raises(ValueError, match="clusters are in both arms"):
        _fit(y, np.arange(y.size) % 2, few)
    with pytest.raises(ValueError, match="expected finite outcomes and a treatment of 0 or 1"):
        _fit(y * np.nan, d, cluster)
    with pytest.raises(ValueError, match="shapes must agree"):
        _fit(y[1:], d, cluster)
    with pytest.raises(ValueError, match="every cluster needs rows"):
        Clusters(np.array([0.0, 2.0]), np.array([0.0, 1.0]))
    with pytest.raises(ValueError, match="positive variance"):
        _fit(np.ones(120), np.arange(120) >= 60, np.arange(120) // 10)
