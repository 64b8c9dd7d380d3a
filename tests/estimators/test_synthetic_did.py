import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import binomtest

from causal_assets.estimators.synthetic_control import Panel
from causal_assets.estimators.synthetic_did import fit_synthetic_did, synthetic_did
from tests.estimators.planted_panel import changed, planted

SEEDS = 400


@pytest.fixture(scope="module")
def prop99():
    import synthdid

    data = synthdid.load_california_prop99()
    return Panel.of(data["State"], data["Year"], data["PacksPerCapita"], treated=["California"], start=1989)


@pytest.mark.parametrize("truth", [2.0, 0.0])
def test_the_planted_effect_is_recovered_with_honest_errors(truth):
    first = 0 if truth else SEEDS  # the placebo twin has draws of its own
    results = [
        synthetic_did(planted(first + s, donors=60, treated=20, pre=30, effect=truth), outcome="y")
        for s in range(SEEDS)
    ]
    errors = np.array([r.value - truth for r in results])
    assert abs(errors.mean()) / errors.std() < 0.15
    assert 0.93 < np.mean([r.std_error for r in results]) / errors.std() < 1.07
    covered = sum(r.low <= truth <= r.high for r in results)
    assert binomtest(covered, SEEDS, 0.92, alternative="less").pvalue > 0.05
    assert binomtest(covered, SEEDS, 0.97, alternative="greater").pvalue > 0.05


def test_california_gives_the_published_effect(prop99):
    # Arkhangelsky et al. (2021), table 1: -15.6 (8.4); synthdid: -15.6038, from an optimiser that stops early
    found = fit_synthetic_did(prop99)
    assert found.effect == pytest.approx(-15.6038, rel=1e-3)
    weights = dict(zip(prop99.periods, found.periods.round(3).tolist(), strict=False))
    assert {year: weight for year, weight in weights.items() if weight} == {1986: 0.366, 1987: 0.206, 1988: 0.427}


def test_californias_placebo_error_is_that_of_all_placebo_states(prop99):
    # The published 8.4 is from 200 draws of 38 states with replacement and early stopping; all 38 give 9.5.
    import synthdid

    found = synthetic_did(prop99, outcome="packs")
    data = synthdid.panel_matrices(synthdid.load_california_prop99())
    zeta = synthdid.synthdid_estimate(data.Y, data.N0, data.T0)
    effects = []
    for state in range(0, 38, 6):
        others = [i for i in range(38) if i != state]
        effects.append(float(synthdid.synthdid_estimate(data.Y[[*others, state]], 37, data.T0)))
        one = Panel(data.Y[:38], np.arange(38) == state, data.T0, tuple(f"s{i}" for i in range(38)), tuple(range(31)))
        assert fit_synthetic_did(one).effect == pytest.approx(effects[-1], abs=0.02)
    assert float(zeta) == pytest.approx(found.value, rel=1e-3)
    assert found.std_error == pytest.approx(9.497, abs=5e-4)
    assert found.low == pytest.approx(found.value - 1.959964 * found.std_error, abs=1e-4)
    assert "placebo error" in found.method


def test_weights_are_those_of_a_general_optimiser():
    panel = planted(0, donors=6, pre=12)
    found = fit_synthetic_did(panel)
    x = panel.y[1:, :12] - panel.y[1:, :12].mean(axis=1, keepdims=True)
    target = panel.y[0, :12] - panel.y[0, :12].mean()
    penalty = np.sqrt(5) * np.diff(panel.y[1:, :12], axis=1).var(ddof=1) * 12

    def reference(matrix, goal, shrink):
        size = len(matrix)
        return minimize(
            lambda w: ((goal - w @ matrix) ** 2).sum() + shrink * w @ w,
            np.full(size, 1 / size),
            bounds=[(0, 1)] * size,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
            method="SLSQP",
            options={"ftol": 1e-13, "maxiter": 1000},
        ).x

    np.testing.assert_allclose(found.units, reference(x, target, penalty), atol=1e-3)
    across = panel.y[1:] - panel.y[1:].mean(axis=0)
    np.testing.assert_allclose(found.periods, reference(across[:, :12].T, across[:, 12:].mean(axis=1), 0.0), atol=2e-3)


def test_the_jackknife_is_the_effect_without_each_unit_under_the_same_weights():
    panel = planted(1, donors=15, treated=10, pre=12)
    found = fit_synthetic_did(panel)
    effects = []
    for unit in panel.units:
        kept = panel.without(unit)
        weights = found.units[[u != unit for u in panel.donors]]
        gap = kept.mean_treated - weights / weights.sum() @ kept.y[~kept.treated]
        effects.append(gap[12:].mean() - found.periods @ gap[:12])
    expected = np.sqrt((25 - 1) / 25 * ((effects - np.mean(effects)) ** 2).sum())
    result = synthetic_did(panel, outcome="y")
    assert result.std_error == pytest.approx(expected, rel=1e-9)
    assert "jackknife" in result.method


@pytest.mark.parametrize("treated", [1, 12])
def test_order_labels_shift_and_scale_change_nothing_they_should_not(treated):
    panel = planted(2, donors=14, treated=treated)
    base = synthetic_did(panel, outcome="y")
    order = np.random.default_rng(0).permutation(14 + treated)
    trend = panel.y + np.linspace(0, 40, 35) + np.arange(14 + treated)[:, None]  # levels and a common trend drop out
    for other, size in (
        (changed(panel, order=order), 1),
        (changed(panel, trend), 1),
        (changed(panel, 100 * panel.y), 100),
    ):
        found = synthetic_did(other, outcome="y")
        assert (found.value, found.std_error) == pytest.approx((size * base.value, size * base.std_error), rel=1e-6)
        assert found.p_value == pytest.approx(base.p_value, rel=1e-5)
    huge = synthetic_did(changed(panel, panel.y + 1e9), outcome="y")
    assert (huge.value, huge.std_error) == pytest.approx((base.value, base.std_error), rel=1e-4)


def test_zero_is_in_the_interval_exactly_when_p_is_above_the_level():
    results = [synthetic_did(planted(s, donors=12, effect=1.0), outcome="y", level=0.8) for s in range(25)]
    inside = [r.covers(0.0) for r in results]
    assert inside == [r.p_value > 1 - 0.8 for r in results]
    assert 0 < sum(inside) < 25


def test_groups_of_placebos_are_drawn_by_the_seed_alone():
    panel = planted(3, donors=14, treated=5)
    one = synthetic_did(panel, outcome="y", seed=1, placebos=40)
    assert one == synthetic_did(panel, outcome="y", seed=1, placebos=40)
    assert one != synthetic_did(panel, outcome="y", seed=2, placebos=40)


def test_what_has_no_answer_is_refused_by_name():
    with pytest.raises(ValueError, match="placebos of 5 treated units need at least 7 donors, got 6"):
        synthetic_did(planted(0, donors=6, treated=5), outcome="y")
    with pytest.raises(ValueError, match="level must lie strictly between 0 and 1, got 1"):
        synthetic_did(planted(0), outcome="y", level=1)
    panel = planted(0)
    drift = np.where(panel.treated[:, None], panel.y, np.arange(9)[:, None] + np.arange(35.0))
    with pytest.raises(ValueError, match="the donors move in step before the treatment"):
        synthetic_did(changed(panel, drift), outcome="y")
