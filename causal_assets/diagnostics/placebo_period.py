"""Does the study's own comparison find an effect before there was a treatment?"""

from causal_assets.diagnostics.grading import below, diagnostic
from causal_assets.types import Diagnostic, Estimate

# As for sample ratio mismatch: chance assigned the arms, so that any difference before is chance or a fault.
FAIL_P = 0.001
REVIEW_P = 0.01


def placebo_period(before: Estimate) -> Diagnostic:
    """The difference between randomised arms in the primary metric over as many days before assignment (A/A).

    Raises:
        ValueError: an estimate without a p-value.
    """
    if before.p_value is None:
        raise ValueError(f"before: {before.outcome} has no p-value to grade")
    return diagnostic(
        "placebo_period",
        below(before.p_value, review=REVIEW_P, fail=FAIL_P),
        before.p_value,
        f"Before assignment the arms differ by {before.value:+.4g} [{before.low:.4g}, {before.high:.4g}] in the "
        f"primary metric, over as many days as it is measured; p = {before.p_value:.2g} if assignment was random.",
        "Find out whether units were assigned by what they did, or treated before their assignment was recorded.",
    )
