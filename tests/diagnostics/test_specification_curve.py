"""Choices that could have been made otherwise: told of, and for a look only where one contradicts the answer."""

from dataclasses import replace

import numpy as np
import pytest

from causal_assets.designs.specifications import MOST, Specifications, covariate_sets
from causal_assets.diagnostics.specification_curve import specification_curve
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.randomized import difference_in_means
from causal_assets.types import Status


def test_a_specification_that_contradicts_is_named_and_never_blocks(estimated):
    others = [estimated(2.0, 0.5), estimated(0.2, 0.5), replace(estimated(-1.0, 2.0), method="without spend")]
    found = specification_curve(estimated(2.0, 0.5), others)
    assert (found.status, found.value) == (Status.REVIEW, pytest.approx(1 / 3))
    assert "67% have the sign" in found.message
    assert "33% are clear of zero on its side" in found.message
    assert "against it most: without spend, -1" in found.message


def test_signs_that_differ_within_noise_pass(estimated):
    assert specification_curve(estimated(0.2, 0.5), [estimated(-0.3, 0.5)]).status is Status.PASS
    assert specification_curve(estimated(0.2, 0.5), [estimated(-3.0, 0.5)]).status is Status.REVIEW
    with pytest.raises(ValueError, match="at least one"):
        specification_curve(estimated(0.2, 0.5), [])


def test_of_experiments_without_effect_few_are_looked_at():
    """Six covariates of which one explains half: the sets of a healthy experiment contradict each other seldom."""
    rng = np.random.default_rng(0)
    flagged, sets = 0, covariate_sets({str(k): [k + 1] for k in range(6)})
    for _ in range(300):
        x = rng.normal(size=(400, 6))
        rows = np.column_stack([x[:, 0] + rng.normal(size=400), x])
        control, treated = Moments.of(rows[:200]), Moments.of(rows[200:])
        found = [
            difference_in_means(control.select([0, *s]), treated.select([0, *s]), outcome="y") for s in sets.values()
        ]
        flagged += specification_curve(found[0], found).status is not Status.PASS
    assert flagged / 300 < 0.03


def test_covariate_sets_are_all_none_each_alone_and_each_left_out():
    assert covariate_sets({"a": [1], "b": [2, 3]}) == {
        "all covariates": [1, 2, 3], "no covariate": [], "a alone": [1], "b alone": [2, 3],
    }  # fmt: skip
    three = covariate_sets({"a": [1], "b": [2], "c": [3]})
    assert three["without b"] == [1, 3]
    assert len(covariate_sets({str(k): [k] for k in range(100)})) == MOST


def test_more_than_48_combinations_are_refused():
    assert Specifications(covariates=[["a"]] * 8, fractions=[0.5] * 6).covariates
    with pytest.raises(ValueError, match="1 to 48 combinations"):
        Specifications(covariates=[["a"]] * 7, trims=[0.1] * 7)
    with pytest.raises(ValueError, match="1 to 48 combinations"):
        Specifications()
