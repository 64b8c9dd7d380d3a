import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from causal_assets.estimators.inference import clustered_covariance, estimate, fieller


def _estimate(value, control_mean, cov, level=0.95, df=50.0):
    return estimate(
        outcome="y",
        estimand="ATE",
        method="t",
        value=value,
        control_mean=control_mean,
        cov=cov,
        df=df,
        level=level,
        n_treated=10,
        n_control=10,
    )


@given(
    value=st.floats(-10, 10),
    control_mean=st.floats(0.5, 10),
    errors=st.tuples(st.floats(0.01, 3), st.floats(0.01, 3)),
    correlation=st.floats(-0.95, 0.95),
    level=st.sampled_from([0.8, 0.9, 0.95, 0.99]),
)
def test_interval_p_value_and_relative_interval_agree_on_zero(value, control_mean, errors, correlation, level):
    cov = np.outer(errors, errors) * np.array([[1, correlation], [correlation, 1]])
    result = _estimate(value, control_mean, cov, level)
    if abs(result.p_value - (1 - level)) < 1e-9:
        return  # on the very boundary the last digit decides
    significant = result.p_value < 1 - level
    assert significant == (not result.low <= 0 <= result.high)
    if np.isfinite(result.relative_low):
        assert significant == (not result.relative_low <= 0 <= result.relative_high)
        assert result.relative_low <= result.relative <= result.relative_high


def test_a_control_mean_that_may_be_zero_leaves_the_ratio_unbounded():
    assert fieller(1.0, 0.5, np.eye(2), 1.96) == (-np.inf, np.inf)


def test_fieller_covers_a_skewed_ratio_as_often_as_it_says():
    rng = np.random.default_rng(5)
    cov = np.array([[1.0, -1.0], [-1.0, 3.0]])
    draws = rng.multivariate_normal([4.0, 2.0], cov, size=4_000)
    intervals = np.array([fieller(value, control, cov, 1.959964) for control, value in draws])
    covered = (intervals[:, 0] <= 0.5) & (intervals[:, 1] >= 0.5)
    assert abs(covered.mean() - 0.95) < 0.012  # 3.5 Monte Carlo errors


def test_rows_of_one_unit_count_once():
    influence = np.random.default_rng(1).normal(size=(300, 2))
    once = clustered_covariance(influence, np.arange(300))
    twice = clustered_covariance(np.repeat(influence, 2, axis=0), np.repeat(np.arange(300), 2))
    np.testing.assert_allclose(once, twice, rtol=1e-12)


def test_bad_levels_single_units_and_constant_outcomes_are_refused():
    with pytest.raises(ValueError, match="level must lie strictly between 0 and 1, got 95"):
        _estimate(1.0, 1.0, np.eye(2), level=95)
    with pytest.raises(ValueError, match="positive variance"):
        _estimate(1.0, 1.0, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="at least 2 units"):
        clustered_covariance(np.ones((3, 2)), ["a", "a", "a"])
