"""A wrong study fails when it is loaded, with a sentence; its hashes move with exactly what they stand for."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from causal_assets.protocol import KEYWORDS, Arms, Covariate, Day, EventProtocol, Outcome, Rule, hash_of, stage_hash
from causal_assets.types import Role
from causal_assets.warehouse.engine import scratch

STUDY: dict[str, Any] = {
    "question": "Does it pay?",
    "intervention": "a new home page",
    "source": "shop",
    "unit": "customer",
    "program": "home_page",
    "arms": {"control": "standard", "treatment": "personalised"},
    "outcomes": [{"name": "spend_28_days", "metric": "spend", "days": 28, "role": "primary"}],
    "covariates": [{"metric": "spend", "windows": [[-28, 0], [None, -28]]}],
    "decision": {"value_per_outcome": 0.3},
    "plausible_effect": 1.0,
}


def protocol(**change: Any) -> EventProtocol:
    return EventProtocol.model_validate({**STUDY, **change})


def test_a_protocol_reads_as_it_was_written() -> None:
    study = protocol()
    assert study.primary.name == "spend_28_days"
    assert study.covariate_names == ["spend_28_0", "spend_all_28"]
    assert study.longest_window == 28
    assert (study.role("spend_28_days"), study.role("spend_week_1")) == (Role.PRIMARY, Role.OVER_TIME)


@pytest.mark.parametrize(
    "change",
    [
        {"questoin": "misspelt"},
        {"arms": {"control": "a", "treatment": "b", "shares": 0.5}},
        {"outcomes": [{**STUDY["outcomes"][0], "dyas": 28}]},
        {"covariates": [{"metric": "spend", "windows": [[-28, 0]], "statistics": "sum"}]},
        {"decision": {"value_per_outcome": 0.3, "cost": 1}},
    ],
)
def test_a_misspelt_field_is_refused_by_its_name(change: dict[str, Any]) -> None:
    with pytest.raises(
        ValidationError, match=r"(questoin|shares|dyas|statistics|cost)\n  Extra inputs are not permitted"
    ):
        protocol(**change)


@pytest.mark.parametrize(
    ("window", "said"),
    [
        (
            [-28, 1],
            r"covariate spend: window \[-28, 1\] reaches past assignment; allowed is to <= 0, so that the last day",
        ),
        ([0, 7], "reaches past assignment"),
        ([-7, -7], "is empty; allowed is from < to"),
        ([-7, -28], "is empty; allowed is from < to"),
        ([-28], r"a window is \[from, to\], got \[-28\]"),
        ([-28, None], r"a window is \[from, to\], got \[-28, None\]"),
        ([-28, -7, 0], r"a window is \[from, to\]"),
    ],
)
def test_a_covariate_may_not_be_read_from_the_day_of_assignment_on(window: list[int | None], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Covariate(metric="spend", windows=[window])


def test_a_recency_needs_a_window_that_begins_somewhere() -> None:
    with pytest.raises(ValidationError, match="recency needs a bounded window"):
        Covariate(metric="spend", windows=[[None, 0]], statistic="recency")


@pytest.mark.parametrize("name", ["Spend", "1st", "spend-28", "a b", "", "ä", "x" * 64, "a;drop", "a\n"])
def test_a_name_is_kept_to_what_every_engine_accepts_unquoted(name: str) -> None:
    with pytest.raises(ValidationError, match="is no name; allowed are lower-case letters, digits and _"):
        Outcome(name=name, metric="spend", days=28)


def test_the_name_of_a_source_is_one_too() -> None:
    with pytest.raises(ValidationError, match=r"source\n.*'My Shop' is no name"):
        protocol(source="My Shop")


@pytest.mark.parametrize("days", [0, -7])
def test_an_outcome_takes_at_least_a_day(days: int) -> None:
    with pytest.raises(ValidationError, match="days\n  Input should be greater than 0"):
        Outcome(name="spend", metric="spend", days=days)


@pytest.mark.parametrize(
    "given",
    [
        {"role": "guardrail"},
        {"role": "guardrail", "margin": 0.1},
        {"role": "guardrail", "harm": "increase"},
        {"role": "secondary", "margin": 0.1},
        {"role": "secondary", "harm": "increase"},
        {"role": "secondary", "margin": 0.1, "harm": "increase"},
    ],
)
def test_a_guardrail_and_only_a_guardrail_has_a_margin_and_a_direction_of_harm(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="margin and harm belong to a guardrail, and it needs both"):
        Outcome(name="churn", metric="churn", days=28, **given)


@pytest.mark.parametrize("margin", [0, -0.1])
def test_a_margin_is_above_zero(margin: float) -> None:
    with pytest.raises(ValidationError, match="margin\n  Input should be greater than 0"):
        Outcome(name="churn", metric="churn", days=28, role="guardrail", harm="increase", margin=margin)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("field", ["value_per_outcome", "cost_per_unit", "minimum_profit"])
def test_a_rule_is_made_of_numbers(field: str, number: float) -> None:
    with pytest.raises(ValidationError, match=f"{field}\n  Input should be "):
        Rule.model_validate({"value_per_outcome": 1.0, field: number})


@pytest.mark.parametrize("day", ["2026-02-30", "20260301", "2026-W09-7", "1 March", "2026-03-01T00:00:00", ""])
def test_a_day_is_written_as_the_engine_reads_it(day: str) -> None:
    with pytest.raises(ValidationError, match=f"'{day}' is no day; allowed is YYYY-MM-DD in quotes"):
        TypeAdapter(Day).validate_python(day)
    assert TypeAdapter(Day).validate_python("2026-03-01") == "2026-03-01"


def outcome(name: str, role: str) -> dict[str, Any]:
    return {"name": name, "metric": "spend", "days": 28, "role": role}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"outcomes": []}, "outcomes\n  List should have at least 1 item"),
        ({"outcomes": [outcome("a", "secondary")]}, "exactly one must have role primary, got none"),
        ({"outcomes": [outcome("a", "primary"), outcome("b", "primary")]}, r"role primary, got \['a', 'b'\]"),
        ({"outcomes": [outcome("a", "primary"), outcome("a", "secondary")]}, r"names must differ, got \['a'\] twice"),
        ({"outcomes": [outcome("spend_28_0", "primary")]}, r"names must differ, got \['spend_28_0'\] twice"),
        ({"outcomes": [outcome("a", "main")]}, "'primary', 'secondary', 'guardrail' or 'negative_control'"),
        ({"arms": {"control": "a", "treatment": "b", "share": 1.0}}, "arms.share\n  Input should be less than 1"),
        ({"arms": {"control": "a", "treatment": "a"}}, "control and treatment must differ, got 'a' twice"),
        ({"level": 0.5}, "level\n  Input should be greater than 0.5"),
        ({"plausible_effect": 0}, "plausible_effect\n  Input should be greater than 0"),
        ({"decision": {"value_per_outcome": 1, "cost_per_unit": -1}}, "cost_per_unit\n  Input should be greater"),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        protocol(**change)


def test_the_hash_does_not_depend_on_the_order_of_the_keys() -> None:
    turned = EventProtocol.model_validate(dict(reversed(STUDY.items())))
    assert hash_of(turned.document("randomised")) == hash_of(protocol().document("randomised"))
    assert hash_of({"a": 1, "b": {"c": 2, "d": 3}}) == hash_of({"b": {"d": 3, "c": 2}, "a": 1})


def test_the_hash_depends_on_every_field_on_the_design_and_on_the_order_of_a_list() -> None:
    two = [{"metric": "spend", "windows": [[-28, 0]]}, {"metric": "visits", "windows": [[-28, 0]]}]
    documents = [
        protocol().document("randomised"),
        protocol().document("observational"),
        protocol(question="Does it pay well?").document("randomised"),
        protocol(plausible_effect=2.0).document("randomised"),
        protocol(covariates=two).document("randomised"),
        protocol(covariates=two[::-1]).document("randomised"),
    ]
    assert len({hash_of(document) for document in documents}) == len(documents)


def test_a_default_written_out_is_the_same_protocol() -> None:
    assert hash_of(protocol(level=0.95).document("randomised")) == hash_of(protocol().document("randomised"))


def test_a_stages_hash_moves_with_the_fields_it_reads_and_its_method_and_nothing_else() -> None:
    fields = ("source", "outcomes")
    base = stage_hash(protocol().document("randomised"), fields, "1")
    assert stage_hash(protocol(decision={"value_per_outcome": 9}).document("randomised"), fields, "1") == base
    assert stage_hash(protocol().document("observational"), fields, "1") == base
    assert stage_hash(protocol(source="other").document("randomised"), fields, "1") != base
    assert stage_hash(protocol(outcomes=[outcome("a", "primary")]).document("randomised"), fields, "1") != base
    assert stage_hash(protocol().document("randomised"), fields, "2") != base
    assert stage_hash(protocol().document("randomised"), fields[::-1], "1") == base


def test_the_words_of_sql_that_name_nothing_are_the_engines_own() -> None:
    with scratch() as connection:
        rows = connection.execute("SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category = 'reserved'")
        assert {word for (word,) in rows.fetchall()} == KEYWORDS


@pytest.mark.parametrize("name", ["order", "select", "Revenue", "1st", "a-b", ""])
def test_a_name_that_no_engine_takes_unquoted_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="is no name"):
        Outcome(name=name, metric="revenue", days=7, role="primary")


def test_an_arm_that_yaml_reads_as_yes_or_no_asks_for_quotes() -> None:
    with pytest.raises(ValidationError, match="put the name in quotes"):
        Arms.model_validate({"control": False, "treatment": True})
