"""Two-way fixed effects and event studies: grouped queries against pyfixest on the same Parquet file.

    python -m benchmarks.two_way [--rows 10000000] [--rounds 3]

Each way runs in a process of its own, in turn, ``rounds`` times; printed are CPU seconds relative to ours (minimum,
median, maximum), peak memory above that of the imports, and the largest relative difference from ours of a coefficient
or its error. Writes ``docs/benchmarks/two_way.md``. pyfixest's errors are taken without (N-1)/(N-k), whose k depends on
its hash seed.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from causal_assets.designs.panel_reading import read_event_study, read_two_way
from causal_assets.warehouse.engine import Warehouse, literal, scratch
from causal_assets.warehouse.queries.panels import PanelColumns

TABLE = Path(__file__).parents[1] / "docs" / "benchmarks" / "two_way.md"
# Panel: treated share, adoption, missing rows. Event studies have a tenth of the rows and 100 periods.
PANELS = {
    "balanced, one date": "CAST(i % 3 = 0 AND t >= 5 AS INTEGER)",
    "balanced, staggered": "CAST(i % 3 = 0 AND t >= 3 + i // 3 % 5 AS INTEGER)",
    "one row in twenty missing": "CAST(i % 3 = 0 AND t >= 3 + i // 3 % 5 AS INTEGER)",
    "event study, 99 coefficients": "CAST(i % 3 = 0 AND t >= 50 AS INTEGER)",
}


def build(path: Path, name: str, rows: int) -> None:
    """One panel as a Parquet file."""
    periods = 100 if "event" in name else 10
    units = rows // (10 * periods) if "event" in name else rows // periods
    kept = "WHERE t = 0 OR hash(i, t, 3) % 20 <> 0" if "missing" in name else ""
    with scratch() as connection:
        connection.execute(
            f"COPY (SELECT i AS unit, CAST(t AS INTEGER) AS period, {PANELS[name]} AS d, (hash(i) % 1000) / 250.0 "
            f"+ 0.1 * t + 0.3 * d + (hash(i, t) % 1000) / 300.0 AS y FROM range({units}) AS a (i), "
            f"range({periods}) AS b (t) {kept} ORDER BY i, t) TO {literal(str(path))} (FORMAT parquet)"
        )


def ours(path: str, name: str, folder: str) -> list[float]:
    """Coefficients, then errors without (N-1)/(N-k)."""
    warehouse = Warehouse(path=str(Path(folder) / "w.duckdb"))
    panel = PanelColumns(f"read_parquet({literal(path)})", "unit", "period", "y", "d")
    if "event" in name:
        study = read_event_study(warehouse, panel, joint=False)
        coef, error = study.coef, np.sqrt(np.diag(study.cov))
        rows, k = (study.n_treated + study.n_control) * 100, 2 * coef.size + 1
    else:
        fit = read_two_way(warehouse, panel)
        coef, error, rows, k = np.array([fit.value]), np.array([fit.std_error]), fit.rows, 11
    return [*coef, *(error * np.sqrt((rows - k) / (rows - 1)))]


def theirs(path: str, name: str) -> list[float]:
    import pandas as pd
    import pyfixest as pf

    data = pd.read_parquet(path)
    data["d"] = data["d"].astype(float)
    formula = "y ~ d | unit + period"
    if "event" in name:
        data["ever"] = (data["unit"] % 3 == 0).astype(float)
        formula = "y ~ i(period, ever, ref=49) | unit + period"
    lean = {"lean": True, "copy_data": False, "store_data": False}
    fit = pf.feols(formula, data, vcov={"CRV1": "unit"}, ssc=pf.ssc(k_adj=False), **lean)
    return [*fit.coef(), *fit.se()]


def main() -> None:
    """Time both ways in turn on each panel and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", nargs=4, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        way, path, name, folder = given.way
        if way == "pyfixest":
            import pandas  # noqa: F401
            import pyfixest  # noqa: F401
        import_peak = _peak()
        began, wall = time.process_time(), time.perf_counter()
        found = ours(path, name, folder) if way == "ours" else theirs(path, name)
        spent = {"cpu": time.process_time() - began, "wall": time.perf_counter() - wall}
        peak = _peak() - import_peak
        print(json.dumps({**spent, "peak": peak, "found": [float(x) for x in found]}))
        return
    lines = [
        f"# Two-way fixed effects and event study, {given.rows:,} rows ({datetime.now(UTC):%Y-%m-%d})",
        "",
        "| panel | rows | pyfixest CPU / ours: min | median | max | ours CPU s | peak MB ours | pyfixest "
        "| largest relative difference |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in PANELS:
        for rows in (given.rows // 10, given.rows):
            lines.append(_line(name, rows, given.rounds))
            print(lines[-1], flush=True)
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _peak() -> float:
    """Peak memory of this process in MB; getrusage's would be that of the process it was forked from."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _line(name: str, rows: int, rounds: int) -> str:
    ran: dict[str, list[dict]] = {"ours": [], "pyfixest": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "panel.parquet"
        build(path, name, rows)
        for _ in range(rounds):
            for way, found in ran.items():
                command = [sys.executable, "-m", "benchmarks.two_way", "--way", way, str(path), name, folder]
                found.append(json.loads(subprocess.check_output(command, text=True).splitlines()[-1]))
    ratios = [p["cpu"] / o["cpu"] for o, p in zip(ran["ours"], ran["pyfixest"], strict=True)]
    off = max(abs(a / b - 1) for a, b in zip(ran["pyfixest"][0]["found"], ran["ours"][0]["found"], strict=True))
    peaks = [max(run["peak"] for run in ran[way]) for way in ran]
    seconds = statistics.median(run["cpu"] for run in ran["ours"])
    size = rows // 10 if "event" in name else rows
    return (
        f"| {name} | {size:,} | {min(ratios):.1f} | {statistics.median(ratios):.1f} | {max(ratios):.1f} "
        f"| {seconds:.2f} | {peaks[0]:.0f} | {peaks[1]:.0f} | {off:.0e} |"
    )


if __name__ == "__main__":
    main()
