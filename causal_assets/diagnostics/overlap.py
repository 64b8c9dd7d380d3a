"""Are there untreated units like the treated ones?"""

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.diagnostics.grading import above, below, diagnostic, share
from causal_assets.types import Diagnostic, Status

# Above this propensity fewer than one unit in nine is a control: the comparison is extrapolation (Crump et al. 2009).
NEAR_CERTAIN = 0.9
REVIEW_SHARE = 0.1  # a tenth of the treated without comparison: the answer is no longer about all of them
FAIL_SHARE = 0.5  # it is about a minority of them
REVIEW_ESS = 0.1  # nine controls in ten hardly count: the standard error rests on few units
FAIL_ESS = 0.01  # ninety-nine in a hundred


def overlap(propensity_of_treated: ArrayLike, effective_controls: float, controls: int) -> Diagnostic:
    """Share of treated with propensity above 0.9, and effective number of controls as a share of all controls.

    ``effective_controls`` is the effective sample size of the controls under the weights of the estimand shown. The
    worse of the two numbers is the diagnostic's value.

    Raises:
        ValueError: no treated unit, no control, or more effective controls than controls.
    """
    e = np.asarray(propensity_of_treated, dtype=np.float64)
    certain = share(int((e > NEAR_CERTAIN).sum()), e.size, "propensity_of_treated")
    if controls < 1 or not 0 <= effective_controls <= controls * (1 + 1e-9):
        raise ValueError(f"effective_controls: expected 0 to {controls} controls, got {effective_controls}")
    ess = effective_controls / controls
    by_share = above(certain, review=REVIEW_SHARE, fail=FAIL_SHARE)
    by_ess = below(ess, review=REVIEW_ESS, fail=FAIL_ESS)
    severity = list(Status)
    ess_decides = severity.index(by_ess[0]) > severity.index(by_share[0])
    return diagnostic(
        "overlap",
        by_ess if ess_decides else by_share,
        ess if ess_decides else certain,
        f"{certain:.0%} of the treated were almost certain to be treated (propensity above {NEAR_CERTAIN}); the "
        f"{controls:,} controls carry the information of {effective_controls:,.0f} ({ess:.1%}).",
        "Answer for the population where both arms occur (ATO), narrow eligibility, or hold out at random next time.",
    )
