"""``make demo``: run the main job once, show it happening, and end with what was learnt."""

import argparse
import json
import logging
import os
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

import dagster as dg
from rich.console import Console
from rich.table import Table

from causal_assets.definitions import defs
from causal_assets.defs.warehouse.landing import DEMO_CUSTOMERS
from causal_assets.home import Home
from causal_assets.types import Verdict
from causal_assets.warehouse.engine import Warehouse

# Where the output goes to a file, lines are as wide as the closing table needs.
PLAIN_WIDTH = 150


class Progress(logging.Handler):
    """Prints a line per finished step, from Dagster's own event log records."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console
        self.started: dict[str, float] = {}
        self.in_steps = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Time a step from its start to its end; failed checks and failed steps are shown as they happen."""
        event = getattr(record, "dagster_meta", {}).get("dagster_event")
        if event is None or event.step_key is None:
            return
        kind = event.event_type
        if kind is dg.DagsterEventType.STEP_START:
            self.started[event.step_key] = time.monotonic()
        elif kind in (dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_FAILURE):
            seconds = time.monotonic() - self.started.get(event.step_key, time.monotonic())
            self.in_steps += seconds
            mark = "[green]done[/]" if kind is dg.DagsterEventType.STEP_SUCCESS else "[red]failed[/]"
            if kind is dg.DagsterEventType.STEP_FAILURE:
                error = event.step_failure_data.error
                while error and error.cause:
                    error = error.cause
                self.console.print(error.message if error else "no error was recorded", markup=False)
            self.console.print(f"  {mark} {seconds:6.1f} s  {event.step_key.replace('__', '/', 1)}", highlight=False)
        elif kind is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.event_specific_data
            if not check.passed:
                self.console.print(f"       {check.severity.value.lower():>8}  {check.check_name}: {check.description}")


def definitions_with(progress: Progress) -> dg.Definitions:
    """All definitions, with a logger of our own in place of the printing of every event."""

    @dg.logger
    def shown(_: dg.InitLoggerContext) -> logging.Logger:
        logger = logging.Logger("progress", logging.DEBUG)
        logger.addHandler(progress)
        return logger

    return dg.Definitions.merge(defs(), dg.Definitions(loggers={"shown": shown}))


def main() -> int:
    """Run the main job in this process; the exit code says whether it succeeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=DEMO_CUSTOMERS, help="size of the planted world")
    size = parser.parse_args().customers
    began = time.monotonic()
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # its database is created without a word
    console.print("Loading definitions ...")
    progress = Progress(console)
    job = definitions_with(progress).resolve_job_def("main")
    loaded = time.monotonic() - began
    config = {"loggers": {"shown": {}}, "ops": {"landing__planted_world": {"config": {"customers": size}}}}
    # What dbt prints is kept in its own log; here a line per step says enough.
    with dg.DagsterInstance.get() as instance, Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        result = job.execute_in_process(instance=instance, run_config=config, raise_on_error=False)
    wall = time.monotonic() - began
    if not result.success:
        console.print("[red]The run failed.[/] See the UI (`make ui`) for its log.")
        return 1
    console.print(summary())
    console.print(
        f"{wall:.0f} s in all: {progress.in_steps:.0f} s in the assets, {loaded:.0f} s loading definitions, "
        f"{wall - loaded - progress.in_steps:.0f} s in Dagster between them."
    )
    return 0


def summary() -> Table:
    """One line per study, from the published copy."""
    home = Home.current()
    table = Table(title="What the studies say", show_lines=True)
    for heading in ("study", "design", "effect on primary outcome", "planted truth", "evidence", "decision", "memo"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("study", "decision"))
    for row in Warehouse(path=str(home.published)).rows(SUMMARY):
        effect = "nothing to estimate yet"
        if row["value"] is not None:
            effect = f"{row['outcome']}\n{row['value']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]"
        if row["verdict"] in (Verdict.NOT_IDENTIFIED, Verdict.BLOCKED):
            effect = f"no effect identified;\nadjusted difference {effect}"
        told = json.loads((home.memos / f"{row['study']}.json").read_text(encoding="utf-8"))
        planted = next((effect["planted_truth"] for effect in told["effects"] if effect["role"] == "primary"), None)
        truth = "-" if planted is None else f"{planted:+.2f}"
        evidence = f"grade {row['grade']}\n{row['passed']} pass, {row['review']} review, {row['failed']} fail"
        memo = os.path.relpath(home.memos / f"{row['study']}.html")
        table.add_row(row["study"], row["design"], effect, truth, evidence, row["verdict"], memo)
    return table


SUMMARY = """
WITH evidence AS (
    SELECT
        study, count(*) FILTER (status = 'PASS') AS passed, count(*) FILTER (status = 'REVIEW') AS review,
        count(*) FILTER (status = 'FAIL') AS failed
    FROM results.diagnostics GROUP BY study
)
SELECT d.study, d.design, d.verdict, d.grade, e.outcome, e.value, e.low, e.high,
    v.passed, v.review, v.failed
FROM results.decisions AS d
JOIN evidence AS v USING (study)
LEFT JOIN results.estimates AS e ON e.study = d.study AND e.role = 'primary'
ORDER BY d.study
"""

if __name__ == "__main__":
    raise SystemExit(main())
