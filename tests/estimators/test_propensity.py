import numpy as np
import pytest
from scipy.special import expit

from causal_assets.estimators.propensity import CLIP, fit_logit, fit_propensity
from tests.estimators.confounded import INTERCEPT, LOGIT, world

CURVED = 4_000


def _curved(seed, n=CURVED):
    """Treatment depends on the square of a covariate, which no straight line finds."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    e = expit(1.5 * (x[:, 0] ** 2 - 1))
    return x, rng.random(n) < e, e, np.arange(n)


def _calibration_error(score, e):
    """Mean distance of predicted from true probability over tenths of the score."""
    tenths = np.array_split(np.argsort(score, kind="stable"), 10)
    return np.mean([abs(score[rows].mean() - e[rows].mean()) for rows in tenths])


def test_a_logit_that_is_true_is_found():
    x, d, _, unit = world(0, 20_000)
    truth = expit(x @ LOGIT + INTERCEPT)
    assert np.abs(fit_propensity(x, d, unit, seed=1).median - truth).mean() < 0.01
    assert np.abs(fit_logit(x, d).score - truth).mean() < 0.01


def test_boosting_finds_what_no_logit_can():
    x, d, e, unit = _curved(0)
    straight = np.abs(fit_propensity(x, d, unit, repeats=1, seed=1).median - e).mean()
    boosted = np.abs(fit_propensity(x, d, unit, learner="boosting", repeats=1, seed=1).median - e).mean()
    assert boosted < 0.3 * straight


@pytest.mark.parametrize("calibration", ["platt", "isotonic"])
def test_calibration_mends_a_learner_that_is_too_sure_of_itself(calibration):
    # With 200 rows boosting overfits: its out-of-fold scores are too extreme.
    raw, mended = [], []
    for seed in range(2):
        x, d, e, unit = _curved(seed, 400)
        for found, option in ((raw, None), (mended, calibration)):
            score = fit_propensity(
                x, d, unit, learner="boosting", calibration=option, folds=2, repeats=1, seed=1
            ).median
            found.append(_calibration_error(score, e))
    assert np.mean(mended) < np.mean(raw)


@pytest.mark.parametrize(
    ("learner", "calibration"), [("logistic", None), ("logistic", "isotonic"), ("boosting", "platt")]
)
def test_order_labels_and_repeated_rows_change_nothing(learner, calibration):
    x, d, _, unit = world(1, 600)
    options = {"learner": learner, "calibration": calibration, "folds": 2, "repeats": 1, "seed": 3}
    base = fit_propensity(x, d, unit, **options).median
    order = np.random.default_rng(0).permutation(600)
    labels = np.array([f"u{i:04d}" for i in unit])
    other = fit_propensity(x[order], d[order], labels[order], **options).median
    np.testing.assert_allclose(other, base[order], rtol=1e-6)
    if learner == "logistic" and calibration is None:
        twice = fit_propensity(np.repeat(x, 2, axis=0), np.repeat(d, 2), np.repeat(unit, 2), **options).median
        np.testing.assert_allclose(twice[::2], base, rtol=1e-6)


def test_the_same_seed_gives_the_same_bytes_and_another_other_folds():
    x, d, _, unit = world(2, 400)
    first, again, other = (fit_propensity(x, d, unit, seed=seed).score for seed in (1, 1, 2))
    assert first.tobytes() == again.tobytes() != other.tobytes()


def test_no_row_is_scored_by_a_model_that_saw_its_unit():
    # Noise covariates by the dozen: in sample they foretell treatment, out of fold they cannot.
    rng = np.random.default_rng(0)
    unit = np.repeat(np.arange(100), 3)
    d = (np.arange(100) % 2)[unit]
    x = rng.normal(size=(100, 40))[unit]
    gaps = [
        s[d == 1].mean() - s[d == 0].mean() for s in (fit_propensity(x, d, unit, seed=1).median, fit_logit(x, d).score)
    ]
    assert gaps[0] < 0.1 < 0.3 < gaps[1]


def test_clipping_keeps_its_bounds_and_counts_what_met_them():
    x, d, _, unit = world(3, 500)
    found = fit_propensity(5 * x, d, unit, clip=0.25, seed=1)
    assert (found.score.min(), found.score.max()) == (0.25, 0.75)
    assert found.clipped == np.isin(found.score, (0.25, 0.75)).any(axis=0).sum()
    assert fit_propensity(x, d, unit, seed=1).score.min() >= CLIP


def test_the_logit_is_that_of_statsmodels_whatever_the_scale_of_the_covariates():
    import statsmodels.api as sm

    x, d, _, _ = world(4, 800)
    expected = sm.Logit(d.astype(float), sm.add_constant(x)).fit(disp=0, tol=1e-12).predict()
    for columns in (x, 1e6 + 1e3 * x, np.column_stack([x, np.ones(800), x[:, 0] - x[:, 1]])):
        np.testing.assert_allclose(fit_logit(columns, d, clip=1e-9).score, expected, rtol=1e-6)


def test_separated_arms_are_refused_in_sample_and_clipped_out_of_fold():
    x = np.linspace(-1, 1, 60)[:, None]
    d = x[:, 0] > 0
    with pytest.raises(ValueError, match="x: the covariates separate treated from untreated units"):
        fit_logit(x, d)
    found = fit_propensity(x, d, np.arange(60), seed=1)
    assert found.clipped > 20
    assert found.score.max() <= 1 - CLIP


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learner": "forest"}, r"propensity: expected one of \('logistic', 'boosting'\), got 'forest'"),
        ({"calibration": "beta"}, "calibration: expected None or one of"),
        ({"clip": 0.5}, "clip: expected a number strictly between 0 and 0.5, got 0.5"),
        ({"d": np.arange(40)}, "d: treatment must be 0 or 1"),
        ({"unit": np.zeros(40)}, "d: 1 units are both treated and untreated"),
        ({"x": np.zeros(40)}, r"x: expected shape \(40, k\), got \(40,\)"),
        ({"x": np.full((40, 1), np.nan)}, r"x: columns \[0\] hold NaN or inf"),
        ({"d": np.zeros(40)}, "the smaller arm has 0"),
    ],
)
def test_bad_input_is_refused_by_name(change, message):
    good = {"x": np.arange(40.0)[:, None], "d": np.arange(40) % 2, "unit": np.arange(40)}
    with pytest.raises(ValueError, match=message):
        fit_propensity(**(good | change), seed=1)


def test_one_arm_has_no_logit():
    with pytest.raises(ValueError, match="d: both arms are needed, 9 of 9 rows are treated"):
        fit_logit(np.arange(9.0)[:, None], np.ones(9))
