"""Three studies as a memo meets them: one that ships, one nobody can identify, one too young to read."""

from dataclasses import replace
from typing import Any

import pytest

from causal_assets.designs.observational import ObservationalStudy
from causal_assets.designs.randomized import RandomizedExperiment
from causal_assets.memo.memo import MemoFacts
from causal_assets.types import Decision, Diagnostic, Estimate, Role, Standing, Status, Verdict


def estimate(outcome: str, value: float, low: float, high: float, **given: Any) -> Estimate:
    defaults: dict[str, Any] = {
        "estimand": "ATE",
        "method": "difference in means, CUPED",
        "std_error": 1.0,
        "p_value": 0.4 if low <= 0 <= high else 0.0004,
        "level": 0.95,
        "n_treated": 50_112,
        "n_control": 49_888,
        "control_mean": 10.0,
    }
    return Estimate(outcome=outcome, value=value, low=low, high=high, **(defaults | given))


def diagnostic(name: str, status: Status, message: str = "As expected.", next_step: str = "Nothing.") -> Diagnostic:
    return Diagnostic(name=name, status=status, value=0.031, threshold=0.1, message=message, next_step=next_step)


@pytest.fixture
def shipped() -> MemoFacts:
    """A randomised study of the planted world: clear, profitable, truth known."""
    return MemoFacts(
        study="personalised_home_page",
        design="randomised experiment",
        identification=RandomizedExperiment.identification,
        question="Does a personalised home page cause customers to spend more in the four weeks after seeing it?",
        intervention="Home page whose first row is chosen from each customer's own purchases",
        population="Customers with consent who opened the home page between 1 and 14 March",
        unit="customer",
        source="planted world, seed 7, 100,000 customers",
        protocol_hash="9f2c1ab04e7d",
        registered_at="2025-03-01T08:00:00+00:00",
        first_read_at="2025-04-12T06:00:00+00:00",
        standing=Standing.CONFIRMATORY,
        data_through="2025-04-11",
        arms=("standard", "personalised"),
        currency_outcomes=frozenset(
            {"revenue_28_days", "revenue_week_1", "revenue_week_2", "revenue_week_3", "revenue_week_4"}
        ),
        primary=estimate(
            "revenue_28_days",
            1.84,
            1.12,
            2.56,
            control_mean=31.2,
            relative=0.059,
            relative_low=0.0357,
            relative_high=0.0823,
        ),
        others=(
            (
                Role.SECONDARY,
                estimate(
                    "purchases_28_days",
                    0.0312,
                    0.0121,
                    0.0503,
                    control_mean=0.61,
                    relative=0.0511,
                    relative_low=0.02,
                    relative_high=0.083,
                ),
            ),
            (
                Role.GUARDRAIL,
                estimate(
                    "opened_emails",
                    -0.0011,
                    -0.0081,
                    0.0059,
                    control_mean=0.214,
                    relative=-0.005,
                    relative_low=-0.04,
                    relative_high=0.03,
                ),
            ),
            (Role.NEGATIVE_CONTROL, estimate("revenue_before", 0.02, -0.31, 0.35, control_mean=30.9)),
            (Role.OVER_TIME, estimate("revenue_week_1", 0.81, 0.44, 1.18, control_mean=7.9)),
            (Role.OVER_TIME, estimate("revenue_week_2", 0.52, 0.15, 0.89, control_mean=7.8)),
            (Role.OVER_TIME, estimate("revenue_week_3", 0.33, -0.04, 0.70, control_mean=7.8)),
            (Role.OVER_TIME, estimate("revenue_week_4", 0.18, -0.20, 0.56, control_mean=7.7)),
        ),
        alternatives=(estimate("revenue_28_days", 1.93, 0.88, 2.98, method="difference in means"),),
        diagnostics=(
            diagnostic("sample_ratio", Status.PASS),
            diagnostic("pre_period_balance", Status.PASS),
            diagnostic(
                "novelty",
                Status.REVIEW,
                "The effect falls from $0.81 in week 1 to $0.18 in week 4.",
                "Keep 5% as a holdout and read again after 12 weeks.",
            ),
        ),
        decision=Decision(
            verdict=Verdict.SHIP,
            grade="A",
            reasons=(
                "Profit per customer is above zero over its whole interval.",
                "Every guardrail is shown non-inferior.",
            ),
        ),
        cost_per_unit=0.12,
        value_per_outcome=0.35,
        profit=(0.524, 0.272, 0.776),
        data_loss=(("malformed event", 412), ("event from a bot", 18_240), ("unknown customer", 61)),
        rows_in=2_410_113,
        truth={"revenue_28_days": 1.75, "revenue_before": 0.0},
        what_would_change=("A holdout that shows no difference after twelve weeks.",),
        margins={"opened_emails": 0.01},
        balance=(("revenue_before", 0.004, None), ("visits_before", -0.011, None), ("days_since_visit", 0.002, None)),
    )


@pytest.fixture
def unidentified() -> MemoFacts:
    """The type A mailing of 8 May: a naive $276 that no comparison can hold."""
    spend = {"control_mean": 412.0, "n_treated": 824, "n_control": 1_159}
    return MemoFacts(
        study="coupon_mailing_may",
        design="observational target trial",
        identification=ObservationalStudy.identification,
        question="Did the personalised coupon mailing of 8 May cause households to spend more, and for how long?",
        intervention="Type A campaign: coupons chosen from each household's own purchases, by post",
        population="Households with a purchase before 8 May 2017 and no earlier type A mailing",
        unit="household",
        source="Complete Journey grocery data, 2017",
        protocol_hash="41d07be9c233",
        registered_at="2025-11-21T10:00:00+00:00",
        first_read_at="2025-11-21T10:02:00+00:00",
        standing=Standing.RETROSPECTIVE,
        data_through="2017-12-31",
        arms=("not mailed", "mailed"),
        currency_outcomes=frozenset(
            {"spend_4_weeks", "spend_8_weeks", "spend_12_weeks", "coupon_discount_4_weeks", "fuel_8_weeks"}
        ),
        primary=estimate(
            "spend_8_weeks",
            30.1,
            7.8,
            52.4,
            estimand="ATO",
            method="AIPW",
            p_value=0.008,
            relative=0.11,
            relative_low=0.03,
            relative_high=0.2,
            **spend,
        ),
        others=(
            (
                Role.SECONDARY,
                estimate(
                    "coupon_discount_4_weeks",
                    0.43,
                    0.06,
                    0.80,
                    estimand="ATO",
                    method="AIPW",
                    p_value=0.023,
                    **(spend | {"control_mean": 0.3}),
                ),
            ),
            (
                Role.NEGATIVE_CONTROL,
                estimate(
                    "fuel_8_weeks", 5.0, -0.3, 10.3, estimand="ATO", method="AIPW", **(spend | {"control_mean": 22.0})
                ),
            ),
            (Role.OVER_TIME, estimate("spend_4_weeks", 10.0, -3.7, 23.7, estimand="ATO", method="AIPW", **spend)),
            (Role.OVER_TIME, estimate("spend_12_weeks", 37.0, 4.7, 69.3, estimand="ATO", method="AIPW", **spend)),
        ),
        alternatives=(
            estimate("spend_8_weeks", 276.0, 247.0, 305.0, estimand="naive", method="difference in means", **spend),
            estimate("spend_8_weeks", 38.0, -13.9, 89.9, estimand="ATT", method="AIPW", **spend),
            estimate("spend_8_weeks", -11.2, -28.8, 6.4, estimand="ATT", method="difference-in-differences", **spend),
        ),
        diagnostics=(
            diagnostic(
                "bracket",
                Status.FAIL,
                "Sign not identified: +$30.10 by adjustment, -$11.20 by difference-in-differences.",
                "Randomise the next wave: hold out 10 to 20% of the eligible households.",
            ),
            diagnostic(
                "placebo_date",
                Status.REVIEW,
                "On 13 March, before any mailing, the same method finds +$36.",
                "Do not read the estimate as an effect.",
            ),
            diagnostic(
                "overlap",
                Status.REVIEW,
                "25% of the mailed have a propensity above 0.9, beside 14 not mailed.",
                "Read the overlap population only.",
            ),
            diagnostic("balance_after", Status.PASS),
        ),
        decision=Decision(
            verdict=Verdict.NOT_IDENTIFIED, grade="D", reasons=("bracket: the sign turns with the comparison group.",)
        ),
        cost_per_unit=1.0,
        value_per_outcome=0.25,
        profit=(6.5, 0.95, 12.1),
        data_loss=(),
        rows_in=1_469_307,
        truth={},
        what_would_change=("A wave in which 10 to 20% of the eligible households are held out at random.",),
        margins={},
        balance=tuple(
            (name, before, after)
            for name, before, after in (
                ("spend_28_0", 0.92, 0.01),
                ("spend_56_28", 0.97, 0.02),
                ("spend_all_56", 1.05, 0.0),
                ("trips", 0.71, -0.03),
                ("departments", 1.21, 0.02),
                ("coupons_used", 0.38, 0.04),
                ("tenure_days", 0.44, 0.0),
                ("days_since_purchase", -0.66, -0.05),
                ("earlier_b_or_c_mailings", 0.88, 0.12),
            )
        ),
        propensity=(
            [i / 10 for i in range(11)],
            [4, 9, 21, 33, 52, 81, 109, 138, 171, 206],
            [612, 188, 101, 77, 58, 45, 31, 20, 13, 14],
        ),
    )


@pytest.fixture
def running(shipped: MemoFacts) -> MemoFacts:
    """The same experiment two weeks in: no window has passed."""
    return replace(
        shipped,
        primary=None,
        profit=None,
        others=(),
        alternatives=(),
        first_read_at=None,
        truth={},
        diagnostics=shipped.diagnostics[:2],
        decision=Decision(verdict=Verdict.KEEP_RUNNING, grade="", days_left=12),
    )
