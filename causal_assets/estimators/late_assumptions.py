"""What an instrument's assumptions forbid that data can show: a push the wrong way, and densities that shrink."""

from collections.abc import Mapping
from dataclasses import replace
from math import inf, sqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.inference import Floats
from causal_assets.estimators.instruments import two_stage_least_squares
from causal_assets.estimators.joint import clustered_influence
from causal_assets.types import Estimate

# A part of the rows smaller than this says nothing about its own first stage.
FEWEST_ROWS = 100
# Parts of the outcome's range, each with as many rows.
BINS = 8


def first_stages(
    y: ArrayLike,
    d: ArrayLike,
    z: ArrayLike,
    parts: Mapping[str, NDArray[np.bool_]],
    *,
    treatment: str,
    x: ArrayLike | None = None,
    absorb: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
) -> dict[str, Estimate]:
    """The instrument's effect on the ``treatment`` in each of the ``parts`` (n,) of the rows.

    ``y``, ``d``, ``z`` (n,) and the options are those of ``two_stage_least_squares``. A part of fewer than 100 rows, or
    in which outcome, treatment or instrument do not vary, is left out.
    """
    found = {}
    for name, part in parts.items():
        if part.sum() < FEWEST_ROWS:
            continue
        own = (np.asarray(values)[part] for values in (y, d, z))
        controls = {"x": x, "absorb": absorb, "cluster": cluster}
        options: dict[str, Any] = {k: np.asarray(values)[part] for k, values in controls.items() if values is not None}
        try:
            fitted = two_stage_least_squares(*own, outcome=treatment, **options)
        except ValueError:
            continue
        if fitted.first_stage is not None:
            found[name] = replace(fitted.first_stage, outcome=treatment)
    return found


def shrinking_density(
    y: ArrayLike, d: ArrayLike, z: ArrayLike, *, cluster: ArrayLike | None = None, bins: int = BINS
) -> tuple[float, tuple[float, float]]:
    """P-value that the treated part of the outcome's density rises with the instrument, the untreated part falls.

    ``d``, ``z`` (n,) are 0 and 1. Where the instrument is random, moves the outcome through the treatment alone and
    nobody against the treatment, P(y in A, d = 1 | z = 1) is at least P(y in A, d = 1 | z = 0) for every set A, and the
    other way round for d = 0. Tried for ``bins`` parts of the range and both d, each by a one-sided z, p by Bonferroni:
    conservative. Also returns the part [low, high) that speaks most against it. Where rows of a ``cluster`` (n,) hang
    together the shares differ with CR2 errors, and t with Bell and McCaffrey's degrees of freedom takes z's place.

    Source: Kitagawa (2015), A test for instrument validity, Econometrica 83(5), prop. 1.1, with bins for intervals.

    Raises:
        ValueError: a treatment or an instrument other than 0 and 1, or that does not vary.
        Refusal: fewer than five clusters with either value of the instrument.
    """
    from scipy.special import stdtr

    outcome, dose, tool = (np.asarray(values, dtype=np.float64) for values in (y, d, z))
    for name, values in (("d", dose), ("z", tool)):
        if set(np.unique(values).tolist()) != {0.0, 1.0}:
            raise ValueError(f"{name}: expected 0 and 1, both of them, got {np.unique(values)[:5].tolist()}")
    edges = np.quantile(outcome, np.arange(1, bins) / bins)
    part = np.searchsorted(edges, outcome, side="right")
    n1, n0 = int(tool.sum()), int((1 - tool).sum())
    worst, where, df = -inf, 0, inf
    for own, sign in ((1.0, 1.0), (0.0, -1.0)):
        if cluster is not None:
            inside = (part[:, None] == np.arange(bins)) & (dose == own)[:, None]
            z_score, df = _falls_clustered(sign, inside.astype(np.float64), tool, cluster)
        else:
            counts = [np.bincount(part[(dose == own) & (tool == arm)], minlength=bins) for arm in (1.0, 0.0)]
            with_z, without = counts[0] / n1, counts[1] / n0
            z_score = _falls(sign * (with_z - without), with_z, without, n1, n0)
        if z_score.max() > worst:
            worst, where = float(z_score.max()), int(z_score.argmax())
    limits = [float(outcome.min()), *edges.tolist(), float(outcome.max())]
    return min(1.0, 2 * bins * float(stdtr(df, -worst))), (limits[where], limits[where + 1])


def _falls(rise: Floats, with_z: Floats, without: Floats, n1: int, n0: int) -> Floats:
    """How many errors each share falls where it may only rise; the error as if the shares were alike."""
    pooled = (n1 * with_z + n0 * without) / (n1 + n0)
    error = np.sqrt(pooled * (1 - pooled)) * sqrt(1 / n1 + 1 / n0)
    return np.where(error > 0, -rise / np.where(error > 0, error, 1.0), -np.inf)


def _falls_clustered(sign: float, inside: Floats, tool: Floats, cluster: ArrayLike) -> tuple[Floats, float]:
    """``_falls`` of the shares ``inside`` (n, bins) of 0 and 1, errors by cluster, and their degrees of freedom."""
    found = clustered_influence(inside, tool, cluster)
    error = np.sqrt((found.influence[:, inside.shape[1] :] ** 2).sum(axis=0))
    return np.where(error > 0, -sign * found.value / np.where(error > 0, error, 1.0), -inf), found.df
