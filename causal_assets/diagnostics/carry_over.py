"""Does the block before still act in this one?"""

from causal_assets.diagnostics.grading import below, diagnostic
from causal_assets.types import Diagnostic, Estimate

# As for sample ratio mismatch: which arm ran before is chance, so that its effect is chance or carry-over.
FAIL_P = 0.001
REVIEW_P = 0.01


def carry_over(of_the_block_before: Estimate) -> Diagnostic:
    """The effect of the arm of the block before, after the burn-in.

    Raises:
        ValueError: an estimate without a p-value.
    """
    p = of_the_block_before.p_value
    if p is None:
        raise ValueError(f"of_the_block_before: {of_the_block_before.outcome} has no p-value to grade")
    return diagnostic(
        "carry_over",
        below(p, review=REVIEW_P, fail=FAIL_P),
        p,
        f"Blocks that follow a treated one differ by {of_the_block_before.value:+.4g} "
        f"[{of_the_block_before.low:.4g}, {of_the_block_before.high:.4g}] from those that follow an untreated one; "
        f"p = {p:.2g} if nothing is carried over.",
        "Leave out more periods after each switch (burn_in), or switch in longer blocks.",
    )
