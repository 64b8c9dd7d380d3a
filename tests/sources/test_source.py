"""A source as assets: its checks carry numbers, its data version is its content, and broken data stops the run."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pydantic import ValidationError

from causal_assets.sources.contract import TableContract
from causal_assets.sources.landing import RawTable, load
from causal_assets.sources.source import ACCOUNTED, SCHEMA, Database, Source
from causal_assets.warehouse.engine import Warehouse

EVENTS = {
    "grain": "one row per event",
    "key": ["id"],
    "columns": {"id": {"type": "text"}, "amount": {"type": "number", "minimum": 0}},
}
KEY = dg.AssetKey(["raw", "shop__events"])
Run = Callable[..., dg.ExecuteInProcessResult]


@dg.asset(deps=[KEY])
def downstream() -> None:
    """What reads the raw table."""


@pytest.fixture
def landing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAUSAL_HOME", str(tmp_path))
    folder = tmp_path / "landing" / "shop"
    folder.mkdir(parents=True)
    return folder


def source(**origin: Any) -> Source:
    return Source.model_validate({"tables": {"events": EVENTS}, **origin})


def assets_of(given: Source) -> list[dg.AssetsDefinition]:
    """The assets as a component folder named ``shop`` would build them."""
    return [given._asset("shop", table) for table in given.tables]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with dg.DagsterInstance.ephemeral() as instance:

        def materialise(given: Source, **config: Any) -> dg.ExecuteInProcessResult:
            return dg.materialize(
                [*assets_of(given), downstream],
                resources={"warehouse": Warehouse(path=str(tmp_path / "w.duckdb"))},
                run_config={"ops": {"raw__shop__events": {"config": config}}},
                instance=instance,
                raise_on_error=False,
            )

        yield materialise


def checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {check.check_name: check for check in result.get_asset_check_evaluations()}


def version(result: dg.ExecuteInProcessResult) -> str:
    (event,) = result.asset_materializations_for_node("raw__shop__events")
    return (event.tags or {})["dagster/data_version"]


def lines(path: Path, *rows: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_checks_carry_their_numbers_and_the_asset_its_reasons(landing: Path, run: Run) -> None:
    good = {"id": "a", "amount": 1}
    lines(
        landing / "events.jsonl", good, good, {"id": "b", "amount": -1}, {"id": "c", "amount": "x: 1", "tier": "gold"}
    )
    result = run(source(folder="shop"))
    assert result.success
    accounted = checks(result)[ACCOUNTED]
    assert accounted.passed
    assert {name: value.value for name, value in accounted.metadata.items()} == {
        "rows delivered": 4,
        "rows accepted": 1,
        "rows quarantined": 2,
        "duplicates dropped": 1,
    }
    assert checks(result)[SCHEMA].passed
    (event,) = result.asset_materializations_for_node("raw__shop__events")
    assert event.metadata["quarantine"].value == {"amount: below 0": 1, "amount: no number": 1}
    assert event.metadata["new columns (kept in _extra)"].value == "tier"
    assert event.metadata["dagster/row_count"].value == 1


def test_a_rerun_on_the_same_files_has_the_same_data_version_and_new_content_another(landing: Path, run: Run) -> None:
    lines(landing / "events.jsonl", {"id": "a", "amount": 1})
    first, again = run(source(folder="shop")), run(source(folder="shop"))
    assert version(first) == version(again)
    lines(landing / "events.jsonl", {"id": "a", "amount": 2})
    assert version(run(source(folder="shop"))) != version(first)


def test_a_replay_is_an_option_of_the_run(landing: Path, run: Run, tmp_path: Path) -> None:
    lines(landing / "events.jsonl", {"id": "a", "amount": 1}, {"id": "b", "amount": -1})
    before = run(source(folder="shop"))
    with Warehouse(path=str(tmp_path / "w.duckdb")).connect() as connection:
        connection.execute("UPDATE raw.quarantine SET original = ?", [json.dumps({"id": "b", "amount": 1})])
    result = run(source(folder="shop"), replay=True)
    assert checks(result)[ACCOUNTED].metadata["rows accepted"].value == 2
    assert version(result) != version(before)


def test_a_changed_type_fails_its_check_and_nothing_downstream_runs(landing: Path, run: Run) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": ["a"], "amount": ["1.5"]}), landing / "events.parquet")
    result = run(source(folder="shop"))
    assert not result.success
    check = checks(result)[SCHEMA]
    assert (check.passed, check.metadata["changed"].value) == (False, "amount")
    assert checks(result)[ACCOUNTED].passed
    assert not result.asset_materializations_for_node("downstream")


def test_a_row_that_vanished_fails_the_accounting_and_nothing_downstream_runs(
    landing: Path, run: Run, tmp_path: Path
) -> None:
    lines(landing / "events.jsonl", {"id": "a", "amount": 1}, {"id": "b", "amount": -1})
    assert run(source(folder="shop")).asset_materializations_for_node("downstream")
    with Warehouse(path=str(tmp_path / "w.duckdb")).connect() as connection:
        connection.execute("DELETE FROM raw.quarantine")
    result = run(source(folder="shop"))
    assert not checks(result)[ACCOUNTED].passed
    assert not result.asset_materializations_for_node("downstream")


def test_a_source_whose_files_have_not_arrived_fails_with_what_was_looked_for(landing: Path, run: Run) -> None:
    result = run(source(folder="shop"))
    assert not result.success
    assert "no events.* and no events/*" in str(result.failure_data_for_node("raw__shop__events"))


def test_a_source_may_be_a_folder_of_an_installed_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "delivered_data"
    (package / "files").mkdir(parents=True)
    (package / "__init__.py").touch()
    lines(package / "files" / "events.jsonl", {"id": "a", "amount": 1})
    monkeypatch.syspath_prepend(tmp_path)
    warehouse = Warehouse(path=str(tmp_path / "w.duckdb"))
    (delivery,) = source(package="delivered_data:files").deliveries(warehouse, "events")
    assert delivery.file == "events.jsonl"


@pytest.mark.parametrize("origin", [{}, {"folder": "a", "package": "b:c"}])
def test_a_source_has_exactly_one_origin(origin: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="exactly one of folder, package, database must be given, got"):
        source(**origin)


# Databases


def write_database(path: Path, *rows: tuple[str | None, float | None]) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS events (id TEXT, amount REAL)")
        connection.execute("DELETE FROM events")
        connection.executemany("INSERT INTO events VALUES (?, ?)", rows)


def test_a_table_of_a_sqlite_database_is_loaded_once_and_replaced_when_its_content_changes(
    tmp_path: Path, run: Run
) -> None:
    given = source(database={"type": "sqlite", "address": str(tmp_path / "shop.sqlite")})
    write_database(tmp_path / "shop.sqlite", ("a", 0.1 + 0.2), ("b", -1.0), ("a", 0.1 + 0.2))
    warehouse = Warehouse(path=str(tmp_path / "w.duckdb"))
    result = run(given)
    assert result.success
    assert warehouse.rows('SELECT id, amount FROM raw."shop__events"') == [{"id": "a", "amount": 0.1 + 0.2}]
    assert [check.passed for check in checks(result).values()] == [True, True]
    assert checks(result)[ACCOUNTED].metadata["duplicates dropped"].value == 1
    write_database(tmp_path / "shop.sqlite", ("a", 0.1 + 0.2), ("a", 0.1 + 0.2), ("b", -1.0))  # another order
    assert version(run(given)) == version(result)
    write_database(tmp_path / "shop.sqlite", ("c", 3.0))
    assert version(run(given)) != version(result)
    assert warehouse.rows('SELECT id, amount FROM raw."shop__events"') == [{"id": "c", "amount": 3.0}]


def test_a_renamed_column_of_a_database_is_new_content(tmp_path: Path) -> None:
    given = source(database={"type": "sqlite", "address": str(tmp_path / "shop.sqlite")})
    warehouse = Warehouse(path=str(tmp_path / "w.duckdb"))
    write_database(tmp_path / "shop.sqlite", ("a", 1.0))
    (before,) = given.deliveries(warehouse, "events")
    with sqlite3.connect(tmp_path / "shop.sqlite") as connection:
        connection.execute("ALTER TABLE events RENAME COLUMN amount TO price")
    (after,) = given.deliveries(warehouse, "events")
    assert before.content_hash != after.content_hash


def test_moments_that_sqlite_keeps_as_text_are_judged_value_by_value(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shop.sqlite") as connection:
        connection.execute("CREATE TABLE visits (id INTEGER, at TEXT)")
        connection.executemany("INSERT INTO visits VALUES (?, ?)", [(1, "2026-03-01 10:00:00"), (2, "noon")])
    database = Database(type="sqlite", address=str(tmp_path / "shop.sqlite"))
    columns = {"id": {"type": "integer"}, "at": {"type": "timestamp"}}
    contract = TableContract.model_validate({"grain": "one row per visit", "columns": columns})
    given = Source(tables={"visits": contract}, database=database)
    warehouse = Warehouse(path=str(tmp_path / "w.duckdb"))
    raw = RawTable("shop", "visits", contract)
    load(warehouse, raw, given.deliveries(warehouse, "visits"), database.attach)
    assert [row["id"] for row in warehouse.rows(f"SELECT id FROM {raw.table}")] == [1]
    assert [row["reason"] for row in warehouse.rows("SELECT reason FROM raw.quarantine")] == ["at: no timestamp: noon"]


def test_a_postgres_database_is_attached_read_only_under_its_quoted_address() -> None:
    sql = Database(type="postgres", address="host=db user=o'hara", db_schema="public").attach
    assert sql == (
        "LOAD postgres_scanner; ATTACH IF NOT EXISTS 'host=db user=o''hara' AS origin (TYPE postgres, READ_ONLY)"
    )


def test_an_unknown_kind_of_database_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(ValidationError, match=r"(?s)database\.type.*'sqlite' or 'postgres'.*'oracle'"):
        source(database={"type": "oracle", "address": "x"})
