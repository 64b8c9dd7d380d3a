"""From a number and its thresholds to a status; every check is graded here."""

from math import inf

from causal_assets.types import Diagnostic, Status

Graded = tuple[Status, float]  # the status and the threshold that gave it


def above(value: float, *, review: float, fail: float = inf) -> Graded:
    """Grade a number that is worse when larger."""
    if value > fail:
        return Status.FAIL, fail
    return (Status.REVIEW if value > review else Status.PASS), review


def below(value: float, *, review: float, fail: float = -inf) -> Graded:
    """Grade a number that is worse when smaller, such as a p-value."""
    if value < fail:
        return Status.FAIL, fail
    return (Status.REVIEW if value < review else Status.PASS), review


def share(part: int, whole: int, name: str) -> float:
    """``part / whole``.

    Raises:
        ValueError: nothing to divide by, or a part outside [0, whole].
    """
    if whole < 1 or not 0 <= part <= whole:
        raise ValueError(f"{name}: expected 0 <= part <= whole and whole >= 1, got {part} of {whole}")
    return part / whole


def diagnostic(name: str, graded: Graded, value: float, message: str, next_step: str) -> Diagnostic:
    """The Diagnostic; a check that passes asks for nothing."""
    status, threshold = graded
    return Diagnostic(
        name=name,
        status=status,
        value=float(value),
        threshold=float(threshold),
        message=message,
        next_step="Nothing to do." if status is Status.PASS else next_step,
    )
