"""Do predicted effects come true? Tenths of units by their prediction, on the fold that nothing was learned from."""

from collections.abc import Mapping
from dataclasses import dataclass

from causal_assets.diagnostics.grading import below, diagnostic
from causal_assets.types import Diagnostic

# The policy is proven by its own value; this asks for a look only where predictions are clearly off.
REVIEW_P = 0.01


@dataclass(frozen=True)
class Gaps:
    """Sum over groups of (realised - predicted)^2 / variance, the number of groups, and the largest gap."""

    chi_square: float
    groups: int
    largest: float


def uplift_calibration(gaps: Mapping[str, Gaps]) -> Diagnostic:
    """Chi-square test by treatment that the groups' realised effects are the predicted ones, with Bonferroni.

    Raises:
        ValueError: no treatment.
    """
    from scipy.stats import chi2

    if not gaps:
        raise ValueError("gaps: expected at least one treatment, got none")
    p = {name: min(1.0, len(gaps) * float(chi2.sf(gap.chi_square, gap.groups))) for name, gap in gaps.items()}
    told = "; ".join(f"{name} p = {p[name]:.2g}, largest gap {gaps[name].largest:.3g}" for name in gaps)
    return diagnostic(
        "uplift_calibration",
        below(min(p.values()), review=REVIEW_P),
        min(p.values()),
        f"Predicted against realised effects by tenth of prediction: {told}.",
        "Look at the calibration plot; trust the ranking more than the sizes, and the policy's proven value most.",
    )
