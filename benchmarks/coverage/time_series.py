"""The structural time series on its own generating model: ratios of level step to noise from the prior, and fixed."""

from functools import partial
from math import inf, pi

import numpy as np

from benchmarks.coverage import Cell, Draws
from causal_assets.estimators.structural_time_series import LEVEL_STEP, average_effect, counterfactual

BEFORE, AFTER = 90, 30
EFFECT = 2.0
SEASON = 7


def _simulate(ratio: float | None, rich: bool, rng: np.random.Generator, sets: int) -> Draws:
    periods = BEFORE + AFTER
    time = np.arange(periods)
    found = []
    for _ in range(sets):
        angle = np.arctan(ratio if ratio is not None else LEVEL_STEP * np.tan(pi / 2 * rng.random()))
        x = rng.normal(size=(periods, 2)) + 0.3 * rng.normal(size=(periods, 2)).cumsum(axis=0)
        steps, noise = rng.normal(size=(2, periods))
        y = 20 + x @ [1.0, 0.5] + np.sin(angle) * steps.cumsum() + np.cos(angle) * noise + EFFECT * (time >= BEFORE)
        if rich:
            y += 0.05 * time + rng.normal(size=SEASON)[time % SEASON]
        forecast = counterfactual(y, x, start=BEFORE, drift=rich, season=SEASON if rich else 0)
        found.append(average_effect(forecast, outcome="y"))
    return Draws.of(found, EFFECT)


def cells() -> list[Cell]:
    """A flat prior makes coverage exact on average over ratios, not at each of them: see ``LEVEL_STEP``."""
    on_average = [
        Cell("time series", f"ratio from its prior{more}", partial(_simulate, None, rich), honest=False)
        for more, rich in (("", False), (", drift and season", True))
    ]
    at_each = [
        Cell("time series", f"ratio {ratio:g}", partial(_simulate, ratio, False), band=(0.92, 1.0), honest=False)
        for ratio in (0.0, 0.1, 0.3, 1.0, inf)
    ]
    return [*on_average, *at_each]
