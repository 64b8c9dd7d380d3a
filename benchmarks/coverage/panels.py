"""Coverage of difference-in-differences: 2x2, two-way effects, event study, staggered adoption, few clusters."""

from collections.abc import Callable, Iterator

import numpy as np

from benchmarks.coverage import Cell, Draws, Floats
from causal_assets.estimators.cluster_robust import cluster_fit, cluster_products
from causal_assets.estimators.did import two_by_two_clustered, two_by_two_moments
from causal_assets.estimators.event_study import event_study
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.parallel_trends import detrended
from causal_assets.estimators.staggered import group_time
from causal_assets.estimators.two_way import two_way
from causal_assets.types import Estimate

TRUTH = 1.0
PERIODS, ADOPTION = 6, 3


def cells() -> list[Cell]:
    """Every cell of the family."""
    few = (0.93, 1.0)  # statistics of few unequal clusters: no less than 93%
    return [
        Cell("difference-in-differences", "2x2, 1,000 units", _cell(_two_by_two(1_000))),
        Cell("difference-in-differences", "2x2, 12 treated of 60 units", _cell(_two_by_two(60))),
        Cell("difference-in-differences", "2x2, 79 and 331 units, some seen once", _cell(_seen_once)),
        Cell("difference-in-differences", "2x2, 20 unequal markets", _cell(_markets), few, honest=False),
        Cell("difference-in-differences", "OLS, 20 unequal clusters, 7 treated", _cell(_clusters), few, honest=False),
        Cell("difference-in-differences", "two-way effects, 300 units, rows missing", _cell(_two_way(300))),
        Cell("difference-in-differences", "two-way effects, 20 units", _cell(_two_way(20)), few, honest=False),
        Cell("difference-in-differences", "event study, 300 units", _cell(_event(300))),
        Cell("difference-in-differences", "event study less a linear trend", _cell(_event(300, slope=0.3))),
        Cell("difference-in-differences", "Callaway-Sant'Anna, never treated", _cell(_staggered("never"))),
        Cell("difference-in-differences", "Callaway-Sant'Anna, not yet treated", _cell(_staggered("not yet"))),
        Cell("difference-in-differences", "Callaway-Sant'Anna, doubly robust", _cell(_staggered("never", True))),
    ]


def _cell(draw: Callable[[np.random.Generator], Estimate]) -> Callable[[np.random.Generator, int], Draws]:
    def simulate(rng: np.random.Generator, sets: int) -> Draws:
        def attempts() -> Iterator[Estimate | None]:
            for _ in range(sets):
                try:
                    yield draw(rng)
                except ValueError:
                    yield None

        return Draws.of(attempts(), TRUTH)

    return simulate


def _walk(rng: np.random.Generator, units: int) -> Floats:
    """Levels of their own and errors that add up over time."""
    return 2 * rng.normal(size=(units, 1)) + 0.5 * rng.normal(size=(units, PERIODS)).cumsum(axis=1)


def _two_by_two(units: int) -> Callable[[np.random.Generator], Estimate]:
    def draw(rng: np.random.Generator) -> Estimate:
        treated = np.arange(units) < units // 5
        walk = _walk(rng, units)[:, :2]
        change = walk[:, 1] - walk[:, 0] + TRUTH * treated
        rows = np.column_stack([walk[:, 0], change])
        return two_by_two_moments(Moments.of(rows[~treated]), Moments.of(rows[treated]), outcome="y")

    return draw


def _seen_once(rng: np.random.Generator) -> Estimate:
    """Two waves of the size, spread and correlation of Card & Krueger's stores, some of which are in one wave only."""
    waves = []
    for state, twice, once, spread, correlation in ((0, 75, 2, (11.9, 8.3), 0.48), (1, 309, 11, (9.1, 9.3), 0.59)):
        y = rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], twice + 2 * once) * spread
        store = np.arange(len(y)) + 1_000 * state
        for post, gone in ((0, slice(twice, twice + once)), (1, slice(twice + once, None))):
            kept = np.delete(np.arange(len(y)), gone)
            waves += [np.stack([y[kept, post] + TRUTH * state * post, 0 * kept + state, 0 * kept + post, store[kept]])]
    y, d, post, store = np.concatenate(waves, axis=1)
    return two_by_two_clustered(y, d, post, store, outcome="fte")


def _sizes(rng: np.random.Generator) -> np.ndarray:
    return np.repeat(np.arange(20), np.geomspace(3, 60, 20).astype(int)[rng.permutation(20)])


def _markets(rng: np.random.Generator) -> Estimate:
    market = _sizes(rng)
    treated, shock = market < 10, rng.normal(size=(2, 20))
    rows = [shock[post][market] + rng.normal(size=market.size) + TRUTH * post * treated for post in (0, 1)]
    post = np.repeat([0, 1], market.size)
    return two_by_two_clustered(np.concatenate(rows), np.tile(treated, 2), post, np.tile(market, 2), outcome="y")


def _clusters(rng: np.random.Generator) -> Estimate:
    cluster = _sizes(rng)
    treated = cluster < 7
    x = np.column_stack([np.ones(cluster.size), treated])
    y = TRUTH * treated + 0.5 * rng.normal(size=20)[cluster] + rng.normal(size=cluster.size)
    fit = cluster_fit(*cluster_products(x, y, cluster))
    return fit.estimate([0, 1], [1, 0], outcome="y", estimand="ATE", method="OLS", n_treated=7, n_control=13)


def _two_way(units: int) -> Callable[[np.random.Generator], Estimate]:
    def draw(rng: np.random.Generator) -> Estimate:
        i, t = (a.ravel() for a in np.indices((units, PERIODS)))
        d = ((i < units // 3) & (t >= ADOPTION)).astype(float)
        y = _walk(rng, units)[i, t] + TRUTH * d
        kept = (t == 0) | (rng.random(y.size) > 0.1)
        return two_way(y[kept], d[kept], i[kept], t[kept]).estimate(outcome="y")

    return draw


def _event(units: int, slope: float | None = None) -> Callable[[np.random.Generator], Estimate]:
    """The effect on adoption; with ``slope``, the average effect where the treated drift away by it each period."""

    def draw(rng: np.random.Generator) -> Estimate:
        treated = np.arange(units) < units // 3
        path = TRUTH * (np.arange(PERIODS) >= ADOPTION) + (slope or 0.0) * np.arange(PERIODS)
        y = _walk(rng, units) + treated[:, None] * path
        gaps = np.delete(y - y[:, [ADOPTION - 1]], ADOPTION - 1, axis=1)
        relative = [k - ADOPTION for k in range(PERIODS) if k != ADOPTION - 1]
        study = event_study(Moments.of(gaps[~treated]), Moments.of(gaps[treated]), relative)
        if slope is None:
            return study.estimates(outcome="y")[relative.index(0)]
        after = PERIODS - ADOPTION
        return detrended(study, np.full(after, 1 / after), outcome="y")

    return draw


def _staggered(control: str, selected: bool = False) -> Callable[[np.random.Generator], Estimate]:
    """Three cohorts of 100 and 300 never treated; ``selected``: a covariate drives adoption and trend."""

    def draw(rng: np.random.Generator) -> Estimate:
        x = rng.normal(size=600)
        adopts = rng.random(600) < 1 / (1 + np.exp(-x * selected))
        cohort = np.where(adopts, rng.choice([2.0, 3.0, 4.0], 600), np.inf)
        periods = np.arange(PERIODS)
        trend = 0.3 * selected * x[:, None] * periods
        y = _walk(rng, 600) + trend + TRUTH * (periods >= cohort[:, None])
        kind = "never" if control == "never" else "not yet"
        fitted = group_time(y, cohort, periods, x if selected else None, control=kind)
        return fitted.aggregate("simple").overall(outcome="y")

    return draw
