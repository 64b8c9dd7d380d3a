from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from causal_assets.estimators.conformal import conformal, invert, residual_path
from causal_assets.estimators.synthetic_control import Method, Panel, centred, donor_weights, fit
from tests.estimators.planted_panel import changed, planted

METHODS = [Method(), Method(demeaned=True), Method(ridge=5.0), Method(weights="uniform", demeaned=True)]
STATISTICS = ["mean", "absolute"]


def _refitted(panel, method, theta):
    """Residuals by the definition: take theta off, fit all periods anew."""
    y = panel.y.copy()
    y[panel.treated, panel.pre :] -= theta
    z = centred(y, ~panel.treated, y.shape[1], method.demeaned)
    donors, target = z[~panel.treated], z[panel.treated].mean(axis=0)
    return target - donor_weights(donors, target[None], method)[0] @ donors


def _p_value(residuals, block, statistic):
    """The share of cyclic shifts whose last block is as large, by the definition."""
    shifted = [np.roll(residuals, s)[-block:] for s in range(residuals.size)]
    sizes = np.array([abs(r.sum()) if statistic == "mean" else np.abs(r).sum() for r in shifted])
    return np.mean(sizes >= sizes[0] * (1 - 1e-9))


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
@pytest.mark.parametrize("donors", [8, 45])  # 45 donors for 35 periods: many weights fit alike
def test_the_path_gives_the_residuals_of_a_refit_at_every_effect(method, donors):
    panel = planted(1, donors=donors)
    knots, level, slope = residual_path(panel, method)
    assert (knots[0], knots[-1]) == (-np.inf, np.inf)
    assert (np.diff(knots) > 0).all()
    for theta in [-1e4, -30.0, -3.0, 0.0, 0.7, 2.0, 9.0, 400.0]:
        k = np.searchsorted(knots, theta) - 1
        np.testing.assert_allclose(level[k] + theta * slope[k], _refitted(panel, method, theta), atol=2e-4)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    effect=st.floats(-3, 3),
    level=st.sampled_from([0.8, 0.9, 0.95]),
    method=st.sampled_from(METHODS),
    statistic=st.sampled_from(STATISTICS),
)
def test_the_set_holds_exactly_what_the_test_accepts(seed, effect, level, method, statistic):
    panel = planted(seed, effect=effect)
    p_value, pieces = invert(*residual_path(panel, method), block=5, level=level, statistic=statistic)

    def covers(theta):
        return any(low <= theta <= high for low, high in pieces)

    assert (p_value > 1 - level) == covers(0.0)
    assert p_value == pytest.approx(_p_value(_refitted(panel, method, 0.0), 5, statistic))
    for theta in np.random.default_rng(seed).normal(effect, 3.0, size=8):
        accepted = _p_value(_refitted(panel, method, theta), 5, statistic) > 1 - level + 1e-12
        edge = min((abs(theta - e) for piece in pieces for e in piece), default=np.inf)
        assert covers(theta) == accepted or edge < 1e-4


@pytest.mark.parametrize("truth", [2.0, 0.0])
def test_sets_cover_the_planted_effect_with_persistent_noise_where_single_periods_would_not(truth):
    # The twelve traps: residuals of an AR(.5); permuting single periods covers about 80%, blocks 93-97%.
    rng, sets, periods, block = np.random.default_rng(int(truth)), 400, 120, 10
    blocks = single = 0
    for _ in range(sets):
        noise = rng.normal(size=(6, periods))
        for t in range(1, periods):
            noise[:, t] += 0.5 * noise[:, t - 1]
        y = noise + rng.uniform(0.5, 1.5, (6, 1)) * rng.normal(size=periods)
        y[0, -block:] += truth
        panel = Panel(y, np.arange(6) < 1, periods - block, tuple("abcdef"), tuple(range(periods)))
        residuals = _refitted(panel, Method(), truth)
        blocks += _p_value(residuals, block, "mean") > 0.05
        drawn = rng.permuted(np.tile(residuals, (99, 1)), axis=1)[:, -block:].sum(axis=1)
        single += (1 + (np.abs(drawn) >= abs(residuals[-block:].sum())).sum()) / 100 > 0.05
    assert binomtest(blocks, sets, 0.93, alternative="less").pvalue > 0.05
    assert single / sets < 0.85


def test_the_estimate_is_the_fit_with_its_set_and_says_how_small_p_can_be():
    panel = planted(3, pre=60)
    found = conformal(panel, Method(), outcome="spend")
    assert found.value == fit(panel, Method()).effect
    assert found.covers(found.value)
    assert (found.std_error, found.n_treated, found.n_control) == (None, 1, 8)
    assert "blocks of 5 in 65 periods" in found.method
    assert "p at least 0.015" in found.method
    treated = panel.y[0, 60:].mean()
    assert found.control_mean == pytest.approx(treated - found.value)
    assert found.relative == pytest.approx(found.value / found.control_mean)
    assert found.relative_low == pytest.approx(found.low / (treated - found.low))


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_order_shift_and_scale_change_nothing_they_should_not(method):
    panel = planted(4)
    base = conformal(panel, method, outcome="y", level=0.9)
    order = np.random.default_rng(0).permutation(9)
    for other in (changed(panel, order=order), changed(panel, panel.y + 1e6)):
        found = conformal(other, method, outcome="y", level=0.9)
        assert found.p_value == base.p_value
        assert (found.low, found.high) == pytest.approx((base.low, base.high), abs=1e-3)
    scaled = Method(demeaned=method.demeaned, ridge=method.ridge and method.ridge * 1e4, weights=method.weights)
    found = conformal(changed(panel, 100 * panel.y), scaled, outcome="y", level=0.9)
    assert (found.low, found.high) == pytest.approx((100 * base.low, 100 * base.high), rel=1e-5)
    assert conformal(panel, method, outcome="y", level=0.9) == base


def test_a_known_shift_of_the_treated_periods_shifts_the_set_by_it():
    panel = planted(5)
    y = panel.y.copy()
    y[0, panel.pre :] += 7.0
    base, moved = (conformal(p, Method(), outcome="y", level=0.9) for p in (panel, changed(panel, y)))
    assert (moved.low - 7, moved.high - 7) == pytest.approx((base.low, base.high), abs=1e-6)


def test_a_short_history_that_cannot_reject_gives_the_whole_line():
    found = conformal(planted(0, pre=12, post=3, effect=50.0), Method(), outcome="y")
    assert (found.low, found.high) == (-np.inf, np.inf)
    assert found.p_value is not None and found.p_value > 0.05
    assert (found.relative_low, found.relative_high) == (-1.0, np.inf)


def test_a_union_is_told_piece_by_piece():
    # Effects that differ between treated periods leave large residuals at any constant effect.
    for seed in range(200):
        panel = planted(seed, pre=40, post=6)
        y = panel.y.copy()
        y[0, panel.pre :] += np.array([4, -4, 4, -4, 4, -4])
        _, pieces = invert(*residual_path(changed(panel, y), Method()), block=6, level=0.95, statistic="absolute")
        if len(pieces) > 1:
            assert all(a[1] < b[0] for a, b in pairwise(pieces))
            return
    pytest.fail("no union in 200 panels")


def test_a_set_beside_the_value_or_an_empty_one_is_refused_with_the_reason():
    panel = planted(0, pre=60, post=6, noise=0.2)
    y = panel.y.copy()
    y[0, panel.pre :] += np.array([9, -9, 9, -9, 9, -9])
    with pytest.raises(ValueError, match="no constant effect explains the series"):
        conformal(changed(panel, y), Method(), outcome="y", statistic="absolute")


def test_what_cannot_be_tested_is_refused_by_name():
    with pytest.raises(ValueError, match="needs more periods before treatment than after, got 5, 5"):
        conformal(planted(0, pre=5, post=5), Method(), outcome="y")
    with pytest.raises(ValueError, match="level must lie strictly between 0 and 1, got 95"):
        conformal(planted(0), Method(), outcome="y", level=95)
    with pytest.raises(ValueError, match=r"statistic: expected one of \('mean', 'absolute'\), got 'max'"):
        conformal(planted(0), Method(), outcome="y", statistic="max")
