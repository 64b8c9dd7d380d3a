"""Would units that nothing happened to have shown an effect?"""

from causal_assets.diagnostics.grading import above, diagnostic
from causal_assets.types import Diagnostic

# Twice the promised rate of false findings: the interval is too short for outcomes like these.
TOO_OFTEN = 2.0


def placebo_units(rejected: float, level: float) -> Diagnostic:
    """Share of made-up treated groups among untreated units that show an effect, against twice 1 - ``level``.

    REVIEW at most: it judges the error, not the effect.

    Raises:
        ValueError: a share outside [0, 1].
    """
    if not 0 <= rejected <= 1:
        raise ValueError(f"rejected: expected a share from 0 to 1, got {rejected}")
    return diagnostic(
        "placebo_units",
        above(rejected, review=TOO_OFTEN * (1 - level)),
        rejected,
        f"Of made-up treated groups among untreated units {rejected:.1%} show an effect; promised are {1 - level:.0%}.",
        "A few units decide: look for outliers, transform the outcome, or use inference by randomisation.",
    )
