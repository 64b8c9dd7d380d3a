import numpy as np
import pytest

from causal_assets.estimators.moments import Moments
from causal_assets.warehouse.queries.scorecards import scorecard_moments
from tests.warehouse.conftest import Marts


def test_one_pass_gives_every_metric_the_moments_numpy_gives_it_also_far_from_zero(tmp_path):
    rows = np.random.default_rng(1).gamma(2.0, 3.0, (200, 3))
    rows[:, 1] += 1e9
    treated = np.arange(200) % 3 == 0
    warehouse = Marts(tmp_path / "w.duckdb").warehouse
    with warehouse.connect() as connection:
        connection.execute("CREATE TABLE units (treated BOOLEAN, spend DOUBLE, visits DOUBLE, before DOUBLE)")
        connection.executemany(
            "INSERT INTO units VALUES (?, ?, ?, ?)",
            [[bool(d), *map(float, row)] for d, row in zip(treated, rows, strict=True)],
        )
    metrics = {"visits": (), "spend": ("before", "visits")}
    found = warehouse.rows(scorecard_moments("units", metrics))
    arms: dict[tuple[str, bool], Moments] = {}
    for row in found:
        assert row["names"] == [row["metric"], *metrics[row["metric"]]]
        size = len(row["names"])
        cov = np.zeros((size, size))
        cov[np.triu_indices(size)] = row["covariances"]
        part = Moments(row["n"], np.array(row["means"]), cov + np.triu(cov, 1).T)
        key = row["metric"], row["treated"]
        arms[key] = arms[key].merge(part) if key in arms else part
    assert sorted(arms) == [("spend", False), ("spend", True), ("visits", False), ("visits", True)]
    assert len(found) == 4 * 8
    for (metric, treats), moments in arms.items():
        columns = [["spend", "visits", "before"].index(name) for name in [metric, *metrics[metric]]]
        arm = rows[treated == treats][:, columns]
        assert moments.n == len(arm)
        np.testing.assert_allclose(moments.mean, arm.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(moments.cov, np.atleast_2d(np.cov(arm.T)), rtol=1e-6)


def test_an_arm_of_fewer_rows_than_parts_has_parts_of_one_row_without_spread(tmp_path):
    warehouse = Marts(tmp_path / "w.duckdb").warehouse
    warehouse.replace("main.units", "SELECT u, u = 1 AS treated, u * 1.5 AS spend FROM range(3) AS a (u)")
    found = warehouse.rows(scorecard_moments("(SELECT * FROM units)", {"spend": ()}, row="u"))
    assert [(row["treated"], row["n"], row["means"], row["covariances"]) for row in found] == [
        (False, 1, [0.0], [0.0]),
        (False, 1, [3.0], [0.0]),
        (True, 1, [1.5], [0.0]),
    ]


def test_no_metric_is_refused_and_names_are_quoted():
    with pytest.raises(ValueError, match="expected at least one"):
        scorecard_moments("units", {})
    assert """avg("it's")""" in (sql := scorecard_moments("units", {"it's": ()})) and "'it''s'" in sql
