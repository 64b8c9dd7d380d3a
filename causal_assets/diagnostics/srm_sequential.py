"""Sample ratio mismatch, looked at on every day of enrolment."""

from collections.abc import Sequence

import numpy as np

from causal_assets.diagnostics.grading import below, diagnostic
from causal_assets.types import Diagnostic

FAIL_P = 0.001  # as for the fixed test, and here of ever, on any day
REVIEW_P = 0.01
# Shares a priori as close to the plan as if so many units had been seen: from broken randomisers to losses of a
# percent. Each is a test of its own, so is their mean, and whichever fits the mismatch gives it power.
CONCENTRATIONS = (100.0, 1_000.0, 10_000.0, 100_000.0)


def always_valid_p(counts: Sequence[Sequence[int]], planned: Sequence[float]) -> list[float]:
    """P-values after each batch: over all looks together, the chance that one ever falls below alpha is at most alpha.

    ``counts`` (looks, arms) are the units of each batch, ``planned`` (arms,) the shares. The smallest inverse Bayes
    factor so far of Dirichlet shares around the plan, mixed over how near it, against the plan.

    Source: Lindon & Malek (2022), Anytime-valid inference for multinomial count data, NeurIPS.

    Raises:
        ValueError: batches without a count per arm, or planned shares that are not positive or do not sum to 1.
    """
    from scipy.special import gammaln, logsumexp

    plan = np.asarray(planned, dtype=np.float64)
    seen = np.asarray(counts, dtype=np.float64).reshape(-1, plan.size).cumsum(axis=0)
    if not (plan.min() > 0 and abs(plan.sum() - 1) < 1e-9):
        raise ValueError(f"planned: expected positive shares that sum to 1, got {plan.tolist()}")
    log_factors = [
        (gammaln(near * plan + seen) - gammaln(near * plan)).sum(axis=1)
        - (gammaln(near + seen.sum(axis=1)) - gammaln(near))
        - seen @ np.log(plan)
        for near in CONCENTRATIONS
    ]
    log_factor = logsumexp(log_factors, axis=0) - np.log(len(CONCENTRATIONS))
    return np.exp(-np.maximum.accumulate(log_factor, axis=0).clip(min=0.0)).tolist()


def srm_sequential(days: Sequence[str], counts: Sequence[Sequence[int]], planned: Sequence[float]) -> Diagnostic:
    """The smallest always-valid p-value up to the last of ``days``; unlike the fixed test, it may be read daily.

    ``counts`` (days, arms) are the units assigned on each day. A mismatch of a few days is not forgotten as others
    pass.

    Raises:
        ValueError: no day, or as ``always_valid_p``.
    """
    if not days or len(days) != len(counts):
        raise ValueError(f"days: expected at least one, each with its counts, got {len(days)} and {len(counts)}")
    p = always_valid_p(counts, planned)
    first = next((day for day, reached in zip(days, p, strict=True) if reached < REVIEW_P), None)
    when = f"from {first} on" if first else "on no day"
    return diagnostic(
        "srm_sequential",
        below(p[-1], review=REVIEW_P, fail=FAIL_P),
        p[-1],
        f"Looked at on each of {len(days)} days from {days[0]} on, assignment is out of its planned shares {when}; "
        f"p = {p[-1]:.2g} over all looks together if it worked as planned.",
        "Find what changed in assignment or logging by that day, before reading any effect.",
    )
