"""The dbt project, built once over a warehouse small enough to work out every mart by hand."""

from collections.abc import Iterator
from datetime import date, datetime

import pytest

from tests.dbt.builds import DBT_PROJECT, Build, Rows, built, deliver

# One build serves the whole module, also when workers share the tests.
pytestmark = pytest.mark.xdist_group("dbt")

PLANTED_WORLD: dict[str, Rows] = {
    "customers": [
        {"customer_id": "C1", "region": "north", "consent_marketing": True, "updated_at": "2025-12-01"},
        {
            "customer_id": "C1",
            "region": "north",
            "consent_marketing": False,
            "updated_at": "2026-03-01",
            "_extra": '{"loyalty_tier": "gold"}',
        },
    ],
    "identities": [
        {"platform": "web", "platform_id": "k1", "customer_id": "C1", "linked_at": "2026-01-01"},
        {"platform": "web", "platform_id": "k2", "customer_id": "C1", "linked_at": "2026-01-01"},
        {"platform": "web", "platform_id": "k2", "customer_id": "C2", "linked_at": "2026-01-02"},
        {"platform": "app", "platform_id": "d1", "customer_id": "C1", "linked_at": "2026-01-01"},
        {"platform": "email", "platform_id": "Ann@Example", "customer_id": "C1", "linked_at": "2026-01-01"},
        {"platform": "ad", "platform_id": "u1", "customer_id": "C2", "linked_at": "2026-01-01"},
    ],
    "web_events": [
        # the later restatement counts, though its file was loaded first
        {
            "event_id": "w1",
            "cookie_id": "k1",
            "event": "purchase",
            "amount": 8,
            "currency": "EUR",
            "received_at": "2026-03-05",
        },
        {"event_id": "w1", "cookie_id": "k1", "event": "purchase", "amount": 10, "currency": "EUR"},
        {"event_id": "w2", "cookie_id": "k1", "event": "purchase", "amount": 0, "currency": "usd"},
        {"event_id": "w3", "cookie_id": "k1", "event": "refund", "amount": 4, "currency": "GBP"},
        {"event_id": "w4", "cookie_id": "k2", "event": "visit"},
        {"event_id": "w5", "cookie_id": "k1", "event": "visit", "user_agent": "Searchbot/2.1"},
        {"event_id": "w6", "cookie_id": "k9", "event": "visit"},
        {"event_id": "w7", "cookie_id": "k1", "event": "purchase", "amount": 5, "currency": "JPY"},
        {"event_id": "w8", "cookie_id": "k1", "event": "purchase", "currency": "USD"},
    ],
    "app_events": [
        # 2026-03-03 00:10 by the device's clock, which runs ahead
        {
            "event_id": "a1",
            "device_id": "d1",
            "event": "purchase",
            "occurred_ms": 1772496600000,
            "received_at": "2026-03-02 23:50:00",
            "amount_cents": 1250,
            "currency": "USD",
        },
    ],
    "email_events": [
        {
            "event_id": "m1",
            "recipient": "ANN@example",
            "event": "click",
            "occurred_local": "2026-03-01 22:00:00",
            "time_zone": "America/New_York",
        },
        {
            "event_id": "m2",
            "recipient": "ann@example",
            "event": "click",
            "occurred_local": "2026-03-01 22:00:00",
            "time_zone": "Mars/Olympus",
        },
    ],
    "ad_events": [{"event_id": "g1", "ad_user_id": "u1", "event": "would_have_served", "campaign": "spring"}],
    "assignments": [
        {"program": "home", "customer_id": "C1", "arm": "generic", "assigned_at": "2026-02-23 12:00:00"},
        {
            "program": "home",
            "customer_id": "C1",
            "arm": "personalised",
            "assigned_at": "2026-02-23 12:00:00",
            "received_at": "2026-03-20",
        },
    ],
    "ad_spend": [
        {"day": "2026-03-01", "geo": "north", "channel": "search", "spend": 10, "currency": "EUR"},
        {"day": "2026-03-01", "geo": "south", "channel": "search", "spend": 10, "currency": "JPY"},
    ],
    "truth": [{"study": "home", "outcome": "revenue", "estimand": "ATE", "segment": "all", "value": 1.5}],
    "effects": [
        {"study": "offer", "customer_id": "C1", "treatment": "voucher", "outcome": "revenue", "effect": 2.5},
        {"study": "offer", "customer_id": "C1", "treatment": "reminder", "outcome": "revenue", "effect": 0},
    ],
}
COMPLETE_JOURNEY: dict[str, Rows] = {
    "transactions": [
        # 23:59:59 on 7 May and midnight on 8 May where the shops are
        {
            "basket_id": 1,
            "product_id": 10,
            "sales_value": 4,
            "coupon_disc": 1,
            "transaction_timestamp": "2017-05-08 03:59:59",
        },
        {
            "basket_id": 2,
            "product_id": 10,
            "sales_value": 0,
            "coupon_disc": 0,
            "transaction_timestamp": "2017-05-08 04:00:00",
        },
        {
            "basket_id": 2,
            "product_id": 11,
            "sales_value": 2.5,
            "coupon_disc": 0,
            "transaction_timestamp": "2017-05-08 04:00:00",
        },
        {
            "basket_id": 3,
            "product_id": 99,
            "sales_value": 20,
            "coupon_disc": 0,
            "transaction_timestamp": "2017-05-08 18:00:00",
        },
    ],
    "products": [
        {"product_id": 10, "product_type": "YOGURT"},
        {"product_id": 99, "product_type": "GASOLINE-REG UNLEADED"},
    ],
    "campaigns": [{"campaign_id": 8}, {"campaign_id": 11}, {"campaign_id": 12}],
    "campaign_descriptions": [
        {"campaign_id": 8, "campaign_type": "Type A", "start_date": "2017-05-08"},
        {"campaign_id": 11, "campaign_type": "Type B", "start_date": "2017-07-12"},
        {"campaign_id": 12, "campaign_type": "Type B", "start_date": "2017-07-12"},
    ],
    "coupons": [
        {"campaign_id": 8, "coupon_upc": 1, "product_id": 10},
        {"campaign_id": 8, "coupon_upc": 2, "product_id": 10},
        {"campaign_id": 11, "coupon_upc": 3, "product_id": 11},
    ],
    "coupon_redemptions": [{"campaign_id": 8, "coupon_upc": 1, "redemption_date": "2017-05-07"}],
}


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Build]:
    folder = tmp_path_factory.mktemp("dbt")
    deliver(folder, {"planted_world": PLANTED_WORLD, "complete_journey": COMPLETE_JOURNEY})
    with built(DBT_PROJECT, folder) as build:
        yield build


def test_planted_unit_days_are_deduplicated_attributed_and_in_utc_dollars(build: Build) -> None:
    first, second = date(2026, 3, 1), date(2026, 3, 2)
    assert build.unit_days("planted_world") == [
        ("C1", first, "purchases", 2.0, 2),
        ("C1", first, "refunds", 5.0, 1),
        ("C1", first, "revenue", 8.8, 2),
        ("C1", second, "clicks", 1.0, 1),
        ("C1", second, "email_clicks", 1.0, 1),
        ("C1", second, "purchases", 1.0, 1),
        ("C1", second, "revenue", 12.5, 1),
        ("C2", first, "visits", 1.0, 1),
        ("C2", first, "would_have_served", 1.0, 1),
    ]


def test_journey_unit_days_follow_the_trading_day_and_split_spend_by_coupon(build: Build) -> None:
    eve, start = date(2017, 5, 7), date(2017, 5, 8)
    assert build.unit_days("complete_journey") == [
        ("1", eve, "coupon_discount", 1.0, 1),
        ("1", eve, "products", 1.0, 1),
        ("1", eve, "redemptions", 1.0, 1),
        ("1", eve, "spend", 4.0, 1),
        ("1", eve, "spend_on_campaign_8", 4.0, 1),
        ("1", eve, "trips", 1.0, 1),
        ("1", start, "fuel_spend", 20.0, 1),
        ("1", start, "products", 3.0, 3),
        ("1", start, "spend", 22.5, 3),
        ("1", start, "spend_off_campaign_8", 2.5, 1),
        ("1", start, "spend_on_campaign_8", 0.0, 1),
        ("1", start, "trips", 2.0, 2),
    ]


def test_an_assignment_has_one_row_per_unit_and_start(build: Build) -> None:
    assert build.rows("SELECT source, program, unit_id, arm, assigned_at FROM marts.assignments ORDER BY ALL") == [
        ("complete_journey", "campaign_type_a", "1", "mailed", datetime(2017, 5, 8)),
        ("complete_journey", "campaign_type_b", "1", "mailed", datetime(2017, 7, 12)),
        ("planted_world", "home", "C1", "personalised", datetime(2026, 2, 23, 12)),
    ]


def test_an_attribute_is_known_from_the_version_that_changed_it(build: Build) -> None:
    first, second = datetime(2025, 12, 1), datetime(2026, 3, 1)
    assert build.rows("SELECT unit_id, attribute, value, known_at FROM marts.unit_attributes ORDER BY ALL") == [
        ("C1", "consent_marketing", "false", second),
        ("C1", "consent_marketing", "true", first),
        ("C1", "loyalty_tier", "gold", second),
        ("C1", "region", "north", first),
    ]


def test_what_is_set_aside_is_counted_with_its_reason(build: Build) -> None:
    assert build.rows("SELECT source, stage, table_name, reason, rows FROM marts.data_loss ORDER BY ALL") == [
        ("planted_world", "staging", "ad_spend", "unknown currency", 1),
        ("planted_world", "staging", "assignments", "superseded", 1),
        ("planted_world", "staging", "email_events", "unknown time zone", 1),
        ("planted_world", "staging", "identities", "superseded", 1),
        ("planted_world", "staging", "web_events", "bot", 1),
        ("planted_world", "staging", "web_events", "no amount", 1),
        ("planted_world", "staging", "web_events", "superseded", 1),
        ("planted_world", "staging", "web_events", "unattributed", 1),
        ("planted_world", "staging", "web_events", "unknown currency", 1),
    ]


def test_coverage_spend_and_truth_are_passed_on(build: Build) -> None:
    assert build.rows("SELECT source, first_day, last_day FROM marts.coverage ORDER BY ALL") == [
        ("complete_journey", date(2017, 5, 7), date(2017, 5, 8)),
        ("planted_world", date(2026, 3, 1), date(2026, 3, 2)),
    ]
    assert build.rows("SELECT source, day, geo, channel, round(spend_usd, 6) FROM marts.ad_spend") == [
        ("planted_world", date(2026, 3, 1), "north", "search", 11.0)
    ]
    assert build.rows("SELECT * FROM marts.planted_truth") == [("home", "revenue", "ATE", "all", 1.5)]
    assert build.rows("SELECT * FROM marts.planted_effects ORDER BY ALL") == [
        ("offer", "C1", "reminder", "revenue", 0.0),
        ("offer", "C1", "voucher", "revenue", 2.5),
    ]


def test_every_data_test_is_attached_to_a_model_so_that_none_is_lost_as_an_asset_check(build: Build) -> None:
    nodes = build.manifest["nodes"]
    tests = [node for node in nodes.values() if node["resource_type"] == "test"]
    detached = [test["name"] for test in tests if not (test["attached_node"] or "").startswith("model.")]
    assert tests
    assert not detached


def test_every_mart_has_an_enforced_contract_and_a_tested_grain(build: Build) -> None:
    nodes = build.manifest["nodes"].values()
    marts = [node for node in nodes if node["resource_type"] == "model" and node["schema"] == "marts"]
    grains = {
        node["attached_node"] for node in nodes if (node.get("test_metadata") or {}).get("name") == "unique_grain"
    }
    assert marts
    assert all(mart["config"]["contract"]["enforced"] for mart in marts)
    assert all(mart["unique_id"] in grains and mart["description"].startswith("One row per") for mart in marts)


def test_the_schemas_are_called_what_the_folders_say(build: Build) -> None:
    assert {schema for (schema,) in build.rows("SELECT DISTINCT table_schema FROM information_schema.tables")} == {
        "raw",
        "reference",
        "staging",
        "intermediate",
        "marts",
    }
