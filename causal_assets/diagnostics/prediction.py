"""Was the log of who would have been served kept alike in both arms?"""

from math import sqrt

from causal_assets.diagnostics.grading import below, diagnostic, share
from causal_assets.types import Diagnostic

# As for a sample-ratio mismatch: the arms are random, so the prediction may differ by chance alone.
REVIEW_P = 0.01
FAIL_P = 0.001


def prediction(predicted_treated: int, treated: int, predicted_control: int, control: int) -> Diagnostic:
    """P-value of equal shares of predicted-exposed users in both arms.

    Source: Johnson, Lewis & Nubbemeyer (2017), Ghost ads, sec. 4.3.

    Raises:
        ValueError: an empty arm, or more predicted users than users.
    """
    from scipy.stats import norm

    rates = (
        share(predicted_treated, treated, "predicted_treated"),
        share(predicted_control, control, "predicted_control"),
    )
    pooled = (predicted_treated + predicted_control) / (treated + control)
    error = sqrt(pooled * (1 - pooled) * (1 / treated + 1 / control))
    p = float(2 * norm.sf(abs(rates[0] - rates[1]) / error)) if error else 1.0
    return diagnostic(
        "prediction",
        below(p, review=REVIEW_P, fail=FAIL_P),
        p,
        f"The log would have served {rates[0]:.2%} of the treated and {rates[1]:.2%} of the control users "
        f"(p = {p:.2g} if the rule is blind to the arm).",
        "Log the decision to serve before the arm is known; until then only the effect on all users can be trusted.",
    )
