import numpy as np
import pytest
from scipy.stats import skew as sample_skewness
from scipy.stats import ttest_ind

from causal_assets.diagnostics.skew import skew
from causal_assets.types import Status


def test_a_small_arm_beside_a_large_one_needs_355_units_per_squared_skewness():
    found = skew({"control": 5_000, "treated": 5_000_000}, {"control": 1.0, "treated": 6.0})
    assert found.status is Status.REVIEW
    assert found.value == pytest.approx(355 * 36 / 5_000, rel=0.01)
    assert "arms of 5,000 (control) and 5,000,000 (treated) need 2.5 times as many units" in found.message
    assert skew({"control": 3_000, "treated": 5_000_000}, {"control": 1.0, "treated": 6.0}).status is Status.FAIL
    assert skew({"control": 15_000, "treated": 5_000_000}, {"control": 6.0, "treated": 6.0}).status is Status.PASS


def test_arms_of_equal_size_cancel_their_skewness():
    assert skew({"control": 1_000, "treated": 1_000}, {"control": 30.0, "treated": 25.0}).value == 0.0


def test_while_units_still_come_skewness_blocks_nothing():
    young = {"control": 50, "treated": 950}, {"control": 6.0, "treated": 6.0}
    assert skew(*young, final=False).status is Status.REVIEW
    assert skew(*young).status is Status.FAIL


@pytest.mark.parametrize(
    ("control", "treated", "status", "least", "most"),
    [(100, 1_900, Status.FAIL, 0.1, 1.0), (1_000, 1_000, Status.PASS, 0.0, 0.035)],
)
def test_without_an_effect_the_arms_that_fail_show_one_too_often_and_those_that_pass_do_not(
    control: int, treated: int, status: Status, least: float, most: float
) -> None:
    rng = np.random.default_rng(4)
    spend = rng.lognormal(sigma=1.5, size=(1_000, control + treated))
    ship = ttest_ind(spend[:, control:], spend[:, :control], axis=1, equal_var=False)
    typical = float(np.median(sample_skewness(spend, axis=1)))
    units = {"control": control, "treated": treated}
    assert skew(units, dict.fromkeys(units, typical)).status is status
    assert least <= np.mean((ship.pvalue < 0.05) & (ship.statistic > 0)) <= most


def test_other_than_the_same_two_arms_and_numbers_are_refused():
    with pytest.raises(ValueError, match="the same two non-empty arms"):
        skew({"control": 10}, {"treated": 1.0})
    with pytest.raises(ValueError, match="finite"):
        skew({"control": 10, "treated": 10}, {"control": float("nan"), "treated": 1.0})
