import numpy as np
import pytest
from scipy.stats import binomtest

from causal_assets.estimators.interaction import two_experiments
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.randomized import difference_in_means

SEEDS = 1_200


def _cells(y, a, b):
    return [[Moments.of(y[(a == i) & (b == j)]) for j in (0, 1)] for i in (0, 1)]


def _data(seed, interaction, n=300):
    """Effects of 0.5 (first) and -0.3 (second) alone; the second treats a third of units."""
    rng = np.random.default_rng(seed)
    a, b = rng.permutation(n) % 2, rng.permutation(n) % 3 == 0
    y = 2.0 + 0.5 * a - 0.3 * b + interaction * a * b + rng.normal(size=n) * (1 + a)
    return y, a, b.astype(int)


def test_a_published_factorial_is_reproduced():
    # Montgomery, Design and Analysis of Experiments, 2^2 design of sec. 6.2: A = 8.33, B = -5.00, AB = 1.67, where AB
    # is by convention half the difference of effects
    cells = [[Moments.of(c) for c in row] for row in [[[28, 25, 27], [18, 19, 23]], [[36, 32, 32], [31, 30, 29]]]]
    result = two_experiments(cells, outcome="yield")
    assert result.first.value == pytest.approx(8.333, abs=1e-3)
    assert result.second.value == pytest.approx(-5.0)
    assert result.interaction.value / 2 == pytest.approx(1.667, abs=1e-3)
    # equal cells: the variance is that of the pooled analysis, mean square error 3.92
    assert result.interaction.std_error == pytest.approx(np.sqrt(4 * 3.9167 / 3), rel=1e-4)


@pytest.mark.parametrize("truth", [0.6, 0.0])
def test_planted_effects_and_interaction_are_recovered_with_honest_errors(truth):
    first = 0 if truth else SEEDS
    results = [two_experiments(_cells(*_data(first + seed, truth)), outcome="y") for seed in range(SEEDS)]
    for name, effect in (("first", 0.5 + truth / 3), ("second", -0.3 + truth / 2), ("interaction", truth)):
        estimates = [getattr(result, name) for result in results]
        errors = np.array([e.value - effect for e in estimates])
        assert abs(errors.mean()) / errors.std() < 0.15
        assert 0.93 < np.mean([e.std_error for e in estimates]) / errors.std() < 1.07
        assert binomtest(sum(e.covers(effect) for e in estimates), SEEDS, 0.93, alternative="less").pvalue > 0.05


def test_the_interaction_is_that_of_the_saturated_regression():
    import statsmodels.api as sm

    y, a, b = _data(1, 0.6)
    fit = sm.OLS(y, np.column_stack([np.ones(len(y)), a, b, a * b])).fit(cov_type="HC2")
    result = two_experiments(_cells(y, a, b), outcome="y")
    assert result.interaction.value == pytest.approx(fit.params[3], rel=1e-9)
    assert result.interaction.std_error == pytest.approx(fit.bse[3], rel=1e-9)
    assert result.interaction.n_treated == (a * b).sum()


def test_a_main_effect_is_near_what_the_experiment_shows_alone_and_never_less_certain():
    y, a, b = _data(2, 0.6)
    alone = difference_in_means(Moments.of(y[a == 0]), Moments.of(y[a == 1]), outcome="y")
    first = two_experiments(_cells(y, a, b), outcome="y").first
    assert first.value == pytest.approx(alone.value, abs=0.1 * alone.std_error)
    assert first.std_error <= alone.std_error * 1.005
    assert (first.n_treated, first.n_control) == (alone.n_treated, alone.n_control)
    assert first.control_mean == pytest.approx(alone.control_mean, abs=0.1)


def test_transposing_scaling_shifting_and_relabelling_do_what_they_should():
    y, a, b = _data(3, 0.6)
    base = two_experiments(_cells(y, a, b), outcome="y")
    transposed = two_experiments(_cells(y, b, a), outcome="y")
    assert (transposed.first.value, transposed.second.value) == pytest.approx((base.second.value, base.first.value))
    assert transposed.interaction.p_value == pytest.approx(base.interaction.p_value)
    far = two_experiments(_cells(100 * y + 1e9, a, b), outcome="y")
    assert far.interaction.std_error == pytest.approx(100 * base.interaction.std_error, rel=1e-6)
    swapped = two_experiments(_cells(y, 1 - a, b), outcome="y")
    assert swapped.interaction.value == pytest.approx(-base.interaction.value)
    assert swapped.first.p_value == pytest.approx(base.first.p_value)


def test_bad_cells_are_refused_by_name():
    good, single, constant = Moments.of([1.0, 2.0, 4.0]), Moments.of([1.0]), Moments.of([3.0, 3.0])
    with pytest.raises(ValueError, match="cells: expected 2 x 2 moments, got \\[2\\]"):
        two_experiments([[good, good]], outcome="y")
    with pytest.raises(ValueError, match="at least 2 units in each, got \\[3, 3, 3, 1\\]"):
        two_experiments([[good, good], [good, single]], outcome="y")
    with pytest.raises(ValueError, match="y: zero variance in every cell"):
        two_experiments([[constant, constant], [constant, constant]], outcome="y")
