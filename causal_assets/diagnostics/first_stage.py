"""Does the instrument move the treatment?"""

from causal_assets.diagnostics.grading import below, diagnostic
from causal_assets.types import Diagnostic, Estimate

# Staiger & Stock (1997): below 10 the usual interval misleads. Ours is Anderson and Rubin's, which is right at any F,
# but wide. FAIL below 3.84, the 5% point of an instrument that moves nothing: the set is unbounded, whatever the data.
REVIEW_F = 10.0
FAIL_F = 3.84


def first_stage(strength: float, stage: Estimate | None = None) -> Diagnostic:
    """Robust F of the first stage (effective F of several instruments); ``stage`` is its estimate, for the message.

    Raises:
        ValueError: a negative F.
    """
    if not strength >= 0:
        raise ValueError(f"strength: an F is not negative, got {strength}")
    moved = "" if stage is None else f"The instrument moves {stage.outcome} by {stage.value:+.4g}. "
    return diagnostic(
        "first_stage",
        below(strength, review=REVIEW_F, fail=FAIL_F),
        strength,
        f"{moved}First-stage F is {strength:.1f}.",
        "Read the interval as it stands, it allows for this; for a sharper answer encourage more strongly.",
    )
