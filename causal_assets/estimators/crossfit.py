"""What designs without randomisation share: arms and units that make sense, folds that keep a unit together."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.cluster_robust import require_clusters
from causal_assets.estimators.inference import Floats


def validated(
    d: ArrayLike, y: ArrayLike, unit: ArrayLike | None, *, crossing: bool = False
) -> tuple[NDArray[np.bool_], Floats, NDArray[np.intp]]:
    """Treatment (n,), outcomes (n, m), unit codes (n,) in the order of the sorted labels (None: a unit is a row).

    ``crossing`` allows a unit to be treated in one row and untreated in another, as in a sequence of trials.

    Raises:
        ValueError: lengths that differ, a treatment that is not 0 or 1, a NaN or infinite outcome, a unit in both arms.
    """
    given, outcomes = np.asarray(d), np.asarray(y, dtype=np.float64)
    codes = np.arange(len(given)) if unit is None else np.unique(np.asarray(unit), return_inverse=True)[1]
    outcomes = outcomes[:, None] if outcomes.ndim == 1 else outcomes
    if not len(given) == len(outcomes) == len(codes):
        raise ValueError(f"d, y, unit: lengths must agree, got {len(given)}, {len(outcomes)}, {len(codes)}")
    if not np.isin(given, (0, 1)).all():
        raise ValueError(f"d: treatment must be 0 or 1, got {np.unique(given).tolist()[:5]}")
    if not np.isfinite(outcomes).all():
        raise ValueError(f"y: {int((~np.isfinite(outcomes)).sum())} outcomes are NaN or infinite")
    treated = given.astype(bool)
    if unit is not None and not crossing:
        share = np.bincount(codes, weights=treated) / np.bincount(codes)
        if (mixed := (share > 0) & (share < 1)).any():
            raise ValueError(f"d: {int(mixed.sum())} units are both treated and untreated")
    return treated, outcomes, codes


def grouped(
    code: NDArray[np.intp], cluster: ArrayLike | None, treated: NDArray[np.bool_] | None = None
) -> NDArray[np.intp]:
    """Codes (n,) of what is independent: the units themselves, or the clusters given, each of which holds whole units.

    Raises:
        ValueError: lengths that differ, or a unit in several clusters.
        Refusal: fewer than five of them hold ``treated`` (n,), or untreated, rows.
    """
    if cluster is None:
        if treated is not None:
            require_clusters(*(np.unique(code[arm]).size for arm in (treated, ~treated)), what="units")
        return code
    group = np.unique(np.asarray(cluster), return_inverse=True)[1]
    if group.shape != code.shape:
        raise ValueError(f"cluster: expected one label per row ({len(code)}), got {len(group)}")
    home = group[np.unique(code, return_index=True)[1]][code]
    if (group != home).any():
        raise ValueError(f"cluster: {np.unique(code[group != home]).size} units are in more than one cluster")
    if treated is not None:
        require_clusters(*(np.unique(group[arm]).size for arm in (treated, ~treated)), what="clusters")
    return group


def matrix(x: ArrayLike, n: int) -> Floats:
    """Covariates (n, k).

    Raises:
        ValueError: another shape, or a NaN or infinite entry.
    """
    covariates = np.asarray(x, dtype=np.float64)
    if covariates.ndim != 2 or len(covariates) != n:
        raise ValueError(f"x: expected shape ({n}, k), got {covariates.shape}")
    if not np.isfinite(covariates).all():
        raise ValueError(f"x: columns {np.flatnonzero(~np.isfinite(covariates).all(axis=0)).tolist()} hold NaN or inf")
    return covariates


def splits(
    treated: NDArray[np.bool_], code: NDArray[np.intp], folds: int, repeats: int, seed: int
) -> Iterator[NDArray[np.intp]]:
    """One fold number per row and repeat; a unit stays in one fold, and each fold has its share of treated units.

    ``code`` may be of clusters that hold both arms; those are spread over the folds by their share of treated rows.

    Raises:
        ValueError: fewer units in an arm than folds, or fewer clusters that hold treated, or untreated, rows.
    """
    share = np.bincount(code, weights=treated) / np.bincount(code)
    arm = share == 1 if np.isin(share, (0.0, 1.0)).all() else share > np.median(share)
    fewest = int(min((share > 0).sum(), (share < 1).sum()))
    if fewest < folds:
        raise ValueError(f"folds: {folds} folds need as many units in each arm, the smaller arm has {fewest}")
    rng = np.random.default_rng(seed)
    for _ in range(repeats):
        draw = rng.random(arm.size)
        fold = np.empty(arm.size, dtype=np.intp)
        for stratum in (arm, ~arm):  # ranks of one shared draw, so that swapping the arms keeps the folds
            fold[stratum] = draw[stratum].argsort().argsort() % folds
        yield fold[code]


def standardized(x: Floats, x_new: Floats) -> tuple[Floats, Floats]:
    """Both in standard deviations from the mean of the first; a constant column becomes zero."""
    centre, spread = x.mean(axis=0), x.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    return (x - centre) / spread, (x_new - centre) / spread
