"""Treatment that reaches the untreated: cluster saturation designs, and exposure to treated neighbours."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.inference import Floats, estimate
from causal_assets.estimators.joint import clustered_means, satterthwaite
from causal_assets.types import Estimate

Weigh = Literal["clusters", "units"]
Codes = NDArray[np.int16]

# Rows of one cluster: untreated, treated, everybody.
UNTREATED, TREATED, ALL = range(3)


@dataclass(frozen=True, eq=False)
class Saturations:
    """A two-stage experiment, one row per cluster: its ``saturation`` (G,), and sums and counts (G, 3) of its units.

    The columns of ``sums`` (outcome) and ``counts`` are untreated, treated and all units. ``saturation`` is the share
    of units that the first stage assigned the cluster to treat; the second stage drew them within the cluster.
    """

    saturation: Floats
    sums: Floats
    counts: Floats

    @classmethod
    def of(cls, y: ArrayLike, d: ArrayLike, cluster: ArrayLike, saturation: ArrayLike) -> Self:
        """From one row per unit (n,); as a grouped query one pass, memory clusters.

        Raises:
            ValueError: lengths that differ, NaN or infinite outcomes, a treatment that is not 0 or 1, a saturation
                outside [0, 1], a cluster with two saturations, or treated units in a cluster of saturation 0 (or the
                reverse).
        """
        outcome, dose = np.asarray(y, dtype=np.float64), np.asarray(d)
        labels, code = np.unique(np.asarray(cluster), return_inverse=True)
        given = np.asarray(saturation, dtype=np.float64)
        if not outcome.shape == dose.shape == code.shape == given.shape:
            shapes = [a.shape for a in (outcome, dose, code, given)]
            raise ValueError(f"y, d, cluster, saturation: shapes must agree, got {shapes}")
        if not np.isfinite(outcome).all():
            raise ValueError(f"y: {int((~np.isfinite(outcome)).sum())} outcomes are NaN or infinite")
        if not np.isin(dose, (0, 1)).all():
            raise ValueError(f"d: treatment must be 0 or 1, got {np.unique(dose).tolist()[:5]}")
        if not ((given >= 0) & (given <= 1)).all():
            raise ValueError(f"saturation: expected shares from 0 to 1, got {np.unique(given).tolist()[:5]}")
        of_cluster = np.zeros(labels.size)
        of_cluster[code] = given
        if (two := np.unique(code[of_cluster[code] != given])).size:
            raise ValueError(f"saturation: clusters {labels[two].tolist()[:5]} have more than one")
        treated = dose.astype(np.float64)
        if ((given == 0) & (treated == 1)).any() or ((given == 1) & (treated == 0)).any():
            raise ValueError("d: treated units in clusters of saturation 0, or untreated ones where it is 1")
        arms = np.stack([1 - treated, treated, np.ones_like(treated)])
        counts, sums = (
            np.stack([np.bincount(code, weights=row) for row in rows], axis=1).astype(np.float64)
            for rows in (arms, arms * outcome)
        )
        return cls(of_cluster, sums, counts)


@dataclass(frozen=True)
class _Saturated:
    """Means (3,) at one saturation, their covariance (3, 3), degrees of freedom and units."""

    mean: Floats
    cov: Floats
    df: float
    units: Floats


def _at(clusters: Saturations, saturation: float, weigh: Weigh, pilot: float) -> _Saturated:
    chosen = clusters.saturation == saturation
    counts = clusters.counts[chosen]
    if not chosen.any():
        raise ValueError(f"saturation: no cluster at {saturation}, got {np.unique(clusters.saturation).tolist()}")
    # An empty arm is excluded from this saturation as a whole, never from single clusters: which lack one is chance.
    present = counts.sum(axis=0) > 0
    if (counts[:, present] == 0).any():
        raise ValueError(
            f"cluster: {int((counts[:, present] == 0).any(axis=1).sum())} clusters at saturation {saturation} have no "
            "treated or no untreated unit; a direct or spillover mean there is undefined"
        )
    sums = clusters.sums[chosen][:, present] - pilot * counts[:, present]
    sizes = counts[:, present]
    if weigh == "clusters":
        sums, sizes = sums / sizes, np.ones_like(sizes)
    found, (cov, df) = clustered_means(sums, sizes)
    mean, full = np.zeros(3), np.zeros((3, 3))
    mean[present], full[np.ix_(present, present)] = found, cov
    return _Saturated(mean, full, df, counts.sum(axis=0))


def saturation_effects(
    clusters: Saturations,
    *,
    saturation: float,
    reference: float = 0.0,
    outcome: str,
    weigh: Weigh = "clusters",
    level: float = 0.95,
) -> tuple[Estimate, ...]:
    """Direct, spillover, total and overall effect of saturation ``saturation`` against ``reference``.

    Direct: treated minus untreated within clusters at ``saturation`` (left out where all or none are treated).
    Spillover: untreated there minus untreated at the reference (left out where all are treated). Total: treated there
    minus untreated at the reference; it is direct plus spillover. Overall: all units there minus all at the reference,
    the effect of the policy. ``weigh="clusters"`` gives each cluster the same weight (Hudgens & Halloran), ``"units"``
    each unit (Baird et al.); they differ where the effect goes with the cluster's size. Interference must stay
    within clusters. Errors come from whole clusters (jackknife), tests are t with Welch-Satterthwaite degrees of
    freedom.

    Sources: Hudgens & Halloran (2008), Toward causal inference with interference, JASA 103(482); Baird, Bohren,
    McIntosh & Ozler (2018), Optimal design of experiments in the presence of interference, REStat 100(5).

    Raises:
        ValueError: a saturation without clusters, fewer than 5 clusters at either, a cluster without treated or
            untreated units where others have them, no untreated unit at the reference, or an outcome without variance.
    """
    if weigh not in get_args(Weigh):
        raise ValueError(f"weigh: expected one of {get_args(Weigh)}, got {weigh!r}")
    if saturation == reference:
        raise ValueError(f"reference: must differ from saturation, got {reference} twice")
    pilot = float(clusters.sums[:, ALL].sum() / clusters.counts[:, ALL].sum())
    here, there = (_at(clusters, s, weigh, pilot) for s in (saturation, reference))
    if not there.units[UNTREATED]:
        raise ValueError(f"reference: no untreated unit at saturation {reference}; spillover has nothing to compare to")
    wanted = (
        ("direct effect", TREATED, UNTREATED, here),
        ("spillover on the untreated", UNTREATED, UNTREATED, there),
        ("total effect", TREATED, UNTREATED, there),
        ("overall effect", ALL, ALL, there),
    )
    estimates = []
    for estimand, arm, other, base in wanted:
        if not here.units[arm] or not base.units[other]:
            continue
        to, of = np.eye(3)[arm], np.eye(3)[other]
        if base is here:  # both means of one cluster move together
            sources = [(here, np.stack([of, to - of]))]
        else:
            sources = [(here, np.stack([0 * to, to])), (base, np.stack([of, -of]))]
        parts = [(rows @ one.cov @ rows.T, one.df) for one, rows in sources]
        cov = np.sum([part for part, _ in parts], axis=0)
        estimates.append(
            estimate(
                outcome=outcome,
                estimand=f"{estimand} at saturation {saturation:g}",
                method="two-stage experiment, cluster jackknife",
                value=float(here.mean[arm] - base.mean[other]),
                control_mean=float(pilot + base.mean[other]),
                cov=cov,
                df=satterthwaite([float(part[1, 1]) for part, _ in parts], [df for _, df in parts]),
                level=level,
                n_treated=int(here.units[arm]),
                n_control=int(base.units[other]),
            )
        )
    return tuple(estimates)


@dataclass(frozen=True, eq=False)
class Exposures:
    """What each unit would be exposed to under R replays of the assignment: ``replays`` (R, n), codes from 0.

    ``names`` are the exposures, in order of their codes.
    """

    replays: Codes
    names: tuple[str, ...]

    @classmethod
    def replay(
        cls,
        assign: Callable[[np.random.Generator], NDArray[np.intp]],
        expose: Callable[[NDArray[np.intp]], NDArray[np.intp]],
        *,
        names: Sequence[str],
        draws: int,
        seed: int,
    ) -> Self:
        """Draw the assignment again ``draws`` times and map each to exposures; memory draws x units x 2 bytes.

        ``assign(rng)`` returns a treatment (n,) by the mechanism of the experiment, ``expose(z)`` the code (n,) of each
        unit's exposure, an index of ``names``.

        Raises:
            ValueError: fewer than 100 draws, or codes that are no index of ``names``.
        """
        if draws < 100:
            raise ValueError(f"draws: probabilities need at least 100 replays, got {draws}")
        rng = np.random.default_rng(seed)
        codes = np.stack([np.asarray(expose(assign(rng))) for _ in range(draws)])
        if codes.ndim != 2 or codes.min() < 0 or codes.max() >= len(names):
            raise ValueError(f"expose: expected codes (n,) from 0 to {len(names) - 1}, got shape {codes.shape}")
        return cls(codes.astype(np.int16), tuple(names))

    def probability(self, exposure: str) -> Floats:
        """Probability (n,) of each unit to get ``exposure``."""
        return (self.replays == self.code(exposure)).mean(axis=0)

    def code(self, exposure: str) -> int:
        """Code of an exposure.

        Raises:
            ValueError: an unknown exposure.
        """
        if exposure not in self.names:
            raise ValueError(f"exposure: expected one of {self.names}, got {exposure!r}")
        return self.names.index(exposure)


def _together(draws: Codes, first: int, units: NDArray[np.intp], second: int) -> Floats:
    """Probability (a, n) that ``units`` get ``first`` while each unit of all gets ``second``."""
    one, two = (draws[:, units] == first).astype(np.float32), (draws == second).astype(np.float32)
    return (one.T @ two).astype(np.float64) / len(draws)  # counts below 2^24 are exact


def _covariance(joint: Floats, first: Floats, second: Floats, one: Floats, two: Floats) -> float:
    """Horvitz-Thompson covariance of two weighted sums from the pairs that can occur together.

    ``joint`` (a, b) are the pairs' probabilities, ``first`` (a,) and ``second`` (b,) the units' own, ``one`` and
    ``two`` what each adds to its sum.
    """
    together = np.where(joint > 0, joint, 1.0)
    return float(one @ np.where(joint > 0, (joint - np.outer(first, second)) / together, 0.0) @ two)


def exposure_effect(
    exposures: Exposures,
    y: ArrayLike,
    observed: ArrayLike,
    *,
    exposure: str,
    reference: str,
    outcome: str,
    level: float = 0.95,
) -> Estimate:
    """Mean outcome of all n units under ``exposure`` minus under ``reference``, whatever network carries the treatment.

    ``y`` (n,) outcomes, ``observed`` (n,) exposure codes of the actual assignment. Hajek means weighted by the inverse
    of the replayed probabilities. The variance, of linearised residuals, is conservative: pairs of exposures that never
    occur together, and each unit's own two potential outcomes, are bounded, not estimated. Normal test. Memory is
    n x (n + replays), time n^2 x replays: thousands of units, not millions.

    Source: Aronow & Samii (2017), Estimating average causal effects under general interference, Ann. Appl. Stat. 11(4),
    eq. 6-11 and sec. 5 (Hajek).

    Raises:
        ValueError: lengths that differ, NaN or infinite outcomes, an unknown or repeated exposure, an exposure that is
            impossible for some unit (the mean over all units is then not identified: restrict the population to units
            that can get both), or one that fewer than 2 units got.
    """
    target, codes = np.asarray(y, dtype=np.float64), np.asarray(observed)
    n = exposures.replays.shape[1]
    if target.shape != (n,) or codes.shape != (n,):
        raise ValueError(f"y, observed: expected shape ({n},), got {target.shape} and {codes.shape}")
    if not np.isfinite(target).all():
        raise ValueError(f"y: {int((~np.isfinite(target)).sum())} outcomes are NaN or infinite")
    if exposure == reference:
        raise ValueError(f"reference: must differ from exposure, got {exposure!r} twice")
    draws = np.vstack([exposures.replays, codes]).astype(np.int16)  # the actual assignment is a draw like the others
    pilot = target.mean()
    means, sides = [], []
    for name in (reference, exposure):
        code = exposures.code(name)
        if impossible := int((exposures.probability(name) == 0).sum()):
            raise ValueError(
                f"{name}: impossible for {impossible} of {n} units under this assignment, so its mean over all is "
                "not identified; restrict the population to units that can get both exposures"
            )
        units = np.flatnonzero(codes == code)
        if units.size < 2:
            raise ValueError(f"{name}: at least 2 units must have got it, got {units.size}")
        chance = (draws == code).mean(axis=0)[units]
        mean = float(((target[units] - pilot) / chance).sum() / (1 / chance).sum())
        means.append(mean)
        sides.append((code, units, chance, (target[units] - pilot - mean) / chance))
    own, bound = [], []
    for (code, units, chance, part), (other, *_) in zip(sides, sides[::-1], strict=True):
        joint = _together(draws, code, units, code)
        never = (joint == 0).sum(axis=1)
        own.append(_covariance(joint[:, units], chance, chance, part, part) + float(never @ (chance * part**2)))
        bound.append(float((_together(draws, code, units, other) == 0).sum(axis=1) @ (chance * part**2)) / 2)
    (code, units, chance, part), (other, others, odds, rest) = sides
    joint = _together(draws, code, units, other)[:, others]
    both = _covariance(joint, chance, odds, part, rest) - sum(bound)
    cov = np.array([[own[0], both - own[0]], [both - own[0], own[0] + own[1] - 2 * both]])
    return estimate(
        outcome=outcome,
        estimand=f"{exposure} against {reference}, all units",
        method="exposure mapping, Hajek",
        value=means[1] - means[0],
        control_mean=float(pilot + means[0]),
        cov=cov / n**2,
        df=np.inf,
        level=level,
        n_treated=others.size,
        n_control=units.size,
    )
