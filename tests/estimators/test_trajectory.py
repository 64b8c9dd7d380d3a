import numpy as np
import pytest
from scipy.stats import binomtest

from causal_assets.estimators.joint import JointEffects, joint_effects
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.trajectory import cumulative, decay_rate, per_period, trend

WEEKS = np.arange(6.0)
# One customer's weeks are alike: correlation 0.6, falling with distance.
COV = 0.6 ** np.abs(np.subtract.outer(WEEKS, WEEKS)) * np.outer(1 + WEEKS / 5, 1 + WEEKS / 5)


def _effects(value, cov, df=np.inf):
    """Effects with a known covariance, as many units give."""
    return JointEffects(np.ones(6), np.asarray(value), ((np.kron(np.eye(2), cov), df),), 500, 500)


def _experiment(seed, effect, n=300):
    rng = np.random.default_rng(seed)
    d = rng.permutation(n) < n / 2
    y = rng.multivariate_normal(np.full(6, 2.0), COV, size=n) + d[:, None] * effect
    return y, d


def _fit(y, d):
    return joint_effects(Moments.of(y[~d]), Moments.of(y[d]), outcomes=y.shape[1])


@pytest.mark.parametrize("slope", [-0.3, 0.0])
def test_the_planted_course_is_recovered_with_honest_errors(slope):
    effect = 2 + slope * WEEKS
    fits = [_fit(*_experiment(seed + 1_000 * bool(slope), effect)) for seed in range(400)]
    for results, truth in (
        ([trend(f, WEEKS, outcome="y") for f in fits], slope),
        ([cumulative(f, outcome="y") for f in fits], effect.sum()),
        ([per_period(f, outcomes="abcdef")[3] for f in fits], effect[3]),
    ):
        errors = np.array([r.value - truth for r in results])
        assert abs(errors.mean()) / errors.std() < 0.15
        assert 0.93 < np.mean([r.std_error for r in results]) / errors.std() < 1.07
        assert binomtest(sum(r.covers(truth) for r in results), 400, 0.93, alternative="less").pvalue > 0.05


def test_the_trend_is_that_of_generalised_least_squares_in_statsmodels():
    import statsmodels.api as sm

    fitted = _fit(*_experiment(0, 1 - 0.1 * WEEKS))
    reference = sm.GLS(fitted.value, sm.add_constant(WEEKS), sigma=fitted.cov).fit()
    ours = trend(fitted, WEEKS, outcome="y")
    assert ours.value == pytest.approx(reference.params[1], rel=1e-9)
    assert ours.std_error == pytest.approx(np.sqrt(reference.normalized_cov_params[1, 1]), rel=1e-9)
    assert ours.control_mean is None


def test_the_sum_of_periods_is_the_effect_on_the_sum():
    y, d = _experiment(1, 1 - 0.1 * WEEKS)
    whole = joint_effects(Moments.of(y[~d].sum(axis=1)), Moments.of(y[d].sum(axis=1)), outcomes=1)
    numbers = [
        (e.value, e.std_error, e.p_value) for e in (cumulative(_fit(y, d), outcome="y"), cumulative(whole, outcome="y"))
    ]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-9)


@pytest.mark.parametrize(("rate", "size"), [(0.0, 3.0), (0.4, 3.0), (0.4, 0.5), (0.4, 0.0), (-0.2, 1.0)])
def test_the_decay_rate_covers_however_weak_the_effect(rate, size):
    rng = np.random.default_rng(int(100 * (2 + rate) + 10 * size))
    draws = rng.multivariate_normal(size * np.exp(-rate * WEEKS), COV / 40, size=400)
    refused, covered = 0, 0
    for value in draws:
        try:
            covered += decay_rate(_effects(value, COV / 40), WEEKS, outcome="y").covers(rate)
        except ValueError:
            refused += 1
    assert refused <= 0.05 * 400
    assert binomtest(covered, 400 - refused, 0.95).pvalue > 0.005


def test_an_effect_without_noise_gives_its_rate_and_half_life():
    exact = decay_rate(_effects(3 * np.exp(-0.3 * WEEKS), COV * 1e-6), WEEKS, outcome="y")
    assert exact.value == pytest.approx(0.3, abs=1e-4)
    assert 0.29 < exact.low < 0.3 < exact.high < 0.31
    assert exact.p_value < 1e-6
    lasting = decay_rate(_effects(np.full(6, 3.0), COV * 1e-6), WEEKS, outcome="y")
    assert lasting.covers(0.0) and abs(lasting.value) < 1e-4


def test_a_null_effect_has_every_decay_rate():
    result = decay_rate(_effects(0.01 * np.ones(6), COV), WEEKS, outcome="y")
    assert (result.low, result.high, result.std_error) == (-np.inf, np.inf, None)


def test_no_decay_and_no_trend_are_one_test():
    for seed in range(20):
        fitted = _fit(*_experiment(seed, 1.5 * np.exp(-0.1 * WEEKS)))
        straight, curved = trend(fitted, WEEKS, outcome="y"), decay_rate(fitted, WEEKS, outcome="y")
        assert curved.p_value == pytest.approx(straight.p_value, rel=1e-6)
        assert curved.covers(0.0) == (curved.p_value > 0.05) == straight.covers(0.0)


def test_units_of_time_and_outcome_and_the_arms_change_nothing_they_should_not():
    y, d = _experiment(3, 3 * np.exp(-0.4 * WEEKS))
    base = trend(_fit(y, d), WEEKS, outcome="y"), decay_rate(_fit(y, d), WEEKS, outcome="y")
    other = (
        trend(_fit(9 * y + 4, ~d), 7 * WEEKS + 3, outcome="y"),
        decay_rate(_fit(9 * y + 4, ~d), 7 * WEEKS + 3, outcome="y"),
    )
    assert other[0].value == pytest.approx(-9 / 7 * base[0].value, rel=1e-8)
    assert other[0].p_value == pytest.approx(base[0].p_value, rel=1e-6)
    assert (7 * other[1].value, 7 * other[1].low) == pytest.approx((base[1].value, base[1].low), rel=1e-5)


def test_bad_courses_are_refused_by_name():
    fitted = _effects(np.ones(6), COV)
    with pytest.raises(ValueError, match="outcomes: expected 6 names, got 2"):
        per_period(fitted, outcomes=["a", "b"])
    with pytest.raises(ValueError, match="times must be finite and increase"):
        trend(fitted, WEEKS[::-1], outcome="y")
    with pytest.raises(ValueError, match="period: expected 6 times"):
        trend(fitted, WEEKS[1:], outcome="y")
    y, d = _experiment(4, 0 * WEEKS)
    with pytest.raises(ValueError, match="needs at least 3 periods, got 2"):
        decay_rate(_fit(y[:, :2], d), WEEKS[:2], outcome="y")
    with pytest.raises(ValueError, match="a period is a sum or a copy of others"):
        trend(_fit(y.cumsum(axis=1)[:, [0, 1, 1]], d), WEEKS[:3], outcome="y")
    with pytest.raises(ValueError, match=r"periods \[1\] have no variance"):
        trend(_fit(y * [1, 0, 1, 1, 1, 1], d), WEEKS, outcome="y")
    with pytest.raises(ValueError, match="follow no exponential course"):
        decay_rate(_effects([5.0, -5, 5, -5, 5, -5], COV * 1e-4), WEEKS, outcome="y")
