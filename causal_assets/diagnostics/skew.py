"""Is the outcome too skewed for a normal interval at this sample size?"""

from collections.abc import Mapping

from causal_assets.diagnostics.grading import above, diagnostic
from causal_assets.types import Diagnostic

# Units per squared skewness for a 95% interval to miss by at most 3.0% on a side instead of 2.5%:
# Kohavi, Deng, Longbotham & Xu (2014), Seven rules of thumb for web site experimenters, rule 7.
UNITS_PER_SQUARED_SKEWNESS = 355


def skew(units: Mapping[str, int], skewness: Mapping[str, float]) -> Diagnostic:
    """Units per arm against 355 times the squared skewness of the outcome in that arm; value is the worst ratio.

    Raises:
        ValueError: arms that differ, or an arm without units.
    """
    if units.keys() != skewness.keys() or min(units.values(), default=0) < 1:
        raise ValueError(f"units, skewness: expected the same non-empty arms, got {dict(units)}, {dict(skewness)}")
    needed = {arm: UNITS_PER_SQUARED_SKEWNESS * skewness[arm] ** 2 for arm in units}
    worst = max(units, key=lambda arm: needed[arm] / units[arm])
    ratio = needed[worst] / units[worst]
    return diagnostic(
        "skew",
        above(ratio, review=1.0),
        ratio,
        f"Arm {worst} has {units[worst]:,} units; skewness {skewness[worst]:.1f} needs {needed[worst]:,.0f}.",
        "Read the interval as too short on one side: collect more units, or register a capped version of the outcome.",
    )
