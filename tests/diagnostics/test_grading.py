import pytest

from causal_assets.diagnostics.grading import above, below, diagnostic, share
from causal_assets.types import Status


def test_a_threshold_itself_still_passes_and_the_status_names_its_threshold():
    assert above(0.1, review=0.1, fail=0.25) == (Status.PASS, 0.1)
    assert above(0.2, review=0.1, fail=0.25) == (Status.REVIEW, 0.1)
    assert above(0.3, review=0.1, fail=0.25) == (Status.FAIL, 0.25)
    assert below(0.01, review=0.01, fail=0.001) == (Status.PASS, 0.01)
    assert below(0.005, review=0.01, fail=0.001) == (Status.REVIEW, 0.01)
    assert below(0.0005, review=0.01, fail=0.001) == (Status.FAIL, 0.001)


def test_a_check_that_passes_asks_for_nothing():
    passed = diagnostic("skew", (Status.PASS, 1.0), 0.5, "fine", "collect more units")
    assert passed.next_step == "Nothing to do."


@pytest.mark.parametrize(("part", "whole"), [(1, 0), (-1, 3), (4, 3)])
def test_a_share_that_is_none_is_refused_with_its_numbers(part, whole):
    with pytest.raises(
        ValueError, match=f"data_loss: expected 0 <= part <= whole and whole >= 1, got {part} of {whole}"
    ):
        share(part, whole, "data_loss")
