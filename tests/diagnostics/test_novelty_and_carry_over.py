"""What wears off and what is carried over: how often a still world is flagged, and what is found."""

import numpy as np
import pytest
from scipy.stats import binom

from causal_assets.diagnostics.carry_over import carry_over as graded
from causal_assets.diagnostics.novelty import novelty
from causal_assets.estimators.switchback import Blocks, carry_over, switchback
from causal_assets.types import Status


def test_a_steady_effect_is_flagged_as_often_as_said(estimated):
    draws = np.random.default_rng(0).normal(1.0, 0.5, size=(2_000, 4))
    statuses = [novelty([estimated(x, 0.5) for x in row]).status for row in draws]  # ty: ignore[possibly-missing-attribute]
    flagged = statuses.count(Status.REVIEW)
    assert binom.ppf(1e-3, 2_000, 0.01) <= flagged <= binom.isf(1e-3, 2_000, 0.01)
    assert Status.FAIL not in statuses


def test_windows_of_one_unit_that_go_together_make_it_more_careful(estimated):
    rng = np.random.default_rng(1)
    draws = 1.0 + 0.35 * (rng.normal(size=(2_000, 1)) + rng.normal(size=(2_000, 4)))  # half of each error is shared
    statuses = [novelty([estimated(x, 0.35 * 2**0.5) for x in row]).status for row in draws]
    assert statuses.count(Status.REVIEW) <= 10


def test_an_effect_that_wears_off_is_for_review_with_its_last_window(estimated):
    found = novelty([estimated(value, 0.3, f"week {k}") for k, value in enumerate((4.0, 3.0, 2.0, 1.0))])
    assert found is not None
    assert found.status is Status.REVIEW
    assert "changes by -1 " in found.message
    assert "to +1 [" in found.message
    assert novelty([estimated(4.0, 0.3), estimated(1.0, 0.3)]) is None


def _blocks(carried, seed, units=8, length=40):
    """Blocks in time order within units, each with its own level; ``carried`` of the effect of 1 stays for a block."""
    rng = np.random.default_rng(seed)
    treated = rng.random((units, length)) < 0.5
    before = np.column_stack([np.zeros(units), treated[:, :-1]])
    mean = rng.normal(size=(units, 1)) * 3 + treated + carried * before + rng.normal(size=(units, length))
    return Blocks(mean.ravel(), treated.ravel(), np.repeat(np.arange(units), length))


def _statuses(carried, repeats):
    found = []
    for seed in range(repeats):
        blocks = _blocks(carried, seed)
        before = carry_over(blocks, switchback(blocks, outcome="y").value, outcome="y")
        assert before is not None
        found.append(graded(before).status)
    return found


def test_blocks_that_carry_nothing_over_are_flagged_as_often_as_said():
    statuses = _statuses(0.0, 600)
    assert statuses.count(Status.FAIL) <= binom.isf(1e-3, 600, 0.001)
    assert len(statuses) - statuses.count(Status.PASS) <= binom.isf(1e-3, 600, 0.01)


@pytest.mark.parametrize(("carried", "least"), [(0.5, 0.8), (0.8, 0.99)])
def test_what_is_carried_over_fails(carried, least):
    assert _statuses(carried, 100).count(Status.FAIL) / 100 > least


def test_the_carried_effect_is_estimated_and_few_blocks_say_nothing():
    blocks = _blocks(0.5, 3, length=400)
    found = carry_over(blocks, 1.0, outcome="y")
    assert found is not None
    assert found.covers(0.5)
    assert not found.covers(0.0)
    assert carry_over(_blocks(0.5, 3, units=2, length=6), 1.0, outcome="y") is None
