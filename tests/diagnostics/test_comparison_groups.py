import numpy as np
import pytest

from causal_assets.diagnostics.comparison_groups import comparison_groups
from causal_assets.types import Status


def test_a_sign_that_turns_with_the_controls_is_for_review(estimated):
    found = comparison_groups({"never": estimated(47, 14), "later": estimated(-14, 15)})
    assert found.status is Status.REVIEW
    assert "Against controls 'later' the effect is -14" in found.message


def test_a_sign_that_stays_or_turns_within_noise_passes(estimated):
    assert comparison_groups({"never": estimated(60, 5), "later": estimated(10, 5)}).status is Status.PASS
    assert comparison_groups({"never": estimated(10, 15), "later": estimated(-10, 15)}).status is Status.PASS


def test_equal_groups_of_controls_are_flagged_in_at_most_one_study_in_twenty_without_effect(estimated):
    treated, never, later = np.random.default_rng(1).normal(size=(3, 4_000))
    flagged = [
        comparison_groups({"never": estimated(t - a, 2**0.5), "later": estimated(t - b, 2**0.5)}).status
        for t, a, b in zip(treated, never, later, strict=True)
    ]
    assert flagged.count(Status.REVIEW) / 4_000 < 0.05


def test_one_group_is_no_comparison(estimated):
    with pytest.raises(ValueError, match=r"at least two groups of controls, got \['never'\]"):
        comparison_groups({"never": estimated(1, 1)})
