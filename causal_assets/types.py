"""The nouns every room shares. Frozen, and they import nothing of ours."""

from dataclasses import dataclass, field
from enum import StrEnum
from math import isnan


class Status(StrEnum):
    """Outcome of one diagnostic: fine, look at it, or broken."""

    PASS = "PASS"
    REVIEW = "REVIEW"
    FAIL = "FAIL"


class Role(StrEnum):
    """What an outcome is for in its study."""

    PRIMARY = "primary"
    SECONDARY = "secondary"
    GUARDRAIL = "guardrail"
    OVER_TIME = "over_time"
    NEGATIVE_CONTROL = "negative_control"
    ALTERNATIVE = "alternative"
    PLACEBO = "placebo"


class Verdict(StrEnum):
    """What the protocol's rule says to do."""

    SHIP = "ship"
    HOLD = "hold"
    STOP = "stop"
    KEEP_RUNNING = "keep running"
    BLOCKED = "blocked"
    NOT_IDENTIFIED = "not identified"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One effect of treatment on one outcome, per unit of the estimand's population.

    ``value``, ``std_error`` and ``[low, high]`` are in the outcome's own unit. ``[low, high]`` and ``p_value`` come
    from one inversion of one test: 0 is inside exactly when ``p_value > 1 - level``. The relative interval is
    Fieller's, hence it excludes 0 exactly when ``[low, high]`` does; it is ``(-inf, inf)`` where the control mean
    cannot be told from zero.

    Raises:
        ValueError: a p-value outside [0, 1], an interval that does not hold the value, or a NaN.
    """

    outcome: str
    estimand: str
    method: str
    value: float
    std_error: float
    low: float
    high: float
    p_value: float
    level: float
    n_treated: int
    n_control: int
    control_mean: float
    relative: float | None = None
    relative_low: float | None = None
    relative_high: float | None = None

    def __post_init__(self) -> None:
        if any(isnan(x) for x in (self.value, self.std_error, self.low, self.high, self.p_value, self.control_mean)):
            raise ValueError(f"{self.outcome}/{self.method}: an estimate may not be NaN, got {self}")
        if not 0.0 <= self.p_value <= 1.0:
            raise ValueError(f"{self.outcome}/{self.method}: p_value must lie in [0, 1], got {self.p_value}")
        if not self.low <= self.value <= self.high:
            raise ValueError(
                f"{self.outcome}/{self.method}: {self.value} is outside its interval {self.low, self.high}"
            )


@dataclass(frozen=True, kw_only=True)
class Diagnostic:
    """One thing checked about an estimate: what was measured, against what, and what to do next."""

    name: str
    status: Status
    value: float
    threshold: float
    message: str
    next_step: str


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the study's rule says given estimate and evidence, and why."""

    verdict: Verdict
    grade: str
    reasons: tuple[str, ...] = field(default=())
    days_left: int = 0

    @property
    def allows_action(self) -> bool:
        """Whether a mandate to act may be granted."""
        return self.verdict is Verdict.SHIP
