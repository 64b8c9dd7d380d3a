"""Is the outcome too skewed for a normal interval at these sizes of the arms?"""

from collections.abc import Mapping
from math import inf, isfinite

from causal_assets.diagnostics.grading import above, diagnostic
from causal_assets.types import Diagnostic

# Units per squared skewness for a 95% interval to miss by at most 3.0% on a side instead of 2.5%:
# Kohavi, Deng, Longbotham & Xu (2014), Seven rules of thumb for web site experimenters, rule 7.
UNITS_PER_SQUARED_SKEWNESS = 355
REVIEW_RATIO = 1.0
FAIL_RATIO = 4.0  # misses by 3.4% on a side by the same expansion: every third false ship is the skewness's own


def skew(units: Mapping[str, int], skewness: Mapping[str, float], *, final: bool = True) -> Diagnostic:
    """355 times the squared skewness of the difference of two arms' means; above 1 its interval misses on one side.

    With third moments alike in both arms that skewness is g |1/n1 - 1/n0| / sqrt(1/n1 + 1/n0): nothing in arms of equal
    size, where long tails cancel, and g / sqrt(n) of the smaller arm beside a far larger one. g is the larger arm's
    skewness, which is known better. FAIL once ``final``: without an effect such a study ships far too often; before
    that REVIEW, since units still come.

    Raises:
        ValueError: not the same two arms, an arm without units, or a skewness that is no number.
    """
    if units.keys() != skewness.keys() or len(units) != 2 or min(units.values()) < 1:
        raise ValueError(f"units, skewness: expected the same two non-empty arms, got {dict(units)}, {dict(skewness)}")
    if not all(isfinite(g) for g in skewness.values()):
        raise ValueError(f"skewness: expected finite numbers, got {dict(skewness)}")
    small, large = sorted(units, key=lambda arm: units[arm])
    share = 1 / units[small], 1 / units[large]
    ratio = UNITS_PER_SQUARED_SKEWNESS * skewness[large] ** 2 * (share[0] - share[1]) ** 2 / sum(share)
    enough = f"need {ratio:.1f} times as many units" if ratio > REVIEW_RATIO else "are enough"
    return diagnostic(
        "skew",
        above(ratio, review=REVIEW_RATIO, fail=FAIL_RATIO if final else inf),
        ratio,
        f"The outcome has a skewness of {skewness[large]:.1f}; arms of {units[small]:,} ({small}) and "
        f"{units[large]:,} ({large}) {enough} for an interval that misses alike on both sides.",
        "The interval is too short on one side: give the arms equal shares, collect more units, or register a capped "
        "version of the outcome.",
    )
