import re
from dataclasses import replace
from html.parser import HTMLParser
from math import inf

import pytest

from causal_assets.designs.observational import ObservationalStudy
from causal_assets.memo import sentences
from causal_assets.memo.memo import render
from causal_assets.types import Decision, Deviation, Role, Standing, Verdict


def seen(page: str) -> str:
    """What a reader sees: text alone, white space folded."""
    found: list[str] = []

    class Reader(HTMLParser):
        skipping = False

        def handle_starttag(self, tag, attrs):
            self.skipping = tag == "style"

        def handle_data(self, data):
            if not self.skipping:
                found.append(data)

    Reader().feed(page)
    return " ".join(" ".join(found).split())


def decided(facts, verdict, grade="B"):
    return replace(facts, decision=Decision(verdict=verdict, grade=grade))


def with_interval(facts, low, high):
    return replace(facts, primary=replace(facts.primary, low=low, high=high, p_value=0.4))


def test_the_same_facts_give_the_same_bytes(unidentified):
    assert render(unidentified).encode() == render(replace(unidentified)).encode()


def test_the_verdict_comes_first_as_a_sentence_a_word_and_a_grade(shipped, unidentified, running):
    for facts, sentence in (
        (shipped, "Ship: the intervention is worth $0.52 per customer after its cost (95% interval $0.27 to $0.78)."),
        (
            unidentified,
            "Not identified: this data cannot say what the intervention did to spend in 8 weeks. "
            "Hold; randomise the next wave.",
        ),
        (running, "Keep running: the outcome can be read for every customer in 12 days."),
    ):
        text = seen(render(facts))
        assert sentence in text
        assert text.index(sentence) < text.index("The question")
        assert str(facts.decision.verdict) in text[: text.index(sentence)]
    assert "evidence grade D" in seen(render(unidentified))


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_has_its_own_colour_and_a_headline(shipped, running, verdict):
    for facts in (decided(shipped, verdict), decided(running, verdict)):
        page = render(facts)
        kind = verdict.replace(" ", "-")
        assert f'class="verdict {kind}"' in page
        assert re.search(rf"\.{kind}\b[^}}]*\{{ --accent", page)
        assert re.search(r"<h1>.+</h1>", page)


@pytest.mark.parametrize("verdict", [Verdict.NOT_IDENTIFIED, Verdict.BLOCKED])
def test_what_is_not_identified_never_reads_as_a_lift(shipped, unidentified, verdict):
    for facts in (decided(shipped, verdict), decided(unidentified, verdict)):
        text = seen(render(facts)).lower()
        assert not re.search(
            r"\blift\b|\braised\b|\brose\b|\blowered\b|\bprofit per\b|\bin total\b|\beffect on\b", text
        )


def test_what_is_not_identified_on_average_is_said_to_be_no_ground_for_targeting(shipped, unidentified):
    assert "targeting by uplift is not estimable here" in sentences.answer(unidentified)
    assert "targeting by uplift" not in sentences.answer(shipped)


def test_what_is_not_identified_shows_the_range_of_its_comparisons(unidentified):
    text = seen(render(unidentified))
    assert "anything from −$11.20 to +$276 per household" in text
    assert "Even its sign depends on the method." in text
    elsewhere = replace(unidentified.alternatives[0], outcome="spend_before", value=900.0, high=950.0)
    text = seen(render(replace(unidentified, alternatives=(*unidentified.alternatives, elsewhere))))
    assert "anything from −$11.20 to +$276 per household" in text


def test_an_interval_that_holds_zero_never_reads_as_a_lift(shipped):
    facts = decided(with_interval(shipped, -0.4, 4.1), Verdict.HOLD)
    text = seen(render(replace(facts, others=(), profit=(0.52, -0.26, 1.3))))
    assert "The effect on revenue in 28 days cannot be told from zero" in text
    assert "a fall of $0.40 to a rise of $4.10 per customer" in text
    assert "Cost per extra $1 of revenue in 28 days cannot be told" in text
    assert not re.search(r"\blift\b|\braised\b|\brose\b", text)


def test_a_clear_effect_that_does_not_pay_says_so(shipped):
    facts = replace(decided(shipped, Verdict.HOLD), profit=(0.1, -0.2, 0.4))
    assert sentences.headline(facts) == (
        "Hold: the intervention raised revenue in 28 days by $1.84 per customer; "
        "after its cost that is worth −$0.20 to +$0.40 per customer."
    )


def test_a_paying_effect_that_is_held_says_whether_the_rule_or_the_grade_held_it(shipped):
    held = decided(shipped, Verdict.HOLD)
    assert sentences.headline(held).endswith(", but the study’s rule is not met.")
    weak = replace(held, decision=replace(held.decision, grade="C"))
    assert sentences.headline(weak).endswith(", but evidence of grade C is not enough to act on.")


def test_the_answer_is_in_business_units(shipped):
    text = seen(render(shipped))
    assert "raised revenue in 28 days by $1.84 per customer (95% interval +$1.12 to +$2.56, p < 0.001)" in text
    assert "In total, over 50,112 treated customers +$92,200" in text
    assert "Relative lift +5.9% 95% interval +3.57% to +8.23%" in text
    assert "Profit per treated customer +$0.52" in text
    assert "Cost per extra $1 of revenue in 28 days $0.065 95% interval $0.047 to $0.11" in text


def test_a_loss_is_not_called_a_lift_and_has_no_price(shipped):
    fallen = replace(shipped.primary, value=-1.0, low=-1.5, high=-0.5, relative=-0.03)
    facts = replace(decided(shipped, Verdict.STOP), primary=fallen, profit=(-0.47, -0.65, -0.3))
    text = seen(render(facts))
    assert "Stop: the intervention lowered revenue in 28 days by $1.00 per customer" in text
    assert "Relative difference" in text
    assert "nothing gained" in text


def test_an_overlap_effect_is_not_multiplied_over_all_the_treated(shipped):
    facts = replace(shipped, primary=replace(shipped.primary, estimand="ATO"))
    assert "In total" not in seen(render(facts))


def test_planted_truth_stands_beside_the_interval(shipped, unidentified):
    assert "Planted truth: +$1.75, inside the interval." in seen(render(shipped))
    missed = replace(shipped, truth={"revenue_28_days": 3.0})
    assert "Planted truth: +$3.00, outside the interval." in seen(render(missed))
    assert "Planted truth" not in seen(render(unidentified))


def test_unbounded_intervals_are_words_on_the_page(shipped):
    unbounded = replace(with_interval(shipped, -inf, inf).primary, relative_low=-inf, relative_high=inf)
    text = seen(render(replace(decided(shipped, Verdict.HOLD), primary=unbounded, profit=(0.5, -inf, inf))))
    assert "unbounded in both directions" in text
    assert not re.search(r"\binf\b|\bnan\b", text)


@pytest.mark.parametrize(
    ("low", "high", "falls", "rises"),
    [
        (-0.5, 0.5, "within", "within"),
        (-1.5, 0.5, "not shown to be within", "within"),
        (-2.5, -1.5, "worse than", "within"),
        (-0.5, 1.5, "within", "not shown to be within"),
        (1.5, 2.5, "within", "worse than"),
    ],
)
def test_a_guardrail_is_held_to_its_margin_in_the_direction_that_harms(shipped, low, high, falls, rises):
    guardrail = replace(shipped.others[1][1], value=low, low=low, high=high)
    facts = replace(shipped, margins={guardrail.outcome: 1.0})
    row = sentences.row(facts, Role.GUARDRAIL, guardrail)
    assert row.reading == f"{falls} its margin, a fall of 1"
    facts = replace(facts, harmed_by_increase=frozenset({guardrail.outcome}))
    row = sentences.row(facts, Role.GUARDRAIL, guardrail)
    assert row.reading == f"{rises} its margin, a rise of 1"


def test_a_negative_control_that_moves_is_called_out(unidentified):
    moved = replace(unidentified.others[1][1], low=1.0)
    assert sentences.row(unidentified, Role.NEGATIVE_CONTROL, moved).reading == "moves, though nothing should move it"


def test_failed_checks_come_before_reviews_and_each_says_what_is_next(unidentified):
    text = seen(render(unidentified))
    assert text.index("FAIL bracket") < text.index("REVIEW placebo date") < text.index("Passed: balance after")
    for check in unidentified.diagnostics[:3]:
        assert check.message in text
        assert check.next_step in text


def test_what_was_lost_is_counted(shipped, unidentified):
    text = seen(render(shipped))
    assert "2,410,113 rows came in" in text
    assert "event from a bot 18,240 0.757%" in text
    assert "all 1,469,307 rows that came in kept their contract" in seen(render(unidentified))


def test_the_order_of_registration_and_first_read_names_the_study(shipped, unidentified, running):
    assert sentences.registration(shipped).startswith("Confirmatory")
    assert sentences.registration(unidentified).startswith("Retrospective")
    assert sentences.registration(running).startswith("Registered; its outcome has not been read")
    assert sentences.registration(replace(shipped, standing=Standing.EXPLORATORY)).startswith("Exploratory")


def test_every_deviation_is_listed_with_what_from_to_when_and_whether_outcomes_were_known(shipped):
    rule = Deviation(
        field="decision.cost_per_unit", before=0.1, after=0.5, registered_at="2025-05-01T08:00:00+00:00",
        after_outcomes=True, matters=True,
    )  # fmt: skip
    words = replace(rule, field="question", before="Why?", after="<Why>?", after_outcomes=False, matters=False)
    page = seen(render(replace(shipped, deviations=(rule, words), standing=Standing.EXPLORATORY)))
    assert "decision.cost_per_unit from 0.1 to 0.5, 2025-05-01 08:00:00 UTC, after its outcome had been read" in page
    assert (
        "question from Why? to <Why>?, 2025-05-01 08:00:00 UTC, before its outcome was read; no number depends on it"
        in page
    )
    assert "· exploratory" in page
    assert "What was changed since it was first registered" not in seen(render(shipped))


def test_the_grade_comes_with_its_reasons(shipped):
    decision = replace(shipped.decision, grade="B", grade_reasons=("A at best.", "One lower, for: co_intervention."))
    page = seen(render(replace(shipped, decision=decision)))
    assert "Grade B: A at best. One lower, for: co intervention." in page


def test_text_from_a_study_is_escaped(shipped):
    hostile = '<script>alert("1")</script>'
    page = render(replace(shipped, question=hostile, arms=("a", hostile), what_would_change=(hostile,)))
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 3


def test_the_page_loads_nothing_and_runs_nothing(shipped, unidentified, running):
    for facts in (shipped, unidentified, running):
        page = render(facts)
        assert not re.search(r"https?:|//[a-z]|<script|<link|@import|url\(", page)
        assert all(source.startswith("data:image/svg+xml;base64,") for source in re.findall(r'src="([^"]*)"', page))


def test_every_picture_and_every_column_is_named_for_those_who_cannot_see_it(unidentified):
    page = render(unidentified)
    pictures = re.findall(r"<img [^>]*>", page)
    assert len(pictures) == 4
    assert all(re.search(r'alt="[^"]{20,}"', picture) for picture in pictures)
    assert page.count("<th>") == 0  # every header has its scope
    assert '<html lang="en">' in page


def test_windows_share_an_axis_title_and_differ_in_their_labels(unidentified):
    assert 'alt="4 weeks: +$10.00 (−$3.70 to +$23.70); 12 weeks: +$37.00' in render(unidentified)


def test_an_estimate_without_its_profit_is_refused(shipped):
    with pytest.raises(ValueError, match="primary and profit go together"):
        replace(shipped, profit=None)


def test_without_chance_assignment_the_page_does_not_say_that_the_intervention_raised_anything(shipped):
    chosen = replace(decided(shipped, Verdict.HOLD), identification=ObservationalStudy.identification)
    text = seen(render(chosen))
    assert "adjusted for what was recorded, revenue in 28 days was higher by $1.84 per customer" in text
    assert not re.search(r"\braised\b|\brose\b", text)


def test_an_overlap_effect_is_not_called_the_profit_of_the_treated(shipped):
    text = seen(render(replace(shipped, primary=replace(shipped.primary, estimand="ATO"))))
    assert "Profit per customer for which either arm was plausible" in text
    assert "Profit per treated" not in text


def test_a_look_before_the_end_says_that_it_decides_nothing(shipped):
    running = replace(shipped, decision=replace(shipped.decision, verdict=Verdict.KEEP_RUNNING, days_left=3))
    assert "nothing may be decided on them yet" in seen(render(running))
    assert "nothing may be decided on them yet" not in seen(render(shipped))


def test_a_guardrail_that_is_harmed_within_its_margin_is_said_to_be_harmed(shipped):
    guardrail = replace(shipped.others[1][1], value=0.5, low=0.2, high=0.8)
    facts = replace(shipped, margins={guardrail.outcome: 1.0}, harmed_by_increase=frozenset({guardrail.outcome}))
    reading = sentences.row(facts, Role.GUARDRAIL, guardrail).reading
    assert reading == "within its margin, a rise of 1, though shown to rise"


def test_an_effect_without_a_bounded_relative_interval_has_no_relative_value(shipped):
    primary = replace(shipped.primary, relative=23.4, relative_low=-inf, relative_high=inf)
    text = seen(render(replace(shipped, primary=primary)))
    assert "Relative lift" not in text
    assert "2,340%" not in text


def test_where_less_is_better_the_cost_is_per_unit_avoided(shipped):
    fallen = replace(shipped.primary, outcome="returns", value=-2.0, low=-4.0, high=-1.0)
    facts = replace(shipped, primary=fallen, value_per_outcome=-1.0, cost_per_unit=1.0)
    assert "Cost per unit of returns avoided $0.50 95% interval $0.25 to $1.00" in seen(render(facts))


def test_the_table_says_that_its_p_values_are_not_adjusted_for_their_number(shipped):
    assert "not adjusted for how many there are" in seen(render(shipped))
