import pytest

from causal_assets.diagnostics.clipping import clipping
from causal_assets.diagnostics.left_out import left_out
from causal_assets.diagnostics.sign_stability import sign_stability
from causal_assets.types import Estimate, Status


def _estimate(value, half, method="m"):
    return Estimate(
        outcome="y", estimand="ATT", method=method, value=value, std_error=half / 1.96, low=value - half,
        high=value + half, p_value=0.5, level=0.95, n_treated=10, n_control=10, control_mean=1.0,
    )  # fmt: skip


def test_clipping_asks_for_a_look_where_the_bound_decides_much():
    assert clipping(5, 100, 0.01, 0.99).status is Status.PASS
    assert clipping(6, 100, 0.01, 0.99).status is Status.REVIEW
    assert clipping(100, 100, 0.01, 0.99).status is Status.REVIEW  # never blocks


def test_leaving_a_tenth_out_passes_and_more_is_looked_at():
    assert left_out(10, 100).status is Status.PASS
    assert left_out(11, 100).status is Status.REVIEW
    with pytest.raises(ValueError, match="left_out"):
        left_out(11, 10)


def test_methods_contradict_only_where_one_of_them_excludes_zero():
    assert sign_stability(_estimate(1, 2), [_estimate(-1, 2)]).status is Status.PASS  # both are noise
    against = sign_stability(_estimate(1, 0.5), [_estimate(-0.1, 2, "weighting"), _estimate(1, 2)])
    assert (against.status, against.value) == (Status.REVIEW, 1)
    assert "weighting -0.1" in against.message
    assert sign_stability(_estimate(0.1, 2), [_estimate(-1, 0.5)]).status is Status.REVIEW


def test_one_method_alone_cannot_be_compared():
    assert sign_stability(_estimate(1, 2), []) is None
