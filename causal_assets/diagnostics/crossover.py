"""Did the controls stay controls for as long as the outcome was measured?"""

from causal_assets.diagnostics.grading import above, diagnostic, share
from causal_assets.types import Diagnostic

REVIEW_SHARE = 0.05  # with one control in twenty treated, the effect of treatment is understated by about as much


def crossover(controls_treated: int, controls: int) -> Diagnostic:
    """Share of controls that were treated inside the primary outcome's window.

    Raises:
        ValueError: no control, or more treated ones than controls.
    """
    crossed = share(controls_treated, controls, "crossover")
    return diagnostic(
        "crossover",
        above(crossed, review=REVIEW_SHARE),
        crossed,
        f"{controls_treated:,} of {controls:,} controls ({crossed:.1%}) were treated inside the outcome window.",
        "Read the effect as that of being treated at time zero rather than later, or shorten the window.",
    )
