"""The fields of a randomised experiment, and which of them go together."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal, Self

import dagster as dg
from pydantic import Field, model_validator

from causal_assets.designs.table import Column
from causal_assets.estimators.sequential import BURN_IN
from causal_assets.protocol import Finite

MEANS = frozenset({"mean", "capped_mean"})
# Fields that belong to a kind of outcome, of which it needs exactly one.
BELONGS = {"ratio": ("denominator",), "quantile": ("quantile",), "capped_mean": ("cap", "cap_quantile")}
# A planned look may come this much of its information early or late; in between nothing may be read.
LOOK_TOLERANCE = 0.05

# Fields that do not go together. Each reads the table in a way of its own, and no estimator takes both.
CLASHES: dict[str, tuple[str, ...]] = {
    "columns.stratum": ("covariates", "columns.triggered", "columns.other_arm", "cupac", "missing", "errors: hc2"),
    "columns.triggered": ("cupac", "missing", "monitoring", "errors: hc2"),
    "columns.count": (
        "covariates", "columns.unit_id", "columns.cluster", "columns.stratum", "columns.triggered", "columns.other_arm",
        "cupac", "missing", "monitoring", "prior", "errors: hc2", "inference: randomization",
    ),
    "inference: randomization": ("columns.triggered", "cupac", "monitoring", "prior", "errors: hc2"),
    "cupac": ("errors: hc2",),
    "subgroups": (
        "columns.cluster", "columns.stratum", "columns.triggered", "columns.count", "monitoring",
        "inference: randomization",
    ),
}  # fmt: skip
# Fields that need others.
NEEDS = {
    "columns.other_arm": "other_experiment",
    "other_experiment": "columns.other_arm",
    "cupac": "covariates",
    "errors: hc2": "covariates",
    "inference: bayesian": "prior",
    "correction": "other_arms",
    "planned_shares": "other_arms",
}
# Kinds of outcome that a field is for, and the roles of the outcomes that it touches.
ALL = ("primary", "secondary", "guardrail", "negative_control")
KINDS: dict[str, tuple[frozenset[str], tuple[str, ...]]] = {
    "columns.stratum": (MEANS, ALL),
    "columns.triggered": (MEANS, ALL),
    "columns.count": (frozenset({"mean", "proportion"}), ALL),
    "columns.other_arm": (MEANS, ("primary",)),
    "inference: randomization": (MEANS | {"proportion"}, ALL),
    "monitoring": (MEANS | {"ratio"}, ("primary", "guardrail")),
    "prior": (MEANS | {"ratio"}, ("primary",)),
    "missing": (MEANS | {"proportion"}, ("primary",)),
    "subgroups": (MEANS, ("primary",)),
}


class Metric(Column):
    """An outcome and what of it is compared.

    ``mean`` of a column; ``proportion`` of rows with a 1, by its score test; ``ratio`` of the column's total to that of
    ``denominator``; the ``quantile`` of that name; ``capped_mean``, of values cut off at ``cap`` or at the
    ``cap_quantile`` of all arms together.
    """

    kind: Literal["mean", "proportion", "ratio", "quantile", "capped_mean"] = "mean"
    denominator: str | None = None
    quantile: Finite | None = None
    cap: Finite | None = None
    cap_quantile: Finite | None = None

    @model_validator(mode="after")
    def _fields_fit_the_kind(self) -> Self:
        own = BELONGS.get(self.kind, ())
        given = [name for fields in BELONGS.values() for name in fields if getattr(self, name) is not None]
        if len(given) != bool(own) or not set(given) <= set(own):
            needs = f"exactly one of {list(own)}" if own else "none of them"
            raise ValueError(f"outcome {self.name}: kind {self.kind} needs {needs}, got {given or 'none'}")
        for name in ("quantile", "cap_quantile"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise ValueError(f"outcome {self.name}: {name} must lie strictly between 0 and 1, got {value}")
        return self

    @property
    def beside(self) -> str | None:
        """What the denominator is called in the table of outcomes; no outcome's name begins so."""
        return f"_of_{self.name}" if self.denominator else None


class ExperimentColumns(dg.Model, dg.Resolvable):
    """Which column holds what: the arm of each row, and its unit where the table names it.

    ``cluster`` labels the rows that were assigned together; ``stratum`` the group within which units were assigned, or
    known before; ``triggered`` says, in both arms alike, who met the change or would have; ``other_arm`` is the arm in
    a second experiment at the same time; ``count`` is the number of units that a row stands for. Rows where one of
    them is empty are left out and counted.
    """

    arm: str
    unit_id: str | None = None
    cluster: str | None = None
    stratum: str | None = None
    triggered: str | None = None
    other_arm: str | None = None
    count: str | None = None


class Monitoring(dg.Model, dg.Resolvable):
    """How often may be looked: always (a confidence sequence), or at planned fractions of the information.

    ``planned_n`` counts what is assigned to control and treatment together by the end: clusters where there are any,
    each of them whole when it is first looked at. A sequence reads nothing before 100 units, or clusters, are in either
    arm; a group sequential study with ``planned_n`` nothing between its planned looks, and without it ``fractions`` are
    the looks so far, this one last.
    """

    kind: Literal["always_valid", "group_sequential"]
    planned_n: Annotated[int, Field(gt=0)] | None = None
    fractions: Annotated[list[Finite], Field(default_factory=list)]
    spending: Literal["obrien_fleming", "pocock"] = "obrien_fleming"

    @model_validator(mode="after")
    def _fields_fit_the_kind(self) -> Self:
        if self.kind == "always_valid" and (self.planned_n is None or self.fractions):
            raise ValueError(f"monitoring: always_valid needs planned_n and no fractions, got {self.model_dump()}")
        if self.kind == "always_valid" and self.planned_n is not None and self.planned_n < 2 * BURN_IN:
            raise ValueError(
                f"monitoring: always_valid reads nothing before {BURN_IN} units, or clusters, are in either arm, so "
                f"planned_n is at least {2 * BURN_IN}, got {self.planned_n}; allowed with fewer is group_sequential"
            )
        times = [0.0, *self.fractions]
        if self.kind == "group_sequential" and (
            len(times) < 2 or times[-1] > 1 or any(b <= a for a, b in pairwise(times))
        ):
            raise ValueError(f"monitoring: fractions must increase within (0, 1], got {self.fractions}")
        return self

    def looks(self, units: int) -> list[float] | None:
        """Fractions of the looks so far, this one last; None between the planned ones."""
        if self.planned_n is None:
            return self.fractions
        reached = min(units / self.planned_n, 1.0)
        for k, planned in enumerate(self.fractions):
            if abs(reached / planned - 1) <= LOOK_TOLERANCE:
                return [*self.fractions[:k], reached]
        return None


class Prior(dg.Model, dg.Resolvable):
    """What is believed of the primary effect before the data: normal, in the outcome's unit."""

    mean: Finite = 0.0
    sd: Annotated[Finite, Field(gt=0)]


def require_fit(given: set[str], outcomes: Sequence[Metric]) -> None:
    """Make sure that the fields given, by the names used above, and the kinds of the outcomes go together.

    Raises:
        ValueError: they do not; names the field, what was given and what is allowed.
    """
    for field, others in CLASHES.items():
        if field in given and (clash := sorted(given & {*others})):
            raise ValueError(f"{field}: cannot be given together with {clash}; allowed is either")
    for field, other in NEEDS.items():
        if field in given and other not in given:
            raise ValueError(f"{field}: needs {other}, which is not given")
    for field, (kinds, roles) in KINDS.items():
        for outcome in outcomes:
            if field in given and outcome.role in roles and outcome.kind not in kinds:
                raise ValueError(
                    f"{field}: does not take outcome {outcome.name} of kind {outcome.kind}; allowed are {sorted(kinds)}"
                )
