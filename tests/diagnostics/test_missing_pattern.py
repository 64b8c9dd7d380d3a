"""Missing by arm: flagged as often as it says, never for many columns' sake, and found where an arm loses values."""

import numpy as np
import pytest
from scipy.stats import binom

from causal_assets.diagnostics.attrition import attrition
from causal_assets.diagnostics.missing_pattern import missing_pattern
from causal_assets.types import Status

UNITS = (2_000, 1_000)


def _statuses(rates, seed=0, repeats=500):
    """Three columns whose values are missing at these rates in control and treated."""
    draws = np.random.default_rng(seed).binomial(UNITS, rates, size=(repeats, 3, 2))
    return [
        missing_pattern({str(k): tuple(row) for k, row in enumerate(one.tolist())}, UNITS, randomised=True).status
        for one in draws
    ]


@pytest.mark.parametrize("rate", [0.001, 0.2])
def test_gaps_by_chance_are_flagged_no_more_often_than_said(rate):
    statuses = _statuses((rate, rate))
    flagged = len(statuses) - statuses.count(Status.PASS)
    # Exact and Bonferroni's: at most, and with few gaps less.
    assert statuses.count(Status.FAIL) <= binom.isf(0.001, len(statuses), 0.001)
    assert flagged <= binom.isf(0.001, len(statuses), 0.01)
    assert rate < 0.1 or flagged > 0


@pytest.mark.parametrize(("extra", "least"), [(0.03, 0.1), (0.06, 0.8), (0.09, 0.99)])
def test_values_lost_in_one_arm_fail(extra, least):
    statuses = _statuses((0.1, 0.1 + extra), repeats=300)
    assert statuses.count(Status.FAIL) / 300 > least


def test_where_units_were_chosen_gaps_are_for_review_only():
    found = missing_pattern({"income": (0, 500)}, UNITS, randomised=False)
    assert found.status is Status.REVIEW
    assert "income is missing least alike: in 0.00% of 2,000 controls and 50.00% of 1,000 treated" in found.message
    arms = {"a": 1_000, "b": 1_000}
    assert attrition({"a": 1_000, "b": 500}, arms, randomised=False).status is Status.REVIEW
    assert attrition({"a": 1_000, "b": 500}, arms).status is Status.FAIL


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="at least one column"):
        missing_pattern({}, UNITS, randomised=True)
    with pytest.raises(ValueError, match="missing income"):
        missing_pattern({"income": (1, 1_001)}, UNITS, randomised=True)
