"""Could this permutation test reject at all?"""

from causal_assets.diagnostics.grading import diagnostic
from causal_assets.types import Diagnostic, Status

# Blocks that overlap the treated one share its effect, so small p-values need a history several blocks long.
SHORT_HISTORY = 40


def resolution(comparisons: int, level: float, *, pre_periods: int | None = None) -> Diagnostic:
    """Smallest p-value of a test that ranks the truth among ``comparisons``, against 1 - level.

    ``pre_periods`` is given for a test over blocks of time; below 40 of them it cannot be trusted to reach 5% even
    where the smallest p-value could.

    Raises:
        ValueError: fewer than one comparison.
    """
    if comparisons < 1:
        raise ValueError(f"comparisons: expected at least 1, got {comparisons}")
    smallest, alpha = 1 / comparisons, 1 - level
    cannot = smallest > alpha
    short = pre_periods is not None and pre_periods < SHORT_HISTORY
    message = f"The test ranks the truth among {comparisons}: p is at least {smallest:.2g}"
    if cannot:
        message += f", so it cannot reach {alpha:.0%} and its {level:.0%} set is the whole line"
    elif short:
        message += f"; with {pre_periods} periods before treatment, in practice it cannot reach {alpha:.0%}"
    return diagnostic(
        "resolution",
        (Status.REVIEW if cannot or short else Status.PASS, alpha),
        smallest,
        f"{message}.",
        "No rejection here says nothing: use more units or a longer history, or another design.",
    )
