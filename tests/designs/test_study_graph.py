"""The graph of a study, run on marts small enough that the truth is known and the numbers can be worked out apart."""

import shutil
from collections.abc import Iterator
from datetime import date
from functools import reduce
from pathlib import Path

import numpy as np
import pytest

from causal_assets.designs.randomized import RandomizedExperiment, read_arms
from causal_assets.designs.study import Study
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.randomized import difference_in_means
from causal_assets.home import Home
from causal_assets.ledger import Kind
from causal_assets.types import Role, Verdict
from causal_assets.warehouse import results
from causal_assets.warehouse.queries.moments import arm_moments
from tests.designs.shop import START, TRIAL, TRUTH, house, mailing, mailing_shop, trial, trial_shop
from tests.house import House, data_versions, failed_checks, failures, live_in, told

BEFORE_OUTCOMES = (["page", "registration"], ["page", "cohort"])


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty tracking database: creating its tables takes seconds, copying it does not."""
    import mlflow

    file = tmp_path_factory.mktemp("tracking") / "mlflow.db"
    mlflow.set_tracking_uri(f"sqlite:///{file}")
    mlflow.MlflowClient().search_experiments()
    return file


@pytest.fixture
def home(tmp_path: Path, tracking: Path) -> Iterator[Home]:
    with live_in(tmp_path) as root:
        (root / "mlflow").mkdir()
        shutil.copy(tracking, root / "mlflow" / "mlflow.db")
        yield Home(root)


def build(home: Home, study: Study | None = None) -> House:
    """A house with one trial in it, called page."""
    return house(home, page=study or trial())


def memo(lived_in: House, study: str = "page") -> str:
    return (lived_in.home.memos / f"{study}.html").read_text(encoding="utf-8")


def test_outcomes_selected_alone_fail_with_a_sentence_until_the_protocol_is_registered(home: Home) -> None:
    lived_in = build(home)
    trial_shop().write(lived_in.warehouse)
    alone = lived_in.run(["page", "outcomes"])
    assert not alone.success
    assert "page: outcomes may not be read under protocol" in failures(alone)
    assert "nothing is registered. Materialise page/registration first." in failures(alone)
    assert not any(entry.kind is Kind.OUTCOMES_READ for entry in lived_in.ledger.entries())


def test_outcomes_of_a_changed_protocol_fail_although_an_earlier_one_is_registered(home: Home) -> None:
    first = build(home)
    trial_shop().write(first.warehouse)
    assert first.run(*BEFORE_OUTCOMES, ["studies", "study_moments"]).success
    changed = build(home, trial(question="Does the new page raise revenue a lot?"))
    alone = changed.run(["page", "outcomes"])
    assert not alone.success
    assert f"registered is {trial().protocol_hash[:12]}" in failures(alone)


def test_the_moments_of_all_studies_are_refused_while_none_is_registered(home: Home) -> None:
    lived_in = build(home)
    trial_shop().write(lived_in.warehouse)
    assert lived_in.run(["page", "cohort"]).success
    refused = lived_in.run(["studies", "study_moments"])
    assert not refused.success
    assert "no registered study has a cohort" in failures(refused)


def test_an_unknown_metric_fails_in_cohort_with_file_field_given_and_allowed(home: Home) -> None:
    outcomes = [TRIAL["outcomes"][0] | {"metric": "revenu"}]
    lived_in = build(home, trial(outcomes=outcomes))
    trial_shop().write(lived_in.warehouse)
    said = failures(lived_in.run(["page", "cohort"]))
    assert "page/defs.yaml: outcomes.revenue_14d.metric: unknown metric 'revenu'" in said
    assert "allowed are ['complaints', 'revenue']" in said


def test_an_unknown_program_fails_in_cohort_with_file_field_given_and_allowed(home: Home) -> None:
    lived_in = build(home, trial(program="pages"))
    trial_shop().write(lived_in.warehouse)
    said = failures(lived_in.run(["page", "cohort"]))
    assert "page/defs.yaml: program: unknown program 'pages'; allowed are ['page']" in said


@pytest.mark.parametrize("arms", [{"control": "old", "treatment": "none"}, {"control": "none", "treatment": "new"}])
def test_an_empty_arm_fails_in_cohort_with_file_field_given_and_allowed(home: Home, arms: dict[str, str]) -> None:
    lived_in = build(home, trial(arms=arms))
    trial_shop().write(lived_in.warehouse)
    result = lived_in.run(["page", "cohort"])
    assert not result.success
    said = failures(result)
    assert "page/defs.yaml: program 'page', arms" in said
    assert "'none'" in said
    assert "['new', 'old']" in said, "the arms that the programme has are what is allowed"


@pytest.mark.parametrize(
    ("last_day", "days_left", "some_passed"), [(date(2026, 3, 10), 10, False), (date(2026, 3, 16), 4, True)]
)
def test_a_window_that_has_not_passed_keeps_the_study_running_with_the_days_left(
    home: Home, last_day: date, days_left: int, some_passed: bool
) -> None:
    lived_in = build(home)
    trial_shop(last_day=last_day).write(lived_in.warehouse)
    result = lived_in.run()
    assert result.success
    decision = results.read_decision(lived_in.warehouse, "page")
    assert (decision.verdict, decision.days_left) == (Verdict.KEEP_RUNNING, days_left)
    assert (results.primary(results.read_estimates(lived_in.warehouse, "page")) is not None) == some_passed
    assert "page/mandate" not in data_versions(result)
    assert str(days_left) in memo(lived_in)


def test_a_failing_sample_ratio_blocks_the_decision_and_skips_the_mandate_in_a_green_run(home: Home) -> None:
    lived_in = build(home)
    trial_shop(share=0.6).write(lived_in.warehouse)
    result = lived_in.run()
    assert result.success
    assert "srm" in failed_checks(result)
    assert results.read_decision(lived_in.warehouse, "page").verdict is Verdict.BLOCKED
    assert "page/mandate" not in data_versions(result)
    with pytest.raises(PermissionError, match="no mandate"):
        lived_in.ledger.require_mandate("page", trial().protocol_hash)
    assert "planned 50.00%" in memo(lived_in)


def test_a_clear_effect_ships_with_a_mandate_that_a_later_decision_revokes(home: Home) -> None:
    lived_in = build(home)
    trial_shop().write(lived_in.warehouse)
    assert "page/mandate" in data_versions(lived_in.run())
    assert results.read_decision(lived_in.warehouse, "page").verdict is Verdict.SHIP
    assert lived_in.ledger.require_mandate("page", trial().protocol_hash)

    trial_shop(effect=0.0).write(lived_in.warehouse)
    later = lived_in.run()
    assert later.success
    assert results.read_decision(lived_in.warehouse, "page").verdict in (Verdict.HOLD, Verdict.STOP)
    assert "page/mandate" not in data_versions(later)
    with pytest.raises(PermissionError, match="no mandate"):
        lived_in.ledger.require_mandate("page", trial().protocol_hash)
    mandates = [e.kind for e in lived_in.ledger.entries() if e.kind in (Kind.MANDATE_GRANTED, Kind.MANDATE_REVOKED)]
    assert mandates == [Kind.MANDATE_GRANTED, Kind.MANDATE_REVOKED]


class Doubled(RandomizedExperiment):
    """A design with a bug: every unit twice."""

    def units(self) -> str:
        return f"{super().units()} UNION ALL {super().units()}"


def test_a_unit_that_is_twice_in_the_cohort_blocks_what_follows_in_the_run(home: Home) -> None:
    lived_in = build(home, Doubled.resolve_from_dict(TRIAL))
    trial_shop().write(lived_in.warehouse)
    result = lived_in.run()
    assert not result.success
    assert "one_row_per_unit" in failed_checks(result)
    assert set(data_versions(result)) == {"page/registration", "page/cohort"}


def code_versions(home: Home, study: Study) -> dict[str, str | None]:
    specs = build(home, study).definitions.resolve_all_asset_specs()
    return {spec.key.path[1]: spec.code_version for spec in specs if spec.key.path[0] == "page"}


@pytest.mark.parametrize(
    ("changed", "stale"),
    [
        ({"decision": {"value_per_outcome": 2.0}}, {"registration", "decision", "mandate", "memo"}),
        ({"question": "Is the new page better?"}, {"registration", "memo"}),
        ({"level": 0.9}, {"registration", "estimate", "evidence", "decision", "mandate", "memo"}),
        ({"plausible_effect": 4.0}, {"registration", "evidence", "decision", "mandate", "memo"}),
    ],
)
def test_a_changed_field_changes_the_code_version_of_the_stages_that_read_it_and_of_no_other(
    home: Home, changed: dict[str, object], stale: set[str]
) -> None:
    before, after = code_versions(home, trial()), code_versions(home, trial(**changed))
    assert {stage for stage in before if before[stage] != after[stage]} == stale


def test_a_mandate_is_refused_where_the_estimate_was_made_under_other_fields(home: Home) -> None:
    lived_in = build(home)
    trial_shop().write(lived_in.warehouse)
    assert lived_in.run().success
    changed = build(home, trial(level=0.8))
    result = changed.run(["page", "registration"], ["page", "decision"], ["page", "mandate"])
    assert "page: estimate was made under other fields of the protocol; materialise page/estimate" in failures(result)
    assert "page/mandate" not in data_versions(result)


def test_outcomes_without_the_shared_pass_under_their_protocol_say_so_instead_of_waiting(home: Home) -> None:
    lived_in = build(home)
    trial_shop().write(lived_in.warehouse)
    assert lived_in.run().success
    changed = build(home, trial(level=0.8))
    result = changed.run(["page", "registration"], ["page", "outcomes"])
    assert "studies/study_moments has nothing under protocol" in failures(result)


def test_a_rerun_with_nothing_changed_changes_nothing(home: Home) -> None:
    lived_in = build(home)
    trial_shop().write(lived_in.warehouse)
    first = lived_in.run()
    assert first.success, failures(first)
    entries, runs, page = told(lived_in.ledger), lived_in.mlflow_runs(), memo(lived_in)
    second = lived_in.run()
    assert data_versions(second) == data_versions(first)
    assert (told(lived_in.ledger), lived_in.mlflow_runs(), memo(lived_in)) == (entries, runs, page)
    assert runs == 1


def test_a_new_rule_asks_for_registration_and_then_reruns_the_decision_on_the_same_numbers(home: Home) -> None:
    lived_in = build(home)
    trial_shop().write(lived_in.warehouse)
    first = data_versions(lived_in.run())
    dearer = build(home, trial(decision={"value_per_outcome": 1.0, "cost_per_unit": 10.0}))
    second = data_versions(dearer.run())
    assert {key for key in first if first[key] == second.get(key)} >= {"page/cohort", "page/estimate"}
    assert results.read_decision(dearer.warehouse, "page").verdict is Verdict.STOP


def test_the_trial_covers_the_planted_truth(home: Home) -> None:
    lived_in = build(home)
    trial_shop().write(lived_in.warehouse)
    assert lived_in.run().success
    found = results.primary(results.read_estimates(lived_in.warehouse, "page"))
    assert found is not None
    assert found.low < TRUTH < found.high
    assert found.high - found.low < 0.5, "an interval that covers everything proves nothing"


def test_the_observational_study_covers_the_planted_truth_that_the_naive_difference_misses(home: Home) -> None:
    lived_in = house(home, letter=mailing())
    mailing_shop().write(lived_in.warehouse)
    result = lived_in.run()
    assert result.success, failures(result)
    findings = results.read_estimates(lived_in.warehouse, "letter")
    found = results.primary(findings)
    (naive,) = [e for role, e in findings if role is Role.ALTERNATIVE and e.method.startswith("naive")]
    assert found is not None
    assert found.low < TRUTH < found.high
    assert found.high - found.low < 1.0, "an interval that covers everything proves nothing"
    assert naive.low > TRUTH


def test_the_shared_moments_are_those_of_the_rows_added_up_one_by_one(home: Home) -> None:
    lived_in = build(home)
    trial_shop().write(lived_in.warehouse)
    assert lived_in.run(*BEFORE_OUTCOMES, ["studies", "study_moments"]).success
    windows = {
        "revenue_14d": ("revenue", 0, 14),
        "complaints_14d": ("complaints", 0, 14),
        "revenue_week_1": ("revenue", 0, 7),
        "revenue_week_2": ("revenue", 7, 14),
        "revenue_7_0": ("revenue", -7, 0),
        "revenue_14_7": ("revenue", -14, -7),
    }
    begun = {row["unit_id"]: row for row in lived_in.warehouse.rows("FROM marts.assignments")}
    sums = {unit: dict.fromkeys(windows, 0.0) for unit in begun}
    for row in lived_in.warehouse.rows("FROM marts.unit_days"):
        since = (row["day"] - begun[row["unit_id"]]["assigned_at"].date()).days
        for name, (metric, first, last) in windows.items():
            if row["metric"] == metric and first <= since < last:
                sums[row["unit_id"]][name] += row["value"]
    assert min(entry["assigned_at"].date() for entry in begun.values()) == START
    for treated, (moments, names) in read_arms(lived_in.warehouse, "studies.moments").items():
        arm = "new" if treated else "old"
        rows = np.array([[sums[unit][name] for name in names] for unit in begun if begun[unit]["arm"] == arm])
        assert set(names) == set(windows)
        assert moments.n == len(rows)
        np.testing.assert_allclose(moments.mean, rows.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(moments.cov, np.cov(rows, rowvar=False), rtol=1e-10, atol=1e-12)


def test_the_mart_in_seven_parts_gives_the_same_estimate(home: Home) -> None:
    lived_in = build(home)
    trial_shop().write(lived_in.warehouse)
    assert lived_in.run().success
    whole = results.primary(results.read_estimates(lived_in.warehouse, "page"))
    names = ["revenue_14d", *trial().covariate_names]
    lived_in.warehouse.replace(
        "studies.units",
        "SELECT c.*, (SELECT sum(d.value) FROM marts.unit_days AS d WHERE d.unit_id = c.unit_id "
        "AND d.metric = 'revenue' AND d.day >= c.assigned_on AND d.day < c.assigned_on + 14) AS revenue_14d "
        "FROM page.cohort AS c",
    )
    parts = [
        read_arms(lived_in.warehouse, f"({arm_moments(part, names)})")
        for part in (f"(FROM studies.units WHERE hash(unit_id) % 7 = {k})" for k in range(7))
    ]
    control, treated = (reduce(Moments.merge, (part[arm][0] for part in parts)) for arm in (False, True))
    merged = difference_in_means(control, treated, outcome="revenue_14d")
    assert whole is not None
    for number in ("value", "std_error", "low", "high", "p_value", "control_mean"):
        assert getattr(merged, number) == pytest.approx(getattr(whole, number), rel=1e-10, abs=1e-10)


def test_a_mart_whose_rows_are_split_in_seven_gives_the_same_estimate(home: Home) -> None:
    lived_in = build(home)
    trial_shop().write(lived_in.warehouse)
    assert lived_in.run().success
    whole = results.primary(results.read_estimates(lived_in.warehouse, "page"))
    lived_in.warehouse.replace(
        "marts.unit_days",
        "SELECT * REPLACE (value / 7 AS value) FROM marts.unit_days, range(7) ORDER BY hash(day, range)",
    )
    assert lived_in.run().success
    split = results.primary(results.read_estimates(lived_in.warehouse, "page"))
    assert whole is not None and split is not None
    for number in ("value", "std_error", "low", "high"):
        assert getattr(split, number) == pytest.approx(getattr(whole, number), rel=1e-10)
