"""Benefits, harms, costs, and what would change our mind: with the study's own numbers."""

from dataclasses import replace
from math import inf

import pytest

from causal_assets.memo.consequences import BENEFITS, HARMS, STILL, UNSAID, benefits_and_harms, costs, what_would_change
from causal_assets.memo.memo import render
from causal_assets.types import Decision, Status, Verdict
from tests.memo.test_memo import seen


def held(facts, value, low, high):
    """The study on hold with another profit."""
    return replace(facts, decision=Decision(verdict=Verdict.HOLD, grade="B"), profit=(value, low, high))


def test_an_outcome_is_a_benefit_or_a_harm_as_the_protocol_says_and_else_neither(shipped):
    guardrail = replace(shipped.others[1][1], value=0.02, low=0.01, high=0.03)
    others = (shipped.others[0], (shipped.others[1][0], guardrail))
    facts = replace(shipped, others=others, margins={guardrail.outcome: 0.05})
    found = benefits_and_harms(facts)
    assert found[BENEFITS] == [
        "revenue in 28 days: +$1.84 per customer (95% interval +$1.12 to +$2.56)",
        "opened emails: +0.02 per customer (95% interval +0.01 to +0.03)",
    ]
    assert found[UNSAID][0].startswith("purchases in 28 days: +0.0312")
    harmed = benefits_and_harms(replace(facts, harmed_by_increase=frozenset({guardrail.outcome})))
    assert harmed[HARMS][0].startswith("opened emails")
    loss = benefits_and_harms(replace(facts, value_per_outcome=-1.0))
    assert loss[HARMS][0].startswith("revenue in 28 days")
    assert benefits_and_harms(shipped)[STILL][0].startswith("opened emails")


def test_what_is_no_effect_has_no_benefit_and_no_harm(unidentified, running):
    assert benefits_and_harms(unidentified) == {}
    assert benefits_and_harms(running) == {}
    assert "Benefits, harms" not in seen(render(running))


def test_costs_say_from_which_effect_it_pays(shipped):
    assert costs(shipped) == [
        "$0.12 per treated customer, $6,010 for the 50,112 treated.",
        "It pays from an effect on revenue in 28 days of +$0.34 or more per customer.",
    ]
    assert "+$1.77 or more" in costs(replace(shipped, minimum_profit=0.5))[1]
    assert "−$0.12 or less" in costs(replace(shipped, value_per_outcome=-1.0))[1]


@pytest.mark.parametrize(
    ("profit", "said"),
    [
        ((0.5, 0.2, 0.8), "A cost of $0.32 instead of $0.12 per treated customer, or an effect worth $0.20 less"),
        ((-0.5, -0.8, -0.2), "even the upper end of profit per customer is −$0.20"),
        ((0.2, -0.2, 0.6), "At the same effect it takes about 4 times the customers."),
        ((0.01, -0.6, 0.6), "more than 100 times the customers"),
        ((0.01, -inf, inf), "more than 100 times the customers"),
        ((-0.1, -0.6, 0.4), "The estimate itself, −$0.10, is not above it"),
    ],
)
def test_profit_says_how_far_its_interval_is_from_the_rule(shipped, profit, said):
    assert said in what_would_change(held(shipped, *profit))[0]


def test_every_check_that_speaks_against_it_has_its_distance_and_the_closest_that_passed_is_named(unidentified):
    checks = tuple(
        replace(check, value=value)
        for check, value in zip(unidentified.diagnostics, (3.1, 0.7, 0.02, 0.09), strict=True)
    )
    told = what_would_change(replace(unidentified, diagnostics=checks))
    assert told[0] == "FAIL, bracket: 3.1 now; it would have to fall to 0.1."
    assert "REVIEW, overlap: 0.02 now; it would have to reach 0.1." in told
    assert "Of the checks passed, balance after came closest to its threshold: 0.09 against 0.1." in told
    assert told[-1] == unidentified.what_would_change[-1]
    assert not any("Profit" in one for one in told)  # of what is no effect there is none


def test_a_guardrail_says_how_far_its_worst_end_is_from_its_margin(shipped):
    name = shipped.others[1][1].outcome
    (told,) = [one for one in what_would_change(replace(shipped, margins={name: 0.01})) if "Guardrail" in one]
    assert told == "Guardrail opened emails: at worst a harm of 0.0081, 0.0019 inside its margin of 0.01."


def test_an_assumption_is_shown_with_what_was_found_of_it(shipped, unidentified):
    text = seen(render(shipped))
    assert "What one customer was given does not change the outcome of another. Cannot be checked from data:" in text
    srm = replace(shipped.diagnostics[0], name="srm", status=Status.FAIL)
    text = seen(render(replace(shipped, diagnostics=(srm, replace(srm, name="balance", status=Status.PASS)))))
    unrun = "srm sequential, several arms, exposure before assignment, placebo period"
    assert f"Checked: FAIL (srm), PASS (balance), not run ({unrun})." in text
    text = seen(render(unidentified))
    assert "Sensitivity, bracket: FAIL. Sign not identified" in text
    assert "Sensitivity, e value: not run." in text
