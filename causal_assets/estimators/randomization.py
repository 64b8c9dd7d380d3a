"""Inference from nothing but the assignment: replay it and see where the observed difference falls."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from math import inf, lgamma, log, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.inference import Floats
from causal_assets.types import Estimate

Mask = NDArray[np.bool_]
Assign = Callable[[np.random.Generator, int], ArrayLike]

# Entries (assignments x units) held at a time; all assignments are tried where they fit in.
CHUNK = 4_000_000
# Statistics closer than this, relative to their size, are ties and count as extreme.
TIE = 1e-9
# Standard errors below this share of the largest outcome are rounding.
ROUNDING = 1e-14
# Relative to the distance of an end of the set from the estimate.
PRECISION = 1e-10
# First points at which the test is inverted, over the stretch where it may not reject.
GRID = 129


@dataclass(frozen=True)
class _Stratum:
    """Units (g,) of one stratum in the order of their sorted labels."""

    treated: Mask
    size: Floats  # rows of each unit
    total: Floats  # sum of the outcome over its rows
    share: float  # of all rows

    @property
    def products(self) -> Floats:
        """(g, 8): N, S, SS, SN, NN, dN, dSN, dNN of size N, total S and observed arm d."""
        n, s, d = self.size, self.total, self.treated
        return np.stack([n, s, s * s, s * n, n * n, d * n, d * s * n, d * n * n], axis=1)

    @property
    def fewest(self) -> int:
        """Units of the smaller arm."""
        return int(min(self.treated.sum(), (~self.treated).sum()))


@dataclass(frozen=True)
class _Statistic:
    """For each assignment (b,): the squared difference over its variance if the effect were ``tau``.

    The difference is g0 - g1 tau, its variance v0 + v1 tau + v2 tau^2.
    """

    g0: Floats
    g1: Floats
    v0: Floats
    v1: Floats
    v2: Floats

    def gap(self, tau: Floats) -> Floats:
        """Squared difference (m, b) for effects ``tau`` (m, 1)."""
        return (self.g0 - self.g1 * tau) ** 2

    def variance(self, tau: Floats) -> Floats:
        """Variance (m, b) for effects ``tau`` (m, 1)."""
        return np.maximum(self.v0 + tau * (self.v1 + self.v2 * tau), 0.0)

    @classmethod
    def stack(cls, parts: list["_Statistic"]) -> "_Statistic":
        return cls(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("g0", "g1", "v0", "v1", "v2")))


def randomization_test(
    y: ArrayLike,
    d: ArrayLike,
    unit: ArrayLike,
    *,
    outcome: str,
    stratum: ArrayLike | None = None,
    assign: Assign | None = None,
    draws: int = 9_999,
    seed: int,
    level: float = 0.95,
) -> Estimate:
    """The constant effect that cannot be rejected by replaying the assignment, exact at any sample size.

    ``y`` (n,) are outcomes, ``d`` (n,) is 0 or 1, ``unit`` (n,) labels what was assigned: rows of one unit (household,
    store, geo, block of time) go together, and units are permuted within ``stratum`` (n,) with the observed number
    treated in each: the complete, clustered and stratified designs. Another mechanism is given by ``assign``, which
    returns (draws, units) arms, columns in the order of the sorted unit labels, without ``stratum``.

    All assignments are tried where assignments x units are at most 4 million, and p = share at least as extreme; else
    ``draws`` are sampled and p = (1 + b) / (1 + draws). The statistic is the difference in means of rows over its
    standard error by unit: strata weighted by their rows, with variance within strata where each has two units in
    either arm, else between strata (matched pairs); not studentised where a single stratum has an arm of one.
    Studentised, the test is also right in large samples for the mean of effects that differ.

    The set holds every effect tau for which the same draws do not reject "y - tau d is the outcome without treatment".
    It may have several pieces, and is the whole line where the smallest p-value of the design, named in the method, is
    above 1 - level. p is a step function of tau: its crossings are bracketed on a grid and bisected. There is no
    relative interval, which would be another hypothesis.

    Memory O(draws + 4M), time O(draws x units). Permuting observed arms keeps the draws when arms are swapped.

    Sources: Fisher (1935); Rosenbaum (2002), Observational Studies, 2.4; Wu & Ding (2021), JASA 116(536); variance of
    pairs: Imai (2008), Stat. Med. 27(24); Fogarty (2018), JRSS B 80(5).

    Raises:
        ValueError: lengths that differ, NaN or infinite outcomes, arms other than 0 and 1, a unit in both arms or in
            two strata, a stratum with one arm, a level outside (0, 1), too few draws, or no variance.
    """
    strata, pilot = _strata(y, d, unit, stratum)
    if not 0.0 < level < 1.0:
        raise ValueError(f"level: must lie strictly between 0 and 1, got {level}")
    if draws < 1:
        raise ValueError(f"draws: needs at least 1, got {draws}")
    if assign is not None and stratum is not None:
        raise ValueError("assign: a mechanism of its own replays its strata itself; give one of the two")
    exact = assign is None and _log_assignments(strata) <= log(CHUNK / sum(s.treated.size for s in strata))
    means = np.array([[_mean(s, s.treated), _mean(s, ~s.treated)] for s in strata])
    treated_mean, control_mean = np.array([s.share for s in strata]) @ means
    value = float(treated_mean - control_mean)
    strata = [_residual(s, value) for s in strata]
    own = _statistic(strata, [s.treated[None] for s in strata])
    smallest = ROUNDING * float(np.abs(np.asarray(y, dtype=np.float64)).max())
    spread = max(float(np.abs(s.total / s.size).max()) for s in strata)
    if not (sqrt(own.v0[0]) > smallest and spread > smallest):
        raise ValueError(f"{outcome}: zero variance in both arms, nothing can be tested")
    if exact:
        batches = _every(strata)
    elif assign is None:
        batches = _permuted(strata, draws, seed)
    else:
        batches = _assigned(assign, strata[0].treated.size, draws, seed)
    test = _Test(float(own.v0[0]), _Statistic.stack([_statistic(strata, arms) for arms in batches]), sampled=not exact)
    pieces = [(value + low, value + high) for low, high in _not_rejected(test, 1 - level, null=-value)]
    trials = f"all {test.replayed.g0.size:,} assignments" if exact else f"{draws:,} draws"
    n_treated = sum(int(s.treated.sum()) for s in strata)
    return Estimate(
        outcome=outcome,
        estimand="ATE",
        method=f"randomisation test, {trials}, smallest p {test.floor:.2g}",
        value=value,
        std_error=sqrt(own.v0[0]) if _studentised(strata) else None,
        low=pieces[0][0],
        high=pieces[-1][1],
        p_value=test.p_value(-value),
        level=level,
        n_treated=n_treated,
        n_control=sum(s.treated.size for s in strata) - n_treated,
        control_mean=pilot + float(control_mean),
        pieces=tuple(pieces) if len(pieces) > 1 else (),
    )


def _strata(y: ArrayLike, d: ArrayLike, unit: ArrayLike, stratum: ArrayLike | None) -> tuple[list[_Stratum], float]:
    """Sums by unit, grouped by stratum, and the pilot mean taken off every outcome to keep its digits."""
    outcomes, arms, units = np.asarray(y, dtype=np.float64), np.asarray(d, dtype=np.float64), np.asarray(unit)
    groups = np.zeros(outcomes.shape, dtype=np.intp) if stratum is None else np.asarray(stratum)
    if outcomes.ndim != 1 or not outcomes.shape == arms.shape == units.shape == groups.shape:
        shapes = [a.shape for a in (outcomes, arms, units, groups)]
        raise ValueError(f"y, d, unit, stratum: expected one length, got {shapes}")
    if not np.isfinite(outcomes).all():
        raise ValueError(f"y: {int((~np.isfinite(outcomes)).sum())} outcomes are NaN or infinite")
    if set(np.unique(arms)) != {0.0, 1.0}:
        raise ValueError(f"d: expected both 0 and 1 and nothing else, got {np.unique(arms).tolist()[:5]}")
    labels, first, code = np.unique(units, return_index=True, return_inverse=True)
    size = np.bincount(code).astype(np.float64)
    treated = arms[first] == 1
    if (mixed := labels[np.bincount(code, weights=arms) != size * treated]).size:
        raise ValueError(f"d: {mixed.size} units are both treated and untreated, the first is {mixed[0]}")
    group = groups[first]
    if (group[code] != groups).any():
        raise ValueError(f"stratum: {np.unique(code[group[code] != groups]).size} units are in more than one stratum")
    pilot = float(outcomes.mean())
    total = np.bincount(code, weights=outcomes - pilot)
    found = []
    for name in np.unique(group):
        inside = group == name
        if treated[inside].all() or not treated[inside].any():
            raise ValueError(f"stratum: {name} holds only one arm")
        share = float(size[inside].sum() / size.sum())
        found.append(_Stratum(treated[inside], size[inside], total[inside], share))
    return found, pilot


def _residual(stratum: _Stratum, effect: float) -> _Stratum:
    """The stratum without ``effect`` and centred, which no statistic sees: noise that keeps its digits."""
    total = stratum.total - effect * stratum.treated * stratum.size
    return replace(stratum, total=total - stratum.size * (total.sum() / stratum.size.sum()))


def _log_assignments(strata: list[_Stratum]) -> float:
    """Logarithm of the number of assignments; the number itself may not fit in memory."""
    sizes = ((s.treated.size, int(s.treated.sum())) for s in strata)
    return sum(lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1) for n, k in sizes)


def _mean(stratum: _Stratum, arm: Mask) -> float:
    return float(stratum.total[arm].sum() / stratum.size[arm].sum())


def _studentised(strata: list[_Stratum]) -> bool:
    return len(strata) > 1 or strata[0].fewest > 1


def _every(strata: list[_Stratum]) -> Iterator[list[Mask]]:
    """All assignments, in one batch."""
    options = []
    for s in strata:
        chosen = np.array(list(combinations(range(s.treated.size), int(s.treated.sum()))))
        arms = np.zeros((len(chosen), s.treated.size), dtype=np.bool_)
        np.put_along_axis(arms, chosen, True, axis=1)
        options.append(arms)
    index = np.indices([len(arms) for arms in options]).reshape(len(options), -1)
    yield [arms[i] for arms, i in zip(options, index, strict=True)]


def _batches(draws: int, units: int) -> Iterator[int]:
    most = max(CHUNK // units, 1)
    yield from (min(most, draws - done) for done in range(0, draws, most))


def _permuted(strata: list[_Stratum], draws: int, seed: int) -> Iterator[list[Mask]]:
    rng = np.random.default_rng(seed)
    for batch in _batches(draws, sum(s.treated.size for s in strata)):
        yield [rng.permuted(np.tile(s.treated, (batch, 1)), axis=1) for s in strata]


def _assigned(assign: Assign, units: int, draws: int, seed: int) -> Iterator[list[Mask]]:
    rng = np.random.default_rng(seed)
    for batch in _batches(draws, units):
        arms = np.asarray(assign(rng, batch))
        if arms.shape != (batch, units) or not np.isin(arms, (0, 1)).all():
            raise ValueError(f"assign: expected 0 and 1 of shape {(batch, units)}, got {arms.dtype} of {arms.shape}")
        treated = arms.sum(axis=1)
        if min(treated.min(), units - treated.max()) < 2:
            raise ValueError("assign: every draw needs at least 2 units in each arm")
        yield [arms.astype(np.bool_)]


def _statistic(strata: list[_Stratum], arms: list[Mask]) -> _Statistic:
    """The statistic under assignments ``arms``, one (b, g) per stratum."""
    gaps, variances = [], []
    for s, drawn in zip(strata, arms, strict=True):
        products = s.products
        treated = drawn.astype(np.float64) @ products
        one, m1, v1 = _arm(treated, drawn.sum(axis=1))
        zero, m0, v0 = _arm(products.sum(axis=0) - treated, (~drawn).sum(axis=1))
        gaps.append(np.stack([one - zero, m1 - m0]))
        variances.append(v1 + v0)
    share, k = np.array([s.share for s in strata])[:, None, None], len(strata)
    gap = np.stack(gaps)
    g = (share * gap).sum(axis=0)
    if min(s.fewest for s in strata) > 1:
        v = (share**2 * np.stack(variances)).sum(axis=0)
    elif k > 1:
        o0, o1 = np.moveaxis(share * (gap - g) * sqrt(k / (k - 1)), 1, 0)
        v = np.stack([o0**2, -2 * o0 * o1, o1**2]).sum(axis=1)
    else:
        v = np.stack([np.ones_like(g[0]), np.zeros_like(g[0]), np.zeros_like(g[0])])
    return _Statistic(*g, *v)


def _arm(sums: Floats, units: NDArray[np.intp]) -> tuple[Floats, Floats, Floats]:
    """Mean and variance of the mean of one arm as polynomials in tau: m - tau q, and (3, b) coefficients."""
    n, s, ss, sn, nn, dn, dsn, dnn = sums.T
    m, q = s / n, dn / n
    with np.errstate(divide="ignore", invalid="ignore"):  # an arm of one has no variance, and none is used
        scale = units / (units - 1) / n**2
        v0 = ss - 2 * m * sn + m**2 * nn
        v1 = -2 * (dsn - m * dnn - q * sn + m * q * nn)
        v2 = dnn - 2 * q * dnn + q**2 * nn
        return m, q, scale * np.stack([v0, v1, v2])


@dataclass(frozen=True)
class _Test:
    """The test of one effect tau, as a distance from the estimate: extreme draws are counted."""

    variance: float  # of the observed difference, whatever tau
    replayed: _Statistic
    sampled: bool  # then the observed assignment counts as one more draw

    @cached_property
    def _twin(self) -> Mask:
        """Draws with the observed arms, or all of them swapped: as extreme as observed for every tau."""
        return np.abs(self.replayed.g1) > 1 - TIE

    @property
    def floor(self) -> float:
        """The smallest p-value there is: that of an effect far away."""
        return float((self._twin.sum() + self.sampled) / (self.replayed.g0.size + self.sampled))

    def p_values(self, tau: Floats) -> Floats:
        """Share of assignments with a statistic at least as extreme as the observed, for effects (m,)."""
        effect = tau[:, None]
        ours, theirs = effect**2 * self.replayed.variance(effect), self.replayed.gap(effect) * self.variance
        extreme = (theirs >= ours * (1 - TIE)) | self._twin
        return (extreme.sum(axis=1) + self.sampled) / (self.replayed.g0.size + self.sampled)

    def p_value(self, tau: float) -> float:
        """The same for one effect."""
        return float(self.p_values(np.array([tau]))[0])


def _not_rejected(test: _Test, alpha: float, null: float) -> list[tuple[float, float]]:
    """Pieces of {tau: p(tau) > alpha}; the estimate itself (0) is in, and ``null`` is on the grid."""
    if test.floor > alpha:
        return [(-inf, inf)]
    radius = 2 * sqrt(float(np.mean(test.replayed.g0**2)))
    while max(map(test.p_value, (-2 * radius, -radius, radius, 2 * radius))) > alpha:
        radius *= 2
    far = 2 * max(2 * radius, abs(null))
    while max(test.p_value(-far), test.p_value(far)) > alpha:
        far *= 2
    grid = np.union1d(np.linspace(-2 * radius, 2 * radius, GRID), [-far, 0.0, null, far])
    rows = max(CHUNK // test.replayed.g0.size, 1)
    kept = np.concatenate([test.p_values(grid[i : i + rows]) > alpha for i in range(0, grid.size, rows)])
    edges = np.flatnonzero(kept[1:] != kept[:-1])
    ends = [_edge(test, alpha, *(grid[[i, i + 1]] if kept[i] else grid[[i + 1, i]])) for i in edges]
    return list(zip(ends[::2], ends[1::2], strict=True))


def _edge(test: _Test, alpha: float, inside: float, outside: float) -> float:
    """The last tau on the way from ``inside`` to ``outside`` that is not rejected."""
    while abs(outside - inside) > PRECISION * max(abs(inside), abs(outside)):
        middle = (inside + outside) / 2
        if test.p_value(middle) > alpha:
            inside = middle
        else:
            outside = middle
    return float(inside)
