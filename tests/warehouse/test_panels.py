"""Grouped queries give what the same estimator gives on the rows, balanced or not, however the table is written."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from causal_assets.designs.panel_reading import read_event_study, read_two_by_two, read_two_way
from causal_assets.estimators.did import two_by_two_clustered
from causal_assets.estimators.inference import Refusal
from causal_assets.estimators.two_way import two_way
from causal_assets.warehouse.engine import Warehouse
from causal_assets.warehouse.queries import panels
from causal_assets.warehouse.queries.panels import PanelColumns, event_differences, unit_patterns
from tests.estimators.panels import event_study_rows

Rows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
PANEL = PanelColumns("panel", "unit", "period", "y", "d")
CLUSTERED = PanelColumns("panel", "unit", "period", "y", "d", "region")


def _rows(kind: str = "block", lost: int = 0, units: int = 160, periods: int = 6) -> Rows:
    rng = np.random.default_rng(0)
    i, t = (a.ravel() for a in np.indices((units, periods)))
    start = np.where(np.arange(units) < 60, 3 if kind == "block" else rng.integers(1, periods, units), periods)
    d = (t >= start[i]).astype(float)
    if kind == "on and off":
        d = np.where((t > 0) & (i < 60), rng.random(i.size) < 0.5, 0.0)
    y = 5 * rng.normal(size=units)[i] + t + d + rng.normal(size=i.size)
    kept = np.ones(i.size, dtype=bool)
    kept[rng.choice(np.flatnonzero(t > 0), lost, replace=False)] = False
    return y[kept], d[kept], i[kept], t[kept]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Warehouse]:
    def written(rows: Rows, period: str = "period", order: int | None = None, **columns: Any) -> Warehouse:
        warehouse = Warehouse(path=str(tmp_path / "w.duckdb"))
        y, d, unit, t = rows
        data = {"y": y, "d": d, "unit": unit, "period": t, "region": unit // 2} | columns
        if order is not None:
            shuffled = np.random.default_rng(order).permutation(y.size)
            data = {name: np.asarray(values)[shuffled] for name, values in data.items()}
        with warehouse.connect() as connection:
            import pyarrow as pa

            connection.register("given", pa.table(data))
            connection.execute(f"CREATE OR REPLACE TABLE panel AS SELECT * REPLACE ({period} AS period) FROM given")
        return warehouse

    return written


@pytest.mark.parametrize("panel", [PANEL, CLUSTERED])
@pytest.mark.parametrize(
    ("kind", "lost", "periods"),
    [("block", 0, 6), ("staggered", 0, 6), ("on and off", 0, 6), ("staggered", 90, 6), ("on and off", 900, 70)],
)
def test_two_way_from_grouped_queries_equals_the_rows(write, panel, kind, lost, periods):
    y, d, unit, t = rows = _rows(kind, lost, periods=periods)
    ours = read_two_way(write(rows, order=1), panel)
    expected = two_way(y, d, unit, t, cluster=None if panel.cluster is None else unit // 2)
    assert ours.value == pytest.approx(expected.value, rel=1e-10)
    assert ours.std_error == pytest.approx(expected.std_error, rel=1e-10)
    assert (ours.rows, ours.treated, ours.control) == (expected.rows, expected.treated, expected.control)


def test_a_block_with_few_units_has_the_cr2_error_of_the_rows(write):
    rows = _rows(units=90)
    rows = tuple(a[rows[2] >= 30] for a in rows)  # 30 treated, 30 controls
    ours, expected = read_two_way(write(rows), PANEL), two_way(*rows)
    assert ours.small_error == pytest.approx(expected.small_error, rel=1e-9)
    assert ours.small_df == pytest.approx(expected.small_df, rel=1e-6)
    assert ours.estimate(outcome="y").low == pytest.approx(expected.estimate(outcome="y").low, rel=1e-8)


@pytest.mark.parametrize(("kind", "lost"), [("staggered", 0), ("staggered", 40), ("on and off", 200)])
@pytest.mark.parametrize("panel", [PANEL, CLUSTERED])
def test_few_clusters_of_any_pattern_have_the_cr2_error_of_the_rows(write, panel, kind, lost):
    y, d, unit, t = rows = tuple(a[_rows(kind, lost)[2] >= 30] for a in _rows(kind, lost))
    ours = read_two_way(write((y + 1e4, *rows[1:]), order=1, region=unit // 2), panel)
    expected = two_way(y, d, unit, t, cluster=None if panel.cluster is None else unit // 2)
    assert expected.small_error is not None
    assert ours.small_error == pytest.approx(expected.small_error, rel=1e-9)
    assert ours.small_df == pytest.approx(expected.small_df, rel=1e-6)


@pytest.mark.parametrize("size", [1, 2, 6])  # 60, 30 and 10 treated clusters
def test_an_event_study_by_cluster_has_the_sums_of_its_rows(write, size):
    rows = _rows()
    region = np.char.add("r", (rows[2] // size).astype(str))
    found = read_event_study(write(rows, order=2, region=region), CLUSTERED)
    expected = event_study_rows(*rows)
    np.testing.assert_allclose(found.coef, expected.coef, rtol=1e-10)
    if size == 1:
        np.testing.assert_allclose(found.cov, expected.cov, rtol=1e-9, atol=1e-14)
        assert found.df == expected.df
    assert (found.n_treated, found.n_control) == (-(-60 // size), -(-160 // size) - 60 // size)


def test_a_unit_in_two_clusters_is_refused(write):
    y, d, unit, t = _rows()
    for read in (read_two_way, read_event_study):
        with pytest.raises(ValueError, match="1 units are in more than one cluster"):
            read(write((y, d, unit, t), region=np.where((unit == 4) & (t == 2), 9, unit)), CLUSTERED)


@pytest.mark.parametrize(
    "period", ["DATE '2026-01-31' + CAST(period * 7 AS INTEGER)", "CAST(2000 + period AS VARCHAR)"]
)
def test_dates_and_texts_are_periods_too(write, period):
    rows = _rows("staggered", 50)
    assert read_two_way(write(rows, period), PANEL).value == pytest.approx(two_way(*rows).value, rel=1e-10)
    block = _rows()
    found = read_event_study(write(block, period), PANEL)
    np.testing.assert_allclose(found.coef, event_study_rows(*block).coef, rtol=1e-9)


def test_units_may_be_texts_or_too_many_for_an_array_and_the_same_rows_give_the_same_digits(write, monkeypatch):
    rows = _rows("staggered", 50)
    expected = read_two_way(warehouse := write(rows), PANEL)
    assert read_two_way(warehouse, PANEL) == expected
    for units, changed in ((1 << 21, {"unit": np.char.add("u", rows[2].astype(str))}), (0, {})):
        monkeypatch.setattr(panels, "ARRAY_UNITS", units)
        found = read_two_way(write(rows, **changed), PANEL)
        assert found.value == pytest.approx(expected.value, rel=1e-12)
        assert found.std_error == pytest.approx(expected.std_error, rel=1e-12)


def test_an_event_study_equals_the_rows_with_and_without_its_covariances(write):
    expected = event_study_rows(*_rows())
    warehouse = write(_rows(), order=3)
    full, quick = (read_event_study(warehouse, PANEL, joint=joint) for joint in (True, False))
    np.testing.assert_allclose(full.cov, expected.cov, rtol=1e-10, atol=1e-14)
    for found in (full, quick):
        np.testing.assert_allclose(found.coef, expected.coef, rtol=1e-10)
        np.testing.assert_allclose(np.diag(found.cov), np.diag(expected.cov), rtol=1e-10)
        assert (found.relative, found.df, found.n_treated) == (expected.relative, expected.df, expected.n_treated)
    with pytest.raises(ValueError, match="full covariance"):
        quick.pre_trend()


def test_a_billion_added_to_every_outcome_leaves_the_errors(write):
    for kind, lost in (("block", 0), ("staggered", 60)):
        y, *rest = _rows(kind, lost)
        plain = read_two_way(write((y, *rest)), PANEL).std_error
        assert read_two_way(write((y + 1e9, *rest)), PANEL).std_error == pytest.approx(plain, rel=1e-6)


def test_units_of_one_arm_that_swap_periods_or_dates_are_noticed(write):
    y, d, unit, t = _rows()
    swapped = d.copy()  # unit 0 adopts a period early and unit 1 a period late: shares by period are a block's still
    swapped[(unit == 0) & (t == 2)] = 1
    swapped[(unit == 1) & (t == 3)] = 0
    swapped[(unit == 2) & (t == 3)] = 0
    ours = read_two_way(write((y, swapped, unit, t)), PANEL)
    assert ours.value == pytest.approx(two_way(y, swapped, unit, t).value, rel=1e-10)
    with pytest.raises(ValueError, match="use staggered"):
        read_event_study(write((y, swapped, unit, t)), PANEL)
    shared = np.where(unit == 0, (t == 3) | (t == 4), np.where(unit == 1, t == 5, d)).astype(float)
    ours = read_two_way(write((y, shared, unit, t)), PANEL)  # two units share what one unit of a block has
    assert ours.value == pytest.approx(two_way(y, shared, unit, t).value, rel=1e-10)
    tripled = np.concatenate([np.arange(y.size), np.flatnonzero(unit == 0), np.flatnonzero(unit == 0)])
    for read, message in ((read_two_way, "more than one row in a period"), (read_event_study, "double rows")):
        with pytest.raises(ValueError, match=message):
            read(write(tuple(a[tripled] for a in (y, d, unit, t))), PANEL)
    twice = tuple(np.append(a, b) for a, b in zip((y, d, unit, t), (1.0, 0.0, 0, 3), strict=True))
    with pytest.raises(ValueError, match="1 units have more than one row in a period"):
        read_two_way(write(twice), PANEL)
    other = t.copy()  # unit 0 has period 4 twice and no 5, unit 1 the reverse: every count is a balanced panel's
    other[(unit == 0) & (t == 5)] = 4
    other[(unit == 1) & (t == 4)] = 5
    with pytest.raises(ValueError, match="2 units have more than one row in a period"):
        read_two_way(write((y, d, unit, other)), PANEL)
    with pytest.raises(ValueError, match="unbalanced or has double rows"):
        read_event_study(write((y, d, unit, other)), PANEL)


def test_bad_panels_are_refused_by_name(write):
    y, d, unit, t = _rows()
    for rows, message in [
        ((np.where(unit == 3, np.nan, y), d, unit, t), "y: 6 outcomes are NULL, NaN or infinite"),
        ((y, 2 * d, unit, t), "d: .* rows are neither 0 nor 1"),
        ((y, 0.4 * d, unit, t), "d: .* rows are neither 0 nor 1"),
        ((y[t == 0], d[t == 0], unit[t == 0], t[t == 0]), "period: at least 2 periods are needed, got 1"),
        ((y, np.where(unit == 3, 1.0, d), unit, t), "units are treated in the first period 0"),
        ((y, (t >= 3).astype(float), unit, t), "unit and period effects explain the treatment"),
        ((y, 0 * d, unit, t), "unit and period effects explain the treatment"),
    ]:
        with pytest.raises(ValueError, match=message):
            read_two_way(write(rows), PANEL)
    with pytest.raises(ValueError, match="the panel is unbalanced"):
        read_event_study(write(_rows("block", 10)), PANEL)
    with pytest.raises(ValueError, match="both treated and untreated units"):
        read_event_study(write((y, 0 * d, unit, t)), PANEL)


def test_names_and_values_are_quoted():
    panel = PanelColumns("s.t", 'unit"', "the week", "y", "d")
    assert '"unit"""' in event_differences(panel, "it's", "b") and "'it''s'" in event_differences(panel, "it's", "b")
    assert "mask_1" in (sql := unit_patterns(panel, list(range(16)), 9, None, 0.1)) and "0.1::DOUBLE" in sql


@pytest.mark.parametrize("panel", [PANEL, CLUSTERED])
@pytest.mark.parametrize(("kind", "lost"), [("block", 0), ("block", 300)])
@pytest.mark.parametrize("shift", [0.0, 1e9])
def test_the_two_by_two_from_kinds_of_clusters_equals_the_rows(write, panel, kind, lost, shift):
    y, d, unit, t = _rows(kind, lost)
    rows, arm = (y + shift, d, unit, t), (unit < 60).astype(int)
    label = unit if panel.cluster is None else unit % 23  # clusters that hold both arms
    warehouse = write(rows, order=1, arm=arm, region=unit % 23)
    ours = read_two_by_two(warehouse, panel, "arm", outcome="y", level=0.9)
    expected = two_by_two_clustered(y, arm, t >= t[d == 1].min(), label, outcome="y", level=0.9)
    assert ours.value == pytest.approx(expected.value, rel=1e-6 if shift else 1e-10)
    assert ours.std_error == pytest.approx(expected.std_error, rel=1e-6 if shift else 1e-9)
    assert (ours.low, ours.p_value) == pytest.approx((expected.low, expected.p_value), rel=1e-4 if shift else 1e-8)
    assert (ours.n_treated, ours.n_control) == (expected.n_treated, expected.n_control)


def test_a_balanced_panel_has_two_kinds_of_units_and_respondents_may_be_seen_once(write):
    y, d, unit, t = _rows(units=400)
    arm, fresh = (unit < 60).astype(int), np.arange(y.size)
    warehouse = write((y, d, unit, t), arm=arm, fresh=fresh)
    from dataclasses import replace

    from causal_assets.warehouse.queries.panels import two_by_two_kinds

    kinds = warehouse.rows(two_by_two_kinds(replace(PANEL, treatment="arm"), 3, 0.0))
    assert [(k["rows"], k["size"]) for k in kinds] == [([0, 0, 3, 3], 60), ([3, 3, 0, 0], 340)]
    once = read_two_by_two(warehouse, replace(PANEL, unit="fresh"), "arm", outcome="y", level=0.95)
    expected = two_by_two_clustered(y, arm, t >= 3, fresh, outcome="y")
    assert (once.value, once.std_error) == pytest.approx((expected.value, expected.std_error), rel=1e-9)


def test_a_two_by_two_that_cannot_be_answered_is_refused_by_name(write):
    y, d, unit, t = _rows()
    arm = (unit < 60).astype(int)
    with pytest.raises(Refusal, match="d: nobody is treated in any period"):
        read_two_by_two(write((y, 0 * d, unit, t), arm=arm), PANEL, "arm", outcome="y", level=0.95)
    staggered = _rows("staggered")
    with pytest.raises(Refusal, match="two_by_two needs units that are all treated from one date on"):
        read_two_by_two(write(staggered, arm=arm), PANEL, "arm", outcome="y", level=0.95)
    with pytest.raises(ValueError, match="one of the four cells is empty"):
        read_two_by_two(write((y, arm * 1.0, unit, t), arm=arm), PANEL, "arm", outcome="y", level=0.95)
    with pytest.raises(Refusal, match="3 treated and 100 control clusters"):
        read_two_by_two(
            write((y, d, np.where(unit < 60, unit % 3, unit), t), arm=arm), PANEL, "arm", outcome="y", level=0.95
        )
