"""Do the parts of the units that the protocol names respond differently?"""

from collections.abc import Mapping, Sequence

from causal_assets.diagnostics.grading import below, diagnostic
from causal_assets.types import Diagnostic, Estimate


def subgroups(p_values: Mapping[str, float], clear: Sequence[Estimate], parts: int) -> Diagnostic:
    """P-values by column of Cochran's test that its parts have one effect, the smallest times their number.

    ``clear`` are the parts whose effect is clear of zero among all ``parts``. Told, never graded: that parts differ is
    an answer, no fault, and one part that stands out among many is what chance does.

    Raises:
        ValueError: no column.
    """
    if not p_values:
        raise ValueError("p_values: expected at least one column")
    column = min(p_values, key=lambda one: p_values[one])
    p = min(1.0, p_values[column] * len(p_values))
    differ = f"parts by {column} differ most, p = {p:.2g} for the largest of {len(p_values)} if none does"
    named = "; ".join(f"{e.outcome} {e.value:+.4g} [{e.low:.4g}, {e.high:.4g}]" for e in clear) or "none"
    return diagnostic(
        "subgroups",
        below(p, review=0.0),
        p,
        f"Of the columns named, {differ}. Clear of zero counting all {parts} parts: {named}.",
        "Nothing to do.",
    )
