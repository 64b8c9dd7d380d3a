"""Jumps of the outcome where nothing is decided."""

from typing import Any

import numpy as np
import pytest

from causal_assets.diagnostics.placebo_cutoffs import placebo_cutoffs as judged
from causal_assets.estimators.discontinuity import robust_discontinuity
from causal_assets.estimators.placebo_cutoffs import placebo_cutoffs
from causal_assets.types import Status


def jumps(seed: int, *, jump: float = 1.0, elsewhere: float = 0.0) -> dict[float, Any]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 100, 1_500)
    y = 0.02 * x + jump * (x >= 60) + elsewhere * (x >= 30) + 0.5 * rng.normal(size=x.size)
    options = {"outcome": "y", "cutoff": 60.0, "bandwidth": 12.0}
    main = robust_discontinuity(y, x, **options)
    shop = rng.integers(0, 100, x.size)
    return dict(placebo_cutoffs(y, x, main, outcome="y", cutoff=60.0, cluster=shop, covariates=rng.normal(size=x.size)))


def test_the_true_jump_is_in_none_of_the_made_up_ones():
    found = jumps(0, jump=20.0)
    assert list(found) == pytest.approx([15, 30, 45, 70, 80, 90], abs=3)
    assert all(abs(jump.value) < 3 * jump.spread for jump in found.values())
    assert judged(found).status is Status.PASS


def test_a_jump_elsewhere_is_named():
    told = judged(jumps(1, elsewhere=1.5))
    assert told.status is Status.REVIEW
    assert "At 30" in told.message or "At 29" in told.message


def test_where_no_rows_are_left_to_look_at_nothing_is_said():
    x = np.linspace(0, 1, 60)
    y = np.sin(7 * x) + (x >= 0.5)
    main = robust_discontinuity(y, x, outcome="y", cutoff=0.5, bandwidth=0.3)
    assert dict(placebo_cutoffs(y, x, main, outcome="y", cutoff=0.5, shares=(0.001,))) == {}
    with pytest.raises(KeyError):
        next(placebo_cutoffs(y, x, main, outcome="y"))
