import pytest

from causal_assets.diagnostics.balance import randomized_balance, weighted_balance
from causal_assets.types import Status


@pytest.mark.parametrize(("p", "status"), [(0.3, Status.PASS), (0.005, Status.REVIEW), (0.0005, Status.FAIL)])
def test_randomised_arms_are_graded_by_the_omnibus_test_alone(p, status):
    found = randomized_balance({"spend": 0.4, "trips": -0.5}, p)
    assert found.status is status
    assert "trips, by -0.500 SD" in found.message


@pytest.mark.parametrize(("gap", "status"), [(-0.05, Status.PASS), (0.2, Status.REVIEW), (-0.3, Status.FAIL)])
def test_weighted_arms_are_graded_by_their_largest_difference(gap, status):
    found = weighted_balance({"spend": 0.01, "trips": gap})
    assert found.status is status
    assert found.value == abs(gap)


def test_no_covariate_is_refused():
    with pytest.raises(ValueError, match="at least one covariate"):
        weighted_balance({})
