"""The worst that lost rows could have done: told, or for a look, and never a reason to block."""

import pytest

from causal_assets.diagnostics.loss_bound import loss_bound
from causal_assets.types import Status


def _bound(estimate, by, needed=0.0):
    return loss_bound(estimate, 10, (estimate.low - by, estimate.high + by), needed=needed, what="an outcome")


@pytest.mark.parametrize(("by", "status"), [(0.0, Status.PASS), (0.9, Status.PASS), (1.1, Status.REVIEW)])
def test_losses_that_could_overturn_the_verdict_are_for_review(estimated, by, status):
    clear = estimated(1.0 + 1.959964, 1.0)  # its interval begins at 1
    assert _bound(clear, by).status is status
    below = estimated(-1.0 - 1.959964, 1.0)
    assert _bound(below, by).value == pytest.approx(by, rel=1e-4)


def test_a_verdict_that_is_open_already_cannot_be_overturned(estimated):
    assert _bound(estimated(0.0, 1.0), 100.0).status is Status.PASS


def test_what_counts_is_the_effect_that_the_rule_needs(estimated):
    assert _bound(estimated(3.0, 1.0), 0.5, needed=0.8).status is Status.REVIEW


def test_without_a_stated_range_there_is_no_bound_and_that_is_said(estimated):
    found = loss_bound(estimated(3.0, 1.0), 1_234, None, needed=0.0, what="one row (lost_row)")
    assert found.status is Status.PASS
    assert "1,234 rows were lost" in found.message
    assert "no range for one row (lost_row)" in found.message


def test_a_worst_case_inside_the_interval_is_refused(estimated):
    with pytest.raises(ValueError, match="worst"):
        loss_bound(estimated(3.0, 1.0), 1, (2.0, 3.0), needed=0.0, what="an outcome")
