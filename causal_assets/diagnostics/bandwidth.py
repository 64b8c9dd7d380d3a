"""Does the answer at the cutoff depend on how far from it units are counted?"""

from collections.abc import Mapping

from causal_assets.diagnostics.grading import above, diagnostic
from causal_assets.types import Diagnostic, Estimate

# The estimates share their rows, so a healthy one moves by far less than the larger of two errors.
REVIEW_Z = 1.96


def bandwidth(main: Estimate, others: Mapping[float, Estimate]) -> Diagnostic:
    """Largest move of the estimate over multiples of the bandwidth, in the larger of the two standard errors.

    REVIEW at most: a wide bandwidth bends, a narrow one shakes, in healthy studies too. Without any other bandwidth at
    which the effect can be estimated, REVIEW.
    """
    if not others:
        return diagnostic(
            "bandwidth",
            above(1.0, review=0.0),
            0.0,
            "The effect can be estimated at one bandwidth only.",
            "Collect more units near the cutoff.",
        )
    moves = {multiple: abs(e.value - main.value) / max(e.spread, main.spread) for multiple, e in others.items()}
    worst = max(moves, key=lambda multiple: moves[multiple])
    listed = ", ".join(f"{e.value:+.4g} at {multiple:g}x" for multiple, e in sorted(others.items()))
    return diagnostic(
        "bandwidth",
        above(moves[worst], review=REVIEW_Z),
        moves[worst],
        f"The effect is {main.value:+.4g} at the chosen bandwidth; {listed}. The largest move is "
        f"{moves[worst]:.1f} standard errors.",
        "Plot the outcome against the running variable; trust the narrower bandwidth if the curve bends.",
    )
