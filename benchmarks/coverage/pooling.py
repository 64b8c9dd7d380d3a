"""Random-effects meta-analysis and partially pooled groups."""

from functools import partial

import numpy as np

from benchmarks.coverage import Cell, Draws
from causal_assets.estimators.pooling import Between, partial_pooling, random_effects

MEAN = 0.5


def _studies(k: int, tau: float, between: Between, floored: bool, rng: np.random.Generator, sets: int) -> Draws:
    """k studies with errors from 0.1 to 0.3, whose true effects have standard deviation ``tau``."""
    error = np.linspace(0.1, 0.3, k)
    y = MEAN + tau * rng.normal(size=(sets, k)) + error * rng.normal(size=(sets, k))
    return Draws.of(
        [random_effects(row, error, outcome="y", between=between, floored=floored).estimate for row in y], MEAN
    )


def _group(k: int, tau: float, rng: np.random.Generator, sets: int) -> Draws:
    """One of k groups, picked at random, so that coverage is the average over groups and sets are independent."""
    error = np.linspace(0.5, 1.5, k)
    truth = 1 + tau * rng.normal(size=(sets, k))
    y = truth + error * rng.normal(size=(sets, k))
    pick = rng.integers(k, size=sets)
    names = [str(i) for i in range(k)]
    chosen = [partial_pooling(row, error, outcomes=names)[i] for row, i in zip(y, pick, strict=True)]
    return Draws.of(chosen, truth[np.arange(sets), pick])


def cells() -> list[Cell]:
    """Hartung-Knapp: 92-97; with the floor and little heterogeneity it covers more, which is its purpose.

    The reported error is built for its t interval, and shrinkage is bias, so neither is held to those bars.
    """
    family = "pooling"
    methods: tuple[Between, ...] = ("REML", "DL", "PM")
    return [
        *(
            Cell(
                family,
                f"{between}, {k} studies, tau {tau:g}",
                partial(_studies, k, tau, between, True),
                band=(0.92, 0.97) if tau > 0 else (0.92, 1.0),
                honest=False,
            )
            for between, k in (*((m, 5) for m in methods), ("REML", 10))
            for tau in (0.0, 0.2, 0.5)
        ),
        *(
            Cell(
                family,
                f"REML without floor, 5 studies, tau {tau:g}",
                partial(_studies, 5, tau, "REML", False),
                band=(0.92, 0.97),
                honest=False,
            )
            for tau in (0.0, 0.5)
        ),
        *(
            Cell(
                family,
                f"one of {k} groups, tau {tau:g} errors",
                partial(_group, k, tau),
                band=(0.94, 1.0),
                unbiased=False,
                honest=False,
            )
            for k in (5, 10)
            for tau in (0.0, 1.0, 3.0)
        ),
    ]
