import pytest

from causal_assets.diagnostics.parallel_trends import parallel_trends
from causal_assets.types import Status


@pytest.mark.parametrize(
    ("p_value", "power", "breakdown", "claimed", "status"),
    [
        (0.4, 0.9, 1.2, True, Status.PASS),
        (0.4, 0.5, 1.2, True, Status.REVIEW),  # the test could not have seen it
        (0.03, 0.9, 1.2, True, Status.REVIEW),
        (0.4, 0.9, 0.3, True, Status.REVIEW),  # fragile by noise alone
        (0.001, 0.9, 0.3, True, Status.FAIL),
        (0.001, 0.9, 0.6, True, Status.REVIEW),
        (0.001, 0.9, 0.0, False, Status.REVIEW),  # nothing claimed, nothing to break
    ],
)
def test_only_a_fragile_claim_with_drifts_beyond_chance_fails(p_value, power, breakdown, claimed, status):
    found = parallel_trends(p_value=p_value, power=power, breakdown=breakdown, bend=0.1, claimed=claimed)
    assert found.status is status
    assert (found.value, found.threshold) == (breakdown, 0.5)
