import pytest

from causal_assets.diagnostics.donors import donors
from causal_assets.diagnostics.few_treated import few_treated
from causal_assets.diagnostics.pre_fit import pre_fit
from causal_assets.diagnostics.resolution import resolution
from causal_assets.estimators.placebo_space import groups_of_units, placebo_gaps
from causal_assets.estimators.synthetic_control import Method, fit
from causal_assets.types import Status
from tests.estimators.planted_panel import planted


@pytest.mark.parametrize(
    ("rmspe", "scaled_l2", "status", "next_step"),
    [
        (96.0, 0.16, Status.PASS, "Nothing"),
        (96.0, 0.99, Status.PASS, "Nothing"),
        (250.0, 0.16, Status.REVIEW, "Demean"),
        (1e-6, 1e-7, Status.REVIEW, "exact, noise included"),
    ],
)
def test_a_fit_that_is_poorer_than_that_of_others_or_too_good_asks_for_review(rmspe, scaled_l2, status, next_step):
    found = pre_fit(rmspe, [80.0, 100.0, 300.0], scaled_l2=scaled_l2, effect=155.6)
    assert (found.status, found.value) == (status, rmspe / 100)
    assert next_step in found.next_step


def test_a_healthy_treated_unit_seldom_asks_for_review():
    reviews = 0
    for seed in range(100):
        panel = planted(seed, donors=15)
        found = fit(panel, Method())
        rmspe = placebo_gaps(panel, Method(), groups_of_units(panel.treated, 100, seed=0))[2]
        told = pre_fit(rmspe[0], rmspe[1:], scaled_l2=found.scaled_l2, effect=found.effect)
        reviews += told.status is Status.REVIEW
    assert reviews <= 5  # one healthy study in twenty


def test_a_donor_that_moves_the_effect_by_more_than_its_error_is_named(estimated):
    steady = donors(estimated(10.0, 5.0), {"a": 9.0, "b": 12.0})
    assert (steady.status, steady.value) == (Status.PASS, pytest.approx(0.4))
    hanging = donors(estimated(10.0, 5.0), {"a": 9.0, "b": -4.0})
    assert (hanging.status, hanging.value) == (Status.REVIEW, pytest.approx(2.8))
    assert "from -4 to +9" in hanging.message
    assert "turns its sign" in hanging.message
    assert "shock of its own in b" in hanging.next_step
    # Where nothing happened a donor moves the effect by several times its size, which is noise.
    assert donors(estimated(0.1, 5.0), {"a": -1.0}).status is Status.PASS


@pytest.mark.parametrize(
    ("comparisons", "pre_periods", "status", "words"),
    [
        (20, None, Status.PASS, "p is at least 0.05."),
        (19, None, Status.REVIEW, "cannot reach 5% and its 95% set is the whole line"),
        (105, 90, Status.PASS, "p is at least 0.0095."),
        (36, 30, Status.REVIEW, "with 30 periods before treatment, in practice it cannot reach 5%"),
    ],
)
def test_a_test_that_cannot_reject_says_so(comparisons, pre_periods, status, words):
    found = resolution(comparisons, 0.95, pre_periods=pre_periods)
    assert (found.status, found.value) == (status, 1 / comparisons)
    assert words in found.message


def test_fewer_than_ten_treated_units_ask_for_review():
    assert (few_treated(9).status, few_treated(10).status) == (Status.REVIEW, Status.PASS)


def test_impossible_numbers_are_refused_by_name():
    with pytest.raises(ValueError, match="rmspe, placebo_rmspe, scaled_l2"):
        pre_fit(1.0, [1.0], scaled_l2=-0.1, effect=1.0)
    with pytest.raises(ValueError, match="without: expected"):
        donors(1.0, {})
    with pytest.raises(ValueError, match="comparisons: expected at least 1"):
        resolution(0, 0.95)
    with pytest.raises(ValueError, match="treated: expected at least 1"):
        few_treated(0)
