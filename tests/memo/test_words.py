from math import inf

import pytest

from causal_assets.memo import words


@pytest.mark.parametrize(
    ("x", "plain", "money"),
    [
        (0.0, "0", "$0"),
        (1234567.0, "1,230,000", "$1,230,000"),
        (276.4, "276", "$276"),
        (99.996, "100", "$100"),
        (52.314, "52.3", "$52.31"),
        (8.0, "8", "$8.00"),
        (0.4, "0.4", "$0.40"),
        (0.00412, "0.00412", "$0.0041"),
        (-11.2, "−11.2", "−$11.20"),
        (inf, "unbounded", "unbounded"),
    ],
)
def test_numbers_have_three_digits_and_money_has_cents(x, plain, money):
    assert words.number(x) == plain
    assert words.number(x, money=True) == money


def test_a_sign_is_shown_where_asked_but_never_on_zero():
    assert [words.number(x, sign=True) for x in (2.0, 0.0, -2.0)] == ["+2", "0", "−2"]


def test_a_small_p_value_is_a_bound():
    assert [words.p_value(p) for p in (0.0, 0.0009, 0.03, 0.0496, 1.0)] == [
        "p < 0.001",
        "p < 0.001",
        "p = 0.03",
        "p = 0.0496",
        "p = 1",
    ]


def test_unbounded_intervals_are_printed_as_words():
    assert words.interval(-inf, inf, words.number) == "unbounded in both directions"
    assert words.interval(1.5, inf, words.number) == "1.5 or more, unbounded above"
    assert words.interval(-inf, 2.5, words.number) == "unbounded below, up to 2.5"
    assert words.span(-inf, inf, words.number) == "a fall without bound to a rise without bound"


def test_an_identifier_reads_as_a_person_says_it():
    assert words.name("coupon_discount_8_weeks") == "coupon discount in 8 weeks"
    assert words.name("opened_emails") == "opened emails"
    assert words.name("spend_weeks_5_8") == "spend weeks 5–8"
    assert words.covariate("spend_28_0") == "spend, 28–0 days before"
    assert words.covariate("trips_mean_all_7") == "trips mean, until 7 days before"
    assert words.covariate("tenure") == "tenure"


@pytest.mark.parametrize(
    ("names", "shared", "rests"),
    [
        (["spend in 4 weeks", "spend in 12 weeks"], "spend", ["4 weeks", "12 weeks"]),
        (["spend week 1", "spend week 2"], "spend", ["week 1", "week 2"]),
        (["spend weeks 1–4", "spend weeks 5–8"], "spend", ["weeks 1–4", "weeks 5–8"]),
        (["week 1", "week 2"], "", ["week 1", "week 2"]),
        (["spend week 1"], "", ["spend week 1"]),
    ],
)
def test_windows_are_named_by_what_tells_them_apart(names, shared, rests):
    assert words.split_names(names) == (shared, rests)


def test_a_moment_is_read_to_the_second_with_its_zone():
    assert words.moment("2025-11-21T10:02:03.123456+00:00") == "2025-11-21 10:02:03 UTC"


def test_a_share_of_nothing_is_zero():
    assert words.share(0, 0) == "0%"
    assert words.share(18_240, 2_410_113) == "0.757%"
