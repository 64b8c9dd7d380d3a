"""Did the arms lose their outcomes alike?"""

from collections.abc import Mapping

from causal_assets.diagnostics.grading import below, diagnostic, share
from causal_assets.types import Diagnostic

# As for sample ratio mismatch, which this is for the units that are analysed.
FAIL_P = 0.001
REVIEW_P = 0.01


def attrition(observed: Mapping[str, int], assigned: Mapping[str, int], *, randomised: bool = True) -> Diagnostic:
    """Chi-square test that units with an outcome are the same share of the assigned units in every arm.

    Nothing lost anywhere passes. Where units were chosen, the arms may lose outcomes for a reason that is among the
    covariates: REVIEW, from the p-value on at which chance is out of the question.

    Source: Gerber & Green (2012), Field Experiments, ch. 7.

    Raises:
        ValueError: arms that differ, fewer than two arms, an arm without units, or more outcomes than units.
    """
    from scipy.stats import chi2_contingency

    if observed.keys() != assigned.keys() or len(assigned) < 2:
        raise ValueError(f"observed: expected the same two or more arms, got {sorted(observed)}, {sorted(assigned)}")
    arms = sorted(assigned)
    rates = {arm: share(observed[arm], assigned[arm], f"attrition in {arm}") for arm in arms}
    kept, lost = [observed[arm] for arm in arms], [assigned[arm] - observed[arm] for arm in arms]
    p = float(chi2_contingency([kept, lost], correction=False)[1]) if sum(kept) and sum(lost) else 1.0
    seen = ", ".join(f"{arm} {rates[arm]:.2%} of {assigned[arm]:,}" for arm in arms)
    return diagnostic(
        "attrition",
        below(p, review=REVIEW_P, fail=FAIL_P) if randomised else below(p, review=FAIL_P),
        p,
        f"Units with an outcome: {seen}; p = {p:.2g} if treatment does not move who is observed.",
        "Find why one arm loses more outcomes; until then read bounds (Lee, Manski), not the difference.",
    )
