"""The result tables are as documented, also in a warehouse that an older version made."""

from dataclasses import fields
from pathlib import Path

import pytest

from causal_assets.types import Decision, Diagnostic, Estimate
from causal_assets.warehouse.engine import Warehouse
from causal_assets.warehouse.results import TABLES, prepare


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(path=str(tmp_path / "warehouse.duckdb"))


def columns(warehouse: Warehouse) -> dict[str, dict[str, str]]:
    return {name: warehouse.columns(f"results.{name}") for name in sorted(warehouse.tables("results"))}


def test_every_table_has_the_columns_and_types_that_are_documented(warehouse: Warehouse) -> None:
    with warehouse.transaction() as connection:
        prepare(connection)
    documented = {name: {c: kind for c, (kind, _) in table.columns.items()} for name, table in sorted(TABLES.items())}
    assert columns(warehouse) == documented


def test_a_warehouse_of_an_older_version_gets_what_it_lacks_and_keeps_its_rows(warehouse: Warehouse) -> None:
    with warehouse.transaction() as connection:
        connection.execute("CREATE SCHEMA results; CREATE TABLE results.decisions (study VARCHAR, verdict VARCHAR)")
        connection.execute("INSERT INTO results.decisions VALUES ('page', 'hold')")
        prepare(connection)
    assert set(columns(warehouse)["decisions"]) == set(TABLES["decisions"].columns)
    assert warehouse.rows("SELECT study, verdict, grade FROM results.decisions") == [
        {"study": "page", "verdict": "hold", "grade": None}
    ]


@pytest.mark.parametrize(
    ("table", "kind"), [("estimates", Estimate), ("diagnostics", Diagnostic), ("decisions", Decision)]
)
def test_every_field_of_a_result_has_a_column(table: str, kind: type) -> None:
    assert {field.name for field in fields(kind)} <= set(TABLES[table].columns)
