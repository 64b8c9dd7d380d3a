"""Sufficient statistics of many studies: one shared pass against one pass per study, tea-tasting and a plain scan.

    python -m benchmarks.study_moments [--units 200000] [--studies 20] [--rounds 5]

Each way runs in a process of its own, in turn, ``rounds`` times; printed are the ratios to our one pass (minimum,
median, maximum), the peak memory, and the largest difference of an effect or its standard error from ours.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from causal_assets.designs.randomized import read_arms
from causal_assets.estimators.randomized import difference_in_means
from causal_assets.warehouse.engine import Warehouse
from causal_assets.warehouse.queries.moments import StudyColumns, study_moments
from causal_assets.warehouse.queries.windows import Window, window_sums

METRICS = ("revenue", "visits", "purchases")
DAYS = 28
WAYS = ("one pass", "pass per study", "tea-tasting", "plain scan")


def build(path: str, units: int, studies: int) -> None:
    """A mart of ten active days per unit and metric, and cohorts of all units with their own days of assignment."""
    warehouse = Warehouse(path=path)
    metrics = ", ".join(f"('{metric}')" for metric in METRICS)
    with warehouse.connect() as connection:
        connection.execute("CREATE SCHEMA marts; CREATE SCHEMA studies")
        connection.execute(f"""
            CREATE TABLE marts.unit_days AS
            SELECT 'shop' AS source, 'u' || u AS unit_id, DATE '2026-01-01' + CAST(hash(u, k) % 100 AS INTEGER) AS day,
                metric, (hash(u, k, metric) % 1000) / 10.0 AS value, 1 AS events
            FROM range({units}) AS a (u), range(10) AS b (k), (VALUES {metrics}) AS m (metric)""")
        connection.execute(
            "CREATE TABLE marts.coverage AS SELECT 'shop' AS source, min(day) AS first_day, max(day) AS last_day "
            "FROM marts.unit_days"
        )
        for study in range(studies):
            connection.execute(f"""
                CREATE SCHEMA study_{study};
                CREATE TABLE study_{study}.cohort AS
                SELECT 'u' || u AS unit_id, hash(u, {study}) % 2 = 0 AS treated,
                    DATE '2026-02-01' + CAST(hash(u, {study}, 1) % 14 AS INTEGER) AS assigned_on,
                    (hash(u, 7) % 100) / 10.0 AS before
                FROM range({units}) AS a (u)""")


def columns(study: int) -> StudyColumns:
    """What one study asks of the pass."""
    windows = tuple(Window(metric, metric, 0, DAYS) for metric in METRICS)
    return StudyColumns(f"study_{study}", "p", "shop", windows, ("before",), DAYS)


def run(way: str, path: str, studies: int) -> list[list[float]]:
    """Effects and standard errors of the first metric by study; the plain scan has none."""
    warehouse = Warehouse(path=path)
    everyone = [columns(study) for study in range(studies)]
    if way == "plain scan":
        warehouse.rows(
            "SELECT source, metric, sum(value), min(day), count(DISTINCT unit_id[1]) FROM marts.unit_days GROUP BY ALL"
        )
        return []
    if way == "tea-tasting":
        return [_tea_tasting(warehouse, study) for study in everyone]
    batches = [everyone] if way == "one pass" else [[study] for study in everyone]
    found = []
    for batch in batches:
        warehouse.replace("studies.moments", study_moments(batch))
        for study in batch:
            arms = read_arms(warehouse, f"(FROM studies.moments WHERE study = '{study.study}')")
            (control, _), (treated, _) = arms[False], arms[True]
            estimate = difference_in_means(control.select([0]), treated.select([0]), outcome=METRICS[0])
            found.append([estimate.value, estimate.spread])
    return found


def _tea_tasting(warehouse: Warehouse, study: StudyColumns) -> list[float]:
    """Unit rows to Arrow by the same window query, then tea-tasting's Welch test of each metric."""
    import tea_tasting as tt

    cohort = f"{study.study}.cohort"
    with warehouse.connect() as connection:
        rows = connection.execute(
            f"SELECT CAST(c.treated AS INTEGER) AS variant, w.* "
            f"FROM ({window_sums(cohort, 'shop', study.windows)}) AS w JOIN {cohort} AS c USING (unit_id)"
        ).to_arrow_table()
    experiment = tt.Experiment({metric: tt.Mean(metric, use_t=True) for metric in METRICS})
    result: Any = experiment.analyze(rows)[METRICS[0]]
    effect = result.effect_size
    half = (result.effect_size_ci_upper - result.effect_size_ci_lower) / 2
    return [effect, half / 1.959963985]


def main() -> None:
    """Time all ways in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=200_000)
    parser.add_argument("--studies", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        began = time.perf_counter()
        found = run(given.way, given.path, given.studies)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": time.perf_counter() - began, "peak": peak, "found": found}))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "bench.duckdb")
        build(path, given.units, given.studies)
        report(path, given.units, given.studies, given.rounds)


def report(path: str, units: int, studies: int, rounds: int) -> None:
    """Run every way ``rounds`` times, interleaved."""
    ran = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            command = [sys.executable, "-m", "benchmarks.study_moments", "--way", way, "--path", path, "--studies"]
            ran[way].append(json.loads(subprocess.check_output([*command, str(studies)], text=True)))
    print(
        f"{studies} studies x {len(METRICS)} metrics, {units:,} units, {units * 10 * len(METRICS):,} rows, "
        f"{rounds} rounds"
    )
    print("| way | time relative to one pass: min | median | max | peak MB | largest difference from ours |")
    print("|---|---|---|---|---|---|")
    ours = ran["one pass"]
    for way in WAYS:
        ratios = [other["seconds"] / own["seconds"] for other, own in zip(ran[way], ours, strict=True)]
        off = max(
            (
                abs(a - b)
                for x, y in zip(ran[way][0]["found"], ours[0]["found"], strict=False)
                for a, b in zip(x, y, strict=True)
            ),
            default=0.0,
        )
        peak = max(run["peak"] for run in ran[way])
        print(
            f"| {way} | {min(ratios):.2f} | {statistics.median(ratios):.2f} | {max(ratios):.2f} | {peak:.0f} "
            f"| {off:.1e} |"
        )
    print(f"one pass: median {statistics.median(run['seconds'] for run in ours):.2f} s")


if __name__ == "__main__":
    main()
