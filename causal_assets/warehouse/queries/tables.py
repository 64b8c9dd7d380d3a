"""One prepared table as a study reads it, as SQL text."""

import re
from collections.abc import Iterable, Sequence
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


def is_known(columns: Sequence[str], relation: str, warehouse: Warehouse) -> dict[str, str]:
    """SQL condition by column: its value is known; a number that is none counts as unknown."""
    types = warehouse.columns(f"({relation})")
    return {
        name: f"{identifier(name)} IS NOT NULL"
        + (f" AND NOT isnan({identifier(name)})" if types[name] in ("DOUBLE", "FLOAT") else "")
        for name in columns
    }


def all_of(conditions: Iterable[str]) -> str:
    """SQL condition: every one of them holds."""
    return "(" + " AND ".join(["true", *conditions]) + ")"


def unknown(column: str) -> str:
    """SQL: whether the column's value is empty, or a number that is none."""
    return f"({column} IS NULL OR lower(CAST({column} AS VARCHAR)) = 'nan')"


def shape(column: str) -> str:
    """SQL: how a text is written, with 9 for every digit."""
    return f"regexp_replace({identifier(column)}, '[0-9]', '9', 'g')"


def sorts_by_time(written: str) -> bool:
    """Whether texts of this one shape sort as the times that they mean: one number, or the year first.

    >>> [sorts_by_time(one) for one in ("9999-99-99", "W99", "99/99/9999", "99-99-99", "before")]
    [True, True, False, False, False]
    """
    numbers = re.findall("9+", written)
    return len(numbers) == 1 or (len(numbers) > 1 and len(numbers[0]) >= len("YYYY"))


def is_arm(column: str, arm: str) -> str:
    """SQL: whether the column's value is this arm, as text or as a number: 1 and 1.0 are one arm."""
    as_number = f"TRY_CAST({column} AS DOUBLE) = TRY_CAST({literal(arm)} AS DOUBLE)"
    return f"coalesce(CAST({column} AS VARCHAR) = {literal(arm)} OR {as_number}, false)"


def in_treatment(column: str, control: str, treatment: str) -> str:
    """SQL: whether the column says treatment; NULL in a third arm, which is in neither of the two compared."""
    return f"CASE WHEN {is_arm(column, treatment)} THEN true WHEN {is_arm(column, control)} THEN false END"
