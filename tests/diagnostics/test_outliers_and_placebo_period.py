"""One unit, the tails, and the time before: how often a healthy experiment is flagged, and what is found."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from causal_assets.diagnostics.outlier_influence import outlier_influence
from causal_assets.diagnostics.placebo_period import placebo_period
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.randomized import difference_in_means
from causal_assets.types import Status


def _compare(control, treated):
    return difference_in_means(Moments.of(control), Moments.of(treated), outcome="y")


def _influence(control, treated, needed=0.0):
    """The check as a study reads it, on two arms."""
    gaps = [np.abs(arm - arm.mean()) for arm in (control, treated)]
    far = int(gaps[1].max() > gaps[0].max())
    arms = [control, treated]
    place = gaps[far].argmax()
    largest, arms[far] = arms[far][place], np.delete(arms[far], place)
    low, high = np.quantile(np.concatenate([control, treated]), [0.001, 0.999], method="inverted_cdf")
    capped = _compare(control.clip(low, high), treated.clip(low, high))
    whole = _compare(control, treated)
    return outlier_influence(whole, _compare(*arms), capped, needed=needed, largest=largest, quantile=0.999)


@pytest.mark.parametrize("effect", [0.0, 0.1, 0.3])
def test_of_healthy_experiments_few_are_looked_at_and_none_is_blocked(effect):
    rng = np.random.default_rng(0)
    worlds = [_influence(rng.gamma(2, 1, 1_000), effect + rng.gamma(2, 1, 1_000)) for _ in range(400)]
    statuses = [found.status for found in worlds]
    assert Status.FAIL not in statuses
    assert statuses.count(Status.REVIEW) <= binom.isf(0.001, 400, 0.02)


def test_an_effect_that_is_one_order_is_for_review():
    control, treated = np.random.default_rng(1).normal(size=(2, 1_000))
    control -= 0.08  # an effect on all, which one order against it hides
    control[0] = 60.0
    found = _influence(control, treated)
    assert found.status is Status.REVIEW
    assert found.value > 0.5
    assert "(60)" in found.message
    assert "hangs on it" in found.message


def test_what_counts_is_the_effect_that_the_rule_needs(estimated):
    primary, without = estimated(2.0, 0.5), estimated(1.5, 0.5)
    assert outlier_influence(primary, without, None, needed=0.0, largest=9.0, quantile=0.999).status is Status.PASS
    shifted = outlier_influence(primary, without, None, needed=0.8, largest=9.0, quantile=0.999)
    assert shifted.status is Status.REVIEW
    assert outlier_influence(primary, None, None, needed=0.0, largest=9.0, quantile=0.999).status is Status.REVIEW


def test_arms_alike_before_are_flagged_as_often_as_said():
    rng = np.random.default_rng(2)
    statuses = [placebo_period(_compare(*rng.gamma(1, 1, (2, 500)))).status for _ in range(1_500)]
    assert binom.ppf(1e-3, 1_500, 0.001) <= statuses.count(Status.FAIL) <= binom.isf(1e-3, 1_500, 0.001)
    flagged = len(statuses) - statuses.count(Status.PASS)
    assert binom.ppf(1e-3, 1_500, 0.01) <= flagged <= binom.isf(1e-3, 1_500, 0.01)


@pytest.mark.parametrize(("errors", "least"), [(4, 0.6), (5, 0.9), (6, 0.99)])
def test_assignment_by_what_units_did_fails(errors, least):
    rng = np.random.default_rng(3)
    shift = errors * np.sqrt(2 / 500)
    found = [placebo_period(_compare(rng.normal(size=500), shift + rng.normal(size=500))) for _ in range(300)]
    assert np.mean([one.status is Status.FAIL for one in found]) > least


def test_a_posterior_cannot_be_graded(estimated):
    with pytest.raises(ValueError, match="no p-value"):
        placebo_period(replace(estimated(1.0, 1.0), p_value=None))
