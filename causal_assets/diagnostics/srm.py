"""Sample ratio mismatch: were units assigned in the planned shares?"""

from collections.abc import Mapping
from math import isclose

from causal_assets.diagnostics.grading import below, diagnostic
from causal_assets.types import Diagnostic

# Tested on every study and often daily, so the customary 5% would cry wolf; 1 in 1,000 is the field's convention.
FAIL_P = 0.001
REVIEW_P = 0.01


def srm(counts: Mapping[str, int], planned_shares: Mapping[str, float]) -> Diagnostic:
    """Chi-square test of units per arm against the planned shares.

    Source: Fabijan et al. (2019), Diagnosing sample ratio mismatch in online controlled experiments, KDD.

    Raises:
        ValueError: arms that differ, planned shares that are not positive or do not sum to 1, or no units.
    """
    from scipy.stats import chisquare

    if counts.keys() != planned_shares.keys():
        raise ValueError(f"planned_shares: expected the arms {sorted(counts)}, got {sorted(planned_shares)}")
    if min(planned_shares.values()) <= 0 or not isclose(sum(planned_shares.values()), 1.0, abs_tol=1e-9):
        raise ValueError(f"planned_shares: expected positive shares that sum to 1, got {dict(planned_shares)}")
    units = sum(counts.values())
    if units == 0:
        raise ValueError("counts: no units in any arm")
    arms = sorted(counts)
    p = float(chisquare([counts[a] for a in arms], [planned_shares[a] * units for a in arms]).pvalue)
    seen = ", ".join(f"{a} {counts[a] / units:.2%} (planned {planned_shares[a]:.2%})" for a in arms)
    return diagnostic(
        "srm",
        below(p, review=REVIEW_P, fail=FAIL_P),
        p,
        f"Of {units:,} units: {seen}; p = {p:.2g} if assignment worked as planned.",
        "Find where units of one arm are lost or added (redirects, bots, logging, filters) before reading any effect.",
    )
