"""The causal graph's check: a stated fault fails, what is missing or refused asks for a look."""

import pytest

from causal_assets.diagnostics.causal_graph import causal_graph
from causal_assets.types import Status

TESTED = {"a and treatment given b": (0.01, 0.6), "a and c": (-0.02, 0.4)}


def test_covariates_that_are_enough_pass_with_the_independence_furthest_off():
    found = causal_graph([], [], [], [("a", "b"), ("c",)], TESTED)
    assert found.status is Status.PASS
    assert (found.value, found.threshold) == (0.8, 0.01)
    assert "so would be a, b or c" in found.message
    assert "a and c are independent: their partial correlation is -0.020 (p = 0.8" in found.message


def test_an_adjusted_descendant_of_the_treatment_fails_whatever_else_holds():
    found = causal_graph(["clicks", "visits"], ["treatment <- (u) -> y"], [], [], TESTED)
    assert found.status is Status.FAIL
    assert found.value == 2 > found.threshold
    assert "the treatment changes clicks, visits" in found.message


def test_a_hidden_cause_that_stays_open_is_for_review():
    found = causal_graph([], ["treatment <- (u) -> y", "treatment <- (v) -> y"], [], [], TESTED)
    assert found.status is Status.REVIEW
    assert found.value == 2 > found.threshold
    assert (
        "leaves treatment <- (u) -> y open and 1 more. No set of observed covariates closes every way" in found.message
    )
    assert found.next_step == "Record what is missing, or randomise."


def test_a_path_that_adjusting_opens_names_what_to_leave_out():
    found = causal_graph([], ["treatment <- (u) -> m <- (v) -> y"], ["m"], [()], {})
    assert found.status is Status.REVIEW
    assert "adjusting for m opens it" in found.message
    assert found.next_step == "Adjust for none of them."


@pytest.mark.parametrize(("p", "status"), [(0.0049, Status.REVIEW), (0.0051, Status.PASS)])
def test_an_independence_that_the_data_refuse_is_for_review(p: float, status: Status):
    found = causal_graph([], [], [], [("a",)], {"a and b": (0.2, p), "a and c": (0.0, 0.5)})
    assert found.status is status


def test_a_graph_that_implies_nothing_passes_and_says_so():
    assert "It implies nothing to test." in causal_graph([], [], [], [()], {}).message
