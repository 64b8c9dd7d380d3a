"""Do intervals cover at their stated rate? Planted data sets by the thousand; one module per family of methods.

A family is a module with a function ``cells() -> list[Cell]``. ``python -m benchmarks.coverage`` runs them all and
writes ``docs/coverage.md``.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from causal_assets.types import Estimate

Floats = NDArray[np.float64]

SETS = 2_000
LEVEL = 0.95
# A cell fails only if chance explains it in fewer than one of a thousand healthy cells.
REJECTED = 0.001
# Shares of one empirical standard deviation.
LARGEST_BIAS = 0.1
SE_RATIO = (0.93, 1.07)
# A method may refuse or warn in this share of healthy data sets.
MOST_REFUSED = 0.05


@dataclass(frozen=True)
class Draws:
    """Estimates of the data sets of one cell that were not refused, each of shape (sets,).

    ``truth`` may be one number or one per data set. ``std_error`` is None where the method has none. ``covered``
    replaces ``low <= truth <= high`` where the set is a union or the question is another (ever excluded, over looks).
    """

    value: Floats
    low: Floats
    high: Floats
    truth: Floats | float
    std_error: Floats | None = None
    covered: NDArray[np.bool_] | None = None
    refused: int = 0

    @classmethod
    def of(cls, estimates: Iterable[Estimate | None], truth: Floats | float) -> "Draws":
        """Draws of a list of estimates, None where the method refused; unions are counted piece by piece."""
        every = list(estimates)
        kept = [e for e in every if e is not None]
        truths = np.broadcast_to(np.asarray(truth, dtype=np.float64), len(every))
        planted = np.array([t for t, e in zip(truths, every, strict=True) if e is not None])
        errors = [e.std_error for e in kept]
        return cls(
            value=np.array([e.value for e in kept]),
            low=np.array([e.low for e in kept]),
            high=np.array([e.high for e in kept]),
            truth=planted,
            std_error=None if any(s is None for s in errors) else np.array(errors, dtype=np.float64),
            covered=np.array([e.covers(t) for e, t in zip(kept, planted, strict=True)]),
            refused=len(every) - len(kept),
        )


@dataclass(frozen=True)
class Cell:
    """One method on one planted world.

    ``band`` is the coverage that the method promises, [lowest, highest]; ``unbiased`` and ``honest`` say whether bias
    and the mean reported error are held to their bars (not for shrinkage, sets, or methods without an error).
    ``simulate(rng, sets)`` draws and estimates.
    """

    family: str
    name: str
    simulate: Callable[[np.random.Generator, int], Draws]
    band: tuple[float, float] = (0.94, 0.96)
    unbiased: bool = True
    honest: bool = True
    sets: int = SETS
