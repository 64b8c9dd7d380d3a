"""Checks that compare one share with thresholds."""

import pytest

from causal_assets.diagnostics.co_intervention import co_intervention
from causal_assets.diagnostics.data_loss import data_loss
from causal_assets.diagnostics.exposure_before_assignment import exposure_before_assignment
from causal_assets.diagnostics.maturity import maturity
from causal_assets.diagnostics.several_arms import several_arms
from causal_assets.types import Status


@pytest.mark.parametrize(("units", "status"), [(0, Status.PASS), (1, Status.REVIEW), (6, Status.FAIL)])
def test_any_unit_in_two_arms_is_looked_at_and_half_a_percent_fails(units, status):
    assert several_arms(units, 1_000).status is status


@pytest.mark.parametrize(("units", "status"), [(0, Status.PASS), (1, Status.REVIEW), (6, Status.FAIL)])
def test_any_unit_exposed_before_its_assignment_is_looked_at_and_half_a_percent_fails(units, status):
    assert exposure_before_assignment(units, 1_000).status is status


@pytest.mark.parametrize(("lost", "status"), [(10, Status.PASS), (50, Status.REVIEW), (101, Status.FAIL)])
def test_losing_a_hundredth_is_looked_at_and_a_tenth_fails(lost, status):
    found = data_loss(lost, 1_000)
    assert found.status is status
    assert f"{lost:,} of 1,000 raw rows" in found.message


def test_an_open_window_is_for_review_and_says_how_long_to_wait():
    found = maturity(900, 1_000, days_left=9)
    assert (found.status, found.value) == (Status.REVIEW, 0.9)
    assert "9 more days" in found.next_step
    assert maturity(1_000, 1_000, days_left=0).status is Status.PASS


def test_other_treatments_in_one_arm_only_are_for_review():
    found = co_intervention(177, 824, 46, 1_159)
    assert (found.status, found.value) == (Status.REVIEW, pytest.approx(0.175, abs=5e-4))
    assert "21% of the treated and 4% of the controls" in found.message
    assert co_intervention(30, 1_000, 20, 1_000).status is Status.PASS
