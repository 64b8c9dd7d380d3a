import numpy as np
import pytest

from causal_assets.diagnostics.bracket import bracket
from causal_assets.estimators.did import two_by_two
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.randomized import difference_in_means
from causal_assets.types import Status


@pytest.mark.parametrize(
    ("adjusted", "did", "status"),
    [
        ((28, 11), (-11, 9), Status.FAIL),
        ((5, 11), (-4, 9), Status.PASS),  # neither claims a sign
        ((28, 11), (-4, 14), Status.REVIEW),  # one does, and the other may be noise
        ((28, 11), (2, 9), Status.PASS),
        ((-28, 11), (-40, 9), Status.PASS),
        ((-28, 11), (-90, 9), Status.REVIEW),
        ((28, 2), (1, 2), Status.REVIEW),
    ],
)
def test_opposite_signs_fail_beyond_noise_and_sizes_apart_beyond_it_are_for_review(estimated, adjusted, did, status):
    assert bracket(estimated(*adjusted), estimated(*did)).status is status


def test_a_failure_says_that_the_sign_is_not_identified(estimated):
    assert "the sign is not identified" in bracket(estimated(28, 11), estimated(-11, 9)).message


def test_where_both_designs_are_right_and_there_is_no_effect_one_study_in_twenty_fails_at_most():
    rng = np.random.default_rng(0)
    d, unit = np.arange(300) < 100, np.arange(300)
    statuses = []
    for _ in range(1_000):
        pre = rng.normal(size=300)
        rows = np.column_stack([0.5 * pre + rng.normal(size=300), pre])
        adjusted = difference_in_means(Moments.of(rows[~d]), Moments.of(rows[d]), outcome="y")
        did = two_by_two(pre, rows[:, 0], d, unit, outcome="y")
        statuses.append(bracket(adjusted, did).status)
    assert statuses.count(Status.FAIL) / 1_000 < 0.05
    assert statuses.count(Status.REVIEW) / 1_000 < 0.1
