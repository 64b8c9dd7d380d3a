import numpy as np
import pytest
from scipy.stats import binomtest

from causal_assets.estimators.joint import clustered_effects
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.surrogate import (
    back_test,
    fit_index,
    outside_support,
    short_term_effects,
    surrogate_effect,
)

SEEDS = 400
SLOPE = np.array([2.0, -1.0, 0.5])  # two surrogates and a covariate


def _draw(rng, n, effect=(0.0, 0.0), direct=0.0, d=None):
    """Columns (n, 3) and long-term outcome; treatment adds ``effect`` to the surrogates and ``direct`` beside them.

    The outcome's noise grows with the first surrogate, so errors that assume one variance are wrong.
    """
    treated = np.zeros(n) if d is None else d
    x = rng.normal(size=n)
    s = 0.5 * x[:, None] + treated[:, None] * np.asarray(effect) + rng.normal(size=(n, 2))
    columns = np.column_stack([s, x])
    return columns, 1 + columns @ SLOPE + direct * treated + (0.5 + np.abs(s[:, 0])) * rng.normal(size=n)


def _experiment(seed, effect, n=300, history=150, direct=0.0):
    rng = np.random.default_rng(seed)
    past, long_term = _draw(rng, history)
    d = rng.permutation(n) < n / 2
    columns, later = _draw(rng, n, effect, direct, d)
    return past, long_term, columns, later, d


def _arms(rows, d):
    return Moments.of(rows[~d]), Moments.of(rows[d])


def _fit(seed, effect, **options):
    past, long_term, columns, _, d = _experiment(seed, effect, **options)
    effects = short_term_effects(*_arms(columns, d), surrogates=2)
    return surrogate_effect(fit_index(long_term, past), effects, outcome="value in a year")


@pytest.mark.parametrize(("effect", "truth"), [((1.0, 0.5), 1.5), ((0.0, 0.0), 0.0)])
def test_the_planted_long_term_effect_is_recovered_and_the_error_counts_the_first_stage(effect, truth):
    results = [_fit(1_000 * bool(truth) + seed, effect) for seed in range(SEEDS)]
    errors = np.array([r.value - truth for r in results])
    assert abs(errors.mean()) / errors.std() < 0.15
    assert 0.93 < np.mean([r.std_error for r in results]) / errors.std() < 1.07
    covered = sum(r.covers(truth) for r in results)
    assert binomtest(covered, SEEDS, 0.93, alternative="less").pvalue > 0.05


def test_an_index_taken_as_known_would_be_too_sure():
    past, long_term, columns, _, d = _experiment(0, (2.0, 1.0))
    index, effects = fit_index(long_term, past), short_term_effects(*_arms(columns, d), surrogates=2)
    known = np.sqrt(index.slope @ effects.cov @ index.slope)
    assert surrogate_effect(index, effects, outcome="y").std_error > 1.2 * known


def test_covariates_are_adjusted_for_and_shorten_the_interval():
    past, long_term, columns, _, d = _experiment(1, (0.2, 0.1), n=2_000, history=20_000)
    index = fit_index(long_term, past)
    adjusted = short_term_effects(*_arms(columns, d), surrogates=2)
    raw = short_term_effects(*_arms(columns, d), surrogates=3)
    assert adjusted.value[2] == pytest.approx(0.0, abs=1e-12)
    short, long = (surrogate_effect(index, e, outcome="y") for e in (adjusted, raw))
    # the covariate carries a sixth of the index's variance
    assert (short.high - short.low) / (long.high - long.low) == pytest.approx(np.sqrt(5 / 6), rel=0.02)


def test_a_surrogate_that_is_the_outcome_itself_gives_the_experiments_own_answer():
    from causal_assets.estimators.randomized import difference_in_means

    _, _, _, later, d = _experiment(2, (0.5, 0.0))
    history = np.random.default_rng(9).normal(size=50)
    ours = surrogate_effect(
        fit_index(history, history), short_term_effects(*_arms(later, d), surrogates=1), outcome="y"
    )
    own = difference_in_means(*_arms(later, d), outcome="y")
    assert (ours.value, ours.std_error, ours.p_value) == pytest.approx(
        (own.value, own.std_error, own.p_value), rel=1e-9
    )
    assert (ours.control_mean, ours.relative_low) == pytest.approx((own.control_mean, own.relative_low), rel=1e-9)


def test_the_index_and_its_robust_errors_are_those_of_statsmodels():
    import statsmodels.api as sm

    past, long_term, *_ = _experiment(3, (0.0, 0.0))
    cluster = np.arange(len(past)) // 3
    ours = fit_index(long_term, past), fit_index(long_term, past, cluster=cluster)
    model = sm.OLS(long_term, sm.add_constant(past - past.mean(axis=0)))
    for index, reference in zip(
        ours,
        (model.fit(cov_type="HC1"), model.fit(cov_type="cluster", cov_kwds={"groups": cluster})),
        strict=True,
    ):
        assert [index.level, *index.slope] == pytest.approx(reference.params, rel=1e-10)
        assert index.explained == pytest.approx(reference.rsquared, rel=1e-10)
        assert np.abs(index.cov / reference.cov_params() - 1).max() < 1e-8


def test_the_back_test_is_zero_under_surrogacy_and_finds_an_effect_that_bypasses_the_surrogates():
    def missed(seed, direct):
        past, long_term, columns, later, d = _experiment(seed, (1.0, 0.5), n=400, history=300, direct=direct)
        effects = short_term_effects(*_arms(np.column_stack([later, columns]), d), surrogates=3)
        return back_test(fit_index(long_term, past), effects, outcome="y")

    healthy = [missed(seed, 0.0) for seed in range(SEEDS)]
    errors = np.array([r.value for r in healthy])
    assert abs(errors.mean()) / errors.std() < 0.15
    assert 0.93 < np.mean([r.std_error for r in healthy]) / errors.std() < 1.07
    assert binomtest(sum(r.p_value < 0.05 for r in healthy), SEEDS, 0.05).pvalue > 0.01
    bypassed = [missed(10_000 + seed, 1.0) for seed in range(100)]
    assert np.mean([r.value for r in bypassed]) == pytest.approx(1.0, abs=0.1)
    assert np.mean([r.p_value < 0.05 for r in bypassed]) > 0.8


def test_a_direct_effect_biases_the_index_which_is_why_surrogacy_is_never_taken_for_granted():
    results = []
    for seed in range(50):
        past, long_term, columns, _, d = _experiment(seed, (0.0, 0.0), direct=3.0)
        effects = short_term_effects(*_arms(columns, d), surrogates=2)
        results.append(surrogate_effect(fit_index(long_term, past), effects, outcome="y"))
    assert np.mean([r.covers(3.0) for r in results]) < 0.05


def test_order_partitions_units_of_measurement_and_arms_change_nothing_they_should_not():
    past, long_term, columns, _, d = _experiment(4, (1.0, 0.5))
    index = fit_index(long_term, past)
    base = surrogate_effect(index, short_term_effects(*_arms(columns, d), surrogates=2), outcome="y")
    order = np.random.default_rng(0).permutation(len(past))
    again = fit_index(long_term[order], past[order])
    swapped = surrogate_effect(again, short_term_effects(*_arms(columns, ~d), surrogates=2), outcome="y")
    assert (swapped.value, swapped.p_value) == pytest.approx((-base.value, base.p_value), rel=1e-8)
    units, shift = np.array([100.0, 0.01, 3.0]), np.array([1e6, 0.0, 5.0])
    moved = surrogate_effect(
        fit_index(7 * long_term + 1e6, past * units + shift),
        short_term_effects(*_arms(columns * units + shift, d), surrogates=2),
        outcome="y",
    )
    assert (moved.value, moved.std_error) == pytest.approx((7 * base.value, 7 * base.std_error), rel=1e-6)
    halves = [Moments.of(columns[d][:70]).merge(Moments.of(columns[d][70:])), Moments.of(columns[~d])]
    split = surrogate_effect(index, short_term_effects(halves[1], halves[0], surrogates=2), outcome="y")
    assert split.std_error == pytest.approx(base.std_error, rel=1e-10)


def test_repeated_rows_of_a_cluster_do_not_shrink_the_error():
    past, long_term, columns, _, d = _experiment(5, (1.0, 0.5))
    effects = [
        clustered_effects(np.repeat(columns, r, axis=0), np.repeat(d, r), np.repeat(np.arange(len(d)), r))
        for r in (1, 3)
    ]
    indexes = [
        fit_index(np.repeat(long_term, r), np.repeat(past, r, axis=0), cluster=np.repeat(np.arange(len(past)), r))
        for r in (1, 3)
    ]
    one, three = (surrogate_effect(i, e, outcome="y") for i, e in zip(indexes, effects, strict=True))
    assert three.value == pytest.approx(one.value, rel=1e-9)
    assert three.std_error == pytest.approx(one.std_error, rel=0.01)


def test_units_unlike_the_history_are_counted():
    rng = np.random.default_rng(0)
    history = rng.normal(size=(2_000, 2)) @ [[1.0, 0.9], [0.0, 0.4]]
    alike = rng.normal(size=(2_000, 2)) @ [[1.0, 0.9], [0.0, 0.4]]
    assert 5 < outside_support(history, alike) < 40  # 1% of 2,000
    assert outside_support(history, alike + np.array([0.0, 5.0])) > 1_900
    assert outside_support(history * [100, 1], alike * [100, 1]) == outside_support(history, alike)


def test_bad_input_is_refused_by_name():
    past, long_term, columns, _, d = _experiment(6, (0.0, 0.0))
    effects = short_term_effects(*_arms(columns, d), surrogates=2)
    with pytest.raises(ValueError, match="hold NaN or infinite"):
        fit_index(np.r_[np.nan, long_term[1:]], past)
    with pytest.raises(ValueError, match="long_term: the outcome is constant"):
        fit_index(np.ones(len(past)), past)
    with pytest.raises(ValueError, match=r"columns: \[1\] are constant"):
        fit_index(long_term, past * [1, 0, 1])
    with pytest.raises(ValueError, match="columns: collinear"):
        fit_index(long_term, np.column_stack([past, past.sum(axis=1)]))
    with pytest.raises(ValueError, match="expected shapes"):
        fit_index(long_term[1:], past)
    with pytest.raises(ValueError, match="need at least 6 rows, got 5"):
        fit_index(long_term[:5], past[:5])
    with pytest.raises(ValueError, match="need at least 6 clusters, got 2"):
        fit_index(long_term, past, cluster=np.arange(len(past)) % 2)
    with pytest.raises(ValueError, match="the index has 2 columns, got 3"):
        surrogate_effect(fit_index(long_term, past[:, :2]), effects, outcome="y")
    with pytest.raises(ValueError, match="expected the outcome and 3 columns, got 3"):
        back_test(fit_index(long_term, past), effects, outcome="y")
    with pytest.raises(ValueError, match="experiment: expected 3 columns, got 2"):
        outside_support(past, columns[:, :2])
