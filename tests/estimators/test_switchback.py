import numpy as np
import pytest
from scipy.stats import binomtest
from scipy.stats import t as student

from causal_assets.estimators.switchback import Blocks, block_means, switchback, switchback_test

SEEDS = 400
UNITS, BLOCKS, LENGTH = 4, 14, 6


def _panel(seed, effect=1.0, carry_over=0.0):
    """Four regions, 14 blocks of 6 periods; half of a region's blocks treated at random, noise autocorrelated by 0.7.

    For two periods after a switch the effect of the arm before lingers with weight ``carry_over``.
    """
    rng = np.random.default_rng(seed)
    unit, period = np.repeat(np.arange(UNITS), BLOCKS * LENGTH), np.tile(np.arange(BLOCKS * LENGTH), UNITS)
    arms = rng.permuted(np.tile(np.arange(BLOCKS) % 2, (UNITS, 1)), axis=1)
    d = np.repeat(arms, LENGTH, axis=1)
    before = np.repeat(np.concatenate([arms[:, :1], arms[:, :-1]], axis=1), LENGTH, axis=1)
    lingering = carry_over * (np.arange(BLOCKS * LENGTH) % LENGTH < 2)
    felt = (1 - lingering) * d + lingering * before
    shocks, noise = rng.normal(size=(UNITS, BLOCKS * LENGTH)), np.zeros((UNITS, BLOCKS * LENGTH))
    noise[:, 0] = shocks[:, 0] / np.sqrt(1 - 0.7**2)
    for t in range(1, BLOCKS * LENGTH):
        noise[:, t] = 0.7 * noise[:, t - 1] + shocks[:, t]
    y = 10.0 * np.arange(UNITS)[:, None] + effect * felt + noise
    return y.ravel(), d.ravel(), unit, period, period // LENGTH


def _fit(seed, burn_in=2, **options):
    return switchback(block_means(*_panel(seed, **options), burn_in=burn_in), outcome="y")


@pytest.mark.parametrize("truth", [1.0, 0.0])
def test_the_planted_effect_is_recovered_with_honest_errors(truth):
    first = 0 if truth else 1_200
    results = [_fit(first + seed, effect=truth) for seed in range(1_200)]
    errors = np.array([r.value - truth for r in results])
    assert abs(errors.mean()) / errors.std() < 0.15
    assert 0.93 < np.mean([r.std_error for r in results]) / errors.std() < 1.07
    assert binomtest(sum(r.covers(truth) for r in results), 1_200, 0.93, alternative="less").pvalue > 0.05


def test_what_carries_over_biases_the_effect_unless_it_is_burnt_in():
    def bias(burn_in):
        errors = np.array([_fit(s, burn_in, effect=2.0, carry_over=0.8).value for s in range(SEEDS)]) - 2.0
        return errors.mean() / (errors.std() / np.sqrt(SEEDS))

    assert abs(bias(2)) < 3
    assert bias(0) < -10


def test_periods_of_one_block_are_not_independent():
    """The same placebo data with every period as a block of its own: errors far too small."""
    wrong = right = 0
    for seed in range(200):
        y, d, unit, period, block = _panel(seed, effect=0.0)
        right += switchback(block_means(y, d, unit, period, block, burn_in=0), outcome="y").p_value <= 0.05
        wrong += switchback(block_means(y, d, unit, period, period, burn_in=0), outcome="y").p_value <= 0.05
    assert binomtest(right, 200, 0.05, alternative="greater").pvalue > 0.001
    assert wrong > 50


def test_coefficient_error_and_degrees_of_freedom_are_those_of_hc2_with_bell_mccaffrey():
    import statsmodels.api as sm

    rng = np.random.default_rng(1)
    unit = np.repeat(np.arange(5), [4, 8, 6, 9, 13])
    treated = rng.random(40) < 0.4
    treated[[0, 4, 12, 18, 27]], treated[[1, 5, 13, 19, 28]] = True, False
    y = rng.normal(size=40) + unit + treated
    x = np.column_stack([treated, *(unit == k for k in range(5))]).astype(float)
    fit = sm.OLS(y, x).fit(cov_type="HC2")
    result = switchback(Blocks(y, treated, unit), outcome="y")
    assert (result.value, result.std_error) == pytest.approx((fit.params[0], fit.bse[0]), rel=1e-10)
    row, hat = np.linalg.pinv(x)[0], x @ np.linalg.pinv(x)
    product = np.diag(row**2 / (1 - np.diag(hat))) @ (np.eye(40) - hat)
    df = np.trace(product) ** 2 / np.trace(product @ product)
    assert result.p_value == pytest.approx(2 * student.sf(abs(result.value / result.std_error), df), rel=1e-8)


def test_one_unit_with_equal_arms_is_welch_with_its_error():
    from scipy.stats import ttest_ind

    rng = np.random.default_rng(2)
    treated = np.arange(20) % 2 == 0
    y = rng.normal(size=20) + treated
    result = switchback(Blocks(y, treated, np.zeros(20, dtype=int)), outcome="y")
    welch = ttest_ind(y[treated], y[~treated], equal_var=False)
    assert result.value / result.std_error == pytest.approx(welch.statistic, rel=1e-10)
    assert result.control_mean == pytest.approx(y[~treated].mean())


def test_the_interval_the_p_value_and_the_relative_interval_agree_on_zero():
    for seed in range(60):
        result = _fit(seed, effect=0.3)
        significant = result.p_value <= 0.05
        assert significant == (not result.low <= 0 <= result.high)
        if np.isfinite(result.relative_low):
            assert significant == (not result.relative_low <= 0 <= result.relative_high)


def test_replaying_the_assignment_gives_nearly_the_same_and_covers():
    covered, ratio = 0, []
    for seed in range(200):
        blocks = block_means(*_panel(seed), burn_in=2)
        replayed = switchback_test(blocks, outcome="y", draws=99, seed=seed)
        modelled = switchback(blocks, outcome="y")
        assert replayed.value == pytest.approx(modelled.value)  # equal units, equal arms
        covered += replayed.covers(1.0)
        ratio.append((replayed.high - replayed.low) / (modelled.high - modelled.low))
    assert binomtest(covered, 200, 0.95).pvalue > 0.001
    assert np.median(ratio) == pytest.approx(1.0, abs=0.1)


def test_units_with_one_arm_only_are_left_out_and_counted():
    y, d, unit, period, _ = _panel(3)
    lone = np.zeros(LENGTH * 2, dtype=int)
    extra = (np.r_[y, lone + 99.0], np.r_[d, lone + 1], np.r_[unit, lone + 9])
    times = np.r_[period, np.arange(LENGTH * 2)]
    result = switchback(block_means(*extra, times, times // LENGTH, burn_in=2), outcome="y")
    assert result.value == pytest.approx(_fit(3).value)
    assert "1 of 5 units with only one arm left out" in result.method


def test_row_order_labels_shift_scale_and_arms_do_what_they_should():
    y, d, unit, period, block = _panel(4)
    base = _fit(4)
    order = np.random.default_rng(0).permutation(len(y))
    names = np.array(["d", "a", "c", "b"])[unit]
    again = switchback(
        block_means(y[order], d[order], names[order], 3 * period[order] + 7, block[order] + 5, burn_in=2), outcome="y"
    )
    assert (again.value, again.std_error) == pytest.approx((base.value, base.std_error), rel=1e-10)
    far = switchback(block_means(100 * y + 1e9, d, unit, period, block, burn_in=2), outcome="y")
    assert far.std_error == pytest.approx(100 * base.std_error, rel=1e-6)
    swapped = switchback(block_means(y, 1 - d, unit, period, block, burn_in=2), outcome="y")
    assert (swapped.value, swapped.p_value) == pytest.approx((-base.value, base.p_value), rel=1e-9)


def test_bad_input_is_refused_by_name():
    y, d, unit, period, block = _panel(5)
    with pytest.raises(ValueError, match="expected one length"):
        block_means(y[1:], d, unit, period, block, burn_in=0)
    with pytest.raises(ValueError, match="may not be NaN or infinite"):
        block_means(np.r_[np.inf, y[1:]], d, unit, period, block, burn_in=0)
    with pytest.raises(ValueError, match=r"expected both 0 and 1 and nothing else, got \[0\.0\]"):
        block_means(y, 0 * d, unit, period, block, burn_in=0)
    with pytest.raises(ValueError, match="burn_in: periods dropped after a switch, at least 0, got -1"):
        block_means(y, d, unit, period, block, burn_in=-1)
    with pytest.raises(ValueError, match="56 blocks have no period after the first 6"):
        block_means(y, d, unit, period, block, burn_in=6)
    with pytest.raises(ValueError, match="two rows in one period"):
        block_means(y, d, unit, period // 2, block, burn_in=0)
    with pytest.raises(ValueError, match="is split by another block"):
        block_means(y, d, unit, period, block % 2, burn_in=0)
    with pytest.raises(ValueError, match="blocks hold both arms"):
        block_means(y, d, unit, period, block // 2, burn_in=0)
    with pytest.raises(ValueError, match="none of 2 units has both"):
        switchback(Blocks(np.arange(4.0), np.array([1, 1, 0, 0]) == 1, np.array([0, 0, 1, 1])), outcome="y")
    with pytest.raises(ValueError, match="some are fitted exactly"):
        switchback(Blocks(np.arange(2.0), np.array([True, False]), np.array([0, 0])), outcome="y")
    with pytest.raises(ValueError, match="zero variance within units and arms"):
        switchback(Blocks(np.tile([0.1, 0.4], 9), np.arange(18) % 2 == 1, np.arange(18) // 6), outcome="y")
