"""What a hidden cause must be: published answers, and worlds where the hidden cause is known and can be put back."""

from math import inf, sqrt

import numpy as np
import pytest

from causal_assets.estimators.inference import Refusal
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.sensitivity import (
    Linear,
    Strength,
    adjusted,
    as_strong_as,
    bias,
    e_value,
    linear,
    partial_r2,
    ratio_of_difference,
    robustness_value,
    times_needed,
)

# Cinelli & Hazlett (2020), the Darfur study: peace index on being directly harmed, village effects; benchmark: female.
DARFUR = Linear(
    value=0.09731582, std_error=0.02325654, df=783, benchmarks={"female": Strength(0.009081065, 0.109033915)}
)


def _world(seed=0, n=4_000, hidden=0.5):
    rng = np.random.default_rng(seed)
    known, unseen = rng.normal(size=(2, n))
    copy = 2 * known + 1
    d = (known + hidden * unseen + rng.normal(size=n) > 0).astype(float)
    y = 1.5 * d + known + hidden * unseen + rng.normal(size=n)
    return y, d, known, copy, unseen


def test_the_published_robustness_values_of_darfur():
    assert partial_r2(DARFUR.t, 783) == pytest.approx(0.0219, abs=5e-5)
    assert robustness_value(DARFUR.t, 783) == pytest.approx(0.13878, abs=5e-6)
    assert robustness_value(DARFUR.t, 783, alpha=0.05) == pytest.approx(0.0763, abs=5e-5)
    assert robustness_value(DARFUR.t, 783, share=0.5) < robustness_value(DARFUR.t, 783)


@pytest.mark.parametrize(
    ("times", "of_treatment", "of_outcome", "value", "error"),
    [(1, 0.0092, 0.1246, 0.0752, 0.0219), (2, 0.0183, 0.2493, 0.0529, 0.0204), (3, 0.0275, 0.3741, 0.0304, 0.0187)],
)
def test_the_published_bounds_of_darfur(times, of_treatment, of_outcome, value, error):
    hidden = as_strong_as(DARFUR.benchmarks["female"], times)
    assert hidden is not None
    assert (hidden.of_treatment, hidden.of_outcome) == pytest.approx((of_treatment, of_outcome), abs=5e-5)
    assert adjusted(DARFUR, hidden) == pytest.approx((value, error), abs=5e-5)


def test_the_multiple_that_is_needed_brings_the_estimate_to_zero():
    times = times_needed(DARFUR, DARFUR.benchmarks["female"])
    hidden = as_strong_as(DARFUR.benchmarks["female"], times)
    assert hidden is not None
    assert adjusted(DARFUR, hidden)[0] == pytest.approx(0, abs=1e-12)
    assert 3 < times < 5


def test_a_hidden_cause_of_the_robustness_value_in_both_brings_the_estimate_to_zero():
    value = robustness_value(DARFUR.t, 783)
    assert bias(DARFUR, Strength(value, value)) == pytest.approx(DARFUR.value, rel=1e-12)


def test_the_regression_is_least_squares_and_copies_count_once():
    y, d, known, copy, _ = _world()
    found = linear(Moments.of(np.column_stack([y, d, known, copy])), {"known": [2], "copy": [3], "both": [2, 3]})
    x = np.column_stack([np.ones_like(y), d, known])
    beta, rss, *_ = np.linalg.lstsq(x, y, rcond=None)
    assert found.df == len(y) - 3
    assert found.value == pytest.approx(beta[1], rel=1e-9)
    assert found.std_error == pytest.approx(sqrt(rss[0] / found.df * np.linalg.inv(x.T @ x)[1, 1]), rel=1e-9)
    # Either alone adds nothing to the other; together they are what the covariate is.
    assert found.benchmarks["copy"] == found.benchmarks["known"]
    assert found.benchmarks["known"].of_outcome == pytest.approx(0, abs=1e-9)
    alone = linear(Moments.of(np.column_stack([y, d, known])), {"known": [2]})
    assert found.benchmarks["both"].of_outcome == pytest.approx(alone.benchmarks["known"].of_outcome, rel=1e-6)


def test_the_bias_of_a_cause_left_out_is_what_its_strength_says():
    y, d, known, _, unseen = _world()
    short = linear(Moments.of(np.column_stack([y, d, known])), {})
    full = linear(Moments.of(np.column_stack([y, d, known, unseen])), {"unseen": [3]})
    # The identity of omitted variables: exact in every sample. Its strength is given what the short regression knows.
    assert bias(short, full.benchmarks["unseen"]) == pytest.approx(short.value - full.value, rel=1e-9)
    assert adjusted(short, full.benchmarks["unseen"]) == pytest.approx((full.value, full.std_error), rel=1e-3)


def test_a_benchmark_that_drives_one_side_only_needs_an_infinite_cause():
    assert times_needed(DARFUR, Strength(0.0, 0.5)) == inf
    assert times_needed(DARFUR, Strength(0.5, 0.0)) == inf


def test_a_benchmark_so_strong_that_no_second_one_can_be_ends_the_search_there():
    enormous = Linear(value=100.0, std_error=0.01, df=1_000, benchmarks={})
    assert 0 < times_needed(enormous, Strength(0.6, 1e-6)) <= 1
    assert as_strong_as(Strength(0.6, 0.1), 1.0) is None


def test_strong_effects_take_the_second_branch_and_stay_below_one():
    values = [robustness_value(t, 100, alpha=0.05) for t in np.linspace(1, 200, 400)]
    assert np.all(np.diff(values) >= -1e-12)
    assert 0 <= min(values) < max(values) < 1


def test_fixed_effects_taken_out_before_cost_degrees_of_freedom():
    y, d, known, _, _ = _world()
    group = np.arange(len(y)) % 4
    columns = np.column_stack([y, d, known])
    centred = columns - np.stack([columns[group == g].mean(axis=0) for g in range(4)])[group]
    dummies = np.column_stack([columns, *(group == g for g in range(1, 4))])
    within = linear(Moments.of(centred), {"known": [2]}, absorbed=3)
    written_out = linear(Moments.of(dummies), {"known": [2]})
    assert (within.value, within.std_error, within.df) == pytest.approx(
        (written_out.value, written_out.std_error, written_out.df)
    )


def test_what_cannot_be_compared_is_refused():
    y, d, known, _, _ = _world(n=100)
    with pytest.raises(Refusal, match="nothing is left"):
        linear(Moments.of(np.column_stack([y, d, d])), {})
    with pytest.raises(Refusal, match="explain the outcome in full"):
        linear(Moments.of(np.column_stack([d + known, d, known])), {})
    with pytest.raises(ValueError, match="df, share, alpha"):
        robustness_value(2.0, 1)


def test_published_e_values():
    def of(value, std_error, sd):
        return e_value(*ratio_of_difference(value, 1.96 * std_error, sd))

    # DoWhy's test of E-values, from R's EValue; VanderWeele & Ding (2017): smoking, and breast-feeding.
    assert of(0.293, 0.196, 17.405) == pytest.approx((1.141, 1.0), abs=5e-4)
    assert of(0.5, 0.25, 1.0) == pytest.approx((2.529, 1.111), abs=5e-4)
    assert e_value(10.73, 8.02, 14.36) == pytest.approx((20.9, 15.5), abs=0.05)
    assert e_value(3.9, 1.8, 8.7) == pytest.approx((7.26, 3.0), abs=5e-3)


def test_a_risk_ratio_and_its_inverse_have_one_e_value():
    assert e_value(0.8, 0.7, 0.9) == pytest.approx(e_value(1 / 0.8, 1 / 0.9, 1 / 0.7))
    with pytest.raises(ValueError, match="inside its interval"):
        e_value(2.0, 3.0, 4.0)
    with pytest.raises(ValueError, match="sd"):
        ratio_of_difference(1.0, 1.0, 0.0)
