"""Randomised units whose effect rises with a known rank: every score of a model that knows it has a closed form."""

import numpy as np

MEAN = 0.1


def units(seed, n, share=0.5, slope=0.3, binary=True):
    """Rank u, outcome and arm. The effect is 0.1 + slope (u - 1/2), the level rises with u too.

    Ranked by u: g(x) = 0.1 x + slope x (1 - x) / 2, Qini slope / 12, uplift at q 0.1 + slope (1 - q) / 2,
    TOC slope (1 - x) / 2, AUTOC slope / 4.
    """
    rng = np.random.default_rng(seed)
    u, d = rng.random(n), rng.permutation(n) < share * n
    effect = MEAN + slope * (u - 0.5)
    if binary:
        return u, (rng.random(n) < 0.05 + 0.3 * u + d * (effect + 0.05)).astype(float) - 0.05 * d, d
    return u, 2 + 2 * u + d * effect + rng.normal(size=n) * (1 + u), d


def scores(seed, n, slope=0.3):
    """Rank u and a doubly robust score whose mean given u is 0.1 + slope (u - 1/2), of unequal spread."""
    rng = np.random.default_rng(seed)
    u = rng.random(n)
    return u, MEAN + slope * (u - 0.5) + (0.5 + u) * rng.normal(size=n)
