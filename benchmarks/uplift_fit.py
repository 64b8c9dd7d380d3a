"""Learning who responds more, on planted effects: the search and its winner beside causalml's and EconML's defaults.

    python -m benchmarks.uplift_fit [--rounds 2] [--large 1000000] [--huge 14000000]

Peers have LightGBM as it comes (100 trees of 31 leaves) as every model; their forests are grown on a draw of 10,000
rows. Every way has a process of its own, in turn, on one thread; CPU seconds, since the machine is shared. The truth is
known, so a model is held against it on fresh units: correlation, and what its policy (treat where the predicted effect
is above the cost) loses against the policy of one who knows. Written to ``docs/benchmarks/uplift_fit.md``.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from causal_assets.estimators.inference import Floats

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "uplift_fit.md"
OURS, PLAIN = "ours: search", "two plain LightGBM fits"
CHOSEN = {"ours: t, nuisances included": "t", "ours: x, nuisances included": "x"}
COMPARED = (100_000, 20)
FEATURES, FEATURES_HUGE = 30, 12
FRESH, FOREST_ROWS = 50_000, 10_000
# Money per unit treated, in units of outcome: about half of the units are worth it.
COST = 0.3
SELECTING = 0.27
# What the largest search may take: it learns from the draw that fits.
HUGE_SECONDS, HUGE_GIGABYTES = 30.0, 1.0


def planted(n: int, p: int, seed: int) -> tuple[Floats, np.ndarray, Floats, Floats]:
    """Features (n, p), arm, outcome and effect (n,): a bent, partly non-linear effect of mean about the cost."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, p))
    effect = COST + 0.3 * x[:, 0] + 0.3 * (x[:, 1] > 0.5) * x[:, 2] - 0.15 * np.maximum(x[:, 3], 0)
    arm = rng.integers(0, 2, n)
    return x, arm, x[:, 0] + np.sin(2 * x[:, 4]) + 0.5 * x[:, 5] * x[:, 6] + arm * effect + rng.normal(0, 2, n), effect


def run(way: str, n: int, p: int) -> dict[str, Any]:
    """CPU seconds and peak memory of one way, imports and data outside, and how near to the truth it comes."""
    fitted = _ways(way)
    fitted(*planted(2_000, p, 2)[:3])
    x, arm, y, _ = planted(n, p, 0)
    given = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.process_time()
    effects, note = fitted(x, arm, y)
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    fresh, _, _, truth = planted(FRESH, p, 1)
    found = effects(fresh)
    return {
        "seconds": seconds, "peak": peak, "more": peak - given, "note": note,
        "correlation": float(np.corrcoef(found, truth)[0, 1]) if np.ptp(found) > 0 else 0.0,
        "regret": float(np.maximum(truth - COST, 0).mean() - ((found > COST) * (truth - COST)).mean()),
    }  # fmt: skip


Fitted = tuple[Callable[[Floats], Floats], str]


def _ways(way: str) -> Callable[[Floats, np.ndarray, Floats], Fitted]:
    """The call that learns: it gives effects (m,) of features (m, p), and what there is to say."""
    from lightgbm import LGBMClassifier, LGBMRegressor

    def plain() -> LGBMRegressor:
        return LGBMRegressor(verbose=-1, n_jobs=1)

    def ours(x: Floats, arm: np.ndarray, y: Floats) -> Fitted:
        from causal_assets.targeting.choice import Budget, choose
        from causal_assets.targeting.nuisances import Sample

        selecting = np.random.default_rng(3).random(len(y)) < SELECTING
        budget = Budget(HUGE_SECONDS, HUGE_GIGABYTES) if x.shape[1] == FEATURES_HUGE else Budget()
        found = choose(Sample.of(x, arm, y), selecting, randomised=True, budget=budget, seed=0)
        left = f", without {', '.join(found.left_out)}" if found.left_out else ""
        return lambda new: found.effects(new)[:, 0], f"{found.winner} of {found.rows:,} rows{left}"

    def chosen(x: Floats, arm: np.ndarray, y: Floats) -> Fitted:
        from causal_assets.targeting.learners import CANDIDATES, Task
        from causal_assets.targeting.nuisances import Sample, fit_nuisances

        sample = Sample.of(x, arm, y)
        nuisances = fit_nuisances(sample, randomised=True, seed=0)
        effects = CANDIDATES[CHOSEN[way]](Task(sample, nuisances.expected, nuisances.propensity, 0))
        return lambda new: effects(new)[:, 0], ""

    def two(x: Floats, arm: np.ndarray, y: Floats) -> Fitted:
        control, treated = (plain().fit(x[arm == a], y[arm == a]) for a in (0, 1))
        return lambda new: np.asarray(treated.predict(new)) - np.asarray(control.predict(new)), ""

    def causalml(x: Floats, arm: np.ndarray, y: Floats) -> Fitted:
        from causalml.inference import meta

        learner = (meta.BaseTRegressor if way == "causalml T" else meta.BaseXRegressor)(plain(), control_name=0)
        given = {"p": np.full(len(y), 0.5)} if way == "causalml X" else {}
        learner.fit(X=x, treatment=arm, y=y, **given)
        again = (lambda m: {"p": np.full(m, 0.5)}) if given else lambda _: {}
        return lambda new: np.asarray(learner.predict(new, **again(len(new))))[:, 0], ""

    def econml(x: Floats, arm: np.ndarray, y: Floats) -> Fitted:
        from econml.dml import CausalForestDML
        from econml.dr import DRLearner

        chance = LGBMClassifier(verbose=-1, n_jobs=1)
        if way == "EconML DRLearner":
            learner: Any = DRLearner(
                model_propensity=chance, model_regression=plain(), model_final=plain(), random_state=0
            )
        else:
            learner = CausalForestDML(
                model_y=plain(), model_t=chance, discrete_treatment=True, n_jobs=1, random_state=0
            )
            x, arm, y = x[:FOREST_ROWS], arm[:FOREST_ROWS], y[:FOREST_ROWS]
        learner.fit(y, arm, X=x, **({"inference": None} if way == "EconML DRLearner" else {}))
        return lambda new: learner.effect(new).reshape(-1), f"{len(y):,} rows"

    if way.startswith("ours"):
        return ours if way == OURS else chosen
    return two if way == PLAIN else causalml if way.startswith("causalml") else econml


def child(way: str, n: int, p: int) -> dict[str, Any]:
    """One way in a process of its own, on one thread."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.uplift_fit", "--way", way]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command += ["--units", str(n), "--features", str(p)]
    found = json.loads(subprocess.check_output(command, text=True, env=environment).splitlines()[-1])
    print(way, n, p, json.dumps(found), file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Run all ways in turn, print the page and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--huge", type=int, default=14_000_000)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--units", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--features", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(run(given.way, given.units, given.features)))
        return
    peers = ("causalml T", "causalml X", "EconML DRLearner", "EconML CausalForestDML")
    quality = [(way, *COMPARED) for way in (OURS, *peers)]
    speed = [(way, n, FEATURES) for n in (given.large // 10, given.large) for way in (PLAIN, *CHOSEN)]
    ran: dict[tuple[str, int, int], list[dict[str, Any]]] = {key: [child(*key)] for key in quality}
    for _ in range(given.rounds):
        for key in speed:
            ran.setdefault(key, []).append(child(*key))
    huge = (OURS, given.huge, FEATURES_HUGE)
    ran[huge] = [child(*huge)]
    table = page(ran, quality, speed, huge, given.rounds)
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(table, encoding="utf-8")
    print(table)


def page(
    ran: dict[tuple[str, int, int], list[dict[str, Any]]],
    quality: list[tuple[str, int, int]],
    speed: list[tuple[str, int, int]],
    huge: tuple[str, int, int],
    rounds: int,
) -> str:
    """The whole of the page."""
    lines = [
        "# Learning who responds more",
        "",
        f"Written by `python -m benchmarks.uplift_fit` on {datetime.now(UTC):%Y-%m-%d}: one treatment drawn by lot, "
        f"planted effects, a cost of {COST} per unit treated; one thread, CPU seconds, since the machine is shared.",
        "",
        f"## Against the truth, {COMPARED[0]:,} rows of {COMPARED[1]} features",
        "",
        f"On {FRESH:,} fresh units; regret is what the policy loses per unit against one who knows every effect. Peers "
        "have LightGBM with its own settings as every model. Time is the peer's over ours, and ours is of the whole "
        "search: every candidate, then the winner again.",
        "",
        "| way | correlation | regret | time / ours | CPU seconds | peak MB | beyond data | learned |",
        "|---|---|---|---|---|---|---|---|",
    ]
    own = ran[quality[0]][0]["seconds"]
    for key in quality:
        (one,) = ran[key]
        lines.append(
            f"| {key[0]} | {one['correlation']:.3f} | {one['regret']:.4f} | {one['seconds'] / own:.2f} | "
            f"{one['seconds']:.1f} | {one['peak']:.0f} | {one['more']:.0f} | {one['note']} |"
        )
    lines += [
        "",
        f"## Against two plain LightGBM fits, {FEATURES} features",
        "",
        f"One per arm, {rounds} interleaved rounds; the ratio is the median of our time over theirs.",
        "",
        "| way | rows | ratio | CPU seconds | peak MB | beyond data | correlation | regret |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for way, n, p in speed:
        runs, plain = ran[way, n, p], ran[PLAIN, n, p]
        ratio = statistics.median(a["seconds"] / b["seconds"] for a, b in zip(runs, plain, strict=True))
        seconds = statistics.median(one["seconds"] for one in runs)
        lines.append(
            f"| {way} | {n:,} | {ratio:.2f} | {seconds:.1f} | {runs[0]['peak']:.0f} | {runs[0]['more']:.0f} | "
            f"{runs[0]['correlation']:.3f} | {runs[0]['regret']:.4f} |"
        )
    way, n, p = huge
    (one,) = ran[huge]
    lines += [
        "",
        f"## {n:,} rows of {p} features",
        "",
        f"Allowed were {HUGE_SECONDS:.0f} processor seconds, by measured rates, and {HUGE_GIGABYTES:.0f} GB. Kept: "
        f"{one['note']}. It took {one['seconds']:.0f} CPU seconds and {one['peak']:.0f} MB at the peak, "
        f"{one['more']:.0f} beyond making the data; correlation with the truth {one['correlation']:.3f}, regret "
        f"{one['regret']:.4f}.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
