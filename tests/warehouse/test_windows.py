"""Windows and cohorts: who is in, and that nothing is known of them that was not known at assignment."""

from datetime import date, datetime
from itertools import pairwise
from math import log
from typing import Any

import pytest

from causal_assets.protocol import Covariate, Outcome
from causal_assets.warehouse.queries.cohorts import EARLIER, co_interventions, cohort, randomised_units, units_at_risk
from causal_assets.warehouse.queries.windows import (
    Window,
    course_windows,
    covariate_windows,
    outcome_windows,
    window_sums,
)
from tests.warehouse.conftest import Marts

BEFORE = Window("spend_7_0", "spend", -7, 0)
AFTER = Window("spend_7_days", "spend", 0, 7)
DRAWN = randomised_units("shop", "mail", "new", "2026-03-01", "2026-03-31")


def sums(marts: Marts, *windows: Window, source: str = "shop") -> dict[str, dict[str, Any]]:
    return marts.rows(f"WITH units AS ({DRAWN}) {window_sums('units', source, windows)}")


def the_cohort(marts: Marts, *windows: Window, attributes: tuple[str, ...] = (), where: str | None = None) -> Any:
    return marts.rows(cohort(DRAWN, "shop", windows, attributes, where))


# Windows


def test_a_unit_without_events_stays_with_zero(marts: Marts) -> None:
    for i in range(10):
        marts.assigned(f"u{i}", "2026-03-10 12:00:00")
    marts.spent("u0", "2026-03-11", 30.0)
    found = sums(marts, BEFORE, AFTER)
    assert len(found) == 10
    assert sum(row["spend_7_days"] for row in found.values()) / len(found) == 3.0
    assert found["u9"] == {"spend_7_0": 0.0, "spend_7_days": 0.0}


def test_a_window_takes_its_first_day_and_not_its_last(marts: Marts) -> None:
    marts.assigned("a", "2026-03-10 00:00:00")
    for i, day in enumerate(["2026-03-02", "2026-03-03", "2026-03-09", "2026-03-10", "2026-03-16", "2026-03-17"]):
        marts.spent("a", day, 10.0**i)
    assert sums(marts, BEFORE, AFTER)["a"] == {"spend_7_0": 110.0, "spend_7_days": 11_000.0}


@pytest.mark.parametrize("moment", ["2026-03-10 00:00:00", "2026-03-10 12:00:00", "2026-03-10 23:59:58"])
@pytest.mark.parametrize("day", ["2026-03-10", "2026-03-11"])
@pytest.mark.parametrize("statistic", ["sum", "recency", "tenure"])
def test_what_happens_a_second_or_a_day_after_assignment_never_reaches_a_covariate(
    marts: Marts, moment: str, day: str, statistic: str
) -> None:
    covariates = [
        Covariate.model_validate({"metric": "spend", "windows": [[-7, 0], [-28, -7]], "statistic": statistic})
    ]
    windows = covariate_windows(covariates)
    marts.assigned("a", moment)
    marts.spent("a", "2026-03-08", 5.0)
    before = the_cohort(marts, *windows)
    marts.spent("a", day, 1e6)
    assert the_cohort(marts, *windows) == before


def test_another_source_or_metric_does_not_count(marts: Marts) -> None:
    marts.assigned("a", "2026-03-10")
    marts.spent("a", "2026-03-11", 1.0)
    marts.spent("a", "2026-03-11", 10.0, source="other")
    marts.spent("a", "2026-03-11", 100.0, metric="visits")
    assert sums(marts, AFTER)["a"] == {"spend_7_days": 1.0}


def test_recency_counts_days_since_the_last_and_tenure_since_the_first(marts: Marts) -> None:
    windows = covariate_windows(
        [
            Covariate(metric="spend", windows=[[-28, 0]], statistic="recency"),
            Covariate(metric="spend", windows=[[None, 0]], statistic="tenure"),
        ]
    )
    marts.assigned("a", "2026-03-10")
    marts.assigned("b", "2026-03-10")
    for day in ("2024-03-10", "2026-02-10", "2026-03-09"):
        marts.spent("a", day, 1.0)
    found = sums(marts, *windows)
    assert found["a"] == {"spend_recency_28_0": 1.0, "spend_tenure_all_0": 730.0}
    assert found["b"] == {"spend_recency_28_0": 28.0, "spend_tenure_all_0": 0.0}  # never: as long ago as can be seen


def test_a_logarithm_keeps_the_sign_of_a_net_refund(marts: Marts) -> None:
    marts.assigned("a", "2026-03-10")
    marts.assigned("b", "2026-03-10")
    marts.spent("a", "2026-03-09", -9.0)
    found = sums(marts, Window("x", "spend", -7, 0, transform="log1p"))
    assert found["a"]["x"] == pytest.approx(-log(10.0))
    assert found["b"]["x"] == 0.0


def test_an_outcomes_window_begins_on_the_day_of_assignment() -> None:
    assert outcome_windows([Outcome(name="spend_7_days", metric="spend", days=7)]) == [AFTER]


@pytest.mark.parametrize(
    ("days", "names"),
    [
        (28, ["spend_week_1", "spend_week_2", "spend_week_3", "spend_week_4"]),
        (30, ["spend_week_1", "spend_week_2", "spend_week_3", "spend_week_4"]),
        (56, ["spend_weeks_1_4", "spend_weeks_5_8"]),
        (5, []),
    ],
)
def test_the_course_of_an_outcome_is_its_whole_weeks_or_months(days: int, names: list[str]) -> None:
    course = course_windows(Outcome(name="spend_total", metric="spend", days=days))
    assert [window.name for window in course] == names
    assert all(a.end == b.start for a, b in pairwise(course))
    assert all(window.end <= days for window in course)


# Cohorts of an experiment


def test_the_first_arm_and_moment_count_and_how_many_arms_there_were(marts: Marts) -> None:
    marts.assigned("a", "2026-03-12 08:00:00", "old")
    marts.assigned("a", "2026-03-10 08:00:00", "new")
    marts.assigned("b", "2026-03-10 08:00:00", "old")
    found = marts.rows(DRAWN)
    assert found["a"] == {
        "treated": True,
        "arm": "new",
        "assigned_on": date(2026, 3, 10),
        "assigned_at": datetime(2026, 3, 10, 8),
        "arms": 2,
    }
    assert (found["b"]["treated"], found["b"]["arms"]) == (False, 1)


def test_a_duplicated_assignment_makes_no_second_unit_and_no_double_sum(marts: Marts) -> None:
    for _ in range(3):
        marts.assigned("a", "2026-03-10 08:00:00")
    marts.spent("a", "2026-03-09", 5.0)
    marts.learnt("a", "2026-03-01", "north")
    found = the_cohort(marts, BEFORE, attributes=("region",))
    assert list(found) == ["a"]
    assert (found["a"]["arms"], found["a"]["spend_7_0"], found["a"]["region"]) == (1, 5.0, "north")


@pytest.mark.parametrize(
    ("at", "inside"),
    [("2026-02-28 23:59:59", False), ("2026-03-01", True), ("2026-03-31 23:59:59", True), ("2026-04-01", False)],
)
def test_a_unit_is_in_by_the_day_of_its_first_assignment(marts: Marts, at: str, inside: bool) -> None:
    marts.assigned("a", at)
    marts.assigned("a", "2026-04-15")
    assert ("a" in marts.rows(DRAWN)) is inside


def test_another_program_or_source_assigns_nobody(marts: Marts) -> None:
    marts.assigned("a", "2026-03-10", program="other")
    marts.assigned("b", "2026-03-10", source="other")
    assert marts.rows(DRAWN) == {}


def test_an_attribute_learnt_a_second_after_assignment_is_not_read(marts: Marts) -> None:
    marts.assigned("a", "2026-03-10 08:00:00")
    marts.learnt("a", "2026-03-10 08:00:01", "north")
    assert the_cohort(marts, attributes=("region",))["a"]["region"] is None
    marts.learnt("a", "2026-03-10 08:00:00", "south")
    marts.learnt("a", "2026-01-01", "east")
    assert the_cohort(marts, attributes=("region",))["a"]["region"] == "south"


def test_a_value_that_was_withdrawn_is_not_known(marts: Marts) -> None:
    marts.assigned("a", "2026-03-10 08:00:00")
    marts.learnt("a", "2026-01-01", "east")
    marts.learnt("a", "2026-02-01", None)
    assert the_cohort(marts, attributes=("region",))["a"]["region"] is None


def test_a_population_keeps_whom_its_filter_holds_for(marts: Marts) -> None:
    for unit, region in (("a", "north"), ("b", "south"), ("c", None)):
        marts.assigned(unit, "2026-03-10")
        if region:
            marts.learnt(unit, "2026-01-01", region)
    assert list(the_cohort(marts, attributes=("region",), where="region = 'north'")) == ["a"]


# Cohorts of an observational study

AT_RISK = units_at_risk("shop", "mail", "spend", "2026-03-10", "2026-03-10")


def test_units_at_risk_were_active_before_and_never_treated_before(marts: Marts) -> None:
    for unit, first in (("treated", "2026-03-09"), ("control", "2026-01-01"), ("earlier", "2026-01-01")):
        marts.spent(unit, first, 1.0)
    marts.spent("new", "2026-03-10", 1.0)
    marts.assigned("treated", "2026-03-10")
    marts.assigned("earlier", "2026-03-09 23:59:59")
    marts.assigned("earlier", "2026-03-10")
    marts.assigned("new", "2026-03-10")
    found = marts.rows(AT_RISK)
    assert {unit: row["treated"] for unit, row in found.items()} == {"treated": True, "control": False}
    assert found["treated"]["assigned_at"] == datetime(2026, 3, 10)


def test_units_at_risk_do_not_depend_on_what_happens_after_time_zero(marts: Marts) -> None:
    for unit in ("treated", "control", "later"):
        marts.spent(unit, "2026-01-01", 1.0)
    marts.assigned("treated", "2026-03-10")
    before = marts.rows(AT_RISK)
    assert all(row["later_on"] is None for row in before.values())
    marts.assigned("later", "2026-03-11")
    marts.assigned("later", "2026-05-01")
    marts.assigned("treated", "2026-04-01")
    marts.assigned("nobody", "2026-03-11")
    for unit in ("treated", "control", "later", "nobody"):
        marts.spent(unit, "2026-03-10", 1e6)
        marts.spent(unit, "2026-03-11", 1e6)
    after = marts.rows(AT_RISK)
    assert {unit: row.pop("later_on") for unit, row in after.items()} == {
        "treated": date(2026, 4, 1),
        "control": None,
        "later": date(2026, 3, 11),
    }
    for row in before.values():
        del row["later_on"]
    assert after == before


def test_where_no_metric_says_who_is_active_a_unit_is_at_risk_from_its_first_attribute_on(marts: Marts) -> None:
    marts.learnt("known", "2026-03-09 23:59:59", "north")
    marts.learnt("unknown", "2026-03-10 00:00:01", "north")
    assert list(marts.rows(units_at_risk("shop", "mail", None, "2026-03-10", "2026-03-10"))) == ["known"]


def test_other_treatments_count_as_a_covariate_only_before_assignment(marts: Marts) -> None:
    marts.spent("a", "2026-01-01", 1.0)
    for at in ("2026-02-01", "2026-03-09 23:59:59", "2026-03-10 00:00:00", "2026-03-11"):
        marts.assigned("a", at, program="coupons")
    found = marts.rows(units_at_risk("shop", "mail", "spend", "2026-03-10", "2026-03-10", ["coupons"]))
    assert found["a"][EARLIER] == pytest.approx(log(3))


def test_a_placebo_date_reads_covariates_there_and_treatment_at_time_zero(marts: Marts) -> None:
    marts.spent("old", "2026-01-01", 1.0)
    marts.spent("young", "2026-02-20", 1.0)
    marts.assigned("old", "2026-03-10")
    found = marts.rows(units_at_risk("shop", "mail", "spend", "2026-03-10", "2026-02-01"))
    assert list(found) == ["old"]
    assert (found["old"]["treated"], found["old"]["assigned_on"]) == (True, date(2026, 2, 1))


def test_a_co_intervention_counts_the_units_of_each_arm_it_reached_in_the_days_after(marts: Marts) -> None:
    marts.assigned("a", "2026-03-10", "new")
    marts.assigned("b", "2026-03-10", "old")
    marts.assigned("c", "2026-03-10", "old")
    marts.warehouse.replace("study.cohort", DRAWN)
    for unit, at in (("a", "2026-03-09"), ("b", "2026-03-10"), ("b", "2026-03-12"), ("c", "2026-03-17")):
        marts.assigned(unit, at, program="coupons")
    found = marts.rows(co_interventions("study.cohort", "shop", ["coupons", "other"], 7), key="treated")
    assert found == {False: {"reached": 1}}
