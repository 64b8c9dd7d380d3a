"""Which of several findings stand once it is counted how many were looked at?"""

from collections.abc import Sequence

from causal_assets.diagnostics.grading import above, diagnostic
from causal_assets.types import Diagnostic, Estimate


def multiplicity(estimates: Sequence[Estimate], adjusted: Sequence[float]) -> Diagnostic:
    """How many secondary findings are clear of zero alone and no longer among all, by their ``adjusted`` p-values.

    Told, never graded: the primary outcome is the one that decides, and of several outcomes without an effect one
    moves by chance as often as it should.

    Raises:
        ValueError: not one adjusted p-value per estimate, or one below the estimate's own.
    """
    own = [1.0 if e.p_value is None else e.p_value for e in estimates]
    if len(own) != len(adjusted) or any(a < p * (1 - 1e-9) for a, p in zip(adjusted, own, strict=False)):
        raise ValueError(
            f"adjusted: expected one p-value per estimate, none below its own, got {list(adjusted)}, {own}"
        )
    rows = list(zip(estimates, own, adjusted, strict=True))
    stand = [f"{e.outcome} (p = {a:.2g})" for e, _, a in rows if a <= 1 - e.level]
    fall = [f"{e.outcome} (p = {p:.2g}, among all {a:.2g})" for e, p, a in rows if p <= 1 - e.level < a]
    said = f"Of {len(rows)} secondary outcomes and guardrails "
    said += (
        f"these differ from zero counting them all (Holm): {', '.join(stand)}" if stand else "none differs from zero"
    )
    said += "" if stand else " counting them all (Holm)"
    return diagnostic(
        "multiplicity",
        above(len(fall), review=len(rows)),  # never more
        len(fall),
        said + (f"; alone also {', '.join(fall)}, which so many outcomes show by chance." if fall else "."),
        "Nothing to do.",
    )
