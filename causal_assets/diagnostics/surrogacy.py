"""May a short experiment speak for the long term?"""

from causal_assets.diagnostics.grading import above, below, diagnostic, share
from causal_assets.types import Diagnostic, Estimate, Status

# Units beyond 99% of the history are 1% where experiment and history are alike; the index extrapolates for the others.
REVIEW_OUTSIDE = 0.05
FAIL_OUTSIDE = 0.5
# A false alarm in 500 healthy studies blocks one; 5% asks for a look.
FAIL_P = 0.002
REVIEW_P = 0.05


def surrogate_support(outside: int, units: int) -> Diagnostic:
    """Share of the experiment's ``units`` whose short-term outcomes lie beyond 99% of the history.

    Raises:
        ValueError: no unit, or more units outside than there are.
    """
    value = share(outside, units, "outside")
    return diagnostic(
        "surrogate_support",
        above(value, review=REVIEW_OUTSIDE, fail=FAIL_OUTSIDE),
        value,
        f"{value:.1%} of the experiment's units have short-term outcomes beyond 99% of the history (1% is healthy): "
        "for them the index extrapolates.",
        "Learn the index from a history of customers like these, or restrict the experiment to whom history knows.",
    )


def surrogacy(explained: float, back_test: Estimate | None) -> Diagnostic:
    """Is the long-term effect carried by the surrogates alone (surrogacy), as in the history (comparability)?

    ``explained`` is the share of the long-term variance that the index explains in the history. Without a
    ``back_test`` nothing in the data can tell, so the answer is for review at best; a high share does not help. With
    one, 0 must be in its interval.

    Raises:
        ValueError: a share outside [0, 1], or a back-test without a p-value.
    """
    if not 0.0 <= explained <= 1.0:
        raise ValueError(f"explained: expected a share from 0 to 1, got {explained}")
    if back_test is None:
        return diagnostic(
            "surrogacy",
            (Status.REVIEW, 1.0),
            explained,
            f"The index explains {explained:.0%} of the long-term outcome in the history. That treatment works on the "
            "long term through these short-term outcomes only, and that the history's relation still holds, is "
            "assumed: no earlier experiment with a known long-term outcome was given to test it.",
            "Give an experiment whose long-term outcome is known, or wait for this one's before acting at scale.",
        )
    if back_test.p_value is None:
        raise ValueError("back_test: expected an estimate with a p-value")
    return diagnostic(
        "surrogacy",
        below(back_test.p_value, review=REVIEW_P, fail=FAIL_P),
        back_test.p_value,
        f"Where the long-term outcome is known, the surrogates miss {back_test.value:+.4g} of the effect "
        f"({back_test.low:.4g} to {back_test.high:.4g}, p = {back_test.p_value:.2g}).",
        "Add the short-term outcomes through which the treatment also works, or report the observed long-term effect.",
    )
