"""The only code that opens the engine."""

import logging
import shutil
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import dagster as dg
import duckdb

# Another process (dbt, a reader) may hold the file for a moment; longer than this is a mistake worth reporting.
LOCK_TIMEOUT_SECONDS = 60.0
# Every connection to one file in one process must be configured alike, so the configuration is stated once.
# Extensions come as wheels or not at all: nothing is downloaded at run time.
CONFIG: dict[str, Any] = {
    "memory_limit": "2GB",
    "autoinstall_known_extensions": False,
}


# What the engine says of a block whose checksum fails: DuckDB 1.5 rewrites blocks of its catalogue in place, so that a
# process killed during a checkpoint can leave one half written.
TORN = "Corrupt database file"
LOCKED = "Could not set lock"

# What the engine says of a query whose parts do not fit the data's types.
UnfitQueryErrors = (duckdb.BinderException, duckdb.ConversionException)


class Warehouse(dg.ConfigurableResource):
    """One DuckDB file, opened per operation and closed again, so that dbt and readers find it free."""

    path: str

    @contextmanager
    def connect(self) -> Generator[duckdb.DuckDBPyConnection]:
        """Open the file, and close it whatever happens.

        A file that a killed process left torn is set aside, and the last copy that ``keep`` made, or else an empty
        file, takes its place: what is missing then is loaded again from its source.

        Raises:
            duckdb.IOException: the file stayed locked by another process for ``LOCK_TIMEOUT_SECONDS``.
        """
        Path(self.path).parent.mkdir(parents=True, exist_ok=True)
        try:
            connection = _open(self.path)
        except duckdb.IOException as error:
            if TORN not in str(error):
                raise
            _set_aside(Path(self.path), self._kept)
            connection = _open(self.path)
        try:
            yield connection
        finally:
            connection.close()

    @property
    def _kept(self) -> Path:
        return Path(self.path).with_suffix(".kept.duckdb")

    def keep(self) -> None:
        """Copy the file as it is now, to be taken up again if it is ever torn; a copy is whole or not there."""
        part = self._kept.with_suffix(".part")
        with self.connect() as connection:  # nobody else can write meanwhile
            connection.execute("CHECKPOINT")
            shutil.copyfile(self.path, part)
        part.replace(self._kept)

    @contextmanager
    def transaction(self) -> Generator[duckdb.DuckDBPyConnection]:
        """Open the file for one atomic change: committed on success, rolled back on any error."""
        with self.connect() as connection:
            connection.begin()
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    def rows(self, sql: str, parameters: Sequence[Any] = (), *, repeatable: bool = False) -> list[dict[str, Any]]:
        """Run one query and return its rows; meant for small results.

        ``repeatable`` runs it on one thread: where floats are summed, the last digits are then the same every time.
        """
        with self.connect() as connection:
            if repeatable:
                connection.execute("SET threads = 1")
            result = connection.execute(sql, parameters)
            names = [column[0] for column in result.description]
            rows = [dict(zip(names, row, strict=True)) for row in result.fetchall()]
            if repeatable:
                connection.execute("RESET threads")  # the setting is the file's, and it may be held open
            return rows

    def scalar(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """Run a query of one row and one column and return its value."""
        (row,) = self.rows(sql, parameters)
        (value,) = row.values()
        return value

    def arrays(self, sql: str, parameters: Sequence[Any] = ()) -> dict[str, Any]:
        """Run one query and return its columns as NumPy arrays (masked where NULL)."""
        with self.connect() as connection:
            return connection.execute(sql, parameters).fetchnumpy()

    def replace(self, table: str, select: str) -> int:
        """Atomically make ``schema.table`` the result of ``select``; returns its row count."""
        schema, _, _ = table.rpartition(".")
        with self.transaction() as connection:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
            connection.execute(f"CREATE OR REPLACE TABLE {table} AS {select}")
            (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,)
        return count

    def tables(self, schema: str) -> set[str]:
        """Names of the tables of one schema (views, which information_schema would bind one by one, are left out)."""
        rows = self.rows("SELECT table_name FROM duckdb_tables() WHERE schema_name = ?", [schema])
        return {row["table_name"] for row in rows}

    def columns(self, table: str) -> dict[str, str]:
        """Column names of ``schema.table`` with their engine types, in order."""
        return {row["column_name"]: row["column_type"] for row in self.rows(f"DESCRIBE {table}")}

    def overview(self, tables: Sequence[str], limit: int = 5) -> dict[str, tuple[int, str]]:
        """Row count and first rows, as a Markdown table, of each table or view; one opening of the file for all."""
        found = {}
        with self.connect() as connection:
            for table in tables:
                (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone() or (0,)
                head = connection.execute(f"SELECT * FROM {table} LIMIT {limit}")
                found[table] = count, _markdown([column[0] for column in head.description], head.fetchall())
        return found


P = ParamSpec("P")
T = TypeVar("T")


def in_one_opening(body: Callable[Concatenate[Warehouse, P], T]) -> Callable[Concatenate[Warehouse, P], T]:
    """Keep the file open while a body runs that asks it several things: opening it takes longer than most of them."""

    @wraps(body)
    def held(warehouse: Warehouse, *args: P.args, **kwargs: P.kwargs) -> T:
        with warehouse.connect():
            return body(warehouse, *args, **kwargs)

    return held


def _markdown(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    if not rows:
        return "(no rows)"
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    return "\n".join([*lines, *("| " + " | ".join(str(value) for value in row) + " |" for row in rows)])


@contextmanager
def scratch() -> Generator[duckdb.DuckDBPyConnection]:
    """An in-memory engine, for work that belongs to no warehouse; spills to the system's temporary folder."""
    connection = _open(":memory:")
    try:
        yield connection
    finally:
        connection.close()


def identifier(name: str) -> str:
    """Quote a name for SQL.

    >>> identifier("day")
    '"day"'
    """
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """Quote a text for SQL.

    >>> literal("it's")
    "'it''s'"
    """
    return "'" + value.replace("'", "''") + "'"


def _set_aside(torn: Path, kept: Path) -> None:
    aside = torn.with_suffix(f".torn-{time.time_ns()}.duckdb")
    torn.rename(aside)
    torn.with_suffix(".duckdb.wal").unlink(missing_ok=True)  # continues a state that is gone
    if kept.exists():
        shutil.copyfile(kept, part := torn.with_suffix(".part"))
        part.replace(torn)
    logging.getLogger(__name__).error(
        "%s was torn by a killed process and is set aside as %s; going on from %s. Deliveries loaded since then are "
        "loaded again if their files are still there.", torn, aside, kept if kept.exists() else "an empty file",
    )  # fmt: skip


def _open(path: str) -> duckdb.DuckDBPyConnection:
    deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
    while True:
        try:
            connection = duckdb.connect(path, config=CONFIG)
            break
        except duckdb.IOException as error:
            if LOCKED not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
    connection.execute("SET TimeZone = 'UTC'")
    return connection
