"""How much of the raw data is not in the estimate?"""

from causal_assets.diagnostics.grading import above, diagnostic, share
from causal_assets.types import Diagnostic

REVIEW_SHARE = 0.01  # about the size of the effects that are looked for
FAIL_SHARE = 0.1  # more than any effect that is looked for


def data_loss(rows_lost: int, rows_in: int) -> Diagnostic:
    """Share of raw rows that were quarantined or set aside.

    Raises:
        ValueError: no rows, or more rows lost than came in.
    """
    lost = share(rows_lost, rows_in, "data_loss")
    return diagnostic(
        "data_loss",
        above(lost, review=REVIEW_SHARE, fail=FAIL_SHARE),
        lost,
        f"{rows_lost:,} of {rows_in:,} raw rows ({lost:.2%}) are in quarantine or set aside.",
        "Read the reasons in quarantine, repair the source or its contract, and replay the rows.",
    )
