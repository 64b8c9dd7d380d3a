import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from causal_assets.estimators.staggered import group_time
from tests.estimators.panels import counties

KINDS = ("simple", "group", "dynamic", "calendar")


def _world(seed, effect=1.0, n=300, growth=0.5, selected=False):
    """Outcome (n, 6), cohort, covariate. Cohorts 2, 3, 4 and never; the effect grows by ``growth`` with exposure.

    Where ``selected``, the covariate drives both adoption and the trend, so that only adjustment for it identifies.
    """
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    adopts = rng.random(n) < 1 / (1 + np.exp(-(x if selected else 0 * x)))
    cohort = np.where(adopts, rng.choice([2.0, 3.0, 4.0], n), np.inf)
    exposure = np.clip(np.arange(6) - cohort[:, None] + 1, 0, None)
    walk = 0.5 * rng.normal(size=(n, 6)).cumsum(axis=1) + 2 * rng.normal(size=(n, 1))
    y = walk + np.arange(6) + (exposure > 0) * (effect + growth * (exposure - 1)) + 0.3 * x[:, None] * np.arange(6)
    return y, cohort, x


def _truth(kind, effect, growth):
    """Overall effects of ``_world``: cohorts are equally large in expectation."""
    by_event = [effect + growth * e for e in range(4)]
    seen = {2: 4, 3: 3, 4: 2}
    group = {g: np.mean(by_event[:k]) for g, k in seen.items()}
    if kind == "simple":
        return sum(sum(by_event[:k]) for k in seen.values()) / 9
    if kind == "group":
        return float(np.mean(list(group.values())))
    if kind == "dynamic":
        return float(np.mean(by_event))
    return float(np.mean([np.mean([by_event[t - g] for g in seen if g <= t]) for t in range(2, 6)]))


@pytest.mark.parametrize(("effect", "growth", "control"), [(1.0, 0.5, "never"), (0.0, 0.0, "not yet")])
def test_planted_effects_are_recovered_with_honest_errors(effect, growth, control):
    first = 0 if effect else 400  # the placebo twin has draws of its own
    found = {kind: [] for kind in KINDS}
    for seed in range(400):
        y, cohort, _ = _world(first + seed, effect, growth=growth)
        fitted = group_time(y, cohort, np.arange(6), control=control)
        for kind in KINDS:
            found[kind].append(fitted.aggregate(kind).overall(outcome="y"))
    for kind, results in found.items():
        truth = _truth(kind, effect, growth)
        errors = np.array([r.value - truth for r in results])
        assert abs(errors.mean()) / errors.std() < 0.15
        assert 0.93 < np.sqrt(np.mean([r.std_error**2 for r in results])) / errors.std() < 1.07
        assert binomtest(sum(r.covers(truth) for r in results), 400, 0.93, alternative="less").pvalue > 0.05
        assert all(r.covers(0) == (r.p_value > 0.05) for r in results)


def test_covariates_that_drive_adoption_and_trend_are_adjusted_for():
    plain, results = [], []
    for seed in range(400):
        y, cohort, x = _world(seed, selected=True)
        results.append(group_time(y, cohort, np.arange(6), x).aggregate("simple").overall(outcome="y"))
        plain.append(group_time(y, cohort, np.arange(6)).aggregate("simple").overall(outcome="y").value)
    truth = _truth("simple", 1.0, 0.5)
    errors = np.array([r.value - truth for r in results])
    assert np.mean(plain) - truth > 2 * errors.std()
    assert abs(errors.mean()) / errors.std() < 0.15
    assert 0.93 < np.sqrt(np.mean([r.std_error**2 for r in results])) / errors.std() < 1.07
    assert binomtest(sum(r.covers(truth) for r in results), 400, 0.93, alternative="less").pvalue > 0.05


@pytest.mark.parametrize("control", ["never", "not yet"])
@pytest.mark.parametrize("base", ["varying", "universal"])
def test_an_effect_that_grows_by_one_a_period_is_found_exactly(control, base):
    cohort = np.repeat([3.0, 5.0, np.inf], 10)
    exposure = np.clip(np.arange(8) - cohort[:, None] + 1, 0, None)
    y = np.arange(30)[:, None] + 3.0 * np.arange(8) + exposure
    fitted = group_time(y, cohort, np.arange(8), control=control, base=base)
    expected = np.clip(fitted.time - fitted.group + 1, 0, None)
    np.testing.assert_allclose(fitted.value, expected, atol=1e-12)


def test_units_mailed_after_a_spike_are_no_controls_once_mailed_but_at_risk_units_are():
    # Whoever spends much in a period is mailed in the next; mailing does nothing, and spending regresses to the mean.
    rng = np.random.default_rng(0)
    spend = rng.normal(size=(4_000, 6))
    chosen = spend[:, 2] > 1.0
    later = ~chosen & (spend[:, 4] > 1.0)
    cohort = np.where(chosen, 3.0, np.where(later, 5.0, np.inf))
    biased = group_time(spend[chosen | later], cohort[chosen | later], np.arange(6), control="not yet")
    dip = dict(zip(zip(biased.group, biased.time, strict=True), biased.value, strict=True))
    assert dip[3, 4] < dip[3, 3] - 1  # later-mailed controls spike just before their own mailing
    assert (5, 5) not in dip  # nobody is left as a control


def test_the_published_effects_of_the_minimum_wage_are_reproduced():
    # Callaway & Sant'Anna's did, README and vignette (mpdta, no covariates); errors there are bootstrapped
    y, cohort, periods = counties()
    fitted = group_time(y, cohort, periods)
    published = [
        -0.0105,
        -0.0704,
        -0.1373,
        -0.1008,
        0.0065,
        -0.0028,
        -0.0046,
        -0.0412,
        0.0305,
        -0.0027,
        -0.0311,
        -0.0261,
    ]
    np.testing.assert_allclose(fitted.value, published, atol=5.1e-5)
    errors = [0.0243, 0.0331, 0.0412, 0.0358, 0.0230, 0.0210, 0.0175, 0.0196, 0.0147, 0.0156, 0.0179, 0.0175]
    np.testing.assert_allclose(np.sqrt((fitted.influence**2).sum(axis=0)) / 500, errors, rtol=0.15)
    overall = {kind: fitted.aggregate(kind).overall(outcome="lemp") for kind in KINDS}
    for kind, value in [("simple", -0.039951), ("group", -0.031018), ("dynamic", -0.077240), ("calendar", -0.0417)]:
        assert overall[kind].value == pytest.approx(value, abs=5e-5 if kind == "calendar" else 1e-6)
    assert overall["group"].std_error == pytest.approx(0.0125, abs=2e-4)
    assert overall["dynamic"].std_error == pytest.approx(0.0205, abs=1e-3)
    assert fitted.aggregate("group").value[:3] == pytest.approx([-0.079749, -0.022910, -0.026054], abs=1e-6)
    dynamic = [0.0305, -0.0006, -0.0245, -0.0199, -0.0510, -0.1373, -0.1008]
    assert fitted.aggregate("dynamic").value[:7] == pytest.approx(dynamic, abs=5.1e-5)
    assert fitted.aggregate("calendar").value[:4] == pytest.approx([-0.0105, -0.0704, -0.0488, -0.0371], abs=5.1e-5)
    balanced = fitted.aggregate("dynamic", balance=1).overall(outcome="lemp")
    assert (balanced.value, balanced.std_error) == pytest.approx((-0.0288, 0.0135), abs=3e-4)


@pytest.mark.parametrize("control", ["never", "not yet"])
@pytest.mark.parametrize("base", ["varying", "universal"])
@pytest.mark.parametrize("adjusted", [False, True])
@pytest.mark.filterwarnings("ignore")
def test_effects_and_errors_are_diff_diff_s(control, base, adjusted):
    from diff_diff import CallawaySantAnna

    y, cohort, x = _world(5, selected=True)
    unit, period = (a.ravel() for a in np.indices(y.shape))
    first = np.where(np.isinf(cohort), 0, cohort)[unit]
    data = pd.DataFrame({"y": y.ravel(), "unit": unit, "period": period, "first": first, "x": x[unit]})
    reference = CallawaySantAnna(
        control_group={"never": "never_treated", "not yet": "not_yet_treated"}[control], base_period=base
    ).fit(data, "y", "unit", "period", "first", covariates=["x"] if adjusted else None)
    fitted = group_time(y, cohort, np.arange(6), x if adjusted else None, control=control, base=base)
    # Adjusted effects agree to a hundredth of their error only; the next test says that ours are the formula's.
    part = 0.01 if adjusted else 1e-9
    for k, (g, t) in enumerate(zip(fitted.group, fitted.time, strict=True)):
        cell = reference.group_time_effects[g, t]
        error = np.sqrt((fitted.influence[:, k] ** 2).sum()) / len(y)
        assert fitted.value[k] == pytest.approx(cell["effect"], abs=part * error)
        if np.isfinite(cell["se"]):
            assert error == pytest.approx(cell["se"], rel=part)
    ours = fitted.aggregate("simple").overall(outcome="y")
    assert ours.value == pytest.approx(reference.overall_att, abs=part * ours.std_error)
    assert ours.std_error * np.sqrt(1 - 1 / len(y)) == pytest.approx(reference.overall_se, rel=part)


def test_the_doubly_robust_effect_is_its_formula_with_statsmodels_fits():
    import statsmodels.api as sm

    y, cohort, x = _world(2, selected=True)
    fitted = group_time(y, cohort, np.arange(6), x)
    cell = int(np.flatnonzero((fitted.group == 3) & (fitted.time == 4))[0])
    used = (cohort == 3) | np.isinf(cohort)
    d, change, design = cohort[used] == 3, (y[:, 4] - y[:, 2])[used], sm.add_constant(x[used])
    propensity = sm.Logit(d.astype(float), design).fit(disp=0, tol=1e-12).predict()
    residual = change - sm.OLS(change[~d], design[~d]).fit().predict(design)
    odds = np.where(d, 0, propensity / (1 - propensity))
    assert fitted.value[cell] == pytest.approx(residual[d].mean() - np.average(residual, weights=odds), rel=1e-9)


def test_anticipation_moves_the_reference_back():
    y, cohort, _ = _world(3)
    fitted = group_time(y, cohort, np.arange(6), anticipation=1, base="universal")
    for g, t, value in zip(fitted.group, fitted.time, fitted.value, strict=True):
        own, never = cohort == g, np.isinf(cohort)
        change = y[:, t] - y[:, g - 2]
        assert value == pytest.approx(change[own].mean() - change[never].mean(), abs=1e-12)
    assert fitted.aggregate("dynamic").event_study().reference == -2


def test_a_simultaneous_band_covers_all_effects_at_once_and_agrees_with_its_p_values():
    all_in = 0
    for seed in range(200):
        y, cohort, _ = _world(seed, 0.0, growth=0.0, n=200)
        bands = group_time(y, cohort, np.arange(6)).aggregate("dynamic").bands(outcome="y", seed=seed, draws=199)
        all_in += all(b.covers(0) for b in bands)
        assert all(b.covers(0) == (b.p_value > 0.05) for b in bands)
    assert binomtest(all_in, 200, 0.92, alternative="less").pvalue > 0.05
    effects = group_time(*_world(1)[:2], np.arange(6)).aggregate("dynamic")
    single, bands = effects.estimates(outcome="y"), effects.bands(outcome="y", seed=1)
    assert all(b.low < s.low and s.high < b.high for b, s in zip(bands, single, strict=False))
    assert bands == effects.bands(outcome="y", seed=1)


def test_errors_by_cluster_do_not_shrink_when_every_unit_is_copied():
    y, cohort, x = _world(4)
    base = group_time(y, cohort, np.arange(6), x).aggregate("simple").overall(outcome="y")
    copies = (np.repeat(a, 2, axis=0) for a in (y, cohort))
    twice = group_time(*copies, np.arange(6), np.repeat(x, 2), cluster=np.repeat(np.arange(300), 2))
    result = twice.aggregate("simple").overall(outcome="y")
    assert result.std_error == pytest.approx(base.std_error, rel=1e-9)
    assert (result.n_treated, result.n_control) == (base.n_treated, base.n_control)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.01, 100), shift=st.floats(-1e6, 1e6))
def test_order_scale_shift_and_unit_levels_change_nothing_they_should_not(seed, scale, shift):
    y, cohort, x = _world(seed)
    base = group_time(y, cohort, np.arange(6), x).aggregate("group").estimates(outcome="y")
    order = np.random.default_rng(seed).permutation(len(y))
    other = scale * y + shift + np.arange(300)[:, None]
    moved = group_time(other[order], cohort[order] + 2000, np.arange(2000, 2006), 3 * x[order] - 7)
    for a, b in zip(base, moved.aggregate("group").estimates(outcome="y"), strict=True):
        assert b.value == pytest.approx(scale * a.value, rel=1e-6, abs=1e-6 * scale)
        assert b.std_error == pytest.approx(scale * a.std_error, rel=1e-6)


def test_the_counterfactual_level_is_the_treated_mean_less_the_effect():
    y, cohort, _ = _world(6)
    treated = np.arange(6) >= cohort[:, None]
    result = group_time(y, cohort, np.arange(6)).aggregate("simple").overall(outcome="y")
    assert result.control_mean == pytest.approx(y[treated].mean() - result.value, rel=1e-9)


def test_bad_input_is_refused_by_name():
    y, cohort, x = _world(0)
    periods = np.arange(6)
    for args, options, message in [
        ((y[1:], cohort, periods), {}, r"expected \(units, periods\)"),
        ((np.where(y > 5, np.nan, y), cohort, periods), {}, "may not be NaN or infinite"),
        ((y, cohort, periods[::-1]), {}, "in rising order"),
        ((y, cohort - 0.5, periods), {}, "must be one of the periods"),
        ((y, np.where(cohort == 2, 0, cohort), periods), {}, "treated before the panel starts"),
        ((y, cohort, periods), {"anticipation": 2}, "no pre-period with anticipation 2"),
        ((y, np.full(300, np.inf), periods), {}, "nobody is treated"),
        ((y, np.where(np.isinf(cohort), 4, cohort), periods), {}, "no unit is never treated"),
        ((y, np.full(300, 3.0), periods), {"control": "not yet"}, "no period has both|is everyone treated at once"),
        ((y, cohort, periods, x[1:]), {}, "x: expected 300 rows"),
        ((y, cohort, periods, np.where(x > 2, np.inf, x)), {}, "covariates may not be NaN"),
        ((y, cohort, periods, np.column_stack([x, x])), {}, "constant or collinear"),
        ((y, cohort, periods, np.isinf(cohort) + 0.01 * x), {}, "x: no overlap"),
    ]:
        with pytest.raises(ValueError, match=message):
            group_time(*args, **options)
    few = np.where(np.cumsum(np.isfinite(cohort)) <= 4, cohort, np.inf)
    with pytest.raises(ValueError, match="4 treated and 296 control clusters"):
        group_time(y, few, periods).aggregate("simple").estimates(outcome="y")
    fitted = group_time(y, cohort, periods)
    with pytest.raises(ValueError, match="universal base period"):
        fitted.aggregate("dynamic").event_study()
    with pytest.raises(ValueError, match=r"draws: a level of 0[.]95 needs at least"):
        fitted.aggregate("dynamic").bands(outcome="y", seed=1, draws=10)
    with pytest.raises(ValueError, match="1 treated and 1 control clusters"):
        group_time(y, cohort, periods, cluster=np.zeros(300)).aggregate("simple").overall(outcome="y")
