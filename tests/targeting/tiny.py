"""A model of two treatments on two thousand units, fitted once per process."""

from functools import cache
from typing import Any

import numpy as np

from causal_assets.targeting.features import Features
from causal_assets.targeting.model import Limits, Treatments, UpliftModel, fit
from causal_assets.targeting.nuisances import Sample

UNITS, SEED = 2_000, 20_260_601


@cache
def units() -> dict[str, Any]:
    """Their features as the warehouse gives them."""
    rng = np.random.default_rng(SEED)
    return {
        "recency": rng.normal(size=UNITS),
        "orders": rng.poisson(2, UNITS),
        "channel": rng.choice(np.array(["app", "shop", "web"], dtype=object), UNITS),
    }


@cache
def model() -> UpliftModel:
    """An e-mail adds 3 where recency is above zero, else nothing; a call adds 0.5 to everybody; either costs 1."""
    rng = np.random.default_rng(SEED + 1)
    features = Features.of(units(), ["recency", "orders"], ["channel"])
    x, arm = features.matrix(units()), rng.integers(0, 3, UNITS)
    y = x[:, 0] + 3.0 * ((arm == 1) & (x[:, 0] > 0)) + 0.5 * (arm == 2) + rng.normal(size=UNITS)
    return fit(
        Sample.of(x, arm, y), rng.integers(0, 4, UNITS), features,
        Treatments(names=("email", "call"), cost=(1.0, 1.0), capacity=(np.inf, np.inf)),
        value=1.0, limits=Limits(), randomised=True, candidates=("none", "s"), seed=1,
    )  # fmt: skip
