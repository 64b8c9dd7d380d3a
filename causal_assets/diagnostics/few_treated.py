"""Are there enough treated units to see their own noise?"""

from causal_assets.diagnostics.grading import below, diagnostic
from causal_assets.types import Diagnostic

ENOUGH = 10  # from here on leaving out one treated unit at a time shows how they vary (Arkhangelsky et al. 2021)


def few_treated(treated: int) -> Diagnostic:
    """Number of treated units against the ten from which synthetic DiD takes its error from the treated themselves.

    Raises:
        ValueError: no treated unit.
    """
    if treated < 1:
        raise ValueError(f"treated: expected at least 1 unit, got {treated}")
    return diagnostic(
        "few_treated",
        below(treated, review=ENOUGH),
        treated,
        f"{treated} treated units: below {ENOUGH} the error is that of untreated units, right only if the treated are "
        "as noisy as they are.",
        "Compare the spread of the treated and the donors before treatment, and read the placebo test beside this.",
    )
