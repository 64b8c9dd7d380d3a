"""Two designs whose assumptions fail in opposite directions: do they agree on the sign?"""

from math import hypot

from causal_assets.diagnostics.grading import diagnostic
from causal_assets.types import Diagnostic, Estimate, Status

# Differences between two estimates larger than this many joint standard errors are not noise (5%). The joint error
# ignores that both read the same outcomes, so the check is stricter than 5% in a healthy study.
NOISE = 1.96


def bracket(adjusted: Estimate, did: Estimate) -> Diagnostic:
    """Adjustment for lagged outcomes beside 2x2 difference-in-differences; value is their distance in joint errors.

    If treatment was chosen on past outcomes, or if both arms would have moved in parallel, the truth lies between
    them. Opposite signs beyond noise therefore leave the sign open: FAIL. Opposite signs within noise where one of them
    is told from zero, or one sign but sizes apart beyond noise (one of the two is wrong, and which is not in the data):
    REVIEW. Where neither is told from zero, no sign is claimed, and signs that differ by noise mean nothing.

    Sources: Angrist & Pischke (2009), sec. 5.4; Ding & Li (2019), A bracketing relationship, Political Analysis 27(4).
    """
    distance = abs(adjusted.value - did.value) / hypot(adjusted.spread, did.spread)
    opposite = adjusted.value * did.value < 0
    apart = distance > NOISE
    signed = any(not e.low <= 0 <= e.high for e in (adjusted, did))
    status, verdict = {
        (False, False): (Status.PASS, "they agree"),
        (False, True): (Status.REVIEW, "they agree on the sign, not on the size"),
        (True, False): (Status.REVIEW if signed else Status.PASS, "the signs differ by no more than noise"),
        (True, True): (Status.FAIL, "the sign is not identified"),
    }[opposite, apart]
    return diagnostic(
        "bracket",
        (status, NOISE),
        distance,
        f"Adjusted for past outcomes the effect is {adjusted.value:+.4g} (SE {adjusted.spread:.3g}), by "
        f"difference-in-differences {did.value:+.4g} (SE {did.spread:.3g}): {verdict}.",
        "Act on neither number; randomise the next treatment.",
    )
