"""Checks of what is seen before treatment, or where there is none."""

from dataclasses import replace

import pytest

from causal_assets.diagnostics.hull import hull
from causal_assets.diagnostics.placebo_cutoffs import placebo_cutoffs
from causal_assets.diagnostics.placebo_in_space import placebo_in_space
from causal_assets.diagnostics.placebo_in_time import anticipation, placebo_in_time
from causal_assets.diagnostics.placebo_periods import early_periods, placebo_periods
from causal_assets.diagnostics.placebo_units import placebo_units
from causal_assets.types import Estimate, Status


def found(value: float, p_value: float | None = 0.5, error: float = 1.0) -> Estimate:
    return Estimate(
        outcome="y", estimand="ATT", method="m", value=value, std_error=error, low=value - 1.96 * error,
        high=value + 1.96 * error, p_value=p_value, level=0.95, n_treated=9, n_control=9, control_mean=None,
    )  # fmt: skip


@pytest.mark.parametrize("check", [placebo_in_time, anticipation])
@pytest.mark.parametrize(
    ("value", "p_value", "status"),
    [
        (2.0, 0.03, Status.PASS),
        (2.0, 0.019, Status.REVIEW),
        (2.0, 0.0019, Status.FAIL),
        (-2.0, 0.0019, Status.FAIL),
        (1.9, 0.0019, Status.REVIEW),  # less than half the effect: it cannot explain most of it
    ],
)
def test_only_a_large_effect_before_treatment_beyond_chance_fails(check, value, p_value, status):
    told = check(found(value, p_value), found(4.0))
    assert (told.status, told.value) == (status, p_value)
    with pytest.raises(ValueError, match="no p-value"):
        check(found(1.0, None), found(4.0))


@pytest.mark.parametrize(
    ("placebos", "status"),
    [
        ([(2.0, 0.04), (2.0, 0.04)], Status.FAIL),
        ([(2.0, 0.04), (-2.0, 0.04)], Status.REVIEW),  # not on one side
        ([(1.0, 0.04), (2.0, 0.04)], Status.REVIEW),  # too small to explain the effect
        ([(2.0, 0.04), (2.0, 0.3)], Status.REVIEW),
        ([(2.0, 0.04)], Status.REVIEW),  # one alone is chance once in twenty
        ([(2.0, 0.3), (2.0, 0.04)], Status.PASS),
    ],
)
def test_a_synthetic_control_fails_only_where_every_stretch_before_is_extreme(placebos, status):
    stretches = [found(v, p) for v, p in placebos]
    assert placebo_periods(stretches, found(4.0), found(1.0, 0.04)).status is status
    for early in (None, found(1.0, 0.06), found(-1.0, 0.04)):
        assert placebo_periods(stretches, found(4.0), early).status is not Status.FAIL
    with pytest.raises(ValueError, match="at least one"):
        placebo_periods([], found(4.0), None)


def test_a_gap_in_the_last_periods_asks_for_review():
    assert early_periods(found(1.0, 0.05), 4).status is Status.REVIEW
    assert early_periods(found(1.0, 0.06), 4).status is Status.PASS
    assert "last 4 periods" in early_periods(found(1.0), 4).message


@pytest.mark.parametrize(
    ("effect", "rank", "status"),
    [(4.0, 0.26, Status.REVIEW), (4.0, 0.25, Status.PASS), (1.0, 0.9, Status.PASS)],
)
def test_a_claim_that_untreated_units_would_make_too_asks_for_review(effect, rank, status):
    assert placebo_in_space(found(effect), found(effect, rank)).status is status


def test_shares_beyond_what_noise_gives_ask_for_review():
    assert hull(20, 80).status is Status.PASS
    assert hull(21, 80).status is Status.REVIEW
    assert placebo_units(0.1, 0.95).status is Status.PASS
    assert placebo_units(0.11, 0.95).status is Status.REVIEW
    with pytest.raises(ValueError, match="share"):
        placebo_units(1.1, 0.95)


def test_the_largest_jump_elsewhere_is_judged_for_all_of_them():
    jumps = {10.0: found(1.0, 0.02), 20.0: found(1.0, 0.5)}
    assert placebo_cutoffs(jumps).status is Status.REVIEW
    assert placebo_cutoffs(jumps).value == 0.04
    assert "At 10," in placebo_cutoffs(jumps).message
    assert placebo_cutoffs({**jumps, 30.0: found(0.0)}).status is Status.PASS
    assert placebo_cutoffs({}).status is Status.REVIEW
    with pytest.raises(ValueError, match="p-value"):
        placebo_cutoffs({1.0: replace(found(1.0), p_value=None)})
