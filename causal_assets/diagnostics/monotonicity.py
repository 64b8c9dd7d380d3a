"""Does the instrument push everybody the same way, and the outcome through the treatment alone?"""

from collections.abc import Mapping

from causal_assets.diagnostics.grading import below, diagnostic
from causal_assets.types import Diagnostic, Estimate

# Of all parts together (Bonferroni), one-sided. The first is a hint about averages of parts, so REVIEW at most; the
# second is implied by the assumptions, whatever else holds.
REVIEW_P = 0.02
FAIL_P = 0.002


def monotonicity(stage: Estimate, parts: Mapping[str, Estimate]) -> Diagnostic:
    """P-value that the first stage has the same sign in all parts of the rows as in all of them, times their number.

    A part that is pushed away from the treatment holds defiers; that none is does not show that there are none.

    Source: Angrist, Imbens & Rubin (1996), JASA 91(434), condition 5.

    Raises:
        ValueError: no part.
    """
    from scipy.stats import norm

    if not parts:
        raise ValueError("parts: expected the first stage in at least one part of the rows")
    sign = 1.0 if stage.value >= 0 else -1.0
    worst = min(parts, key=lambda name: sign * parts[name].value / parts[name].spread)
    against = parts[worst]
    p = min(1.0, len(parts) * float(norm.cdf(sign * against.value / against.spread)))
    return diagnostic(
        "monotonicity",
        below(p, review=REVIEW_P),
        p,
        f"The instrument moves {stage.outcome} by {stage.value:+.4g} in all, and least that way where {worst}: by "
        f"{against.value:+.4g} (SE {against.spread:.2g}; p = {p:.2g} if no part is pushed the other way).",
        "Some are pushed away from the treatment: answer for the others, or model why.",
    )


def density(p_value: float, between: tuple[float, float]) -> Diagnostic:
    """Kitagawa's test, as from ``shrinking_density``.

    Raises:
        ValueError: a p-value outside [0, 1].
    """
    if not 0 <= p_value <= 1:
        raise ValueError(f"p_value: expected a number in [0, 1], got {p_value}")
    return diagnostic(
        "instrument_validity",
        below(p_value, review=REVIEW_P, fail=FAIL_P),
        p_value,
        f"Outcomes from {between[0]:.4g} to {between[1]:.4g} speak most against the instrument: p = {p_value:.2g} if "
        "it is random, acts through the treatment alone and pushes nobody away from it.",
        "One of the three is wrong: look for other ways from the instrument to the outcome.",
    )
