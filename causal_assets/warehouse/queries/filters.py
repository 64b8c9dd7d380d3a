"""A user's filter is parsed, never pasted: one boolean expression over known columns, or an error that says why."""

from collections.abc import Collection

import sqlglot
from sqlglot import exp

# What a filter may be made of; everything else (subqueries, commands, functions that read files) is refused.
ALLOWED = (
    exp.And, exp.Or, exp.Not, exp.Paren, exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.In, exp.Between, exp.Is,
    exp.Null, exp.Boolean, exp.Literal, exp.Column, exp.Identifier, exp.Like, exp.Neg, exp.Add, exp.Sub, exp.Mul,
)  # fmt: skip


def parse_filter(text: str, columns: Collection[str]) -> str:
    """Return the filter as canonical SQL.

    >>> parse_filter("region = 'north' and age_band <> '65+'", ["region", "age_band"])
    "region = 'north' AND age_band <> '65+'"

    Raises:
        ValueError: no boolean expression, something not allowed in it, or an unknown column.
    """
    try:
        tree = sqlglot.parse_one(text, dialect="duckdb")
    except sqlglot.errors.ParseError as error:
        raise ValueError(f"population: {text!r} is no SQL expression: {error}") from None
    for node in tree.walk():
        if not isinstance(node, ALLOWED):
            raise ValueError(
                f"population: {node.sql('duckdb')!r} is not allowed in a filter; compare columns with values"
            )
    if not isinstance(tree, (exp.Predicate, exp.Connector, exp.Not, exp.Paren)):
        raise ValueError(f"population: {text!r} is not a condition; allowed is e.g. region = 'north'")
    unknown = sorted({column.name for column in tree.find_all(exp.Column)} - set(columns))
    if unknown:
        raise ValueError(f"population: unknown column {unknown}; allowed are {sorted(columns)}")
    return tree.sql(dialect="duckdb")


def filter_columns(text: str | None) -> list[str]:
    """Columns a filter mentions."""
    if text is None:
        return []
    return sorted({column.name for column in sqlglot.parse_one(text, dialect="duckdb").find_all(exp.Column)})
