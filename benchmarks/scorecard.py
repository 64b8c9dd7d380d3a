"""A scorecard with CUPED: our one engine pass against a plain scan, tea-tasting and a pandas/statsmodels script.

    python -m benchmarks.scorecard [--units 10000000] [--metrics 10] [--rounds 3]

Each way runs in a process of its own, in turn, ``rounds`` times, on two threads. The plain scan sums each of the same
columns, the other scan by arm, which is the least a pass can do. Printed are the ratios to the plain scan (minimum,
median, maximum), in wall and in CPU seconds, the peak memory, and the largest difference of an effect or standard error
from ours in standard errors (tea-tasting pools one slope over the arms; the script fits one interacted regression per
metric, HC1).
The table is written to ``docs/benchmarks/scorecard.md``.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from causal_assets.estimators.moments import Moments
from causal_assets.estimators.randomized import difference_in_means
from causal_assets.warehouse.engine import Warehouse
from causal_assets.warehouse.queries.scorecards import scorecard_moments

TABLE = Path(__file__).parents[1] / "docs" / "benchmarks" / "scorecard.md"
WAYS = ("plain scan", "scan by arm", "one pass", "tea-tasting", "pandas and statsmodels")

Found = list[tuple[float, float]]


def build(path: str, units: int, metrics: int) -> None:
    """Units with an arm, ``metrics`` outcomes, and each outcome's value of before, which explains half of it."""
    columns = ", ".join(
        f"habit{k} + (hash(u, {k}, 2) % 1000) / 10.0 AS x{k}, habit{k} + (hash(u, {k}, 3) % 1000) / 10.0 AS y{k}"
        for k in range(metrics)
    )
    habits = ", ".join(f"sqrt((hash(u, {k}) % 1000000) / 7.0) AS habit{k}" for k in range(metrics))
    with Warehouse(path=path).connect() as connection:
        connection.execute(
            f"CREATE TABLE units AS SELECT hash(u, 99) % 2 = 0 AS treated, {columns} "
            f"FROM (SELECT u, {habits} FROM range({units}) AS a (u))"
        )


def one_pass(warehouse: Warehouse, metrics: int) -> Found:
    """Moments by the query, effects by ``difference_in_means``."""
    rows = warehouse.rows(scorecard_moments("units", {f"y{k}": (f"x{k}",) for k in range(metrics)}))
    arms: dict[tuple[str, bool], Moments] = {}
    for row in rows:
        first, shared, second = row["covariances"]
        part = Moments(row["n"], np.array(row["means"]), np.array([[first, shared], [shared, second]]))
        key = row["metric"], row["treated"]
        arms[key] = arms[key].merge(part) if key in arms else part
    found = [difference_in_means(arms[f"y{k}", False], arms[f"y{k}", True], outcome=f"y{k}") for k in range(metrics)]
    return [(e.value, (e.high - e.low) / 2 / 1.959963985) for e in found]


def scan(warehouse: Warehouse, metrics: int) -> Found:
    """Every column once."""
    warehouse.rows(f"SELECT {_sums(metrics)} FROM units")
    return []


def scan_by_arm(warehouse: Warehouse, metrics: int) -> Found:
    """The same, and the arm."""
    warehouse.rows(f"SELECT treated, {_sums(metrics)} FROM units GROUP BY treated")
    return []


def _sums(metrics: int) -> str:
    return ", ".join(f"sum(y{k}), sum(x{k})" for k in range(metrics))


def tea_tasting(warehouse: Warehouse, metrics: int) -> Found:
    """Rows to Arrow, then its Mean with a covariate."""
    import tea_tasting as tt

    with warehouse.connect() as connection:
        rows = connection.execute("SELECT CAST(treated AS INTEGER) AS variant, * FROM units").to_arrow_table()
    experiment = tt.Experiment({f"y{k}": tt.Mean(f"y{k}", f"x{k}") for k in range(metrics)})
    results: Any = experiment.analyze(rows)
    found = (results[f"y{k}"] for k in range(metrics))
    return [(r.effect_size, (r.effect_size_ci_upper - r.effect_size_ci_lower) / 2 / 1.959963985) for r in found]


def script(warehouse: Warehouse, metrics: int) -> Found:
    """Rows to pandas, then a regression per metric as an analyst writes it."""
    import pandas as pd
    import statsmodels.api as sm

    with warehouse.connect() as connection:
        rows = connection.execute("SELECT * FROM units").df()
    d, found = rows["treated"].astype(float), []
    for k in range(metrics):
        x = rows[f"x{k}"] - rows[f"x{k}"].mean()
        fit = sm.OLS(rows[f"y{k}"], pd.DataFrame({"one": 1.0, "d": d, "x": x, "dx": d * x})).fit(cov_type="HC1")
        found.append((float(fit.params["d"]), float(fit.bse["d"])))
    return found


IMPORTS = dict(zip(WAYS, ((), (), ("scipy.stats",), ("tea_tasting", "pyarrow"), ("statsmodels.api",)), strict=True))
RUNS = dict(zip(WAYS, (scan, scan_by_arm, one_pass, tea_tasting, script), strict=True))


def run(way: str, path: str, metrics: int) -> None:
    """One way in this process; a JSON line with what it took and found."""
    for needed in IMPORTS[way]:  # loading a library is not the work that is compared
        import_module(needed)
    warehouse = Warehouse(path=path)
    wall, cpu = time.perf_counter(), time.process_time()
    found = RUNS[way](warehouse, metrics)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"wall": wall, "cpu": cpu, "peak": peak, "found": found}))


def table(ran: dict[str, list[dict]], units: int, metrics: int, rounds: int) -> str:
    """The Markdown table."""
    lines = [
        f"{units:,} users x {metrics} metrics, each with one covariate of before; {rounds} rounds, two shared cores, "
        f"{datetime.now(UTC):%Y-%m-%d}, `python -m benchmarks.scorecard`.",
        "",
        "| way | wall relative to the plain scan: min | median | max | CPU relative: min | median | max | peak MB "
        "| largest difference, in standard errors |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    ours = ran["one pass"][0]["found"]
    for way, runs in ran.items():
        cells = []
        for clock in ("wall", "cpu"):
            ratios = [run[clock] / base[clock] for run, base in zip(runs, ran[WAYS[0]], strict=True)]
            cells += [f"{ratio:.2f}" for ratio in (min(ratios), statistics.median(ratios), max(ratios))]
        off = [max(abs(a - b), abs(s - e)) / e for (a, s), (b, e) in zip(runs[0]["found"], ours, strict=False)]
        shown = f"{max(off):.1e}" if off else ""
        lines.append(f"| {way} | {' | '.join(cells)} | {max(run['peak'] for run in runs):.0f} | {shown} |")
    base = ran[WAYS[0]]
    wall, cpu = (statistics.median(run[clock] for run in base) for clock in ("wall", "cpu"))
    return "\n".join([*lines, "", f"Plain scan: median {wall:.2f} s wall, {cpu:.2f} s CPU.", ""])


def main() -> None:
    """Time all ways in turn, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=10_000_000)
    parser.add_argument("--metrics", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        run(given.way, given.path, given.metrics)
        return
    ran: dict[str, list[dict]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "bench.duckdb")
        build(path, given.units, given.metrics)
        for _ in range(given.rounds):
            for way in WAYS:
                command = [sys.executable, "-m", "benchmarks.scorecard", "--way", way, "--path", path]
                command += ["--metrics", str(given.metrics)]
                ran[way].append(json.loads(subprocess.check_output(command, text=True)))
    text = table(ran, given.units, given.metrics, given.rounds)
    print(text)
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    TABLE.write_text(f"# Experiment scorecard\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
