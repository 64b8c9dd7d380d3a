import pytest

from causal_assets.diagnostics.overidentification import overidentification
from causal_assets.types import Status


def test_instruments_that_disagree_ask_for_a_look_and_never_block():
    assert overidentification(3, 1.2, 0.55).status is Status.PASS
    found = overidentification(3, 60.0, 1e-13)
    assert found.status is Status.REVIEW
    assert "all 3 instruments" in found.message
    assert "Hansen's J = 60" in found.message


@pytest.mark.parametrize("given", [(1, 1.0, 0.5), (2, -1.0, 0.5), (2, 1.0, 1.5), (2, float("nan"), 0.5)])
def test_numbers_that_are_none_are_refused(given):
    with pytest.raises(ValueError, match="instruments, j, p_value: expected"):
        overidentification(*given)
