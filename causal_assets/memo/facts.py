"""Everything a memo may say. The page is a function of these facts and of nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

from causal_assets.types import Decision, Deviation, Diagnostic, Estimate, Role, Standing, Status, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from causal_assets.estimators.causal_graph import CausalGraph


# A table as text: its header, then its rows.
Rows = Sequence[Sequence[str]]


class Reading(StrEnum):
    """How far the primary estimate may be put into words."""

    NONE = "nothing estimated"
    NOT_AN_EFFECT = "a difference, not an effect"
    UNCLEAR = "cannot be told from zero"
    CLEAR = "clear of zero"


@dataclass(frozen=True, kw_only=True)
class Assumption:
    """What must hold, and what speaks to it. ``{...}`` are filled per study.

    ``checks`` could show that it is broken; ``sensitivity`` shows what the answer becomes, or what it would take, if it
    is; both are names of the design's checks. Otherwise ``untestable`` says why no data can tell.

    Raises:
        ValueError: neither tied nor untestable, or both.
    """

    words: str
    checks: tuple[str, ...] = ()
    sensitivity: tuple[str, ...] = ()
    untestable: str | None = None

    def __post_init__(self) -> None:
        if bool(self.ties) is (self.untestable is not None):
            raise ValueError(
                f"assumption {self.words!r}: it is tied to a check, or untestable for a reason; one of both"
            )

    @property
    def ties(self) -> tuple[str, ...]:
        """All the checks it is tied to."""
        return (*self.checks, *self.sensitivity)

    def plain(self) -> dict[str, Any]:
        """As plain data, for the ledger."""
        return {
            "words": self.words,
            "checks": list(self.checks),
            "sensitivity": list(self.sensitivity),
            "untestable": self.untestable,
        }


@dataclass(frozen=True, kw_only=True)
class Identification:
    """Why a study's comparison is an effect: in words, and what must hold for it. ``{...}`` are filled per study."""

    words: str
    assumptions: tuple[Assumption, ...]
    by_chance: bool  # only then may an outcome be said to have been raised, without an if

    def filled(self, unit: str, arms: tuple[str, str]) -> "Identification":
        """In the words of one study; ``arms`` is (control, treated)."""
        fill = partial(_fill, unit=unit, control=arms[0], treated=arms[1])
        told = tuple(
            replace(one, words=fill(one.words), untestable=one.untestable and fill(one.untestable))
            for one in self.assumptions
        )
        return replace(self, words=fill(self.words), assumptions=told)


def _fill(text: str, **names: str) -> str:
    return text.format(**names)


NO_INTERFERENCE = Assumption(
    words="What one {unit} was given does not change the outcome of another.",
    untestable="one comparison of {unit}s looks the same with and without spillover; it takes clusters of {unit}s "
    "treated in different shares.",
)


def assigned_by_chance(*checks: str) -> Assumption:
    """That chance alone made the arms, tied to the ``checks`` that a design has for it."""
    return Assumption(
        words="Assignment was random, and no {unit} was moved, added or lost because of its arm.", checks=checks
    )


def recorded_alike(*checks: str, sensitivity: tuple[str, ...] = ()) -> Assumption:
    """That the arms are measured alike, tied to the checks that a design has for it."""
    words = "The outcome is recorded in the same way in both arms."
    return Assumption(words=words, checks=checks, sensitivity=sensitivity)


@dataclass(frozen=True, kw_only=True)
class MemoFacts:
    """One study as its memo tells it.

    ``unit`` is a singular noun ("household"); ``arms`` is (control, treated); times are ISO 8601. Values in ``truth``
    and ``margins`` are in the outcome's own unit, per study unit; a margin (>= 0) is the largest fall a guardrail may
    show, or the largest rise where the outcome is in ``harmed_by_increase``. ``profit`` is (value, low, high) in
    dollars per treated unit. ``primary`` is None while no unit's window has passed. ``balance`` rows are (covariate,
    standardised mean difference before, after adjustment or None); ``propensity`` is (bin edges, treated per bin,
    control per bin); ``figures`` and ``tables`` are the design's own plots and
    tables by title; ``causal_graph`` is the one that the protocol
    draws. ``what_would_change`` is what the design can do next, whatever this study found.

    Raises:
        ValueError: an estimate without its profit.
    """

    study: str
    design: str
    identification: Identification
    question: str
    intervention: str
    population: str
    unit: str
    source: str
    protocol_hash: str
    registered_at: str
    first_read_at: str | None
    standing: Standing
    data_through: str
    arms: tuple[str, str]
    currency_outcomes: frozenset[str]
    primary: Estimate | None
    others: tuple[tuple[Role, Estimate], ...]
    alternatives: tuple[Estimate, ...]
    diagnostics: tuple[Diagnostic, ...]
    decision: Decision
    cost_per_unit: float
    value_per_outcome: float
    profit: tuple[float, float, float] | None
    data_loss: tuple[tuple[str, int], ...]
    rows_in: int
    truth: Mapping[str, float]
    what_would_change: tuple[str, ...]
    margins: Mapping[str, float]
    balance: tuple[tuple[str, float, float | None], ...]
    deviations: tuple[Deviation, ...] = ()
    harmed_by_increase: frozenset[str] = frozenset()
    propensity: tuple[Sequence[float], Sequence[int], Sequence[int]] | None = None
    figures: Mapping[str, "Figure"] = field(default_factory=dict)
    causal_graph: "CausalGraph | None" = None
    minimum_profit: float = 0.0
    tables: Mapping[str, Rows] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.primary is None) is not (self.profit is None):
            raise ValueError(f"{self.study}: primary and profit go together, got {self.primary} and {self.profit}")

    @property
    def reading(self) -> Reading:
        """What the primary estimate may be called; a number nobody can identify is never called an effect."""
        if self.primary is None:
            return Reading.NONE
        if self.decision.verdict in (Verdict.NOT_IDENTIFIED, Verdict.BLOCKED):
            return Reading.NOT_AN_EFFECT
        return Reading.UNCLEAR if self.primary.low <= 0 <= self.primary.high else Reading.CLEAR

    @property
    def status_by_check(self) -> dict[str, Status]:
        """The worst status of each check that was run."""
        order = list(Status)
        ranked = sorted(self.diagnostics, key=lambda check: order.index(check.status))
        return {check.name: check.status for check in ranked}

    @property
    def common_level(self) -> float | None:
        """The confidence level of all intervals, or None where they differ."""
        levels = {estimate.level for _, estimate in self.outcomes}
        return levels.pop() if len(levels) == 1 else None

    @property
    def outcomes(self) -> tuple[tuple[Role, Estimate], ...]:
        """The primary estimate, if there is one, and all others with their roles."""
        return ((Role.PRIMARY, self.primary), *self.others) if self.primary else self.others
