"""Could every unit have got every exposure that is compared?"""

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.diagnostics.grading import below, diagnostic
from causal_assets.types import Diagnostic

# Below one in a hundred a unit stands for more than a hundred others.
REVIEW_PROBABILITY = 0.01


def exposure_positivity(probability: ArrayLike, names: tuple[str, ...]) -> Diagnostic:
    """Smallest probability that some unit had to get one of the exposures compared; ``probability`` (exposures, n).

    Zero is FAIL: the mean over all units is not identified. Below 1% the weights of a few units decide: REVIEW.

    Raises:
        ValueError: probabilities outside [0, 1], or another number of names than rows.
    """
    chance = np.atleast_2d(np.asarray(probability, dtype=np.float64))
    if len(chance) != len(names) or chance.size == 0:
        raise ValueError(f"probability: expected shape ({len(names)}, n), got {chance.shape}")
    if not ((chance >= 0) & (chance <= 1)).all():
        raise ValueError(f"probability: expected 0 to 1, got {chance.min()} to {chance.max()}")
    rarest = int(chance.min(axis=1).argmin())
    smallest = float(chance.min())
    impossible, rare = int((chance[rarest] == 0).sum()), int((chance[rarest] < REVIEW_PROBABILITY).sum())
    return diagnostic(
        "exposure_positivity",
        below(smallest, review=REVIEW_PROBABILITY, fail=np.nextafter(0, 1)),
        smallest,
        f"{names[rarest]!r} is the rarest exposure: impossible for {impossible} of {chance.shape[1]} units and below "
        f"{REVIEW_PROBABILITY:.0%} for {rare}.",
        "Restrict the population to units that can get both exposures, or merge exposures into coarser ones.",
    )
