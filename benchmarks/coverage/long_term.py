"""Surrogate index, effect over time, retention."""

from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.coverage import Cell, Draws
from causal_assets.estimators.joint import joint_effects
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.retention import (
    Retention,
    restricted_mean_difference,
    restricted_mean_difference_clustered,
    retention_difference,
    retention_difference_clustered,
)
from causal_assets.estimators.surrogate import fit_index, short_term_effects, surrogate_effect
from causal_assets.estimators.trajectory import cumulative, decay_rate, trend
from causal_assets.types import Estimate

SLOPE = np.array([2.0, -1.0, 0.5])
WEEKS = np.arange(8.0)
COURSE = 0.7 ** np.abs(np.subtract.outer(WEEKS, WEEKS))
FEW, MANY = 300, 1_000


def _short_term(rng: np.random.Generator, d: np.ndarray, effect: float) -> tuple[np.ndarray, np.ndarray]:
    """Two surrogates and a covariate (n, 3), and a long-term outcome whose noise grows with the first."""
    x = rng.normal(size=d.size)
    s = 0.5 * x[:, None] + d[:, None] * effect * np.array([1.0, 0.5]) + rng.normal(size=(d.size, 2))
    columns = np.column_stack([s, x])
    return columns, 1 + columns @ SLOPE + (0.5 + np.abs(s[:, 0])) * rng.normal(size=d.size)


def _surrogate(effect: float, n: int, rng: np.random.Generator, sets: int) -> Draws:
    def one() -> Estimate:
        past, long_term = _short_term(rng, np.zeros(n), 0.0)
        d = rng.permutation(2 * n) < n
        columns, _ = _short_term(rng, d.astype(float), effect)
        arms = Moments.of(columns[~d]), Moments.of(columns[d])
        return surrogate_effect(fit_index(long_term, past), short_term_effects(*arms, surrogates=2), outcome="y")

    return Draws.of([one() for _ in range(sets)], 1.5 * effect)


def _course(
    estimator: Callable[..., Estimate], size: float, rate: float, truth: float, rng: np.random.Generator, sets: int
) -> Draws:
    def one() -> Estimate | None:
        d = rng.permutation(2 * FEW) < FEW
        y = rng.normal(size=(d.size, WEEKS.size)) @ np.linalg.cholesky(COURSE).T
        y += d[:, None] * size * np.exp(-rate * WEEKS)
        effects = joint_effects(Moments.of(y[~d]), Moments.of(y[d]), outcomes=WEEKS.size)
        try:
            return estimator(effects, outcome="y")
        except ValueError:  # follows no exponential
            return None

    return Draws.of([one() for _ in range(sets)], truth)


def _retention(estimator: Callable[..., Estimate], n: int, rng: np.random.Generator, sets: int) -> Draws:
    rates, horizon = (0.1, 0.07), 12
    stay = np.exp(-np.outer(rates, np.arange(horizon + 1)))
    truth = stay[1, -1] - stay[0, -1] if estimator is retention_difference else stay[1, :-1].sum() - stay[0, :-1].sum()

    def arm(rate: float) -> Retention:
        leave, end = np.ceil(rng.exponential(1 / rate, n)), np.ceil(rng.uniform(6, 18, n))
        return Retention.of(np.minimum(leave, end), leave <= end)

    return Draws.of(
        [estimator(*(arm(rate) for rate in rates), horizon=horizon, outcome="y") for _ in range(sets)], float(truth)
    )


def _retention_of_stores(estimator: Callable[..., Estimate], rng: np.random.Generator, sets: int) -> Draws:
    """Twenty of 40 stores of 4 to 30 treated, without effect; customers of one store are alike keen to stay."""

    def one() -> Estimate:
        store = np.repeat(np.arange(40), rng.integers(4, 31, 40))
        d = (rng.permutation(40) % 2)[store]
        leave = np.ceil(rng.exponential(10 * np.exp(0.5 * rng.normal(size=40)[store])))
        end = np.ceil(rng.uniform(6, 18, store.size))
        return estimator(np.minimum(leave, end), leave <= end, d, store, horizon=12, outcome="y")

    return Draws.of([one() for _ in range(sets)], 0.0)


def cells() -> list[Cell]:
    """Effects in place and absent; the decay rate however weak the effect, as a set without an error of its own."""
    family = "long term"
    by_week, rate = partial(trend, period=WEEKS), partial(decay_rate, period=WEEKS)
    fading = np.exp(-0.3 * WEEKS)
    return [
        *(
            Cell(
                family,
                f"surrogate index, effect {effect:g}, {n} per arm and {n} of history",
                partial(_surrogate, effect, n),
            )
            for effect in (0.3, 0.0)
            for n in (FEW, MANY)
        ),
        Cell(family, "cumulative effect, 300 per arm", partial(_course, cumulative, 0.5, 0.3, 0.5 * fading.sum())),
        Cell(family, "trend, no effect, 300 per arm", partial(_course, by_week, 0.0, 0.0, 0.0)),
        *(
            Cell(
                family, f"decay rate {r:g}, effect {a:g}", partial(_course, rate, a, r, r), unbiased=False, honest=False
            )
            for a, r in ((1.0, 0.3), (0.2, 0.3), (1.0, 0.0))
        ),
        *(
            Cell(family, f"{name}, {n} per arm, over 30% censored", partial(_retention, f, n))
            for name, f in (("retention", retention_difference), ("restricted mean", restricted_mean_difference))
            for n in (FEW, MANY)
        ),
        *(
            Cell(family, f"{name}, 20 of 40 stores treated", partial(_retention_of_stores, f), band=(0.93, 1.0))
            for name, f in (
                ("retention", retention_difference_clustered),
                ("restricted mean", restricted_mean_difference_clustered),
            )
        ),
    ]
