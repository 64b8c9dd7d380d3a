"""Hand-made marts: small enough to add up in one's head."""

from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from causal_assets.warehouse.engine import Warehouse

MARTS = """
CREATE SCHEMA marts;
CREATE TABLE marts.unit_days (source VARCHAR, unit_id VARCHAR, day DATE, metric VARCHAR, value DOUBLE, events BIGINT);
CREATE TABLE marts.assignments (
    source VARCHAR, program VARCHAR, unit_id VARCHAR, arm VARCHAR, assigned_at TIMESTAMP);
CREATE TABLE marts.unit_attributes (
    source VARCHAR, unit_id VARCHAR, attribute VARCHAR, value VARCHAR, known_at TIMESTAMP);
CREATE TABLE marts.coverage (source VARCHAR, first_day DATE, last_day DATE);
"""


class Marts:
    """The marts of a warehouse of its own; what is not given is the shop, the metric spend, the program mail."""

    def __init__(self, path: Path):
        self.warehouse = Warehouse(path=str(path))
        with self.warehouse.connect() as connection:
            connection.execute(MARTS)

    def insert(self, table: str, rows: Iterable[tuple[Any, ...]]) -> None:
        with self.warehouse.transaction() as connection:
            for row in rows:
                marks = ", ".join("?" for _ in row)
                connection.execute(f"INSERT INTO marts.{table} VALUES ({marks})", row)

    def spent(self, unit: str, day: str, value: float, metric: str = "spend", source: str = "shop") -> None:
        self.insert("unit_days", [(source, unit, date.fromisoformat(day), metric, value, 1)])

    def assigned(self, unit: str, at: str, arm: str = "new", program: str = "mail", source: str = "shop") -> None:
        self.insert("assignments", [(source, program, unit, arm, datetime.fromisoformat(at))])

    def learnt(self, unit: str, at: str, value: str | None, attribute: str = "region", source: str = "shop") -> None:
        self.insert("unit_attributes", [(source, unit, attribute, value, datetime.fromisoformat(at))])

    def covered(self, last: str, source: str = "shop") -> None:
        self.insert("coverage", [(source, date(2020, 1, 1), date.fromisoformat(last))])

    def rows(self, sql: str, key: str = "unit_id") -> dict[Any, dict[str, Any]]:
        """Rows by unit."""
        found = self.warehouse.rows(sql)
        by_key = {row.pop(key): row for row in found}
        assert len(by_key) == len(found)
        return by_key


@pytest.fixture
def marts(tmp_path: Path) -> Marts:
    return Marts(tmp_path / "w.duckdb")
