"""A cutoff decides."""

from typing import Any

import numpy as np

from benchmarks.calibration import Case, Columns, Fault, Rng
from causal_assets.designs.regression_discontinuity import RegressionDiscontinuity

CUSTOMERS, EFFECT = 2_000, 0.5
CUTOFF: dict[str, Any] = {
    "columns": {"running": "score"},
    "cutoff": 50.0,
    "outcomes": [{"name": "basket", "role": "primary"}],
    "covariates": ["age", "income"],
    "donut": 0.5,
}


def scored(rng: Rng, *, sorting: float = 0.0, bundled: float = 0.0, steps: float = 0.0) -> Columns:
    """The basket bends with the score, income drives it.

    Broken: this share of the keen within 3 points below push themselves above; another programme for the rich starts at
    the cutoff; baskets have steps every five points.
    """
    n = CUSTOMERS
    score, keen = rng.uniform(30, 70, n), rng.normal(size=n)
    income, age = rng.normal(size=n), rng.normal(40, 10, n)
    pushed = (score > 47) & (score < 50) & (keen > 0) & (rng.random(n) < sorting)
    score = np.where(pushed, rng.uniform(50, 53, n), score)
    above = score >= 50
    income = income + bundled * above
    basket = 0.05 * score + 0.002 * (score - 50) ** 2 + EFFECT * above + keen + 0.5 * income
    basket = basket + 0.5 * rng.normal(size=n) + steps * np.floor(score / 5)
    return {"score": score, "age": age, "income": income, "basket": basket}


def cases() -> list[Case]:
    """What a cutoff decided."""
    return [
        Case("regression discontinuity", RegressionDiscontinuity, CUTOFF, scored, EFFECT, (
            Fault("the keen push themselves across", "sorting", 0.25, ("manipulation", "donut")),
            Fault("another programme starts at the cutoff", "bundled", 0.45, ("continuity",)),
        )),
    ]  # fmt: skip
