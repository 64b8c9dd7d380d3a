"""The memo's numbers as JSON: the same facts as the page, for programs; ``docs/memo.schema.json`` is its schema.

JSON knows no infinity: an unbounded end is the text ``"Infinity"`` or ``"-Infinity"``. What is not known is ``null``.
A field may be added at any time; where one is renamed, removed or changes its meaning, ``VERSION`` is raised.
"""

import json
from math import isinf, isnan
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer, WithJsonSchema
from typing_extensions import TypeAliasType

from causal_assets.memo import consequences, sentences, words
from causal_assets.memo.facts import Assumption, MemoFacts, Reading
from causal_assets.types import Deviation, Diagnostic, Estimate, Role, Standing, Status, Verdict

VERSION = 1


def _known(value: float) -> float:
    if isnan(value):
        raise ValueError("a number of a memo may not be NaN; what is not known is null")
    return value


def _written(value: float) -> float | str:
    return value if not isinf(value) else "Infinity" if value > 0 else "-Infinity"


Number = TypeAliasType(
    "Number",
    Annotated[
        float,
        AfterValidator(_known),
        PlainSerializer(_written),
        WithJsonSchema({"anyOf": [{"type": "number"}, {"enum": ["Infinity", "-Infinity"]}]}),
    ],
)


class Part(BaseModel):
    """A part of the document; what it does not name is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Effect(Part):
    """One estimate, per unit of the estimand's population, in the outcome's own unit."""

    role: Role
    outcome: str
    estimand: str
    method: str
    value: Number
    std_error: Number | None
    low: Number
    high: Number
    pieces: list[tuple[Number, Number]]
    """The parts of a confidence set that is not one interval."""
    level: Number
    p_value: Number | None
    n_treated: int
    n_control: int
    control_mean: Number | None
    relative: Number | None
    relative_low: Number | None
    relative_high: Number | None
    money: bool
    margin: Number | None
    """The largest harm that a guardrail may show, 0 or more."""
    harmed_by_increase: bool
    planted_truth: Number | None
    """The true effect, where the world is simulated."""

    @classmethod
    def of(cls, facts: MemoFacts, role: Role, estimate: Estimate) -> Self:
        """An estimate with what the study says of its outcome."""
        return cls(
            role=role,
            **{name: getattr(estimate, name) for name in Estimate.__dataclass_fields__},
            money=estimate.outcome in facts.currency_outcomes,
            margin=facts.margins.get(estimate.outcome),
            harmed_by_increase=estimate.outcome in facts.harmed_by_increase,
            planted_truth=facts.truth.get(estimate.outcome),
        )


class Interval(Part):
    """A value with its interval, in dollars per treated unit."""

    value: Number
    low: Number
    high: Number


class Check(Part):
    """One diagnostic."""

    name: str
    status: Status
    value: Number
    threshold: Number
    message: str
    next_step: str

    @classmethod
    def of(cls, check: Diagnostic) -> Self:
        """A diagnostic as it is."""
        return cls(**vars(check))


class Tied(Part):
    """A check that speaks to an assumption, with the worst it found; null where it was not run."""

    check: str
    status: Status | None


class Presumption(Part):
    """What must hold for the answer to be an effect."""

    words: str
    checks: list[Tied]
    sensitivity: list[Tied]
    untestable: str | None
    """Why no data can tell, where no check is tied to it."""

    @classmethod
    def of(cls, facts: MemoFacts, assumption: Assumption) -> Self:
        """An assumption with what its checks found."""
        found = facts.status_by_check
        checks, sensitivity = (
            [Tied(check=name, status=found.get(name)) for name in names]
            for names in (assumption.checks, assumption.sensitivity)
        )
        return cls(words=assumption.words, checks=checks, sensitivity=sensitivity, untestable=assumption.untestable)


class Balance(Part):
    """Standardised mean difference of a covariate; ``after`` is null where nothing is adjusted."""

    covariate: str
    before: Number
    after: Number | None


class Propensity(Part):
    """Units per bin of the estimated probability of treatment; one edge more than bins."""

    edges: list[Number]
    treated: list[int]
    control: list[int]


class Loss(Part):
    """Rows set aside for one reason."""

    reason: str
    rows: int


class Graph(Part):
    """The causal graph that the protocol draws, with minimal sets of covariates that are enough under it."""

    edges: list[tuple[str, str]]
    unobserved: list[str]
    adjustment_sets: list[list[str]]


class Change(Part):
    """One field that a later registration changed."""

    field: str
    before: Any
    after: Any
    registered_at: str
    after_outcomes: bool
    matters: bool

    @classmethod
    def of(cls, change: Deviation) -> Self:
        """A deviation as it is."""
        return cls(**vars(change))


class Arms(Part):
    """What the comparison's two sides are called."""

    control: str
    treated: str


class MemoDocument(Part):
    """One study as its memo tells it."""

    version: Literal[1]
    study: str
    design: str
    question: str
    intervention: str
    population: str
    unit: str
    arms: Arms
    source: str
    data_through: str
    protocol_hash: str
    registered_at: str
    first_read_at: str | None
    standing: Standing
    deviations: list[Change]
    verdict: Verdict
    grade: str
    reasons: list[str]
    grade_reasons: list[str]
    days_left: int
    reading: Reading
    """How far the primary estimate may be put into words."""
    headline: str
    answer: str
    effects: list[Effect]
    """The primary one first, if there is one; alternatives last."""
    profit: Interval | None
    cost_per_unit: Number
    value_per_outcome: Number
    minimum_profit: Number
    benefits: list[str]
    harms: list[str]
    identification: str
    assumptions: list[Presumption]
    causal_graph: Graph | None
    checks: list[Check]
    balance: list[Balance]
    propensity: Propensity | None
    tables: dict[str, list[list[str]]]
    """The design's own tables by title: a header, then rows."""
    rows_in: int
    data_loss: list[Loss]
    what_would_change: list[str]

    @classmethod
    def of(cls, facts: MemoFacts) -> Self:
        """The facts as plain data."""
        told = facts.identification.filled(facts.unit, facts.arms)
        weighed = consequences.benefits_and_harms(facts)
        effects = [*facts.outcomes, *((Role.ALTERNATIVE, estimate) for estimate in facts.alternatives)]
        same = (
            "study", "design", "question", "intervention", "population", "unit", "source", "data_through",
            "protocol_hash", "registered_at", "first_read_at", "standing", "reading", "cost_per_unit",
            "value_per_outcome", "minimum_profit", "rows_in",
        )  # fmt: skip
        return cls(
            version=VERSION,
            **{name: getattr(facts, name) for name in same},
            arms=Arms(control=facts.arms[0], treated=facts.arms[1]),
            deviations=[Change.of(change) for change in facts.deviations],
            verdict=facts.decision.verdict,
            grade=facts.decision.grade,
            reasons=list(facts.decision.reasons),
            grade_reasons=list(facts.decision.grade_reasons),
            days_left=facts.decision.days_left,
            headline=sentences.headline(facts),
            answer=sentences.answer(facts),
            effects=[Effect.of(facts, role, estimate) for role, estimate in effects],
            profit=Interval(**dict(zip(("value", "low", "high"), facts.profit, strict=True))) if facts.profit else None,
            benefits=weighed.get(consequences.BENEFITS, []),
            harms=weighed.get(consequences.HARMS, []),
            identification=told.words,
            assumptions=[Presumption.of(facts, assumption) for assumption in told.assumptions],
            causal_graph=_graph(facts),
            checks=[Check.of(check) for check in facts.diagnostics],
            balance=[Balance(covariate=name, before=before, after=after) for name, before, after in facts.balance],
            propensity=_propensity(facts),
            tables={title: [list(row) for row in rows] for title, rows in facts.tables.items()},
            data_loss=[Loss(reason=reason, rows=rows) for reason, rows in facts.data_loss],
            what_would_change=consequences.what_would_change(facts),
        )


def _graph(facts: MemoFacts) -> Graph | None:
    graph = facts.causal_graph
    if graph is None:
        return None
    sets = [list(names) for names in graph.adjustment_sets()]
    return Graph(edges=list(graph.edges), unobserved=sorted(graph.unobserved), adjustment_sets=sets)


def _propensity(facts: MemoFacts) -> Propensity | None:
    if facts.propensity is None:
        return None
    edges, treated, control = (list(values) for values in facts.propensity)
    return Propensity(edges=edges, treated=treated, control=control)


def to_json(facts: MemoFacts) -> str:
    """The memo as JSON text; the same facts give the same bytes.

    Raises:
        ValueError: a number that is NaN.
    """
    plain = MemoDocument.of(facts).model_dump(mode="json")
    return words.english(json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False), facts.unit) + "\n"


def schema() -> str:
    """The document's JSON Schema, as committed in ``docs/memo.schema.json``."""
    described = MemoDocument.model_json_schema(mode="serialization")
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(dialect | described, indent=1, ensure_ascii=False) + "\n"
