"""Synthetic control, by blocks of time and by placebo units, and synthetic difference-in-differences."""

from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.coverage import Cell, Draws, Floats
from causal_assets.estimators.conformal import conformal
from causal_assets.estimators.placebo_space import placebo_in_space
from causal_assets.estimators.synthetic_control import Method, Panel
from causal_assets.estimators.synthetic_did import synthetic_did
from causal_assets.types import Estimate

EFFECT = 1.0
FACTORS = 2
# Chernozhukov, Wuethrich & Zhu (2021) prove the blocks right as history grows; 100 periods are still finite.
CONFORMAL_BAND = (0.93, 0.97)
# Exact for a unit treated at random: the true effect ranks uniformly among 40, and two ranks are rejected.
PLACEBO_BAND = (0.95, 0.95)
# Arkhangelsky et al. (2021), table 4, has 93-98% in its designs.
DID_BAND = (0.92, 0.97)


def autoregressive(rng: np.random.Generator, shape: tuple[int, int], persistence: float) -> Floats:
    """Stationary AR(1) series of unit variance (n, t)."""
    series = rng.normal(size=shape)
    for t in range(1, shape[1]):
        series[:, t] = persistence * series[:, t - 1] + (1 - persistence**2) ** 0.5 * series[:, t]
    return series


def planted(rng: np.random.Generator, *, donors: int, treated: int, pre: int, post: int, persistence: float) -> Panel:
    """Levels, two factors with loadings of one distribution for all units, persistent noise, a constant effect."""
    n, periods = donors + treated, pre + post
    loadings = rng.uniform(0.0, 2.0, size=(n, FACTORS))
    y = 10.0 + loadings @ autoregressive(rng, (FACTORS, periods), 0.8) + autoregressive(rng, (n, periods), persistence)
    is_treated = np.arange(n) < treated
    y[:treated, pre:] += EFFECT
    return Panel(y, is_treated, pre, tuple(f"unit {i:03d}" for i in range(n)), tuple(range(periods)))


def simulated(
    rng: np.random.Generator, sets: int, *, draw: Callable[..., Panel], estimate: Callable[[Panel], Estimate]
) -> Draws:
    """Estimates of ``sets`` panels; what an estimator refuses is counted."""

    def one() -> Estimate | None:
        try:
            return estimate(draw(rng))
        except ValueError:
            return None

    return Draws.of([one() for _ in range(sets)], EFFECT)


def cells() -> list[Cell]:
    """Permutation sets have no standard error, and their value is a synthetic control: no bar on errors."""
    long = partial(planted, donors=10, treated=1, pre=110, post=10, persistence=0.5)
    wide = partial(planted, donors=39, treated=1, pre=40, post=8, persistence=0.3)
    many = partial(planted, donors=60, treated=20, pre=30, post=8, persistence=0.0)
    single = partial(planted, donors=30, treated=1, pre=30, post=8, persistence=0.0)
    methods = {
        "conformal, AR(.5) noise": (long, partial(conformal, method=Method()), CONFORMAL_BAND),
        "conformal, demeaned": (long, partial(conformal, method=Method(demeaned=True)), CONFORMAL_BAND),
        "conformal, ridge-augmented": (long, partial(conformal, method=Method(ridge=50.0)), CONFORMAL_BAND),
        "conformal by mean size": (long, partial(conformal, method=Method(), statistic="absolute"), CONFORMAL_BAND),
        "placebo in space, 39 donors": (wide, partial(placebo_in_space, method=Method()), PLACEBO_BAND),
        "synthetic DiD, 20 treated": (many, synthetic_did, DID_BAND),
        "synthetic DiD, 1 treated": (single, synthetic_did, DID_BAND),
    }
    return [
        Cell(
            family="synthetic control",
            name=name,
            simulate=partial(simulated, draw=draw, estimate=partial(estimate, outcome="y")),
            band=band,
        )
        for name, (draw, estimate, band) in methods.items()
    ]
