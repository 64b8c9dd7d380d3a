"""A study's YAML as types, and the hashes that say which of its stages a change touches."""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Annotated, Any, Literal

import dagster as dg
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from causal_assets.types import Role

# Names become columns and tables, so they are kept to what every engine accepts unquoted; these words it does not.
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
KEYWORDS = frozenset(
    """
    all analyse analyze and any array as asc asymmetric both case cast check collate column constraint create
    default deferrable desc describe distinct do else end except false fetch for foreign from group having in
    initially intersect into lambda lateral leading limit not null offset on only or order pivot pivot_longer
    pivot_wider placing primary qualify references returning select show some summarize symmetric table then to
    trailing true union unique unpivot using variadic when where window with
    """.split()  # noqa: SIM905  a list would be a page long
)
# Fields of a protocol that no stage reads: they say what is meant, and no number depends on them.
WORDS = frozenset({"question", "intervention", "unit"})
# Columns that a cohort has of its own.
TAKEN = frozenset(
    """
    unit_id treated arm arms assigned_on assigned_at later_on propensity primary_before earlier_co_interventions
    """.split()  # noqa: SIM905  a list would be a page long
)


def _is_name(value: str) -> str:
    if not NAME.fullmatch(value) or value in KEYWORDS:
        raise ValueError(
            f"{value!r} is no name; allowed are lower-case letters, digits and _, starting with a letter, but no word "
            "of SQL"
        )
    return value


def _is_text(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"YAML reads on, off, yes and no as {value}; put the name in quotes")
    return f"{value:.15g}" if isinstance(value, int | float) else value  # as many digits as a double has


def is_day(value: str) -> str:
    """Return the day as it is.

    Raises:
        ValueError: it is not written YYYY-MM-DD.
    """
    try:
        written = date.fromisoformat(value).isoformat()
    except ValueError:
        written = None
    if written != value:  # 20260301 and 2026-W09-7 are ISO 8601 too, but not SQL
        raise ValueError(f"{value!r} is no day; allowed is YYYY-MM-DD in quotes")
    return value


Name = Annotated[str, AfterValidator(_is_name)]
Day = Annotated[str, AfterValidator(is_day)]
Arm = Annotated[str, BeforeValidator(_is_text)]
# YAML knows .nan and .inf: compared with either, every result would clear the rule or none.
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Measure(dg.Model, dg.Resolvable):
    """What is measured after assignment, and what for."""

    name: Name
    role: Literal["primary", "secondary", "guardrail", "negative_control"] = "secondary"
    money: bool = False
    harm: Literal["increase", "decrease"] | None = None
    margin: Annotated[Finite, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _guardrail_has_margin(self) -> "Measure":
        if {self.margin is not None, self.harm is not None} != {self.role == "guardrail"}:
            raise ValueError(f"outcome {self.name}: margin and harm belong to a guardrail, and it needs both")
        return self


class Outcome(Measure):
    """A metric summed over ``days`` days from the day of assignment on."""

    metric: str
    days: Annotated[int, Field(gt=0)]


class Covariate(dg.Model, dg.Resolvable):
    """What was known before assignment: a metric over windows of days relative to it, [from, to) with to <= 0.

    ``sum`` adds the metric up, ``recency`` counts the days since its last and ``tenure`` since its first occurrence
    (the window's length where there was none). ``from: null`` reaches back to the first day of data.
    """

    metric: str
    windows: Annotated[list[list[int | None]], Field(min_length=1)]
    statistic: Literal["sum", "recency", "tenure"] = "sum"
    transform: Literal["none", "log1p"] = "none"

    @model_validator(mode="after")
    def _windows_end_before_assignment(self) -> "Covariate":
        for window in self.windows:
            start, end = window if len(window) == 2 else (None, None)
            if end is None:
                raise ValueError(f"covariate {self.metric}: a window is [from, to], got {window}")
            if end > 0:
                raise ValueError(
                    f"covariate {self.metric}: window {window} reaches past assignment; allowed is to <= 0, "
                    "so that the last day read is the one before assignment"
                )
            if start is not None and start >= end:
                raise ValueError(f"covariate {self.metric}: window {window} is empty; allowed is from < to")
            if start is None and self.statistic == "recency":
                raise ValueError(f"covariate {self.metric}: recency needs a bounded window, got {window}")
        return self

    def names(self) -> list[str]:
        """One column name per window, such as ``spend_28_0`` for the 28 days before assignment."""
        suffix = "" if self.statistic == "sum" else f"_{self.statistic}"
        return [
            f"{self.metric}{suffix}_{'all' if start is None else -start}_{-(end or 0)}" for start, end in self.windows
        ]


class Rule(dg.Model, dg.Resolvable):
    """When to act, written before the outcome is read.

    Incremental profit per treated unit is ``value_per_outcome`` x effect on the primary outcome - ``cost_per_unit``.
    Ship if the lower end of its interval exceeds ``minimum_profit`` and every guardrail's interval stays inside its
    margin; stop if its upper end does not reach ``minimum_profit`` or a guardrail is shown to be harmed; else hold.
    """

    value_per_outcome: Finite
    cost_per_unit: Annotated[Finite, Field(ge=0)] = 0.0
    minimum_profit: Finite = 0.0

    @property
    def needed(self) -> float:
        """The effect from which on the intervention is worth its cost; 0 where the outcome has no value."""
        return (self.minimum_profit + self.cost_per_unit) / self.value_per_outcome if self.value_per_outcome else 0.0


class Range(dg.Model, dg.Resolvable):
    """The lowest and the highest value that something unknown could have had, by the protocol."""

    lowest: Finite
    highest: Finite

    @model_validator(mode="after")
    def _is_a_range(self) -> "Range":
        if not self.lowest < self.highest:
            raise ValueError(f"lowest must be below highest, got {self.lowest} and {self.highest}")
        return self


class Arms(dg.Model, dg.Resolvable):
    """The two arms and the share of units planned for treatment."""

    control: Arm
    treatment: Arm
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5

    @model_validator(mode="after")
    def _arms_differ(self) -> "Arms":
        if self.control == self.treatment:
            raise ValueError(f"arms: control and treatment must differ, got {self.control!r} twice")
        return self


class Protocol(dg.Model, dg.Resolvable):
    """The fields that every study shares."""

    question: str
    intervention: str
    unit: str
    population: str | None = None
    decision: Rule
    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    plausible_effect: Annotated[Finite, Field(gt=0)]

    @property
    def measures(self) -> Sequence[Measure]:
        """All outcomes declared."""
        raise NotImplementedError

    @property
    def covariate_names(self) -> list[str]:
        """Columns of the cohort that hold covariates, in order."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _outcomes_fit_together(self) -> "Protocol":
        primaries = [outcome.name for outcome in self.measures if outcome.role == "primary"]
        if len(primaries) != 1:
            raise ValueError(f"outcomes: exactly one must have role primary, got {primaries or 'none'}")
        columns = [*(outcome.name for outcome in self.measures), *self.covariate_names]
        repeated = sorted({name for name in columns if columns.count(name) > 1})
        if repeated:
            raise ValueError(f"outcomes and covariates: names must differ, got {repeated} twice")
        return self

    def role(self, outcome: str) -> Role:
        """The role of a named outcome; the parts of the primary one are its course over time."""
        return next((Role(o.role) for o in self.measures if o.name == outcome), Role.OVER_TIME)

    def document(self, design: str) -> dict[str, Any]:
        """The whole protocol as plain data."""
        return {"design": design, **self.model_dump(mode="json")}


class EventProtocol(Protocol):
    """The fields of a study of events: a programme that assigned units, and metrics over windows of days around it."""

    source: Name
    program: str
    arms: Arms
    outcomes: Annotated[list[Outcome], Field(min_length=1)]
    covariates: Annotated[list[Covariate], Field(default_factory=list)]
    lost_row: Range | None = None  # what one lost row of events could have added to the primary outcome

    @property
    def measures(self) -> Sequence[Measure]:
        """All outcomes declared."""
        return self.outcomes

    @property
    def primary(self) -> Outcome:
        """The outcome the decision rests on."""
        return next(outcome for outcome in self.outcomes if outcome.role == "primary")

    @property
    def covariate_names(self) -> list[str]:
        """Columns of the cohort that hold covariates, in order."""
        return [name for covariate in self.covariates for name in covariate.names()]

    @property
    def longest_window(self) -> int:
        """Days after assignment until every outcome of a unit is complete."""
        return max(outcome.days for outcome in self.outcomes)


def hash_of(document: Any) -> str:
    """SHA-256 of plain data, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def stage_hash(document: dict[str, Any], fields: Iterable[str], method_version: str) -> str:
    """Code version of a stage: the hash of the fields it reads and of its method's version, nothing else."""
    return hash_of({"method": method_version, **{name: document[name] for name in fields}})[:12]
