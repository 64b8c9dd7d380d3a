import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from causal_assets.diagnostics.attrition import attrition
from causal_assets.estimators.bounds import imbens_manski, lee_bounds, manski_bounds
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.randomized import difference_in_means
from causal_assets.types import Status

N = 1_500


def _world(rng, effect=0.5, extra=0.2, n=N):
    """Observed outcomes of two arms: 60% always, ``extra`` more if treated, with higher outcomes."""
    arms = []
    for arm in (0, 1):
        kind = rng.random(n)
        y = rng.normal(0, 1, n) + 1.0 * (kind > 0.6) + effect * arm
        arms.append(y[kind < 0.6 + extra * arm])
    return arms


def _lee(control, treated, **options):
    return lee_bounds(control, treated, n_control=N, n_treated=N, outcome="y", **options)


@pytest.mark.parametrize("effect", [0.5, 0.0])
def test_lee_bounds_hold_the_effect_on_the_always_observed_where_the_difference_of_who_is_left_does_not(effect):
    rng = np.random.default_rng(int(10 * effect))
    found = [(_lee(*arms), arms) for arms in (_world(rng, effect) for _ in range(400))]
    assert binomtest(sum(b.estimate.covers(effect) for b, _ in found), 400, 0.95, alternative="less").pvalue > 0.05
    naive = [difference_in_means(*map(Moments.of, arms), outcome="y") for _, arms in found]
    assert np.mean([e.covers(effect) for e in naive]) < 0.3


def _exact_bounds(extra):
    """Of a treated arm that mixes N(0, 1) (weight .6) and N(1, 1) (weight ``extra``), trimmed by the excess."""
    from scipy.optimize import brentq

    weights = np.array([0.6, extra]) / (0.6 + extra)
    kept = weights[0]

    def trimmed(sign):
        means = np.array([0.0, sign * 1.0])
        edge = brentq(lambda q: weights @ norm.cdf(q - means) - kept, -9, 9)
        return sign * (weights @ (means * norm.cdf(edge - means) - norm.pdf(edge - means))) / kept

    return trimmed(1), trimmed(-1)


def test_each_lee_bound_is_estimated_without_bias_and_with_lees_error():
    rng = np.random.default_rng(3)
    found = [_lee(*_world(rng)) for _ in range(800)]
    for bound, truth in zip(("lower", "upper"), _exact_bounds(0.2), strict=True):
        errors = np.array([getattr(b, bound) for b in found]) - truth - 0.5
        assert abs(errors.mean()) / errors.std() < 0.15
        assert 0.93 < np.mean([getattr(b, f"{bound}_error") for b in found]) / errors.std() < 1.07


def test_lee_bounds_by_hand():
    # treated observed 4 of 4, controls 2 of 4: half of the treated are trimmed, from above or from below
    bounds = lee_bounds([1.0, 2.0], [1.0, 2.0, 5.0, 9.0], n_control=4, n_treated=4, outcome="y")
    assert (bounds.lower, bounds.upper) == (1.5 - 1.5, 7.0 - 1.5)
    thirds = lee_bounds([1.0, 2.0, 3.0], [1.0, 2.0, 5.0, 9.0], n_control=6, n_treated=4, outcome="y")
    assert (thirds.lower, thirds.upper) == (1.5 - 2, 7.0 - 2)
    part = lee_bounds([0.0, 2.0, 4.0], [1.0, 2.0, 5.0, 8.0], n_control=8, n_treated=8, outcome="y")
    assert (part.lower, part.upper) == (8 / 3 - 2, 5 - 2)


@given(st.integers(0, 10_000), st.floats(0.01, 0.3))
@example(2298, 0.01)  # both arms observed equally often: either might be the one to trim
@settings(deadline=None)
def test_swapping_the_arms_mirrors_and_scale_and_order_change_nothing(seed, extra):
    rng = np.random.default_rng(seed)
    control, treated = _world(rng, extra=extra, n=200)
    fit = {"n_control": 200, "n_treated": 200, "outcome": "y"}
    base, swapped = lee_bounds(control, treated, **fit), lee_bounds(treated, control, **fit)
    assert (swapped.lower, swapped.upper) == pytest.approx((-base.upper, -base.lower), abs=1e-9)
    assert swapped.estimate.p_value == pytest.approx(base.estimate.p_value, abs=1e-9)
    scaled = lee_bounds(10 * rng.permutation(control) + 3, 10 * treated + 3, **fit)
    assert (scaled.lower, scaled.upper_error) == pytest.approx((10 * base.lower, 10 * base.upper_error), abs=1e-8)
    assert base.lower - 1e-9 <= treated.mean() - control.mean() <= base.upper + 1e-9


def test_without_missing_outcomes_bounds_are_the_difference_in_means():
    rng = np.random.default_rng(4)
    c, t = rng.uniform(size=300), rng.uniform(size=300) ** 0.8
    fit = {"n_control": 300, "n_treated": 300, "outcome": "y"}
    plain = difference_in_means(Moments.of(c), Moments.of(t), outcome="y")
    manski = manski_bounds(Moments.of(c), Moments.of(t), lowest=0, highest=1, **fit)
    for bounds in (lee_bounds(c, t, **fit), manski):
        assert (bounds.lower, bounds.upper) == pytest.approx((plain.value, plain.value), rel=1e-9)
    assert manski.estimate.p_value == pytest.approx(plain.p_value, rel=0.05)


@pytest.mark.parametrize("effect", [0.3, 0.0])
def test_manski_bounds_hold_the_effect_whatever_drives_the_missing(effect):
    rng = np.random.default_rng(int(10 * effect) + 5)
    covered, worst = 0, 0
    for _ in range(400):
        y = rng.binomial(1, 0.4, 800), rng.binomial(1, 0.4 + effect, 800)
        observed = y[0][(y[0] == 0) | (rng.random(800) < 0.8)], y[1][(y[1] == 1) | (rng.random(800) < 0.8)]
        bounds = manski_bounds(
            *map(Moments.of, observed), n_control=800, n_treated=800, lowest=0, highest=1, outcome="y"
        )
        covered += bounds.estimate.covers(effect)
        assert bounds.lower < bounds.upper
        missing = 2 - sum(o.size for o in observed) / 800
        worst = max(worst, abs(bounds.upper - bounds.lower - missing))
    assert worst < 1e-12  # as wide as the share missing in both arms times the range
    assert binomtest(covered, 400, 0.93, alternative="less").pvalue > 0.05


def test_at_a_bound_the_imbens_manski_interval_covers_at_its_rate_and_not_more():
    rng = np.random.default_rng(6)
    hits = 0
    for lower in rng.normal(0, 1, 4_000):  # the effect is the lower bound itself; the upper is far away
        low, high, p = imbens_manski(lower, lower + 8, 1.0, 1.0, 0.95)
        hits += low <= 0 <= high
        assert (low <= 0 <= high) == (p > 0.05)
    assert abs(hits / 4_000 - 0.95) < 0.012


@settings(deadline=None)
@given(st.floats(-5, 5), st.floats(0, 5), st.floats(0.1, 3), st.floats(0.1, 3), st.sampled_from([0.8, 0.95]))
def test_imbens_manski_interval_and_p_value_agree_and_meet_the_known_extremes(lower, apart, first, second, level):
    low, high, p = imbens_manski(lower, lower + apart, first, second, level)
    if abs(p - (1 - level)) > 1e-9:
        assert (low <= 0 <= high) == (p > 1 - level)
    assert low <= lower <= lower + apart <= high
    assert norm.ppf(level) - 1e-6 <= (lower - low) / first <= norm.ppf((1 + level) / 2) + 1e-6


def test_wrong_ranges_and_counts_are_refused():
    fit = {"n_control": 10, "n_treated": 10, "outcome": "y"}
    ones, mixed = Moments.of(np.ones(5)), Moments.of([0.0, 10.0, 0.0, 10.0])
    with pytest.raises(ValueError, match=r"treated arm: outcomes with mean 5 and sd 5 do not fit in \[0, 9\]"):
        manski_bounds(ones, mixed, lowest=0, highest=9, **fit)
    with pytest.raises(ValueError, match="control arm: 5 outcomes of 3 units"):
        manski_bounds(ones, mixed, lowest=0, highest=10, **(fit | {"n_control": 3}))
    with pytest.raises(ValueError, match="expected a finite range"):
        manski_bounds(ones, mixed, lowest=0, highest=np.inf, **fit)
    with pytest.raises(ValueError, match="control: expected between 2 and n = 10 finite observed outcomes"):
        lee_bounds([1.0, np.nan], [1.0, 2.0], **fit)
    with pytest.raises(ValueError, match="treated: expected between 2 and n = 10"):
        lee_bounds([1.0, 2.0], np.ones(11), **fit)
    with pytest.raises(ValueError, match="need an outcome that varies"):
        lee_bounds(np.ones(10), np.ones(10), **fit)
    with pytest.raises(ValueError, match="ordered bounds with positive standard errors"):
        imbens_manski(1.0, 0.0, 1.0, 1.0, 0.95)


@pytest.mark.parametrize(
    ("observed", "status"), [((900, 905), Status.PASS), ((900, 862), Status.REVIEW), ((900, 850), Status.FAIL)]
)
def test_attrition_that_differs_by_arm_is_found(observed, status):
    given = dict(zip(("control", "treated"), observed, strict=True))
    found = attrition(given, {"control": 1_000, "treated": 1_000})
    assert found.status is status
    assert "control 90.00% of 1,000" in found.message


def test_nothing_lost_passes_and_impossible_counts_are_refused():
    assert attrition({"a": 5, "b": 7}, {"a": 5, "b": 7}).status is Status.PASS
    with pytest.raises(ValueError, match="attrition in b: expected 0 <= part <= whole"):
        attrition({"a": 5, "b": 8}, {"a": 5, "b": 7})
    with pytest.raises(ValueError, match="same two or more arms"):
        attrition({"a": 5}, {"a": 5})


def test_attrition_alarms_a_healthy_study_once_in_a_thousand():
    rng = np.random.default_rng(8)
    draws = rng.binomial(1_000, 0.9, size=(3_000, 2))
    failed = sum(
        attrition({"a": int(a), "b": int(b)}, {"a": 1_000, "b": 1_000}).status is Status.FAIL for a, b in draws[:1_000]
    )
    assert binomtest(failed, 1_000, 0.001, alternative="greater").pvalue > 0.001
