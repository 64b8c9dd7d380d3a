"""From delivered files to raw tables: each file at most once, each whole or not at all, no row lost.

Every delivered row ends in exactly one of three places: the raw table, the quarantine (with its reason and the row as
it was delivered), or the count of exact duplicates. One transaction per file keeps a killed load resumable.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from causal_assets.sources.contract import COMPATIBLE, ENGINE_TYPES, TableContract
from causal_assets.warehouse.engine import Warehouse, identifier, literal

SUFFIXES = (".parquet", ".csv", ".jsonl")
# An unreadable line becomes the one field of a JSON object, so that every quarantined original is valid JSON.
UNREADABLE = "_unreadable"
BOOKS = """
CREATE SCHEMA IF NOT EXISTS raw;
CREATE TABLE IF NOT EXISTS raw.deliveries (
    source VARCHAR, table_name VARCHAR, file VARCHAR, content_hash VARCHAR, rows_in BIGINT, accepted BIGINT,
    quarantined BIGINT, duplicates BIGINT, new_columns VARCHAR[], changed_columns VARCHAR[], loaded_at TIMESTAMP);
CREATE TABLE IF NOT EXISTS raw.quarantine (
    source VARCHAR, table_name VARCHAR, file VARCHAR, row_number BIGINT, reason VARCHAR, original JSON,
    quarantined_at TIMESTAMP);
"""


@dataclass(frozen=True)
class Delivery:
    """One file (or one table of another database) as it arrived: a name, a hash of its content, a way to read it."""

    file: str
    content_hash: str
    relation: str
    format: str


@dataclass(frozen=True)
class RawTable:
    """Where deliveries of one contract go."""

    source: str
    name: str
    contract: TableContract

    @property
    def table(self) -> str:
        """Qualified name of the raw table."""
        return f"raw.{identifier(f'{self.source}__{self.name}')}"

    @property
    def where(self) -> str:
        """SQL condition for this table's rows in the books."""
        return f"source = {literal(self.source)} AND table_name = {literal(self.name)}"


def find_deliveries(folder: Path, table: str) -> list[Delivery]:
    """The files of one table, sorted by name: ``folder/<table>.<suffix>`` and ``folder/<table>/*.<suffix>``.

    Raises:
        FileNotFoundError: no such file; the message says what was looked for.
    """
    paths = [path for path in [*folder.glob(f"{table}.*"), *folder.glob(f"{table}/*")] if path.suffix in SUFFIXES]
    if not paths:
        raise FileNotFoundError(f"{folder}: no {table}.* and no {table}/* with one of {', '.join(SUFFIXES)}")
    return [_delivery(folder, path) for path in sorted(paths)]


def _delivery(folder: Path, path: Path) -> Delivery:
    relation = literal(str(path))
    if path.suffix == ".parquet":  # row numbers come with the file, so it can stay a view and is never copied
        relation = (
            f"(SELECT file_row_number + 1 AS _row, * EXCLUDE (file_row_number) "
            f"FROM read_parquet({relation}, file_row_number = true))"
        )
    return Delivery(str(path.relative_to(folder)), _content_hash(path), relation, path.suffix)


def load(warehouse: Warehouse, raw: RawTable, deliveries: Iterable[Delivery], attach: str | None = None) -> int:
    """Load the deliveries that are not in the raw table yet; returns how many were.

    Content already loaded under this or another name is left alone; a known name with new content replaces its rows.
    """
    loaded = 0
    with warehouse.connect() as connection:
        if attach:
            connection.execute(attach)
        connection.execute(BOOKS)
        connection.execute(raw.contract.create_table(raw.table))
        known = dict(connection.execute(f"SELECT file, content_hash FROM raw.deliveries WHERE {raw.where}").fetchall())
        for delivery in deliveries:
            if delivery.content_hash in known.values():
                continue
            with _atomic(connection):
                if delivery.file in known:
                    _forget(connection, raw, delivery.file)
                _load_one(connection, raw, delivery)
            known[delivery.file] = delivery.content_hash
            loaded += 1
    return loaded


def replay(warehouse: Warehouse, raw: RawTable) -> int:
    """Put every quarantined row of the table through its contract again; returns how many are accepted now."""
    with warehouse.transaction() as connection:
        connection.execute(BOOKS)
        connection.execute(raw.contract.create_table(raw.table))
        files = connection.execute(
            f"SELECT DISTINCT file FROM raw.quarantine WHERE {raw.where} ORDER BY file"
        ).fetchall()
        accepted = sum(_replay_file(connection, raw, file) for (file,) in files)
    return accepted


def _replay_file(connection: duckdb.DuckDBPyConnection, raw: RawTable, file: str) -> int:
    mine = f"{raw.where} AND file = {literal(file)}"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE lines AS "
        f"SELECT row_number AS _row, CAST(original AS VARCHAR) AS line FROM raw.quarantine WHERE {mine}"
    )
    connection.execute(f"DELETE FROM raw.quarantine WHERE {mine}")
    _parse_lines(connection, raw)
    connection.execute("CREATE OR REPLACE TEMP VIEW delivered AS FROM parsed")
    accepted, quarantined, duplicates = _sort_rows(connection, raw, file, [])
    connection.execute(
        f"UPDATE raw.deliveries SET accepted = accepted + {accepted}, quarantined = {quarantined}, "
        f"duplicates = duplicates + {duplicates} WHERE {mine}"
    )
    return accepted


def _load_one(connection: duckdb.DuckDBPyConnection, raw: RawTable, delivery: Delivery) -> None:
    unreadable = 0
    if delivery.format == ".jsonl":
        _read_lines(connection, delivery)
        _parse_lines(connection, raw)
    elif delivery.format == ".csv":
        unreadable = _read_csv(connection, raw, delivery)
    relation = delivery.relation if delivery.format == ".parquet" else "parsed"
    connection.execute(f"CREATE OR REPLACE TEMP VIEW delivered AS FROM {relation}")
    new, changed = _compare_columns(connection, raw)
    rows_in = _count(connection, "SELECT count(*) FROM delivered") + unreadable
    accepted, quarantined, duplicates = _sort_rows(connection, raw, delivery.file, changed)
    connection.execute(
        "INSERT INTO raw.deliveries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [raw.source, raw.name, delivery.file, delivery.content_hash, rows_in, accepted, quarantined + unreadable]
        + [duplicates, new, changed, _now()],
    )


def _read_lines(connection: duckdb.DuckDBPyConnection, delivery: Delivery) -> None:
    # The whole line as one text field: a broken line is kept as it came instead of being skipped by a JSON reader.
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE lines AS SELECT row_number() OVER () AS _row, line "
        f"FROM read_csv({delivery.relation}, columns = {{'line': 'VARCHAR'}}, delim = '', quote = '', escape = '', "
        f"header = false, auto_detect = false) WHERE line IS NOT NULL"
    )


def _parse_lines(connection: duckdb.DuckDBPyConnection, raw: RawTable) -> None:
    fields = ", ".join(
        f"line ->> {literal('$.' + _quoted(name))} AS {identifier(name)}" for name in raw.contract.columns
    )
    known = ", ".join(literal(name) for name in raw.contract.columns)
    unknown = f"list_filter(json_keys(line), lambda name: name NOT IN ({known}, '_extra', '{UNREADABLE}'))"
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE parsed AS
        WITH readable AS (
            SELECT
                _row,
                CASE WHEN json_valid(line) AND json_type(line) = 'OBJECT' THEN line
                    ELSE json_object('{UNREADABLE}', line) END AS line
            FROM lines
        )
        SELECT
            _row, {fields}, line ->> '$.{UNREADABLE}' AS {UNREADABLE}, {unknown} AS _unknown, line AS _original
        FROM readable""")


def _read_csv(connection: duckdb.DuckDBPyConnection, raw: RawTable, delivery: Delivery) -> int:
    """Read a CSV file as text; lines that do not fit its header go to quarantine, their count is returned."""
    connection.execute("DROP TABLE IF EXISTS reject_scans; DROP TABLE IF EXISTS reject_errors")
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE parsed AS SELECT row_number() OVER () AS _row, * "
        f"FROM read_csv({delivery.relation}, header = true, all_varchar = true, delim = ',', quote = '\"', "
        f"escape = '\"', store_rejects = true)"
    )
    connection.execute(
        f"INSERT INTO raw.quarantine SELECT {literal(raw.source)}, {literal(raw.name)}, {literal(delivery.file)}, line, "
        f"'unreadable line: ' || any_value(error_type), json_object('{UNREADABLE}', any_value(csv_line)), ? "
        f"FROM reject_errors GROUP BY line",
        [_now()],
    )
    return _count(connection, "SELECT count(DISTINCT line) FROM reject_errors")


def _compare_columns(connection: duckdb.DuckDBPyConnection, raw: RawTable) -> tuple[list[str], list[str]]:
    """Columns the contract does not know, and columns whose delivered type the contract does not accept."""
    delivered = {name: kind for name, kind, *_ in connection.execute("DESCRIBE delivered").fetchall()}
    if "_unknown" in delivered:
        unknown = connection.execute("SELECT DISTINCT unnest(_unknown) AS name FROM delivered ORDER BY name").fetchall()
        return [name for (name,) in unknown], []
    new = [name for name in delivered if name not in raw.contract.columns and name != "_row"]
    # A CSV file is all text; a file that states any other type states its texts too.
    typed = any(kind != "VARCHAR" for name, kind in delivered.items() if name != "_row")
    changed = [
        name
        for name, column in raw.contract.columns.items()
        if name in delivered and not _accepts(column.type, delivered[name], typed)
    ]
    return new, changed


def _accepts(contract_type: str, delivered: str, typed: bool) -> bool:
    if delivered == "VARCHAR" and not typed:
        return True
    return delivered.startswith(COMPATIBLE[contract_type])


def _sort_rows(
    connection: duckdb.DuckDBPyConnection, raw: RawTable, file: str, changed: list[str]
) -> tuple[int, int, int]:
    """Put each row of ``delivered`` where it belongs; returns rows accepted, quarantined, duplicate."""
    _judge(connection, raw, changed)
    duplicates = _find_repeats(connection, raw) if raw.contract.key else 0
    columns = ", ".join(identifier(name) for name in raw.contract.columns)
    now = _now()
    accepted = _count(
        connection,
        f"INSERT INTO {raw.table} SELECT {columns}, _extra, ?, ? FROM judged WHERE _reason IS NULL AND NOT _repeat",
        [file, now],
    )
    quarantined = _count(
        connection,
        f"INSERT INTO raw.quarantine SELECT {literal(raw.source)}, {literal(raw.name)}, ?, _row, _reason, _original, ? "
        f"FROM judged WHERE _reason IS NOT NULL",
        [file, now],
    )
    return accepted, quarantined, duplicates


def _judge(connection: duckdb.DuckDBPyConnection, raw: RawTable, changed: list[str]) -> None:
    """Build ``judged``: typed columns, unknown columns as JSON, the original, and the first broken promise."""
    kinds = {name: kind for name, kind, *_ in connection.execute("DESCRIBE delivered").fetchall()}
    reasons = [
        literal(f"{name}: type changed from {raw.contract.columns[name].type} to {kinds[name]}") for name in changed
    ]
    if UNREADABLE in kinds:
        reasons.append(f"CASE WHEN {UNREADABLE} IS NOT NULL THEN 'unreadable line' END")
    typed = []
    for name, column in raw.contract.columns.items():
        delivered = identifier(name) if name in kinds else f"CAST(NULL AS {ENGINE_TYPES[column.type]})"
        expression = column.typed(delivered, kinds.get(name, ENGINE_TYPES[column.type]))
        typed.append(f"{expression} AS {identifier(name)}")
        reasons.append(column.broken(name, delivered, expression) or "NULL")
    extra, original = _rest(raw, kinds)
    # Only a table can have its repeats marked; without a key a view spares copying the delivery.
    connection.execute(
        f"CREATE OR REPLACE TEMP {'TABLE' if raw.contract.key else 'VIEW'} judged AS "
        f"SELECT * REPLACE (CASE WHEN _reason IS NOT NULL THEN _original END AS _original) FROM ("
        f"SELECT _row, {', '.join(typed)}, {extra} AS _extra, CAST(coalesce({', '.join(reasons)}) AS VARCHAR) AS _reason, "
        f"{original} AS _original, false AS _repeat FROM delivered)"
    )


def _rest(raw: RawTable, kinds: dict[str, str]) -> tuple[str, str]:
    """SQL for the columns the contract does not know, and for the whole row as delivered, both as JSON."""
    if "_unknown" in kinds:
        pair = "{k: name, v: _original ->> ('$.\"' || name || '\"')}"
        entries = f"map_from_entries(list_transform(_unknown, lambda name: {pair}))"
        return f"CASE WHEN len(_unknown) > 0 THEN CAST({entries} AS JSON) END", "CAST(_original AS JSON)"
    new = [name for name in kinds if name not in raw.contract.columns and name != "_row"]
    extra = f"to_json({_struct(new)})" if new else "CAST(NULL AS JSON)"
    return extra, f"to_json({_struct([name for name in kinds if name != '_row'])})"


def _find_repeats(connection: duckdb.DuckDBPyConnection, raw: RawTable) -> int:
    """Mark exact repeats of a record and count them; a repeated key with other content is a broken promise."""
    key = ", ".join(identifier(name) for name in raw.contract.key)
    same = " AND ".join(
        f"a.{identifier(name)} IS NOT DISTINCT FROM b.{identifier(name)}" for name in raw.contract.columns
    )
    # The record that counts is the one loaded before, else the first of this file.
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE firsts AS
        SELECT {", ".join("t." + identifier(name) for name in raw.contract.columns)}, NULL::BIGINT AS _row
        FROM {raw.table} AS t SEMI JOIN (SELECT {key} FROM judged WHERE _reason IS NULL) USING ({key})""")
    connection.execute(f"""
        INSERT INTO firsts BY NAME
        SELECT * EXCLUDE (_extra, _reason, _original, _repeat) FROM judged AS j
        WHERE _reason IS NULL AND NOT EXISTS (FROM firsts AS f WHERE {_equal("f", "j", raw.contract.key)})
        QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY _row) = 1""")
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE repeats AS
        SELECT a._row, {same} AS same FROM judged AS a JOIN firsts AS b ON {_equal("a", "b", raw.contract.key)}
        WHERE a._reason IS NULL AND a._row IS DISTINCT FROM b._row""")
    duplicates = _count(
        connection, "UPDATE judged SET _repeat = true FROM repeats AS r WHERE r._row = judged._row AND r.same"
    )
    shown = " || ', ' || ".join(f"CAST({identifier(name)} AS VARCHAR)" for name in raw.contract.key)
    everything = _struct(list(raw.contract.columns))
    connection.execute(
        f"UPDATE judged SET _reason = 'key repeated with other content: ' || {shown}, _original = to_json({everything}) "
        f"FROM repeats AS r WHERE r._row = judged._row AND NOT r.same"
    )
    return duplicates


def _forget(connection: duckdb.DuckDBPyConnection, raw: RawTable, file: str) -> None:
    connection.execute(f"DELETE FROM {raw.table} WHERE _file = ?", [file])
    for book in ("raw.quarantine", "raw.deliveries"):
        connection.execute(f"DELETE FROM {book} WHERE {raw.where} AND file = ?", [file])


class _atomic:
    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection

    def __enter__(self) -> None:
        self.connection.begin()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.connection.commit()
        else:
            self.connection.rollback()


def _content_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _count(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Sequence[object] = ()) -> int:
    (count,) = connection.execute(sql, parameters).fetchone() or (0,)
    return count


def _equal(left: str, right: str, names: list[str]) -> str:
    return " AND ".join(f"{left}.{identifier(name)} = {right}.{identifier(name)}" for name in names)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '\\"') + '"'


def _struct(names: list[str]) -> str:
    return "{" + ", ".join(f"{literal(name)}: {identifier(name)}" for name in names) + "}"


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
