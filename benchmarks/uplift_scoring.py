"""Scoring more customers than memory should hold: from the warehouse back into it, against the bare model.

    python -m benchmarks.uplift_scoring [--rounds 3] [--large 10000000]

The bare model is ``UpliftModel.score_matrix`` on an array in memory: effects, intervals, expected outcomes, treatments.
Ours, ``designs.scoring_table.write_scores``, reads the same rows as columns from a DuckDB file, one of them text, makes
the array, scores, names segments and treatments, and writes the table. Every run has a process of its own, in turn, on
one thread; CPU seconds, since the machine is shared. Written to ``docs/benchmarks/uplift_scoring.md``.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "uplift_scoring.md"
OURS, BARE = "warehouse to warehouse", "bare model, arrays in memory"
SIZE = 200_000
NUMBERS, KINDS = 12, ("app", "phone", "shop", "web")
LEARNED = 40_000
# Candidates of one kind each: the winner's speed is what the ratio depends on.
MODELS = ("linear", "t")


def rows_sql(n: int) -> str:
    """Customers whose features are hashes of their number, so that any process makes the same."""
    numbers = ", ".join(f"(hash(i * {NUMBERS} + {k}) % 100000) / 50000.0 - 1 AS x{k}" for k in range(NUMBERS))
    kind = " ".join(f"WHEN {k} THEN '{name}'" for k, name in enumerate(KINDS))
    return f"SELECT i AS customer, {numbers}, CASE hash(i) % {len(KINDS)} {kind} END AS channel FROM range({n}) AS r(i)"


def prepare(folder: Path, large: int) -> None:
    """Write warehouses of both sizes and models of two treatments into ``folder``."""
    from causal_assets.targeting.features import Features
    from causal_assets.targeting.model import Limits, Treatments, fit
    from causal_assets.targeting.nuisances import Sample
    from causal_assets.targeting.scoring import write
    from causal_assets.warehouse.engine import Warehouse

    for n in (SIZE, large):
        Warehouse(path=str(folder / f"{n}.duckdb")).replace("shop.customers", rows_sql(n))
    columns = Warehouse(path=str(folder / f"{SIZE}.duckdb")).arrays(f"FROM shop.customers LIMIT {LEARNED}")
    features = Features.of(columns, [f"x{k}" for k in range(NUMBERS)], ["channel"])
    x, rng = features.matrix(columns), np.random.default_rng(0)
    arm, fold = rng.integers(0, 3, LEARNED), rng.integers(0, 4, LEARNED)
    y = x[:, 0] + (arm == 1) * (1 + x[:, 1] + x[:, 2] ** 2) + (arm == 2) * x[:, 3] + rng.normal(size=LEARNED)
    for name in MODELS:
        found = fit(
            Sample.of(x, arm, y), fold, features,
            Treatments(names=("email", "call"), cost=(0.5, 1.0), capacity=(np.inf, np.inf)),
            value=1.0, limits=Limits(), randomised=True, candidates=[name], seed=0,
        )  # fmt: skip
        assert found.choice.winner == name
        (folder / name).mkdir()
        write(found, folder / name)


def run(way: str, name: str, n: int, folder: Path) -> dict[str, float]:
    """CPU seconds, seconds by the clock and peak memory of one way; imports and, for the bare model, data outside."""
    from causal_assets.designs.scoring_table import write_scores
    from causal_assets.targeting import scoring
    from causal_assets.warehouse.engine import Warehouse

    (file,) = (folder / name).iterdir()
    model, warehouse = scoring.read(file).model, Warehouse(path=str(folder / f"{n}.duckdb"))
    head = warehouse.arrays("FROM shop.customers LIMIT 1000")
    model.score(head)
    x = model.features.matrix(warehouse.arrays("FROM shop.customers")) if way == BARE else None
    began, clock = time.process_time(), time.monotonic()
    if x is None:
        assert write_scores(warehouse, model, "FROM shop.customers", "shop.scores", key="customer") == n
    else:
        model.score_matrix(x)
    seconds, elapsed = time.process_time() - began, time.monotonic() - clock
    return {"seconds": seconds, "clock": elapsed, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def child(way: str, name: str, n: int, folder: Path) -> dict[str, float]:
    """One way in a process of its own, on one thread."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.uplift_scoring", "--way", way, "--model", name]
    command += ["--units", str(n), "--folder", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return json.loads(subprocess.check_output(command, text=True, env=environment).splitlines()[-1])


def main() -> None:
    """Run all ways in turn, print the page and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large", type=int, default=10_000_000)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--units", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(run(given.way, given.model, given.units, given.folder)))
        return
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), given.large)
        ran: dict[str, list[Any]] = {name: [] for name in MODELS}
        for _ in range(given.rounds):
            for name in MODELS:
                ran[name].append({way: child(way, name, SIZE, Path(folder)) for way in (BARE, OURS)})
        large = child(OURS, "t", given.large, Path(folder))
    table = page(ran, given.large, large)
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(table, encoding="utf-8")
    print(table)


def page(ran: dict[str, list[Any]], n: int, large: dict[str, float]) -> str:
    """The whole of the page."""
    lines = [
        "# Scoring out of core",
        "",
        f"Written by `python -m benchmarks.uplift_scoring` on {datetime.now(UTC):%Y-%m-%d}: two treatments, {NUMBERS} "
        f"numbers and a text of {len(KINDS)} kinds, {len(next(iter(ran.values())))} interleaved rounds on one thread; "
        "CPU seconds, since the machine is shared. The share is rows per second of the way from the warehouse back "
        "into it over those of the bare model (effects, intervals, expected outcomes and treatments of an array).",
        "",
        "| model | rows | bare: CPU seconds | out of core: CPU seconds | share: min | median | max | peak MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, rounds in ran.items():
        bare, own = ([pair[way]["seconds"] for pair in rounds] for way in (BARE, OURS))
        shares = [b / o for b, o in zip(bare, own, strict=True)]
        shown = " | ".join(f"{f(shares):.2f}" for f in (min, statistics.median, max))
        peak = max(pair[OURS]["peak"] for pair in rounds)
        seconds = " | ".join(f"{statistics.median(taken):.1f}" for taken in (bare, own))
        lines.append(f"| {name} | {SIZE:,} | {seconds} | {shown} | {peak:.0f} |")
    each = statistics.median(pair[BARE]["seconds"] for pair in ran["t"]) / SIZE
    share = each * n / large["seconds"]
    lines += [
        f"| t | {n:,} | {each * n:.1f} (extrapolated) | {large['seconds']:.1f} | | {share:.2f} | | "
        f"{large['peak']:.0f} |",
        "",
        f"{n:,} rows took {large['clock']:.0f} seconds by the clock, on a machine that others use too.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
