"""One prepared table as a study reads it, as SQL text."""

from collections.abc import Sequence
from pathlib import Path

from causal_assets.warehouse.engine import Warehouse, identifier, literal

READERS = {".parquet": "read_parquet", ".csv": "read_csv", ".jsonl": "read_json"}


def reader(path: Path) -> str:
    """The file as a relation; its kind is told by its ending."""
    return f"{READERS[path.suffix]}({literal(str(path))})"


def numbered(relation: str) -> str:
    """The table with each row's number as ``_row``, in the order in which it is stored."""
    return f"SELECT row_number() OVER () AS _row, * FROM {relation}"


def content_of(relation: str) -> str:
    """SQL expression: a hash of the table's content; rows in another order give another, for rows are numbered."""
    return f"(SELECT md5(CAST(sum(CAST(hash(t) AS HUGEINT)) AS VARCHAR)) FROM ({numbered(relation)}) AS t)"


def complete(columns: Sequence[str], relation: str, warehouse: Warehouse) -> str:
    """SQL condition: every one of ``columns`` is known; a number that is none counts as unknown."""
    types = warehouse.columns(f"({relation})")
    conditions = [f"{identifier(name)} IS NOT NULL" for name in columns]
    conditions += [f"NOT isnan({identifier(name)})" for name in columns if types[name] in ("DOUBLE", "FLOAT")]
    return "(" + " AND ".join(["true", *conditions]) + ")"
