"""Do several instruments tell of one effect?"""

from causal_assets.diagnostics.grading import below, diagnostic
from causal_assets.types import Diagnostic

# The usual level of the test. It asks for a look and never blocks: instruments that are all right may still have
# compliers whose effects differ, and instruments that are wrong alike pass.
REVIEW_P = 0.05


def overidentification(instruments: int, j: float, p_value: float) -> Diagnostic:
    """P-value of Hansen's J: that every instrument is valid and moves units of the same effect.

    Source: Hansen (1982), Econometrica 50(4); Parente & Santos Silva (2012), A cautionary note on tests of
    overidentifying restrictions, Economics Letters 115(2), for what it cannot see.

    Raises:
        ValueError: fewer than two instruments, a negative J, or a p-value outside [0, 1].
    """
    if instruments < 2 or not j >= 0 or not 0.0 <= p_value <= 1.0:
        raise ValueError(
            f"instruments, j, p_value: expected at least 2, from 0, and 0 to 1, got {instruments}, {j}, {p_value}"
        )
    return diagnostic(
        "overidentification",
        below(p_value, review=REVIEW_P),
        p_value,
        f"If all {instruments} instruments were valid and told of one effect, answers as far apart as theirs would "
        f"have probability {p_value:.2g} (Hansen's J = {j:.3g}).",
        "Estimate by each instrument alone and find out which differs, and whether it touches the outcome directly.",
    )
