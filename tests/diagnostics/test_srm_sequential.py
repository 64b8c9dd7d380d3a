"""The always-valid test of shares: right however often it is read, and it sees what one look at the end forgets."""

import numpy as np
import pytest
from scipy.stats import binom

from causal_assets.diagnostics.srm import srm
from causal_assets.diagnostics.srm_sequential import always_valid_p, srm_sequential
from causal_assets.types import Status

DAYS = [f"2026-03-{day:02}" for day in range(1, 29)]
HALVES = [0.5, 0.5]


def _daily(share, seed=0, repeats=4_000, units=700):
    treated = np.random.default_rng(seed).binomial(units, share, size=(repeats, len(DAYS)))
    return np.stack([units - treated, treated], axis=-1)


def _last(worlds, planned=HALVES):
    return np.array([always_valid_p(one, planned)[-1] for one in worlds])


def test_the_cases_of_growthbook():
    assert always_valid_p([[500, 500]], HALVES)[-1] > 0.05
    assert always_valid_p([[100, 900]], HALVES)[-1] < 0.05
    assert always_valid_p([[0, 0]], HALVES)[-1] == 1
    assert always_valid_p([[500, 500], [100, 900]], HALVES)[-1] < 0.05


def test_right_assignment_is_ever_flagged_no_more_often_than_said():
    p = _last(_daily(0.5))
    assert (p < 0.001).sum() <= binom.isf(0.001, len(p), 0.001)
    assert (p < 0.01).sum() <= binom.isf(0.001, len(p), 0.01)
    assert (p < 0.3).any()  # it does move


@pytest.mark.parametrize(("share", "least"), [(0.52, 0.8), (0.53, 0.99)])
def test_a_broken_randomiser_is_found(share, least):
    assert (_last(_daily(share, repeats=500)) < 0.001).mean() > least


def test_a_few_broken_days_are_not_forgotten():
    worlds = _daily(0.5, repeats=200)
    worlds[:, :4] = _daily(0.6, repeats=200, units=1_000)[:, :4]
    found = [srm_sequential(DAYS, one.tolist(), HALVES) for one in worlds]
    assert np.mean([one.status is Status.FAIL for one in found]) > 0.95
    assert "from 2026-03-0" in found[0].message
    mended = worlds.sum(axis=1)
    mended[:, 0] += mended[:, 1] - mended[:, 0]  # later days make up for it: in all, the shares are as planned
    assert {srm(dict(zip("ct", one, strict=True)), {"c": 0.5, "t": 0.5}).status for one in mended} == {Status.PASS}


def test_batches_do_not_matter_to_the_last_factor_and_only_the_smallest_counts():
    one = _daily(0.52, repeats=1)[0]
    assert np.all(np.diff(always_valid_p(one, HALVES)) <= 0)
    assert always_valid_p([one.sum(axis=0)], HALVES)[-1] >= always_valid_p(one, HALVES)[-1] - 1e-15


def test_unequal_plans_of_several_arms_are_tested_as_planned():
    plan = [0.8, 0.1, 0.1]
    counts = np.random.default_rng(1).multinomial(1_000, plan, size=(300, 28))
    assert (np.array([always_valid_p(one, plan)[-1] for one in counts]) < 0.01).mean() <= 0.03
    assert always_valid_p([[8_000, 700, 1_300]], plan)[-1] < 1e-6


def test_wrong_plans_are_refused():
    with pytest.raises(ValueError, match="planned"):
        always_valid_p([[1, 2]], [0.5, 0.6])
    with pytest.raises(ValueError, match="days"):
        srm_sequential([], [], HALVES)
