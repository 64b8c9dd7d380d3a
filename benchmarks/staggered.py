"""Staggered adoption: ours against diff-diff, 12 periods, four cohorts, a doubly robust covariate, uniform bands.

    python -m benchmarks.staggered [--units 100000] [--rounds 3]

Each way runs in a process of its own, in turn, ``rounds`` times, on the same draws of the data, with 1,000 bootstrap
draws; the data's own preparation is not timed. Writes ``docs/benchmarks/staggered.md``.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

TABLE = Path(__file__).parents[1] / "docs" / "benchmarks" / "staggered.md"
PERIODS, DRAWS = 12, 1_000


def world(units: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Outcome (units, 12), cohort and covariate; the covariate drives adoption and trend."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=units)
    adopts = rng.random(units) < 1 / (1 + np.exp(0.5 - 0.5 * x))
    cohort = np.where(adopts, rng.choice([3.0, 5.0, 7.0, 9.0], units), np.inf)
    trend = x[:, None] * (1 + 0.1 * np.arange(PERIODS)) + rng.normal(size=(units, 1))
    return trend + (np.arange(PERIODS) >= cohort[:, None]) + rng.normal(size=(units, PERIODS)), cohort, x


def ours(units: int) -> tuple[float, list[float]]:
    import scipy.stats  # noqa: F401  (loaded on first use; theirs loads it with itself)

    from causal_assets.estimators.staggered import group_time

    y, cohort, x = world(units)
    began = time.process_time()
    fitted = group_time(y, cohort, np.arange(PERIODS), x)
    effects = fitted.aggregate("dynamic")
    effects.bands(outcome="y", seed=1, draws=DRAWS)
    spent = time.process_time() - began
    return spent, [*fitted.value, *(np.sqrt((fitted.influence**2).sum(axis=0)) / units)]


def theirs(units: int) -> tuple[float, list[float]]:
    import pandas as pd
    from diff_diff import CallawaySantAnna

    y, cohort, x = world(units)
    unit, period = (a.ravel() for a in np.indices(y.shape))
    first = np.where(np.isinf(cohort), 0, cohort).astype(int)[unit]
    data = pd.DataFrame({"y": y.ravel(), "unit": unit, "period": period, "first": first, "x": x[unit]})
    began = time.process_time()
    fitted = CallawaySantAnna(n_bootstrap=DRAWS, seed=1)
    found = fitted.fit(data, "y", "unit", "period", "first", covariates=["x"], aggregate="event_study")
    spent = time.process_time() - began
    cells = [found.group_time_effects[key] for key in sorted(found.group_time_effects)]
    return spent, [*(cell["effect"] for cell in cells), *(cell["se"] for cell in cells)]


def main() -> None:
    """Time both ways in turn and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=["ours", "diff-diff"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        warnings.simplefilter("ignore")
        spent, found = (ours if given.way == "ours" else theirs)(given.units)
        status = Path("/proc/self/status").read_text().splitlines()
        peak = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
        print(json.dumps({"cpu": spent, "peak": peak, "found": [float(x) for x in found]}))
        return
    lines = [
        f"# Callaway-Sant'Anna, {PERIODS} periods, {DRAWS:,} draws ({datetime.now(UTC):%Y-%m-%d})",
        "",
        "| units | diff-diff CPU / ours: min | median | max | ours CPU s | peak MB ours | diff-diff "
        "| largest difference of an effect, in its errors |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for units in (given.units // 10, given.units):
        ran: dict[str, list[dict]] = {"ours": [], "diff-diff": []}
        for _ in range(given.rounds):
            for way, runs in ran.items():
                command = [sys.executable, "-m", "benchmarks.staggered", "--way", way, "--units", str(units)]
                runs.append(json.loads(subprocess.check_output(command, text=True).splitlines()[-1]))
        ratios = [p["cpu"] / o["cpu"] for o, p in zip(ran["ours"], ran["diff-diff"], strict=True)]
        a, b = (np.array(ran[way][0]["found"]) for way in ran)
        cells = a.size // 2
        off = np.abs((a[:cells] - b[:cells]) / a[cells:]).max()
        peaks = [max(run["peak"] for run in ran[way]) for way in ran]
        seconds = statistics.median(run["cpu"] for run in ran["ours"])
        lines.append(
            f"| {units:,} | {min(ratios):.1f} | {statistics.median(ratios):.1f} | {max(ratios):.1f} | {seconds:.2f} "
            f"| {peaks[0]:.0f} | {peaks[1]:.0f} | {off:.0e} |"
        )
        print(lines[-1], flush=True)
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
