"""Is there an effect before there can be one?"""

from causal_assets.diagnostics.grading import diagnostic
from causal_assets.types import Diagnostic, Estimate, Status

# Chance alone asks for a look in one healthy study of 50, and stops one in 500.
REVIEW_P = 0.02
FAIL_P = 0.002
LARGE = 0.5  # half the size of the effect: what it shows would explain most of it


def placebo_in_time(placebo: Estimate, effect: Estimate) -> Diagnostic:
    """The study at a date when nothing happened; value is the placebo's p-value.

    For designs whose units were not chosen on the outcomes before treatment; elsewhere ``placebo_date``. FAIL needs a
    placebo that chance does not explain and that is at least half the size of the effect.

    Raises:
        ValueError: a placebo without a p-value.
    """
    return _before(
        "placebo_in_time",
        placebo,
        effect,
        "At an earlier date, when nothing happened,",
        "What drove the arms apart then may drive them apart now: compare with units that moved alike, or randomise.",
    )


def anticipation(early: Estimate, effect: Estimate) -> Diagnostic:
    """The last periods before treatment against those before them; value is the p-value, graded as the placebo.

    Raises:
        ValueError: an estimate without a p-value.
    """
    return _before(
        "anticipation",
        early,
        effect,
        "Just before treatment",
        "If units knew what was coming, or were chosen for a bad period, take an earlier base (anticipation).",
    )


def _before(name: str, early: Estimate, effect: Estimate, when: str, next_step: str) -> Diagnostic:
    if early.p_value is None:
        raise ValueError(f"{name}: {early.method} has no p-value")
    large = abs(early.value) >= LARGE * abs(effect.value)
    fails = large and early.p_value < FAIL_P
    status = Status.FAIL if fails else Status.REVIEW if early.p_value < REVIEW_P else Status.PASS
    return diagnostic(
        name,
        (status, FAIL_P if fails else REVIEW_P),
        early.p_value,
        f"{when} the treated differ by {early.value:+.4g} ({early.low:.4g} to {early.high:.4g}, p = "
        f"{early.p_value:.2g}), at the date of the treatment by {effect.value:+.4g}.",
        next_step,
    )
