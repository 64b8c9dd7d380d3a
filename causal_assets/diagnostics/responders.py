"""Does anybody in particular respond more? The winner's predictions against realised effects, on a fold of its own."""

from collections.abc import Mapping

from causal_assets.diagnostics.grading import above, diagnostic
from causal_assets.types import Diagnostic

# One-sided error of the claim, over all treatments together.
ALPHA = 0.05


def responders(p_values: Mapping[str, float]) -> Diagnostic:
    """One-sided p-values by treatment, corrected for how many there are, that effects rise with their prediction.

    No claim is no fault, but a policy that treats by it would act on noise: REVIEW.

    Raises:
        ValueError: no treatment, or a p-value outside [0, 1].
    """
    if not p_values or not all(0 <= p <= 1 for p in p_values.values()):
        raise ValueError(f"p_values: expected one in [0, 1] per treatment, got {dict(p_values)}")
    found = [name for name, p in p_values.items() if p < ALPHA]
    told = ", ".join(f"{name} p = {p:.2g}" for name, p in p_values.items())
    says = f"Some units respond more to {' and '.join(found)}" if found else "Nobody in particular responds more"
    return diagnostic(
        "responders",
        above(min(p_values.values()), review=ALPHA),
        min(p_values.values()),
        f"{says}, as far as can be shown: {told} (one-sided, corrected for {len(p_values)} treatments).",
        "Treat all or none; or add features that could tell responders apart, and units to learn from.",
    )
