"""Robustness value and E-value lower a grade at most; neither sees a cause that is there."""

from math import inf

import pytest

from causal_assets.diagnostics.e_value import e_value
from causal_assets.diagnostics.robustness_value import robustness_value
from causal_assets.types import Status


def _graded(estimate, times):
    return robustness_value(estimate, 2.1, needed=0.14, needed_of_end=0.08, benchmark="prior spend", times=times)


@pytest.mark.parametrize(
    ("times", "status"), [(0.0, Status.REVIEW), (0.9, Status.REVIEW), (1.1, Status.PASS), (inf, Status.PASS)]
)
def test_a_cause_no_stronger_than_the_benchmark_asks_for_a_look_and_never_blocks(estimated, times, status):
    assert _graded(estimated(2.0, 0.5), times).status is status


def test_the_strongest_covariate_is_told_of_where_none_is_named(estimated):
    found = robustness_value(
        estimated(2.0, 0.5), 2.1, needed=0.1, needed_of_end=0.0, benchmark="visits", times=0.5, named=False
    )
    assert found.status is Status.PASS
    assert "0.5 times as strong as visits" in found.message


def test_without_an_effect_there_is_nothing_to_explain_away(estimated):
    found = _graded(estimated(0.2, 0.5), 0.1)
    assert found.status is Status.PASS
    assert "nothing to explain away" in found.message


def test_the_message_says_how_strong_beside_what_and_that_nothing_is_known_of_it(estimated):
    said = _graded(estimated(2.0, 0.5), 3.0).message
    assert said.startswith("A hidden cause 3.0 times as strong as prior spend would be needed")
    assert "14.0%" in said
    assert "8.0%" in said
    assert said.endswith("cannot know.")


def test_an_e_value_is_told_and_never_graded():
    assert {e_value(1.0, 1.0).status, e_value(9.0, 5.0).status} == {Status.PASS}
    assert "1.27 each" in e_value(1.27, 1.0).message
