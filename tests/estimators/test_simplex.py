import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from causal_assets.estimators.simplex import simplex_weights


def _problem(seed, donors, periods):
    """Series of a factor model: donors (n, t) and one target (t,)."""
    rng = np.random.default_rng(seed)
    factors, loadings = rng.normal(size=(3, periods)).cumsum(axis=1), rng.gamma(2.0, size=(donors + 1, 3))
    series = loadings @ factors + rng.normal(size=(donors + 1, periods))
    return series[1:], series[0]


def _solve(x, y, **options):
    return simplex_weights(x @ x.T, (x @ y)[None], **options)[0]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), donors=st.integers(1, 40), periods=st.integers(2, 60))
def test_no_donor_could_lower_the_loss_by_more_or_less_weight(seed, donors, periods):
    x, y = _problem(seed, donors, periods)
    weights = _solve(x, y)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    gradient = x @ (weights @ x - y)
    scale = np.trace(x @ x.T) / donors
    assert (gradient - weights @ gradient).min() > -1e-8 * scale
    assert np.abs((gradient - weights @ gradient)[weights > 0]).max() < 1e-8 * scale


@pytest.mark.parametrize("seed", range(5))
def test_weights_are_those_of_a_general_optimiser(seed):
    x, y = _problem(seed, donors=8, periods=30)
    reference = minimize(
        lambda w: ((y - w @ x) ** 2).sum(),
        np.full(8, 1 / 8),
        jac=lambda w: 2 * x @ (w @ x - y),
        bounds=[(0, 1)] * 8,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1, "jac": np.ones_like},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    ).x
    np.testing.assert_allclose(_solve(x, y), reference, atol=1e-3)


def test_a_target_inside_the_donors_is_reached_exactly():
    x, _ = _problem(0, donors=6, periods=40)
    truth = np.array([0.5, 0.0, 0.3, 0.0, 0.2, 0.0])
    np.testing.assert_allclose(_solve(x, truth @ x), truth, atol=1e-7)


def test_many_targets_at_once_give_what_each_gives_alone_whoever_may_be_a_donor():
    x, _ = _problem(1, donors=25, periods=60)
    gram, allowed = x @ x.T, ~np.eye(25, dtype=bool)
    together = simplex_weights(gram, gram, allowed=allowed)
    assert (np.diag(together) == 0).all()
    for i in range(25):
        alone = _solve(np.delete(x, i, axis=0), x[i])
        np.testing.assert_allclose(np.delete(together[i], i), alone, atol=1e-8)


@pytest.mark.parametrize("periods", [60, 8])  # with 8 periods for 30 donors many weights fit alike
def test_order_and_start_do_not_matter_even_where_donors_outnumber_periods(periods):
    x, y = _problem(2, donors=30, periods=periods)
    base, order = _solve(x, y), np.random.default_rng(0).permutation(30)
    np.testing.assert_allclose(_solve(x[order], y), base[order], atol=1e-6)
    np.testing.assert_allclose(_solve(x, y, start=np.full((1, 30), 1 / 30)), base, atol=1e-6)


def test_two_copies_of_a_donor_share_its_weight():
    x, y = _problem(3, donors=6, periods=40)
    weights, twice = _solve(x, y), _solve(np.vstack([x, x]), y)
    np.testing.assert_allclose(twice[:6], twice[6:], atol=1e-5)
    np.testing.assert_allclose(twice[:6] + twice[6:], weights, atol=1e-5)


def test_impossible_problems_are_refused_by_name():
    x, y = _problem(0, donors=3, periods=9)
    with pytest.raises(ValueError, match=r"allowed: every target needs a donor, targets \[0\] have none"):
        _solve(x, y, allowed=np.zeros((1, 3), dtype=bool))
    with pytest.raises(ValueError, match="start: expected weights of allowed donors"):
        _solve(x, y, start=np.array([[0.5, 0.5, 0.5]]))
