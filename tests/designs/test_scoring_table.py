"""Scores written batch by batch are those of the model in memory, all of them or none."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from causal_assets.designs.scoring_table import write_scores
from causal_assets.targeting.features import UNKNOWN
from causal_assets.targeting.scoring import answers
from causal_assets.warehouse.engine import Warehouse
from tests.targeting.tiny import UNITS, model, units

SELECT = "FROM shop.customers"


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """The tiny model's units, their row numbers as keys."""
    found = Warehouse(path=str(tmp_path / "w.duckdb"))
    write(found, units())
    return found


def write(warehouse: Warehouse, columns: dict[str, Any]) -> None:
    with warehouse.transaction() as connection:
        connection.register("given", pa.table({"customer": np.arange(UNITS), **columns}))
        connection.execute("CREATE SCHEMA IF NOT EXISTS shop")
        connection.execute("CREATE OR REPLACE TABLE shop.customers AS FROM given")
        connection.unregister("given")


def content(warehouse: Warehouse) -> dict[str, Any]:
    return warehouse.arrays("FROM shop.scores ORDER BY customer")


@pytest.mark.parametrize("batch", [300, UNITS, 100_000])
def test_the_table_holds_what_the_model_answers_in_memory_whatever_the_batch(warehouse: Warehouse, batch: int) -> None:
    assert write_scores(warehouse, model(), SELECT, "shop.scores", key="customer", batch=batch) == UNITS
    found = content(warehouse)
    np.testing.assert_array_equal(found.pop("customer"), np.arange(UNITS))
    known = answers(model(), model().score(units()))
    assert list(found) == list(known)
    for name, column in known.items():
        if column.dtype.kind == "f":
            np.testing.assert_allclose(found[name], column, rtol=0, atol=1e-12)
        else:
            np.testing.assert_array_equal(found[name], column)


def test_a_failure_half_way_leaves_the_old_table(warehouse: Warehouse) -> None:
    write_scores(warehouse, model(), SELECT, "shop.scores", key="customer")
    old = content(warehouse)
    orders = units()["orders"].astype(float) + 5.0
    orders[-1] = np.nan
    write(warehouse, units() | {"orders": orders})
    with pytest.raises(ValueError, match="orders: 1 values are empty, NaN or infinite"):
        write_scores(warehouse, model(), SELECT, "shop.scores", key="customer", batch=300)
    for name, column in content(warehouse).items():
        np.testing.assert_array_equal(column, old[name])
    assert warehouse.scalar("SELECT count(*) FROM duckdb_tables() WHERE schema_name = 'shop'") == 2


def test_a_table_can_be_scored_in_its_own_place(warehouse: Warehouse) -> None:
    features = "customer, recency, orders, channel"
    write_scores(warehouse, model(), SELECT, "shop.scores", key="customer", batch=300)
    old = content(warehouse)
    joined = f"SELECT {features} FROM shop.customers JOIN shop.scores USING (customer)"
    assert write_scores(warehouse, model(), joined, "shop.scores", key="customer", batch=300) == UNITS
    for name, column in content(warehouse).items():
        np.testing.assert_array_equal(column, old[name])


def test_an_empty_text_is_the_unknown_kind_or_refused(warehouse: Warehouse) -> None:
    channel = units()["channel"].copy()
    channel[-1] = None
    write(warehouse, units() | {"channel": channel})
    with pytest.raises(ValueError, match=UNKNOWN):
        write_scores(warehouse, model(), SELECT, "shop.scores", key="customer", batch=300)


@pytest.mark.parametrize(
    ("select", "said"),
    [
        (f"{SELECT} WHERE false", "select: gives no rows"),
        ("SELECT * EXCLUDE (customer) FROM shop.customers", "key: 'customer' is no column"),
        ("SELECT * REPLACE (nullif(customer, 7) AS customer) FROM shop.customers", "'customer' is empty in 1 rows"),
        ("SELECT * EXCLUDE (orders) FROM shop.customers", r"\['orders'\] are missing"),
        ("SELECT * REPLACE ('kiosk' AS channel) FROM shop.customers", "'kiosk'"),
    ],
)
def test_rows_that_cannot_be_scored_are_refused_by_name(warehouse: Warehouse, select: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        write_scores(warehouse, model(), select, "shop.scores", key="customer")
    assert warehouse.tables("shop") == {"customers"}
