"""Does a synthetic control show an effect in periods before the treatment?"""

from collections.abc import Sequence

from causal_assets.diagnostics.grading import diagnostic
from causal_assets.types import Diagnostic, Estimate, Status

# Ranks among a few dozen units reach no smaller level than this.
REVIEW_P = 0.05
LARGE = 0.5  # half the size of the effect: what it shows would explain most of it


def placebo_periods(placebos: Sequence[Estimate], effect: Estimate, early: Estimate | None) -> Diagnostic:
    """Gaps in stretches before the treatment, the latest first, by the study's own weights fitted anew.

    REVIEW where the latest is extreme among untreated units, or among blocks of time. FAIL where all of two or more
    are, and the ``early`` gap between them and the treatment too, on one side, and the latest is at least half the size
    of the effect: the treated were leaving their donors before anything happened. Stretches of one series share the
    errors of its fit, so that two alone would be chance too often.

    Raises:
        ValueError: no placebo, or one without a p-value.
    """
    p_values = [placebo.p_value for placebo in placebos if placebo.p_value is not None]
    if not placebos or len(p_values) < len(placebos):
        raise ValueError("placebos: expected at least one, each with a p-value")
    latest = placebos[0]
    every = [*placebos, early] if early else []
    extremes = [e.p_value is not None and e.p_value <= REVIEW_P for e in every]
    leaving = len(every) > 2 and all(extremes) and len({e.value > 0 for e in every}) == 1
    large = abs(latest.value) >= LARGE * abs(effect.value)
    extreme = p_values[0] <= REVIEW_P
    status = Status.FAIL if leaving and large else Status.REVIEW if extreme else Status.PASS
    listed = "; ".join(f"{e.value:+.4g} (p = {p:.2g})" for e, p in zip(placebos, p_values, strict=True))
    return diagnostic(
        "placebo_in_time",
        (status, REVIEW_P),
        p_values[0],
        f"In stretches before the treatment, the latest first, the same weights miss the treated by {listed}; after it "
        f"by {effect.value:+.4g}.",
        "Add donors that move like the treated, or demean; do not read the gap as an effect.",
    )


def early_periods(early: Estimate, periods: int) -> Diagnostic:
    """The gap in the last ``periods`` before the treatment, the weights fitted on those before; REVIEW at most.

    Raises:
        ValueError: an estimate without a p-value.
    """
    if early.p_value is None:
        raise ValueError(f"early: {early.method} has no p-value")
    return diagnostic(
        "anticipation",
        (Status.REVIEW if early.p_value <= REVIEW_P else Status.PASS, REVIEW_P),
        early.p_value,
        f"In the last {periods} periods before the treatment the treated already differ by {early.value:+.4g} (p = "
        f"{early.p_value:.2g}).",
        "If it was known or leaked, start the study where it began.",
    )
