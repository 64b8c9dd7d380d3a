import numpy as np
import pytest

from causal_assets.diagnostics.overlap import overlap
from causal_assets.types import Status


def _propensities(near_certain):
    return np.where(np.arange(100) < near_certain, 0.95, 0.5)


@pytest.mark.parametrize(
    ("near_certain", "effective", "status", "value"),
    [
        (5, 400, Status.PASS, 0.05),
        (25, 400, Status.REVIEW, 0.25),
        (60, 400, Status.FAIL, 0.60),
        (5, 90, Status.REVIEW, 0.09),
        (25, 5, Status.FAIL, 0.005),
    ],
)
def test_the_worse_of_certainty_and_information_decides(near_certain, effective, status, value):
    found = overlap(_propensities(near_certain), effective, 1_000)
    assert (found.status, found.value) == (status, pytest.approx(value))


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="expected 0 to 10 controls, got 11"):
        overlap(_propensities(0), 11, 10)
    with pytest.raises(ValueError, match="propensity_of_treated"):
        overlap([], 5, 10)
