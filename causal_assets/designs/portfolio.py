"""What spans all studies: their shared statistics, the published copy, the daily totals, the job and its schedule."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from causal_assets.designs import reporting
from causal_assets.designs.graph import MOMENTS
from causal_assets.home import Home
from causal_assets.ledger import Entry, Kind, Ledger
from causal_assets.protocol import Covariate, Outcome, hash_of
from causal_assets.warehouse.engine import Warehouse, identifier, literal
from causal_assets.warehouse.queries.moments import StudyColumns, study_moments
from causal_assets.warehouse.queries.windows import course_windows, outcome_windows

# Marts that readers need; the large ones stay in the warehouse.
PUBLISHED_MARTS = ("planted_truth", "coverage", "data_loss")
DAILY = dg.DailyPartitionsDefinition(start_date="2025-12-29")
DAILY_TOTALS = dg.AssetKey(["studies", "daily_totals"])


def portfolio(loaded: dg.Definitions) -> dg.Definitions:
    """Assets, job and schedules that need to know all studies loaded."""
    specs = [spec for spec in loaded.resolve_all_asset_specs() if "causal_assets/study" in spec.tags]
    studies = sorted({spec.tags["causal_assets/study"] for spec in specs})
    of_events = sorted({s.tags["causal_assets/study"] for s in specs if MOMENTS in {dep.asset_key for dep in s.deps}})
    everything = dg.AssetSelection.all() - dg.AssetSelection.assets(DAILY_TOTALS)
    main = dg.define_asset_job("main", selection=everything, description="Raw files to decisions, everything once.")
    daily = dg.define_asset_job("daily_totals", selection=dg.AssetSelection.assets(DAILY_TOTALS))
    return dg.Definitions(
        assets=[moments_of(of_events), _published(studies), daily_totals],
        jobs=[main, daily],
        schedules=[
            dg.ScheduleDefinition(
                name="every_morning",
                job=main,
                cron_schedule="0 6 * * *",
                default_status=dg.DefaultScheduleStatus.RUNNING,
            ),
            dg.build_schedule_from_partitioned_job(
                daily, hour_of_day=7, default_status=dg.DefaultScheduleStatus.RUNNING
            ),
        ],
    )


def moments_of(studies: Sequence[str]) -> dg.AssetsDefinition:
    """The statistics that these studies share; those of them over a table have none."""
    deps = [dg.AssetKey([study, stage]) for study in studies for stage in ("cohort", "registration")]

    @dg.asset(
        key=MOMENTS,
        group_name="studies",
        kinds={"duckdb"},
        deps=[*deps, dg.AssetKey(["marts", "unit_days"]), dg.AssetKey(["marts", "coverage"])],
        description="Counts, means and covariances per arm of every registered study, from one pass over the mart.",
        metadata={"grain": "one row per study and arm"},
    )
    def moments(warehouse: Warehouse, ledger: Ledger) -> dg.MaterializeResult:
        live = [
            _columns(entry)
            for study, entry in ledger.registered().items()
            if study in studies and "program" in entry.payload["document"] and "cohort" in warehouse.tables(study)
        ]
        if not live:
            raise dg.Failure("no registered study has a cohort; materialise a study's registration and cohort first")
        coverage = {row["source"]: str(row["last_day"]) for row in warehouse.rows("FROM marts.coverage")}
        for study in live:
            if _has_outcomes(warehouse, study, coverage[study.source]):
                read = {"data through": coverage[study.source]}
                ledger.append_if_new(Kind.OUTCOMES_READ, study.study, study.protocol, read)
        with warehouse.transaction() as connection:
            # Sums of floats depend on their order: threads that race would give a rerun other last digits.
            connection.execute("SET threads = 1")
            connection.execute("CREATE SCHEMA IF NOT EXISTS studies")
            connection.execute(f"CREATE OR REPLACE TABLE studies.moments AS {study_moments(live)}")
        return reporting.table_result(warehouse, "studies.moments")

    return moments


def _has_outcomes(warehouse: Warehouse, study: StudyColumns, last_day: str) -> bool:
    """Whether a unit's windows have all passed: the pass reads nothing of any other."""
    passed = f"assigned_on + {study.days - 1} <= DATE {literal(last_day)}"
    return warehouse.scalar(f"SELECT count(*) FROM {study.study}.cohort WHERE {passed}") > 0


def _columns(entry: Entry) -> StudyColumns:
    """The windows of a study as registered, from the ledger: the same for every reader."""
    document: dict[str, Any] = entry.payload["document"]
    outcomes = [Outcome(**outcome) for outcome in document["outcomes"]]
    primary = next(outcome for outcome in outcomes if outcome.role == "primary")
    covariates = [Covariate(**covariate) for covariate in document["covariates"]]
    return StudyColumns(
        study=entry.study,
        protocol=entry.protocol,
        source=document["source"],
        windows=(*outcome_windows(outcomes), *course_windows(primary)),
        covariates=tuple(name for covariate in covariates for name in covariate.names()),
        days=max(outcome.days for outcome in outcomes),
    )


def _published(studies: Sequence[str]) -> dg.AssetsDefinition:
    @dg.asset(
        key=["studies", "published"],
        group_name="studies",
        kinds={"duckdb"},
        deps=[dg.AssetKey([study, "memo"]) for study in studies],
        metadata={"grain": "one file, whole"},
        description="The results as one file that readers may open at any time; swapped whole.",
    )
    def published(warehouse: Warehouse) -> dg.MaterializeResult:
        target = Home.current().published
        tables = [f"results.{name}" for name in sorted(warehouse.tables("results"))]
        tables += [f"marts.{name}" for name in PUBLISHED_MARTS if name in warehouse.tables("marts")]
        publish(warehouse, target, tables)
        warehouse.keep()
        versions = [reporting.content_version(warehouse, table) for table in tables]
        return dg.MaterializeResult(
            data_version=dg.DataVersion(hash_of(versions)[:16]),
            metadata={"file": dg.MetadataValue.path(str(target)), "tables": ", ".join(tables)},
        )

    return published


def publish(warehouse: Warehouse, target: Path, tables: Sequence[str]) -> None:
    """Copy tables into a new file and swap it in, so that a reader sees the old copy or the new one, never half."""
    part = target.with_suffix(".part")
    part.unlink(missing_ok=True)
    with warehouse.connect() as connection:
        connection.execute(f"ATTACH {literal(str(part))} AS copy")
        for table in tables:
            schema, _, name = table.partition(".")
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS copy.{schema}")
            connection.execute(f"CREATE TABLE copy.{schema}.{identifier(name)} AS FROM {table}")
        connection.execute("DETACH copy")
    part.replace(target)


@dg.asset(
    key=DAILY_TOTALS,
    group_name="studies",
    kinds={"duckdb"},
    partitions_def=DAILY,
    deps=[dg.AssetKey(["marts", "unit_days"])],
    metadata={"grain": "one row per source, day and metric"},
    description="Units, events and value per source and metric of one day: the volume a person looks at first.",
    check_specs=[dg.AssetCheckSpec("day_is_not_empty", asset=DAILY_TOTALS)],
)
def daily_totals(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """One partition: that day's rows are deleted and written again, so that a backfill equals a full run."""
    day = literal(context.partition_key)
    with warehouse.transaction() as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS studies")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS studies.daily_totals "
            "(source VARCHAR, day DATE, metric VARCHAR, units BIGINT, events BIGINT, value DOUBLE)"
        )
        connection.execute(f"DELETE FROM studies.daily_totals WHERE day = {day}")
        connection.execute(
            f"INSERT INTO studies.daily_totals SELECT source, day, metric, count(*), sum(events), sum(value) "
            f"FROM marts.unit_days WHERE day = {day} GROUP BY ALL ORDER BY ALL"
        )
    rows = warehouse.scalar(f"SELECT count(*) FROM studies.daily_totals WHERE day = {day}")
    return dg.MaterializeResult(
        metadata={"dagster/row_count": rows},
        check_results=[
            dg.AssetCheckResult(
                check_name="day_is_not_empty",
                passed=rows > 0,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"rows": rows},
            )
        ],
    )
