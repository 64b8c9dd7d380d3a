import numpy as np
import pytest

from causal_assets.estimators.predictors import fit_predictors
from causal_assets.estimators.synthetic_control import Method, fit
from tests.estimators.planted_panel import changed, planted


def _with_predictors(seed, effect=2.0):
    """Loadings are seen with two columns of noise beside them; outcomes follow the loadings."""
    panel = planted(seed, effect=effect, noise=0.3)
    z = panel.y[:, : panel.pre] - panel.y[:, : panel.pre].mean(axis=0)
    left = np.linalg.svd(z, full_matrices=False)[0][:, :2]
    return panel, np.column_stack([left, np.random.default_rng(seed).normal(size=(len(panel.units), 2))])


@pytest.mark.parametrize("truth", [2.0, 0.0])
def test_the_planted_effect_is_recovered_without_bias_where_the_informative_predictors_are_given(truth):
    errors = []
    for seed in range(400):
        panel, predictors = _with_predictors(seed if truth else 400 + seed, truth)
        errors.append(fit_predictors(panel, predictors, importance=[1, 1, 0, 0]).fit.effect - truth)
    assert abs(np.mean(errors)) / np.std(errors) < 0.15


def test_the_search_fits_the_outcome_closer_than_equal_importance():
    informative = []
    for seed in range(4):
        panel, predictors = _with_predictors(seed)
        searched = fit_predictors(panel, predictors)
        equal = fit_predictors(panel, predictors, importance=np.ones(4))
        assert searched.fit.rmspe < equal.fit.rmspe
        assert searched.importance.sum() == pytest.approx(1.0)
        informative.append(searched.importance[:2].sum())
    assert np.mean(informative) > 0.6


def test_pre_period_outcomes_as_predictors_weighed_by_their_variance_are_the_classic_fit():
    panel = planted(2, pre=10)
    before = panel.y[:, :10]
    found = fit_predictors(panel, before, importance=before.var(axis=0, ddof=1))
    np.testing.assert_allclose(found.fit.weights, fit(panel, Method()).weights, atol=1e-7)


def test_the_loss_looks_only_at_the_periods_asked_for():
    panel, predictors = _with_predictors(3)
    y = panel.y.copy()
    y[0, :10] += 50.0  # a strange first third
    late = np.arange(30) >= 10
    base, disturbed = (fit_predictors(p, predictors, loss=late) for p in (panel, changed(panel, y)))
    np.testing.assert_allclose(disturbed.fit.weights, base.fit.weights, atol=1e-3)


def test_units_and_scale_of_a_predictor_do_not_matter_nor_does_the_order_of_units():
    panel, predictors = _with_predictors(4)
    base = fit_predictors(panel, predictors, importance=np.ones(4)).fit
    scaled = fit_predictors(panel, predictors * [1e3, 1e-3, 7, 1] + 5, importance=np.ones(4)).fit
    np.testing.assert_allclose(scaled.weights, base.weights, atol=1e-6)
    order = np.random.default_rng(0).permutation(9)
    moved = fit_predictors(changed(panel, order=order), predictors[order], importance=np.ones(4)).fit
    assert moved.effect == pytest.approx(base.effect, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predictors": np.ones((3, 2))}, r"predictors: expected shape \(9, k\), got \(3, 2\)"),
        ({"predictors": np.full((9, 1), np.nan)}, r"predictors: columns \[0\] hold NaN or inf"),
        ({"predictors": np.ones((9, 1))}, r"predictors: columns \[0\] are constant"),
        ({"importance": [1.0, 2.0]}, "importance: expected 1 shares"),
        ({"importance": [-1.0]}, "importance: expected 1 shares"),
        ({"loss": np.zeros(30)}, "loss: expected 30 shares that are not negative and not all zero"),
    ],
)
def test_bad_predictors_are_refused_by_name(change, message):
    given = {"predictors": np.arange(9.0)[:, None]} | change
    with pytest.raises(ValueError, match=message):
        fit_predictors(planted(0), given.pop("predictors"), **given)
