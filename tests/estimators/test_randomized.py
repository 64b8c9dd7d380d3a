import numpy as np
import pytest
from scipy.stats import binomtest

from causal_assets.estimators.moments import Moments
from causal_assets.estimators.randomized import difference_in_means, regression_adjusted

SEEDS = 400
N = 5_000


def _experiment(seed, share, effect=0.5, n=N):
    """Columns [outcome, two covariates] and assignment. The effect varies with a covariate; its mean is ``effect``.

    The covariates explain four fifths of the outcome's variance, and more in one arm than in the other.
    """
    rng = np.random.default_rng(seed)
    d = rng.permutation(n) < share * n
    x = rng.normal(size=(n, 2)) + 1.0
    y = 3 + x @ [2.0, 1.0] + d * (effect + 0.8 * (x[:, 0] - 1.0)) + rng.normal(size=n)
    return np.column_stack([y, x]), d


def _fit(rows, d, columns=(0, 1, 2), **options):
    arms = (Moments.of(rows[arm][:, columns]) for arm in (~d, d))
    return difference_in_means(*arms, outcome="y", **options)


@pytest.mark.parametrize("columns", [(0,), (0, 1, 2)])
@pytest.mark.parametrize("share", [0.5, 0.1])
@pytest.mark.parametrize("truth", [0.5, 0.0])
def test_the_planted_effect_is_recovered_with_honest_errors(columns, share, truth):
    first = 0 if truth else SEEDS  # the placebo twin has draws of its own
    results = [_fit(*_experiment(first + seed, share, truth), columns=columns) for seed in range(SEEDS)]
    errors = np.array([r.value - truth for r in results])
    assert abs(errors.mean()) / errors.std() < 0.15
    assert 0.93 < np.mean([r.std_error for r in results]) / errors.std() < 1.07
    covered = sum(r.low <= truth <= r.high for r in results)
    assert binomtest(covered, SEEDS, 0.93, alternative="less").pvalue > 0.05


def test_covariates_shorten_the_interval():
    rows, d = _experiment(0, 0.5)
    assert _fit(rows, d).std_error < 0.6 * _fit(rows, d, columns=(0,)).std_error


def test_small_arms_keep_their_coverage_with_many_covariates():
    covered = 0
    for seed in range(1_000):
        rng = np.random.default_rng(seed)
        d = rng.permutation(100) < 25
        x = rng.normal(size=(100, 5))
        result = _fit(np.column_stack([x @ np.ones(5) + rng.normal(size=100), x]), d, columns=range(6))
        covered += result.low <= 0 <= result.high
    assert binomtest(covered, 1_000, 0.95).pvalue > 0.001


def test_a_published_two_sample_result_is_reproduced():
    # growthbook, packages/stats/tests/frequentist/test_tests.py: TwoSidedTTest on SampleMeanStatistic a and b
    def arm(total, squares, n):
        return Moments(n, np.array([total / n]), np.array([[(squares - total**2 / n) / (n - 1)]]))

    result = difference_in_means(arm(1396.87, 52377.9767, 3407), arm(2422.7, 134698.29, 3461), outcome="revenue")
    assert result.value == pytest.approx(0.29, abs=5e-4)
    assert (result.low, result.high) == pytest.approx((0.04538, 0.53462), abs=5e-5)
    assert result.p_value == pytest.approx(0.02016, abs=5e-5)
    assert result.relative_low is not None and result.relative_low > 0  # the same test on the ratio


@pytest.fixture(scope="module")
def lalonde():
    import causaldata

    data = causaldata.nsw_mixtape.load_pandas().data
    covariates = ["age", "educ", "black", "hisp", "marr", "nodegree", "re74", "re75"]
    return data[["re78", *covariates]].to_numpy(dtype=float), data["treat"].to_numpy() == 1


def test_the_lalonde_experiment_gives_its_published_effect(lalonde):
    # Dehejia & Wahba (1999), table 3: 1,794; Welch's error is 671
    result = _fit(*lalonde, columns=(0,))
    assert result.value == pytest.approx(1794.34, abs=0.01)
    assert result.std_error == pytest.approx(671.0, abs=0.05)


def test_the_adjusted_effect_is_that_of_the_fully_interacted_regression(lalonde):
    import statsmodels.api as sm

    rows, d = lalonde
    x = rows[:, 1:] - rows[:, 1:].mean(axis=0)
    design = np.column_stack([np.ones(len(d)), d, x, d[:, None] * x])
    reference = sm.OLS(rows[:, 0], design / (scale := np.abs(design).max(axis=0))).fit(cov_type="HC2")
    result = _fit(rows, d, columns=range(9))
    assert result.value == pytest.approx(reference.params[1] / scale[1], rel=1e-10)
    assert result.std_error == pytest.approx(reference.bse[1], rel=0.02)


def test_welch_equals_tea_tasting_and_adjustment_agrees_with_its_cuped():
    import tea_tasting as tt

    data = tt.make_users_data(rng=42, covariates=True)
    experiment = tt.Experiment(
        welch=tt.Mean("revenue", use_t=True, equal_var=False), cuped=tt.Mean("revenue", "revenue_covariate")
    ).analyze(data)
    rows = np.column_stack([data["revenue"], data["revenue_covariate"]])
    d = data["variant"].to_numpy() == 1
    ours, theirs = _fit(rows, d, columns=(0,)), experiment["welch"]
    assert ours.value == pytest.approx(theirs.effect_size, rel=1e-10)
    assert (ours.low, ours.high) == pytest.approx((theirs.effect_size_ci_lower, theirs.effect_size_ci_upper), rel=1e-9)
    assert ours.p_value == pytest.approx(theirs.pvalue, rel=1e-9)
    # CUPED pools one slope over both arms, so the numbers are close but not the same
    adjusted, cuped = _fit(rows, d, columns=(0, 1)), experiment["cuped"]
    assert abs(adjusted.value - cuped.effect_size) < 0.1 * adjusted.std_error
    assert adjusted.high - adjusted.low == pytest.approx(
        cuped.effect_size_ci_upper - cuped.effect_size_ci_lower, rel=0.01
    )


def test_swapping_the_arms_flips_the_sign_and_nothing_else():
    rows, d = _experiment(3, 0.3)
    one, other = _fit(rows, d), _fit(rows, ~d)
    assert one.value == pytest.approx(-other.value, rel=1e-12)
    assert one.std_error == pytest.approx(other.std_error, rel=1e-12)
    assert one.p_value == pytest.approx(other.p_value, rel=1e-9)


def test_row_order_shift_and_scale_change_nothing_they_should_not():
    rows, d = _experiment(4, 0.3)
    base = _fit(rows, d)
    order = np.random.default_rng(0).permutation(N)
    assert _fit(rows[order], d[order]).value == pytest.approx(base.value, rel=1e-10)
    shifted = _fit(rows + np.array([1e9, 0, 0]), d)
    assert shifted.std_error == pytest.approx(base.std_error, rel=1e-6)
    scaled = _fit(rows * [100, 3, 0.1], d)
    assert scaled.value == pytest.approx(100 * base.value, rel=1e-10)
    assert scaled.p_value == pytest.approx(base.p_value, rel=1e-8)


def test_seven_partitions_give_the_estimate_of_the_whole():
    rows, d = _experiment(5, 0.5)

    def merged(arm):
        first, *rest = (Moments.of(part) for part in np.array_split(arm, 7))
        for part in rest:
            first = first.merge(part)
        return first

    split = difference_in_means(merged(rows[~d]), merged(rows[d]), outcome="y")
    whole = _fit(rows, d)
    assert split.value == pytest.approx(whole.value, rel=1e-10)
    assert split.std_error == pytest.approx(whole.std_error, rel=1e-10)


def test_constant_and_copied_covariates_change_nothing():
    rows, d = _experiment(6, 0.5)
    padded = np.column_stack([rows, np.full(N, 7.0), 2 * rows[:, 1]])
    padded_result, base = _fit(padded, d, columns=range(5)), _fit(rows, d)
    assert padded_result.value == pytest.approx(base.value, rel=1e-9)
    assert padded_result.std_error == pytest.approx(base.std_error, rel=1e-9)


def test_bad_arms_are_refused_by_name():
    good = Moments.of(np.random.default_rng(0).normal(size=(9, 3)))
    with pytest.raises(ValueError, match="treated arm: a variance needs at least 2 units, got 1"):
        difference_in_means(good, Moments.of([[1.0, 2.0, 3.0]]), outcome="y")
    with pytest.raises(ValueError, match="control arm: 2 covariates need at least 4 units, got 3"):
        difference_in_means(Moments.of(np.eye(3)), good, outcome="y")
    with pytest.raises(ValueError, match="spend: zero variance in both arms"):
        difference_in_means(Moments.of([1.0, 1.0]), Moments.of([2.0, 2.0]), outcome="spend")
    with pytest.raises(ValueError, match="expected 3 columns, got 1"):
        difference_in_means(good, good.select([0]), outcome="y")


def test_with_hc2_errors_small_skewed_arms_keep_their_coverage_where_noise_depends_on_the_covariate():
    covered, sets = {"homoskedastic": 0, "HC2": 0}, 600
    for seed in range(sets):
        rng = np.random.default_rng(seed)
        d = rng.permutation(100) < 30
        x = rng.exponential(size=100)
        y = 2 * x + (0.3 + x**2) * rng.normal(size=100)
        covered["homoskedastic"] += _fit(np.column_stack([y, x]), d, (0, 1)).covers(0.0)
        covered["HC2"] += regression_adjusted(y, d, x[:, None], outcome="y").covers(0.0)
    assert binomtest(covered["HC2"], sets, 0.93, alternative="less").pvalue > 0.05
    assert covered["HC2"] > covered["homoskedastic"]


def test_hc2_errors_are_statsmodels_plus_the_error_of_the_covariates_own_means(lalonde):
    import statsmodels.api as sm

    rows, d = lalonde
    covariates = rows[:, [1, 2, 7, 8]]
    x = covariates - covariates.mean(axis=0)
    scale = x.std(axis=0)
    design = np.column_stack([np.ones(len(d)), d, x / scale, d[:, None] * x / scale])
    reference = sm.OLS(rows[:, 0], design).fit(cov_type="HC2")
    result = regression_adjusted(rows[:, 0], d, covariates, outcome="re78")
    assert result.value == pytest.approx(_fit(rows, d, (0, 1, 2, 7, 8)).value, rel=1e-10)
    gap = reference.params[6:] / scale
    shared = gap @ np.cov(covariates.T) @ gap / len(d)
    assert result.std_error**2 == pytest.approx(reference.bse[1] ** 2 + shared, rel=1e-9)


def test_many_units_make_hc2_and_the_moments_error_one():
    rows, d = _experiment(6, 0.3)
    assert regression_adjusted(rows[:, 0], d, rows[:, 1:], outcome="y").std_error == pytest.approx(
        _fit(rows, d).std_error, rel=0.01
    )


def test_rows_that_make_no_sense_are_refused_for_hc2_errors():
    y, d, x = np.arange(20.0), np.arange(20) % 2, np.zeros((20, 1))
    x[0] = 1.0
    with pytest.raises(ValueError, match="control arm: a unit alone determines a covariate's slope"):
        regression_adjusted(y, d, x, outcome="y")
    with pytest.raises(ValueError, match="lengths must agree"):
        regression_adjusted(y, d, np.zeros(20), outcome="y")
    with pytest.raises(ValueError, match="expected both 0 and 1"):
        regression_adjusted(y, np.ones(20), x, outcome="y")
    with pytest.raises(ValueError, match="NaN or infinite"):
        regression_adjusted(np.full(20, np.inf), d, x, outcome="y")
