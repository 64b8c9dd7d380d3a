"""What a raw table promises: its columns, their types and values, and what makes two rows the same record."""

import hashlib
from typing import Annotated, Literal

import dagster as dg
from pydantic import Field, model_validator

from causal_assets.warehouse.engine import identifier, literal

ColumnType = Literal["text", "integer", "number", "boolean", "date", "timestamp"]

ENGINE_TYPES: dict[str, str] = {
    "text": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
}
# Engine types a typed file (Parquet, a database) may deliver for each contract type without having changed type.
COMPATIBLE: dict[str, tuple[str, ...]] = {
    "text": ("VARCHAR", "UUID", "ENUM"),
    "integer": ("BIGINT", "INTEGER", "SMALLINT", "TINYINT", "UBIGINT", "UINTEGER", "USMALLINT", "UTINYINT", "HUGEINT"),
    "boolean": ("BOOLEAN",),
    "timestamp": ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "DATE"),
}
COMPATIBLE["number"] = ("DOUBLE", "FLOAT", "DECIMAL", *COMPATIBLE["integer"])
COMPATIBLE["date"] = COMPATIBLE["timestamp"]


def accepts(contract_type: ColumnType, delivered: str, *, typed: bool) -> bool:
    """Whether a column of an engine type may hold the contract's type; one not typed may hold anything as text."""
    if delivered == "VARCHAR" and not typed:
        return True
    kind, _, rest = delivered.partition("(")  # DECIMAL(10,2) and ENUM('a') say more than their type, and [] is a list
    return kind in COMPATIBLE[contract_type] and not rest.endswith("]")


class Column(dg.Model, dg.Resolvable):
    """One column of a raw table."""

    type: ColumnType
    required: bool = True
    allowed: list[str] | None = None
    minimum: float | None = None

    def typed(self, delivered: str, kind: str) -> str:
        """SQL that turns a delivered value of an engine type into the contract's, or NULL where it cannot."""
        value = f"TRY_CAST({delivered} AS {ENGINE_TYPES[self.type]})"
        text = kind == "VARCHAR"
        if self.type == "number":  # NaN and infinity are no measurements
            return f"CASE WHEN isfinite({value}) THEN {value} END"
        if self.type == "integer" and text:  # a plain cast would round 12.5 to 13
            return f"CASE WHEN regexp_full_match({delivered}, '[+-]?[0-9]+') THEN {value} END"
        if self.type == "date":  # a plain cast would drop the time of day, and read 'infinity' as a day
            return f"CASE WHEN isfinite({value}) AND TRY_CAST({delivered} AS TIMESTAMP) = {value} THEN {value} END"
        if self.type == "timestamp":
            if text:  # an offset is converted; a naive time is read as UTC
                value = f"(TRY_CAST({delivered} AS TIMESTAMPTZ) AT TIME ZONE 'UTC')"
            return f"CASE WHEN isfinite({value}) THEN {value} END"
        return delivered if kind == ENGINE_TYPES[self.type] else value

    def broken(self, name: str, delivered: str, typed: str) -> str | None:
        """SQL for the first way in which a value breaks the contract (NULL if none), or None if it cannot."""
        shown = f"left(CAST({delivered} AS VARCHAR), 80)"
        cases = []
        if self.required:
            cases.append(f"WHEN {delivered} IS NULL THEN {literal(f'{name}: missing')}")
        if typed != delivered:
            no_type = literal(f"{name}: no {self.type}: ")
            cases.append(f"WHEN {delivered} IS NOT NULL AND {typed} IS NULL THEN {no_type} || {shown}")
        if self.allowed is not None:
            allowed = ", ".join(literal(value) for value in self.allowed)
            cases.append(f"WHEN {typed} NOT IN ({allowed}) THEN {literal(f'{name}: not allowed: ')} || {shown}")
        if self.minimum is not None:
            cases.append(
                f"WHEN {typed} < {self.minimum} THEN {literal(f'{name}: below {self.minimum:g}: ')} || {shown}"
            )
        return f"CASE {' '.join(cases)} END" if cases else None


class TableContract(dg.Model, dg.Resolvable):
    """One raw table: its grain in words, its columns and the key that identifies a record.

    Without a key no two rows can be told to be the same record, so none is dropped as a duplicate.
    """

    grain: str
    columns: Annotated[dict[str, Column], Field(min_length=1)]
    key: Annotated[list[str], Field(default_factory=list)]

    @model_validator(mode="after")
    def _key_names_required_columns(self) -> "TableContract":
        for name in self.key:
            if name not in self.columns or not self.columns[name].required:
                raise ValueError(f"key: {name!r} is no required column; required are {self.required}")
        reserved = [name for name in self.columns if name.startswith("_")]
        if reserved:
            raise ValueError(f"columns: {reserved} are not allowed: names with a leading _ are the loader's own")
        return self

    @property
    def required(self) -> list[str]:
        """Names of the columns that every row must fill."""
        return [name for name, column in self.columns.items() if column.required]

    @property
    def hash(self) -> str:
        """Hash of everything the contract says."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def raw_columns(self) -> dict[str, str]:
        """Columns of the raw table with their engine types: the contract's, then the loader's own."""
        own = {name: ENGINE_TYPES[column.type] for name, column in self.columns.items()}
        return {**own, "_extra": "JSON", "_file": "VARCHAR", "_loaded_at": "TIMESTAMP"}

    def create_table(self, table: str) -> str:
        """DDL of the raw table."""
        columns = ", ".join(f"{identifier(name)} {kind}" for name, kind in self.raw_columns.items())
        return f"CREATE TABLE IF NOT EXISTS {table} ({columns})"
