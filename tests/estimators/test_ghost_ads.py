import numpy as np
import pytest
from scipy.stats import binomtest

from causal_assets.diagnostics.prediction import prediction
from causal_assets.estimators.ghost_ads import NAIVE, Cell, ghost_ads
from causal_assets.estimators.moments import Moments
from causal_assets.types import Status

CACE = 2.0
SEEDS = 400


def _users(seed, n=4_000, effect=CACE):
    """A third of the users would be served, and are richer by 5; of those, 80% really see the ad when treated."""
    rng = np.random.default_rng(seed)
    treated = rng.random(n) < 0.5
    predicted = rng.random(n) < 1 / 3
    exposed = treated & predicted & (rng.random(n) < 0.8)
    y = 10 + 5 * predicted + effect * exposed + 3 * rng.normal(size=n)
    return y, treated, predicted, exposed


def _cells(y, treated, predicted, exposed, *x):
    rows = np.column_stack([y, *x])
    cells = {}
    for key in {tuple(map(bool, k)) for k in zip(treated, predicted, exposed, strict=True)}:
        inside = (treated == key[0]) & (predicted == key[1]) & (exposed == key[2])
        cells[Cell(*key)] = Moments.of(rows[inside])
    return cells


def _answer(*users):
    return ghost_ads(_cells(*users), outcome="spend")


@pytest.mark.parametrize("truth", [CACE, 0.0])
def test_the_effect_on_the_exposed_is_recovered_where_the_exposed_are_richer(truth):
    found = [_answer(*_users(seed, effect=truth)) for seed in range(SEEDS)]
    effects = [f.among_predicted.effect for f in found]
    errors = np.array([e.value for e in effects]) - truth
    assert abs(errors.mean()) / errors.std() < 0.15
    assert 0.93 < np.mean([e.std_error for e in effects]) / errors.std() < 1.07
    assert binomtest(sum(e.covers(truth) for e in effects), SEEDS, 0.95).pvalue > 0.01
    itt = np.mean([f.among_predicted.reduced_form.value for f in found])
    assert itt == pytest.approx(0.8 * truth, abs=0.03)
    assert np.mean([f.all_users.value for f in found]) == pytest.approx(0.8 * truth / 3, abs=0.05)


def test_exposed_against_unexposed_says_seven_where_the_truth_is_two_and_is_labelled_wrong():
    found = _answer(*_users(1, n=200_000))
    assert found.naive.value == pytest.approx(CACE + 5, abs=0.5)
    assert found.naive.method == NAIVE
    assert "WRONG" in NAIVE
    assert found.naive.estimand == "none"
    product = found.among_predicted.effect
    assert abs(product.value - CACE) < 2 * product.std_error
    assert not product.covers(found.naive.value)


def test_counting_only_users_who_would_be_served_is_sharper_than_counting_all():
    found = _answer(*_users(2))
    inside, diluted = found.among_predicted.reduced_form, found.all_users
    assert inside.value / inside.std_error > 1.3 * diluted.value / diluted.std_error


def test_a_covariate_sharpens_and_a_merge_of_cells_equals_their_rows():
    y, treated, predicted, exposed = _users(3)
    x = np.random.default_rng(1).normal(size=len(y))
    y = y + 4 * x
    plain, adjusted = _answer(y, treated, predicted, exposed), _answer(y, treated, predicted, exposed, x)
    assert adjusted.among_predicted.effect.std_error < 0.8 * plain.among_predicted.effect.std_error
    by_hand = y[treated & predicted].mean() - y[~treated & predicted].mean()
    assert plain.among_predicted.reduced_form.value == pytest.approx(by_hand, rel=1e-10)
    assert plain.all_users.value == pytest.approx(y[treated].mean() - y[~treated].mean(), rel=1e-10)


def test_the_effect_is_per_exposed_user_in_the_outcomes_unit_from_any_origin():
    y, *rest = _users(4)
    base, moved = _answer(y, *rest).among_predicted.effect, _answer(100 * y + 1e9, *rest).among_predicted.effect
    assert moved.value == pytest.approx(100 * base.value, rel=1e-6)
    assert (moved.low, moved.high) == pytest.approx((100 * base.low, 100 * base.high), rel=1e-6)
    assert moved.p_value == pytest.approx(base.p_value, rel=1e-4)


def test_a_log_that_is_exact_gives_the_comparison_of_arms():
    y, treated, predicted, _ = _users(5)
    found = _answer(y, treated, predicted, treated & predicted).among_predicted
    assert found.effect.value == pytest.approx(found.reduced_form.value, rel=1e-12)
    assert found.effect.low == pytest.approx(found.reduced_form.low, rel=1e-9)


def test_exposed_controls_and_exposure_beyond_the_prediction_are_allowed_for():
    rng = np.random.default_rng(1_006)
    y, treated, predicted, exposed = _users(6, n=40_000, effect=0.0)
    leaked = exposed | (~treated & predicted & (rng.random(len(y)) < 0.2)) | (treated & (rng.random(len(y)) < 0.02))
    found = _answer(y + CACE * leaked, treated, predicted, leaked).among_predicted
    assert found.effect.covers(CACE)
    assert found.first_stage.value == pytest.approx(0.604, abs=0.02)


def test_without_predicted_users_in_an_arm_or_without_exposure_there_is_no_answer():
    y, treated, predicted, exposed = _users(7)
    with pytest.raises(ValueError, match="no user is predicted in the control arm"):
        _answer(y, treated, predicted & treated, exposed)
    with pytest.raises(ValueError, match="does not move the treatment at all"):
        _answer(y, treated, predicted, np.zeros_like(exposed))
    assert _answer(y, treated, np.ones_like(treated), treated).naive is None


def test_a_log_that_serves_the_arms_differently_is_seen_and_a_blind_one_passes():
    passed = failed = 0
    for seed in range(300):
        _, treated, predicted, _ = _users(seed)
        counts = [
            int(c) for c in (predicted[treated].sum(), treated.sum(), predicted[~treated].sum(), (~treated).sum())
        ]
        passed += prediction(*counts).status is Status.PASS
        failed += prediction(counts[0] - counts[0] // 4, *counts[1:]).status is Status.FAIL
    assert passed >= 290
    assert failed >= 290
    assert prediction(0, 10, 0, 10).status is Status.PASS
    with pytest.raises(ValueError, match="predicted_treated: expected 0 <= part <= whole"):
        prediction(11, 10, 0, 10)
