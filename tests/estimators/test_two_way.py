import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from causal_assets.estimators.two_way import TwoWayFit, period_effects, two_way, unpack, wide_panel
from tests.estimators.panels import counties, long, reforms


def _panel(seed, effect=1.0, units=180, periods=5, lost=0.1, unequal=0.0):
    """Rows of a panel in which a third adopts in the middle and ``lost`` of the later rows are missing.

    Errors are correlated within units; treated units start higher. ``unequal`` adds noise to the treated's changes.
    """
    rng = np.random.default_rng(seed)
    i, t = (a.ravel() for a in np.indices((units, periods)))
    d = ((i < units // 3) & (t >= periods // 2)).astype(float)
    walk = rng.normal(size=(units, periods)).cumsum(axis=1)[i, t]
    y = 3 * rng.normal(size=units)[i] + 2 * (i < units // 3) + 0.5 * t + effect * d + walk
    y += unequal * d * rng.normal(size=units)[i]
    kept = (t == 0) | (rng.random(y.size) >= lost)
    return y[kept], d[kept], i[kept], t[kept]


@pytest.mark.parametrize("truth", [1.0, 0.0])
@pytest.mark.parametrize("units", [30, 180])
def test_the_planted_effect_is_recovered_with_honest_errors(units, truth):
    first = 0 if truth else 400  # the placebo twin has draws of its own
    results = [two_way(*_panel(first + seed, truth, units=units)).estimate(outcome="y") for seed in range(400)]
    errors = np.array([r.value - truth for r in results])
    assert abs(errors.mean()) / errors.std() < 0.15
    assert 0.93 < np.sqrt(np.mean([r.std_error**2 for r in results])) / errors.std() < 1.07
    assert binomtest(sum(r.covers(truth) for r in results), 400, 0.94, alternative="less").pvalue > 0.05
    assert all(r.covers(0) == (r.p_value > 0.05) for r in results)
    assert {r.method for r in results} == {f"two-way fixed effects, {'CR2' if units == 30 else 'CR1'}"}


@pytest.mark.parametrize("lost", [0.0, 0.2])
@pytest.mark.parametrize("grouped", [False, True])
def test_coefficient_and_error_are_pyfixest_s(lost, grouped):
    import pyfixest as pf

    y, d, unit, period = _panel(7, lost=lost, periods=9)
    cluster = unit // 3 if grouped else unit
    data = pd.DataFrame({"y": y, "d": d, "unit": unit, "period": period, "cluster": cluster})
    # Without (N-1)/(N-k): pyfixest 0.60 counts k by the order of a set, so that it changes with the hash seed.
    options = {"vcov": {"CRV1": "cluster"}, "ssc": pf.ssc(k_adj=False)}
    reference = pf.feols("y ~ d | unit + period", data, **options)
    fit = two_way(y, d, unit, period, cluster=cluster)
    assert fit.value == pytest.approx(reference.coef()["d"], rel=1e-8)
    factor = np.sqrt((y.size - 1) / (y.size - 10))
    assert fit.std_error == pytest.approx(reference.se()["d"] * factor, rel=1e-8)


def test_the_coefficient_is_least_squares_with_all_dummies_and_cr2_is_its_clustered_error():
    from causal_assets.estimators.cluster_robust import cluster_fit, cluster_products

    y, d, unit, period = _panel(1, units=24)
    x = np.column_stack([d, np.eye(24)[unit], np.eye(5)[period][:, 1:]])
    full = cluster_fit(*cluster_products(x, y - y.mean(), unit))
    fit = two_way(y, d, unit, period)
    assert fit.value == pytest.approx(full.coef[0], rel=1e-9)
    assert fit.small_error == pytest.approx(np.sqrt(full.cov[0, 0]), rel=1e-8)


def test_the_published_minimum_wage_coefficient_is_reproduced():
    # did's mpdta: county and year effects give -0.036549; the error is fixest's, pyfixest also prints 0.01325
    outcome, cohort, periods = counties()
    fit = two_way(*long(outcome, (periods >= cohort[:, None]).astype(float)))
    assert fit.value == pytest.approx(-0.036549, abs=5e-7)
    assert fit.std_error == pytest.approx(0.013265, abs=2e-6)
    assert (fit.treated, fit.control) == (191, 309)


def test_cheng_and_hoekstra_s_homicides_are_reproduced():
    # castle doctrine laws, log homicides, state and year effects, unweighted: 0.08181 (0.05887)
    import causaldata

    data = causaldata.castle.load_pandas().data.sort_values(["sid", "year"])
    # bacondecomp counts the year in which the law came into force as treated, causaldata the years after it
    post = np.maximum(data["post"], data.groupby("sid")["post"].shift(-1, fill_value=0))
    fit = two_way(np.log(data["homicide"]), post, data["sid"], data["year"])
    assert fit.value == pytest.approx(0.08181, abs=5e-6)
    assert fit.std_error == pytest.approx(0.05887, abs=5e-6)
    assert fit.estimate(outcome="homicide").method == "two-way fixed effects, CR2"


def test_one_treated_state_gives_its_published_coefficient_and_no_interval():
    # Kessler & Roth (2014) in The Effect, ch. 18: -0.022 (0.006)
    import causaldata

    data = causaldata.organ_donations.load_pandas().data
    treated = (data["State"] == "California") & data["Quarter"].isin(["Q32011", "Q42011", "Q12012"])
    fit = two_way(data["Rate"], treated, data["State"], data["Quarter_Num"])
    assert (fit.value, fit.std_error) == pytest.approx((-0.022459, 0.006131), abs=5e-7)
    with pytest.raises(ValueError, match="1 treated and 26 control clusters"):
        fit.estimate(outcome="Rate")


def test_goodman_s_math_reform_coefficient_is_reproduced():
    # bacondecomp's README: the components add to 0.00246
    assert two_way(*long(*reforms())).value == pytest.approx(0.00246, abs=5e-6)


def test_growing_effects_make_the_coefficient_wrong_where_staggered_adoption_is_right():
    periods = np.arange(8)
    start = np.repeat([2, 4, 6, 99], 10)
    exposure = np.clip(periods - start[:, None] + 1, 0, None).astype(float)  # 1, 2, 3 ... from adoption on
    outcome = np.arange(40)[:, None] + periods + exposure
    value = two_way(*long(outcome, (exposure > 0).astype(float))).value
    assert value < exposure[exposure > 0].mean() - 0.5


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), scale=st.floats(0.01, 100), shift=st.floats(-1e6, 1e6))
def test_order_labels_scale_and_shift_change_nothing_they_should_not(seed, scale, shift):
    y, d, unit, period = _panel(seed, units=60)
    base = two_way(y, d, unit, period)
    order = np.random.default_rng(seed).permutation(y.size)
    names = np.array([f"u{n * 7 % 60}" for n in unit])
    moved = two_way((scale * y + shift + 10 * unit)[order], d[order], names[order], (2000 + 3 * period)[order])
    assert moved.value == pytest.approx(scale * base.value, rel=1e-6, abs=1e-9 * abs(shift))
    assert moved.std_error == pytest.approx(scale * base.std_error, rel=1e-6)
    assert moved.small_df == pytest.approx(base.small_df, rel=1e-9)


def test_a_billion_added_to_every_outcome_leaves_the_error():
    y, d, unit, period = _panel(3)
    shifted = two_way(y + 1e9, d, unit, period)
    assert shifted.std_error == pytest.approx(two_way(y, d, unit, period).std_error, rel=1e-6)


def test_swapping_the_arms_flips_the_sign():
    y, d, unit, period = _panel(4)
    swapped = np.where(period >= 2, 1 - d, 0.0)
    assert two_way(y, swapped, unit, period).value == pytest.approx(-two_way(y, d, unit, period).value, rel=1e-9)


def test_masks_unpack_to_the_periods_they_were_packed_from():
    seen = np.random.default_rng(0).random((7, 130)) < 0.5
    masks = np.stack(
        [[sum(1 << b for b in range(62) if k + b < 130 and row[k + b]) for row in seen] for k in (0, 62, 124)], axis=1
    )
    np.testing.assert_array_equal(unpack(masks, 130, 62), seen)


def test_bad_input_is_refused_by_name():
    y, d, unit, period = _panel(0)
    for given_, message in [
        ((y[1:], d, unit, period), "expected equal lengths"),
        ((np.where(d == 1, np.nan, y), d, unit, period), "y: outcomes may not be NaN"),
        ((y, 2 * d, unit, period), "d: expected 0 and 1"),
        ((np.append(y, 1.0), np.append(d, 0), np.append(unit, 0), np.append(period, 0)), "1 pairs of unit and period"),
        ((y, d, unit, 0 * period), "more than one row"),
        ((y[period == 0], d[period == 0], unit[period == 0], period[period == 0]), "at least 2 periods"),
        ((y, np.where(unit < 3, 1.0, d), unit, period), "3 units are treated before the panel starts"),
        ((y, (period >= 2).astype(float), unit, period), "unit and period effects explain the treatment"),
        ((y, 0 * d, unit, period), "unit and period effects explain the treatment"),
        ((y, d, unit, period, np.arange(y.size)), "a unit may not be in two clusters"),
        ((y, d, unit, period, 0 * unit), "at least 2 clusters, got 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            two_way(*given_[:4], cluster=given_[4] if len(given_) > 4 else None)
    with pytest.raises(ValueError, match="the panel falls apart"):
        period_effects(np.eye(4, dtype=bool), np.ones(4), np.ones((4, 1)), np.ones((4, 1)))
    with pytest.raises(ValueError, match="rows are missing"):
        wide_panel(y, d, unit, period)
    fit = TwoWayFit(1.0, 0.1, 1_000, 30, 900)
    with pytest.raises(ValueError, match="would fill the memory"):
        fit.estimate(outcome="y")
    with pytest.raises(ValueError, match="level must lie"):
        fit.estimate(outcome="y", level=1.0)
    flat = two_way(0 * y, d, unit, period)
    with pytest.raises(ValueError, match="is the outcome constant"):
        flat.estimate(outcome="y")
