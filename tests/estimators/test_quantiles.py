import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm

from causal_assets.estimators.quantiles import _arm, difference_in_quantiles

SEEDS = 400


def _fit(control, treated, quantile=0.5, **options):
    return difference_in_quantiles(control, treated, quantile, outcome="seconds", **options)


@pytest.mark.parametrize("effect", [0.3, 0.0])
@pytest.mark.parametrize("quantile", [0.5, 0.9])
def test_the_planted_effect_on_a_quantile_is_recovered_with_honest_errors(quantile, effect):
    rng = np.random.default_rng(round(10 * quantile + 100 * effect))
    base = np.exp(norm.ppf(quantile))
    truth, ratio = base * np.expm1(effect), np.expm1(effect)
    results = [_fit(np.exp(rng.normal(size=1_500)), np.exp(rng.normal(effect, 1, 800)), quantile) for _ in range(SEEDS)]
    errors = np.array([r.value - truth for r in results])
    assert abs(errors.mean()) / errors.std() < 0.15
    assert 0.93 < np.mean([r.std_error for r in results]) / errors.std() < 1.07
    assert binomtest(sum(r.covers(truth) for r in results), SEEDS, 0.93, alternative="less").pvalue > 0.05
    relative = sum(r.relative_low <= ratio <= r.relative_high for r in results)
    assert binomtest(relative, SEEDS, 0.93, alternative="less").pvalue > 0.05


def _sessions(rng, units, effect=0.0):
    """Several rows per unit with a shared component: variance between units is half of the whole."""
    rows = 1 + rng.poisson(9, units)
    unit = np.repeat(np.arange(units), rows)
    return np.exp(effect + rng.normal(size=units)[unit] + rng.normal(size=unit.size)), unit


def test_rows_of_one_unit_are_not_independent_and_the_interval_knows():
    rng = np.random.default_rng(1)
    clustered, naive, sets = 0, 0, 200
    for _ in range(sets):
        (c, cu), (t, tu) = _sessions(rng, 200), _sessions(rng, 150)
        clustered += _fit(c, t, 0.75, control_unit=cu, treated_unit=tu).covers(0.0)
        naive += _fit(c, t, 0.75).covers(0.0)
    assert binomtest(clustered, sets, 0.93, alternative="less").pvalue > 0.05
    assert naive < 0.8 * sets


def test_one_row_per_unit_is_the_unclustered_answer_and_doubled_rows_tell_nothing_new():
    rng = np.random.default_rng(2)
    c, t = rng.exponential(size=900), rng.exponential(1.2, 900)
    rows = np.arange(900)
    plain, single = _fit(c, t), _fit(c, t, control_unit=rows, treated_unit=rows)
    assert single.std_error == pytest.approx(plain.std_error, rel=0.01)
    two = np.repeat(rows, 2)
    doubled = _fit(np.repeat(c, 2), np.repeat(t, 2), control_unit=two, treated_unit=two)
    assert doubled.std_error == pytest.approx(plain.std_error, rel=0.03)
    assert doubled.n_treated == 900


def test_the_limits_of_an_arm_lie_within_one_rank_of_the_exact_binomial_ones():
    y = np.arange(1.0, 101.0)
    arm, _ = _arm("control", y, None, 0.5)
    # Conover (1999), Practical nonparametric statistics, sec. 3.2: the median of 100 lies in [Y_40, Y_61] at 95%
    assert 40 <= arm.at(0.025) <= 41 and 60 <= arm.at(0.975) <= 61
    for n, q, chance in [(57, 0.5, 0.05), (300, 0.9, 0.025), (2_000, 0.99, 0.975)]:
        arm, _ = _arm("control", np.arange(1.0, n + 1), None, q)
        rank = arm.at(chance)
        # whole ranks around it bracket the chance exactly: P(quantile < Y_(k)) = P(Binomial(n, q) < k)
        assert binom.cdf(np.floor(rank) - 1, n, q) <= chance <= binom.cdf(np.ceil(rank) - 1, n, q)


def test_the_median_is_the_median_and_others_are_median_unbiased():
    rng = np.random.default_rng(3)
    y = rng.normal(size=401)
    assert _fit(y, rng.normal(size=50)).control_mean == np.median(y)
    expected = np.quantile(y, 0.9, method="median_unbiased")
    assert _fit(y, rng.normal(size=50), 0.9).control_mean == pytest.approx(expected, abs=1e-3)


values = st.lists(st.integers(0, 30), min_size=12, max_size=60)


@settings(max_examples=60, deadline=None)
@given(values, values, st.sampled_from([0.3, 0.5]), st.sampled_from([0.8, 0.95]))
def test_interval_p_value_and_ratio_agree_on_zero_even_with_ties(c, t, quantile, level):
    try:
        result = _fit(np.array(c) + 1.0, np.array(t) + 1.0, quantile, level=level)
    except ValueError as refused:
        assert "tied" in str(refused)
        return
    assert result.covers(0.0) == (result.p_value > 1 - level)
    if np.isfinite(result.relative_low):
        assert (result.relative_low <= 0 <= result.relative_high) == result.covers(0.0)


def test_order_scale_mirror_and_swap_do_what_they_should():
    rng = np.random.default_rng(4)
    c, t = rng.gamma(2.0, 1.0, 500), rng.gamma(2.3, 1.0, 300)
    base, swapped = _fit(c, t, 0.8), _fit(t, c, 0.8)
    assert _fit(rng.permutation(c), rng.permutation(t), 0.8) == base
    assert (swapped.value, swapped.p_value) == pytest.approx((-base.value, base.p_value), rel=1e-9)
    assert (swapped.low, swapped.high) == pytest.approx((-base.high, -base.low), rel=1e-9)
    scaled = _fit(100 * c + 7, 100 * t + 7, 0.8)
    assert (scaled.low, scaled.high) == pytest.approx((100 * base.low, 100 * base.high), rel=1e-9)
    mirror = _fit(-c, -t, 0.2)
    assert (mirror.low, mirror.high) == pytest.approx((-base.high, -base.low), rel=1e-6)


def test_too_few_rows_for_the_tail_leave_the_interval_open():
    rng = np.random.default_rng(5)
    result = _fit(rng.exponential(size=120), rng.exponential(size=120), 0.99)
    assert (result.low, result.high, result.std_error) == (-np.inf, np.inf, None)
    assert (result.relative_low, result.relative_high) == (-np.inf, np.inf)
    with pytest.raises(ValueError, match=r"arms of 120 and 40 rows do not reach their 0\.99 quantile"):
        _fit(rng.exponential(size=120), rng.exponential(size=40), 0.99)


def test_ties_bad_numbers_and_too_few_units_are_refused():
    y = np.arange(50.0)
    zeros = np.repeat([0.0, 1.0], [90, 10])
    with pytest.raises(ValueError, match=r"rows are tied around the 0\.5 quantile of both arms"):
        _fit(zeros, zeros)
    with pytest.raises(ValueError, match="treated: expected at least 2 finite outcomes"):
        _fit(y, np.full(5, np.nan))
    with pytest.raises(ValueError, match="control units: quantiles of clustered rows need 30 units, got 10"):
        _fit(y, y, control_unit=np.arange(50) // 5)
    with pytest.raises(ValueError, match="control units: expected one label per row"):
        _fit(y, y, control_unit=np.arange(49))
    for bad in ({"quantile": 1.0}, {"level": 95}):
        with pytest.raises(ValueError, match="quantile, level: expected numbers strictly between 0 and 1"):
            _fit(y, y, **bad)
