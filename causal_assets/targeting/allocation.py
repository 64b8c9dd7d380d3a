"""Whom to treat with what, under a budget, a capacity for each treatment and a limit on contacts."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.estimators.inference import Floats
from causal_assets.targeting.knapsack import Arms, Dual, Index, Solved, Units, best

# A limit counts as kept up to this share of it, and a unit's choices as equal up to this share of its profit.
WITHIN = 1e-9


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Shadow prices: what one more money, place of each treatment, or contact would add to profit; 0 where spare."""

    budget: float
    capacity: tuple[float, ...]
    contacts: float


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A policy whose thresholds are fixed: ``value`` is money per unit of outcome, ``prices`` come from other units."""

    value: float
    prices: Prices

    def treat(self, effect: ArrayLike, cost: ArrayLike) -> Arms:
        """The treatment (n,) of each unit, 0 for none: the largest profit net of these prices, if that is above zero.

        ``effect`` (n, K) predicted, ``cost`` (K,) or (n, K). Of equals the first, and none before any. Each unit is
        treated on its own, so that limits hold on average and not to the unit.

        Raises:
            ValueError: other shapes, a NaN or infinite number, or a negative cost.
        """
        units, prices = checked_units(effect, cost, self.value), self.prices
        if units.effect.shape[1] != len(prices.capacity):
            raise ValueError(f"effect: expected {len(prices.capacity)} treatments, got {units.effect.shape[1]}")
        fee = np.array([prices.budget, *(place + prices.contacts for place in prices.capacity)])
        return np.concatenate([best(profit, paid, fee)[0] for _, profit, paid in units.chunks()])


@dataclass(frozen=True, kw_only=True, eq=False)
class Allocation:
    """Who is treated: ``chosen`` (n,) holds 0 for none or the number of the treatment.

    ``profit`` is sum(value effect - cost) as predicted, ``spend`` is money, ``treated`` (K,) counts units. No choice
    within the limits has a profit above ``bound``. ``tied`` units had more than one best choice at the prices of
    ``rule``: of equal units those of earlier rows were treated, and first with the treatments named first.
    """

    chosen: Arms
    rule: Rule
    profit: float
    bound: float
    spend: float
    treated: tuple[int, ...]
    tied: int

    @property
    def gap(self) -> float:
        """The most that another choice could add to ``profit``."""
        return self.bound - self.profit


@dataclass(frozen=True, kw_only=True)
class FrontierPoint:
    """The best at one budget: ``profit`` from ``spend``, at most ``bound``; one more money would add ``price``."""

    budget: float
    spend: float
    profit: float
    bound: float
    price: float


def allocate(
    effect: ArrayLike,
    cost: ArrayLike,
    *,
    value: float,
    budget: float | None = None,
    capacity: Sequence[float] | None = None,
    contacts: float | None = None,
) -> Allocation:
    """The treatment of each unit that makes sum(value effect - cost) largest within the limits; None is no limit.

    ``effect`` (n, K) is the predicted effect of each treatment in units of outcome, ``cost`` (K,) or (n, K) in money,
    ``value`` money per unit of outcome; ``budget`` in money, ``capacity`` (K,) units per treatment (inf: any number),
    ``contacts`` units treated at all. Where no limit binds the answer is exact; otherwise it falls short of the best
    by less than one unit's profit per limit that binds, unless thousands of units that differ are tied; ``bound`` is
    certain in any case. Row order changes nothing but who of equal units is treated. Memory beyond the arrays given:
    some 20 bytes per row. Method and sources: ``knapsack``.

    Raises:
        ValueError: other shapes, a NaN or infinite effect or value, a negative, NaN or infinite cost, or a negative or
            NaN limit.
    """
    units = checked_units(effect, cost, value)
    limits, fees = _limits(units, budget, capacity, contacts)
    merged, code = units.merged()
    found = Dual.of(merged, fees).solve(limits)
    chosen, surplus, tied = _chosen(units, fees @ found.prices, found, merged.weight, code)
    profit, spend, treated = _totals(units, chosen)
    named = iter(found.prices.tolist())
    return Allocation(
        chosen=chosen,
        rule=Rule(
            value=float(value),
            prices=Prices(
                budget=0.0 if budget is None else next(named),
                capacity=tuple(next(named) if place < inf else 0.0 for place in _places(units, capacity)),
                contacts=0.0 if contacts is None else next(named),
            ),
        ),
        profit=profit,
        bound=max(float(limits @ found.prices) + surplus, profit),
        spend=spend,
        treated=treated,
        tied=tied,
    )


def frontier(
    effect: ArrayLike,
    cost: ArrayLike,
    *,
    value: float,
    budgets: Sequence[float],
    capacity: Sequence[float] | None = None,
    contacts: float | None = None,
) -> list[FrontierPoint]:
    """Profit against spend at each of ``budgets``, in their order; the other arguments and errors as in ``allocate``.

    What looks at the units have shown at one budget holds at all others, so that each further one costs a few looks.
    """
    units = checked_units(effect, cost, value)
    merged, _ = units.merged()
    points, dual = [], None
    for budget in budgets:
        limits, fees = _limits(units, budget, capacity, contacts)
        dual = dual or Dual.of(merged, fees)
        found = dual.solve(limits)
        points.append(
            FrontierPoint(
                budget=float(budget),
                spend=float(found.usage[0]),
                profit=found.profit,
                bound=max(found.bound, found.profit),
                price=float(found.prices[0]),
            )
        )
    return points


def checked_units(effect: ArrayLike, cost: ArrayLike, value: float) -> Units:
    """Units with their effects, costs and money per outcome; arrays of whole numbers or single precision stay so.

    Raises:
        ValueError: as ``allocate``.
    """
    gain, paid = np.asarray(effect), np.asarray(cost)
    if gain.ndim != 2 or not gain.size or gain.dtype.kind not in "fiu":
        raise ValueError(f"effect: expected numbers (n, K) of at least one unit, got {gain.dtype} {gain.shape}")
    if paid.shape not in (gain.shape, gain.shape[1:]) or paid.dtype.kind not in "fiu":
        raise ValueError(f"cost: expected numbers {gain.shape[1:]} or {gain.shape}, got {paid.dtype} {paid.shape}")
    if not np.isfinite(value):
        raise ValueError(f"value: expected a finite number, got {value}")
    for name, values in (("effect", gain), ("cost", paid)):
        low, high = values.min(), values.max()  # NaN passes on to both
        if not np.isfinite([low, high]).all() or (name == "cost" and low < 0):
            allowed = "finite numbers from 0" if name == "cost" else "finite numbers"
            raise ValueError(f"{name}: expected {allowed}, got {low} to {high}")
    if paid.ndim == 2 and (paid.min(axis=0) == paid.max(axis=0)).all():
        paid = paid[0]
    return Units(gain, paid, float(value), np.broadcast_to(1.0, len(gain)))


def _places(units: Units, capacity: Sequence[float] | None) -> list[float]:
    arms = units.effect.shape[1]
    places = [inf] * arms if capacity is None else [float(limit) for limit in capacity]
    if len(places) != arms or not all(limit >= 0 for limit in places):
        raise ValueError(f"capacity: expected {arms} numbers from 0, one per treatment, got {places}")
    return places


def _limits(
    units: Units, budget: float | None, capacity: Sequence[float] | None, contacts: float | None
) -> tuple[Floats, Floats]:
    """Limits (d,) in the order budget, capacities, contacts, and the fees (K + 1, d) that their prices make."""
    arms = units.effect.shape[1]
    for name, limit in (("budget", budget), ("contacts", contacts)):
        if limit is not None and not 0 <= limit < inf:
            raise ValueError(f"{name}: expected None or a finite number from 0, got {limit}")
    limits, columns = [], []
    if budget is not None:
        limits.append(float(budget))
        columns.append(np.eye(arms + 1)[0] if units.cost.ndim == 2 else [0.0, *units.cost])
    for k, limit in enumerate(_places(units, capacity)):
        if limit < inf:
            limits.append(np.floor(limit))
            columns.append(np.eye(arms + 1)[k + 1])
    if contacts is not None:
        limits.append(np.floor(contacts))
        columns.append([0.0] + [1.0] * arms)
    return np.array(limits) * (1 + WITHIN), np.array(columns, dtype=np.float64).reshape(-1, arms + 1).T


def _chosen(units: Units, fee: Floats, found: Solved, weight: Floats, code: Index | None) -> tuple[Arms, float, int]:
    """Choices (n,), what all units earn above ``fee`` (K + 1,), and how many had two best choices."""
    parts, surplus, tied = [], 0.0, 0
    for _, profit, cost in units.chunks():
        arm, net = best(profit, cost, fee)
        equal = WITHIN * np.abs(profit).max(axis=0)
        others = profit - fee[0] * cost - fee[1:, None] >= net - equal
        tied += int((others.sum(axis=0) + (net <= equal) > 1).sum())
        surplus += net.sum()
        parts.append(arm)
    chosen = np.concatenate(parts)
    rows, arms = found.left, np.append(np.arange(1, units.effect.shape[1] + 1), 0)
    if code is not None:
        place = np.full(len(weight), -1)
        place[rows] = np.arange(len(rows))
        place = place[code]
        rows = np.flatnonzero(place >= 0)
        rows = rows[np.argsort(place[rows], kind="stable")]
    counts = np.column_stack([found.counts, weight[found.left] - found.counts.sum(axis=1)]).astype(np.intp)
    chosen[rows] = np.repeat(np.tile(arms, len(counts)), counts.ravel())
    return chosen, float(surplus), tied


def _totals(units: Units, chosen: Arms) -> tuple[float, float, tuple[int, ...]]:
    """Profit, money spent, and units by treatment."""
    earned = spent = 0.0
    treated = np.bincount(chosen, minlength=units.effect.shape[1] + 1)[1:]
    for rows, profit, cost in units.chunks():
        for k in range(len(profit)):
            hit = (chosen[rows] == k + 1).astype(np.float64)
            earned += hit @ profit[k]
            spent += hit @ np.broadcast_to(cost[k], hit.shape)
    return float(earned), float(spent), tuple(treated.tolist())
