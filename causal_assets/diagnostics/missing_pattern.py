"""Is what is missing related to the arm?"""

from collections.abc import Mapping

from causal_assets.diagnostics.grading import below, diagnostic, share
from causal_assets.types import Diagnostic

# As for sample ratio mismatch; adjusted for the number of columns, so these are the shares of healthy studies.
FAIL_P = 0.001
REVIEW_P = 0.01


def missing_pattern(missing: Mapping[str, tuple[int, int]], units: tuple[int, int], *, randomised: bool) -> Diagnostic:
    """Exact test (Fisher's, smaller tail doubled) of every column's missing values by arm, times the columns' number.

    ``missing`` counts by column, ``units`` are those of either arm, control first. What is known before assignment by
    chance cannot be missing by arm: FAIL. Where units were chosen it can, for a reason that is among the covariates or
    not: REVIEW, from the p-value on at which chance is out of the question.

    Raises:
        ValueError: no column, an arm without units, or more missing than units.
    """
    from scipy.stats import hypergeom

    if not missing:
        raise ValueError("missing: expected at least one column")
    found = {}
    for name, counts in missing.items():
        shares = tuple(share(m, n, f"missing {name}") for m, n in zip(counts, units, strict=True))
        in_treated = hypergeom(sum(units), units[1], sum(counts))
        p = 2 * min(in_treated.cdf(counts[1]), in_treated.sf(counts[1] - 1))
        found[name] = min(1.0, float(p) * len(missing)), *shares
    worst = min(found, key=lambda name: found[name][0])
    p, control, treated = found[worst]
    thresholds = {"review": REVIEW_P, "fail": FAIL_P} if randomised else {"review": FAIL_P}
    return diagnostic(
        "missing_pattern",
        below(p, **thresholds),
        p,
        f"Of {len(missing)} columns {worst} is missing least alike: in {control:.2%} of {units[0]:,} controls and "
        f"{treated:.2%} of {units[1]:,} treated; p = {p:.2g} for the largest of all if the arm does not matter.",
        "Rows with a gap are left out, so the arms compared are no longer those assigned: find why one arm has more, "
        "or leave the column out.",
    )
