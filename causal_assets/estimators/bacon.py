"""What two-way fixed effects average: every comparison of two adoption dates, with its weight."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.estimators.inference import Floats, Refusal


@dataclass(frozen=True)
class Comparison:
    """One 2x2 estimate: the cohort ``treated`` against the cohort ``control`` (indices of adoption, T for never).

    ``forbidden`` where the control is already treated, so that growing effects enter with the wrong sign.
    """

    treated: int
    control: int
    weight: float
    value: float
    forbidden: bool


def bacon(outcome: ArrayLike, dose: ArrayLike) -> list[Comparison]:
    """Goodman-Bacon's decomposition of a balanced panel's two-way coefficient: weights add to 1, weighted values to it.

    ``outcome`` and ``dose`` (units, periods) are as from ``wide_panel``. Works on cohort means; cost cohorts squared.

    Source: Goodman-Bacon (2021), Difference-in-differences with variation in treatment timing, JoE 225(2), theorem 1.

    Raises:
        ValueError: shapes that differ.
        Refusal: a unit treated from the first period on, treatment that ends, or one cohort.
    """
    y, d = np.asarray(outcome, np.float64), np.asarray(dose, np.float64)
    if y.ndim != 2 or y.shape != d.shape:
        raise ValueError(f"outcome, dose: expected one shape (units, periods), got {y.shape} and {d.shape}")
    if d[:, 0].any():
        raise Refusal("dose: units are treated from the first period on and have no pre-period; leave them out")
    if (np.diff(d, axis=1) < 0).any():
        raise Refusal("dose: treatment ends in some units; the decomposition is of absorbing treatment")
    periods = y.shape[1]
    starts = periods - d.sum(axis=1).astype(np.intp)
    cohorts = np.unique(starts)
    if cohorts.size < 2:
        raise Refusal("dose: all units adopt at once or never, there is nothing to compare")
    share = {g: float((starts == g).mean()) for g in cohorts}
    mean = {g: y[starts == g].mean(axis=0) for g in cohorts}
    found = []
    for early, late in combinations(cohorts.tolist(), 2):
        first, second = 1 - early / periods, 1 - late / periods  # shares of the panel under treatment
        pair = share[early] * share[late]
        before = _change(mean[early] - mean[late], slice(early, late), slice(0, early))
        found.append((early, late, pair * (first - second) * (1 - first), before, False))
        if late < periods:
            after = _change(mean[late] - mean[early], slice(late, periods), slice(early, late))
            found.append((late, early, pair * second * (first - second), after, True))
    total = sum(weight for _, _, weight, _, _ in found)
    return [Comparison(t, c, weight / total, value, bad) for t, c, weight, value, bad in found]


def _change(gap: Floats, after: slice, before: slice) -> float:
    return float(gap[after].mean() - gap[before].mean())
