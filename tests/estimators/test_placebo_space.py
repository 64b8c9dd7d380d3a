import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from causal_assets.estimators.placebo_space import groups_of_units, invert, placebo_gaps, placebo_in_space
from causal_assets.estimators.synthetic_control import Method, Panel, fit
from tests.estimators.planted_panel import changed, planted

METHODS = [Method(), Method(demeaned=True), Method(ridge=5.0), Method(weights="uniform", demeaned=True)]


def _p_value(panel, method, theta):
    """By the definition: take theta off the treated, treat every unit in turn, rank |gap| / RMSPE."""
    y = panel.y.copy()
    y[panel.treated, panel.pre :] -= theta
    ratios = []
    for i in range(len(y)):
        one = Panel(y, np.arange(len(y)) == i, panel.pre, panel.units, panel.periods)
        found = fit(one, method)
        ratios.append(abs(found.effect) / found.rmspe)
    ratios = np.array(ratios)
    return np.mean(ratios >= ratios[panel.treated] * (1 - 1e-9))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    effect=st.floats(-3, 3),
    level=st.sampled_from([0.6, 0.8]),
    method=st.sampled_from(METHODS),
)
def test_the_set_holds_exactly_what_the_test_accepts(seed, effect, level, method):
    panel = planted(seed, effect=effect)
    found = placebo_in_space(panel, method, outcome="y", level=level)
    assert found.p_value == pytest.approx(_p_value(panel, method, 0.0))
    assert (found.p_value > 1 - level) == found.covers(0.0)
    assert found.covers(found.value)
    for theta in np.random.default_rng(seed).normal(effect, 4.0, size=4):
        accepted = _p_value(panel, method, theta) > 1 - level + 1e-12
        edges = [e for piece in found.pieces or ((found.low, found.high),) for e in piece]
        assert found.covers(theta) == accepted or min(abs(theta - e) for e in edges) < 1e-6


@pytest.mark.parametrize("truth", [2.0, 0.0])
def test_the_test_is_exact_for_a_unit_treated_at_random_whatever_the_noise(truth):
    rng, sets, covered = np.random.default_rng(int(truth)), 400, 0
    for seed in range(sets):
        panel = planted(seed, donors=19, pre=20, effect=0.0)
        y = panel.y + rng.standard_t(3, size=(20, 1)) * rng.normal(size=(1, 25))  # units of very different noise
        treated = np.arange(20) == rng.integers(20)
        y[treated, 20:] += truth
        found = placebo_in_space(Panel(y, treated, 20, panel.units, panel.periods), Method(), outcome="y", level=0.9)
        covered += found.covers(truth)
    # the true effect ranks uniformly among 20 and must not be among the two most extreme
    assert binomtest(covered, sets, 0.9).pvalue > 0.001


def test_with_fewer_than_nineteen_donors_nothing_is_ever_rejected_at_five_percent():
    found = placebo_in_space(planted(0, donors=18, effect=1e3), Method(), outcome="y")
    assert found.p_value == pytest.approx(1 / 19)
    assert (found.low, found.high) == (-np.inf, np.inf)
    enough = placebo_in_space(planted(0, donors=19, effect=1e3), Method(), outcome="y")
    assert enough.p_value == pytest.approx(1 / 20)
    assert not enough.covers(0.0)
    assert "over 20 groups, all (p at least 0.05)" in enough.method


def test_several_treated_units_are_compared_with_groups_of_as_many():
    panel = planted(1, donors=12, treated=2)
    found = placebo_in_space(panel, Method(), outcome="y", level=0.9)
    assert "over 91 groups, all" in found.method  # 14 choose 2
    assert found.value == pytest.approx(fit(panel, Method()).effect)
    assert (found.n_treated, found.n_control) == (2, 12)


def test_groups_too_many_to_try_are_drawn_by_the_seed_alone():
    panel = planted(2, donors=20, treated=4)
    options = {"outcome": "y", "level": 0.9, "groups": 60}
    one = placebo_in_space(panel, Method(), seed=3, **options)
    assert one == placebo_in_space(panel, Method(), seed=3, **options)
    assert one != placebo_in_space(panel, Method(), seed=4, **options)
    members = groups_of_units(panel.treated, 60, seed=3)
    assert len(np.unique(members, axis=0)) == 60
    assert (members.sum(axis=1) == 4).all()
    assert (members[0] == panel.treated).all()


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_order_labels_shift_and_scale_change_nothing_they_should_not(method):
    panel = planted(3, donors=20)
    base = placebo_in_space(panel, method, outcome="y", level=0.9)
    order = np.random.default_rng(0).permutation(21)
    scaled = Method(demeaned=method.demeaned, ridge=method.ridge and method.ridge * 1e4, weights=method.weights)
    for other, how, size in (
        (changed(panel, order=order), method, 1),
        (changed(panel, panel.y + 1e6), method, 1),
        (changed(panel, 100 * panel.y), scaled, 100),
    ):
        found = placebo_in_space(other, how, outcome="y", level=0.9)
        assert found.p_value == base.p_value
        assert (found.low, found.high) == pytest.approx((size * base.low, size * base.high), rel=1e-5)


def test_a_placebo_that_leans_on_the_treated_unit_leaves_both_ends_open():
    # the second group's gap moves with theta nearly as fast as the treated one's, and its RMSPE is half as large
    level, slope, rmspe = np.array([5.0, 0.5, 0.1]), np.array([-1.0, 0.9, 0.0]), np.array([1.0, 0.5, 1.0])
    p_value, pieces = invert(level, slope, rmspe, level=0.6)
    assert p_value == pytest.approx(1 / 3)
    # |0.5 + 0.9 theta| = |5 - theta| / 2 at -7.5 and 10/7
    assert pieces == [(-np.inf, pytest.approx(-7.5)), (pytest.approx(2 / 1.4), np.inf)]


def test_gaps_of_the_treated_group_are_those_of_the_fit():
    panel = planted(4)
    level, slope, rmspe = placebo_gaps(panel, Method(), groups_of_units(panel.treated, 100, seed=0))
    found = fit(panel, Method())
    assert (level[0], slope[0], rmspe[0]) == pytest.approx((found.effect, -1.0, found.rmspe))


def test_an_exact_fit_before_treatment_is_refused_since_nothing_is_left_to_compare_with():
    panel = planted(5)
    y = panel.y.copy()
    y[0, : panel.pre] = 0.5 * (y[1] + y[2])[: panel.pre]
    with pytest.raises(ValueError, match="30 periods before treatment are fitted exactly by 8 donors"):
        placebo_in_space(changed(panel, y), Method(), outcome="y")


def test_what_cannot_be_tested_is_refused_by_name():
    with pytest.raises(ValueError, match="level must lie strictly between 0 and 1, got 0"):
        placebo_in_space(planted(0), Method(), outcome="y", level=0)
    with pytest.raises(ValueError, match="groups: expected at least 2, got 1"):
        placebo_in_space(planted(0), Method(), outcome="y", groups=1)
