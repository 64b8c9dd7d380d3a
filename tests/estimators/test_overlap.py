from dataclasses import replace
from functools import cache
from typing import Any, cast, get_args

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binomtest

from causal_assets.diagnostics.negative_control import negative_control
from causal_assets.diagnostics.overlap import overlap
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.overlap import Estimand, effect, effective_sample_size, fit_nuisances, weights
from causal_assets.estimators.randomized import difference_in_means
from causal_assets.types import Status
from tests.estimators.confounded import STEPS, step_truths, step_world

SEEDS = 400
N = 5_000
OUTCOMES = ("linear", "null", "curved")
LOGIT = np.array([0.8, 0.6, 0.0])
INTERCEPT = -0.7


def _world(seed, n=N):
    """Treatment is likelier where the outcome is high anyway and where the effect, 1 + x0, is large.

    The ATE is 1. The naive difference is above 3, and above 2 where the effect is null. The third outcome has a
    baseline that no linear model fits.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    d = rng.random(n) < expit(x @ LOGIT + INTERCEPT)
    baseline = x @ [2.0, 1.0, 0.5] + rng.normal(size=n)
    gain = d * (1 + x[:, 0])
    return x, d, np.column_stack([baseline + gain, baseline, baseline + x[:, 0] ** 2 + gain]), np.arange(n)


@cache
def _truth(estimand):
    """Average of 1 + x0 over the estimand's population, by quadrature over the logit."""
    nodes, mass = np.polynomial.hermite_e.hermegauss(80)
    spread = np.linalg.norm(LOGIT)
    e = expit(spread * nodes + INTERCEPT)
    density = mass * {"ATO": e * (1 - e), "ATT": e, "ATE": np.ones_like(e)}[estimand]
    return 1 + (LOGIT[0] / spread) * (density @ nodes) / density.sum()


@pytest.fixture(scope="module")
def simulated():
    """Estimates of every seed by (estimand, outcome), and the naive differences of the first outcome."""
    results = {(estimand, outcome): [] for estimand in get_args(Estimand) for outcome in OUTCOMES}
    naive = []
    for seed in range(SEEDS):
        x, d, y, unit = _world(seed)
        nuisances = fit_nuisances(x, d, y, unit, repeats=1, seed=seed)
        for (estimand, outcome), estimates in results.items():
            column = OUTCOMES.index(outcome)
            estimates.append(effect(nuisances, d, y, unit, estimand=estimand, outcome=outcome, column=column))
        naive.append(difference_in_means(Moments.of(y[~d, 0]), Moments.of(y[d, 0]), outcome="linear"))
    return results, naive


def test_the_estimands_differ_so_that_a_wrong_label_is_seen():
    assert _truth("ATO") - 1 > 0.1
    assert _truth("ATT") - _truth("ATO") > 0.1


def _summary(results, truth):
    """Bias and mean reported error in empirical standard deviations, and the p-value against coverage of 93%."""
    errors = np.array([r.value - truth for r in results])
    covered = sum(r.low <= truth <= r.high for r in results)
    size = np.mean([r.std_error for r in results]) / errors.std()
    return abs(errors.mean()) / errors.std(), size, binomtest(covered, SEEDS, 0.93, alternative="less").pvalue


@pytest.mark.parametrize("outcome", ["linear", "null"])
@pytest.mark.parametrize("estimand", ["ATO", "ATT", "ATE"])
def test_each_estimand_recovers_its_own_truth_with_honest_errors(simulated, estimand, outcome):
    truth = 0.0 if outcome == "null" else _truth(estimand)
    bias, size, undercoverage = _summary(simulated[0][estimand, outcome], truth)
    assert bias < 0.15
    assert 0.93 < size < 1.07
    assert undercoverage > 0.05


@pytest.mark.parametrize("estimand", ["ATO", "ATT"])
def test_a_wrong_outcome_model_costs_precision_but_no_validity(simulated, estimand):
    bias, size, undercoverage = _summary(simulated[0][estimand, "curved"], _truth(estimand))
    assert bias < 0.15
    assert size > 0.93  # and above 1: an estimated propensity is more precise than its influence function says
    assert undercoverage > 0.05


def test_the_naive_difference_is_off_by_more_than_two_errors_everywhere(simulated):
    assert all(abs(r.value - _truth("ATT")) > 2 * r.std_error for r in simulated[1])


def test_the_control_mean_is_that_of_the_estimands_population(simulated):
    for estimand in ("ATO", "ATT"):
        # the baseline is 2 x0 + x1; along the logit x1 moves 3/4 as much as x0
        expected = (_truth(estimand) - 1) * (2 + LOGIT[1] / LOGIT[0])
        assert np.mean([r.control_mean for r in simulated[0][estimand, "null"]]) == pytest.approx(expected, abs=0.02)


@pytest.fixture(scope="module")
def one():
    x, d, y, unit = _world(0, n=1_500)
    return x, d, y[:, 0], unit


def _effect(x, d, y, unit, estimand="ATO", **options):
    return effect(fit_nuisances(x, d, y, unit, seed=7, **options), d, y, unit, estimand=estimand, outcome="y")


@pytest.mark.parametrize("estimand", ["ATO", "ATT", "ATE"])
def test_order_labels_shift_and_scale_change_nothing_they_should_not(one, estimand):
    x, d, y, unit = one
    base = _effect(*one, estimand)
    order = np.random.default_rng(1).permutation(len(y))
    assert _effect(*(a[order] for a in one), estimand).value == pytest.approx(base.value, rel=1e-8)
    labels = np.array([f"unit {u:05d}" for u in unit])
    assert _effect(x, d, y, labels, estimand) == base
    shifted = _effect(x, d, y + 1e9, unit, estimand)
    assert shifted.std_error == pytest.approx(base.std_error, rel=1e-6)
    assert shifted.value == pytest.approx(base.value, rel=1e-5)
    scaled = _effect(x * [10, 0.1, 3] + 5, d, 100 * y, unit, estimand)
    assert scaled.value == pytest.approx(100 * base.value, rel=1e-7)
    assert scaled.p_value == pytest.approx(base.p_value, rel=1e-4)


def test_swapping_the_arms_flips_the_sign_of_the_overlap_effect(one):
    x, d, y, unit = one
    base, swapped = _effect(x, d, y, unit), _effect(x, ~d, y, unit)
    assert swapped.value == pytest.approx(-base.value, rel=1e-8)
    assert swapped.std_error == pytest.approx(base.std_error, rel=1e-8)


@pytest.mark.parametrize("estimand", ["ATO", "ATT", "ATE"])
def test_duplicated_rows_of_a_unit_do_not_shrink_the_error(one, estimand):
    base, twice = _effect(*one, estimand), _effect(*(np.repeat(a, 2, axis=0) for a in one), estimand)
    assert twice.std_error == pytest.approx(base.std_error, rel=1e-8)
    assert (twice.n_treated, twice.n_control) == (base.n_treated, base.n_control)


def test_the_overlap_effect_is_the_residual_on_residual_regression(one):
    x, d, y, unit = one
    nuisances = fit_nuisances(x, d, y, unit, repeats=1, seed=3)
    e, mu0, mu1 = nuisances.propensity[0], nuisances.control[0, :, 0], nuisances.treated[0, :, 0]
    residual = y - e * mu1 - (1 - e) * mu0
    by_hand = ((d - e) @ residual) / ((d - e) @ (d - e))
    assert effect(nuisances, d, y, unit, estimand="ATO", outcome="y").value == pytest.approx(by_hand, rel=1e-10)


def test_several_outcomes_share_folds_and_propensity_and_give_what_each_gives_alone(one):
    x, d, y, unit = one
    both = np.column_stack([y, y**2])
    together = fit_nuisances(x, d, both, unit, seed=7)
    second = effect(together, d, both, unit, estimand="ATT", outcome="y", column=1)
    alone = _effect(x, d, y**2, unit, "ATT")
    assert second.value == pytest.approx(alone.value, rel=1e-10)
    assert second.std_error == pytest.approx(alone.std_error, rel=1e-10)


def test_the_seed_alone_decides_the_folds(one):
    first = _effect(*one)
    np.random.default_rng().random(5)
    assert _effect(*one) == first


def test_a_constant_covariate_changes_nothing(one):
    x, d, y, unit = one
    padded = np.column_stack([x, np.full(len(y), 4.0)])
    assert _effect(padded, d, y, unit).value == pytest.approx(_effect(*one).value, rel=1e-8)


def test_an_outcome_that_no_control_has_leaves_the_ratio_undefined_and_the_effect_defined(one):
    x, d, y, unit = one
    result = _effect(x, d, np.where(d, y, 0.0), unit)
    assert result.std_error > 0
    assert (result.control_mean, result.relative) == (0.0, None)
    assert (result.relative_low, result.relative_high) == (-np.inf, np.inf)


def test_weights_name_the_population_and_count_the_information():
    e, d = np.array([0.2, 0.2, 0.8]), np.array([1, 0, 0])
    np.testing.assert_allclose(weights(e, d, "ATO"), [0.8, 0.2, 0.8])
    np.testing.assert_allclose(weights(e, d, "ATT"), [1.0, 0.25, 4.0])
    np.testing.assert_allclose(weights(e, d, "ATE"), [5.0, 1.25, 5.0])
    assert effective_sample_size(np.ones(7)) == pytest.approx(7)
    assert effective_sample_size(np.array([1.0, 0.0])) == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"d": np.arange(40)}, "d: treatment must be 0 or 1"),
        ({"y": np.full(40, np.nan)}, "y: 40 outcomes are NaN or infinite"),
        ({"x": np.column_stack([np.zeros(40), np.full(40, np.inf)])}, r"x: columns \[1\] hold NaN or inf"),
        ({"x": np.zeros(40)}, r"x: expected shape \(40, k\), got \(40,\)"),
        ({"unit": np.zeros(40)}, "d: 1 units are both treated and untreated"),
        ({"unit": np.arange(39)}, "lengths must agree, got 40, 40, 39"),
        ({"d": np.arange(40) < 3}, "the smaller arm has 3"),
    ],
)
def test_bad_input_is_refused_by_name(change, message):
    rng = np.random.default_rng(0)
    good = {"x": rng.normal(size=(40, 2)), "d": np.arange(40) % 2, "y": rng.normal(size=40), "unit": np.arange(40)}
    with pytest.raises(ValueError, match=message):
        fit_nuisances(**(good | change), seed=1)


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_each_estimate_is_the_truth_of_the_estimand_it_names_and_of_no_other(steps):
    truths, found = step_truths(steps), {estimand: [] for estimand in get_args(Estimand)}
    for seed in range(30):
        x, d, y, unit = step_world(seed, 2_000, steps)
        nuisances = fit_nuisances(x, d, y, unit, repeats=1, seed=seed)
        for estimand, values in found.items():
            values.append(effect(nuisances, d, y, unit, estimand=estimand, outcome="y").value)
    for estimand, values in found.items():
        error = np.std(values) / np.sqrt(len(values))
        for planted in truths.values():
            own = planted == pytest.approx(truths[estimand])
            assert (abs(np.mean(values) - planted) < 4 * error) == own


def test_trimming_names_the_population_it_answers_for():
    # The effect is 1 + x0; below 0.3 are the negative halves of the world, and nothing else.
    values = []
    for seed in range(30):
        x, d, y, unit = step_world(seed, 2_000, (0.2, 0.5))
        nuisances = fit_nuisances(x[:, 1:], d, y, unit, repeats=1, seed=seed)
        found = effect(nuisances, d, y, unit, estimand="ATE", outcome="y", trim=0.3)
        assert found.estimand == "ATE where 0.3 <= e <= 0.7"
        values.append(found.value)
    assert abs(np.mean(values) - (1 + np.sqrt(2 / np.pi))) < 4 * np.std(values) / np.sqrt(len(values))
    certain = replace(nuisances, propensity=np.full((1, len(y)), 0.1))
    with pytest.raises(ValueError, match=r"trim: no unit has a propensity in \[0.2, 0.8\]"):
        effect(certain, d, y, unit, estimand="ATE", outcome="y", trim=0.2)
    with pytest.raises(ValueError, match=r"trim: expected a number in \[0, 0.5\), got 0.5"):
        effect(nuisances, d, y, unit, estimand="ATE", outcome="y", trim=0.5)


def test_the_rows_whose_propensity_was_clipped_are_counted(one):
    x, d, y, unit = one
    assert fit_nuisances(x, d, y, unit, repeats=1, seed=1).clipped == 0
    nuisances = fit_nuisances(x, d, y, unit, repeats=1, clip=0.3, seed=1)
    assert nuisances.clipped == np.isin(nuisances.propensity[0], (0.3, 0.7)).sum() > 100


def test_an_unknown_estimand_and_a_constant_outcome_are_refused(one):
    x, d, y, unit = one
    nuisances = fit_nuisances(x, d, np.ones_like(y), unit, seed=1)
    with pytest.raises(ValueError, match=r"estimand: expected one of \('ATO', 'ATT', 'ATE'\), got 'ATC'"):
        effect(nuisances, d, y, unit, estimand=cast(Any, "ATC"), outcome="y")
    with pytest.raises(ValueError, match="spend: the effect needs a positive variance"):
        effect(nuisances, d, np.ones_like(y), unit, estimand="ATO", outcome="spend")


@pytest.fixture(scope="module")
def lalonde():
    """The treated of the experiment beside survey controls: covariates by name, earnings in 1978, treatment, unit."""
    import causaldata

    frames = [causaldata.nsw_mixtape.load_pandas().data, causaldata.cps_mixtape.load_pandas().data]
    nsw, cps = ({c: f[c].to_numpy(dtype=float) for c in f.columns if c != "data_id"} for f in frames)
    rows = {c: np.concatenate([nsw[c][nsw["treat"] == 1], cps[c]]) for c in nsw}
    d, y = rows.pop("treat"), rows.pop("re78")
    x = rows | {"age2": rows["age"] ** 2, "no_re74": rows["re74"] == 0, "no_re75": rows["re75"] == 0}
    return x, y, d, np.arange(len(d))


def test_lalonde_against_survey_controls_covers_the_experiment_and_asks_for_review(lalonde):
    # The experiment says 1,794 (Dehejia & Wahba 1999); the naive difference against the survey says -8,498.
    x, y, d, unit = lalonde
    assert y[d == 1].mean() - y[d == 0].mean() == pytest.approx(-8_498, abs=1)
    nuisances = fit_nuisances(np.column_stack(list(x.values())), d, y, unit, seed=1)
    att = effect(nuisances, d, y, unit, estimand="ATT", outcome="re78")
    assert att.low < 1_794 < att.high
    e = np.median(nuisances.propensity, axis=0)
    controls = weights(e, d, "ATT")[d == 0]
    assert overlap(e[d == 1], effective_sample_size(controls), controls.size).status is not Status.PASS


def test_lalonde_fails_its_negative_control_earnings_before_the_programme(lalonde):
    x, _, d, unit = lalonde
    before = np.column_stack([column for name, column in x.items() if "re75" not in name])
    nuisances = fit_nuisances(before, d, x["re75"], unit, seed=1)
    placebo = effect(nuisances, d, x["re75"], unit, estimand="ATT", outcome="re75")
    assert negative_control([placebo]).status is Status.FAIL
