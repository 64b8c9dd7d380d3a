"""Instruments: encouragement, ghost ads, several instruments, clusters, and one that hardly moves anything."""

from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.coverage import Cell, Draws, Floats
from causal_assets.estimators.ghost_ads import Cell as AdCell
from causal_assets.estimators.ghost_ads import ghost_ads
from causal_assets.estimators.instruments import two_stage_least_squares, wald
from causal_assets.estimators.moments import Moments
from causal_assets.types import Estimate

EFFECT = 2.0


def _encouraged(rng: np.random.Generator, effect: float) -> tuple[Floats, Floats, Floats, Floats]:
    """2,000 units; half are encouraged, which moves 50%; a quarter takes it up anyway and is richer by 3."""
    z = (rng.random(2_000) < 0.5).astype(float)
    kind, x = rng.random(z.size), rng.normal(size=z.size)
    always = kind > 0.75
    d = np.where(kind < 0.5, z, always)
    return effect * d + 3 * always + x + rng.normal(size=z.size), d, z, x


def _by_arm(rng: np.random.Generator, *, effect: float = EFFECT, adjusted: bool = False) -> Estimate:
    y, d, z, x = _encouraged(rng, effect)
    rows = np.column_stack([y, d, x] if adjusted else [y, d])
    return wald(Moments.of(rows[z == 0]), Moments.of(rows[z == 1]), outcome="y").effect


def _ghost_ads(rng: np.random.Generator) -> Estimate:
    """10,000 users, 30% would be served, 80% of those see the ad; the served are richer by 5."""
    treated, predicted = rng.random((2, 10_000)) < np.array([[0.5], [0.3]])
    exposed = treated & predicted & (rng.random(treated.size) < 0.8)
    y = 5 * predicted + EFFECT * exposed + 3 * rng.normal(size=treated.size)
    cells = {}
    for key in ((True, True, True), (True, True, False), (True, False, False), (False, True, False), (False,) * 3):
        inside = (treated == key[0]) & (predicted == key[1]) & (exposed == key[2])
        cells[AdCell(*key)] = Moments.of(y[inside])
    return ghost_ads(cells, outcome="y").among_predicted.effect


def _clustered(rng: np.random.Generator, *, several: bool = False) -> Estimate:
    """100 shops of 10 rows with shared noise and a fixed effect of the region; the treatment is confounded."""
    shop = np.repeat(np.arange(100), 10)
    region = shop % 5
    z = rng.normal(size=(shop.size, 2)) + rng.normal(size=(100, 2))[shop]
    taste = rng.normal(size=shop.size)
    d = z @ [0.6, 0.3] + taste + region
    y = EFFECT * d - 2 * taste + 3 * region + rng.normal(size=100)[shop] + rng.normal(size=shop.size)
    tool, x = (z, None) if several else (z[:, 0], z[:, 1])
    return two_stage_least_squares(y, d, tool, x=x, absorb=region, cluster=shop, outcome="y").effect


def _weak(rng: np.random.Generator) -> Estimate:
    """First-stage F of about 3 and a treatment that is nearly the confounder itself."""
    z, taste = rng.normal(size=(2, 500))
    d = 0.08 * z + taste
    return two_stage_least_squares(EFFECT * d + 5 * taste + rng.normal(size=500), d, z, outcome="y").effect


def _simulate(
    draw: Callable[[np.random.Generator], Estimate], truth: float, rng: np.random.Generator, sets: int
) -> Draws:
    return Draws.of((draw(rng) for _ in range(sets)), truth)


def _cell(
    name: str,
    draw: Callable[[np.random.Generator], Estimate],
    truth: float = EFFECT,
    band: tuple[float, float] = (0.94, 0.96),
    honest: bool = True,
) -> Cell:
    return Cell("instruments", name, partial(_simulate, draw, truth), band=band, unbiased=honest, honest=honest)


def cells() -> list[Cell]:
    return [
        _cell("encouragement by arm, 2,000 units", _by_arm),
        _cell("encouragement by arm, covariate", partial(_by_arm, adjusted=True)),
        _cell("encouragement by arm, no effect", partial(_by_arm, effect=0.0), 0.0),
        _cell("ghost ads, 10,000 users", _ghost_ads),
        _cell("two stages, one instrument, 100 clusters", _clustered, band=(0.93, 0.96)),
        _cell("two stages, two instruments, 100 clusters", partial(_clustered, several=True), band=(0.93, 0.96)),
        _cell("weak instrument, set", _weak, honest=False),
    ]
