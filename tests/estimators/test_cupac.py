import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeRegressor

from causal_assets.estimators.cupac import expected_outcome
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.randomized import difference_in_means


def _world(rng, n=600, effect=0.3):
    x = rng.normal(size=(n, 3))
    d = rng.permutation(n) < n // 2
    return x, d, np.abs(3 * x[:, 0]) + x[:, 1] * x[:, 2] + effect * d + rng.normal(size=n)


def _effect(x, d, y, covariates=None):
    rows = y[:, None] if covariates is None else np.column_stack([y, covariates])
    return difference_in_means(Moments.of(rows[~d]), Moments.of(rows[d]), outcome="y")


@pytest.mark.parametrize("effect", [0.3, 0.0])
def test_a_tree_grown_to_its_leaves_leaves_the_effect_unbiased_and_the_error_honest(effect):
    # Fitted in-sample this learner would explain the outcome to the last digit, and report no error at all.
    rng = np.random.default_rng(int(10 * effect))
    results = []
    for seed in range(400):
        x, d, y = _world(rng, n=100, effect=effect)
        expected = expected_outcome(x, y, np.arange(100), model=DecisionTreeRegressor(random_state=0), seed=seed)
        results.append(_effect(x, d, y, expected))
    errors = np.array([r.value - effect for r in results])
    assert abs(errors.mean()) / errors.std() < 0.15
    assert 0.93 < np.mean([r.std_error for r in results]) / errors.std() < 1.07
    assert binomtest(sum(r.covers(effect) for r in results), 400, 0.93, alternative="less").pvalue > 0.05


def test_a_learner_finds_what_a_regression_on_the_covariates_cannot():
    x, d, y = _world(np.random.default_rng(1), n=3_000)
    expected = expected_outcome(x, y, np.arange(3_000), seed=1)
    assert _effect(x, d, y, expected).std_error < 0.75 * _effect(x, d, y, x).std_error


def test_no_row_of_a_unit_is_predicted_by_a_model_that_saw_it():
    rng = np.random.default_rng(2)
    unit = np.repeat(np.arange(100), 2)
    x, y = np.repeat(rng.normal(size=(100, 1)), 2, axis=0), np.repeat(rng.normal(size=100), 2)
    model = DecisionTreeRegressor(random_state=0)
    kept_together = np.corrcoef(expected_outcome(x, y, unit, model=model, seed=1), y)[0, 1]
    torn_apart = np.corrcoef(expected_outcome(x, y, np.arange(200), model=model, seed=1), y)[0, 1]
    assert abs(kept_together) < 0.3 and torn_apart > 0.6


def test_row_order_and_labels_change_nothing_and_the_seed_decides_the_folds():
    x, _, y = _world(np.random.default_rng(3), n=150)
    unit = np.arange(150)
    base = expected_outcome(x, y, unit, model=LinearRegression(), seed=5)
    order = np.random.default_rng(4).permutation(150)
    shuffled = expected_outcome(x[order], y[order], unit[order], model=LinearRegression(), seed=5)
    np.testing.assert_allclose(shuffled, base[order], rtol=1e-9)
    names = np.array([f"u{u:04d}" for u in unit])
    np.testing.assert_array_equal(expected_outcome(x, y, names, model=LinearRegression(), seed=5), base)
    assert not np.array_equal(expected_outcome(x, y, unit, model=LinearRegression(), seed=6), base)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.full(20, np.nan)}, "y: 20 outcomes are NaN or infinite"),
        ({"x": np.ones(20)}, r"expected \(n, k\), \(n,\), \(n,\), got \(20,\)"),
        ({"unit": np.arange(19)}, r"got \(20, 2\), \(20,\), \(19,\)"),
        ({"unit": np.arange(20) // 10}, "folds: expected between 2 and the 2 units, got 5"),
    ],
)
def test_bad_input_is_refused_by_name(change, message):
    good = {"x": np.ones((20, 2)), "y": np.arange(20.0), "unit": np.arange(20)}
    with pytest.raises(ValueError, match=message):
        expected_outcome(**(good | change), seed=1)
