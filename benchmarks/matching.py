"""Propensity matching: ours against causalml and scikit-learn, in one run.

    python -m benchmarks.matching [--peers PYTHON] [--rounds 5]

``--peers`` is an interpreter with causalml; without it those rows are left out. Every way has a process of its own, in
turn; the time is the CPU time of the second of two calls, imports and data outside. Printed and written to
``docs/benchmarks/matching.md``: the ratio of each peer's time to ours (minimum, median, maximum), peak memory, pairs
and total distance in logits, and how our own time grows.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "matching.md"
CALIPER = 0.2
SIZES = (1_000_000, 100_000)
# causalml's matching without replacement needs minutes from here on.
CAUSALML_MOST = 20_000
# Way, whether with replacement, and the sizes it runs at.
OURS = (("ours, without replacement", False), ("ours, with replacement", True))


def data(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits and arms: a quarter treated, likelier where the logit is high."""
    rng = np.random.default_rng(0)
    logit = 0.8 * rng.normal(size=n) - 1.2
    return logit, rng.random(n) < 1 / (1 + np.exp(-logit))


def run(way: str, n: int) -> dict[str, Any]:
    """CPU seconds of the second call, pairs, total distance and peak memory of one way."""
    logit, d = data(n)
    solve = {"ours": _ours, "causalml": _causalml, "scikit-learn": _sklearn}[way.split(",")[0]]
    for _ in range(2):
        began = time.process_time()
        pairs, distance = solve(logit, d, "with replacement" in way)
        seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "pairs": pairs, "distance": distance, "peak": peak}


def _ours(logit: np.ndarray, d: np.ndarray, replacement: bool) -> tuple[int, float]:
    from causal_assets.estimators.matching import match

    found = match(1 / (1 + np.exp(-logit)), d, replacement=replacement, caliper=CALIPER)
    return len(found.treated), float(found.distance.sum())


def _causalml(logit: np.ndarray, d: np.ndarray, replacement: bool) -> tuple[int, float]:
    import pandas as pd
    from causalml.match import NearestNeighborMatch

    # Its caliper is in standard deviations of the whole sample; ours of the arms' average.
    caliper = CALIPER * np.sqrt((logit[d].var() + logit[~d].var()) / 2) / logit.std()
    frame = pd.DataFrame({"logit": logit, "treated": d.astype(int)})
    matcher = NearestNeighborMatch(caliper=caliper, replace=replacement, ratio=1, random_state=0)
    found = matcher.match(frame, "treated", ["logit"])
    pairs = int((found["treated"] == 1).sum())
    # It returns rows, not pairs: the least total distance of the units it chose is its best case.
    arms = [np.sort(found.loc[found["treated"] == arm, "logit"].to_numpy()) for arm in (0, 1)]
    if replacement:
        return pairs, float("nan")
    return pairs, float(np.abs(arms[0] - arms[1]).sum())


def _sklearn(logit: np.ndarray, d: np.ndarray, replacement: bool) -> tuple[int, float]:
    from sklearn.neighbors import NearestNeighbors

    assert replacement
    gap = NearestNeighbors(n_neighbors=1).fit(logit[~d, None]).kneighbors(logit[d, None])[0][:, 0]
    near = gap <= CALIPER * np.sqrt((logit[d].var() + logit[~d].var()) / 2)
    return int(near.sum()), float(gap[near].sum())


def child(python: str, way: str, n: int) -> dict[str, Any]:
    """One way in a process of its own, on one thread."""
    command = [python, "-m", "benchmarks.matching", "--way", way, "--units", str(n)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return json.loads(subprocess.check_output(command, text=True, env=environment).splitlines()[-1])


def main() -> None:
    """Time all ways in turn, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--units", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(run(given.way, given.units)))
        return
    ways = [(way, n, sys.executable) for way, _ in OURS for n in (*SIZES, CAUSALML_MOST)]
    ways += [("scikit-learn, with replacement", n, sys.executable) for n in SIZES]
    if given.peers:
        ways += [("causalml, with replacement", n, given.peers) for n in SIZES]
        ways += [("causalml, without replacement", CAUSALML_MOST, given.peers)]
    ran: dict[tuple[str, int], list[dict[str, Any]]] = {(way, n): [] for way, n, _ in ways}
    for _ in range(given.rounds):
        for way, n, python in ways:
            ran[way, n].append(child(python, way, n))
    table = page(ran, given.rounds)
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(table, encoding="utf-8")
    print(table)


def page(ran: dict[tuple[str, int], list[dict[str, Any]]], rounds: int) -> str:
    """The whole of the page."""
    lines = [
        "# Matching on the propensity",
        "",
        f"Written by `python -m benchmarks.matching` on {datetime.now(UTC):%Y-%m-%d}: one control per treated unit, "
        f"caliper {CALIPER} standard deviations of the logit, a quarter treated, {rounds} interleaved rounds on one "
        "thread; CPU seconds, since the machine is shared. Ratios are a peer's CPU time over ours of the same kind and "
        "size. causalml returns no "
        "pairs: its distance is the least possible for the units it chose.",
        "",
        "| way | units | time / ours: min | median | max | CPU seconds | peak MB | pairs | total distance |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for (way, n), runs in ran.items():
        ours = ran[f"ours,{way.split(',')[1]}", n]
        ratios = [other["seconds"] / own["seconds"] for other, own in zip(runs, ours, strict=True)]
        shown = [f"{f(ratios):.2f}" for f in (min, statistics.median, max)]
        seconds = statistics.median(r["seconds"] for r in runs)
        peak, pairs, distance = max(r["peak"] for r in runs), runs[0]["pairs"], runs[0]["distance"]
        total = "" if np.isnan(distance) else f"{distance:.4g}"
        lines.append(f"| {way} | {n:,} | {' | '.join(shown)} | {seconds:.3f} | {peak:.0f} | {pairs:,} | {total} |")
    grown = ", ".join(
        f"{way.split(', ')[1]} {_median(ran, way, SIZES[0]) / _median(ran, way, SIZES[1]):.1f}x" for way, _ in OURS
    )
    return "\n".join([*lines, "", f"Ten times the units take us: {grown} (n log n would be 12x).", ""])


def _median(ran: dict[tuple[str, int], list[dict[str, Any]]], way: str, n: int) -> float:
    return statistics.median(r["seconds"] for r in ran[way, n])


if __name__ == "__main__":
    main()
