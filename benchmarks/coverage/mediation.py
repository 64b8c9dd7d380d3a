"""Indirect, direct and total effects of every pair of models, and the corner where both paths are absent."""

from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import expit, ndtr

from benchmarks.coverage import Cell, Draws, Floats
from causal_assets.estimators.mediation import EFFECTS, Link, effects, fit

N = 500
CLUSTERS = 50
# 0.05 / 2 of a thousand is a whole number; where rows are integrated over, a draw costs a pass.
DRAWS = {True: 999, False: 399}
OF_X = 0.4
MEAN: dict[str, Callable[[Floats], Floats]] = {"linear": lambda i: i, "probit": ndtr, "logit": expit}
PATHS = {"both paths": (0.5, 0.4, 0.3), "no path": (0.0, 0.0, 0.0), "no effect of the mediator": (0.5, 0.0, 0.0)}


def _drawn(rng: np.random.Generator, link: Link, index: Floats) -> Floats:
    if link == "linear":
        return index + rng.normal(size=index.size)
    return (rng.random(index.size) < MEAN[link](index)).astype(np.float64)


def _truth(mediator: Link, outcome: Link, paths: tuple[float, float, float], effect: str) -> float:
    """By quadrature over the covariate and a normal mediator's error."""
    a, b, both = paths
    nodes, mass = hermegauss(60)
    mass = mass / mass.sum()
    x, e = nodes[:, None], nodes[None, :]
    cells = []
    for t, s in product((0, 1), (0, 1)):
        index, rest, slope = 0.1 + a * s + OF_X * x, -0.2 + 0.3 * t + OF_X * x, b + both * t
        if mediator == "linear":
            inner = MEAN[outcome](rest + slope * (index + e)) @ mass
        else:
            share = MEAN[mediator](index)
            inner = ((1 - share) * MEAN[outcome](rest) + share * MEAN[outcome](rest + slope))[:, 0]
        cells.append(inner @ mass)
    return float(np.dot(cells, EFFECTS[effect][1]))


def _simulate(
    mediator: Link, outcome: Link, paths: str, effect: str, clustered: bool, rng: np.random.Generator, sets: int
) -> Draws:
    a, b, both = PATHS[paths]
    truth = _truth(mediator, outcome, PATHS[paths], effect)
    found = []
    for seed in range(sets):
        if clustered:  # treated as a whole, with a shared error and a shared covariate
            label = np.arange(N) % CLUSTERS
            t = (rng.permutation(CLUSTERS) % 2)[label]
            x = rng.normal(size=CLUSTERS)[label]
            shared = 0.5 * rng.normal(size=(2, CLUSTERS))[:, label]
        else:
            label, t, x, shared = None, rng.permutation(N) % 2, rng.normal(size=N), np.zeros((2, N))
        m = _drawn(rng, mediator, 0.1 + a * t + OF_X * x + shared[0])
        y = _drawn(rng, outcome, -0.2 + 0.3 * t + (b + both * t) * m + OF_X * x + shared[1])
        models = fit(t, m, y, x[:, None], mediator_link=mediator, outcome_link=outcome, cluster=label)
        draws = DRAWS[mediator == outcome == "linear"]
        found.append(getattr(effects(models, outcome="y", seed=seed, draws=draws), effect))
    return Draws.of(found, truth)


def cells() -> list[Cell]:
    """Products of estimates may cover more than promised, near no path far more."""

    def cell(
        mediator: Link, outcome: Link, paths: str, effect: str, band: tuple[float, float], clustered: bool = False
    ) -> Cell:
        name = f"{EFFECTS[effect][0]}, {mediator} mediator, {outcome} outcome, {paths}"
        return Cell(
            "mediation",
            name + (f", {CLUSTERS} clusters" if clustered else ""),
            partial(_simulate, mediator, outcome, paths, effect, clustered),
            band=band,
            # With no path the product of two normals around zero has an error that draws around estimates overstate.
            honest=paths != "no path",
        )

    exact, conservative, few = (0.94, 0.96), (0.94, 1.0), (0.93, 0.97)
    return [
        *(cell("linear", "linear", "both paths", effect, exact) for effect in ("indirect", "direct", "total")),
        *(cell("linear", "linear", "both paths", f"indirect_{arm}", exact) for arm in ("control", "treated")),
        cell("linear", "linear", "no path", "indirect", conservative),
        cell("linear", "linear", "no effect of the mediator", "indirect", conservative),
        cell("linear", "linear", "both paths", "indirect", few, clustered=True),
        cell("linear", "linear", "both paths", "direct", few, clustered=True),
        cell("linear", "probit", "both paths", "indirect", conservative),
        cell("probit", "linear", "both paths", "indirect", conservative),
        cell("logit", "logit", "both paths", "total", exact),
    ]
