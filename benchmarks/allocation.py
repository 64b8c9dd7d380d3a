"""Choosing a treatment per unit under limits: ours against SciPy's HiGHS, in one run.

    python -m benchmarks.allocation [--rounds 3]

Two treatments whose costs differ between units; a budget alone, or a budget, two capacities and a limit on contacts.
Every way has a process of its own, in turn; the time is the CPU time of one call after one on 1,000 units, imports and
data outside. Printed and written to ``docs/benchmarks/allocation.md``: the ratio of the peer's time to ours (minimum,
median, maximum), peak memory, in all and beyond making the data, what the bound leaves open, and how our time grows.
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

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "allocation.md"
SIZES = (10_000_000, 1_000_000, 100_000, 20_000)
LIMITS = ("budget", "all limits")
# HiGHS needs a minute for the last of these, and its time grows with the square.
PEERS = (("HiGHS, budget", 20_000), ("HiGHS, all limits", 20_000), ("HiGHS, all limits", 100_000))


def data(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Effects and costs (n, 2) in single precision, as a scored table holds them."""
    rng = np.random.default_rng(0)
    effect = np.empty((n, 2), dtype=np.float32)
    cost = np.empty((n, 2), dtype=np.float32)
    for k, price in enumerate((0.02, 0.05)):
        effect[:, k] = rng.normal(0.05, 0.1, n)
        cost[:, k] = price * rng.uniform(0.5, 1.5, n)
    return effect, cost


def limits(n: int, way: str) -> dict[str, Any]:
    """Limits of which budget, or budget and contacts, bind."""
    if "all" not in way:
        return {"budget": 0.008 * n}
    return {"budget": 0.0095 * n, "capacity": [0.25 * n, 0.15 * n], "contacts": 0.35 * n}


def run(way: str, n: int) -> dict[str, Any]:
    """CPU seconds, profit, what the bound leaves open and peak memory of one way."""
    solve = _ours if way.startswith("ours") else _highs
    solve(*data(1_000), limits(1_000, way))
    effect, cost = data(n)
    given = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.process_time()
    profit, gap = solve(effect, cost, limits(n, way))
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "profit": profit, "gap": gap, "peak": peak, "more": peak - given}


def _ours(effect: np.ndarray, cost: np.ndarray, limits: dict[str, Any]) -> tuple[float, float]:
    from causal_assets.targeting.allocation import allocate

    found = allocate(effect, cost, value=1.0, **limits)
    return found.profit, found.gap


def _highs(effect: np.ndarray, cost: np.ndarray, limits: dict[str, Any]) -> tuple[float, float]:
    """The relaxed problem: its optimum is the bound, and units may be split."""
    from scipy import sparse
    from scipy.optimize import linprog

    n, arms = effect.shape
    shared = [cost.ravel(), *(np.tile(np.eye(arms)[k], n) for k in range(arms)), np.ones(n * arms)]
    room = [limits["budget"], *limits.get("capacity", [n] * arms), limits.get("contacts", n)]
    each = sparse.kron(sparse.eye(n), np.ones((1, arms)))
    rows = sparse.vstack([each, sparse.csr_matrix(np.array(shared)[: len(room) if len(limits) > 1 else 1])])
    sides = np.concatenate([np.ones(n), room if len(limits) > 1 else room[:1]])
    found = linprog((cost - effect).ravel(), rows.tocsr(), sides, method="highs")
    return -found.fun, 0.0


def child(way: str, n: int) -> dict[str, Any]:
    """One way in a process of its own, on one thread."""
    command = [sys.executable, "-m", "benchmarks.allocation", "--way", way, "--units", str(n)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return json.loads(subprocess.check_output(command, text=True, env=environment).splitlines()[-1])


def main() -> None:
    """Time all ways in turn, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--units", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(run(given.way, given.units)))
        return
    ways = [*((f"ours, {kind}", n) for kind in LIMITS for n in SIZES), *PEERS]
    ran: dict[tuple[str, int], list[dict[str, Any]]] = {way: [] for way in ways}
    for _ in range(given.rounds):
        for way in ways:
            ran[way].append(child(*way))
    table = page(ran, given.rounds)
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(table, encoding="utf-8")
    print(table)


def page(ran: dict[tuple[str, int], list[dict[str, Any]]], rounds: int) -> str:
    """The whole of the page."""
    lines = [
        "# Choosing treatments under limits",
        "",
        f"Written by `python -m benchmarks.allocation` on {datetime.now(UTC):%Y-%m-%d}: two treatments, costs by unit, "
        f"arrays in single precision, {rounds} interleaved rounds on one thread; CPU seconds, since the machine is "
        "shared. Ratios are HiGHS's CPU time over ours at the same limits and size. HiGHS (`scipy.optimize.linprog`) "
        "solves the relaxed problem and may split units: its profit is the bound. The gap is ours, of whole units, in "
        "money, where a unit's profit is at most about 0.5.",
        "",
        "| way | units | time / ours: min | median | max | CPU seconds | peak MB | beyond data | profit | gap |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (way, n), runs in ran.items():
        ours = ran[f"ours,{way.split(',')[1]}", n]
        ratios = [other["seconds"] / own["seconds"] for other, own in zip(runs, ours, strict=True)]
        shown = [f"{f(ratios):.1f}" for f in (min, statistics.median, max)]
        seconds = statistics.median(r["seconds"] for r in runs)
        peak, more = (max(r[key] for r in runs) for key in ("peak", "more"))
        gap = f"{runs[0]['gap']:.2g}" if way.startswith("ours") else ""
        lines.append(
            f"| {way} | {n:,} | {' | '.join(shown)} | {seconds:.2f} | {peak:.0f} | {more:.0f} | "
            f"{runs[0]['profit']:,.2f} | {gap} |"
        )
    grown = ", ".join(f"{kind} {_grown(ran, f'ours, {kind}'):.1f}x" for kind in LIMITS)
    return "\n".join([*lines, "", f"Ten times the units, from {SIZES[1]:,} on, take us: {grown}.", ""])


def _grown(ran: dict[tuple[str, int], list[dict[str, Any]]], way: str) -> float:
    large, small = (statistics.median(r["seconds"] for r in ran[way, n]) for n in SIZES[:2])
    return large / small


if __name__ == "__main__":
    main()
