import numpy as np
import pytest
from scipy.stats import binomtest

from causal_assets.estimators.inference import Refusal
from causal_assets.estimators.joint import clustered_effects, clustered_means, joint_effects
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.randomized import difference_in_means


def _rows(seed, n=120):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    y = x[:, None] * [1.0, 2.0] + rng.normal(size=(n, 2)) + 1
    return np.column_stack([y, x]), rng.permutation(n) < n / 3


def _combine(effects, weight):
    return effects.combine(weight, outcome="y", estimand="ATE", method="m", level=0.95)


@pytest.mark.parametrize("covariates", [0, 1])
def test_each_outcome_alone_is_the_difference_in_means(covariates):
    rows, d = _rows(0)
    arms = [Moments.of(rows[arm][:, : 2 + covariates]) for arm in (~d, d)]
    joint = joint_effects(*arms, outcomes=2)
    for column in (0, 1):
        ours = _combine(joint, np.eye(2)[column])
        alone = difference_in_means(*(a.select([column, *range(2, 2 + covariates)]) for a in arms), outcome="y")
        numbers = [(e.value, e.std_error, e.p_value, e.relative_low, e.control_mean) for e in (ours, alone)]
        assert numbers[0] == pytest.approx(numbers[1], rel=1e-9)


def test_a_sum_of_outcomes_is_the_effect_on_the_summed_outcome():
    rows, d = _rows(1)
    joint = joint_effects(*(Moments.of(rows[arm]) for arm in (~d, d)), outcomes=2)
    summed = np.column_stack([rows[:, 0] - 3 * rows[:, 1], rows[:, 2]])
    direct = difference_in_means(*(Moments.of(summed[arm]) for arm in (~d, d)), outcome="y")
    ours = _combine(joint, [1, -3])
    assert (ours.value, ours.std_error, ours.p_value) == pytest.approx(
        (direct.value, direct.std_error, direct.p_value), rel=1e-9
    )


def test_clusters_of_one_row_give_the_two_sample_test():
    rows, d = _rows(2)
    ours = _combine(clustered_effects(rows[:, 0], d, np.arange(len(d))), [1])
    alone = difference_in_means(*(Moments.of(rows[arm, 0]) for arm in (~d, d)), outcome="y")
    assert ours.std_error == pytest.approx(alone.std_error, rel=1e-9)
    assert ours.p_value == pytest.approx(alone.p_value, rel=0.05)  # degrees of freedom of equal variances, not Welch's


def test_the_cluster_jackknife_is_that_of_leaving_clusters_out():
    rng = np.random.default_rng(3)
    sums, counts = rng.normal(size=(8, 1)), rng.integers(1, 9, size=(8, 1)).astype(float)
    mean, (cov, df) = clustered_means(sums, counts)
    left_out = [(sums.sum() - s) / (counts.sum() - c) for s, c in zip(sums, counts, strict=True)]
    assert mean[0] == pytest.approx(sums.sum() / counts.sum())
    assert cov[0, 0] == pytest.approx(7 * np.var(left_out), rel=1e-10)
    assert df == 7


def test_household_assignment_analysed_by_basket_keeps_its_size():
    # trap: 10 rows per unit with intra-unit correlation 0.3; errors by row would reject in more than 25%
    rejected = 0
    for seed in range(1_000):
        rng = np.random.default_rng(seed)
        y = np.repeat(rng.normal(size=40) * np.sqrt(0.3), 10) + rng.normal(size=400) * np.sqrt(0.7)
        unit = np.repeat(np.arange(40), 10)
        rejected += _combine(clustered_effects(y, unit % 2, unit), [1]).p_value < 0.05
    assert 0.03 < rejected / 1_000 < 0.07


def test_twenty_clusters_of_unequal_size_still_cover():
    covered = 0
    for seed in range(1_000):
        rng = np.random.default_rng(seed)
        size = rng.permutation([2, 3, 4, 5, 6, 8, 10, 12, 20, 40] * 2)
        unit = np.repeat(np.arange(20), size)
        y = rng.normal(size=20)[unit] + rng.normal(size=unit.size)
        covered += _combine(clustered_effects(y, unit % 2, unit), [1]).covers(0.0)
    assert binomtest(covered, 1_000, 0.93, alternative="less").pvalue > 0.01


def test_bad_arms_and_clusters_are_refused_by_name():
    rows, d = _rows(4)
    arms = [Moments.of(rows[arm]) for arm in (~d, d)]
    with pytest.raises(ValueError, match="outcomes: expected 1 to 3, got 4"):
        joint_effects(*arms, outcomes=4)
    with pytest.raises(ValueError, match="control arm: 2 covariates need at least 4 units, got 3"):
        joint_effects(Moments.of(np.eye(3)), arms[1], outcomes=1)
    with pytest.raises(ValueError, match="weight: expected shape"):
        _combine(joint_effects(*arms, outcomes=2), [1])
    unit = np.arange(len(d))
    with pytest.raises(Refusal, match="cluster: 2 treated and 2 control clusters"):
        clustered_effects(rows[:, 0], d, unit % 2)
    with pytest.raises(Refusal, match="cluster: 116 treated and 4 control clusters"):
        clustered_effects(rows[:, 0], unit >= 4, unit)
    with pytest.raises(ValueError, match="at least 5 in an arm, got 4"):
        clustered_means(np.ones((4, 1)), np.ones((4, 1)))
    with pytest.raises(ValueError, match="y: 1 entries are NaN"):
        clustered_effects(np.r_[np.inf, rows[1:, 0]], d, unit)
    with pytest.raises(ValueError, match="d: treatment must be 0 or 1"):
        clustered_effects(rows[:, 0], unit, unit)
    with pytest.raises(ValueError, match="lengths must agree"):
        clustered_effects(rows[:, 0], d[1:], unit)
    with pytest.raises(ValueError, match="y: the effect needs a positive variance"):
        _combine(clustered_effects(np.ones(len(d)), d, unit), [1])
