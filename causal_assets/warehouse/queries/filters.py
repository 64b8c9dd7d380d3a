"""A user's filter is parsed, never pasted: one boolean expression over known columns, or an error that says why."""

from collections.abc import Collection

import sqlglot
from sqlglot import exp

# What a filter may be made of; everything else (subqueries, commands, functions that read files) is refused.
ALLOWED = (
    exp.And, exp.Or, exp.Not, exp.Paren, exp.EQ, exp.NEQ, exp.LT, exp.LTE, exp.GT, exp.GTE, exp.In, exp.Between, exp.Is,
    exp.Null, exp.Boolean, exp.Literal, exp.Column, exp.Identifier, exp.Like, exp.Neg, exp.Add, exp.Sub, exp.Mul,
)  # fmt: skip

# What a derived column may be made of besides: plain functions of the row's own values.
COMPUTED = (
    *ALLOWED, exp.Div, exp.Mod, exp.Case, exp.If, exp.Cast, exp.DataType, exp.Abs, exp.Ln, exp.Exp, exp.Sqrt, exp.Pow,
    exp.Coalesce, exp.Round,
)  # fmt: skip


def parse_expression(text: str, field: str) -> str:
    """Return an expression over one row as canonical SQL.

    >>> parse_expression("CASE WHEN age > 30 THEN ln(income) ELSE 0 END", "derived.x")
    'CASE WHEN age > 30 THEN LN(income) ELSE 0 END'

    Raises:
        ValueError: no expression, or something not allowed in it.
    """
    tree = _parse(text, field)
    for node in tree.walk():
        if not isinstance(node, COMPUTED):
            raise ValueError(
                f"{field}: {node.sql('duckdb')!r} is not allowed in a column; compute it from the values of its own row"
            )
    return tree.sql(dialect="duckdb", comments=False)


def parse_filter(text: str, columns: Collection[str]) -> str:
    """Return the filter as canonical SQL.

    >>> parse_filter("region = 'north' and age_band <> '65+'", ["region", "age_band"])
    "region = 'north' AND age_band <> '65+'"

    Raises:
        ValueError: no boolean expression, something not allowed in it, or an unknown column.
    """
    tree = _parse(text)
    for node in tree.walk():
        if not isinstance(node, ALLOWED):
            raise ValueError(
                f"population: {node.sql('duckdb')!r} is not allowed in a filter; compare columns with values"
            )
    connected = [part for node in tree.find_all(exp.Connector, exp.Not) for part in node.iter_expressions()]
    for part in (tree, *connected):  # a bare 1 or a bare column beside an OR would let everyone in
        if not isinstance(part.unnest(), (exp.Predicate, exp.Connector, exp.Not)):
            raise ValueError(f"population: {part.sql('duckdb')!r} is not a condition; allowed is e.g. region = 'north'")
    unknown = sorted(_columns(tree) - set(columns))
    if unknown:
        raise ValueError(f"population: unknown column {unknown}; allowed are {sorted(columns)}")
    return tree.sql(dialect="duckdb", comments=False)


def filter_columns(text: str | None) -> list[str]:
    """Columns a filter or expression mentions.

    Raises:
        ValueError: no SQL expression.
    """
    return [] if text is None else sorted(_columns(_parse(text)))


def _parse(text: str, field: str = "population") -> exp.Expr:
    try:
        return sqlglot.parse_one(text, dialect="duckdb")
    except sqlglot.errors.SqlglotError as error:
        raise ValueError(f"{field}: {text!r} is no SQL expression: {error}") from None


def _columns(tree: exp.Expr) -> set[str]:
    # A qualified name could reach another table, so it is no name of a column.
    return {column.name if len(column.parts) == 1 else column.sql("duckdb") for column in tree.find_all(exp.Column)}
