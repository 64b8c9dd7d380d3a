"""From delivered files to raw tables: each file at most once, each whole or not at all, no row lost.

Every delivered row ends in exactly one of three places: the raw table, the quarantine (with its reason and the row as
it was delivered), or the count of exact duplicates. One transaction per file keeps a killed load resumable.
"""

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from causal_assets.sources.contract import ENGINE_TYPES, TableContract, accepts
from causal_assets.warehouse.engine import Warehouse, identifier, literal

SUFFIXES = (".parquet", ".csv", ".jsonl")
# Formats that state a type for every column; the others (SQLite's TEXT too) deliver text that is judged value by value.
TYPED = (".parquet", "postgres")
REPEATED = "key: repeated with other content"
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
    """One file (or one table of another database) as it arrived: a name, a hash of its content, a way to read it.

    ``relation`` is SQL that numbers the rows as ``_row``: columns as delivered, or for JSON Lines one ``line``.
    """

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
    read = {".parquet": _parquet_relation, ".csv": _csv_relation, ".jsonl": _lines_relation}[path.suffix]
    return Delivery(str(path.relative_to(folder)), _content_hash(path), read(path), path.suffix)


def _parquet_relation(path: Path) -> str:
    # Row numbers come with the file, so it can stay a view and is never copied.
    return (
        f"(SELECT file_row_number + 1 AS _row, * EXCLUDE (file_row_number) "
        f"FROM read_parquet({literal(str(path))}, file_row_number = true))"
    )


def _csv_relation(path: Path) -> str:
    # The header is read here: the engine's sniffer gives up on a whole file for one stray quote.
    names, skipped = _csv_header(path)
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names or ["_nothing"])
    read = (
        f"read_csv({literal(str(path))}, columns = {{{columns}}}, skip = {skipped}, header = false, "
        f"auto_detect = false, delim = ',', quote = '\"', escape = '\"', store_rejects = true)"
    )
    return f"(SELECT row_number() OVER () AS _row{', *' if names else ''} FROM {read})"


def _csv_header(path: Path) -> tuple[list[str], int]:
    """Column names of a CSV file, made unique (an empty file has none), and how many records to skip to its rows."""
    skipped, header = 0, []
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        for header in csv.reader(file):
            skipped += 1
            if header:
                break
    names: list[str] = []
    for i, given in enumerate(header):
        taken = {name.lower() for name in names}
        name = given or f"column{i}"
        names.append(f"{name}_{i}" if name.lower() in taken else name)
    return names, skipped


def _lines_relation(path: Path) -> str:
    # The whole line as one text field: a broken line is kept as it came instead of being skipped by a JSON reader.
    return (
        f"(SELECT row_number() OVER () AS _row, line FROM read_csv({literal(str(path))}, "
        f"columns = {{'line': 'VARCHAR'}}, delim = '', quote = '', escape = '', header = false, auto_detect = false, "
        f"strict_mode = false, store_rejects = true) WHERE line IS NOT NULL)"
    )


def load(warehouse: Warehouse, raw: RawTable, deliveries: Sequence[Delivery], attach: str | None = None) -> int:
    """Load the deliveries that are not in the raw table yet; returns how many were.

    Content already loaded under this or another name is left alone; a known name with new content replaces its rows.
    A contract with other columns than the table's loads everything again.

    Raises:
        FileNotFoundError: the columns changed, but a file loaded before is not there to be loaded again.
    """
    with warehouse.connect() as connection:
        if attach:
            connection.execute(attach)
        connection.execute(BOOKS)
        connection.execute(raw.contract.create_table(raw.table))
        known = dict(connection.execute(f"SELECT file, content_hash FROM raw.deliveries WHERE {raw.where}").fetchall())
        loaded = 0
        again = _to_load_again(connection, raw, deliveries, known)
        if again or not known:
            with _atomic(connection):
                for delivery in again:
                    _forget(connection, raw, delivery.file)
                    del known[delivery.file]
                if not known:  # an empty table takes the contract's columns
                    connection.execute(f"DROP TABLE {raw.table}")
                    connection.execute(raw.contract.create_table(raw.table))
                loaded += sum(_load_new(connection, raw, delivery, known) for delivery in again)
        for delivery in deliveries:
            with _atomic(connection):
                loaded += _load_new(connection, raw, delivery, known)
    return loaded


def _to_load_again(
    connection: duckdb.DuckDBPyConnection, raw: RawTable, deliveries: Sequence[Delivery], known: dict[str, str]
) -> list[Delivery]:
    """Known files with new content and those whose rows were judged against them; all, if the columns changed."""
    loaded_before = [delivery for delivery in deliveries if delivery.file in known]
    if _columns(connection, raw.table) != raw.contract.raw_columns:
        gone = sorted(set(known) - {delivery.file for delivery in deliveries})
        if gone:
            raise FileNotFoundError(f"{raw.table}: its columns changed, so {gone} must be loaded again but are gone")
        return loaded_before
    if all(known[delivery.file] == delivery.content_hash for delivery in loaded_before):
        return []
    # A row dropped as a repeat of one that is now replaced is the only one left of its record.
    repeats = {
        file
        for (file,) in connection.execute(
            f"SELECT file FROM raw.deliveries WHERE {raw.where} AND duplicates > 0 UNION "
            f"SELECT file FROM raw.quarantine WHERE {raw.where} AND starts_with(reason, {literal(REPEATED)})"
        ).fetchall()
    }
    return [d for d in loaded_before if known[d.file] != d.content_hash or d.file in repeats]


def replay(warehouse: Warehouse, raw: RawTable) -> int:
    """Put every quarantined row of the table through its contract again; returns how many are accepted now.

    Raises:
        ValueError: the contract's columns are not the table's; a load makes them so.
    """
    with warehouse.transaction() as connection:
        connection.execute(BOOKS)
        connection.execute(raw.contract.create_table(raw.table))
        if (have := _columns(connection, raw.table)) != raw.contract.raw_columns:
            raise ValueError(f"{raw.table}: has columns {have}, declared are {raw.contract.raw_columns}; load first")
        files = connection.execute(
            f"SELECT DISTINCT file FROM raw.quarantine WHERE {raw.where} ORDER BY file"
        ).fetchall()
        return sum(_replay_file(connection, raw, file) for (file,) in files)


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
        f"duplicates = duplicates + {duplicates}, changed_columns = [] WHERE {mine}"
    )
    return accepted


def _load_new(connection: duckdb.DuckDBPyConnection, raw: RawTable, delivery: Delivery, known: dict[str, str]) -> bool:
    """Load the delivery unless its content is known; returns whether it was loaded."""
    if delivery.content_hash in known.values():
        return False
    unreadable = 0
    if delivery.format == ".jsonl":
        unreadable = _read_text(connection, raw, delivery, "lines")
        _parse_lines(connection, raw)
    elif delivery.format == ".csv":
        unreadable = _read_text(connection, raw, delivery, "parsed")
    relation = "parsed" if delivery.format in (".jsonl", ".csv") else delivery.relation
    connection.execute(f"CREATE OR REPLACE TEMP VIEW delivered AS FROM {relation}")
    new, changed = _compare_columns(connection, raw, typed=delivery.format in TYPED)
    rows_in = _count(connection, "SELECT count(*) FROM delivered") + unreadable
    accepted, quarantined, duplicates = _sort_rows(connection, raw, delivery.file, changed)
    counts = (rows_in, accepted, quarantined + unreadable, duplicates)
    connection.execute(
        "INSERT INTO raw.deliveries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [raw.source, raw.name, delivery.file, delivery.content_hash, *counts, new, changed, _now()],
    )
    known[delivery.file] = delivery.content_hash
    return True


def _read_text(connection: duckdb.DuckDBPyConnection, raw: RawTable, delivery: Delivery, into: str) -> int:
    """Read a text file into a table; lines the engine cannot read go to quarantine, their count is returned."""
    connection.execute("DROP TABLE IF EXISTS reject_scans; DROP TABLE IF EXISTS reject_errors")
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {into} AS FROM {delivery.relation}")
    # Numbered after the rows that could be read, so that a number names one row of the file.
    return _count(
        connection,
        f"INSERT INTO raw.quarantine SELECT {literal(raw.source)}, {literal(raw.name)}, {literal(delivery.file)}, "
        f"(SELECT count(*) FROM {into}) + row_number() OVER (ORDER BY line), "
        f"'unreadable line: ' || any_value(error_type) || ': line ' || line, "
        f"json_object('{UNREADABLE}', any_value(csv_line)), ? FROM reject_errors GROUP BY line",
        [_now()],
    )


def _parse_lines(connection: duckdb.DuckDBPyConnection, raw: RawTable) -> None:
    fields = ", ".join(
        f"line ->> {literal('$.' + _quoted(name))} AS {identifier(name)}" for name in raw.contract.columns
    )
    known = ", ".join(literal(name) for name in raw.contract.columns)
    # A repeated key has no one value, so such a line cannot be read either.
    connection.execute(f"""
        CREATE OR REPLACE TEMP TABLE parsed AS
        WITH readable AS (
            SELECT
                _row,
                CASE WHEN json_valid(line) AND json_type(line) = 'OBJECT'
                    AND len(json_keys(line)) = list_unique(json_keys(line)) THEN line
                    ELSE json_object('{UNREADABLE}', line) END AS line
            FROM lines
        )
        SELECT
            _row, {fields}, line ->> '$.{UNREADABLE}' AS {UNREADABLE},
            list_filter(json_keys(line), lambda name: name NOT IN ({known}, '{UNREADABLE}')) AS _unknown,
            line AS _original
        FROM readable""")


def _compare_columns(
    connection: duckdb.DuckDBPyConnection, raw: RawTable, *, typed: bool
) -> tuple[list[str], list[str]]:
    """Columns the contract does not know, and columns whose delivered type the contract does not accept."""
    delivered = _columns(connection, "delivered")
    if _is_parsed(delivered):
        unknown = connection.execute("SELECT DISTINCT unnest(_unknown) AS name FROM delivered ORDER BY name").fetchall()
        return [name for (name,) in unknown], []
    new = [name for name in delivered if name not in raw.contract.columns and name != "_row"]
    changed = [
        name
        for name, column in raw.contract.columns.items()
        if name in delivered
        and not accepts(column.type, delivered[name], typed=typed)
        # A writer that never saw a value cannot state its type.
        and _count(connection, f"SELECT count({identifier(name)}) FROM delivered") > 0
    ]
    return new, changed


def _sort_rows(
    connection: duckdb.DuckDBPyConnection, raw: RawTable, file: str, changed: list[str]
) -> tuple[int, int, int]:
    """Put each row of ``delivered`` where it belongs; returns rows accepted, quarantined, duplicate."""
    original = _judge(connection, raw, changed)
    duplicates = _find_repeats(connection, raw, original) if raw.contract.key else 0
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


def _judge(connection: duckdb.DuckDBPyConnection, raw: RawTable, changed: list[str]) -> str:
    """Build ``judged``: typed columns, unknown columns as JSON, the original, and the first broken promise.

    Returns SQL for the whole row as delivered, as JSON.
    """
    kinds = _columns(connection, "delivered")
    columns = raw.contract.columns
    reasons = [literal(f"{name}: type changed: {columns[name].type} to {kinds[name]}") for name in changed]
    if _is_parsed(kinds):
        reasons.append(f"CASE WHEN {UNREADABLE} IS NOT NULL THEN 'unreadable line' END")
    typed = []
    for name, column in columns.items():
        usable = name in kinds and name not in changed
        kind = kinds[name] if usable else ENGINE_TYPES[column.type]
        delivered = identifier(name) if usable else f"CAST(NULL AS {kind})"
        expression = column.typed(delivered, kind)
        typed.append(f"{expression} AS {identifier(name)}")
        reasons.append(column.broken(name, delivered, expression) or "NULL")
    extra, original = _rest(raw, kinds)
    # Only a table can have its repeats marked; without a key a view spares copying the delivery.
    connection.execute(
        f"CREATE OR REPLACE TEMP {'TABLE' if raw.contract.key else 'VIEW'} judged AS "
        f"SELECT * REPLACE (CASE WHEN _reason IS NOT NULL THEN _original END AS _original) FROM ("
        f"SELECT _row, {', '.join(typed)}, {extra} AS _extra, "
        f"CAST(coalesce({', '.join(reasons)}) AS VARCHAR) AS _reason, "
        f"{original} AS _original, false AS _repeat FROM delivered)"
    )
    return original


def _rest(raw: RawTable, kinds: dict[str, str]) -> tuple[str, str]:
    """SQL for the columns the contract does not know, and for the whole row as delivered, both as JSON."""
    if _is_parsed(kinds):
        known = ", ".join(f"{literal(name)}, NULL" for name in raw.contract.columns)
        rest = f"json_merge_patch(_original, json_object({known}))"  # a null in a merge patch removes its key
        return f"CASE WHEN len(_unknown) > 0 THEN {rest} END", "CAST(_original AS JSON)"
    new = [name for name in kinds if name not in raw.contract.columns and name != "_row"]
    return _object(new), _object([name for name in kinds if name != "_row"])


def _find_repeats(connection: duckdb.DuckDBPyConnection, raw: RawTable, original: str) -> int:
    """Mark exact repeats of a record and count them; a repeated key with other content is a broken promise.

    Exact means equal in every column of the contract: an unknown column alone does not make another record.
    """
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
    connection.execute(
        f"UPDATE judged SET _reason = '{REPEATED}: ' || {shown}, _original = d.original FROM ("
        f"SELECT _row, {original} AS original FROM delivered SEMI JOIN (FROM repeats WHERE NOT same) USING (_row)"
        f") AS d WHERE d._row = judged._row"
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


def _columns(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    return {name: kind for name, kind, *_ in connection.execute(f"DESCRIBE {relation}").fetchall()}


def _is_parsed(kinds: dict[str, str]) -> bool:
    # Parsed JSON brings the list of its unknown keys; no text column of that name is a list.
    return kinds.get("_unknown") == "VARCHAR[]"


def _equal(left: str, right: str, names: list[str]) -> str:
    return " AND ".join(f"{left}.{identifier(name)} = {right}.{identifier(name)}" for name in names)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '\\"') + '"'


def _object(names: list[str]) -> str:
    fields = ", ".join(f"{literal(name)}: {identifier(name)}" for name in names)
    return f"to_json({{{fields}}})" if names else "CAST(NULL AS JSON)"


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)
