import numpy as np
import pytest
from scipy.stats import binomtest

from causal_assets.estimators.double_ml import partially_linear
from causal_assets.estimators.overlap import effect, fit_nuisances
from tests.estimators.confounded import STEPS, assert_honest, step_truths, step_world

SEEDS = 400
N = 500


def _world(seed, n=N, theta=0.5):
    """A dose that follows the covariates, as the outcome does."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    d = x @ [1.0, 0.5, 0.0] + rng.normal(size=n)
    return x, d, 2 + theta * d + x @ [2.0, 0.0, 1.0] + rng.normal(size=n), np.arange(n)


def _fit(x, d, y, unit, **options):
    return partially_linear(x, d, y, unit, **({"outcome": "y", "repeats": 1, "seed": 7} | options))


@pytest.mark.parametrize("theta", [0.5, 0.0])
def test_the_slope_of_a_dose_is_recovered_with_honest_errors(theta):
    first = 0 if theta else SEEDS  # the placebo twin has draws of its own
    assert_honest([_fit(*_world(first + seed, theta=theta)) for seed in range(SEEDS)], theta)


def test_with_a_linear_truth_it_is_the_regression_coefficient():
    import statsmodels.api as sm

    x, d, y, unit = _world(1, 4_000)
    reference = sm.OLS(y, sm.add_constant(np.column_stack([d, x]))).fit(cov_type="HC1")
    found = _fit(x, d, y, unit)
    assert found.value == pytest.approx(reference.params[1], abs=0.1 * reference.bse[1])
    assert found.std_error == pytest.approx(reference.bse[1], rel=0.02)
    assert found.control_mean == pytest.approx(2, abs=0.2)


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_where_the_effect_varies_it_is_that_of_the_overlap_population(steps):
    found = [_fit(*step_world(seed, 2_000, steps)) for seed in range(40)]
    values, truths = np.array([one.value for one in found]), step_truths(steps)
    error = values.std() / np.sqrt(len(values))
    assert found[0].estimand == "ATO"
    assert abs(values.mean() - truths["ATO"]) < 4 * error
    assert abs(values.mean() - truths["ATT"]) > 4 * error


def _jagged(seed, n=400):
    """No effect; treatment and outcome follow the same curve, and a unit's own noise is all there is besides."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    bump = np.sin(2 * x[:, 0])
    return x, rng.random(n) < 0.5 + 0.3 * bump, 2 * bump + rng.normal(size=n), np.arange(n)


def test_boosted_nuisances_keep_their_coverage_out_of_fold():
    # The coverage benchmark has this cell with 200 data sets.
    found = [_fit(*_jagged(seed), learner="boosting", folds=3) for seed in range(12)]
    assert binomtest(sum(one.covers(0.0) for one in found), 12, 0.93, alternative="less").pvalue > 0.05
    straight = [_fit(*_jagged(seed), folds=3) for seed in range(12)]
    assert np.mean([one.value for one in straight]) > 4 * abs(np.mean([one.value for one in found]))


def test_boosted_interactive_model_removes_a_curve_that_a_straight_line_leaves():
    values = {"ridge": [], "boosting": []}
    for seed in range(3):
        x, d, y, unit = _jagged(seed, 1_000)
        for outcome, found in values.items():
            kind = "logistic" if outcome == "ridge" else "boosting"
            fit = fit_nuisances(x, d, y, unit, propensity=kind, outcome=outcome, repeats=1, folds=3, seed=1)
            found.append(effect(fit, d, y, unit, estimand="ATE", outcome="y").value)
    assert abs(np.mean(values["boosting"])) < 0.4 * abs(np.mean(values["ridge"]))


@pytest.mark.parametrize(("learner", "near"), [("ridge", 1e-8), ("boosting", 0.1)])
def test_duplicated_rows_of_a_unit_do_not_shrink_the_error(learner, near):
    # Folds by row would let a model see a row's twin: the error would shrink by 1.41.
    x, d, y, unit = _world(2)
    base = _fit(x, d, y, unit, learner=learner)
    twice = _fit(*(np.repeat(a, 2, axis=0) for a in (x, d, y, unit)), learner=learner)
    assert twice.std_error == pytest.approx(base.std_error, rel=near)
    assert twice.n_control == base.n_control


def test_order_labels_shift_and_scale_change_nothing_they_should_not():
    x, d, y, unit = _world(3)
    base, order = _fit(x, d, y, unit), np.random.default_rng(0).permutation(N)
    labels = np.array([f"u{i:04d}" for i in unit])
    other = _fit(x[order] * [10, 0.1, 3] + 5, d[order], 100 * y[order] + 1e6, labels[order])
    assert other.value == pytest.approx(100 * base.value, rel=1e-7)
    assert other.std_error == pytest.approx(100 * base.std_error, rel=1e-7)
    assert other.p_value == pytest.approx(base.p_value, rel=1e-4)
    doubled = _fit(x, 2 * d, y, unit)
    assert (2 * doubled.value, doubled.estimand) == (pytest.approx(base.value, rel=1e-7), "slope")


def test_swapping_the_arms_flips_the_sign():
    x, d, y, unit = step_world(0, 800, (0.3, 0.6))
    one, other = _fit(x, d, y, unit), _fit(x, ~d, y, unit)
    assert other.value == pytest.approx(-one.value, rel=1e-7)
    assert other.std_error == pytest.approx(one.std_error, rel=1e-7)


def test_repeats_are_combined_by_the_median_and_widen_the_error():
    x, d, y, unit = _world(4)
    three = _fit(x, d, y, unit, repeats=3)
    assert three.value == np.median([_fit(x, d, y, unit, repeats=r).value for r in (1, 3)] + [three.value])
    assert three.std_error == pytest.approx(_fit(x, d, y, unit).std_error, rel=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learner": "forest"}, "learner: expected 'ridge' or 'boosting', got 'forest'"),
        ({"d": np.ones(40)}, "d: the treatment is 1 in every row"),
        ({"d": np.full(40, np.nan)}, "d: 40 entries are NaN or infinite"),
        ({"y": np.full(40, np.inf)}, "y: 40 entries are NaN or infinite"),
        ({"y": np.ones(39)}, "d, y, unit: expected one length"),
        ({"x": np.arange(40.0)}, r"x: expected shape \(40, k\)"),
        ({"y": np.ones(40)}, "spend: the effect needs a positive variance"),
        ({"unit": np.arange(40) // 10}, "folds: 5 folds need as many units in each arm"),
    ],
)
def test_bad_input_is_refused_by_name(change, message):
    rng = np.random.default_rng(0)
    good = {"x": rng.normal(size=(40, 1)), "d": rng.normal(size=40), "y": rng.normal(size=40), "unit": np.arange(40)}
    with pytest.raises(ValueError, match=message):
        partially_linear(**(good | change), outcome="spend", seed=1)


def test_a_dose_that_the_covariates_determine_is_refused():
    x, _, y, unit = _world(5)
    with pytest.raises(ValueError, match="d: the covariates determine the treatment"):
        _fit(np.column_stack([x] + [x[:, 0]] * 3), 1e-9 * x[:, 1] + x[:, 0], y, unit)
