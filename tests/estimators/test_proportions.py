import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest

from causal_assets.estimators.proportions import LEAST_EXPECTED, Events, difference_in_proportions


def _fit(x0, n0, x1, n1, **options):
    return difference_in_proportions(Events(x0, n0), Events(x1, n1), outcome="bought", **options)


@pytest.mark.parametrize(("rates", "sizes"), [((0.3, 0.36), (500, 400)), ((0.01, 0.01), (19_000, 1_000))])
def test_the_planted_difference_and_its_null_twin_are_covered(rates, sizes):
    rng = np.random.default_rng(1)
    seeds = 400
    draws = [rng.binomial(n, p, seeds) for n, p in zip(sizes, rates, strict=True)]
    kept = np.minimum(draws[0] + draws[1], 10**9) * sizes[1] / sum(sizes) >= LEAST_EXPECTED
    results = [_fit(int(x0), sizes[0], int(x1), sizes[1]) for x0, x1 in np.stack(draws, axis=1)[kept]]
    truth, ratio = rates[1] - rates[0], rates[1] / rates[0] - 1
    errors = np.array([r.value - truth for r in results])
    assert abs(errors.mean()) / errors.std() < 0.15
    assert 0.93 < np.mean([r.std_error for r in results]) / errors.std() < 1.07
    for covered in (
        sum(r.covers(truth) for r in results),
        sum(r.relative_low <= ratio <= r.relative_high for r in results),
    ):
        assert binomtest(covered, len(results), 0.93, alternative="less").pvalue > 0.05


def test_newcombes_published_interval_of_miettinen_and_nurminen_is_reproduced():
    # Newcombe (1998), Interval estimation for the difference between independent proportions, Stat. Med. 17(8),
    # table II, contrast (a), 56/70 - 48/80, method 6 (Miettinen-Nurminen)
    result = _fit(48, 80, 56, 70)
    assert (result.low, result.high) == pytest.approx((0.0528, 0.3382), abs=5e-5)


def test_the_p_value_is_the_score_tests_and_the_relative_interval_statsmodels():
    from statsmodels.stats.proportion import confint_proportions_2indep, score_test_proportions_2indep

    for x0, n0, x1, n1 in [(48, 80, 56, 70), (157, 2435, 235, 2435), (900, 100_000, 60, 5_300)]:
        result = _fit(x0, n0, x1, n1)
        assert result.p_value == pytest.approx(score_test_proportions_2indep(x1, n1, x0, n0).pvalue, rel=1e-9)
        ratio = confint_proportions_2indep(x1, n1, x0, n0, method="score", compare="ratio")
        assert (result.relative_low + 1, result.relative_high + 1) == pytest.approx(ratio, rel=1e-6)


def test_the_ends_are_where_the_likelihood_under_that_difference_says():
    # Not against statsmodels: its restricted rates are not the likeliest ones (0.15.0 has count0 where n0 belongs).
    x0, n0, x1, n1 = 7, 100, 15, 120
    result = _fit(x0, n0, x1, n1)
    for end in (result.low, result.high):

        def against(p, end=end):
            return -(
                x1 * np.log(p + end) + (n1 - x1) * np.log(1 - p - end) + x0 * np.log(p) + (n0 - x0) * np.log(1 - p)
            )

        limits = max(0.0, -end) + 1e-9, min(1.0, 1 - end) - 1e-9
        p0 = minimize_scalar(against, bounds=limits, method="bounded", options={"xatol": 1e-12}).x
        p1 = p0 + end
        n = n0 + n1
        variance = (p0 * (1 - p0) / n0 + p1 * (1 - p1) / n1) * n / (n - 1)
        assert (x1 / n1 - x0 / n0 - end) ** 2 / variance == pytest.approx(1.959963984540054**2, rel=1e-5)


counts = st.tuples(st.integers(30, 5_000), st.integers(30, 5_000), st.floats(0, 1), st.floats(0, 1))


@settings(deadline=None, max_examples=60)
@given(counts, st.sampled_from([0.8, 0.95, 0.99]))
def test_p_value_interval_and_relative_interval_agree_and_swapping_arms_or_events_mirrors(drawn, level):
    n0, n1, share0, share1 = drawn
    x0, x1 = round(n0 * share0), round(n1 * share1)
    pooled = (x0 + x1) / (n0 + n1)
    assume(min(pooled, 1 - pooled) * min(n0, n1) >= LEAST_EXPECTED)
    result = _fit(x0, n0, x1, n1, level=level)
    assert -1 <= result.low <= result.value <= result.high <= 1
    assume(abs(result.p_value - (1 - level)) > 1e-7)  # on the very boundary the last digit decides
    significant = result.p_value < 1 - level
    assert significant == (not result.covers(0.0))
    assert significant == (not result.relative_low <= 0 <= result.relative_high)
    swapped, others = _fit(x1, n1, x0, n0, level=level), _fit(n0 - x0, n0, n1 - x1, n1, level=level)
    for mirror in (swapped, others):
        assert (-mirror.high, -mirror.low, mirror.p_value) == pytest.approx(
            (result.low, result.high, result.p_value), abs=1e-7
        )
    if min(x0, x1) > 0:
        assert 1 / (swapped.relative_high + 1) == pytest.approx(result.relative_low + 1, rel=1e-6)


def test_no_event_in_an_arm_leaves_one_side_of_the_ratio_open():
    result = _fit(0, 1_000, 12, 900)
    assert result.relative is None
    assert result.relative_low > 0 and result.relative_high == np.inf
    assert _fit(12, 900, 0, 1_000).relative_low == -1.0
    assert _fit(0, 30, 30, 30).high == 1.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            (4, 1_000, 2, 1_000),
            "needs 5 expected events and non-events in each arm, got 3 with 4 of 1000 and 2 of 1000",
        ),
        ((100, 10_000, 1, 100), "got 1 with"),
        ((998, 1_000, 1_000, 1_000), "got 1 with"),
        ((11, 10, 5, 10), "expected 0 <= events <= n and n >= 1, got 11 of 10"),
        ((0, 0, 5, 10), "got 0 of 0"),
    ],
)
def test_too_few_events_and_impossible_counts_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        _fit(*given)
    with pytest.raises(ValueError, match="level must lie strictly between 0 and 1, got 95"):
        _fit(48, 80, 56, 70, level=95)
