from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causal_assets.estimators.propensity import fit_logit
from causal_assets.estimators.weighting import standardized_effect, stratified_effect, weighted_effect
from tests.estimators.confounded import STEPS, assert_honest, assert_none_found, step_truths, step_world, truth, world

SEEDS = 400
PLACEBOS = 100
N = 1_500


def _estimates(x, d, y, unit):
    """Every method and estimand of the module."""
    logit, options = fit_logit(x, d), {"outcome": "y"}
    weighted = {
        ("weighted", e): weighted_effect(logit, d, y, unit, estimand=e, **options) for e in ("ATE", "ATT", "ATO")
    }
    stratified = {
        ("stratified", e): stratified_effect(logit, d, y, unit, estimand=e, x=x, **options) for e in ("ATE", "ATT")
    }
    standard = {("standard", e): standardized_effect(x, d, y, unit, estimand=e, **options) for e in ("ATE", "ATT")}
    return weighted | stratified | standard


KEYS = [*_estimates(*world(0, N))]


@pytest.fixture(scope="module")
def simulated():
    return [_estimates(*world(PLACEBOS + seed, N)) for seed in range(SEEDS)]


@pytest.mark.parametrize("key", KEYS)
def test_each_estimand_is_recovered_with_honest_errors(simulated, key):
    assert_honest([one[key] for one in simulated], truth(key[1]))


def test_where_there_is_no_effect_none_is_found():
    found = [_estimates(*world(seed, N, null=True)) for seed in range(PLACEBOS)]
    for key in KEYS:
        assert_none_found([one[key] for one in found])


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_each_estimate_is_the_truth_of_the_estimand_it_names_and_of_no_other(steps):
    found = [_estimates(*step_world(seed, 2_000, steps)) for seed in range(40)]
    for key in KEYS:
        values, truths = np.array([one[key].value for one in found]), step_truths(steps)
        error = values.std() / np.sqrt(len(values))
        assert found[0][key].estimand == key[1]
        for planted in truths.values():
            if planted == pytest.approx(truths[key[1]]):
                assert abs(values.mean() - planted) < 4 * error
            else:
                assert abs(values.mean() - planted) > 4 * error


def test_taking_an_estimated_score_as_known_overstates_the_error_of_an_ate():
    ratios = []
    for seed in range(40):
        x, d, y, unit = world(seed, N)
        logit = fit_logit(x, d)
        as_known = weighted_effect(logit.score, d, y, unit, estimand="ATE", outcome="y")
        estimated = weighted_effect(logit, d, y, unit, estimand="ATE", outcome="y")
        assert as_known.value == estimated.value
        ratios.append(as_known.spread / estimated.spread)
    assert np.mean(ratios) > 1.2


def test_errors_of_weighting_are_those_of_the_stacked_estimating_equations():
    # The sandwich of logit and both weighted means, differentiated numerically.
    from scipy.optimize import approx_fprime

    x, d, y, unit = world(5, 20_000)  # so many that each one's pull on the fit is nothing
    logit = fit_logit(x, d)
    beta = np.linalg.lstsq(logit.design, np.log(logit.raw / (1 - logit.raw)), rcond=None)[0]

    def moments(theta):
        e = 1 / (1 + np.exp(-logit.design @ theta[2:]))
        w = np.where(d, 1 / e, 1 / (1 - e))
        means = [np.where(arm, w * (y - mu), 0.0) for arm, mu in ((~d, theta[0]), (d, theta[1]))]
        return np.column_stack([*means, (d - e)[:, None] * logit.design])

    found = weighted_effect(logit, d, y, unit, estimand="ATE", outcome="y")
    assert found.control_mean is not None
    theta = np.array([found.control_mean, found.control_mean + found.value, *beta])
    bread = np.linalg.inv(approx_fprime(theta, lambda t: moments(t).mean(axis=0), 1e-7))
    psi = moments(theta) @ bread.T
    cov = psi.T @ psi / len(y) ** 2
    by_hand = np.sqrt(cov[0, 0] + cov[1, 1] - 2 * cov[0, 1])
    assert found.std_error == pytest.approx(by_hand, rel=2e-3)


@pytest.fixture(scope="module")
def nhefs():
    """Covariates of Hernan & Robins (2020), program 12.2, quitting, weight gain, unit; the column of smokeintensity."""
    import causaldata

    data = causaldata.nhefs_complete.load_pandas().data
    squared = [data[c].to_numpy(dtype=float) for c in ("age", "smokeintensity", "smokeyrs", "wt71")]
    levels = [
        (data[c] == v).to_numpy(dtype=float) for c in ("education", "exercise", "active") for v in data[c].unique()
    ]
    names = ["sex", "race"]
    x = np.column_stack([*(data[c].to_numpy(dtype=float) for c in names), *squared, *(s**2 for s in squared), *levels])
    return x, data["qsmk"].to_numpy(dtype=float), data["wt82_71"].to_numpy(dtype=float), data["seqn"].to_numpy(), 3


def test_nhefs_by_weighting_gives_the_published_effect_and_interval(nhefs):
    # Hernan & Robins (2020), ch. 12: 3.4 kg (2.4, 4.5), 3.4405 [2.41, 4.47] to more digits; the score counts as known.
    x, d, y, unit, _ = nhefs
    logit = fit_logit(x, d)
    found = weighted_effect(logit.score, d, y, unit, estimand="ATE", outcome="wt82_71")
    assert found.value == pytest.approx(3.4405, abs=5e-5)
    assert (found.low, found.high) == pytest.approx((2.41, 4.47), abs=0.006)
    assert logit.clipped == 0
    assert y[d == 1].mean() - y[d == 0].mean() == pytest.approx(2.541, abs=5e-4)


def test_nhefs_by_standardisation_gives_the_published_effect(nhefs):
    # Hernan & Robins (2020), ch. 13: 3.5 kg (2.6, 4.5) by bootstrap, 3.5174 to more digits.
    x, d, y, unit, intensity = nhefs
    found = standardized_effect(x, d, y, unit, estimand="ATE", outcome="wt82_71", modifiers=[intensity])
    assert found.value == pytest.approx(3.5174, abs=5e-5)
    assert (found.low, found.high) == pytest.approx((2.6, 4.5), abs=0.06)


def test_stabilised_weights_change_nothing():
    x, d, y, unit = world(1, N)
    e, share = fit_logit(x, d).score, d.mean()
    w = np.where(d, share / e, (1 - share) / (1 - e))
    by_hand = np.average(y[d], weights=w[d]) - np.average(y[~d], weights=w[~d])
    assert weighted_effect(e, d, y, unit, estimand="ATE", outcome="y").value == pytest.approx(by_hand, rel=1e-12)


def test_two_strata_without_covariates_are_a_mean_of_two_differences():
    x, d, y, unit = world(2, N)
    e = fit_logit(x, d).score
    high = e > np.sort(e)[N // 2 - 1]
    parts = [y[d & s].mean() - y[~d & s].mean() for s in (high, ~high)]
    found = stratified_effect(e, d, y, unit, estimand="ATE", strata=2, outcome="y")
    assert found.value == pytest.approx(np.mean(parts), rel=1e-10)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99), scale=st.floats(0.01, 100), shift=st.floats(-1e6, 1e6))
def test_order_labels_scale_and_shift_change_nothing_they_should_not(seed, scale, shift):
    x, d, y, unit = world(seed, 400)
    order = np.random.default_rng(seed).permutation(len(y))
    base = _estimates(x, d, y, unit)
    other = _estimates(x[order] * [10, 0.1] + 5, d[order], scale * y[order] + shift, np.array([f"u{i}" for i in order]))
    for key, one in base.items():
        assert other[key].value == pytest.approx(scale * one.value, rel=1e-5, abs=1e-6 * scale)
        assert other[key].spread == pytest.approx(scale * one.spread, rel=1e-5)


def test_swapping_the_arms_flips_the_sign_of_ate_and_ato():
    x, d, y, unit = world(3, N)
    base, swapped = _estimates(x, d, y, unit), _estimates(x, ~d, y, unit)
    for key in [("weighted", "ATE"), ("weighted", "ATO"), ("stratified", "ATE"), ("standard", "ATE")]:
        assert swapped[key].value == pytest.approx(-base[key].value, rel=1e-7)
        assert swapped[key].std_error == pytest.approx(base[key].std_error, rel=1e-7)


def test_duplicated_rows_of_a_unit_do_not_shrink_the_error():
    x, d, y, unit = world(4, N)
    base, twice = _estimates(x, d, y, unit), _estimates(*(np.repeat(a, 2, axis=0) for a in (x, d, y, unit)))
    for key in KEYS:
        assert twice[key].std_error == pytest.approx(base[key].std_error, rel=1e-6)
        assert twice[key].n_treated == base[key].n_treated


def test_a_clipped_score_is_counted_and_no_longer_moves_with_the_coefficients():
    x, d, y, unit = world(6, N)
    logit = fit_logit(4 * x, d, clip=0.2)
    assert logit.clipped == (logit.score != logit.raw).sum() > 0
    assert set(logit.score[logit.score != logit.raw]) == {0.2, 0.8}
    all_clipped = replace(logit, score=np.where(logit.raw > 0.5, 0.8, 0.2))
    known = weighted_effect(all_clipped.score, d, y, unit, estimand="ATE", outcome="y")
    assert weighted_effect(all_clipped, d, y, unit, estimand="ATE", outcome="y") == known


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": np.linspace(0, 1, 40)}, "score: propensities must lie strictly between 0 and 1"),
        ({"score": np.full(39, 0.5)}, r"score: expected shape \(40,\), got \(39,\)"),
        ({"d": np.zeros(40)}, "d: both arms are needed, 0 of 40 rows are treated"),
        ({"y": np.full(40, np.inf)}, "y: 40 outcomes are NaN or infinite"),
        ({"y": np.ones(40)}, "spend: the effect needs a positive variance"),
        ({"unit": np.zeros(40)}, "d: 1 units are both treated and untreated"),
        ({"estimand": "ATC"}, "estimand: .*'ATC'"),
        ({"level": 1.0}, "level must lie strictly between 0 and 1"),
    ],
)
@pytest.mark.parametrize("method", [weighted_effect, stratified_effect])
def test_bad_input_is_refused_by_name(method, change, message):
    good = {
        "score": np.linspace(0.4, 0.6, 40),
        "d": np.arange(40) % 2,
        "y": np.sin(np.arange(40)),
        "unit": np.arange(40),
    }
    with pytest.raises(ValueError, match=message):
        method(**({"estimand": "ATE", "outcome": "spend"} | good | change))


def test_strata_in_which_an_arm_is_missing_are_refused_by_number():
    e = np.linspace(0.05, 0.95, 100)
    with pytest.raises(ValueError, match="stratum 1 of 5 has 0 treated and 20 untreated rows"):
        stratified_effect(e, e > 0.5, e, np.arange(100), estimand="ATE", outcome="y")
    with pytest.raises(ValueError, match="strata: expected at least 2, got 1"):
        stratified_effect(e, e > 0.5, e, np.arange(100), estimand="ATE", outcome="y", strata=1)


def test_a_modifier_that_is_no_column_is_refused():
    x, d, y, unit = world(0, 50)
    with pytest.raises(ValueError, match="modifiers: expected columns 0 to 1 of x"):
        standardized_effect(x, d, y, unit, estimand="ATE", outcome="y", modifiers=[2])
    with pytest.raises(ValueError, match="the g-formula answers for ATE or ATT, got 'ATO'"):
        standardized_effect(x, d, y, unit, estimand="ATO", outcome="y")
