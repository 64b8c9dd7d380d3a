"""Planted worlds without randomisation, and the bars an estimator has to meet in them."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy.special import expit
from scipy.stats import binomtest

from causal_assets.types import Estimate

LOGIT = np.array([0.6, 0.4])
INTERCEPT = -0.7


def world(seed, n, *, null=False):
    """Treatment is likelier where the outcome is high anyway and where the effect, 1 + x0 or nothing, is large."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    d = rng.random(n) < expit(x @ LOGIT + INTERCEPT)
    y = 3 + x @ [2.0, 1.0] + rng.normal(size=n) + (0.0 if null else d * (1 + x[:, 0]))
    return x, d, y, np.arange(n)


@cache
def truth(estimand):
    """Average of 1 + x0 over the estimand's population, by quadrature over the logit."""
    nodes, mass = np.polynomial.hermite_e.hermegauss(80)
    spread = float(np.linalg.norm(LOGIT))
    e = expit(spread * nodes + INTERCEPT)
    density = mass * {"ATE": np.ones_like(e), "ATT": e, "ATO": e * (1 - e)}[estimand]
    return 1 + (LOGIT[0] / spread) * (density @ nodes) / density.sum()


# Trap 6: the effect is 1 + X, treatment depends on the sign of X alone. By world: propensities below and above zero.
STEPS = {"alike": (0.2, 0.8), "unlike": (0.1, 0.5)}


def step_world(seed, n, steps):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    d = rng.random(n) < np.where(x > 0, steps[1], steps[0])
    y = 2 * x + d * (1 + x) + rng.normal(size=n)
    return np.column_stack([x, x > 0]), d, y, np.arange(n)


def step_truths(steps):
    """ATE, ATT and ATO: half of a normal has mean +-sqrt(2 / pi)."""
    low, high = steps
    weights = {"ATE": (1.0, 1.0), "ATT": (low, high), "ATO": (low * (1 - low), high * (1 - high))}
    return {name: 1 + np.sqrt(2 / np.pi) * (b - a) / (a + b) for name, (a, b) in weights.items()}


def assert_honest(estimates: Sequence[Estimate], planted, *, bias=0.15, coverage=0.93, ratio=(0.93, 1.07)):
    """Mean error, mean standard error and coverage over seeds, each against its bar."""
    values = np.array([e.value for e in estimates])
    spread = values.std()
    assert abs(values.mean() - planted) / spread < bias
    assert ratio[0] < np.mean([e.std_error or np.nan for e in estimates]) / spread < ratio[1]
    covered = sum(e.low <= planted <= e.high for e in estimates)
    assert binomtest(covered, len(estimates), coverage, alternative="less").pvalue > 0.05
    assert all((e.low <= 0 <= e.high) == ((e.p_value or 0.0) > 1 - e.level) for e in estimates)


def assert_none_found(estimates: Sequence[Estimate]):
    """The placebo twin: errors centred on zero, which intervals hold at their rate."""
    values = np.array([e.value for e in estimates])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(len(values))
    assert binomtest(sum(e.covers(0.0) for e in estimates), len(estimates), 0.93, alternative="less").pvalue > 0.01
