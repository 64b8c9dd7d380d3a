import pytest

from causal_assets.diagnostics.fairness import fairness
from causal_assets.types import Status


def test_the_group_that_comes_off_worst_decides_and_all_are_told():
    ratios = {"under 30": (0.9, 0.85, 1.0), "over 60": (0.5, 0.3, 0.7), "rest": (0.4, -0.2, 1.3)}
    statuses = {"under 30": Status.PASS, "over 60": Status.FAIL, "rest": Status.REVIEW}
    found = fairness(statuses, ratios, at_least=0.8)
    assert (found.status, found.value, found.threshold) == (Status.FAIL, 0.5, 0.8)
    assert "over 60 0.50 [0.30, 0.70]" in found.message
    assert "giving over 60 more" in found.next_step
    alone = fairness({"under 30": Status.PASS}, {"under 30": ratios["under 30"]}, at_least=0.8)
    assert (alone.status, alone.next_step) == (Status.PASS, "Nothing to do.")


def test_a_ratio_that_nobody_knows_is_for_review():
    found = fairness({"a": Status.REVIEW, "b": Status.PASS}, {"a": None, "b": (1.0, 0.9, 1.1)}, at_least=0.8)
    assert (found.status, found.value) == (Status.REVIEW, 0.0)
    assert "a unknown, for the others have none" in found.message


def test_groups_must_be_the_same():
    with pytest.raises(ValueError, match="ratios: expected the same groups"):
        fairness({"a": Status.PASS}, {"b": None}, at_least=0.8)
    with pytest.raises(ValueError, match="ratios: expected the same groups"):
        fairness({}, {}, at_least=0.8)
