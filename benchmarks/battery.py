"""What the checks of one study cost beside the query that draws its cohort: ``python -m benchmarks.battery``.

A million units by default, with events of 70 days. The stages run as in the graph, without Dagster around them, in a
process of its own per round; printed are seconds of the cohort's query and the ratios to it, minimum, median and
maximum over the rounds. The estimates hold what the battery fits again: other methods, specifications, placebos.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.calibration import registered
from causal_assets.designs.observational import ObservationalStudy
from causal_assets.designs.randomized import RandomizedExperiment
from causal_assets.designs.study import Study
from causal_assets.warehouse.engine import Warehouse
from causal_assets.warehouse.queries.moments import StudyColumns, study_moments
from causal_assets.warehouse.queries.windows import course_windows, outcome_windows

NAME = "study"
WARM = 1_000  # units of a run that is not counted, so that imports are paid for
COMMON: dict[str, Any] = {
    "question": "What did it change?",
    "intervention": "the page",
    "source": "shop",
    "unit": "customer",
    "program": "page",
    "outcomes": [
        {"name": "revenue_14d", "metric": "revenue", "days": 14, "role": "primary", "money": True},
        {"name": "visits_14d", "metric": "visits", "days": 14},
    ],
    "covariates": [{"metric": metric, "windows": [[-7, 0], [-14, -7]]} for metric in ("revenue", "visits")],
    "plausible_effect": 5.0,
    "decision": {"value_per_outcome": 1.0},
}
TRIAL = COMMON | {
    "arms": {"control": "old", "treatment": "new", "share": 0.5},
    "enrolled_from": "2026-03-01",
    "enrolled_to": "2026-03-07",
}
MAILING = COMMON | {
    "arms": {"control": "not mailed", "treatment": "new"},
    "time_zero": "2026-03-01",
    "active_metric": "revenue",
    "placebo_date": "2026-02-14",
    "benchmark": "revenue",
}
STUDIES: dict[str, Callable[[], Study]] = {
    "randomised": lambda: RandomizedExperiment.resolve_from_dict(TRIAL),
    "observational": lambda: ObservationalStudy.resolve_from_dict(MAILING),
}
MARTS = """
    CREATE SCHEMA marts; CREATE SCHEMA raw; CREATE SCHEMA studies;
    CREATE TABLE marts.unit_days AS
    SELECT 'shop' AS source, 'u' || u AS unit_id, DATE '2026-01-20' + CAST(hash(u, k) % 70 AS INTEGER) AS day, metric,
        (hash(u, k, metric) % 1000) / 10.0 AS value, 1 AS events
    FROM range({units}) AS a (u), range(5) AS b (k), (VALUES ('revenue'), ('visits')) AS m (metric);
    CREATE TABLE marts.assignments AS
    SELECT 'shop' AS source, 'page' AS program, 'u' || u AS unit_id, arm,
        TIMESTAMP '2026-03-01 12:00' + to_days(CAST({days} * (hash(u, 1) % 7) AS INTEGER)) AS assigned_at
    FROM range({units}) AS a (u), LATERAL (SELECT CASE WHEN hash(u, 2) % 2 = 0 THEN 'new' ELSE 'old' END AS arm)
    WHERE {trial} OR arm = 'new';
    CREATE TABLE marts.unit_attributes (
        source VARCHAR, unit_id VARCHAR, attribute VARCHAR, value VARCHAR, known_at TIMESTAMP);
    CREATE TABLE marts.coverage AS
    SELECT 'shop' AS source, DATE '2026-01-20' AS first_day, DATE '2026-03-30' AS last_day;
    CREATE TABLE marts.data_loss (source VARCHAR, stage VARCHAR, table_name VARCHAR, reason VARCHAR, "rows" BIGINT);
    CREATE TABLE raw.quarantine (source VARCHAR, reason VARCHAR);
    CREATE TABLE raw.deliveries AS SELECT 'shop' AS source, 10000000 AS rows_in, 0 AS duplicates"""


def moments(warehouse: Warehouse, study: Study) -> None:
    """The pass that all studies share, here for one."""
    assert isinstance(study, RandomizedExperiment)
    columns = StudyColumns(
        NAME,
        study.protocol_hash,
        study.source,
        (*outcome_windows(study.outcomes), *course_windows(study.primary)),
        tuple(study.covariate_names),
        max(outcome.days for outcome in study.outcomes),
    )
    warehouse.replace("studies.moments", study_moments([columns]))


def run(kind: str, units: int) -> dict[str, float]:
    """Seconds by stage, and the peak memory in MB."""
    study = STUDIES[kind]()
    trial = kind == "randomised"
    seconds: dict[str, float] = {}

    def timed(stage: str, body: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        found = body()
        seconds[stage] = time.perf_counter() - began
        return found

    with tempfile.TemporaryDirectory() as folder:
        warehouse = Warehouse(path=str(Path(folder) / "warehouse.duckdb"))
        with warehouse.connect() as connection:
            connection.execute(MARTS.format(units=units, days=int(trial), trial=trial))
            timed("cohort", lambda: study.write_cohort(warehouse, NAME, "defs.yaml"))
            if trial:
                timed("moments", lambda: moments(warehouse, study))
            timed("outcomes", lambda: study.write_outcomes(warehouse, NAME))
            findings = timed("estimates", lambda: study.estimates(warehouse, NAME))
            timed("evidence", lambda: study.evidence(warehouse, NAME, findings, registered(study)))
    return seconds | {"MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    """Run every study ``rounds`` times and print its line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        run(given.one, WARM)
        print(json.dumps(run(given.one, given.units)))
        return
    print("| study | cohort s | stage | / cohort: min | median | max | peak MB |\n|---|---|---|---|---|---|---|")
    for kind in STUDIES:
        command = [sys.executable, "-m", "benchmarks.battery", "--one", kind, "--units", str(given.units)]
        rounds = [
            json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            for _ in range(given.rounds)
        ]
        cohort = statistics.median(one["cohort"] for one in rounds)
        for stage in rounds[0].keys() - {"cohort", "MB"}:
            ratios = sorted(one[stage] / one["cohort"] for one in rounds)
            low, middle, high = ratios[0], statistics.median(ratios), ratios[-1]
            peak = max(one["MB"] for one in rounds)
            print(f"| {kind} | {cohort:.2f} | {stage} | {low:.2f} | {middle:.2f} | {high:.2f} | {peak:.0f} |")


if __name__ == "__main__":
    main()
