"""Every branch of the rule, as a table of cases."""

from math import inf, isfinite
from typing import Literal

import pytest

from causal_assets.decision import Profit, decide, grade, guardrail_state
from causal_assets.diagnostics.negative_control import negative_control
from causal_assets.protocol import Outcome, Rule
from causal_assets.types import Diagnostic, Estimate, Role, Standing, Status, Verdict

RULE = Rule(value_per_outcome=2.0, cost_per_unit=1.0)  # profit is above zero where the effect is above 0.5
PASS, REVIEW, FAIL = Status.PASS, Status.REVIEW, Status.FAIL
State = Literal["safe", "unclear", "harmed"]


def estimate(low: float, high: float, outcome: str = "spend") -> Estimate:
    return Estimate(
        outcome=outcome,
        estimand="ATE",
        method="planted",
        value=(low + high) / 2 if isfinite(high) else 0.0,
        std_error=1.0,
        low=low,
        high=high,
        p_value=0.5 if low <= 0 <= high else 0.01,
        level=0.95,
        n_treated=100,
        n_control=100,
        control_mean=10.0,
    )


def diagnostics(*statuses: Status) -> list[Diagnostic]:
    return [
        Diagnostic(name=f"check {i}", status=status, value=0.0, threshold=0.0, message=f"message {i}", next_step="none")
        for i, status in enumerate(statuses)
    ]


def guardrail(harm: Literal["increase", "decrease"] = "increase", name: str = "unsubscribed") -> Outcome:
    return Outcome(name=name, metric=name, days=28, role="guardrail", harm=harm, margin=0.01)


HARM: dict[State, tuple[float, float]] = {"safe": (-0.02, 0.005), "unclear": (-0.02, 0.02), "harmed": (0.02, 0.04)}
SHIP, HOLD, STOP, KEEP = Verdict.SHIP, Verdict.HOLD, Verdict.STOP, Verdict.KEEP_RUNNING
BLOCKED, NOT_IDENTIFIED = Verdict.BLOCKED, Verdict.NOT_IDENTIFIED


@pytest.mark.parametrize(
    ("randomised", "interval", "states", "statuses", "days_left", "verdict", "given", "said"),
    [
        (True, (0.6, 2.0), [], [PASS], 0, SHIP, "A", "whole interval clears 0"),
        (True, (0.6, 2.0), ["safe"], [PASS], 0, SHIP, "A", "whole interval clears 0"),
        (True, (0.6, 2.0), [], [REVIEW], 0, SHIP, "B", "whole interval clears 0"),
        (False, (0.6, 2.0), [], [PASS], 0, SHIP, "B", "whole interval clears 0"),
        (False, (0.6, 2.0), [], [REVIEW], 0, HOLD, "C", "A study of grade C does not act; B is needed"),
        (True, (0.4, 2.0), [], [PASS], 0, HOLD, "A", "does not clear 0"),
        (True, (0.5, 2.0), [], [PASS], 0, HOLD, "A", "does not clear 0"),  # the end of the interval on the threshold
        (True, (0.1, 0.5), [], [PASS], 0, HOLD, "A", "does not clear 0"),
        (True, (0.1, 0.4), [], [PASS], 0, STOP, "A", "upper end is below 0"),
        (False, (0.1, 0.4), [], [REVIEW], 0, STOP, "C", "upper end is below 0"),
        (True, (0.6, 2.0), ["safe", "unclear"], [PASS], 0, HOLD, "A", "Not shown non-inferior within its margin: g1"),
        (True, (0.6, 2.0), ["harmed", "unclear"], [PASS], 0, STOP, "A", "harmed beyond its margin: g0"),
        (True, (0.4, 2.0), ["harmed"], [PASS], 0, STOP, "A", "harmed beyond its margin: g0"),
        (True, (0.4, 2.0), ["unclear"], [PASS], 0, HOLD, "A", "does not clear 0"),
        (True, (0.6, 2.0), [], [PASS, FAIL], 0, BLOCKED, "D", "message 1"),
        (False, (0.6, 2.0), [], [FAIL, REVIEW], 0, NOT_IDENTIFIED, "D", "message 0"),
        (True, (0.6, 2.0), ["harmed"], [FAIL], 0, BLOCKED, "D", "message 0"),
        (True, (0.6, 2.0), [], [PASS], 5, KEEP, "A", "5 days are left"),
        (True, (0.6, 2.0), ["harmed"], [PASS], 5, KEEP, "A", "5 days are left"),
        (True, (0.6, 2.0), [], [FAIL], 5, BLOCKED, "D", "message 0"),
        (False, (0.6, 2.0), [], [FAIL], 5, NOT_IDENTIFIED, "D", "message 0"),
        (True, None, [], [PASS], 12, KEEP, "A", "No unit's outcome window has passed"),
        (True, None, [], [FAIL], 12, BLOCKED, "D", "message 0"),
        (True, None, [], [], 12, KEEP, "A", "No unit's outcome window has passed"),
    ],
)
def test_the_first_rule_that_holds_decides(
    randomised: bool,
    interval: tuple[float, float] | None,
    states: list[State],
    statuses: list[Status],
    days_left: int,
    verdict: Verdict,
    given: str,
    said: str,
) -> None:
    guardrails = [(guardrail(name=f"g{i}"), estimate(*HARM[state], f"g{i}")) for i, state in enumerate(states)]
    decision = decide(
        None if interval is None else estimate(*interval),
        guardrails,
        diagnostics(*statuses),
        RULE,
        randomised=randomised,
        days_left=days_left,
    )
    assert (decision.verdict, decision.grade, decision.days_left) == (verdict, given, days_left)
    assert said in " ".join(decision.reasons)
    assert decision.allows_action is (verdict is SHIP)


def test_every_failed_check_is_a_reason() -> None:
    decision = decide(estimate(1, 2), [], diagnostics(FAIL, PASS, FAIL), RULE, randomised=True, days_left=0)
    assert decision.reasons == ("message 0", "message 2")


def test_the_threshold_of_the_rule_is_the_profit_it_names() -> None:
    asked = Rule(value_per_outcome=2.0, cost_per_unit=1.0, minimum_profit=1.0)
    for low, verdict in ((0.9, HOLD), (1.1, SHIP)):
        assert decide(estimate(low, 2), [], [], asked, randomised=True, days_left=0).verdict is verdict


@pytest.mark.parametrize(
    ("randomised", "statuses", "expected"),
    [
        (True, [], "A"),
        (True, [PASS, PASS], "A"),
        (True, [PASS, REVIEW, REVIEW], "B"),
        (True, [REVIEW, FAIL], "D"),
        (False, [], "B"),
        (False, [PASS], "B"),
        (False, [REVIEW], "C"),
        (False, [PASS, FAIL], "D"),
    ],
)
def test_a_grade_starts_at_the_designs_best_and_falls_with_what_was_found(
    randomised: bool, statuses: list[Status], expected: str
) -> None:
    assert grade(diagnostics(*statuses), randomised=randomised)[0] == expected


def test_a_grade_lists_the_rules_that_gave_it_with_the_checks_they_rest_on() -> None:
    assert grade(diagnostics(PASS), randomised=True) == ("A", ("Chance assigned the arms: A at best.",))
    assert grade(diagnostics(REVIEW, PASS, REVIEW, FAIL), randomised=False, standing=Standing.EXPLORATORY) == (
        "D",
        (
            "Chance did not assign the arms: B at best.",
            "One lower, for what wants review: check 0, check 2.",
            "The protocol was changed after outcomes had been seen: C at best.",
            "D, for what failed: check 3.",
        ),
    )
    decided = decide(estimate(0.6, 2), [], diagnostics(REVIEW), RULE, randomised=True, days_left=0)
    assert decided.grade_reasons == grade(diagnostics(REVIEW), randomised=True)[1]


def test_unobserved_confounding_that_nothing_looked_for_leaves_grade_c_at_best() -> None:
    unseen = negative_control([])
    assert unseen.status is REVIEW
    decided = decide(estimate(0.6, 2), [], [unseen], RULE, randomised=False, days_left=0)
    assert (decided.verdict, decided.grade) == (HOLD, "C")
    assert "One lower, for what wants review: negative_control." in decided.grade_reasons


@pytest.mark.parametrize(("randomised", "statuses"), [(True, [PASS]), (False, [PASS]), (False, [REVIEW])])
def test_an_exploratory_study_has_grade_c_at_best_and_does_not_act(randomised: bool, statuses: list[Status]) -> None:
    explored = decide(
        estimate(0.6, 2), [], diagnostics(*statuses), RULE,
        randomised=randomised, days_left=0, standing=Standing.EXPLORATORY,
    )  # fmt: skip
    assert (explored.verdict, explored.grade) == (HOLD, "C")
    assert "A study of grade C does not act; B is needed." in explored.reasons


def test_what_comes_before_outcomes_costs_no_grade() -> None:
    for standing in (Standing.CONFIRMATORY, Standing.RETROSPECTIVE):
        assert grade(diagnostics(PASS), randomised=True, standing=standing)[0] == "A"


@pytest.mark.parametrize(
    ("harm", "low", "high", "state"),
    [
        ("increase", -0.02, 0.009, PASS),
        ("increase", 0.001, 0.009, PASS),  # worse, but shown to stay inside the margin
        ("increase", -0.02, 0.01, REVIEW),  # on the margin is not inside it
        ("increase", -0.02, 0.02, REVIEW),
        ("increase", 0.01, 0.02, REVIEW),
        ("increase", 0.011, 0.02, FAIL),
        ("decrease", -0.009, 0.02, PASS),
        ("decrease", -0.01, 0.02, REVIEW),
        ("decrease", -0.02, 0.02, REVIEW),
        ("decrease", -0.02, -0.011, FAIL),
        ("decrease", 0.02, 0.03, PASS),
        ("increase", -inf, inf, REVIEW),
    ],
)
def test_a_guardrail_passes_inside_its_margin_fails_beyond_it_and_is_unclear_between(
    harm: Literal["increase", "decrease"], low: float, high: float, state: Status
) -> None:
    assert guardrail_state(estimate(low, high), guardrail(harm)) is state


def test_profit_is_the_value_of_the_effect_less_its_cost_end_by_end() -> None:
    assert Profit.of(estimate(1.0, 3.0), RULE) == Profit(value=3.0, low=1.0, high=5.0)


def test_where_less_is_better_the_profits_low_end_is_the_effects_high_end() -> None:
    costly = Rule(value_per_outcome=-2.0, cost_per_unit=1.0)
    assert Profit.of(estimate(-3.0, -1.0), costly) == Profit(value=3.0, low=1.0, high=5.0)
    assert decide(estimate(-3.0, -1.0), [], [], costly, randomised=True, days_left=0).verdict is SHIP


def test_an_unbounded_interval_never_ships() -> None:
    for value in (2.0, 0.0):  # nothing times infinity is no number
        rule = Rule(value_per_outcome=value, minimum_profit=-1.0)
        assert decide(estimate(-inf, inf), [], [], rule, randomised=True, days_left=0).verdict is HOLD


def test_every_role_of_an_outcome_is_a_role() -> None:
    for role in ("primary", "secondary", "negative_control"):
        assert Role(Outcome(name="a", metric="a", days=1, role=role).role) == role
