"""The one door to the engine: closed whatever happens, atomic, patient with a locked file and then plain about it."""

import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from causal_assets.warehouse import engine
from causal_assets.warehouse.engine import Warehouse, identifier, literal, scratch

HOLD = """
import duckdb, sys, time
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(path=str(tmp_path / "new folder" / "w.duckdb"))


def hold(warehouse: Warehouse, seconds: float) -> subprocess.Popen[str]:
    """Another process that has the file open for some seconds from now on."""
    Path(warehouse.path).parent.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, warehouse.path, str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    return process


def test_the_connection_is_closed_after_an_error_inside_the_block(warehouse: Warehouse) -> None:
    with pytest.raises(RuntimeError, match="inside"), warehouse.connect() as connection:
        raise RuntimeError("inside")
    with pytest.raises(duckdb.ConnectionException):
        connection.execute("SELECT 1")
    process = hold(warehouse, 0)  # another process can open the file, so nothing here holds it
    assert process.wait(timeout=10) == 0


def test_a_transaction_is_committed_on_success(warehouse: Warehouse) -> None:
    with warehouse.transaction() as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS x")
    assert warehouse.scalar("SELECT x FROM t") == 1


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_transaction_is_rolled_back_on_any_error(warehouse: Warehouse, error: type[BaseException]) -> None:
    with pytest.raises(error), warehouse.transaction() as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS x")
        raise error
    assert warehouse.tables("main") == set()


def test_an_error_of_the_engine_inside_a_transaction_is_the_one_reported(warehouse: Warehouse) -> None:
    with pytest.raises(duckdb.CatalogException, match="nothing_here"), warehouse.transaction() as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS x")
        connection.execute("SELECT * FROM nothing_here")
    assert warehouse.tables("main") == set()


def test_the_lock_of_another_process_is_waited_for(warehouse: Warehouse) -> None:
    process = hold(warehouse, 1.0)
    started = time.monotonic()
    assert warehouse.scalar("SELECT 1") == 1
    assert time.monotonic() - started > 0.5
    assert process.wait(timeout=10) == 0


def test_a_lock_that_stays_is_reported_after_the_time_out(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "LOCK_TIMEOUT_SECONDS", 0.3)
    process = hold(warehouse, 30)
    try:
        with pytest.raises(duckdb.IOException, match="lock"), warehouse.connect():
            pass
    finally:
        process.kill()
        process.wait(timeout=10)


def test_a_file_that_is_no_database_is_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    path.write_text("this is no database, and no lock will ever open it" * 100)
    started = time.monotonic()
    with pytest.raises(duckdb.Error, match="not a valid DuckDB database"):
        Warehouse(path=str(path)).scalar("SELECT 1")
    assert time.monotonic() - started < 5


def tear(warehouse: Warehouse) -> bytes:
    """Leave a block of the catalogue as a process leaves it that is killed while it writes; returns the file."""
    block = warehouse.scalar("SELECT max(block_id) FROM pragma_metadata_info()")
    path = Path(warehouse.path)
    content = bytearray(path.read_bytes())
    half = 3 * 4096 + block * 262_144 + 131_072
    content[half : half + 8] = bytes(255 - byte for byte in content[half : half + 8])
    path.write_bytes(content)
    return bytes(content)


def test_a_torn_file_is_set_aside_for_the_last_copy_kept(
    warehouse: Warehouse, caplog: pytest.LogCaptureFixture
) -> None:
    warehouse.replace("marts.t", "SELECT 1 AS x")
    warehouse.keep()
    warehouse.replace("marts.t", "SELECT 2 AS x")
    torn = tear(warehouse)
    assert warehouse.scalar("SELECT x FROM marts.t") == 1
    (aside,) = Path(warehouse.path).parent.glob("w.torn-*")
    assert aside.read_bytes() == torn
    assert str(aside) in caplog.text
    assert warehouse.scalar("SELECT x FROM marts.t") == 1  # the copy is taken up once


def test_a_torn_file_of_which_no_copy_was_kept_is_begun_anew(warehouse: Warehouse) -> None:
    warehouse.replace("marts.t", "SELECT 1 AS x")
    tear(warehouse)
    assert warehouse.tables("marts") == set()
    assert len([*Path(warehouse.path).parent.glob("w.torn-*")]) == 1


def test_replace_makes_a_table_the_result_of_a_query_and_keeps_the_old_one_if_it_fails(warehouse: Warehouse) -> None:
    assert warehouse.replace("marts.t", "SELECT unnest([1, 2, 3]) AS x") == 3
    with pytest.raises(duckdb.ConversionException):
        warehouse.replace("marts.t", "SELECT CAST('a' AS INTEGER) AS x")
    assert [row["x"] for row in warehouse.rows("SELECT x FROM marts.t ORDER BY x")] == [1, 2, 3]
    assert warehouse.tables("marts") == {"t"}
    assert warehouse.columns("marts.t") == {"x": "INTEGER"}


def test_times_are_utc_whatever_the_machines_zone_is(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    sql = "SELECT CAST(CAST('2026-03-01T10:00:00+05:30' AS TIMESTAMPTZ) AS VARCHAR)"
    assert warehouse.scalar(sql) == "2026-03-01 04:30:00+00"
    monkeypatch.undo()
    time.tzset()


def test_scratch_is_an_engine_of_its_own_that_leaves_nothing_behind() -> None:
    with scratch() as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS x")
    with scratch() as connection, pytest.raises(duckdb.CatalogException):
        connection.execute("SELECT x FROM t")


def test_an_overview_counts_all_rows_and_shows_the_first_as_a_table(warehouse: Warehouse) -> None:
    warehouse.replace("marts.t", "SELECT range AS x, 'a' AS y FROM range(9)")
    assert warehouse.overview(["marts.t"], limit=2)["marts.t"] == (9, "| x | y |\n|---|---|\n| 0 | a |\n| 1 | a |")
    warehouse.replace("marts.t", "SELECT 1 AS x WHERE false")
    assert warehouse.overview(["marts.t"])["marts.t"] == (0, "(no rows)")


@pytest.mark.parametrize("text", ["plain", "it's", 'say "hi"', "a; DROP TABLE t --", "ünï\ncode", ""])
def test_a_quoted_text_or_name_is_only_ever_itself(text: str) -> None:
    with scratch() as connection:
        assert connection.execute(f"SELECT {literal(text)}").fetchone() == (text,)
        if text:
            connection.execute(f"SELECT 1 AS {identifier(text)}")
            assert connection.description[0][0] == text
