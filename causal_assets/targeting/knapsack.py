"""The multiple-choice knapsack with several limits, solved by the prices of its limits.

With a price on each limit the best choice is the unit's own affair; the dual problem finds the prices, at most one per
treatment and two more. It is convex and piecewise linear, and every look at the units is a cut that bounds where its
minimum lies. Units that choose the same at all prices within these bounds are settled and not looked at again. The few
left over are a small linear programme: its vertex splits at most one unit per limit, and those get what still fits.

Limits are an array (d,), of money first if it is limited. What prices (d,) add to a unit's cost are ``fees @ prices``
(K + 1,): per money where costs differ between units, then per place of each treatment, which holds the money too where
they do not.

Sources: Sinha & Zoltners (1979), The multiple-choice knapsack problem, Operations Research 27(3); Everett (1963),
Operations Research 11(3), for the prices; Elzinga & Moore (1975), Mathematical Programming 8, for the cuts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from causal_assets.estimators.inference import Floats

Arms = NDArray[np.int16]
Index = NDArray[np.intp]
Counts = NDArray[np.int64]

# Rows in one step: temporary columns stay in the processor's cache.
CHUNK = 1 << 16
# Rows that the linear programme takes; its time grows with their square (2,000: 0.05 s, 20,000: 2 s).
PROGRAMME = 2_000
# Small programmes whose prices say where to look first, and how far off they may be.
SAMPLES = 4
# Rounds of cuts. Each halves the bounds or better unless the best prices are no single point.
ROUNDS = 60
# Prices known to this share of the usual: units that still choose differently are tied.
NARROW = 1e-7
# Sums over many units have rounding errors of about this share; cuts leave them room.
ROUNDING = 1e-11
# Tolerances of the linear programme, as shares of the box it works in and of one unit.
BOX = 1e-6
WHOLE = 1e-7


@dataclass(frozen=True, eq=False)
class Units:
    """Rows of ``effect`` (m, K) and ``cost`` (m, K) or (K,), each of which stands for ``weight`` (m,) equal units."""

    effect: NDArray[Any]
    cost: NDArray[Any]
    value: float
    weight: Floats

    def chunks(self) -> Iterator[tuple[slice, Floats, Floats]]:
        """Rows, their profit (K, rows) and cost (K, rows) or (K, 1), some at a time."""
        for start in range(0, len(self.effect), CHUNK):
            rows = slice(start, start + CHUNK)
            cost = (self.cost[rows] if self.cost.ndim == 2 else self.cost[None]).T.astype(np.float64, order="C")
            yield rows, self.value * self.effect[rows].T.astype(np.float64, order="C") - cost, cost

    def take(self, rows: Index) -> "Units":
        """Some of the rows."""
        cost = self.cost[rows] if self.cost.ndim == 2 else self.cost
        return replace(self, effect=self.effect[rows], cost=cost, weight=self.weight[rows])

    def whole(self) -> tuple[Floats, Floats]:
        """Profit and cost (m, K) of all rows."""
        parts = [(profit, np.broadcast_to(cost, profit.shape)) for _, profit, cost in self.chunks()]
        return np.hstack([profit for profit, _ in parts]).T, np.hstack([cost for _, cost in parts]).T

    def merged(self) -> tuple["Units", Index | None]:
        """Equal rows as one, where a sample says that many are; and the new row (m,) of each, None where none are."""
        rows = len(self.effect)
        columns = [*self.effect.T, *(self.cost.T if self.cost.ndim == 2 else ())]
        sample = np.arange(0, rows, max(rows // (5 * PROGRAMME), 1))
        if len(np.unique(np.column_stack([c[sample] for c in columns]), axis=0)) > len(sample) / 2:
            return self, None
        code = np.zeros(rows, dtype=np.intp)
        for column in columns:
            values, place = np.unique(column, return_inverse=True)
            code = np.unique(code * len(values) + place, return_inverse=True)[1]
        _, first, count = np.unique(code, return_index=True, return_counts=True)
        return replace(self.take(first), weight=count.astype(np.float64)), code


def best(profit: Floats, cost: Floats, fee: Floats) -> tuple[Arms, Floats]:
    """Choice and net profit (rows,) at ``fee`` (K + 1,), none before any treatment and the first of equal ones."""
    net = np.zeros(profit.shape[1])
    arm = np.zeros(profit.shape[1], dtype=np.int16)
    for k, gain in enumerate(profit):
        own = gain - fee[0] * cost[k] - fee[k + 1]
        better = own > net
        np.copyto(net, own, where=better)
        arm[better] = k + 1
    return arm, net


@dataclass(frozen=True, eq=False)
class Solved:
    """The best prices (d,), and the rows ``left`` (m,) of which the programme gave ``counts`` (m, K) a treatment.

    All other rows choose for themselves at these prices. ``profit`` and ``usage`` (d,) are those of all units together;
    no choice within the limits has a profit above ``bound``.
    """

    prices: Floats
    profit: float
    bound: float
    usage: Floats
    left: Index
    counts: Counts


@dataclass(frozen=True, eq=False)
class _Cut:
    """At ``prices`` (d,) units choose best for ``surplus`` in all, and use ``usage`` (d,) of the limits."""

    prices: Floats
    surplus: float
    usage: Floats


@dataclass(frozen=True, eq=False)
class _Settled:
    """Profit of the units whose choice is known, and what they use (K + 1,) as ``fees`` count it."""

    profit: float
    used: Floats


@dataclass(eq=False)
class Dual:
    """The surplus of all units as a function of prices; every look at it adds a cut, good for any limits.

    ``highest`` (d,): no price needs to be above it.
    """

    units: Units
    fees: Floats
    highest: Floats
    cuts: list[_Cut] = field(default_factory=list)

    @classmethod
    def of(cls, units: Units, fees: Floats) -> Self:
        """The dual problem, with no look taken yet. At its highest price a limit is used by nobody."""
        most, ratio = np.zeros(len(fees) - 1), 0.0
        for _, profit, cost in units.chunks():
            most = np.maximum(most, profit.max(axis=1))
            ratio = max(ratio, np.divide(profit, cost, out=np.zeros_like(profit), where=cost > 0).max())
        # Per money where costs differ, per place where they do not: there the dearest of the places it is part of.
        each = np.concatenate([[ratio], most])
        highest = np.divide(each[:, None], fees, out=np.zeros_like(fees), where=fees > 0).max(axis=0)
        return cls(units, fees, highest)

    def solve(self, limits: Floats) -> Solved:
        """Prices whose bound is lowest, and choices that come as close to it as whole units can."""
        arms = self.units.effect.shape[1]
        settled, left = _Settled(0.0, np.zeros(arms + 1)), np.arange(len(self.units.effect))
        if not self.cuts:
            self._look(np.zeros(len(limits)), settled, self.units)
        free = self.cuts[0]
        if (free.usage <= limits).all():
            return Solved(free.prices, free.surplus, free.surplus, free.usage, left[:0], np.zeros((0, arms), np.int64))
        if len(left) <= PROGRAMME:
            return self._programme(limits, settled, left, None)
        if len(self.cuts) == 1:  # those of other limits say enough
            for prices in self._first_prices(limits):
                self._look(prices, settled, self.units)
        units, place = self.units, _Place(self.cuts, limits, self.fees, self.highest.copy())
        for _ in range(ROUNDS):
            place.tighten()
            settled, still = _settle(units, place.paid, settled)
            units, left = units.take(still), left[still]
            if len(left) <= PROGRAMME or place.narrow:
                break
            for _ in limits:
                self._look(place.centre(), settled, units)
        return self._programme(limits, settled, left, place.paid)

    def _look(self, prices: Floats, settled: _Settled, units: Units) -> None:
        fee = self.fees @ prices
        surplus, used = settled.profit - fee @ settled.used, settled.used.copy()
        for rows, profit, cost in units.chunks():
            arm, net = best(profit, cost, fee)
            weight = units.weight[rows]
            surplus += weight @ net
            for k in range(len(profit)):
                hit = np.where(arm == k + 1, weight, 0.0)
                used[k + 1] += hit.sum()
                if units.cost.ndim == 2:
                    used[0] += hit @ cost[k]
        self.cuts.append(_Cut(prices, float(surplus), self.fees.T @ used))

    def _first_prices(self, limits: Floats) -> list[Floats]:
        """Prices of small samples of units, and a step up and down of each price that they do not agree on."""
        rows, nobody, found = len(self.units.effect), _Settled(0.0, np.zeros(len(self.fees))), []
        for start in range(SAMPLES):
            sample = np.arange(start, rows, max(rows // PROGRAMME, 1))[:PROGRAMME]
            share = self.units.weight[sample].sum() / self.units.weight.sum()
            found.append(self._programme(limits * share, nobody, sample, None).prices)
        middle, apart = np.mean(found, axis=0), np.ptp(found, axis=0)
        steps = [sign * step for step in np.diag(apart) if step.any() for sign in (1, -1)]
        return [middle, *((middle + step).clip(min=0.0) for step in steps)]

    def _programme(self, limits: Floats, settled: _Settled, left: Index, paid: Floats | None) -> Solved:
        """The rows ``left`` (m,) solved beside those settled, which choose as they do where fees are ``paid``."""
        units = self.units.take(left)
        profit, cost = units.whole()
        use = self.fees[1:] + cost[:, :, None] * self.fees[0]  # (m, K, d)
        room = limits - self.fees.T @ settled.used
        if (room < -BOX * limits).any():
            raise ArithmeticError(f"the settled units use more than the limits {limits.tolist()}: {room.tolist()} left")
        room = room.clip(min=0.0)
        if len(left) <= PROGRAMME:
            counts, prices = _vertex(profit, use, units.weight, room, self.fees, paid)
        else:
            counts = _in_parts(profit, use, units.weight, room, self.fees)
            prices = min(self.cuts, key=lambda cut: cut.prices @ limits + cut.surplus).prices
        surplus = settled.profit - self.fees @ prices @ settled.used
        surplus += units.weight @ (profit - use @ prices).max(axis=1, initial=0.0)
        return Solved(
            prices,
            settled.profit + float((counts * profit).sum()),
            float(limits @ prices + surplus),
            self.fees.T @ settled.used + np.einsum("mk,mkd->d", counts, use),
            left,
            counts,
        )


def _settle(units: Units, paid: Floats, settled: _Settled) -> tuple[_Settled, Index]:
    """Adds the rows whose choice is the same wherever fees are within ``paid`` (K + 1, 2); the others (m,)."""
    earned, used, still = settled.profit, settled.used.copy(), []
    for rows, profit, cost in units.chunks():
        weight = units.weight[rows]
        most = profit - paid[0, 0] * cost - paid[1:, :1]
        least = profit - paid[0, 1] * cost - paid[1:, 1:]
        unsure = (most >= 0).any(axis=0)
        for k, (gain, low) in enumerate(zip(profit, least, strict=True)):
            own = low > np.delete(most, k, axis=0).max(axis=0, initial=0.0)
            unsure &= ~own
            hit = np.where(own, weight, 0.0)
            earned += hit @ gain
            used[k + 1] += hit.sum()
            if units.cost.ndim == 2:
                used[0] += hit @ cost[k]
        still.append(rows.start + np.flatnonzero(unsure))
    return _Settled(float(earned), used), np.concatenate(still)


@dataclass(eq=False)
class _Place:
    """Where the best prices for ``limits`` (d,) can lie: between 0 and ``high`` (d,), and where no cut forbids it.

    ``paid`` (K + 1, 2) is the range of the fees there; ``narrow`` when that is as good as a point.
    """

    cuts: list[_Cut]
    limits: Floats
    fees: Floats
    high: Floats
    narrow: bool = False

    def __post_init__(self) -> None:
        self.low = np.zeros_like(self.high)
        self.paid = np.column_stack([np.zeros(len(self.fees)), self.fees @ self.high])
        # What units earn on average for what they use where nothing is priced: the largest price may be an outlier's.
        free = self.cuts[0]
        usual = np.divide(free.surplus, free.usage, out=self.high.copy(), where=free.usage > 0)
        self.close = NARROW * (self.fees @ np.minimum(usual, self.high))

    def _forbidden(self) -> tuple[Floats, Floats]:
        """Unit rows A (t, d) and b (t,) of A z <= b, in coordinates z where the box is [0, 1]."""
        prices = np.array([cut.prices for cut in self.cuts])
        slope = self.limits - np.array([cut.usage for cut in self.cuts])
        bound = prices @ self.limits + np.array([cut.surplus for cut in self.cuts])
        room = bound.min() + ROUNDING * np.abs(bound).max() - bound + (slope * (prices - self.low)).sum(axis=1)
        rows = slope * (self.high - self.low)
        length = np.linalg.norm(rows, axis=1)
        steep = length > 0
        return rows[steep] / length[steep, None], room[steep] / length[steep]

    def tighten(self) -> None:
        """Narrow the box and the fees to what the cuts leave."""
        from scipy.optimize import linprog

        rows, room = self._forbidden()
        width, start = self.high - self.low, self.low.copy()
        for target, least, most in (
            *zip(np.eye(len(width)), self.low[:, None], self.high[:, None], strict=True),
            *zip(self.fees, self.paid[:, :1], self.paid[:, 1:], strict=True),
        ):
            scale = np.abs(target * width).max() or 1.0  # the programme takes small numbers for zero
            for end, sign in ((least, 1.0), (most, -1.0)):
                found = linprog(sign * target * width / scale, rows, room, bounds=(0, 1), method="highs-ds")
                if found.status != 0:  # no more than rounding errors is left
                    self.narrow = True
                    return
                reach = target @ start + sign * scale * found.fun - sign * BOX * (np.abs(target) @ width)
                end[0] = max(end[0], reach) if sign > 0 else min(end[0], reach)
        self.narrow = bool((self.paid[:, 1] - self.paid[:, 0] <= self.close).all())

    def centre(self) -> Floats:
        """Centre (d,) of the largest ball that fits, the box being a cube."""
        from scipy.optimize import linprog

        rows, room = self._forbidden()
        d = len(self.high)
        walls = np.vstack([rows, np.eye(d), -np.eye(d)])
        found = linprog(
            [0.0] * d + [-1.0],
            np.column_stack([walls, np.ones(len(walls))]),
            np.concatenate([room, np.ones(d), np.zeros(d)]),
            bounds=(None, None),
            method="highs-ds",
        )
        at = found.x[:d] if found.status == 0 else np.full(d, 0.5)
        return self.low + (self.high - self.low) * at


def _vertex(
    profit: Floats, use: Floats, weight: Floats, room: Floats, fees: Floats, paid: Floats | None
) -> tuple[Counts, Floats]:
    """Whole units (m, K) of each row by treatment, and the prices (d,) of the linear programme they come from.

    ``profit`` (m, K), ``use`` (m, K, d), ``weight`` (m,), ``room`` (d,). Where other units have chosen already, fees
    may not leave ``paid`` (K + 1, 2): places bought above and sold below them see to it, and are not used.
    """
    from scipy import sparse
    from scipy.optimize import linprog

    rows, arms, d = use.shape
    money, size = np.abs(profit).max() or 1.0, use.max(axis=(0, 1), initial=0.0)
    size[size == 0] = 1.0
    trade = np.zeros((0, 2)) if paid is None else paid
    fence = fees[: len(trade)] / size
    gain = np.concatenate([profit.ravel(), -trade[:, 1], trade[:, 0]]) / money
    each = sparse.kron(sparse.eye(rows), np.ones((1, arms)))
    own = sparse.hstack([each, sparse.csr_matrix((rows, 2 * len(trade)))])
    shared = np.hstack([(use / size).reshape(-1, d).T, -fence.T, fence.T])
    found = linprog(
        -gain,
        sparse.vstack([own, sparse.csr_matrix(shared)], format="csr"),
        np.concatenate([weight, room / size]),
        method="highs-ds",
    )
    if found.status != 0:
        raise ArithmeticError(f"the linear programme of {rows} rows failed: {found.message}")
    prices = (-found.ineqlin.marginals[rows:] * money / size).clip(min=0.0)
    return _whole(found.x[: rows * arms].reshape(rows, arms), profit, use, room), prices


def _whole(share: Floats, profit: Floats, use: Floats, room: Floats) -> Counts:
    """Whole units (m, K) from those of the programme: parts go, and what went gets the best treatment that fits."""
    counts = np.floor(share + WHOLE).astype(np.int64)
    rest = (share - counts).clip(min=0.0).sum(axis=1)
    spare = room - np.einsum("mk,mkd->d", counts, use)
    while (over := spare < 0).any():  # by a rounding error
        worst = np.where((counts > 0) & (use[:, :, over] > 0).any(axis=2), profit, np.inf).argmin()
        row, k = np.unravel_index(worst, counts.shape)
        counts[row, k] -= 1
        spare += use[row, k]
    for row in np.flatnonzero(rest > WHOLE):
        for _ in range(int(np.ceil(rest[row] - WHOLE))):
            fits = np.where((use[row] <= spare).all(axis=1), profit[row], 0.0)
            if fits.max() > 0:
                counts[row, fits.argmax()] += 1
                spare -= use[row, fits.argmax()]
    return counts


def _in_parts(profit: Floats, use: Floats, weight: Floats, room: Floats, fees: Floats) -> Counts:
    """``_vertex`` for more rows than it takes, in parts: each gets its share of the room, and what others left."""
    counts, todo = np.empty(profit.shape, dtype=np.int64), weight.sum()
    parts = -(-len(profit) // PROGRAMME)
    for part in (slice(start, None, parts) for start in range(parts)):
        share = weight[part].sum() / todo
        counts[part], _ = _vertex(profit[part], use[part], weight[part], room * share, fees, None)
        room = room - np.einsum("mk,mkd->d", counts[part], use[part])
        todo -= weight[part].sum()
    return counts
