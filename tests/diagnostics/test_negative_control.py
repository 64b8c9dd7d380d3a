import numpy as np
import pytest
from scipy.stats import binomtest

from causal_assets.diagnostics.negative_control import negative_control
from causal_assets.types import Status


@pytest.mark.parametrize(("z", "status"), [(1.8, Status.PASS), (2.2, Status.REVIEW), (-3.0, Status.FAIL)])
def test_an_outcome_that_should_not_move_is_graded_by_its_p_value(estimated, z, status):
    assert negative_control([estimated(z, 1.0)]).status is status


def test_five_independent_controls_are_flagged_as_often_as_one(estimated):
    draws = np.random.default_rng(3).normal(size=(2_000, 5))
    statuses = [negative_control([estimated(z, 1.0) for z in row]).status for row in draws]
    assert binomtest(statuses.count(Status.FAIL), 2_000, 0.01).pvalue > 0.001
    flagged = statuses.count(Status.FAIL) + statuses.count(Status.REVIEW)
    assert binomtest(flagged, 2_000, 0.05).pvalue > 0.001


def test_the_message_names_the_outcome_that_moves(estimated):
    found = negative_control([estimated(0.1, 1.0, "bakery"), estimated(5.0, 1.0, "fuel")])
    assert found.message.startswith("fuel, which the treatment should not move, moves by +5")


def test_without_a_negative_control_hidden_confounding_is_for_review():
    found = negative_control([])
    assert (found.status, found.value, found.threshold) == (Status.REVIEW, 0.0, 1.0)
    assert "would go unseen" in found.message
