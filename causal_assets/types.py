"""The nouns every room shares. Frozen, and they import nothing of ours."""

from dataclasses import dataclass, field
from enum import StrEnum
from math import isnan
from statistics import NormalDist
from typing import Any


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
    SPECIFICATION = "specification"
    SUBGROUP = "subgroup"
    PLACEBO = "placebo"


class Verdict(StrEnum):
    """What the protocol's rule says to do."""

    SHIP = "ship"
    HOLD = "hold"
    STOP = "stop"
    KEEP_RUNNING = "keep running"
    BLOCKED = "blocked"
    NOT_IDENTIFIED = "not identified"


# The estimand of what a policy earns more than another, per unit of the population, whoever of it is treated.
GAIN = "policy gain per unit"


class Standing(StrEnum):
    """What the order of registering and looking makes of a study."""

    CONFIRMATORY = "confirmatory"
    RETROSPECTIVE = "retrospective"
    EXPLORATORY = "exploratory"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One effect of treatment on one outcome, per unit of the estimand's population.

    ``value``, ``std_error`` and ``[low, high]`` are in the outcome's own unit. ``[low, high]`` and ``p_value`` come
    from one inversion of one test, on one scale, under one multiplicity adjustment and at one look: 0 is in the set
    exactly when ``p_value > 1 - level``. The set may be unbounded (``inf``), and where it is not one interval
    ``pieces`` lists its parts and ``[low, high]`` is its hull. A posterior has no ``p_value``; a set from permutations
    may have no ``std_error``; an effect without a control level has no ``control_mean``. The relative interval is
    Fieller's, hence it excludes 0 exactly when ``[low, high]`` does; it is ``(-inf, inf)`` where the control mean
    cannot be told from zero.

    Raises:
        ValueError: a p-value outside [0, 1], an interval that does not hold the value, or a NaN.
    """

    outcome: str
    estimand: str
    method: str
    value: float
    std_error: float | None
    low: float
    high: float
    p_value: float | None
    level: float
    n_treated: int
    n_control: int
    control_mean: float | None
    relative: float | None = None
    relative_low: float | None = None
    relative_high: float | None = None
    pieces: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        given = (self.value, self.std_error, self.low, self.high, self.p_value, self.control_mean)
        if any(number is not None and isnan(number) for number in given):
            raise ValueError(f"{self.outcome}/{self.method}: an estimate may not be NaN, got {self}")
        if self.p_value is not None and not 0.0 <= self.p_value <= 1.0:
            raise ValueError(f"{self.outcome}/{self.method}: p_value must lie in [0, 1], got {self.p_value}")
        if not self.low <= self.value <= self.high:
            raise ValueError(
                f"{self.outcome}/{self.method}: {self.value} is outside its interval {self.low, self.high}"
            )

    @property
    def spread(self) -> float:
        """The standard error; for a set without one, the error of a normal interval of the same width."""
        if self.std_error is not None:
            return self.std_error
        return (self.high - self.low) / (2 * NormalDist().inv_cdf((1 + self.level) / 2))

    def covers(self, effect: float) -> bool:
        """Whether ``effect`` is in the confidence set."""
        return any(low <= effect <= high for low, high in self.pieces or ((self.low, self.high),))


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
class Deviation:
    """One field of a protocol that a later registration changed; None is a field that was not there, or was empty.

    ``field`` is a dotted path. ``after_outcomes``: the study's outcomes had been read before. ``matters``: a stage
    reads the field, so that a number, a grade or a verdict may depend on it.
    """

    field: str
    before: Any
    after: Any
    registered_at: str
    after_outcomes: bool
    matters: bool

    @property
    def explores(self) -> bool:
        """Whether the change could have been made knowing what it would do to the answer."""
        return self.after_outcomes and self.matters


@dataclass(frozen=True, kw_only=True)
class Registration:
    """One registered version of a study's protocol; times are ISO 8601, ``commit`` and the like None where unknown.

    ``settled_at`` is when all that its stages read was first registered as it is now: a change of words alone makes a
    new version, but no new analysis. ``uncommitted``: the study's file differed from the commit. ``deviations`` are
    those of all versions up to this one.
    """

    version: int
    protocol: str
    registered_at: str
    settled_at: str
    outcomes_begin: str | None
    standing: Standing
    author: str | None
    commit: str | None
    uncommitted: bool | None
    assumptions: tuple[str, ...]
    deviations: tuple[Deviation, ...]


# Acting needs chance or evidence without a single REVIEW, and a protocol that did not know the answer.
ACTS_FROM = "B"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the study's rule says given estimate and evidence, and why; and why the evidence has its grade."""

    verdict: Verdict
    grade: str
    reasons: tuple[str, ...] = field(default=())
    days_left: int = 0
    grade_reasons: tuple[str, ...] = field(default=())

    @property
    def lacks_evidence(self) -> bool:
        """Whether its grade is too low to act on, whatever the estimate."""
        return self.grade > ACTS_FROM

    @property
    def allows_action(self) -> bool:
        """Whether a mandate to act may be granted."""
        return self.verdict is Verdict.SHIP
