"""Contrasts of an event study before adoption, bounds under drifts, and made-up groups, on planted truths."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest, foldnorm

from causal_assets.estimators.before_adoption import anticipation, placebo_in_time, rejections_among_untreated
from causal_assets.estimators.event_study import EventStudy, event_study
from causal_assets.estimators.inference import Refusal
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.parallel_trends import (
    breakdown,
    breakdown_bend,
    detrended,
    pre_test,
    pre_trend,
    relative_bounds,
    smooth_bounds,
)

BEFORE, AFTER = 7, 3
WEIGHT = np.full(AFTER, 1 / AFTER)


def study(seed: int, *, slope: float = 0.0, early: float = 0.0, effect: float = 1.0, units: int = 60) -> EventStudy:
    """Half of the units adopt after seven periods; ``slope`` is their drift, ``early`` their effect in the seventh."""
    rng = np.random.default_rng(seed)
    when = np.arange(BEFORE + AFTER) - BEFORE
    treated = (np.arange(units) < units // 2)[:, None]
    path = slope * when + effect * (when >= 0) + early * (when == -1)
    y = rng.normal(size=(units, 1)) + 0.5 * rng.normal(size=(units, when.size)) + treated * path
    gaps = np.delete(y - y[:, [BEFORE - 1]], BEFORE - 1, axis=1)
    arms = (Moments.of(gaps[treated.ravel() == arm]) for arm in (False, True))
    return event_study(*arms, [int(k) for k in when if k != -1])


def exact(**options: float) -> EventStudy:
    """The planted path without noise, with the covariance of a noisy one."""
    noisy, when = study(0), np.array([*range(-BEFORE, -1), *range(AFTER)])
    early = options.get("early", 0.0)
    path = options.get("slope", 0.0) * (when + 1) + options.get("effect", 1.0) * (when >= 0) - early
    return replace(noisy, coef=path)


def test_without_noise_each_contrast_shows_its_own_fault_and_no_other():
    # The made-up date leaves three periods after it, the reference among them: on average two periods of the drift.
    assert placebo_in_time(exact(slope=0.2), outcome="y").value == pytest.approx(0.4)
    assert placebo_in_time(exact(effect=5.0), outcome="y").value == pytest.approx(0.0, abs=1e-12)
    assert anticipation(exact(early=0.7), outcome="y").value == pytest.approx(0.7)
    assert anticipation(exact(effect=5.0), outcome="y").value == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("contrast", [placebo_in_time, anticipation])
def test_where_nothing_happens_before_adoption_a_contrast_is_found_as_often_as_it_says(contrast):
    found = [contrast(study(seed), outcome="y") for seed in range(600)]
    assert binomtest(sum(e.p_value < 0.05 for e in found), 600, 0.05).pvalue > 0.001
    assert all((e.p_value < 0.05) == (not e.covers(0.0)) for e in found)


def test_a_drift_and_an_early_effect_are_found():
    assert np.mean([placebo_in_time(study(s, slope=0.25), outcome="y").p_value < 0.02 for s in range(40)]) > 0.8
    assert np.mean([anticipation(study(s, early=0.6), outcome="y").p_value < 0.02 for s in range(40)]) > 0.8


def test_the_pre_test_keeps_its_level_and_has_the_power_it_states():
    rejected = sum(pre_test(study(s, units=30), slope=0.0)[0] < 0.05 for s in range(600))
    assert binomtest(rejected, 600, 0.05, alternative="greater").pvalue > 0.001
    judged = pre_trend(exact(effect=0.3))
    slope = 0.3 / 2 / 2  # bias of 1, 2 and 3 slopes after adoption
    found = np.mean([pre_test(study(s, slope=slope), slope=0.0)[0] < 0.05 for s in range(300)])
    assert 0.2 < judged.power < 0.95
    assert found == pytest.approx(judged.power, abs=0.1)


def test_a_line_is_taken_out_exactly_and_a_bend_widens_the_bounds_by_what_it_can_do():
    line = exact(slope=0.4, effect=1.5)
    low, high = smooth_bounds(line, WEIGHT, 0.0)
    assert (low + high) / 2 == pytest.approx(1.5, rel=1e-9)
    same = detrended(line, WEIGHT, outcome="y")
    assert (low + high) / 2 == pytest.approx(same.value, rel=1e-9)
    assert high - low == pytest.approx(2 * 1.959964 * same.std_error, rel=1e-6)
    # Without noise the bounds are the bias of the worst kinks: a line through one period before, and a slope bent by 1
    # in each period from the reference on, drift apart by 1, 3 and 6.
    still = replace(line, cov=line.cov * 1e-16)
    low, high = smooth_bounds(still, WEIGHT, 0.1)
    assert (high - low) / 2 == pytest.approx(0.1 * (1 + 3 + 6) / 3, rel=1e-4)
    assert breakdown_bend(still, WEIGHT) == pytest.approx(1.5 / (10 / 3), rel=1e-3)


def test_bounds_cover_under_the_worst_bend_they_allow():
    bend = 0.05
    kinks = np.array([max(k + 1, 0) * (k + 2) / 2 for k in [*range(-BEFORE, -1), *range(AFTER)]]) * bend
    inside = 0
    for seed in range(400):
        one = study(seed)
        low, high = smooth_bounds(replace(one, coef=one.coef + kinks), WEIGHT, bend)
        inside += low <= 1.0 <= high
    assert binomtest(inside, 400, 0.95, alternative="less").pvalue > 0.001


def test_relative_bounds_are_the_plain_interval_at_zero_widen_and_meet_the_breakdown():
    one = study(3, effect=2.0)
    value = WEIGHT @ one.coef[-AFTER:]
    error = np.sqrt(WEIGHT @ one.cov[-AFTER:, -AFTER:] @ WEIGHT)
    assert relative_bounds(one, WEIGHT, 0.0) == pytest.approx((value - 1.959964 * error, value + 1.959964 * error))
    half, whole = (relative_bounds(one, WEIGHT, multiple) for multiple in (0.5, 1.0))
    assert whole[0] < half[0] < value - 1.959964 * error and whole[1] > half[1]
    assert relative_bounds(one, WEIGHT, breakdown(one, WEIGHT))[0] == pytest.approx(0.0, abs=1e-4)
    for bounds in (relative_bounds, smooth_bounds):
        with pytest.raises(ValueError, match="0 or more"):
            bounds(one, WEIGHT, -0.1)


def test_the_folded_quantile_is_scipy_s():
    from causal_assets.estimators.parallel_trends import _folded_quantile

    for shift in (0.0, 0.7, 3.0, 200.0):
        assert _folded_quantile(shift, 0.95) == pytest.approx(foldnorm.ppf(0.95, shift), rel=1e-9)


def test_made_up_groups_find_no_more_than_promised_unless_one_unit_decides():
    rng = np.random.default_rng(0)
    calm = [rejections_among_untreated(rng.normal(size=80), 40, seed=s) for s in range(20)]
    assert np.mean(calm) == pytest.approx(0.05, abs=0.015)
    assert max(calm) < 0.1
    small = rejections_among_untreated(np.exp(2.5 * rng.normal(size=40)), 3, seed=1)
    assert small > 0.1
    with pytest.raises(Refusal, match="too few"):
        rejections_among_untreated(np.zeros(19), 5)
