"""A contract says what a value must be, and refuses a contract that contradicts itself."""

import duckdb
import pytest
from pydantic import ValidationError

from causal_assets.sources.contract import ENGINE_TYPES, Column, ColumnType, TableContract, accepts
from causal_assets.warehouse.engine import scratch


def typed(column: Column, value: str, kind: str = "VARCHAR") -> str | None:
    """The value as the contract reads it, as text, or None where it cannot."""
    with scratch() as connection:
        connection.execute(f"CREATE TABLE t AS SELECT CAST(? AS {kind}) AS x", [value])
        row = connection.execute(f"SELECT CAST({column.typed('x', kind)} AS VARCHAR) FROM t").fetchone()
    return row[0] if row else None


@pytest.mark.parametrize(
    ("kind", "text", "read"),
    [
        ("integer", "9007199254740993", "9007199254740993"),  # one more than a double can hold
        ("integer", "+5", "5"),
        ("integer", "12.5", None),
        ("integer", "12.0", None),
        ("integer", "1e3", None),
        ("integer", "9223372036854775808", None),
        ("number", "12.5", "12.5"),
        ("number", "nan", None),
        ("number", "inf", None),
        ("number", "1e999", None),
        ("number", "1,5", None),
        ("boolean", "true", "true"),
        ("boolean", "maybe", None),
        ("date", "2026-02-28", "2026-02-28"),
        ("date", "2026-02-30", None),
        ("date", "2026-02-28 15:00:00", None),
        ("date", "infinity", None),
        ("timestamp", "2026-03-01T10:00:00+05:30", "2026-03-01 04:30:00"),
        ("timestamp", "2026-03-01T10:00:00Z", "2026-03-01 10:00:00"),
        ("timestamp", "2026-03-01 10:00:00", "2026-03-01 10:00:00"),
        ("timestamp", "infinity", None),
        ("timestamp", "yesterday", None),
        ("text", "", ""),
    ],
)
def test_a_text_is_read_as_exactly_the_value_it_states_or_not_at_all(
    kind: ColumnType, text: str, read: str | None
) -> None:
    assert typed(Column(type=kind), text) == read


@pytest.mark.parametrize(
    ("kind", "engine", "value", "read"),
    [
        ("date", "TIMESTAMP", "2026-02-28 00:00:00", "2026-02-28"),
        ("date", "TIMESTAMP", "2026-02-28 15:00:00", None),
        ("integer", "HUGEINT", "9223372036854775808", None),
        ("number", "DECIMAL(10,2)", "12.50", "12.5"),
        ("number", "DOUBLE", "nan", None),
        ("timestamp", "TIMESTAMP WITH TIME ZONE", "2026-03-01 10:00:00+02", "2026-03-01 08:00:00"),
        ("timestamp", "TIMESTAMP", "infinity", None),
    ],
)
def test_a_typed_value_loses_nothing_on_its_way_into_the_contracts_type(
    kind: ColumnType, engine: str, value: str, read: str | None
) -> None:
    assert typed(Column(type=kind), value, engine) == read


@pytest.mark.parametrize("kind", list(ENGINE_TYPES))
def test_every_type_accepts_its_own_engine_type_and_no_list_of_it(kind: ColumnType) -> None:
    assert accepts(kind, ENGINE_TYPES[kind], typed=True)
    assert not accepts(kind, f"{ENGINE_TYPES[kind]}[]", typed=True)
    assert not accepts(kind, f"{ENGINE_TYPES[kind]}[3]", typed=True)


@pytest.mark.parametrize(
    ("kind", "delivered", "accepted"),
    [
        ("number", "DECIMAL(18,4)", True),
        ("number", "UINTEGER", True),
        ("number", "VARCHAR", False),
        ("number", "DECIMAL(18,4)[]", False),
        ("integer", "DOUBLE", False),
        ("text", "ENUM('a', 'b')", True),
        ("text", "INTEGER", False),
        ("timestamp", "TIMESTAMP_NS", True),
        ("timestamp", "TIME", False),
        ("boolean", "INTEGER", False),
        ("integer", "STRUCT(a INTEGER)", False),
    ],
)
def test_a_file_that_states_types_may_deliver_only_compatible_ones(
    kind: ColumnType, delivered: str, accepted: bool
) -> None:
    assert accepts(kind, delivered, typed=True) is accepted


@pytest.mark.parametrize("kind", list(ENGINE_TYPES))
def test_a_file_that_states_no_types_delivers_text_for_any_of_them(kind: ColumnType) -> None:
    assert accepts(kind, "VARCHAR", typed=False)


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        (Column(type="text"), None, "x: missing"),
        (Column(type="text", required=False), None, None),
        (Column(type="integer"), "12.5", "x: no integer: 12.5"),
        (Column(type="text", allowed=["a", "it's"]), "b", "x: not allowed: b"),
        (Column(type="text", allowed=["a", "it's"]), "it's", None),
        (Column(type="number", minimum=0), "-0.5", "x: below 0: -0.5"),
        (Column(type="number", minimum=0), "0", None),
        (Column(type="number", minimum=0, required=False), None, None),
    ],
)
def test_a_broken_promise_is_named_with_its_column_and_value(
    column: Column, value: str | None, reason: str | None
) -> None:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t AS SELECT CAST(? AS VARCHAR) AS x", [value])
        broken = column.broken("x", "x", column.typed("x", "VARCHAR")) or "NULL"
        assert connection.execute(f"SELECT {broken} FROM t").fetchone() == (reason,)


@pytest.mark.parametrize(
    ("contract", "said"),
    [
        ({"columns": {"id": {"type": "text"}}, "key": ["idd"]}, r"key: 'idd' is no required column.*\['id'\]"),
        ({"columns": {"id": {"type": "text", "required": False}}, "key": ["id"]}, "key: 'id' is no required column"),
        ({"columns": {"_file": {"type": "text"}}}, r"columns: \['_file'\] are not allowed: names with a leading _"),
        ({"columns": {"id": {"type": "int"}}}, r"(?s)columns.id.type.*'text', 'integer', 'number'.*'int'"),
        ({"columns": {"id": {"type": "text", "requird": True}}}, "columns.id.requird"),
        ({"columns": {}}, "columns"),
    ],
)
def test_a_wrong_contract_is_refused_with_the_field_what_was_given_and_what_is_allowed(
    contract: dict[str, object], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        TableContract.model_validate({"grain": "one row", **contract})


def test_the_hash_moves_with_anything_the_contract_says() -> None:
    given = {"grain": "one row", "columns": {"id": {"type": "text"}}}
    stricter = {"grain": "one row", "columns": {"id": {"type": "text", "allowed": ["a"]}}}
    assert TableContract.model_validate(given).hash == TableContract.model_validate(given).hash
    assert TableContract.model_validate(given).hash != TableContract.model_validate(stricter).hash
