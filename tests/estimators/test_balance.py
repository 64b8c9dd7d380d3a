import numpy as np
import pytest
from scipy.stats import binomtest

from causal_assets.estimators.balance import omnibus, standardized_differences, weighted_differences
from causal_assets.estimators.moments import Moments


def test_the_omnibus_test_rejects_random_assignment_as_often_as_it_says():
    rng = np.random.default_rng(8)
    p_values = []
    for _ in range(2_000):
        x = rng.lognormal(size=(1_000, 4))
        p_values.append(omnibus(Moments.of(x[:500]), Moments.of(x[500:])))
    for alpha in (0.01, 0.05):
        assert binomtest(sum(p < alpha for p in p_values), 2_000, alpha).pvalue > 0.001


def test_copied_and_constant_covariates_do_not_change_the_omnibus_test():
    x = np.random.default_rng(0).normal(size=(400, 2))
    padded = np.column_stack([x, x[:, 0], np.ones(400)])
    expected = omnibus(Moments.of(x[:200]), Moments.of(x[200:]))
    assert omnibus(Moments.of(padded[:200]), Moments.of(padded[200:])) == pytest.approx(expected, rel=1e-9)


def test_two_different_constants_are_certain_imbalance_and_one_constant_is_none():
    x = np.random.default_rng(0).normal(size=(403, 1))
    arm = np.arange(403) < 200
    apart, alike = np.column_stack([x, arm * 1.0]), np.column_stack([x, np.full(403, np.log1p(126.0))])
    assert omnibus(Moments.of(apart[~arm]), Moments.of(apart[arm])) == 0.0
    assert omnibus(Moments.of(alike[~arm]), Moments.of(alike[arm])) > 0.001
    assert weighted_differences(alike, arm, np.linspace(0.1, 0.9, 403))[1] == 0.0


def test_differences_are_in_standard_deviations():
    control, treated = (
        Moments(100, np.array([m, 5.0, c]), np.diag([4.0, 1.0, 0.0])) for m, c in ((1.0, 1.0), (2.0, 2.0))
    )
    np.testing.assert_array_equal(standardized_differences(control, treated), [0.5, 0.0, np.inf])


def test_weights_of_one_give_the_raw_differences_and_overlap_weights_balance():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20_000, 2))
    e = 1 / (1 + np.exp(-x[:, 0]))
    d = rng.random(20_000) < e
    raw = weighted_differences(x, d, np.ones(20_000))
    np.testing.assert_allclose(raw, standardized_differences(Moments.of(x[~d]), Moments.of(x[d])), rtol=1e-9)
    assert abs(raw[0]) > 0.5
    assert np.abs(weighted_differences(x, d, np.where(d, 1 - e, e))).max() < 0.03
