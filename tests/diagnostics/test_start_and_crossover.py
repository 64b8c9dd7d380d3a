import pytest

from causal_assets.diagnostics.clean_start import clean_start
from causal_assets.diagnostics.crossover import crossover
from causal_assets.types import Status


@pytest.mark.parametrize(("late", "status"), [(0, Status.PASS), (1, Status.REVIEW), (200, Status.REVIEW)])
def test_a_unit_treated_during_the_day_of_time_zero_is_for_review(late: int, status: Status):
    found = clean_start(late, 200)
    assert (found.status, found.value) == (status, late / 200)


@pytest.mark.parametrize(("crossed", "status"), [(0, Status.PASS), (50, Status.PASS), (51, Status.REVIEW)])
def test_more_than_one_control_in_twenty_treated_in_the_window_is_for_review(crossed: int, status: Status):
    assert crossover(crossed, 1000).status is status


@pytest.mark.parametrize("check", [clean_start, crossover])
def test_an_empty_arm_is_an_error(check):
    with pytest.raises(ValueError, match="whole >= 1"):
        check(0, 0)
