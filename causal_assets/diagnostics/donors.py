"""Does the answer hang on one donor?"""

from collections.abc import Mapping

from causal_assets.diagnostics.grading import above, diagnostic
from causal_assets.types import Diagnostic

# One donor that moves the effect by half its size could, with another shock of its own, be most of it.
MOVES = 0.5


def donors(effect: float, without: Mapping[str, float]) -> Diagnostic:
    """Largest change of the effect when a donor is left out, as a share of the effect; REVIEW at most.

    ``without`` has the effect after leaving out each donor that has weight.

    Raises:
        ValueError: no donor left out.
    """
    if not without:
        raise ValueError("without: expected the effect without each donor that has weight, got none")
    worst = max(without, key=lambda donor: abs(without[donor] - effect))
    moved = abs(without[worst] - effect)
    share = moved / abs(effect) if effect else float("inf") if moved else 0.0
    return diagnostic(
        "donors",
        above(share, review=MOVES),
        share,
        f"Leaving out one of {len(without)} donors at a time gives effects from {min(without.values()):+.4g} to "
        f"{max(without.values()):+.4g} (all donors: {effect:+.4g}); {worst} moves it most.",
        f"Look for a shock of its own in {worst} after the treatment, and say how the answer reads without it.",
    )
