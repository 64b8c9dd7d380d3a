import numpy as np
import pytest

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
    assert [(row["metric"], row["treated"]) for row in found] == [
        ("spend", False),
        ("spend", True),
        ("visits", False),
        ("visits", True),
    ]
    for row in found:
        columns = [["spend", "visits", "before"].index(name) for name in row["names"]]
        arm = rows[treated == row["treated"]][:, columns]
        assert row["names"] == [row["metric"], *metrics[row["metric"]]]
        assert row["n"] == len(arm)
        np.testing.assert_allclose(row["means"], arm.mean(axis=0), rtol=1e-12)
        cov = np.atleast_2d(np.cov(arm.T))
        np.testing.assert_allclose(row["covariances"], cov[np.triu_indices(len(cov))], rtol=1e-6)


def test_no_metric_is_refused_and_names_are_quoted():
    with pytest.raises(ValueError, match="expected at least one"):
        scorecard_moments("units", {})
    assert """avg("it's")""" in (sql := scorecard_moments("units", {"it's": ()})) and "'it''s'" in sql
