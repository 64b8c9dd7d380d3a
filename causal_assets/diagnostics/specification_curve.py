"""Does the answer hang on one of the choices that could have been made otherwise?"""

from collections.abc import Sequence

from causal_assets.diagnostics.grading import above, diagnostic
from causal_assets.types import Diagnostic, Estimate


def specification_curve(primary: Estimate, specifications: Sequence[Estimate]) -> Diagnostic:
    """Share of the declared specifications that contradict the answer, beside those of its sign and clear of zero.

    Two contradict each other if their signs are opposite and one of them excludes zero. All read the same data, so that
    agreement proves little and this never blocks.

    Source: Simonsohn, Simmons & Nelson (2020), Specification curve analysis, Nature Human Behaviour 4.

    Raises:
        ValueError: no specification.
    """
    if not specifications:
        raise ValueError("specifications: expected at least one")
    n = len(specifications)
    alike = [e for e in specifications if e.value * primary.value > 0]
    clear = [e for e in alike if not e.covers(0.0)]
    against = [e for e in specifications if e.value * primary.value < 0 and not (primary.covers(0.0) and e.covers(0.0))]
    values = sorted(e.value for e in specifications)
    worst = max(against, key=lambda e: abs(e.value), default=None)
    said = f"; against it most: {worst.method}, {worst.value:+.4g}" if worst else ""
    return diagnostic(
        "specification_curve",
        above(len(against) / n, review=0.0),
        len(against) / n,
        f"Of {n} specifications, from {values[0]:+.4g} to {values[-1]:+.4g}, {len(alike) / n:.0%} have the sign of the "
        f"answer ({primary.value:+.4g}), {len(clear) / n:.0%} are clear of zero on its side{said}.",
        "Find out which choice the sign hangs on, and argue for it before the outcome is read again.",
    )
