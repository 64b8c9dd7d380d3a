import numpy as np
import pytest
from scipy.stats import binomtest

from causal_assets.diagnostics.srm import srm
from causal_assets.types import Status

HALVES = {"control": 0.5, "treated": 0.5}


def _arms(treated, units):
    return {"control": units - treated, "treated": treated}


def test_correct_assignment_is_flagged_as_often_as_it_says():
    rng = np.random.default_rng(2)
    statuses = [srm(_arms(int(rng.binomial(10_000, 0.5)), 10_000), HALVES).status for _ in range(4_000)]
    assert binomtest(statuses.count(Status.FAIL), 4_000, 0.001).pvalue > 0.001
    flagged = statuses.count(Status.FAIL) + statuses.count(Status.REVIEW)
    assert binomtest(flagged, 4_000, 0.01).pvalue > 0.001


def test_a_lost_hundredth_of_one_arm_is_found():
    found = srm(_arms(495_000, 995_000), HALVES)
    assert found.status is Status.FAIL
    assert "49.75% (planned 50.00%)" in found.message


def test_cookie_cats_is_for_review():
    # the mobile game's published test: 44,700 and 45,489 players, p = .0086
    found = srm(_arms(45_489, 90_189), HALVES)
    assert found.status is Status.REVIEW
    assert found.value == pytest.approx(0.0086, abs=5e-5)


def test_unequal_plans_of_several_arms_are_tested_as_planned():
    assert srm({"a": 9_000, "b": 500, "c": 500}, {"a": 0.9, "b": 0.05, "c": 0.05}).status is Status.PASS


def test_wrong_plans_are_refused_by_name():
    with pytest.raises(ValueError, match=r"expected the arms \['control', 'treated'\], got \['treated'\]"):
        srm(_arms(1, 2), {"treated": 1.0})
    with pytest.raises(ValueError, match="positive shares that sum to 1"):
        srm(_arms(1, 2), {"control": 0.5, "treated": 0.6})
    with pytest.raises(ValueError, match="no units"):
        srm(_arms(0, 0), HALVES)
