"""Were the arms alike before treatment?"""

from collections.abc import Mapping

from causal_assets.diagnostics.grading import above, below, diagnostic
from causal_assets.types import Diagnostic

# Randomised arms differ by chance alone, so only the omnibus test counts: 1 study in 1,000 fails by chance.
FAIL_P = 0.001
REVIEW_P = 0.01
# Weighted arms should not differ: 0.1 SD is negligible (Austin 2009), beyond 0.25 SD regression cannot be trusted to
# remove the rest (Rubin 2001).
REVIEW_SMD = 0.1
FAIL_SMD = 0.25


def _largest(differences: Mapping[str, float]) -> tuple[str, float]:
    if not differences:
        raise ValueError("differences: balance needs at least one covariate")
    return max(differences.items(), key=lambda item: abs(item[1]))


def randomized_balance(differences: Mapping[str, float], p_value: float) -> Diagnostic:
    """Pre-period covariates of randomised arms: ``differences`` in SD by covariate, ``p_value`` of the omnibus test.

    Raises:
        ValueError: no covariate.
    """
    name, worst = _largest(differences)
    return diagnostic(
        "balance",
        below(p_value, review=REVIEW_P, fail=FAIL_P),
        p_value,
        f"Before assignment the arms differ most in {name}, by {worst:+.3f} SD; "
        f"p = {p_value:.2g} for all {len(differences)} covariates together if assignment was random.",
        "Check that covariates are measured before assignment and that assignment does not depend on the unit.",
    )


def weighted_balance(differences: Mapping[str, float]) -> Diagnostic:
    """Covariates of an observational study after weighting: ``differences`` in SD by covariate.

    Raises:
        ValueError: no covariate.
    """
    name, worst = _largest(differences)
    return diagnostic(
        "balance",
        above(abs(worst), review=REVIEW_SMD, fail=FAIL_SMD),
        abs(worst),
        f"After weighting the arms differ most in {name}, by {worst:+.3f} SD, over {len(differences)} covariates.",
        "Improve the propensity model for this covariate, or narrow the population to where the arms are alike.",
    )
