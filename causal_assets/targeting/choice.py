"""Which candidate is kept: by doubly robust loss on rows none has learned from, the simpler one where in doubt."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from causal_assets.estimators.inference import Floats, clustered_covariance
from causal_assets.targeting.learners import CANDIDATES, DEFAULT, Effects, Task
from causal_assets.targeting.nuisances import LEAST_PER_ARM, Nuisances, Sample, fit_nuisances, potential_scores

# Measured on one core: seconds per million cells (rows x features x arms) that learn, nuisances included for none.
SECONDS = {
    "none": 0.6, "linear": 0.3, "s": 0.3, "t": 0.3, "x": 0.6, "dr": 0.4, "r": 0.4, "transformed": 0.3, "s_deep": 0.9,
    "t_deep": 0.9, "x_deep": 1.8, "dr_deep": 1.0, "r_deep": 1.0, "forest": 0.0, "uplift_forest": 0.0,
}  # fmt: skip
# A forest is grown on a draw of fixed size, so its time is fixed too: seconds per feature and arm.
FOREST_SECONDS = 0.5
# Bytes per row, feature and arm at the peak of the hungriest candidate.
BYTES = 60


@dataclass(frozen=True)
class Budget:
    """Processor seconds and memory that a search may take, by measured rates, not by the clock: same in, same out."""

    seconds: float = 600.0
    gigabytes: float = 4.0

    def __post_init__(self) -> None:
        if not self.seconds > 0 or not self.gigabytes > 0:
            raise ValueError(f"budget: seconds and gigabytes must be above 0, got {self}")


@dataclass(frozen=True)
class Trial:
    """How one candidate did: its mean loss less that of no heterogeneity, and less that of the best, with its error."""

    candidate: str
    gain: float
    behind: float
    std_error: float


@dataclass(frozen=True, eq=False)
class Choice:
    """The candidate kept, fitted again to all rows of the search, and how it was chosen.

    ``left_out`` names candidates that the budget did not allow; ``rows`` is how many rows were learned from.
    """

    winner: str
    effects: Effects
    nuisances: Nuisances
    trials: tuple[Trial, ...]
    left_out: tuple[str, ...]
    rows: int


def choose(
    sample: Sample,
    selecting: NDArray[np.bool_],
    *,
    randomised: bool,
    candidates: Sequence[str] = DEFAULT,
    budget: Budget | None = None,
    seed: int,
) -> Choice:
    """Fit every candidate to the rows not ``selecting`` (n,), compare them on those, and keep one.

    The loss of a candidate is the mean squared distance of its effects from the doubly robust scores, averaged over
    treatments. Kept is ``none`` where its loss is the smallest, else the simplest other one whose loss is within one
    standard error of the smallest (by paired differences, clustered by unit): the rule parts models, and whether
    anybody responds more at all is left to a test of the one kept, on rows that this search does not see.

    Source: van der Laan & Dudoit (2003) for the loss; Breiman et al. (1984), Classification and regression trees,
    section 3.4, for the rule.

    Raises:
        ValueError: an unknown candidate, an arm with too few rows among the learning or the selecting ones.
    """
    allowed = budget or Budget()
    names = _in_order(candidates)
    for label, rows in (("learning", ~selecting), ("selecting", selecting)):
        counts = np.bincount(sample.arm[rows], minlength=sample.treatments + 1)
        if counts.min() < LEAST_PER_ARM:
            raise ValueError(f"folds: {label} rows per arm are {counts.tolist()}; each needs {LEAST_PER_ARM}")
    kept = _within_memory(sample, selecting, allowed.gigabytes, seed)
    sample, selecting = sample.where(kept), selecting[kept]
    tried = _within_time(names, sample, allowed.seconds)
    nuisances = fit_nuisances(sample, randomised=randomised, seed=seed)
    potential = potential_scores(sample, nuisances.expected, nuisances.propensity)
    scores = potential[selecting, 1:] - potential[selecting, :1]
    learning = Task.of(sample, nuisances, np.flatnonzero(~selecting), seed)
    x = sample.x[selecting]
    losses = {name: ((scores - CANDIDATES[name](learning)(x)) ** 2).mean(axis=1) for name in tried}
    trials = _compared(losses, sample.unit[selecting])
    winner = _kept(trials)
    everything = Task.of(sample, nuisances, np.arange(len(sample.y)), seed)
    left_out = tuple(name for name in names if name not in tried)
    return Choice(winner, CANDIDATES[winner](everything), nuisances, trials, left_out, len(sample.y))


def _in_order(candidates: Sequence[str]) -> list[str]:
    if unknown := sorted(set(candidates) - set(CANDIDATES)):
        raise ValueError(f"learners: unknown {unknown}; allowed are {list(CANDIDATES)}")
    return [name for name in CANDIDATES if name in {"none", *candidates}]


def _compared(losses: dict[str, Floats], unit: NDArray[np.intp]) -> tuple[Trial, ...]:
    best = min(losses.values(), key=lambda loss: loss.mean())
    found = []
    for name, loss in losses.items():
        behind = loss - best
        spread = sqrt(clustered_covariance((behind - behind.mean())[:, None], unit)[0, 0])
        gain = float(losses["none"].mean() - loss.mean())
        found.append(Trial(name, gain, float(behind.mean()), spread))
    return tuple(found)


def _kept(trials: Sequence[Trial]) -> str:
    none, *models = trials
    if none.behind <= 0:
        return none.candidate
    return next(trial.candidate for trial in models if trial.behind <= trial.std_error)


def _within_time(names: Sequence[str], sample: Sample, seconds: float) -> list[str]:
    cells = sample.x.size * (sample.treatments + 1) / 1e6
    per_forest = FOREST_SECONDS * sample.x.shape[1] * sample.treatments
    kept, spent = [], 0.0
    for name in names:
        cost = SECONDS[name] * cells + (per_forest if "forest" in name else 0.0)
        if name == "none" or spent + cost <= seconds:
            kept.append(name)
            spent += cost
    return kept


def _within_memory(sample: Sample, selecting: NDArray[np.bool_], gigabytes: float, seed: int) -> NDArray[np.bool_]:
    """Which rows fit: all, or a draw within arm and fold, so that both keep their shares."""
    n, p = sample.x.shape
    most = int(gigabytes * 1e9 / (BYTES * p * (sample.treatments + 1)))
    kept = np.ones(n, dtype=bool)
    if n <= most:
        return kept
    stratum = sample.arm * 2 + selecting
    draw = np.random.default_rng(seed).random(n)
    for label in np.unique(stratum):
        own = stratum == label
        kept[own] = draw[own].argsort().argsort() < round(most * own.sum() / n)
    return kept
