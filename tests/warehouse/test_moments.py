"""One pass for all studies gives what NumPy gives on each, however the mart was written."""

from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest

from causal_assets.warehouse.queries.moments import StudyColumns, arm_moments, study_moments
from causal_assets.warehouse.queries.windows import Window
from tests.warehouse.conftest import Marts

UNITS = 120
START = date(2026, 3, 1)
STUDIES = (
    StudyColumns(
        "one", "p1", "shop", (Window("spend_7", "spend", 0, 7), Window("visits_3", "visits", 0, 3)), ("age", "size"), 7
    ),
    StudyColumns("two", "p2", "shop", (Window("spend_14", "spend", 0, 14),), (), 14),
    StudyColumns(
        "three",
        "p3",
        "app",
        (Window("v_1", "visits", 0, 1), Window("v_5", "visits", 1, 5), Window("spend_2", "spend", 0, 2)),
        ("age",),
        5,
    ),
)


class World:
    """Three studies on two sources, as mart rows and as the arrays they stand for; nine units in ten do nothing."""

    def __init__(self, shift: float = 0.0):
        rng = np.random.default_rng(7)
        self.assigned_on = {
            s.study: [START + timedelta(days=int(d)) for d in rng.integers(0, 5, UNITS)] for s in STUDIES
        }
        self.treated = {s.study: rng.random(UNITS) < 0.4 for s in STUDIES}
        self.covariates = {s.study: rng.normal(50, 10, (UNITS, len(s.covariates))) for s in STUDIES}
        self.rows: list[tuple[Any, ...]] = []
        for source in ("shop", "app"):
            for unit in range(UNITS):
                for metric in ("spend", "visits"):
                    active = rng.random() < 0.1 or shift > 0
                    for day in rng.choice(30, size=6, replace=False) if active else []:
                        value = float(rng.gamma(2, 20))
                        self.rows.append((source, f"u{unit}", START + timedelta(days=int(day) - 5), metric, value, 1))
                if shift:
                    for study in STUDIES:
                        day = self.assigned_on[study.study][unit]
                        self.rows.append((source, f"u{unit}", day, "shift", shift + float(rng.normal()), 1))

    def write(self, marts: Marts, inserts: int = 1) -> None:
        order = np.random.default_rng(inserts).permutation(len(self.rows)) if inserts > 1 else range(len(self.rows))
        for part in np.array_split(np.array(order), inserts):
            marts.insert("unit_days", [self.rows[i] for i in part])
        for source in ("shop", "app"):
            marts.covered("2026-12-31", source)
        for study in STUDIES:
            self.write_cohort(marts, study)

    def write_cohort(self, marts: Marts, study: StudyColumns) -> None:
        names = "".join(f", {name} DOUBLE" for name in study.covariates)
        with marts.warehouse.transaction() as connection:
            connection.execute(f"CREATE SCHEMA {study.study}")
            connection.execute(
                f"CREATE TABLE {study.study}.cohort (unit_id VARCHAR, treated BOOLEAN, assigned_on DATE{names})"
            )
            for i in range(UNITS):
                row = (f"u{i}", bool(self.treated[study.study][i]), self.assigned_on[study.study][i])
                row += tuple(float(x) for x in self.covariates[study.study][i])
                marks = ", ".join("?" for _ in row)
                connection.execute(f"INSERT INTO {study.study}.cohort VALUES ({marks})", row)

    def columns(self, study: StudyColumns) -> np.ndarray:
        """The (UNITS, k) array that the study's moments are of."""
        outcomes = np.zeros((UNITS, len(study.windows)))
        for source, unit, day, metric, value, _ in self.rows:
            i = int(unit[1:])
            since = (day - self.assigned_on[study.study][i]).days
            for k, window in enumerate(study.windows):
                if source == study.source and metric == window.metric and window.start <= since < window.end:
                    outcomes[i, k] += value
        return np.hstack([outcomes, self.covariates[study.study]])


def read(marts: Marts, *studies: StudyColumns) -> dict[tuple[str, bool], dict[str, Any]]:
    """Rows by study and arm, with mean, covariance and skewness of the study's own columns in its own order."""
    found = {}
    for row in marts.warehouse.rows(study_moments(studies)):
        k = len(row["names"])
        cov = np.zeros((k, k))
        cov[np.triu_indices(k)] = row["covariances"]
        used = [i for i, name in enumerate(row["names"]) if name is not None]
        row["names"] = [row["names"][i] for i in used]
        row["means"] = np.array(row["means"])[used]
        row["skewness"] = [row["skewness"][i] for i in used]
        row["cov"] = (cov + np.triu(cov, 1).T)[np.ix_(used, used)]
        found[row["study"], row["treated"]] = row
    return found


def test_one_pass_over_three_studies_equals_numpy_on_each(marts: Marts) -> None:
    from scipy.stats import skew

    world = World()
    world.write(marts)
    found = read(marts, *STUDIES)
    assert list(found) == [(study.study, arm) for study in STUDIES for arm in (False, True)]
    for study in STUDIES:
        columns = world.columns(study)
        for arm in (False, True):
            row, expected = found[study.study, arm], columns[world.treated[study.study] == arm]
            assert (row["n"], row["names"], row["protocol"]) == (len(expected), study.names, study.protocol)
            np.testing.assert_allclose(row["means"], expected.mean(axis=0), rtol=1e-12)
            covariances = np.atleast_2d(np.cov(expected, rowvar=False))
            np.testing.assert_allclose(row["cov"], covariances, rtol=1e-10, atol=1e-10)
            spread = expected.std(axis=0) > 0  # a column of zeros has no skewness
            skewness = np.array(row["skewness"], dtype=np.float64)
            np.testing.assert_allclose(skewness[spread], skew(expected[:, spread], bias=False), rtol=1e-9)
            assert np.isnan(skewness[~spread]).all()


def test_a_study_gets_the_same_numbers_alone_and_among_others(marts: Marts) -> None:
    World().write(marts)
    among = read(marts, *STUDIES)
    for study in STUDIES:
        for key, row in read(marts, study).items():
            np.testing.assert_allclose(row["cov"], among[key]["cov"], rtol=1e-12)
            np.testing.assert_allclose(row["means"], among[key]["means"], rtol=1e-12)


def test_where_nine_units_in_ten_do_nothing_the_mean_is_the_total_over_all_assigned(marts: Marts) -> None:
    world = World()
    world.write(marts)
    columns = world.columns(STUDIES[1])
    assert (columns[:, 0] == 0).mean() > 0.8
    rows = [row for (study, _), row in read(marts, *STUDIES).items() if study == "two"]
    assert sum(row["n"] for row in rows) == UNITS
    assert sum(row["n"] * row["means"][0] for row in rows) == pytest.approx(columns[:, 0].sum(), rel=1e-12)


def test_rows_written_in_seven_parts_and_any_order_give_the_same(tmp_path_factory: pytest.TempPathFactory) -> None:
    whole, parts = (Marts(tmp_path_factory.mktemp("marts") / "w.duckdb") for _ in range(2))
    World().write(whole)
    World().write(parts, inserts=7)
    expected = read(whole, *STUDIES)
    for key, row in read(parts, *STUDIES).items():
        np.testing.assert_allclose(row["means"], expected[key]["means"], rtol=1e-10)
        np.testing.assert_allclose(row["cov"], expected[key]["cov"], rtol=1e-10, atol=1e-10)


def test_a_billion_added_to_every_outcome_leaves_its_covariances(tmp_path_factory: pytest.TempPathFactory) -> None:
    study = StudyColumns("one", "p1", "shop", (Window("shifted", "shift", 0, 1),), ("age", "size"), 7)
    found = []
    for shift in (1e-9, 1e9):
        marts = Marts(tmp_path_factory.mktemp("marts") / "w.duckdb")
        world = World(shift=shift)
        once = {(row[1], row[2]): row for row in world.rows if row[3] == "shift" and row[0] == "shop"}
        world.rows = list(once.values())
        world.write(marts)
        found.append(read(marts, study))
    for key, row in found[0].items():
        assert found[1][key]["means"][0] - row["means"][0] == pytest.approx(1e9, rel=1e-12)
        # A double near 1e9 keeps seven decimals, so that is how well the shifted data themselves agree.
        scale = np.sqrt(np.outer(np.diag(row["cov"]), np.diag(row["cov"])))
        np.testing.assert_allclose(found[1][key]["cov"] / scale, row["cov"] / scale, atol=1e-6)
        assert found[1][key]["cov"][0, 0] == pytest.approx(row["cov"][0, 0], rel=1e-6)


@pytest.mark.parametrize(("last_day", "units"), [("2026-03-13", 0), ("2026-03-14", 1), ("2026-03-15", 2)])
def test_a_unit_counts_once_its_last_window_has_passed(marts: Marts, last_day: str, units: int) -> None:
    study = StudyColumns("two", "p2", "shop", (Window("spend_14", "spend", 0, 14),), (), 14)
    marts.covered(last_day)
    marts.covered("2030-01-01", source="other")
    marts.warehouse.replace(
        "two.cohort",
        "SELECT * FROM (VALUES ('a', true, DATE '2026-03-01'), ('b', true, DATE '2026-03-02')) "
        "AS t (unit_id, treated, assigned_on)",
    )
    assert sum(row["n"] for row in marts.warehouse.rows(study_moments([study]))) == units


def test_without_coverage_of_its_source_no_unit_counts(marts: Marts) -> None:
    world = World()
    world.write_cohort(marts, STUDIES[0])
    assert marts.warehouse.rows(study_moments(STUDIES[:1])) == []


def test_the_moments_of_a_table_equal_numpy(marts: Marts) -> None:
    world = World()
    world.write_cohort(marts, STUDIES[0])
    rows = marts.rows(arm_moments("one.cohort", ["age", "size"]), key="treated")
    for arm, row in rows.items():
        expected = world.covariates["one"][world.treated["one"] == arm]
        assert (row["n"], row["names"]) == (len(expected), ["age", "size"])
        np.testing.assert_allclose(row["means"], expected.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(row["covariances"], np.cov(expected, rowvar=False)[np.triu_indices(2)], rtol=1e-10)
