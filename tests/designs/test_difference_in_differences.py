"""A difference-in-differences study of a prepared panel."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from causal_assets.designs.difference_in_differences import DifferenceInDifferences
from causal_assets.home import Home
from causal_assets.types import Status
from tests.designs.tables import house_of, tell, write_table
from tests.house import failures, live_in

FIELDS: dict[str, Any] = {
    "question": "What did the loyalty card change?",
    "intervention": "the loyalty card",
    "unit": "store",
    "columns": {"unit_id": "store", "period": "month", "first_treated": "introduced"},
    "outcomes": [{"name": "revenue", "role": "primary", "money": True}],
    "plausible_effect": 3.0,
    "decision": {"value_per_outcome": 1.0, "cost_per_unit": 0.1},
}


def table(dates: tuple[int, ...] = (5, 7), bump: float = 0.0, units: int = 200) -> dict[str, Any]:
    """An effect of 2 from adoption on; stores that will adopt sell ``bump`` more than their like in month 2."""
    rng = np.random.default_rng(0)
    first = np.where(np.arange(units) < units // 2, rng.choice(dates, units), 0)
    unit, month = (a.ravel() for a in np.indices((units, 10)))
    treated = (first[unit] > 0) & (month >= first[unit])
    size = rng.normal(size=units)
    revenue = (
        10 + size[unit] + month + 2.0 * treated + bump * (month == 2) * (first[unit] > 0) + rng.normal(size=unit.size)
    )
    order = rng.permutation(unit.size)
    columns = {"store": np.char.add("s", unit.astype(str)), "month": month, "introduced": first[unit]}
    columns |= {"card": treated.astype(int), "size": size[unit], "revenue": revenue}
    return {name: values[order] for name, values in columns.items()}


@pytest.fixture
def home(tmp_path: Path):
    with live_in(tmp_path) as root:
        yield Home(root)


def test_a_staggered_panel_in_any_order_gives_the_effect_and_its_evidence(home: Home) -> None:
    told = tell(home, DifferenceInDifferences, FIELDS | {"covariates": ["size"]}, table())
    assert told.primary.covers(2.0) and not told.primary.covers(0.0)
    assert "doubly robust" in told.primary.method
    assert told.primary.n_treated == told.primary.n_control == 100
    assert told.evidence["parallel_trends"].status is Status.PASS
    methods = told.alternatives()
    assert any("two-way" in method for method in methods)
    assert any("less a linear trend" in method for method in methods)
    assert any("simultaneous" in method for method in methods)
    assert "What did the loyalty card change?" in told.memo


def test_stores_that_moved_apart_before_are_no_evidence(home: Home) -> None:
    told = tell(home, DifferenceInDifferences, FIELDS, table(bump=8.0))
    assert told.evidence["parallel_trends"].status is Status.FAIL


@pytest.mark.parametrize("estimator", ["event_study", "two_by_two"])
def test_one_date_is_answered_without_staggering(home: Home, estimator: str) -> None:
    columns = {"unit_id": "store", "period": "month", "treatment": "card"}
    told = tell(home, DifferenceInDifferences, FIELDS | {"columns": columns, "estimator": estimator}, table((5,)))
    assert told.primary.covers(2.0) and not told.primary.covers(0.0)


def test_what_cannot_be_answered_stops_the_study_by_name(home: Home) -> None:
    gap, early = table(), table()
    gap["revenue"][3] = np.nan
    early["card"] = np.where(early["store"] == "s0", 1, early["card"])
    by_row = {"unit_id": "store", "period": "month", "treatment": "card"}
    for fields, columns, message in [
        (FIELDS, gap, "the panel is unbalanced, 1 of"),
        (FIELDS | {"columns": by_row}, early, "1 units are treated before the panel starts"),
    ]:
        write_table(home, columns)
        stages = (("study", stage) for stage in ("registration", "cohort", "outcomes", "estimate"))
        result = house_of(home, DifferenceInDifferences, fields).run(*stages)
        assert not result.success
        assert message in failures(result)
    for wrong, message in [
        ({"columns": {"unit_id": "store", "period": "month"}}, "either treatment or first_treated"),
        ({"estimator": "two_way", "covariates": ["size"]}, "two_way takes none"),
    ]:
        with pytest.raises(Exception, match=message):
            DifferenceInDifferences.resolve_from_dict({"table": "table.parquet", **FIELDS, **wrong})
