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
    "none": 0.9, "linear": 0.2, "s": 0.4, "t": 0.3, "x": 1.0, "dr": 0.8, "r": 0.6, "transformed": 0.3, "s_deep": 0.9,
    "t_deep": 0.9, "x_deep": 2.2, "dr_deep": 1.3, "r_deep": 1.3, "forest": 0.0, "uplift_forest": 0.0,
}  # fmt: skip
# A forest is grown on a draw of fixed size, so its time is fixed too: seconds per feature and treatment.
FOREST_SECONDS = 0.3
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
    """How one candidate did: how far its mean loss is below that of no heterogeneity, and above the least; the error of
    the latter."""

    candidate: str
    gain: float
    behind: float
    std_error: float


@dataclass(frozen=True, eq=False)
class Choice:
    """The candidate kept, fitted again to all rows of the search, and how it was chosen.

    ``nuisances`` are of the learning rows. ``left_out`` names candidates that the budget did not allow; ``rows`` is how
    many rows were searched.
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

    Nuisances are learned from the learning rows only: those of the selecting rows, which all candidates are judged by,
    come from models that have not seen them, and no candidate has seen an outcome that it is judged on.
    The loss of a candidate is the mean squared distance of its effects from the doubly robust scores, averaged over
    treatments. Of the candidates by which effects vary the simplest is kept whose loss is within one standard error of
    the smallest (by paired differences, clustered by unit); ``none``, always tried, is kept where its loss is the
    smallest. That nobody in particular responds more is not for this rule to protect: the winner is tested on units
    that the search has not read, and a lead of less than one standard error here is often all that a real one has.

    Source: van der Laan & Dudoit (2003) for the loss; Breiman et al. (1984), Classification and regression trees,
    section 3.4, for the rule.

    Raises:
        ValueError: an unknown candidate, an arm with fewer than ``LEAST_PER_ARM`` units among the learning or the
            selecting rows that the memory allows.
    """
    allowed = budget or Budget()
    names = _in_order(candidates)
    kept = _within_memory(sample, selecting, allowed.gigabytes, seed)
    arms, sample, selecting = sample.treatments + 1, sample.where(kept), selecting[kept]
    learning, judging = sample.where(~selecting), sample.where(selecting)
    for label, rows in (("learning", learning), ("selecting", judging)):
        counts = rows.units_per_arm(arms)
        if counts.min() < LEAST_PER_ARM:
            raise ValueError(
                f"folds, gigabytes: {label} units per arm are {counts.tolist()}; each needs at least {LEAST_PER_ARM}"
            )
    tried = _within_time(names, sample, allowed.seconds)
    nuisances = fit_nuisances(learning, randomised=randomised, seed=seed)
    judged = nuisances.at(judging.x)
    potential = potential_scores(judging, *judged)
    scores = potential[:, 1:] - potential[:, :1]
    task = Task(learning, nuisances.expected, nuisances.propensity, seed)
    losses = {name: ((scores - CANDIDATES[name](task)(judging.x)) ** 2).mean(axis=1) for name in tried}
    trials = _compared(losses, judging.unit)
    winner = _kept(trials)
    expected, propensity = np.empty((2, len(sample.y), arms))
    expected[~selecting], propensity[~selecting] = nuisances.expected, nuisances.propensity
    expected[selecting], propensity[selecting] = judged
    effects = CANDIDATES[winner](Task(sample, expected, propensity, seed))
    left_out = tuple(name for name in names if name not in tried)
    return Choice(winner, effects, nuisances, trials, left_out, len(sample.y))


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
    varied = [trial for trial in trials if trial.candidate != "none"]
    if len(varied) < len(trials) and trials[0].behind == 0:
        return "none"
    return next(trial.candidate for trial in varied if trial.behind <= trial.std_error)


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
