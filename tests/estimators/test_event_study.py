import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from causal_assets.estimators.cluster_robust import cluster_fit, cluster_products
from causal_assets.estimators.event_study import event_study, event_study_clusters, one_adoption
from causal_assets.estimators.inference import Refusal
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.parallel_trends import breakdown, detrended, pre_test, pre_trend
from tests.estimators.panels import event_study_rows, long

PERIODS, ADOPTION = 7, 4


def _outcome(seed, units=150, effect=(1.0, 1.0, 1.0), slope=0.0):
    """Outcome and dose (units, 7): a third adopts in period 4, and drifts away from the rest by ``slope`` a period."""
    rng = np.random.default_rng(seed)
    treated = np.arange(units) < units // 3
    walk = 0.5 * rng.normal(size=(units, PERIODS)).cumsum(axis=1) + rng.normal(size=(units, 1))
    path = np.append(np.zeros(ADOPTION), effect) + slope * np.arange(PERIODS)
    dose = treated[:, None] & (np.arange(PERIODS) >= ADOPTION)
    return walk + treated[:, None] * (2 + path) + np.arange(PERIODS), dose.astype(float)


def _study(*args, **options):
    return event_study_rows(*long(*_outcome(*args, **options)))


@pytest.mark.parametrize("truth", [1.0, 0.0])
@pytest.mark.parametrize("units", [30, 150])
def test_the_planted_effects_are_recovered_with_honest_errors(units, truth):
    first = 0 if truth else 1_500  # the placebo twin has draws of its own
    found = [_study(first + s, units, (truth,) * 3).estimates(outcome="y") for s in range(1_500)]
    assert [e.estimand for e in found[0]] == [f"ATT, period {k:+d}" for k in (-4, -3, -2, 0, 1, 2)]
    for k, planted in enumerate([0, 0, 0, truth, truth, truth]):
        results = [f[k] for f in found]
        errors = np.array([r.value - planted for r in results])
        assert abs(errors.mean()) / errors.std() < 0.15
        assert 0.93 < np.sqrt(np.mean([r.std_error**2 for r in results])) / errors.std() < 1.07
        assert binomtest(sum(r.covers(planted) for r in results), 1_500, 0.94, alternative="less").pvalue > 0.05
        assert all(r.covers(0) == (r.p_value > 0.05) for r in results)


def test_coefficients_errors_and_covariances_are_pyfixest_s():
    import pyfixest as pf

    outcome, dose = _outcome(1)
    y, d, unit, period = long(outcome, dose)
    data = pd.DataFrame({"y": y, "unit": unit, "period": period, "ever": d.max() * (unit < 50)})
    # Without (N-1)/(N-k): pyfixest 0.60 counts k by the order of a set, so that it changes with the hash seed.
    options = {"vcov": {"CRV1": "unit"}, "ssc": pf.ssc(k_adj=False)}
    reference = pf.feols("y ~ i(period, ever, ref=3) | unit + period", data, **options)
    ours = event_study_rows(y, d, unit, period)
    np.testing.assert_allclose(ours.coef, reference.coef(), rtol=1e-8)
    np.testing.assert_allclose(ours.cov, reference._vcov * (y.size - 1) / (y.size - 13), rtol=1e-7, atol=1e-12)


def test_the_pre_trend_test_holds_its_level_and_finds_a_trend():
    rejected = [_study(s).pre_trend()[2] < 0.05 for s in range(400)]
    assert binomtest(sum(rejected), 400, 0.05).pvalue > 0.001
    assert np.mean([_study(s, slope=0.3).pre_trend()[2] < 0.05 for s in range(50)]) > 0.9
    assert _study(0).pre_trend()[1] == 3


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.01, 100), shift=st.floats(-1e6, 1e6))
def test_order_labels_scale_and_shift_change_nothing_they_should_not(seed, scale, shift):
    y, d, unit, period = long(*_outcome(seed))
    base = event_study_rows(y, d, unit, period)
    order = np.random.default_rng(seed).permutation(y.size)
    moved = event_study_rows((scale * y + shift)[order], d[order], (unit * 7 % 150)[order], 3 * period[order])
    np.testing.assert_allclose(moved.coef, scale * base.coef, rtol=1e-6, atol=1e-6 * scale)
    np.testing.assert_allclose(moved.cov, scale**2 * base.cov, rtol=1e-6, atol=1e-9 * scale**2)


def test_a_linear_drift_is_taken_out_exactly_only_with_universal_base_and_full_covariance():
    noisy = _study(3)
    relative = np.array(noisy.relative)
    path = 0.7 * (relative + 1) + np.where(relative >= 0, 1.5, 0.0)  # noise-free: a slope and an effect
    from dataclasses import replace

    exact = replace(noisy, coef=path)
    weight = np.full(3, 1 / 3)
    assert detrended(exact, weight, outcome="y").value == pytest.approx(1.5, rel=1e-9)
    diagonal = replace(noisy, coef=path, joint=False)
    for ask in (lambda: detrended(diagonal, weight, outcome="y"), lambda: pre_trend(diagonal), diagonal.pre_trend):
        with pytest.raises(ValueError, match="full covariance"):
            ask()


def test_the_effect_less_a_linear_drift_covers_the_truth_where_the_plain_one_does_not():
    weight = np.full(3, 1 / 3)
    plain = covered = 0
    for seed in range(400):
        study = _study(seed, effect=(1.0, 1.0, 1.0), slope=0.2)
        covered += detrended(study, weight, outcome="y").covers(1.0)
        error = np.sqrt(weight @ study.cov[3:, 3:] @ weight)
        plain += abs(weight @ study.coef[3:] - 1.0) < 1.96 * error
    assert binomtest(covered, 400, 0.95).pvalue > 0.001
    assert plain < 200


def test_without_noise_before_adoption_the_breakdown_is_diff_diff_s_closed_form():
    from dataclasses import replace

    from diff_diff.honest_did import _solve_rm_bounds_union

    noisy = _study(3)
    cov = noisy.cov.copy()
    cov[:3] = cov[:, :3] = 0.0
    coef = np.array([0.1, -0.2, 0.05, 2.0, 2.5, 1.8])
    weight = np.full(3, 1 / 3)
    value = breakdown(replace(noisy, coef=coef, cov=cov), weight)
    low, _ = _solve_rm_bounds_union(coef[:3], coef[3:], weight, 3, value)
    assert low == pytest.approx(1.959964 * np.sqrt(weight @ cov[3:, 3:] @ weight), abs=1e-3)


def test_a_claim_is_excluded_too_often_at_no_violation_that_the_bound_allows():
    # The worst drift that Mbar = 1 allows: after adoption as fast as before, all of it bias, the true effect 0.
    weight = np.full(3, 1 / 3)
    survived = sum(breakdown(_study(s, effect=(0.0,) * 3, slope=0.2), weight) >= 1.0 for s in range(400))
    assert binomtest(survived, 400, 0.05, alternative="greater").pvalue > 0.001
    assert np.mean([breakdown(_study(s, effect=(5.0,) * 3), weight) > 1.0 for s in range(50)]) > 0.9


def test_power_of_the_pre_test_is_the_share_of_trends_it_finds():
    judged = pre_trend(_study(0, effect=(1.0,) * 3))
    slope = np.mean(_study(0, effect=(1.0,) * 3).coef[3:]) / 2 / 2  # bias 1, 2, 3 times the slope
    found = np.mean([pre_test(_study(s, slope=slope), slope=0.0)[0] < 0.05 for s in range(400)])
    assert judged.power == pytest.approx(found, abs=0.1)
    assert judged.claimed and judged.breakdown > 0
    weak = pre_trend(_study(1, units=30, effect=(0.0,) * 3))
    assert not weak.claimed and weak.breakdown == 0.0


def _by_cluster(outcome, dose, cluster):
    """Units and sums of each cluster's arms, the event study of them, and the differences with their treatment."""
    change, treated = np.delete(outcome - outcome[:, [ADOPTION - 1]], ADOPTION - 1, axis=1), dose.any(axis=1)
    member = (cluster[:, None] == np.unique(cluster))[..., None] & (treated[:, None, None] == np.array([False, True]))
    relative = [k - ADOPTION for k in range(PERIODS) if k != ADOPTION - 1]
    found = event_study_clusters(member.sum(axis=0).astype(float), np.einsum("iga,ik->gak", member, change), relative)
    return found, change, treated


def test_clusters_of_one_unit_give_the_errors_by_unit():
    outcome, dose = _outcome(0)
    for kept in (np.arange(150), np.arange(20, 90)):  # 50 treated units and more: CR1; 30: CR2
        found, _, _ = _by_cluster(outcome[kept], dose[kept], kept)
        expected = event_study_rows(*long(outcome[kept], dose[kept]))
        np.testing.assert_allclose(found.coef, expected.coef, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found.cov, expected.cov, rtol=1e-8, atol=1e-12)
        assert found.df == pytest.approx(expected.df, rel=1e-6)


def test_errors_by_cluster_are_those_of_the_regressions_on_the_arm():
    import statsmodels.api as sm

    outcome, dose = _outcome(0)
    cluster = np.arange(150) % 70  # both arms in some
    found, change, treated = _by_cluster(outcome, dose, cluster)
    assert (found.n_treated, found.n_control, found.df) == (50, 70, 69)
    fit = sm.OLS(change[:, 0], sm.add_constant(treated.astype(float)))
    plain = fit.fit(cov_type="cluster", cov_kwds={"groups": cluster, "use_correction": False}).bse[1]
    factor = 70 / 69 * (150 * PERIODS - 1) / (150 * PERIODS - 2 * PERIODS + 1)
    assert np.sqrt(found.cov[0, 0]) == pytest.approx(plain * np.sqrt(factor), rel=1e-9)
    few = np.arange(150) // 5  # ten treated clusters: CR2, here against the 2x2 of the same differences
    found, change, treated = _by_cluster(outcome, dose, few)
    design = np.column_stack([np.ones(150), treated])
    alone = cluster_fit(*cluster_products(design, change[:, 2], few))
    assert found.cov[2, 2] == pytest.approx(alone.cov[1, 1], rel=1e-9)
    assert found.df == pytest.approx(alone.df([0.0, 1.0]), rel=1e-9)
    with pytest.raises(Refusal, match="2 treated and 4 control clusters"):
        _by_cluster(outcome, dose, np.arange(150) // 25)


def test_bad_input_is_refused_by_name():
    outcome, dose = _outcome(0)
    y, d, unit, period = long(outcome, dose)
    with pytest.raises(ValueError, match="the panel is unbalanced, 1 of 150 x 7 rows are missing"):
        event_study_rows(y[1:], d[1:], unit[1:], period[1:])
    late = dose.copy()
    late[:5, ADOPTION] = 0
    with pytest.raises(ValueError, match="use staggered adoption"):
        event_study_rows(*long(outcome, late))
    with pytest.raises(ValueError, match="treatment ends in 50 units"):
        event_study_rows(*long(outcome, dose * (np.arange(PERIODS) < 6)))
    with pytest.raises(ValueError, match="nobody is treated"):
        event_study_rows(*long(outcome, 0 * dose))
    with pytest.raises(ValueError, match="there is no pre-period"):
        one_adoption([1.0, 1.0])
    with pytest.raises(ValueError, match="4 treated and 146 control clusters"):
        few = dose * (np.arange(150) < 4)[:, None]
        event_study_rows(*long(outcome, few)).estimates(outcome="y")
    arm = Moments.of(outcome)
    with pytest.raises(ValueError, match="expected 7 periods, got 2"):
        event_study(arm, arm, [0, 1])
    with pytest.raises(ValueError, match="at least 2 treated and 2 control units, got 1 and 150"):
        event_study(arm, Moments.of(outcome[:1]), list(range(7)))
    with pytest.raises(ValueError, match="2 periods before adoption"):
        event_study_rows(*long(outcome[:, 3:], dose[:, 3:])).pre_trend()
    with pytest.raises(ValueError, match="is the outcome constant"):
        event_study_rows(*long(0 * outcome, dose)).estimates(outcome="y")
