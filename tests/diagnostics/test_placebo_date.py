import pytest

from causal_assets.diagnostics.placebo_date import placebo_date
from causal_assets.types import Status


@pytest.mark.parametrize(
    ("placebo", "effect", "status"),
    [
        ((36, 12), (30, 11), Status.REVIEW),
        ((36, 30), (30, 11), Status.PASS),  # as large, but noise
        ((14, 3), (30, 11), Status.PASS),  # not noise, but small
        ((-36, 12), (30, 11), Status.REVIEW),
        ((36, 12), (0, 11), Status.REVIEW),
    ],
)
def test_a_placebo_must_be_both_large_and_beyond_noise(estimated, placebo, effect, status):
    assert placebo_date(estimated(*placebo), estimated(*effect)).status is status
