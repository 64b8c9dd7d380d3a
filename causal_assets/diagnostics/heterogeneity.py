"""Is one pooled number a fair summary of several studies?"""

from causal_assets.diagnostics.grading import below, diagnostic
from causal_assets.types import Diagnostic

# Cochran's test has little power with few studies, so a tenth is the custom; it asks for a look and never blocks.
REVIEW_P = 0.1


def heterogeneity(
    *, studies: int, q_p_value: float, i2: float, predicted_low: float, predicted_high: float
) -> Diagnostic:
    """P-value of Cochran's test that all studies have one effect, with what it means for the next study.

    Source: Higgins, Thompson & Spiegelhalter (2009), A re-evaluation of random-effects meta-analysis, JRSS A 172(1).

    Raises:
        ValueError: a p-value or share outside [0, 1].
    """
    for name, number in (("q_p_value", q_p_value), ("i2", i2)):
        if not 0.0 <= number <= 1.0:
            raise ValueError(f"{name}: expected 0 to 1, got {number}")
    sign = "either sign" if predicted_low < 0 < predicted_high else "the same sign as the mean"
    return diagnostic(
        "heterogeneity",
        below(q_p_value, review=REVIEW_P),
        q_p_value,
        f"Across {studies} studies {i2:.0%} of the variance is real difference (p = {q_p_value:.2g} that none is); the "
        f"next such study's true effect is expected from {predicted_low:.4g} to {predicted_high:.4g}, {sign}.",
        "Decide study by study, or find out what makes them differ, before applying the mean to a new one.",
    )
