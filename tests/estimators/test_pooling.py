import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from causal_assets.estimators.pooling import fixed_effect, partial_pooling, random_effects

# Colditz et al. (1994), JAMA 271, BCG vaccine against tuberculosis: cases and non-cases, vaccinated and not
BCG = np.array([
    [4, 119, 11, 128], [6, 300, 29, 274], [3, 228, 11, 209], [62, 13536, 248, 12619], [33, 5036, 47, 5761],
    [180, 1361, 372, 1079], [8, 2537, 10, 619], [505, 87886, 499, 87892], [29, 7470, 45, 7232], [17, 1699, 65, 1600],
    [186, 50448, 141, 27197], [5, 2493, 3, 2338], [27, 16886, 29, 17825],
], dtype=float)  # fmt: skip
# Rubin (1981), Estimation in parallel randomized experiments, table 1: coaching in eight schools
SCHOOLS = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
SCHOOL_ERRORS = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])


def _log_risk_ratios(table):
    a, b, c, d = table.T
    return np.log(a / (a + b) / (c / (c + d))), np.sqrt(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d))


def _groups(y, errors, **options):
    return partial_pooling(y, errors, outcomes=[f"g{i}" for i in range(len(y))], **options)


def test_the_bcg_trials_give_their_published_pooled_effects():
    # Viechtbauer (2010), metafor, J. Stat. Soft. 36(3): rma(yi, vi), log relative risks
    effects = _log_risk_ratios(BCG)
    pooled = random_effects(*effects, outcome="log RR")
    assert pooled.estimate.value == pytest.approx(-0.7145, abs=5e-5)
    assert pooled.tau2 == pytest.approx(0.3132, abs=5e-5)
    assert pooled.q == pytest.approx(152.2330, abs=5e-5)
    assert pooled.i2 == pytest.approx(0.9222, abs=5e-5)
    # the classical error is 0.1798; Hartung and Knapp's q is just above 1 here
    assert pooled.estimate.std_error == pytest.approx(0.1808, abs=5e-5)
    assert pooled.estimate.p_value == pytest.approx(0.0019, abs=5e-5)
    by = {between: random_effects(*effects, outcome="log RR", between=between).tau2 for between in ("DL", "PM")}
    assert by == pytest.approx({"DL": 0.3088, "PM": 0.3181}, abs=5e-5)
    common = fixed_effect(*effects, outcome="log RR")
    assert (common.value, common.std_error) == pytest.approx((-0.4303, 0.0405), abs=5e-5)


def test_statsmodels_gives_the_same_hartung_knapp_intervals():
    from statsmodels.stats.meta_analysis import combine_effects

    y, error = _log_risk_ratios(BCG)
    for between, theirs in (("DL", "chi2"), ("PM", "iterated")):
        reference = combine_effects(y, error**2, method_re=theirs, use_t=True, atol=1e-14)
        ours = random_effects(y, error, outcome="y", between=between, floored=False)
        assert ours.tau2 == pytest.approx(reference.tau2, rel=1e-6)
        assert ours.estimate.value == pytest.approx(reference.mean_effect_re, rel=1e-7)
        assert ours.estimate.std_error == pytest.approx(reference.sd_eff_w_re_hksj, rel=1e-6)
        assert (ours.q, ours.estimate.level) == pytest.approx((reference.q, 0.95), rel=1e-9)
    common = fixed_effect(y, error, outcome="y")
    assert (common.value, common.std_error) == pytest.approx(
        (reference.mean_effect_fe, reference.sd_eff_w_fe), rel=1e-9
    )


def test_equal_precisions_make_the_interval_that_of_a_one_sample_t_test():
    from scipy.stats import ttest_1samp

    y = np.array([0.1, 0.9, 0.4, 1.7, -0.6])
    ours = random_effects(y, np.full(5, 0.2), outcome="y").estimate
    reference = ttest_1samp(y, 0.0)
    assert (ours.low, ours.high) == pytest.approx(tuple(reference.confidence_interval(0.95)), rel=1e-9)
    assert ours.p_value == pytest.approx(reference.pvalue, rel=1e-9)


def test_the_restricted_likelihood_is_at_its_top():
    y, error = _log_risk_ratios(BCG)
    v = error**2

    def likelihood(tau2):
        w = 1 / (v + tau2)
        return np.log(w).sum() - np.log(w.sum()) - (w * (y - w @ y / w.sum()) ** 2).sum()

    best = random_effects(y, error, outcome="y").tau2
    assert all(likelihood(best) > likelihood(best * factor) for factor in (0.99, 1.01, 0.1, 10))


@pytest.mark.parametrize("tau", [0.0, 0.3])
@pytest.mark.parametrize("truth", [0.4, 0.0])
def test_five_studies_recover_the_mean_effect(tau, truth):
    error = np.array([0.1, 0.15, 0.2, 0.25, 0.3])
    rng = np.random.default_rng(int(10 * truth + tau))
    draws = truth + tau * rng.normal(size=(400, 5)) + error * rng.normal(size=(400, 5))
    results = [random_effects(y, error, outcome="y").estimate for y in draws]
    errors = np.array([r.value - truth for r in results])
    assert abs(errors.mean()) / errors.std() < 0.15
    covered = sum(r.covers(truth) for r in results)
    assert binomtest(covered, 400, 0.92, alternative="less").pvalue > 0.05
    if tau:  # without heterogeneity the floor covers more than it promises
        assert binomtest(covered, 400, 0.97, alternative="greater").pvalue > 0.05


def test_the_prediction_interval_holds_the_next_true_effect_where_studies_differ_much():
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(400):
        y = 1 + rng.normal(size=10) + 0.2 * rng.normal(size=10)
        pooled = random_effects(y, np.full(10, 0.2), outcome="y")
        hits += pooled.predicted_low <= 1 + rng.normal() <= pooled.predicted_high
    assert binomtest(hits, 400, 0.95).pvalue > 0.01


def test_two_studies_foretell_nothing_about_a_third():
    pooled = random_effects([1.0, 2.0], [0.1, 0.1], outcome="y")
    assert (pooled.predicted_low, pooled.predicted_high) == (-np.inf, np.inf)


def test_the_floor_keeps_studies_that_agree_by_luck_from_a_short_interval():
    y, error = np.array([1.0, 1.001, 0.999]), np.full(3, 0.5)
    floored, plain = (random_effects(y, error, outcome="y", floored=f).estimate for f in (True, False))
    assert floored.std_error == pytest.approx(fixed_effect(y, error, outcome="y").std_error)
    assert plain.std_error < 0.01 * floored.std_error


effects = st.lists(st.tuples(st.floats(-5, 5), st.floats(0.1, 2)), min_size=4, max_size=8)


@settings(max_examples=40, deadline=None)
@given(effects, st.sampled_from(["REML", "DL", "PM"]), st.randoms(use_true_random=False))
def test_order_origin_and_unit_change_nothing_they_should_not(studies, between, random):
    y, error = np.array(studies).T
    base = random_effects(y, error, outcome="y", between=between)
    shuffled = random.sample(range(len(y)), len(y))
    order = random_effects(y[shuffled], error[shuffled], outcome="y", between=between)
    scaled = random_effects(100 * y, 100 * error, outcome="y", between=between)
    shifted = random_effects(y + 7, error, outcome="y", between=between)
    flipped = random_effects(-y, error, outcome="y", between=between)
    close = {"rel": 1e-5, "abs": 1e-7}
    assert order.estimate.value == pytest.approx(base.estimate.value, **close)
    assert scaled.estimate.low == pytest.approx(100 * base.estimate.low, rel=1e-5, abs=1e-5)
    assert shifted.estimate.value - 7 == pytest.approx(base.estimate.value, **close)
    assert (flipped.estimate.value, flipped.estimate.p_value) == pytest.approx(
        (-base.estimate.value, base.estimate.p_value), **close
    )
    assert base.estimate.covers(0.0) == (base.estimate.p_value > 0.05)


def test_eight_schools_have_their_published_posterior():
    # Gelman et al. (2013), Bayesian Data Analysis, table 5.3: quartiles, from 200 simulations (error about 1)
    published = np.array([
        [7, 10, 16], [3, 8, 12], [2, 7, 11], [4, 8, 11], [1, 5, 10], [2, 6, 10], [7, 10, 15], [3, 8, 13],
    ])  # fmt: skip
    half = _groups(SCHOOLS, SCHOOL_ERRORS, prior="flat deviation", level=0.5)
    ours = np.array([[e.low, e.high] for e in half])
    assert np.abs(ours - published[:, [0, 2]]).max() < 1.5


def test_the_posterior_is_that_of_a_brute_force_integral():
    from scipy.integrate import quad
    from scipy.stats import norm

    y, v = SCHOOLS[:4], SCHOOL_ERRORS[:4] ** 2

    def parts(tau):
        w = 1 / (v + tau**2)
        mean = w @ y / w.sum()
        weight = tau * np.sqrt(w.prod() / w.sum()) * np.exp(-(w @ (y - mean) ** 2) / 2)  # flat in tau^2
        shrink = v[0] * w[0]
        return weight, y[0] + shrink * (mean - y[0]), np.sqrt(v[0] * (1 - shrink) + shrink**2 / w.sum())

    ours = _groups(y, SCHOOL_ERRORS[:4])[0]
    total = quad(lambda tau: parts(tau)[0], 0, np.inf, limit=400)[0]

    def below(x):
        def mass(tau):
            weight, mean, spread = parts(tau)
            return weight * norm.cdf(x, mean, spread)

        return quad(mass, 0, np.inf, limit=400)[0] / total

    assert below(ours.low) == pytest.approx(0.025, abs=5e-4)
    assert below(ours.high) == pytest.approx(0.975, abs=5e-4)
    assert ours.value == pytest.approx(
        quad(lambda tau: parts(tau)[0] * parts(tau)[1], 0, np.inf, limit=400)[0] / total, rel=0.01
    )


@pytest.mark.parametrize("tau", [0.0, 0.5, 2.0])
def test_shrunken_intervals_cover_on_average_over_groups_and_have_no_p_value(tau):
    error = np.tile([0.5, 0.8, 1.0, 1.5], 2)
    rng = np.random.default_rng(int(tau * 10))
    hits, better = 0, 0.0
    for _ in range(200):
        truth = 1 + tau * rng.normal(size=8)
        y = truth + error * rng.normal(size=8)
        groups = _groups(y, error)
        assert all(g.p_value is None for g in groups)
        pick = rng.integers(8)  # one group per set, so that hits are independent
        hits += groups[pick].covers(truth[pick])
        better += ((y - truth) ** 2).sum() - sum((g.value - t) ** 2 for g, t in zip(groups, truth, strict=True))
    assert binomtest(hits, 200, 0.95, alternative="less").pvalue > 0.01
    assert better > 0  # and the groups together are nearer to the truth than each alone


def test_groups_are_drawn_to_their_mean_and_the_noisiest_most():
    pooled = _groups(SCHOOLS, SCHOOL_ERRORS)
    mean = fixed_effect(SCHOOLS, SCHOOL_ERRORS, outcome="y").value
    kept = [(g.value - mean) / (y - mean) for g, y in zip(pooled, SCHOOLS, strict=True)]
    assert all(0 < k < 1 for k in (kept[0], kept[2], kept[4], kept[6]))
    scaled = _groups(100 * SCHOOLS + 3, 100 * SCHOOL_ERRORS)
    assert [s.low for s in scaled] == pytest.approx([100 * p.low + 3 for p in pooled], rel=1e-9)
    assert pooled == _groups(SCHOOLS, SCHOOL_ERRORS)


def test_bad_studies_are_refused_by_name():
    with pytest.raises(ValueError, match="at least 2 studies"):
        random_effects([1.0], [1.0], outcome="y")
    with pytest.raises(ValueError, match="std_error: expected finite numbers above 0"):
        fixed_effect([1.0, 2.0], [1.0, 0.0], outcome="y")
    with pytest.raises(ValueError, match="value: effects must be finite"):
        random_effects([1.0, np.nan], [1.0, 1.0], outcome="y")
    with pytest.raises(ValueError, match="expected equal shapes"):
        random_effects([1.0, 2.0], [1.0], outcome="y")
    with pytest.raises(ValueError, match="between: expected one of"):
        random_effects([1.0, 2.0], [1.0, 1.0], outcome="y", between="ML")  # ty: ignore[invalid-argument-type]
    with pytest.raises(ValueError, match="at least 4 studies or groups"):
        _groups(SCHOOLS[:3], SCHOOL_ERRORS[:3])
    with pytest.raises(ValueError, match="outcomes: expected 8 entries"):
        partial_pooling(SCHOOLS, SCHOOL_ERRORS, outcomes=["a"])
    with pytest.raises(ValueError, match="level: must lie"):
        _groups(SCHOOLS, SCHOOL_ERRORS, level=95)
    with pytest.raises(ValueError, match="y: the effect needs a positive variance, got 0"):
        random_effects([1.0, 1.0], [1.0, 1.0], outcome="y", floored=False)
