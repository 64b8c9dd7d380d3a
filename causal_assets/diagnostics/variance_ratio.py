"""Are the arms spread alike after weighting, not only alike in the mean?"""

from collections.abc import Mapping

from causal_assets.diagnostics.grading import above, diagnostic
from causal_assets.types import Diagnostic

REVIEW_RATIO = 2.0  # beyond it, or below its inverse, regression cannot be trusted to remove the rest (Rubin 2001)


def variance_ratio(ratios: Mapping[str, tuple[float, float]]) -> Diagnostic:
    """The covariate whose variance after weighting differs most between the arms; ``ratios`` are (before, after).

    Value is the larger variance over the smaller. Two arms may differ in spread without any bias: REVIEW at worst.

    Raises:
        ValueError: no covariate, or a ratio below 0 or that is no number.
    """
    if not ratios or not all(after >= 0 for _, after in ratios.values()):
        raise ValueError(f"ratios: expected at least one, and numbers from 0 on, got {dict(ratios)}")
    folds = {name: max(after, 1 / after) if after else float("inf") for name, (_, after) in ratios.items()}
    name = max(folds, key=lambda one: folds[one])
    before, after = ratios[name]
    return diagnostic(
        "variance_ratio",
        above(folds[name], review=REVIEW_RATIO),
        folds[name],
        f"After weighting the treated vary {after:.2f} times as much as the controls in {name} ({before:.2f} before), "
        f"the covariate of {len(ratios)} in which the arms' spread differs most.",
        "Let the propensity bend along this covariate (its square, its logarithm), or narrow the population.",
    )
