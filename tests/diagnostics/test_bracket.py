import numpy as np
import pytest

from causal_assets.diagnostics.bracket import bracket
from causal_assets.types import Status


@pytest.mark.parametrize(
    ("adjusted", "did", "status"),
    [
        ((28, 11), (-11, 9), Status.FAIL),
        ((5, 11), (-4, 9), Status.REVIEW),
        ((28, 11), (2, 9), Status.PASS),
        ((-28, 11), (-90, 9), Status.PASS),
    ],
)
def test_opposite_signs_fail_only_beyond_noise(estimated, adjusted, did, status):
    assert bracket(estimated(*adjusted), estimated(*did)).status is status


def test_a_failure_says_that_the_sign_is_not_identified(estimated):
    assert "the sign is not identified" in bracket(estimated(28, 11), estimated(-11, 9)).message


def test_with_no_effect_and_both_designs_right_at_most_one_study_in_twenty_fails(estimated):
    draws = np.random.default_rng(0).normal(size=(2_000, 2))
    statuses = [bracket(estimated(a, 1.0), estimated(b, 1.0)).status for a, b in draws]
    assert statuses.count(Status.FAIL) / 2_000 < 0.05
