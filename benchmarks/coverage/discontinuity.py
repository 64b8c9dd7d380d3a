"""Discontinuities: curves that bend and jump, by chosen and by given bandwidth, with clusters and with weak take-up."""

from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.coverage import Cell, Draws, Floats
from causal_assets.estimators.discontinuity import robust_discontinuity
from causal_assets.types import Estimate

JUMP = 0.5
# The method promises its rate as the bandwidth shrinks; at 2,000 rows on smooth curves no less than 90%.
BAND = (0.90, 0.97)


def _lee(x: Floats) -> Floats:
    """Curve fitted to the elections of Lee (2008), model 1 of Calonico, Cattaneo & Titiunik (2014); jump 0.04."""
    left = 0.48 + 1.27 * x + 7.18 * x**2 + 20.21 * x**3 + 21.54 * x**4 + 7.33 * x**5
    right = 0.52 + 0.84 * x - 3.00 * x**2 + 7.99 * x**3 - 9.01 * x**4 + 3.56 * x**5
    return np.where(x < 0, left, right)


def _lee_curve(rng: np.random.Generator) -> Estimate:
    x = 2 * rng.beta(2, 4, 2_000) - 1
    y = _lee(x) + 0.1295 * rng.normal(size=x.size)
    return robust_discontinuity(y, x, outcome="y").estimate


def _bending(rng: np.random.Generator, rows: int) -> tuple[Floats, Floats]:
    x = rng.uniform(-1, 1, rows)
    return 0.8 * x + np.where(x < 0, 1.5, -1.0) * x**2 + 0.5 * rng.normal(size=rows), x


def _sharp(rng: np.random.Generator) -> Estimate:
    y, x = _bending(rng, 2_000)
    return robust_discontinuity(y + JUMP * (x >= 0), x, outcome="y", bandwidth=0.6).estimate


def _null(rng: np.random.Generator) -> Estimate:
    y, x = _bending(rng, 2_000)
    return robust_discontinuity(y, x, outcome="y", bandwidth=0.6).estimate


def _fuzzy(rng: np.random.Generator) -> Estimate:
    """Crossing moves 60%; those who take the treatment anyway are richer by 1."""
    y, x = _bending(rng, 2_000)
    kind = rng.random(x.size)
    always = kind > 0.8
    t = np.where(kind < 0.6, x >= 0, always).astype(float)
    return robust_discontinuity(y + JUMP * t + always, x, takeup=t, outcome="y", bandwidth=0.8).estimate


def _weak(rng: np.random.Generator) -> Estimate:
    """Take-up hardly jumps and is confounded with the outcome: the set is often unbounded."""
    _, x = _bending(rng, 1_000)
    taste = rng.normal(size=x.size)
    t = 0.2 * (x >= 0) + taste
    y = JUMP * t + 3 * taste + 0.3 * rng.normal(size=x.size)
    return robust_discontinuity(y, x, takeup=t, outcome="y", bandwidth=0.9).estimate


def _clustered(rng: np.random.Generator) -> Estimate:
    """300 shops of 5 rows that share their running value and most of their noise."""
    shop = np.repeat(np.arange(300), 5)
    x = rng.uniform(-1, 1, 300)[shop]
    y = x**2 + JUMP * (x >= 0) + 0.5 * rng.normal(size=300)[shop] + 0.3 * rng.normal(size=shop.size)
    return robust_discontinuity(y, x, outcome="y", bandwidth=0.9, cluster=shop).estimate


def _simulate(
    draw: Callable[[np.random.Generator], Estimate], truth: float, rng: np.random.Generator, sets: int
) -> Draws:
    return Draws.of((draw(rng) for _ in range(sets)), truth)


def _cell(
    name: str, draw: Callable[[np.random.Generator], Estimate], truth: float, band: tuple[float, float], honest: bool
) -> Cell:
    return Cell("discontinuity", name, partial(_simulate, draw, truth), band=band, unbiased=honest, honest=honest)


def cells() -> list[Cell]:
    return [
        _cell("sharp, Lee's curve, 2,000 rows, bandwidth chosen", _lee_curve, 0.04, BAND, False),
        _cell("sharp, bent curve, 2,000 rows, bandwidth 0.6", _sharp, JUMP, (0.93, 0.96), True),
        _cell("sharp, bent curve, no jump, bandwidth 0.6", _null, 0.0, (0.93, 0.96), True),
        _cell("fuzzy, 60% comply, 2,000 rows, bandwidth 0.8", _fuzzy, JUMP, BAND, True),
        _cell("fuzzy, weak take-up, 1,000 rows, set", _weak, JUMP, BAND, False),
        _cell("sharp, 300 clusters of 5", _clustered, JUMP, BAND, True),
    ]
