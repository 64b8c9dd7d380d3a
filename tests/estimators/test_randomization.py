from itertools import combinations

import numpy as np
import pytest
from scipy.stats import binomtest, kstest, permutation_test, ttest_1samp

from causal_assets.estimators.moments import Moments
from causal_assets.estimators.randomization import randomization_test
from causal_assets.estimators.randomized import difference_in_means

# Darwin's cross- minus self-fertilised maize, eighths of an inch, 15 pairs: Fisher (1935), Design of Experiments, ch. 3
DARWIN = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48], dtype=float)
SEEDS = 400


def _test(y, d, unit=None, **options):
    unit = np.arange(len(y)) if unit is None else unit
    return randomization_test(y, d, unit, outcome="y", **{"seed": 1, "draws": 199, **options})


def _data(seed, n=40, treated=14, effect=1.0, heavy=False):
    rng = np.random.default_rng(seed)
    d = rng.permutation(n) < treated
    return (rng.laplace(size=n) if heavy else rng.normal(size=n)) + effect * d, d


def test_fishers_exact_p_of_darwins_pairs_is_reproduced():
    # 1,726 of the 32,768 assignments are as extreme: 5.267%
    y = np.column_stack([np.zeros(15), DARWIN]).ravel()
    result = _test(y, np.tile([0, 1], 15), stratum=np.repeat(np.arange(15), 2))
    assert result.p_value == 1_726 / 32_768
    assert result.value == pytest.approx(DARWIN.mean())
    assert "all 32,768 assignments" in result.method
    # Student's t says p = 0.0497 and an interval just above 0; the exact test does not reject, and its set says so too
    t = ttest_1samp(DARWIN, 0.0)
    interval = t.confidence_interval()
    assert t.pvalue < 0.05 < result.p_value
    assert result.low < 0 < interval.low
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high), abs=1.0)


def test_the_lady_who_gets_three_of_four_cups_right_has_p_of_34_in_70():
    # Fisher (1935), ch. 2: 16 + 1 of 70 in either direction
    poured, said = [1, 1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 1, 0, 0, 0]
    result = _test(poured, said)
    assert result.p_value == pytest.approx(34 / 70)
    assert "smallest p 0.029" in result.method  # 2 in 70


def test_exact_p_is_that_of_scipy_with_the_same_statistic():
    y, d = _data(1, n=12, treated=5)

    def welch(a, b, axis):
        return np.abs(a.mean(axis) - b.mean(axis)) / np.sqrt(
            a.var(axis, ddof=1) / a.shape[axis] + b.var(axis, ddof=1) / b.shape[axis]
        )

    reference = permutation_test((y[d], y[~d]), welch, alternative="greater", n_resamples=np.inf, vectorized=True)
    assert _test(y, d).p_value == pytest.approx(reference.pvalue, abs=1e-12)


def test_the_set_holds_exactly_the_effects_that_the_same_draws_do_not_reject():
    for seed, options in enumerate([{}, {"n": 12, "treated": 5}, {"n": 9, "treated": 3}, {"treated": 6}]):
        y, d = _data(seed, **options)
        result = _test(y, d)
        width = min(result.high - result.low, 50.0)
        for tau in np.linspace(result.value - width, result.value + width, 37):
            shifted = _test(y - tau * d, d)
            assert result.covers(tau) == (shifted.p_value > 0.05)
            assert shifted.covers(0.0) == (shifted.p_value > 0.05)


def test_a_set_of_several_pieces_says_so():
    found = 0
    for seed in range(12):
        result = _test(np.random.default_rng(seed).normal(size=20), np.arange(20) < 2)
        found += bool(result.pieces)
        assert result.covers(result.value)
        if result.pieces:
            assert (result.low, result.high) == (result.pieces[0][0], result.pieces[-1][1])
            (_, end), (start, _) = result.pieces[:2]
            assert not result.covers((end + start) / 2)
    assert found > 0


def test_too_few_assignments_leave_the_whole_line_and_name_the_smallest_p():
    y, d = np.array([9.0, 8.0, 1.0, 0.0]), np.array([1, 1, 0, 0])
    result = _test(y, d)
    assert (result.low, result.high) == (-np.inf, np.inf)
    assert result.p_value == pytest.approx(2 / 6)
    assert "all 6 assignments, smallest p 0.33" in result.method


@pytest.mark.parametrize("truth", [1.0, 0.0])
def test_the_planted_effect_is_recovered_and_covered_in_small_heavy_tailed_samples(truth):
    first = 0 if truth else 1_000
    data = (_data(first + seed, n=60, treated=25, effect=truth, heavy=True) for seed in range(1_000))
    results = [_test(y, d, draws=99) for y, d in data]
    errors = np.array([r.value - truth for r in results])
    assert abs(errors.mean()) / errors.std() < 0.15
    assert 0.93 < np.mean([r.std_error for r in results]) / errors.std() < 1.07
    assert binomtest(sum(r.covers(truth) for r in results), 1_000, 0.95).pvalue > 0.001
    if truth == 0:
        assert kstest([r.p_value for r in results], "uniform").pvalue > 0.001


def test_studentised_it_is_also_right_for_the_mean_of_effects_that_differ():
    """Treatment of an eighth of the units only adds noise: the mean effect is 0, the sharp null is false."""
    covered = 0
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        d = rng.permutation(200) < 25
        covered += _test(rng.normal(size=200) * np.where(d, 4.0, 1.0), d).covers(0.0)
    assert covered / SEEDS > 0.925


def test_rows_of_one_cluster_are_assigned_together():
    """Clusters of 10 rows with an intra-class correlation of 0.3; a test that ignores them rejects too often."""
    clustered = ignored = 0
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        unit = np.repeat(np.arange(24), 10)
        d = (rng.permutation(24) < 12)[unit]
        y = rng.normal(size=24)[unit] * 0.65 + rng.normal(size=240)
        clustered += _test(y, d, unit).p_value <= 0.05
        ignored += seed < 100 and _test(y, d).p_value <= 0.05
    assert binomtest(clustered, SEEDS, 0.05).pvalue > 0.001
    assert ignored / 100 > 0.2


def test_duplicated_rows_of_a_unit_change_nothing():
    y, d = _data(2)
    unit = np.arange(40)
    once = _test(y, d, unit)
    twice = _test(np.repeat(y, 2), np.repeat(d, 2), np.repeat(unit, 2))
    assert (twice.value, twice.low, twice.high) == pytest.approx((once.value, once.low, once.high), rel=1e-10)
    assert (twice.p_value, twice.n_treated) == (once.p_value, once.n_treated)


def test_stratified_assignment_is_replayed_within_strata():
    """Strata differ by far more than units and have different shares treated; the unstratified difference is biased."""
    errors, covered = [], 0
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        stratum = np.repeat(np.arange(4), 10)
        d = np.concatenate([rng.permutation(10) < k for k in (2, 3, 5, 8)])
        y = 10.0 * stratum + rng.normal(size=40) + 1.0 * d
        result = _test(y, d, stratum=stratum, draws=99)
        errors.append(result.value - 1.0)
        covered += result.covers(1.0)
    assert abs(np.mean(errors)) / np.std(errors) < 0.15
    assert binomtest(covered, SEEDS, 0.95).pvalue > 0.001


def test_a_mechanism_of_ones_own_is_replayed():
    """Rerandomised until a covariate balances, which shortens the interval; replayed as complete it is too wide."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=40)

    def balanced(generator, draws):
        arms = np.zeros((0, 40), dtype=bool)
        while len(arms) < draws:
            trial = generator.permuted(np.tile(np.arange(40) < 20, (draws * 12, 1)), axis=1)
            gap = np.abs((trial * x).sum(axis=1) / 20 - (~trial * x).sum(axis=1) / 20)
            arms = np.concatenate([arms, trial[gap < 0.05]])
        return arms[:draws]

    d = balanced(rng, 1)[0]
    y = 3 * x + rng.normal(size=40)
    own, complete = _test(y, d, assign=balanced), _test(y, d)
    assert own.value == complete.value
    assert own.high - own.low < 0.5 * (complete.high - complete.low)


def test_one_treated_unit_is_compared_without_a_standard_error():
    y, d = np.r_[9.0, np.linspace(-1, 1, 39)], np.arange(40) == 0
    result = _test(y, d)
    assert result.std_error is None
    assert result.p_value == 1 / 40
    assert result.low > 0


def test_large_samples_agree_with_welch():
    y, d = _data(3, n=600, treated=200)
    welch = difference_in_means(Moments.of(y[~d]), Moments.of(y[d]), outcome="y")
    result = _test(y, d, draws=4_999)
    assert result.std_error == pytest.approx(welch.std_error, rel=1e-10)
    assert result.high - result.low == pytest.approx(welch.high - welch.low, rel=0.06)


def test_row_order_shift_scale_and_arms_do_what_they_should():
    y, d = _data(4)
    base = _test(y, d)
    order = np.random.default_rng(0).permutation(40)
    again = _test(y[order], d[order], np.arange(40)[order])
    assert (again.low, again.high, again.p_value) == pytest.approx((base.low, base.high, base.p_value), rel=1e-9)
    shifted = _test(y + 1e9, d)
    assert shifted.p_value == base.p_value
    assert shifted.high == pytest.approx(base.high, rel=1e-5)
    scaled = _test(y * 1e4, d)
    assert (scaled.low, scaled.high) == pytest.approx((1e4 * base.low, 1e4 * base.high), rel=1e-9)
    swapped = _test(y, ~d)
    assert (swapped.low, swapped.high) == pytest.approx((-base.high, -base.low), rel=1e-9)
    assert swapped.p_value == base.p_value


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_draws():
    y, d = _data(5)
    assert _test(y, d) == _test(y, d)
    assert _test(y, d).low != _test(y, d, seed=2).low


def test_every_assignment_is_counted_once():
    y = np.array([3.0, 1.0, 4.0, 1.5, 9.0, 2.6, 5.0])
    d = np.isin(np.arange(7), (0, 4, 6))

    def t(treated):
        a, b = y[list(treated)], np.delete(y, list(treated))
        return abs(a.mean() - b.mean()) / np.sqrt(a.var(ddof=1) / a.size + b.var(ddof=1) / b.size)

    extreme = [t(c) >= t((0, 4, 6)) - 1e-12 for c in combinations(range(7), 3)]
    assert _test(y, d).p_value == np.mean(extreme)


def test_bad_input_is_refused_by_name():
    y, d = _data(6)
    with pytest.raises(ValueError, match="expected one length"):
        _test(y[:-1], d)
    with pytest.raises(ValueError, match="y: 1 outcomes are NaN or infinite"):
        _test(np.r_[np.nan, y[1:]], d)
    with pytest.raises(ValueError, match=r"expected both 0 and 1 and nothing else, got \[1\.0\]"):
        _test(y, np.ones(40))
    with pytest.raises(ValueError, match="1 units are both treated and untreated"):
        _test(y, np.arange(40) % 2, np.arange(40) // 2 * (np.arange(40) < 2) + np.arange(40) * (np.arange(40) >= 2))
    with pytest.raises(ValueError, match="are in more than one stratum"):
        _test(y, d, np.arange(40) // 2 * 0 + np.where(d, 1, 0), stratum=np.arange(40) % 2)
    with pytest.raises(ValueError, match="stratum: False holds only one arm"):
        _test(y, d, stratum=d)
    with pytest.raises(ValueError, match="zero variance in both arms"):
        _test(np.full(40, 0.1), d)
    with pytest.raises(ValueError, match="zero variance in both arms"):
        _test(d * 0.3 + 0.1, d)
    with pytest.raises(ValueError, match="level: must lie strictly between 0 and 1, got 95"):
        _test(y, d, level=95)
    with pytest.raises(ValueError, match="draws: needs at least 1, got 0"):
        _test(y, d, draws=0)
    with pytest.raises(ValueError, match="assign: expected 0 and 1 of shape"):
        _test(y, d, assign=lambda rng, draws: np.full((draws, 40), 2))
    with pytest.raises(ValueError, match="at least 2 units in each arm"):
        _test(y, d, assign=lambda rng, draws: np.zeros((draws, 40)))
    with pytest.raises(ValueError, match="give one of the two"):
        _test(y, d, stratum=np.zeros(40), assign=lambda rng, draws: np.zeros((draws, 40)))
