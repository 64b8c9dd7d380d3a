"""Does the answer hang on one donor?"""

from collections.abc import Mapping
from math import isfinite

from causal_assets.diagnostics.grading import above, diagnostic
from causal_assets.types import Diagnostic, Estimate

# A donor that moves the effect by as much as its own error decides with chance what is found. A share of the effect
# would be no measure: where nothing happened any move is a large one.
MOVES = 1.0


def donors(found: Estimate, without: Mapping[str, float]) -> Diagnostic:
    """Largest change of the effect when a donor is left out, in standard errors; REVIEW at most.

    ``without`` has the effect after leaving out each donor that has weight. Where the effect's set is the whole line,
    nothing hangs on anything.

    Raises:
        ValueError: no donor left out.
    """
    if not without:
        raise ValueError("without: expected the effect without each donor that has weight, got none")
    worst = max(without, key=lambda donor: abs(without[donor] - found.value))
    moved = abs(without[worst] - found.value)
    share = moved / found.spread if isfinite(found.spread) and found.spread > 0 else 0.0
    turned = " and turns its sign" if without[worst] * found.value < 0 else ""
    return diagnostic(
        "donors",
        above(share, review=MOVES),
        share,
        f"Leaving out one of {len(without)} donors at a time gives effects from {min(without.values()):+.4g} to "
        f"{max(without.values()):+.4g} (all donors: {found.value:+.4g}); {worst} moves it most, by {share:.1f} errors"
        f"{turned}.",
        f"Look for a shock of its own in {worst} after the treatment, and say how the answer reads without it.",
    )
