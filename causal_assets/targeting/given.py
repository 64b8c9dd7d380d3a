"""Nuisance models that are not learned: what EconML's learners are handed instead of fitting their own."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from causal_assets.estimators.inference import Floats


class GivenOutcome(BaseEstimator):
    """An outcome model that is not learned: its predictions are columns of what EconML hands it, from ``first`` on.

    That is ``[x, w]``, where ``w`` holds what is given; with ``arms`` their indicators are behind, and a column each.
    """

    def __init__(self, first: int = 0, arms: int = 0) -> None:
        self.first = first
        self.arms = arms

    def fit(self, *_: Any, **__: Any) -> "GivenOutcome":
        """Learn nothing."""
        return self

    def predict(self, x: Floats) -> Floats:
        """The outcome expected: of the row's arm, or over all arms."""
        if not self.arms:
            return x[:, self.first]
        arm = x[:, x.shape[1] - self.arms + 1 :] @ np.arange(1, self.arms)
        return x[np.arange(len(x)), self.first + arm.astype(np.intp)]


class GivenPropensity(BaseEstimator):
    """A model of the arm that is not learned, likewise."""

    def __init__(self, first: int = 0, arms: int = 2) -> None:
        self.first = first
        self.arms = arms

    def fit(self, *_: Any, **__: Any) -> "GivenPropensity":
        """Learn nothing."""
        self.classes_ = np.arange(self.arms)
        return self

    def predict_proba(self, x: Floats) -> Floats:
        """The propensities (n, arms)."""
        return x[:, self.first : self.first + self.arms]
