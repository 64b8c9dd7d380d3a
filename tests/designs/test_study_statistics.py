"""Ways in which a study's number or verdict could be wrong while looking fine, each on marts made to provoke it."""

from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest

from causal_assets.designs.observational import ObservationalStudy
from causal_assets.designs.randomized import RandomizedExperiment
from causal_assets.types import Diagnostic, Role, Status
from causal_assets.warehouse.engine import Warehouse
from causal_assets.warehouse.queries.moments import StudyColumns, study_moments
from causal_assets.warehouse.results import Finding, primary
from tests.designs.shop import MATURE, TRIAL, TRUTH, mailing, mailing_shop, trial, trial_shop

WEEK = {"name": "revenue_7d", "metric": "revenue", "days": 7, "role": "primary"}


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse(path=str(tmp_path / "warehouse.duckdb"))


def execute(warehouse: Warehouse, sql: str, parameters: list[Any] | None = None) -> None:
    with warehouse.transaction() as connection:
        connection.execute(sql, parameters)


def findings(study: RandomizedExperiment, warehouse: Warehouse) -> list[Finding]:
    """The study's estimates, from cohort to moments to numbers, without the graph around them."""
    study.write_cohort(warehouse, "page", "page/defs.yaml")
    columns = StudyColumns(
        study="page",
        protocol=study.protocol_hash,
        source=study.source,
        windows=tuple(study.windows),
        covariates=tuple(study.covariate_names),
        days=study.longest_window,
    )
    warehouse.replace("studies.moments", study_moments([columns]))
    study.write_outcomes(warehouse, "page")
    return study.estimates(warehouse, "page")


def named(diagnostics: list[Diagnostic], name: str) -> Diagnostic:
    return next(diagnostic for diagnostic in diagnostics if diagnostic.name == name)


def test_units_of_a_third_arm_are_no_controls(warehouse: Warehouse) -> None:
    trial_shop().write(warehouse)
    # A third of the page's visitors saw another new page, which did twice as much for them.
    execute(warehouse, "UPDATE marts.assignments SET arm = 'newer' WHERE arm = 'old' AND hash(unit_id) % 2 = 0")
    execute(
        warehouse,
        "UPDATE marts.unit_days SET value = value + 4 WHERE metric = 'revenue' AND day >= '2026-03-10' "
        "AND unit_id IN (SELECT unit_id FROM marts.assignments WHERE arm = 'newer')",
    )
    estimate = primary(findings(trial(), warehouse))
    assert estimate is not None
    assert estimate.n_control == warehouse.scalar("SELECT count(*) FROM marts.assignments WHERE arm = 'old'")
    assert estimate.low < TRUTH < estimate.high


def test_a_holdout_named_by_the_programme_is_not_treated(warehouse: Warehouse) -> None:
    mailing_shop().write(warehouse)
    execute(warehouse, "UPDATE marts.assignments SET arm = 'holdout' WHERE hash(unit_id) % 2 = 0")
    study = mailing()
    study.write_cohort(warehouse, "letter", "letter/defs.yaml")
    mailed = warehouse.scalar("SELECT count(*) FROM marts.assignments WHERE arm = 'mailed'")
    assert study.arm_counts(warehouse, "letter") == {"not mailed": 1_000 - mailed, "mailed": mailed}


@pytest.mark.parametrize(("through", "left"), [("2026-03-01", 6), ("2026-03-04", 3), ("2026-03-07", 0)])
def test_while_units_can_still_enter_no_day_is_the_last_however_short_the_window(
    warehouse: Warehouse, through: str, left: int
) -> None:
    trial_shop(last_day=date.fromisoformat(through)).write(warehouse)
    execute(warehouse, "DELETE FROM marts.assignments WHERE CAST(assigned_at AS DATE) > ?", [through])
    study = trial(outcomes=[{"name": "revenue_1d", "metric": "revenue", "days": 1, "role": "primary"}])
    study.write_cohort(warehouse, "page", "page/defs.yaml")
    matured, units = study.matured(warehouse, "page")
    assert matured == units, "everyone who has entered has had a window"
    assert study.days_left(warehouse) == left


@pytest.mark.parametrize("mature", [1, 3])
def test_arms_too_small_for_a_variance_wait_instead_of_failing(warehouse: Warehouse, mature: int) -> None:
    trial_shop(last_day=date(2026, 3, 14)).write(warehouse)  # who entered on 1 March is mature
    execute(
        warehouse,
        "UPDATE marts.assignments SET assigned_at = assigned_at + INTERVAL 3 DAY "
        "WHERE arm = 'new' AND unit_id NOT IN (SELECT unit_id FROM marts.assignments WHERE arm = 'new' "
        "AND CAST(assigned_at AS DATE) = '2026-03-01' ORDER BY unit_id LIMIT ?)",
        [mature],
    )
    assert findings(trial(enrolled_to="2026-03-31"), warehouse) == []


def test_a_small_control_arm_with_a_long_tail_blocks_what_chance_alone_would_often_ship(warehouse: Warehouse) -> None:
    study = trial(arms={"control": "old", "treatment": "new", "share": 0.95}, outcomes=[WEEK], covariates=[])
    for last_day, status in ((MATURE, Status.FAIL), (date(2026, 3, 10), Status.REVIEW)):
        trial_shop(share=0.95, effect=0.0, last_day=last_day).write(warehouse)
        execute(
            warehouse, "UPDATE marts.unit_days SET value = exp(hash(unit_id) % 1000 / 125.0) WHERE day >= '2026-03-01'"
        )
        found = study.diagnostics(warehouse, "page", findings(study, warehouse))
        assert named(found, "skew").status is status, "while units still come it blocks nothing"


def test_an_outcome_that_is_one_constant_in_an_arm_has_no_skewness_and_breaks_nothing(warehouse: Warehouse) -> None:
    trial_shop().write(warehouse)
    execute(
        warehouse,
        "DELETE FROM marts.unit_days WHERE metric = 'complaints' AND unit_id IN "
        "(SELECT unit_id FROM marts.assignments WHERE arm = 'new')",
    )
    study = trial(outcomes=[TRIAL["outcomes"][1] | {"role": "primary", "harm": None, "margin": None}], covariates=[])
    found = study.diagnostics(warehouse, "page", findings(study, warehouse))
    assert named(found, "skew").status is Status.PASS


def test_difference_in_differences_is_refused_where_the_time_before_is_cut_short(warehouse: Warehouse) -> None:
    mailing_shop().write(warehouse)
    execute(warehouse, "UPDATE marts.coverage SET first_day = '2026-02-16'")
    with pytest.raises(
        dg.Failure, match=r"time_zero: 2026-03-01 has too little history: .* allowed is from 2026-03-02"
    ):
        mailing().write_cohort(warehouse, "letter", "letter/defs.yaml")


def test_the_placebo_asks_about_the_population_that_the_study_asks_about(warehouse: Warehouse) -> None:
    mailing_shop().write(warehouse)
    execute(
        warehouse,
        "INSERT INTO marts.unit_attributes SELECT DISTINCT 'shop', unit_id, 'region', "
        "CASE hash(unit_id) % 2 WHEN 0 THEN 'north' ELSE 'south' END, TIMESTAMP '2026-01-01' FROM marts.unit_days",
    )
    study = mailing(population="region = 'north'", placebo_date="2026-02-22", outcomes=[WEEK])
    study.write_cohort(warehouse, "letter", "letter/defs.yaml")
    outside = "SELECT count(*) FROM letter.placebo ANTI JOIN letter.cohort USING (unit_id)"
    assert warehouse.scalar("SELECT count(*) FROM letter.placebo") > 0
    assert warehouse.scalar(outside) == 0


def test_customers_of_one_region_are_not_independent(warehouse: Warehouse) -> None:
    mailing_shop().write(warehouse)
    rng = np.random.default_rng(5)
    level = 3 * rng.normal(size=50)
    with warehouse.transaction() as connection:
        connection.executemany(
            "INSERT INTO marts.unit_attributes VALUES ('shop', ?, 'region', ?, '2026-01-01')",
            [(f"u{i}", f"r{i % 50}") for i in range(999)],  # one customer's region is not known: alone
        )
        connection.executemany(
            "INSERT INTO marts.unit_days VALUES ('shop', ?, DATE '2026-03-04', 'revenue', ?, 1)",
            [(f"u{i}", 9 + level[i % 50]) for i in range(1_000)],
        )
    spread = {}
    for cluster in (None, "region"):
        study = mailing(cluster=cluster)
        study.write_cohort(warehouse, "letter", "letter/defs.yaml")
        study.write_outcomes(warehouse, "letter")
        found = study.estimates(warehouse, "letter")
        spread[cluster] = {e.method: e.spread for _, e in found if e.estimand == "ATT"}
    assert spread["region"].keys() == spread[None].keys()
    assert spread["region"]["2x2 difference-in-differences"] != spread[None]["2x2 difference-in-differences"]
    with warehouse.transaction() as connection:
        connection.execute("UPDATE marts.unit_attributes SET value = left(value, 2)")
    study.write_cohort(warehouse, "letter", "letter/defs.yaml")
    with pytest.raises(dg.Failure, match=r"letter: cluster: 1\d clusters"):
        study.estimates(warehouse, "letter")


def hidden_reason(warehouse: Warehouse, seed: int) -> ObservationalStudy:
    """A mailing without effect to customers chosen by what no table holds; history shows it only in part."""
    rng = np.random.default_rng(seed)
    mailing_shop(effect=0.0, seed=seed).write(warehouse)
    trait = rng.normal(size=1_000)
    chosen = rng.random(1_000) < 1 / (1 + np.exp(-trait))
    execute(warehouse, "DELETE FROM marts.unit_days; DELETE FROM marts.assignments")
    with warehouse.transaction() as connection:
        connection.executemany(
            "INSERT INTO marts.unit_days VALUES ('shop', ?, DATE '2026-03-01' + ?::INTEGER, 'revenue', ?, 1)",
            [(f"u{i}", day, 5 + trait[i] + rng.normal(0, 1)) for i in range(1_000) for day in (-10, -3, 3, 10)],
        )
        connection.executemany(
            "INSERT INTO marts.assignments VALUES ('shop', 'mailing', ?, 'mailed', '2026-03-01')",
            [(f"u{i}",) for i in np.flatnonzero(chosen)],
        )
    return mailing()


def test_a_hidden_reason_for_treatment_never_leaves_an_observational_study_without_a_review(
    warehouse: Warehouse,
) -> None:
    for seed in range(3):
        study = hidden_reason(warehouse, seed)
        study.write_cohort(warehouse, "letter", "letter/defs.yaml")
        study.write_outcomes(warehouse, "letter")
        found = study.estimates(warehouse, "letter")
        estimate = next(e for role, e in found if role is Role.PRIMARY)
        assert estimate.low > 0, "the number looks fine, and is wrong"
        assert named(study.diagnostics(warehouse, "letter", found), "negative_control").status is Status.REVIEW
