"""Did units choose their side of the cutoff?"""

from math import inf

from causal_assets.diagnostics.grading import below, diagnostic
from causal_assets.types import Diagnostic

# One healthy study in 20 is looked at, one in 500 stopped: several such checks stand beside each other.
REVIEW_P = 0.05
FAIL_P = 0.002


def manipulation(p_value: float, density_below: float, density_above: float) -> Diagnostic:
    """P-value of equal densities of the running variable on both sides of the cutoff, as from ``density_jump``.

    Raises:
        ValueError: a p-value outside [0, 1].
    """
    if not 0 <= p_value <= 1:
        raise ValueError(f"p_value: expected a number in [0, 1], got {p_value}")
    ratio = density_above / density_below if density_below > 0 else inf
    return diagnostic(
        "manipulation",
        below(p_value, review=REVIEW_P, fail=FAIL_P),
        p_value,
        f"Units are {ratio:.2f} times as dense just above the cutoff as just below (p = {p_value:.2g} for no jump).",
        "Ask who knew the cutoff and could move the running variable; look at a donut around it, or "
        "at units that could not choose.",
    )
