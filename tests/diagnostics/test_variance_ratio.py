"""Spread after weighting: found where the mean alone looks fine, and quiet where weights do their work."""

from math import inf, nan

import numpy as np
import pytest
from scipy.special import expit

from causal_assets.diagnostics.variance_ratio import variance_ratio
from causal_assets.estimators.balance import variance_ratios
from causal_assets.estimators.overlap import weights
from causal_assets.types import Status


def _world(seed, n=2_000):
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.normal(size=(n, 3)), rng.integers(0, 2, n)])
    e = expit(0.8 * x[:, 0] - 0.3 * x[:, 1])
    return x, rng.random(n) < e, e


def test_ratios_are_those_of_weighted_variances_and_two_values_have_none():
    x, treated, e = _world(0)
    w = weights(e, treated, "ATT")
    found = variance_ratios(x, treated, w)
    by_hand = [np.cov(x[arm, 0], aweights=w[arm], ddof=0) for arm in (treated, ~treated)]
    assert found[0] == pytest.approx(by_hand[0] / by_hand[1], rel=1e-12)
    assert np.isnan(found[3])
    assert np.allclose(variance_ratios(x + 1e6, treated, w)[:3], found[:3], rtol=1e-6)
    swapped = variance_ratios(x, ~treated, w)
    assert np.allclose(swapped[:3], 1 / found[:3])


@pytest.mark.parametrize("estimand", ["ATT", "ATE", "ATO"])
def test_of_right_weights_few_are_looked_at(estimand):
    flagged = 0
    for seed in range(200):
        x, treated, e = _world(seed)
        ratios = variance_ratios(x, treated, weights(e, treated, estimand))[:3]
        flagged += variance_ratio({str(k): (1.0, float(r)) for k, r in enumerate(ratios)}).status is not Status.PASS
    assert flagged <= 2


def test_a_spread_that_means_do_not_show_is_found():
    rng = np.random.default_rng(1)
    treated = np.arange(2_000) < 1_000
    x = rng.normal(size=2_000) * np.where(treated, 1.6, 1.0)  # variances 2.56 to 1, means alike
    (ratio,) = variance_ratios(x[:, None], treated, np.ones(2_000))
    found = variance_ratio({"spend": (ratio, ratio), "age": (1.0, 0.9)})
    assert found.status is Status.REVIEW
    assert "in spend" in found.message


def test_the_inverse_counts_as_much_and_what_is_no_number_is_refused():
    assert variance_ratio({"a": (1.0, 0.4)}).value == pytest.approx(2.5)
    assert variance_ratio({"a": (1.0, 0.0)}).value == inf
    for ratios in ({}, {"a": (1.0, nan)}):
        with pytest.raises(ValueError, match="ratios"):
            variance_ratio(ratios)
