import numpy as np
import pytest
from scipy.stats import skew as sample_skewness
from scipy.stats import ttest_1samp

from causal_assets.diagnostics.skew import skew
from causal_assets.types import Status


def test_the_smaller_arm_of_a_skewed_outcome_asks_for_more_units():
    found = skew({"control": 100_000, "treated": 5_000}, {"control": 6.0, "treated": 6.0})
    assert found.status is Status.REVIEW
    assert found.value == pytest.approx(355 * 36 / 5_000)
    assert "Arm treated has 5,000 units; skewness 6.0 needs 12,780." in found.message
    assert skew({"control": 20_000, "treated": 20_000}, {"control": 6.0, "treated": -6.0}).status is Status.PASS


def test_where_it_asks_for_review_the_normal_interval_does_miss():
    rng = np.random.default_rng(4)
    draws = rng.lognormal(sigma=2.0, size=(2_000, 200))  # mean exp(2)
    missed = np.mean(ttest_1samp(draws, np.exp(2.0), axis=1).pvalue < 0.05)
    typical = float(np.median(sample_skewness(draws, axis=1)))
    assert skew({"treated": 200}, {"treated": typical}).status is Status.REVIEW
    assert missed > 0.1


def test_arms_that_differ_are_refused():
    with pytest.raises(ValueError, match="the same non-empty arms"):
        skew({"control": 10}, {"treated": 1.0})
