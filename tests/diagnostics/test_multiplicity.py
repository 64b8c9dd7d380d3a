"""Several findings at once: what is said to stand is wrong in one family of twenty at most."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from causal_assets.diagnostics.multiplicity import multiplicity
from causal_assets.estimators.multiplicity import step_down
from causal_assets.types import Status


def _told(estimates):
    return multiplicity(estimates, step_down(np.array([e.p_value for e in estimates])).tolist())


def test_what_stands_and_what_chance_shows_are_named(estimated):
    found = _told([estimated(5.0, 1.0, "revenue"), estimated(2.1, 1.0, "visits"), estimated(0.1, 1.0, "returns")])
    assert (found.status, found.value) == (Status.PASS, 1)
    assert "counting them all (Holm): revenue (p = 1.7e-06)" in found.message
    assert "alone also visits (p = 0.036, among all 0.071)" in found.message
    assert "returns" not in found.message
    assert "none differs from zero" in _told([estimated(0.1, 1.0, "a"), estimated(0.2, 1.0, "b")]).message


def test_of_ten_still_outcomes_one_stands_in_one_family_of_twenty(estimated):
    draws = np.random.default_rng(0).normal(size=(400, 10))
    still = estimated(0.0, 1.0)
    families = [[replace(still, p_value=float(p)) for p in 2 * norm.sf(np.abs(row))] for row in draws]
    standing = sum("none differs" not in _told(family).message for family in families)
    assert binomtest(standing, 400, 0.05).pvalue > 0.001
    alone = sum(_told(family).value > 0 or "none differs" not in _told(family).message for family in families)
    assert alone > 100


def test_an_adjusted_p_value_below_its_own_is_refused(estimated):
    with pytest.raises(ValueError, match="none below its own"):
        multiplicity([estimated(1.0, 1.0)], [0.01])
    with pytest.raises(ValueError, match="one p-value per estimate"):
        multiplicity([estimated(1.0, 1.0)], [])
