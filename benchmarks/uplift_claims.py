"""How often an uplift model claims that some respond more, and is acted on: ``python -m benchmarks.uplift_claims``.

Two hundred worlds of each kind, from seeds of their own. In worlds without heterogeneity the effect is the same for
everybody and equals the cost, so that no policy earns more than another: claims and activations are errors. In worlds
with heterogeneity the effect varies as much as its mean. Folds have the shares of a study; a world is activated where
the lower end of the policy's gain on its own fold, over the best simple alternative on the test fold, is above zero.
The table is written to ``docs/benchmarks/uplift_claims.md``.
"""

import argparse
import resource
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial
from math import sqrt
from pathlib import Path

import numpy as np

from causal_assets.designs.targeted import SHARES
from causal_assets.targeting.features import Features
from causal_assets.targeting.model import POLICY, TEST, Limits, Treatments, UpliftModel, fit
from causal_assets.targeting.nuisances import Sample, potential_scores
from causal_assets.targeting.policy_value import best_baseline, policy_gain

TABLE = Path(__file__).parents[1] / "docs" / "benchmarks" / "uplift_claims.md"
# Fewer than a study's by default: two hundred worlds of each kind are to take minutes.
CANDIDATES = ("none", "linear", "s")
FEATURES = 5

Draw = tuple[np.ndarray, np.ndarray]  # outcome (n,) without and with treatment
World = Callable[[np.random.Generator, np.ndarray], Draw]


def same(rng: np.random.Generator, x: np.ndarray) -> Draw:
    """Money: a level by the first feature, an effect of 0.2 for everybody."""
    level = x[:, 0] + rng.normal(size=len(x))
    return level, level + 0.2


def same_rare(rng: np.random.Generator, x: np.ndarray) -> Draw:
    """Yes or no: 5% respond, more by the first feature; 2 points more when treated, whoever they are."""
    chance, luck = 0.05 * np.exp(0.8 * x[:, 0] - 0.32).clip(max=10), rng.random(len(x))
    return (luck < chance).astype(float), (luck < chance + 0.02).astype(float)


def varied(rng: np.random.Generator, x: np.ndarray) -> Draw:
    """Money: an effect whose mean and standard deviation are 0.2, by the second feature."""
    level = x[:, 0] + rng.normal(size=len(x))
    return level, level + 0.2 * (1 + x[:, 1])


# What is planted, and the cost of a treatment.
WORLDS: dict[str, tuple[World, float]] = {
    "the same effect, money": (same, 0.2),
    "the same effect, 5% respond": (same_rare, 0.02),
    "sd of the effect = its mean = 0.2 residual sd": (varied, 0.2),
}


def run(world: World, cost: float, units: int, seed: int) -> tuple[bool, bool, str]:
    """Whether a world is claimed to respond differently, whether its policy is activated, and the winner."""
    rng = np.random.default_rng(seed)
    x, arm = rng.normal(size=(units, FEATURES)), rng.integers(0, 2, units)
    y = np.where(arm == 1, *world(rng, x)[::-1])
    fold = rng.choice(len(SHARES), units, p=np.array(SHARES) / 100)
    columns = {f"x{k}": column for k, column in enumerate(x.T)}
    sample = Sample.of(x, arm, y)
    model = fit(
        sample, fold, Features.of(columns, list(columns), ()),
        Treatments(names=("offer",), cost=(cost,), capacity=(np.inf,)),
        value=1.0, limits=Limits(), randomised=True, candidates=CANDIDATES, level=0.9, seed=seed,
    )  # fmt: skip
    return any(model.responds), _activated(model, sample, fold, cost), model.choice.winner


def _activated(model: UpliftModel, sample: Sample, fold: np.ndarray, cost: float) -> bool:
    scores = {}
    for place in (TEST, POLICY):
        own = sample.where(fold == place)
        scored = model.score_matrix(own.x)
        scores[place] = potential_scores(own, scored.expected, scored.propensity), scored.chosen
    baseline = best_baseline(scores[TEST][0], [cost], value=1.0)
    potential, chosen = scores[POLICY]
    gain = policy_gain(potential, chosen, baseline.arms(len(chosen)), [cost], value=1.0, outcome="y", level=0.9)
    return gain.low > 0


def line(name: str, found: list[tuple[bool, bool, str]]) -> str:
    """One row of the table: rates in percent with Monte-Carlo errors."""
    cells = []
    for column in (0, 1):
        rate = sum(one[column] for one in found) / len(found)
        cells.append(f"{100 * rate:.1f} ± {100 * sqrt(rate * (1 - rate) / len(found)):.1f}")
    winners = ", ".join(f"{name} {count}" for name, count in Counter(one[2] for one in found).most_common())
    return f"| {name} | {len(found)} | {' | '.join(cells)} | {winners} |"


def main() -> None:
    """Run the worlds, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=8_000)
    parser.add_argument("--worlds", type=int, default=200)
    given = parser.parse_args()
    rows = []
    for place, (name, (world, cost)) in enumerate(WORLDS.items()):
        seeds = range(100_000 * place, 100_000 * place + given.worlds)
        with ProcessPoolExecutor() as pool:
            found = list(pool.map(partial(run, world, cost, given.units), seeds))
        rows.append(line(name, found))
        print(rows[-1], flush=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    text = "\n".join([
        "# Claims of uplift models", "",
        f"Written by `python -m benchmarks.uplift_claims` on {datetime.now(UTC):%Y-%m-%d}: {given.units:,} units per "
        f"world, half treated, {FEATURES} features, folds of {SHARES} percent, candidates {', '.join(CANDIDATES)} (not "
        f"the default list, to save time); seeds from 0, 100,000 and so on by row; ± is the Monte-Carlo error; "
        f"{used.ru_utime + used.ru_stime:.0f} CPU seconds in all.", "",
        "Where the effect is the same for everybody, at most 5% may be claimed and at most 5% activated; where it "
        "varies as much as its mean, at least 80% should be claimed: that is a matter of size and units too.", "",
        "| worlds | number | claimed to vary, % | activated, % | kept |", "|---|---|---|---|---|", *rows, "",
    ])  # fmt: skip
    TABLE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
