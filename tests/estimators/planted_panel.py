"""A panel with a known effect: units share factors, the treated one lies among the donors."""

import numpy as np

from causal_assets.estimators.synthetic_control import Panel


def planted(seed, *, donors=8, treated=1, pre=30, post=5, effect=2.0, noise=1.0, level=10.0):
    rng = np.random.default_rng(seed)
    n, periods = donors + treated, pre + post
    loadings = rng.uniform(0.0, 2.0, size=(n, 2))
    factors = rng.normal(size=(2, periods))
    for t in range(1, periods):
        factors[:, t] += 0.7 * factors[:, t - 1]
    y = level + loadings @ factors + noise * rng.normal(size=(n, periods))
    y[:treated, pre:] += effect
    return Panel(y, np.arange(n) < treated, pre, tuple(f"u{i:02d}" for i in range(n)), tuple(range(periods)))


def changed(panel, y=None, order=None, units=None):
    """The panel with other outcomes, another order of units, or other labels."""
    order = np.arange(len(panel.units)) if order is None else order
    labels = panel.units if units is None else units
    return Panel(
        (panel.y if y is None else y)[order],
        panel.treated[order],
        panel.pre,
        tuple(labels[i] for i in order),
        panel.periods,
    )


def long_rows(panel):
    """Columns unit, period and outcome, one row per cell."""
    units = np.repeat(panel.units, len(panel.periods))
    return units, np.tile(panel.periods, len(panel.units)), panel.y.ravel()
