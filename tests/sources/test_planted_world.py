"""The planted world: exact truth, honest mess, the same bytes every time."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from causal_assets.sources.planted_world import PlantedWorld
from tests.designs.bonus import bonus_effects

NO_EFFECTS = {
    "home_conversion_lift": 0.0,
    "home_visit_lift": 0.0,
    "home_unsubscribe_lift": 0.0,
    "winback_lift": 0.0,
    "ads_lift": 0.0,
    "bonus_lift": 0.0,
    "bonus_spillover_lift": 0.0,
    "reminder_lift": 0.0,
    "voucher_lift": 0.0,
    "offer_unsubscribes": 0.0,
}
NO_OFFERS = {name: NO_EFFECTS[name] for name in ("reminder_lift", "voucher_lift", "offer_unsubscribes")}
NO_MESS = dict.fromkeys(("late", "skewed", "restated", "duplicated", "malformed", "unattributed", "bots"), 0.0)
WORLD = PlantedWorld(customers=3_000, seed=7)


class Landed:
    """A written world and the engine to read it: what the landing loader and staging do, in a few statements."""

    def __init__(self, world: PlantedWorld, folder: Path):
        self.folder = folder
        self.db = duckdb.connect(config={"threads": 2})
        self.rows = world.write(folder, self.db)
        self._raw()
        self._clean()

    def _raw(self) -> None:
        for table, account, amount in (("web_events", "cookie_id", "amount"), ("ad_events", "ad_user_id", "cost")):
            fields = ["event_id", account, "event", "occurred_at", "received_at", amount, "currency"]
            fields.append("user_agent" if table == "web_events" else "campaign")
            self.db.execute(f"""
                CREATE TABLE {table} AS
                SELECT filename, line, json_valid(line) AS valid,
                       {", ".join(f"CASE WHEN valid THEN line ->> '$.{f}' END AS {f}" for f in fields)}
                FROM read_csv('{self.folder}/{table}/*.jsonl', columns = {{'line': 'VARCHAR'}}, header = false,
                              delim = '\x01', quote = '', escape = '', filename = true)""")
        self.db.execute(f"CREATE TABLE app_events AS FROM '{self.folder}/app_events/*.parquet'")
        for table in ("email_events", "customers", "assignments", "ad_spend"):
            self.db.execute(f"""
                CREATE TABLE {table} AS
                FROM read_csv('{self.folder}/{table}/*.csv', union_by_name = true, all_varchar = true, filename = true,
                              header = true, delim = ',', quote = '"', escape = '"')
            """)
        for table in ("identities", "truth", "effects"):
            self.db.execute(f"CREATE TABLE {table} AS FROM '{self.folder}/{table}/*.parquet'")

    def _clean(self) -> None:
        """Known customers' events, each once, in its last version, on its true day, in dollars."""
        names = "('impression', 'would_have_served', 'click', 'visit', 'purchase', 'refund', 'unsubscribe', 'referral')"
        self.db.execute(f"""
            CREATE TABLE events AS
            WITH logged AS (
                SELECT 'web' AS platform, event_id, cookie_id AS account, event,
                       try_cast(occurred_at AS TIMESTAMPTZ) AT TIME ZONE 'UTC' AS occurred_at,
                       try_cast(received_at AS TIMESTAMPTZ) AT TIME ZONE 'UTC' AS received_at,
                       try_cast(amount AS DOUBLE) AS amount, currency, amount IS NULL OR amount <> 'n/a' AS castable
                FROM web_events WHERE valid
                UNION ALL
                SELECT 'app', event_id, device_id, event, make_timestamp(occurred_ms * 1000), received_at,
                       amount_cents / 100, currency, coalesce(amount_cents >= 0, true)
                FROM app_events
            ), latest AS (
                SELECT DISTINCT * FROM logged
                WHERE castable AND event_id IS NOT NULL AND event IN {names} AND coalesce(currency, 'USD') <> 'XXX'
                QUALIFY rank() OVER (PARTITION BY event_id ORDER BY received_at DESC) = 1
            )
            SELECT customer_id, latest.platform, event, least(occurred_at, received_at)::DATE AS day,
                   amount * CASE currency WHEN 'EUR' THEN 1.10 WHEN 'GBP' THEN 1.25 ELSE 1 END AS usd
            FROM latest JOIN identities ON latest.platform = identities.platform AND account = platform_id""")

    def one(self, sql: str) -> float:
        row = self.db.execute(sql).fetchone()
        assert row is not None
        return row[0]

    def truth(self, study: str, outcome: str, estimand: str, segment: str = "all") -> float:
        return self.one(f"""
            SELECT value FROM truth WHERE study = '{study}' AND outcome = '{outcome}' AND estimand = '{estimand}'
            AND segment = '{segment}'""")

    def units(self, program: str, event: str = "purchase", value: str = "sum(usd)") -> str:
        """SQL of one row per customer: treated, start, and the outcome of the 28 days from the start."""
        arms = {
            "personalised_home_page": "WHERE arm IS NOT NULL",
            "retargeting_ads": "WHERE arm IS NOT NULL",
            "referral_bonus": "WHERE arm IS NOT NULL",
            "winback_offer": "WHERE arm IS NOT NULL",
            "winback_email": "",
        }
        return f"""
            WITH assigned AS (
                SELECT DISTINCT customers.customer_id, region, arm,
                       coalesce(assigned_at::TIMESTAMP::DATE, '2026-02-23'::DATE) AS start
                FROM customers LEFT JOIN assignments
                  ON customers.customer_id = assignments.customer_id AND program = '{program}' {arms[program]}
            ), outcomes AS (
                SELECT customer_id, {value} AS y FROM assigned JOIN events USING (customer_id)
                WHERE event = '{event}' AND day >= start AND day < start + 28 GROUP BY customer_id
            )
            SELECT coalesce(arm IN ('personalised', 'ad', 'mailed'), false) AS treated, coalesce(y, 0) AS y,
                   customer_id, region, arm, start
            FROM assigned LEFT JOIN outcomes USING (customer_id)"""

    def bonus_table(self) -> dict[str, Any]:
        """Columns of one row per customer: neighbourhood, arm and referrals."""
        return self.db.execute(f"""
            SELECT customer_id AS unit_id, neighbourhood, arm, y AS referrals_28d
            FROM (SELECT DISTINCT customer_id, neighbourhood FROM customers)
            JOIN ({self.units("referral_bonus", "referral", "count(*)")}) AS u USING (customer_id)
            ORDER BY unit_id""").fetchnumpy()

    def difference(
        self,
        program: str,
        event: str = "purchase",
        value: str = "sum(usd)",
        treated: str = "treated",
        control: str = "NOT treated",
    ) -> tuple[float, float]:
        """Difference in means between the arms and its standard error."""
        row = self.db.execute(f"""
            SELECT avg(y) FILTER ({treated}) - avg(y) FILTER ({control}),
                   sqrt(var_samp(y) FILTER ({treated}) / count(*) FILTER ({treated})
                        + var_samp(y) FILTER ({control}) / count(*) FILTER ({control}))
            FROM ({self.units(program, event, value)})""").fetchone()
        assert row is not None
        return row


@pytest.fixture(scope="session")
def land(tmp_path_factory: pytest.TempPathFactory) -> Callable[[PlantedWorld], Landed]:
    @cache
    def land(world: PlantedWorld) -> Landed:
        return Landed(world, tmp_path_factory.mktemp("landing") / "planted_world")

    return land


@pytest.fixture(scope="session")
def landed(land: Callable[[PlantedWorld], Landed]) -> Landed:
    return land(WORLD)


@pytest.fixture(scope="session")
def placebo(land: Callable[[PlantedWorld], Landed]) -> Landed:
    return land(replace(WORLD, **NO_EFFECTS))


def file_hashes(folder: Path) -> dict[str, str]:
    files = sorted(f for f in folder.rglob("*") if f.is_file())
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def write(world: PlantedWorld, folder: Path, threads: int = 2) -> dict[str, int]:
    with duckdb.connect(config={"threads": threads}) as connection:
        return world.write(folder, connection)


def extra_revenue(landed: Landed, placebo: Landed, program: str, arms: str) -> float:
    """Mean over the arms of what the same customers bought in a world with effects and did not in its placebo twin."""
    sums = []
    for world in (landed, placebo):
        sums.append(world.one(f"SELECT avg(y) FILTER ({arms}) FROM ({world.units(program)})"))
    return sums[0] - sums[1]


# --- files ---------------------------------------------------------------------------------------------------------


def test_the_same_parameters_give_the_same_bytes_on_any_number_of_threads(landed: Landed, tmp_path: Path):
    rows = write(WORLD, tmp_path / "again", threads=1)
    assert rows == landed.rows
    assert file_hashes(tmp_path / "again") == file_hashes(landed.folder)


def test_a_folder_that_holds_this_world_is_left_untouched_and_a_world_of_another_seed_replaces_it(tmp_path: Path):
    world, folder = PlantedWorld(customers=200), tmp_path / "world"
    rows = write(world, folder)
    before = {f: f.stat().st_mtime_ns for f in folder.rglob("*")}
    assert write(world, folder) == rows
    assert {f: f.stat().st_mtime_ns for f in folder.rglob("*")} == before

    hashes = file_hashes(folder)
    assert write(replace(world, seed=3), folder) != rows
    replaced = file_hashes(folder)
    assert all(replaced[f] != hashes[f] for f in replaced.keys() & hashes.keys() if f.startswith("web_events"))
    assert [f.name for f in tmp_path.iterdir()] == ["world"]


def test_a_build_that_breaks_off_leaves_the_old_world_and_the_next_one_completes(tmp_path: Path):
    world, folder = PlantedWorld(customers=200), tmp_path / "world"
    write(world, folder)
    before = file_hashes(folder)
    closed = duckdb.connect()
    closed.close()
    with pytest.raises(duckdb.ConnectionException):
        replace(world, seed=3).write(folder, closed)
    assert file_hashes(folder) == before
    write(replace(world, seed=3), folder)
    assert {f.name for f in tmp_path.iterdir()} == {"world"}


def test_a_folder_with_other_files_is_refused(tmp_path: Path):
    (tmp_path / "mine.csv").write_text("a\n1\n", encoding="utf-8")
    with pytest.raises(FileExistsError, match=r"_world\.json"):
        write(PlantedWorld(customers=200), tmp_path)


def test_nothing_is_left_behind_in_the_connection(tmp_path: Path):
    with duckdb.connect() as connection:
        PlantedWorld(customers=200).write(tmp_path / "world", connection)
        left = "SELECT count(*) FROM duckdb_{}() WHERE NOT internal"
        assert [connection.execute(left.format(kind)).fetchone() for kind in ("tables", "views", "functions")] == [
            (0,)
        ] * 3


def test_the_reported_rows_are_the_rows_in_the_files(landed: Landed):
    counted = {table: landed.one(f"SELECT count(*) FROM {table}") for table in landed.rows}
    assert counted == landed.rows


@pytest.mark.parametrize(
    ("field", "value"),
    [("customers", 10), ("seed", -1), ("home_visit_lift", -0.1), ("late", 0.9), ("week_multipliers", (1.0,)),
     ("region_multipliers", (1.0, 1.0, 1.0, 9.0)), ("voucher_lift", 1.1), ("offer_unsubscribes", -0.1)],
)  # fmt: skip
def test_a_parameter_out_of_range_is_named_with_what_was_given_and_what_is_allowed(field: str, value: object):
    with pytest.raises(ValueError, match=rf"PlantedWorld\.{field}.*: got .*, allowed: "):
        replace(WORLD, **{field: value})


# --- truth ---------------------------------------------------------------------------------------------------------


def test_truth_of_the_home_page_is_the_difference_of_both_potential_worlds(
    land: Callable[[PlantedWorld], Landed], placebo: Landed, landed: Landed
):
    # With complete spillover everybody lives in the treated world; in the placebo twin nobody does.
    treated = land(replace(WORLD, spillover=1.0, winback_lift=0.0, ads_lift=0.0, **NO_OFFERS))
    truth = landed.truth("personalised_home_page", "revenue_28d", "ATE")
    assert extra_revenue(treated, placebo, "personalised_home_page", "true") == pytest.approx(truth, abs=1e-7)
    assert treated.truth("personalised_home_page", "revenue_28d", "ATE") == truth
    assert treated.truth("personalised_home_page", "revenue_28d", "spillover") == truth


def test_truth_of_the_winback_is_what_the_mailed_bought_beyond_the_placebo_world(
    land: Callable[[PlantedWorld], Landed], placebo: Landed
):
    mailed = land(replace(WORLD, **(NO_EFFECTS | {"winback_lift": WORLD.winback_lift})))
    truth = mailed.truth("winback_email", "revenue_28d", "ATT")
    assert extra_revenue(mailed, placebo, "winback_email", "treated") == pytest.approx(truth, abs=1e-7)
    assert extra_revenue(mailed, placebo, "winback_email", "NOT treated") == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("seed", [7, 11, 12])
@pytest.mark.parametrize("effects", [{}, NO_EFFECTS], ids=["planted", "placebo"])
def test_differences_between_randomised_arms_lie_within_three_standard_errors_of_truth(
    seed: int, effects: dict[str, float], land: Callable[[PlantedWorld], Landed]
):
    landed = land(replace(WORLD, seed=seed, **effects))
    for program, outcome, estimand, event, value in (
        ("personalised_home_page", "revenue_28d", "ATE", "purchase", "sum(usd)"),
        ("personalised_home_page", "purchases_28d", "ATE", "purchase", "count(*)"),
        ("personalised_home_page", "visits_28d", "ATE", "visit", "count(*)"),
        ("personalised_home_page", "unsubscribes_28d", "ATE", "unsubscribe", "count(*)"),
        ("retargeting_ads", "revenue_28d", "ITT", "purchase", "sum(usd)"),
    ):
        difference, error = landed.difference(program, event, value)
        assert abs(difference - landed.truth(program, outcome, estimand)) < 3 * error, (program, outcome)


@pytest.mark.parametrize("effects", [{}, NO_EFFECTS], ids=["planted", "placebo"])
def test_a_two_stage_study_of_the_bonus_tells_its_direct_and_spillover_effects(
    effects: dict[str, float], land: Callable[[PlantedWorld], Landed], tmp_path: Path
):
    pooled = dict.fromkeys(("direct", "spillover", "total", "overall"), (0.0, 0.0))
    for seed in (7, 11, 12):
        landed = land(replace(WORLD, seed=seed, **effects))
        found = bonus_effects(tmp_path, landed.bonus_table())
        assert len(found) == 4
        for estimand, estimate in found.items():
            truth, name = landed.truth("referral_bonus", "referrals_28d", estimand), estimand.split()[0]
            assert abs(estimate.value - truth) < 3 * estimate.std_error, (seed, estimand)
            pooled[name] = (pooled[name][0] + estimate.value, pooled[name][1] + estimate.std_error**2)
    # Three worlds together tell each effect from none where there is one, and only there.
    assert {name: value > 3 * math.sqrt(square) for name, (value, square) in pooled.items()} == dict.fromkeys(
        pooled, not effects
    )


def test_the_bonus_reaches_half_of_each_neighbourhood_in_half_of_them_and_nobody_elsewhere(
    landed: Landed, placebo: Landed
):
    arms = landed.db.execute("""
        SELECT count(*) FILTER (arm = 'bonus'), count(*) FILTER (arm = 'neighbour'),
               count(*) FILTER (arm = 'control_area')
        FROM assignments JOIN (SELECT DISTINCT customer_id, neighbourhood FROM customers) USING (customer_id)
        WHERE program = 'referral_bonus' GROUP BY neighbourhood""").fetchall()
    saturated = [(offered, beside) for offered, beside, apart in arms if not apart]
    assert (len(arms), len(saturated)) == (60, 30)
    assert all(beside - offered in (0, 1) for offered, beside in saturated)
    assert all((offered, beside) == (0, 0) for offered, beside, apart in arms if apart)

    counts = [
        dict(
            w.db.execute(
                f"SELECT arm, sum(y) FROM ({w.units('referral_bonus', 'referral', 'count(*)')}) GROUP BY arm"
            ).fetchall()
        )
        for w in (landed, placebo)
    ]
    extra = {arm: counts[0][arm] - counts[1][arm] for arm in counts[0]}
    assert extra["bonus"] > extra["neighbour"] > extra["control_area"] == 0


def test_truth_of_the_placebo_world_is_zero(placebo: Landed):
    assert placebo.one("SELECT max(abs(value)) FROM truth") == 0
    assert placebo.one("SELECT max(abs(effect)) FROM effects") == 0


def test_spillover_shrinks_the_difference_between_the_arms_by_its_truth(land: Callable[[PlantedWorld], Landed]):
    landed = land(replace(WORLD, spillover=0.5, home_conversion_lift=1.0, home_visit_lift=0.3))
    effect, leaked = (landed.truth("personalised_home_page", "revenue_28d", e) for e in ("ATE", "spillover"))
    difference, error = landed.difference("personalised_home_page")
    assert leaked / effect == pytest.approx(0.5, abs=0.05)
    assert abs(difference - (effect - leaked)) < 3 * error < effect - difference + 3 * error


def test_parts_weeks_and_regions_add_up_to_the_whole_effect(landed: Landed):
    home = "personalised_home_page"
    whole = landed.truth(home, "revenue_28d", "ATE")
    parts = [landed.truth(home, "revenue_28d", part) for part in ("direct", "indirect")]
    weeks = [landed.truth(home, f"revenue_week_{week}", "ATE") for week in (1, 2, 3, 4)]
    sizes = landed.db.execute(f"SELECT region, count(*) FROM ({landed.units(home)}) GROUP BY region").fetchall()
    regions = [landed.truth(home, "revenue_28d", "ATE", f"region={region}") * n for region, n in sizes]
    assert min(parts) > 0
    assert sum(parts) == pytest.approx(whole, abs=1e-7)
    assert sum(weeks) == pytest.approx(whole, abs=1e-7)
    assert sum(regions) / sum(n for _, n in sizes) == pytest.approx(whole, abs=1e-7)


def test_multipliers_place_the_effect_in_their_weeks_and_regions(land: Callable[[PlantedWorld], Landed]):
    landed = land(
        PlantedWorld(
            customers=500,
            home_conversion_lift=1.0,
            week_multipliers=(0.0, 1.0, 0.0, 0.0),
            region_multipliers=(0.0, 0.0, 1.0, 0.0),
        )
    )
    weeks = [landed.truth("personalised_home_page", f"revenue_week_{week}", "ATE") for week in (1, 2, 3, 4)]
    regions = [
        landed.truth("personalised_home_page", "revenue_28d", "ATE", f"region={region}")
        for region in ("north", "south", "east", "west")
    ]
    assert [value > 0 for value in weeks] == [False, True, False, False]
    assert [value > 0 for value in regions] == [False, False, True, False]


def test_the_naive_winback_difference_is_wrong_by_more_than_five_standard_errors(landed: Landed):
    difference, error = landed.difference("winback_email")
    truth = landed.truth("winback_email", "revenue_28d", "ATT")
    assert difference < 0 < truth
    assert abs(difference - truth) > 5 * error


def test_overlap_weights_on_what_the_selection_used_recover_the_winback_truth(landed: Landed):
    prior = """
        SELECT customer_id, count(*) AS purchases, sum(usd) AS revenue FROM events
        WHERE event = 'purchase' AND day < '2026-02-23' GROUP BY customer_id"""
    frame = landed.db.execute(f"""
        SELECT treated, y, ln(1 + coalesce(purchases, 0)), ln(1 + coalesce(revenue, 0)),
               region = 'north', region = 'south', region = 'east'
        FROM ({landed.units("winback_email")}) LEFT JOIN ({prior}) USING (customer_id) ORDER BY customer_id""")
    table = np.array(frame.fetchall(), dtype=float)
    treated, y, x = table[:, 0], table[:, 1], table[:, 2:]
    e = LogisticRegression(C=np.inf).fit(x, treated).predict_proba(x)[:, 1]
    weight = np.where(treated == 1, 1 - e, e)
    arms = [
        (weight * (treated == arm), np.average(y[treated == arm], weights=weight[treated == arm])) for arm in (1, 0)
    ]
    error = math.sqrt(sum(np.sum((w * (y - mean)) ** 2) / np.sum(w) ** 2 for w, mean in arms))
    truth = landed.truth("winback_email", "revenue_28d", "ATO")
    assert abs(arms[0][1] - arms[1][1] - truth) < 3 * error
    assert np.mean((e > 0.05) & (e < 0.9)) > 0.95


def test_those_who_saw_an_ad_were_richer_anyway(landed: Landed):
    saw = "SELECT platform_id FROM identities WHERE platform = 'ad' AND identities.customer_id = u.customer_id"
    naive = landed.one(f"""
        SELECT avg(y) FILTER (saw) - avg(y) FILTER (NOT saw) FROM (
            SELECT y, EXISTS ({saw} AND platform_id IN
                              (SELECT ad_user_id FROM ad_events WHERE event = 'impression')) AS saw
            FROM ({landed.units("retargeting_ads")}) AS u WHERE treated)""")
    assert naive > 3 * landed.truth("retargeting_ads", "revenue_28d", "CACE")


# --- win-back offers -------------------------------------------------------------------------------------------------

OFFERED = {"revenue_28d": ("purchase", "sum(usd)"), "purchases_28d": ("purchase", "count(*)"),
           "unsubscribes_28d": ("unsubscribe", "count(*)")}  # fmt: skip
# What the 56 days before the offers say of each customer who was drawn.
PAST = """
    SELECT customer_id, arm,
           count(*) FILTER (event = 'visit' AND day >= '2026-01-26') AS visits,
           count(*) FILTER (event = 'visit' AND day >= '2026-01-26' AND platform = 'app') AS app_visits,
           count(*) FILTER (event = 'purchase') AS purchases,
           coalesce(sum(usd) FILTER (event = 'purchase'), 0) AS revenue
    FROM assignments LEFT JOIN (FROM events WHERE day < '2026-02-23') USING (customer_id)
    WHERE program = 'winback_offer' GROUP BY ALL"""


@pytest.mark.parametrize("seed", [7, 11, 12])
@pytest.mark.parametrize("effects", [{}, NO_EFFECTS], ids=["planted", "placebo"])
@pytest.mark.parametrize("offer", ["reminder", "voucher"])
def test_arms_of_the_winback_offer_differ_by_their_truth(
    seed: int, effects: dict[str, float], offer: str, land: Callable[[PlantedWorld], Landed]
):
    landed = land(replace(WORLD, seed=seed, **effects))
    for outcome, (event, value) in OFFERED.items():
        arms = {"treated": f"arm = '{offer}'", "control": "arm = 'no_mail'"}
        difference, error = landed.difference("winback_offer", event, value, **arms)
        assert abs(difference - landed.truth("winback_offer", outcome, f"ATE of {offer}")) < 3 * error, outcome


@pytest.mark.parametrize("outcome", OFFERED)
def test_what_an_offer_adds_to_its_arm_is_what_was_expected_of_it_but_for_chance(
    outcome: str, land: Callable[[PlantedWorld], Landed]
):
    gaps: dict[str, list[np.ndarray]] = {"reminder": [], "voucher": []}
    for seed in (7, 11, 12):
        landed, without = (land(replace(WORLD, seed=seed, **changed)) for changed in ({}, NO_OFFERS))
        outcomes = [
            world.db.execute(f"FROM ({world.units('winback_offer', *OFFERED[outcome])}) ORDER BY customer_id")
            .fetchnumpy() for world in (landed, without)
        ]  # fmt: skip
        arm, added = outcomes[0]["arm"], np.round(np.subtract(*(found["y"].astype(float) for found in outcomes)), 6)
        assert not added[arm == "no_mail"].any()
        for offer, found in gaps.items():
            expected = landed.db.execute(
                "SELECT effect FROM effects WHERE treatment = ? AND outcome = ? ORDER BY customer_id", [offer, outcome]
            ).fetchnumpy()["effect"]  # fmt: skip
            assert not added[(arm == offer) & (expected == 0)].any()
            found.append((added - expected)[arm == offer])
            # The truth is of all who were drawn, whichever their arm.
            truth = landed.truth("winback_offer", outcome, f"ATE of {offer}")
            assert abs(truth - expected.mean()) < 3 * found[-1].std() / math.sqrt(len(arm))
    for gap in map(np.concatenate, gaps.values()):
        assert abs(gap.mean()) < 3 * gap.std() / math.sqrt(len(gap))


def test_offers_leave_the_truth_of_every_other_programme_and_all_who_are_sent_nothing_as_they_are(
    landed: Landed, land: Callable[[PlantedWorld], Landed]
):
    without = land(replace(WORLD, **NO_OFFERS))
    others = "SELECT * FROM truth WHERE study <> 'winback_offer' ORDER BY ALL"
    untouched = """
        SELECT customer_id, event, day, round(usd, 4) FROM events ANTI JOIN (
            FROM assignments WHERE program = 'winback_offer' AND arm <> 'no_mail') USING (customer_id) ORDER BY ALL"""
    for rows in (others, untouched, "SELECT program, customer_id, arm, assigned_at FROM assignments ORDER BY ALL"):
        assert landed.db.execute(rows).fetchall() == without.db.execute(rows).fetchall()


def test_an_offer_is_drawn_for_all_with_consent_who_bought_nothing_in_28_days_and_for_nobody_else(landed: Landed):
    lapsed = landed.db.execute("""
        SELECT customer_id FROM (
            SELECT customer_id, arg_max(consent_marketing::BOOLEAN, updated_at::TIMESTAMP) AS consent
            FROM customers WHERE updated_at::TIMESTAMP < '2026-02-23' GROUP BY customer_id
        ) ANTI JOIN (
            FROM events WHERE event = 'purchase' AND day BETWEEN '2026-01-26' AND '2026-02-22') USING (customer_id)
        WHERE consent ORDER BY customer_id""").fetchall()
    drawn = landed.db.execute("""
        SELECT customer_id FROM assignments WHERE program = 'winback_offer' AND assigned_at = '2026-02-23T00:00:00Z'
        ORDER BY customer_id""").fetchall()
    assert drawn == lapsed
    assert landed.one("SELECT count(*) FROM assignments WHERE program = 'winback_offer'") == len(drawn)
    assert 0.3 < len(drawn) / WORLD.customers < 0.45
    mailed = landed.one("""
        SELECT count(DISTINCT customer_id) FROM email_events JOIN identities
            ON platform = 'email' AND platform_id = lower(recipient)
        JOIN assignments USING (customer_id)
        WHERE program = 'winback_offer' AND arm <> 'no_mail' AND event = 'impression'
          AND email_events.received_at::TIMESTAMP >= '2026-02-23'
          AND occurred_local LIKE '2026-02-23%'""")
    assert mailed == landed.one("SELECT count(*) FROM assignments WHERE program = 'winback_offer' AND arm <> 'no_mail'")


def test_chance_gives_every_offer_an_equal_share_of_like_customers(land: Callable[[PlantedWorld], Landed]):
    for seed in (7, 11, 12):
        landed = land(replace(WORLD, seed=seed))
        table = landed.db.execute(f"SELECT * FROM ({PAST})").fetchnumpy()
        arms, n = [table["arm"] == arm for arm in ("no_mail", "reminder", "voucher")], len(table["arm"])
        assert all(abs(arm.mean() - 1 / 3) < 3 * math.sqrt(2 / 9 / n) for arm in arms)
        for name in ("visits", "app_visits", "purchases", "revenue"):
            past = table[name].astype(float)
            error = past.std() * math.sqrt(6 / n)
            assert max(abs(past[arm].mean() - past[arms[0]].mean()) for arm in arms[1:]) < 3 * error, (seed, name)


def test_whom_an_offer_moves_can_be_seen_before_it_is_sent(landed: Landed):
    moved = landed.db.execute(f"""
        SELECT treatment, outcome, bool_and((effect > 0) = CASE outcome WHEN 'unsubscribes_28d' THEN visits = 0 ELSE
                   CASE treatment WHEN 'reminder' THEN app_visits > 0 ELSE purchases > 0 END END) AS as_seen,
               stddev(effect) > avg(effect) AND avg(effect) > 0 AS varies, avg((effect > 0)::INT) AS share
        FROM effects JOIN ({PAST}) USING (customer_id) GROUP BY ALL""").fetchall()
    assert len(moved) == 6
    assert all(as_seen and varies and 0.1 < share < 0.5 for *_, as_seen, varies, share in moved)
    assert landed.one("SELECT count(*) FROM effects") == 6 * landed.one(f"SELECT count(*) FROM ({PAST})")


@pytest.mark.parametrize("voucher_cost", [1.5, 3.0])
def test_no_offer_is_the_best_for_all_once_costs_count(voucher_cost: float, landed: Landed):
    # 30% margin, two cents a mail, five dollars an unsubscribed customer.
    profit = f"""
        SELECT customer_id, treatment, sum(effect * CASE outcome WHEN 'revenue_28d' THEN 0.3 WHEN 'unsubscribes_28d'
                   THEN -5 ELSE 0 END) - CASE treatment WHEN 'voucher' THEN {voucher_cost} ELSE 0.02 END AS profit
        FROM effects GROUP BY customer_id, treatment"""
    alike = landed.one(f"SELECT max(profit) FROM (SELECT avg(profit) AS profit FROM ({profit}) GROUP BY treatment)")
    best = f"SELECT arg_max(treatment, profit) AS treatment, max(profit) AS profit FROM ({profit}) GROUP BY customer_id"
    shares = landed.db.execute(f"""
        SELECT count(*) FILTER (profit <= 0) / count(*), count(*) FILTER (profit > 0 AND treatment = 'reminder')
            / count(*), count(*) FILTER (profit > 0 AND treatment = 'voucher') / count(*) FROM ({best})""").fetchall()[
        0
    ]
    assert landed.one(f"SELECT avg(greatest(profit, 0)) FROM ({best})") > 1.5 * max(alike, 0)
    assert min(shares) > 0.05


def test_an_offer_makes_customers_unsubscribe_who_had_not_even_visited_and_no_others(
    landed: Landed, land: Callable[[PlantedWorld], Landed]
):
    left = "SELECT customer_id FROM events WHERE event = 'unsubscribe' AND day = '2026-02-23'"
    before = land(replace(WORLD, **NO_OFFERS)).db.execute(left).fetchall()
    harmed = {customer for (customer,) in landed.db.execute(left).fetchall()} - {customer for (customer,) in before}
    quiet = landed.db.execute(f"SELECT customer_id FROM ({PAST}) WHERE visits = 0 AND arm <> 'no_mail'").fetchall()
    assert harmed <= {customer for (customer,) in quiet}
    share, planted = len(harmed) / len(quiet), WORLD.offer_unsubscribes
    assert abs(share - planted) < 3 * math.sqrt(planted * (1 - planted) / len(quiet))


def test_who_was_sent_a_voucher_bought_less_than_everybody_else_although_it_made_them_buy_more(landed: Landed):
    naive, error = landed.db.execute(f"""
        SELECT avg(y) FILTER (sent) - avg(y) FILTER (NOT sent),
               sqrt(var_samp(y) FILTER (sent) / count(*) FILTER (sent)
                    + var_samp(y) FILTER (NOT sent) / count(*) FILTER (NOT sent))
        FROM (SELECT y, coalesce(offer = 'voucher', false) AS sent FROM ({landed.units("winback_email")}) LEFT JOIN (
            SELECT customer_id, arm AS offer FROM assignments WHERE program = 'winback_offer') USING (customer_id)
        )""").fetchall()[0]
    assert naive + 3 * error < 0 < landed.truth("winback_offer", "revenue_28d", "ATE of voucher")


# --- mess ----------------------------------------------------------------------------------------------------------


def test_cleaning_the_messy_world_gives_exactly_the_events_of_the_clean_one(
    landed: Landed, land: Callable[[PlantedWorld], Landed]
):
    clean = land(replace(WORLD, **NO_MESS))
    rows = "SELECT customer_id, event, day, round(usd, 4) AS usd FROM events ORDER BY ALL"
    assert landed.db.execute(rows).fetchall() == clean.db.execute(rows).fetchall()


WEB = """
    SELECT *, occurred_at::TIMESTAMP AS occurred, received_at::TIMESTAMP AS received,
           cookie_id NOT IN (SELECT platform_id FROM identities WHERE platform = 'web') AS stranger,
           user_agent LIKE '%bot%' AS bot
    FROM web_events"""
GOOD = "valid AND event_id IS NOT NULL AND event <> 'heartbeat' AND coalesce(amount, '') <> 'n/a'"


@pytest.mark.parametrize(
    ("rate", "share", "among"),
    [
        ("late", "received > occurred + INTERVAL 12 HOUR", f"{GOOD} AND event = 'visit'"),
        ("skewed", "occurred > received", f"{GOOD} AND event = 'visit'"),
        ("malformed", f"NOT coalesce(({GOOD} AND coalesce(currency, '') <> 'XXX'), false)", "true"),
        ("unattributed", "stranger AND NOT bot", f"{GOOD} AND NOT bot"),
    ],
)
def test_mess_is_there_at_its_rate(rate: str, share: str, among: str, landed: Landed):
    found, rows = landed.db.execute(f"SELECT avg(({share})::INT), count(*) FROM ({WEB}) WHERE {among}").fetchall()[0]
    planted = getattr(WORLD, rate)
    assert abs(found - planted) < 4 * math.sqrt(planted / rows) + planted**2  # the base includes the mess itself


def test_duplicates_are_exact_copies_at_their_rate(landed: Landed):
    copies, rows = landed.db.execute("SELECT count(*) - count(DISTINCT line), count(*) FROM web_events").fetchall()[0]
    assert copies / rows == pytest.approx(WORLD.duplicated, rel=0.15)


def test_restated_purchases_come_twice_and_the_later_version_has_another_amount(landed: Landed):
    restated, purchases = landed.db.execute(f"""
        SELECT count(*) FILTER (versions = 2 AND first_amount <> last_amount), count(*) FROM (
            SELECT event_id, count(DISTINCT received) AS versions, arg_min(amount::DOUBLE, received) AS first_amount,
                   arg_max(amount::DOUBLE, received) AS last_amount
            FROM ({WEB}) WHERE {GOOD} AND event = 'purchase' GROUP BY event_id)""").fetchall()[0]
    assert abs(restated / purchases - WORLD.restated) < 4 * math.sqrt(WORLD.restated / purchases)


def test_every_kind_of_malformed_row_is_there(landed: Landed):
    for fault in (
        "NOT valid",
        "amount = 'n/a'",
        "valid AND event_id IS NULL",
        "event = 'heartbeat'",
        "currency = 'XXX'",
    ):
        assert landed.one(f"SELECT count(*) FROM web_events WHERE {fault}") > 0, fault
    for fault in ("amount_cents < 0", "event_id IS NULL", "event = 'heartbeat'"):
        assert landed.one(f"SELECT count(*) FROM app_events WHERE {fault}") > 0, fault
    for fault in ("occurred_local = 'yesterday'", "event_id IS NULL", "event = 'heartbeat'"):
        assert landed.one(f"SELECT count(*) FROM email_events WHERE {fault}") > 0, fault


def test_bots_are_extra_cookies_with_hundreds_of_visits(landed: Landed):
    bots = landed.db.execute(f"""
        SELECT count(*), bool_and(stranger) FROM ({WEB}) WHERE bot AND {GOOD} GROUP BY cookie_id""").fetchall()
    assert len(bots) == math.ceil(WORLD.bots * WORLD.customers)
    assert all(visits >= 300 and stranger for visits, stranger in bots)


def test_rows_arrive_in_the_file_of_the_week_they_were_received_in(landed: Landed):
    assert (
        landed.one(f"""
        SELECT count(*) FROM ({WEB}) WHERE valid
        AND date_trunc('week', received)::DATE <> regexp_extract(filename, '([0-9-]+).jsonl', 1)::DATE""")
        == 0
    )
    assert landed.one(f"SELECT max(received - occurred) < INTERVAL 10 DAY FROM ({WEB}) WHERE valid")


def test_local_times_offsets_and_letter_case_of_the_platforms_are_mixed(landed: Landed):
    assert landed.one("SELECT count(DISTINCT time_zone) FROM email_events") == 4
    assert landed.one("SELECT count(DISTINCT right(occurred_at, 6)) FROM ad_events WHERE valid") == 4
    assert landed.one("SELECT count(DISTINCT currency) FROM web_events WHERE currency <> 'XXX'") == 3
    assert landed.one("SELECT avg((recipient <> lower(recipient))::INT) FROM email_events") > 0.2
    assert (
        landed.one("""
        SELECT avg((lower(recipient) IN (SELECT platform_id FROM identities WHERE platform = 'email'))::INT)
        FROM email_events""")
        == 1
    )
    assert (
        landed.one("""
        SELECT count(*) FROM email_events WHERE event = 'impression' AND occurred_local <> 'yesterday'
        AND NOT strftime(timezone('UTC', timezone(time_zone, occurred_local::TIMESTAMP)), '%H:%M')
                IN ('06:00', '09:00') AND received_at::TIMESTAMP >=
                timezone('UTC', timezone(time_zone, occurred_local::TIMESTAMP))""")
        == 0
    )


def test_a_column_appears_half_way(landed: Landed):
    first = "regexp_extract(filename, '([0-9-]+).(jsonl|csv)', 1) >= '2026-02-16'"
    assert landed.one(f"SELECT bool_and(contains(line, '\"device\"') = ({first})) FROM web_events WHERE valid")
    assert landed.one("""
        SELECT bool_and((loyalty_tier IS NOT NULL) = (regexp_extract(filename, '([0-9-]+).csv', 1) >= '2026-02-16'))
        FROM customers""")
    assert landed.one("SELECT count(*) - count(DISTINCT (customer_id, updated_at)) FROM customers") == 0


def test_retargeting_spend_is_the_sum_of_the_ad_log(landed: Landed):
    logged = landed.db.execute("""
        SELECT (occurred_at::TIMESTAMPTZ AT TIME ZONE 'UTC')::DATE AS day, region, round(sum(cost::DOUBLE), 4)
        FROM (SELECT DISTINCT line, event_id, event, cost, ad_user_id, received_at,
                     least(occurred_at::TIMESTAMPTZ, received_at::TIMESTAMPTZ) AS occurred_at
              FROM ad_events WHERE valid AND event = 'impression' AND cost <> 'n/a' AND event_id IS NOT NULL)
        JOIN identities ON platform = 'ad' AND platform_id = ad_user_id
        JOIN (SELECT DISTINCT customer_id, region FROM customers) USING (customer_id)
        GROUP BY ALL ORDER BY ALL""").fetchall()
    spent = landed.db.execute("""
        SELECT day::DATE, geo, spend::DOUBLE FROM ad_spend
        WHERE channel = 'retargeting' AND spend::DOUBLE > 0 ORDER BY ALL""").fetchall()
    assert logged == spent
    assert landed.rows["ad_spend"] == 98 * 4 * 3


def test_arms_are_logged_as_assigned_and_exposure_as_served(landed: Landed):
    seen = landed.db.execute("""
        SELECT DISTINCT arm, event FROM ad_events
        JOIN identities ON platform = 'ad' AND platform_id = ad_user_id
        JOIN assignments ON program = 'retargeting_ads' AND assignments.customer_id = identities.customer_id
        WHERE event IN ('impression', 'would_have_served') ORDER BY arm""").fetchall()
    assert seen == [("ad", "impression"), ("ghost", "would_have_served")]
    assert landed.one("""
        SELECT bool_and(assigned_at::TIMESTAMP::DATE BETWEEN '2026-02-23' AND '2026-03-08') FROM assignments
        WHERE program = 'personalised_home_page'""")
    mailed = landed.db.execute("""
        SELECT DISTINCT arm, assigned_at::TIMESTAMP::VARCHAR FROM assignments WHERE program = 'winback_email'
    """).fetchall()
    assert mailed == [("mailed", "2026-02-23 00:00:00")]
