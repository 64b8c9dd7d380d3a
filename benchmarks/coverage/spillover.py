"""Two-stage saturation designs, and exposure on a known network."""

from functools import partial

import numpy as np

from benchmarks.coverage import Cell, Draws
from causal_assets.estimators.spillover import Exposures, Saturations, exposure_effect, saturation_effects

DIRECT, SPILL, SATURATION = 1.0, 2.0, 0.5
TRUTHS = {
    "direct": DIRECT,
    "spillover": SPILL * SATURATION,
    "total": DIRECT + SPILL * SATURATION,
    "overall": (DIRECT + SPILL) * SATURATION,
}
UNITS, TREATED = 200, 0.2
NAMES = ("nothing", "neighbour only", "own")


def _two_stage(
    effect: str, clusters: int, sizes: tuple[int, ...], by: str, rng: np.random.Generator, sets: int
) -> Draws:
    """Half of the clusters treat half of their units; clusters differ in level and in size."""

    def one() -> object:
        size = rng.choice(sizes, clusters)
        saturation = rng.permutation(np.arange(clusters) % 2) * SATURATION
        cluster = np.repeat(np.arange(clusters), size)
        d = np.concatenate([rng.permutation(n) < round(s * n) for s, n in zip(saturation, size, strict=True)])
        y = rng.normal(size=clusters)[cluster] + rng.normal(size=cluster.size)
        y += DIRECT * d + SPILL * saturation[cluster]
        rows = Saturations.of(y, d, cluster, saturation[cluster])
        found = saturation_effects(rows, saturation=SATURATION, outcome="y", weigh=by)  # ty: ignore[invalid-argument-type]
        return found[list(TRUTHS).index(effect)]

    return Draws.of([one() for _ in range(sets)], TRUTHS[effect])  # ty: ignore[invalid-argument-type]


def _ring(spill: float, rng: np.random.Generator, sets: int) -> Draws:
    """Potential outcomes are fixed; the assignment is drawn again for each data set."""
    index = np.arange(UNITS)
    neighbours = np.stack([(index - 1) % UNITS, (index + 1) % UNITS], axis=1)

    def assign(draw: np.random.Generator) -> np.ndarray:
        return (draw.permutation(UNITS) < TREATED * UNITS).astype(np.intp)

    def expose(z: np.ndarray) -> np.ndarray:
        return np.where(z == 1, 2, (z[neighbours].sum(axis=1) > 0).astype(np.intp))

    exposures = Exposures.replay(assign, expose, names=NAMES, draws=2_000, seed=1)
    base = rng.normal(size=UNITS)

    def one() -> object:
        code = expose(assign(rng))
        y = base + spill * (code > 0) + 2 * (code == 2)
        return exposure_effect(exposures, y, code, exposure="neighbour only", reference="nothing", outcome="y")

    return Draws.of([one() for _ in range(sets)], spill)  # ty: ignore[invalid-argument-type]


def cells() -> list[Cell]:
    """Clusters: 93% or more (few clusters). Exposure: the variance is conservative by construction, no upper bar."""
    family = "spillover"
    return [
        *(
            Cell(family, f"{effect}, 40 clusters of 10", partial(_two_stage, effect, 40, (10,), "clusters"))
            for effect in TRUTHS
        ),
        *(
            Cell(
                family,
                f"{effect}, {clusters} clusters of 4 to 30, by {by}",
                partial(_two_stage, effect, clusters, (4, 10, 30), by),
                band=(0.93, 0.98),
                honest=clusters > 20,  # an error from 10 clusters in an arm is itself off by a sixth
            )
            for effect in ("direct", "spillover")
            for clusters, by in ((20, "clusters"), (20, "units"), (40, "units"))
        ),
        *(
            Cell(
                family,
                f"exposure on a ring of 200, spillover {spill:g}",
                partial(_ring, spill),
                band=(0.93, 1.0),
                honest=False,
            )
            for spill in (1.0, 0.0)
        ),
    ]
