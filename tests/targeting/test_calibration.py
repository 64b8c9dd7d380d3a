import numpy as np
import pytest
from scipy.stats import binomtest, ttest_ind

from causal_assets.estimators.inference import Refusal
from causal_assets.targeting.calibration import best_linear_prediction, characteristics, sorted_groups
from tests.targeting.ranked import MEAN, scores

SEEDS = 400
SLOPE = 0.4


def _predicted(u):
    """A model that orders right and predicts half the true spread, too high: the line's slope is 2."""
    return 0.5 + SLOPE / 2 * (u - 0.5)


@pytest.mark.parametrize("slope", [SLOPE, 0.0])
def test_mean_slope_and_effect_at_a_score_are_recovered_with_honest_errors(slope):
    first = 0 if slope else SEEDS  # the placebo twin has draws of its own
    truth = np.array([MEAN, 2 if slope else 0, MEAN + 0.45 * slope])
    values, errors, covered, claimed = [], [], 0, 0
    for seed in range(first, first + SEEDS):
        u, psi = scores(seed, 1_000, slope)
        found = best_linear_prediction(psi, _predicted(u))
        at, error = found.effect([_predicted(0.95)])
        values.append([found.ate.value, found.slope.value, at[0]])
        errors.append([found.ate.std_error, found.slope.std_error, error[0]])
        intervals = [
            *((m.low, m.high) for m in (found.ate, found.slope)),
            (at[0] - 1.96 * error[0], at[0] + 1.96 * error[0]),
        ]
        covered += np.array([low <= t <= high for (low, high), t in zip(intervals, truth, strict=True)])
        claimed += found.slope.p_value < 0.05
    spread = np.std(values, axis=0)
    assert (np.abs(np.mean(values, axis=0) - truth) < 3 * spread / np.sqrt(SEEDS)).all()
    assert (np.abs(np.mean(errors, axis=0) / spread - 1) < 0.11).all()  # three Monte-Carlo errors of the spread
    assert all(binomtest(int(c), SEEDS, 0.95).pvalue > 0.01 for c in covered)
    assert claimed > 0.9 * SEEDS if slope else binomtest(int(claimed), SEEDS, 0.05).pvalue > 0.01


def test_errors_are_statsmodels_hc2_and_the_textbooks_of_a_mean():
    import statsmodels.api as sm

    u, psi = scores(1, 300)
    found = best_linear_prediction(psi, u)
    reference = sm.OLS(psi, np.column_stack([np.ones(300), u - u.mean()])).fit(cov_type="HC2")
    assert found.slope.value == pytest.approx(reference.params[1], rel=1e-10)
    assert found.cov == pytest.approx(reference.cov_params(), rel=1e-9)
    assert found.ate.std_error == pytest.approx(psi.std(ddof=1) / np.sqrt(300), rel=1e-12)
    at = reference.get_prediction([[1.0, 0.3]])
    value, error = found.effect([u.mean() + 0.3])
    assert (value[0], error[0]) == pytest.approx((at.predicted_mean[0], at.se_mean[0]), rel=1e-9)


def test_the_slope_is_econmls():
    from econml.validate import DRTester

    u, psi = scores(2, 500)
    tester = DRTester(model_regression=None, model_propensity=None, cate=None)
    tester.dr_val_, tester.cate_preds_val_ = psi[:, None], u[:, None]
    tester.treatments, tester.n_treat = np.array([0, 1]), 1
    assert best_linear_prediction(psi, u).slope.value == pytest.approx(tester.evaluate_blp().params[0], rel=1e-10)


def test_a_model_without_heterogeneity_has_an_effect_but_no_slope():
    _, psi = scores(3, 500)
    found = best_linear_prediction(psi, np.full(500, 0.07))
    assert found.slope is None
    value, error = found.effect([0.07, 0.07])
    assert value == pytest.approx([psi.mean()] * 2)
    assert error == pytest.approx([found.ate.std_error] * 2)
    (whole,) = sorted_groups(psi, np.full(500, 0.07)).groups
    assert (whole.units, whole.predicted, whole.realised) == pytest.approx((500, 0.07, psi.mean()))
    with pytest.raises(Refusal, match="none is more affected"):
        characteristics(np.zeros((500, 1)), ["age"], np.full(500, 0.07))


def test_shift_of_effects_and_scale_of_predictions_move_only_what_they_should():
    u, psi = scores(4, 500)
    base = best_linear_prediction(psi, u)
    moved = best_linear_prediction(psi + 1e6, 1e-7 * u + 3)
    assert moved.slope.value == pytest.approx(1e7 * base.slope.value, rel=1e-6)
    assert moved.slope.p_value == pytest.approx(base.slope.p_value, rel=1e-5)
    assert moved.ate.value == pytest.approx(base.ate.value + 1e6, rel=1e-12)
    assert moved.ate.std_error == pytest.approx(base.ate.std_error, rel=1e-7)
    mixed = np.random.default_rng(0).permutation(500)
    again = best_linear_prediction(psi[mixed], u[mixed])
    assert again.slope.std_error == pytest.approx(base.slope.std_error, rel=1e-10)


def test_copies_of_a_unit_add_nothing_where_they_are_its_cluster():
    u, psi = scores(5, 400)
    cluster = np.repeat(np.arange(400), 3)
    copied = best_linear_prediction(np.repeat(psi, 3), np.repeat(u, 3), cluster=cluster)
    single = best_linear_prediction(psi, u)
    assert copied.slope.value == pytest.approx(single.slope.value, rel=1e-9)
    assert copied.slope.std_error == pytest.approx(single.slope.std_error, rel=1e-9)
    assert copied.ate.std_error == pytest.approx(single.ate.std_error, rel=1e-9)
    groups = [
        sorted_groups(np.repeat(psi, 3), np.repeat(u, 3), groups=4, cluster=cluster),
        sorted_groups(psi, u, groups=4),
    ]
    for one, other in zip(*(found.groups for found in groups), strict=True):
        assert one.realised == pytest.approx(other.realised, rel=1e-9)
        assert one.std_error == pytest.approx(other.std_error, rel=1e-9)
    assert groups[0].spread.std_error == pytest.approx(groups[1].spread.std_error, rel=1e-9)


def test_dependent_units_keep_their_coverage_by_cluster_and_lose_it_without():
    covered = np.zeros(2)
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        home = np.repeat(np.arange(40), 25)
        u = rng.random(40)[home] + 0.2 * rng.random(1_000)
        psi = 0.5 * u + rng.normal(size=40)[home] + rng.normal(size=1_000)
        found = [best_linear_prediction(psi, u, cluster=cluster).slope for cluster in (home, None)]
        covered += [slope.low <= 0.5 <= slope.high for slope in found]
    assert binomtest(int(covered[0]), SEEDS, 0.94, alternative="less").pvalue > 0.01
    assert covered[1] < 0.6 * SEEDS


def test_ten_groups_realise_what_was_planted_all_at_once():
    held, spreads = 0, 0
    for seed in range(SEEDS):
        u, psi = scores(seed, 1_000, SLOPE)
        found = sorted_groups(psi, _predicted(u))
        cut = np.sort(u).reshape(10, 100).mean(axis=1)
        truth = MEAN + SLOPE * (cut - 0.5)
        held += all(g.low <= t <= g.high for g, t in zip(found.groups, truth, strict=True))
        spreads += found.spread.low <= truth[-1] - truth[0] <= found.spread.high
    assert binomtest(held, SEEDS, 0.95).pvalue > 0.01
    assert binomtest(spreads, SEEDS, 0.95).pvalue > 0.01


def test_groups_are_tenths_by_prediction_with_their_own_means_and_errors():
    u, psi = scores(6, 1_003)
    found = sorted_groups(psi, u).groups
    assert sorted(g.units for g in found) == [100] * 7 + [101] * 3
    order, last = np.argsort(u), found[-1]
    best = psi[order][-last.units :]
    assert last.predicted == pytest.approx(u[order][-last.units :].mean())
    assert last.realised == pytest.approx(best.mean())
    assert last.std_error == pytest.approx(best.std(ddof=1) / np.sqrt(last.units))


def test_units_of_one_score_stay_together():
    score = np.repeat([0.0, 1.0, 2.0], [700, 250, 50])
    found = sorted_groups(np.arange(1_000.0), score, groups=10)
    assert [(g.units, g.predicted) for g in found.groups] == [(700, 0.0), (250, 1.0), (50, 2.0)]


def test_who_is_most_affected_is_told_with_welchs_interval():
    rng = np.random.default_rng(7)
    u = rng.random(1_000)
    x = np.column_stack([20 + 40 * u + rng.normal(size=1_000), rng.random(1_000), np.ones(1_000)])
    age, noise, same = characteristics(x, ["age", "noise", "same"], u)
    order = np.argsort(u)
    least, most = x[order[:200], 0], x[order[-200:], 0]
    assert (age.least, age.most) == pytest.approx((least.mean(), most.mean()))
    interval = ttest_ind(most, least, equal_var=False).confidence_interval(0.95 ** (1 / 3))
    assert (age.low, age.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
    assert age.low < 32 < age.high
    assert noise.low < 0 < noise.high
    assert (same.difference, same.low, same.high) == (0, 0, 0)


def test_differences_of_many_covariates_hold_at_once():
    held = 0
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        found = characteristics(rng.normal(size=(500, 20)), [f"x{j}" for j in range(20)], rng.random(500))
        held += all(one.low <= 0 <= one.high for one in found)
    assert binomtest(held, SEEDS, 0.95).pvalue > 0.01


def test_input_that_makes_no_sense_is_refused_by_name():
    u, psi = scores(8, 500)
    with pytest.raises(ValueError, match="score: 1 entries are NaN"):
        best_linear_prediction(psi, np.where(np.arange(500) == 1, np.nan, u))
    with pytest.raises(ValueError, match="psi, score: expected vectors of one length"):
        sorted_groups(psi[:-1], u)
    with pytest.raises(ValueError, match="psi: expected at least 20 units, got 19"):
        best_linear_prediction(psi[:19], u[:19])
    with pytest.raises(ValueError, match="one unit alone determines the slope"):
        best_linear_prediction(psi, np.append(1e9, np.zeros(499)))
    with pytest.raises(ValueError, match="cluster: expected one label per unit"):
        best_linear_prediction(psi, u, cluster=np.zeros(3))
    with pytest.raises(Refusal, match="at least 5 clusters, got 4"):
        sorted_groups(psi, u, groups=2, cluster=np.arange(500) % 4)
    with pytest.raises(ValueError, match="each of 10 needs at least 20 units, the smallest has 10"):
        sorted_groups(psi[:100], u[:100])
    with pytest.raises(ValueError, match="groups: expected at least 2, got 1"):
        sorted_groups(psi, u, groups=1)
    with pytest.raises(ValueError, match="names: expected one for each of 2 covariates, got 1"):
        characteristics(np.zeros((500, 2)), ["age"], u)
    with pytest.raises(ValueError, match="names: expected one for each of 0 covariates, got 0"):
        characteristics(np.zeros((500, 0)), [], u)
    with pytest.raises(ValueError, match="columns \\[1\\] hold NaN"):
        characteristics(np.column_stack([u, np.where(u > 0.5, np.nan, u)]), ["age", "income"], u)
    with pytest.raises(ValueError, match="score: 1 entries are NaN"):
        best_linear_prediction(psi, u).effect([np.nan])
    for call in (best_linear_prediction, sorted_groups):
        with pytest.raises(ValueError, match="level: must lie"):
            call(psi, u, level=0.0)
