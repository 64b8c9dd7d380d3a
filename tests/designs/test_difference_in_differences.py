"""A difference-in-differences study of a prepared panel."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from causal_assets.designs.difference_in_differences import DifferenceInDifferences
from causal_assets.estimators.two_way import two_way
from causal_assets.home import Home
from causal_assets.types import Status
from causal_assets.warehouse.engine import Warehouse
from tests.designs.direct import find
from tests.designs.tables import house_of, tell, write_table
from tests.estimators.panels import event_study_rows
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
    for name in ("parallel_trends", "placebo_in_time", "anticipation", "placebo_units"):
        assert told.evidence[name].status is Status.PASS, told.evidence[name].message
    methods = told.alternatives()
    assert any("two-way" in method for method in methods)
    assert any("less a linear trend" in method for method in methods)
    assert any("simultaneous" in method for method in methods)
    assert told.evidence["alternatives"].status is Status.PASS
    assert "What did the loyalty card change?" in told.memo
    assert "effect by time since adoption" in told.memo
    assert "comparisons in the two-way estimate" in told.memo


def test_stores_that_moved_apart_before_are_no_evidence(home: Home) -> None:
    told = find(home.root, DifferenceInDifferences, FIELDS, table(bump=8.0))
    assert told.evidence["parallel_trends"].status is Status.FAIL


@pytest.mark.parametrize("estimator", ["event_study", "two_by_two"])
def test_one_date_is_answered_without_staggering(home: Home, estimator: str) -> None:
    columns = {"unit_id": "store", "period": "month", "treatment": "card"}
    told = find(home.root, DifferenceInDifferences, FIELDS | {"columns": columns, "estimator": estimator}, table((5,)))
    assert told.primary.covers(2.0) and not told.primary.covers(0.0)


@pytest.mark.parametrize("clusters", [None, 4])
def test_two_way_and_event_study_give_the_numbers_of_the_rows(home: Home, clusters: int | None) -> None:
    columns = table((5,), units=160 if clusters else 90)
    columns["region"] = np.char.add(
        "r", (np.char.lstrip(columns["store"], "s").astype(int) // (clusters or 1)).astype(str)
    )
    unit = np.unique(columns["store"], return_inverse=True)[1]
    rows = columns["revenue"], columns["card"].astype(float), unit, columns["month"]
    expected = {
        "two_way": two_way(*rows, cluster=columns["region"]).estimate(outcome="revenue"),
        "event_study": event_study_rows(*rows).average(outcome="revenue"),
    }
    roles = FIELDS["columns"] | ({"cluster": "region"} if clusters else {})
    design, warehouse = read(home, FIELDS | {"columns": roles}, columns)
    for estimator, wanted in expected.items():
        found = design.effect(warehouse, "study", "revenue", estimator)
        assert found.value == pytest.approx(wanted.value, rel=1e-10)
        if estimator == "two_way" or not clusters:
            assert (found.low, found.p_value) == pytest.approx((wanted.low, wanted.p_value), rel=1e-7)
        assert found.n_control == (20 if clusters else 45)


def read(home: Home, fields: dict[str, Any], columns: dict[str, Any]) -> tuple[DifferenceInDifferences, Warehouse]:
    """The study with its cohort and outcomes written."""
    write_table(home, columns)
    design = DifferenceInDifferences.resolve_from_dict({"table": "table.parquet", **fields})
    warehouse = Warehouse(path=str(home.root / "w.duckdb"))
    design.write_cohort(warehouse, "study", str(home.root / "studies" / "study" / "defs.yaml"))
    design.write_outcomes(warehouse, "study")
    return design, warehouse


def test_an_alternative_that_the_data_refuse_is_told_with_its_reason(home: Home) -> None:
    design, warehouse = read(home, FIELDS, table((1,)))  # one period before adoption: nothing to fit a trend to
    findings = design.estimates(warehouse, "study")
    assert not any("less a linear trend" in estimate.method for _, estimate in findings)
    told = {d.name: d for d in design.diagnostics(warehouse, "study", findings)}["alternatives"]
    assert told.status is Status.REVIEW
    assert "less a linear trend: relative: 2 periods before adoption" in told.message


def test_an_error_that_is_no_refusal_is_not_swallowed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("a mistake of ours")

    design, warehouse = read(home, FIELDS, table())
    monkeypatch.setattr("causal_assets.designs.difference_in_differences.read_two_way", broken)
    with pytest.raises(ValueError, match="a mistake of ours"):
        design.estimates(warehouse, "study")


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


def test_stores_that_sell_more_before_they_adopt_fail_the_placebo(tmp_path: Path) -> None:
    columns = table(dates=(7,))
    ahead = 1.5 * ((columns["introduced"] > 0) & (columns["month"] == 6))
    told = find(tmp_path, DifferenceInDifferences, FIELDS, columns | {"revenue": columns["revenue"] + ahead})
    assert told.evidence["anticipation"].status is Status.FAIL
    drift = 0.5 * (columns["introduced"] > 0) * columns["month"]
    told = find(tmp_path, DifferenceInDifferences, FIELDS, columns | {"revenue": columns["revenue"] + drift})
    assert told.evidence["placebo_in_time"].status is Status.REVIEW  # beyond chance, a fourth of the effect
