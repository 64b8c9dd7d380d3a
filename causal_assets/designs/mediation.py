"""Mediation over a prepared table: how much of a treatment's effect goes through a variable in between."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Annotated, Any, ClassVar, Literal

import dagster as dg
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from causal_assets.component import TemplateScaffolder
from causal_assets.designs.table import TABLE_CHECKS, TableStudy
from causal_assets.estimators.mediation import Models
from causal_assets.memo.facts import NO_INTERFERENCE, Assumption, Identification
from causal_assets.protocol import Arms
from causal_assets.types import Diagnostic, Role
from causal_assets.warehouse.engine import Warehouse, identifier
from causal_assets.warehouse.queries.tables import in_treatment
from causal_assets.warehouse.results import Finding

BY_PATHS = Identification(
    words="The effect is split into what goes through the mediator and what does not. Comparing \u201c{treated}\u201d "
    "with \u201c{control}\u201d does not give that split: it also takes that, among {unit}s alike in all that was "
    "recorded before, the mediator is as good as random.",
    assumptions=(
        Assumption(
            words="Assignment was random, or as good as random given what was recorded before it.",
            untestable="how the arms were made is not in the table.",
        ),
        Assumption(
            words="Nothing unseen moves both the mediator and the outcome.", sensitivity=("mediation_sensitivity",)
        ),
        Assumption(
            words="Nothing that the treatment changed moves both the mediator and the outcome.",
            untestable="such a variable is no column of the table, and adjusting for it would not help.",
        ),
        NO_INTERFERENCE,
    ),
    by_chance=False,
)


class MediationColumns(dg.Model, dg.Resolvable):
    """Which column holds what: the arm of each row, its unit, and the clusters of errors."""

    arm: str
    unit_id: str | None = None
    cluster: str | None = None


@dg.scaffold_with(TemplateScaffolder)
class Mediation(TableStudy):
    """Two arms, a mediator after assignment and an outcome after it; indirect, direct and total effects."""

    design: ClassVar[str] = "mediation"
    identification: ClassVar[Identification] = BY_PATHS
    randomised: ClassVar[bool] = False  # the mediator is not
    checks: ClassVar[tuple[str, ...]] = ("mediation_sensitivity", *TABLE_CHECKS)
    cohort_fields: ClassVar[tuple[str, ...]] = ("arms",)
    estimate_fields: ClassVar[tuple[str, ...]] = (
        "mediator", "effect", "mediator_link", "outcome_link", "interaction", "draws", "seed",
    )  # fmt: skip

    columns: MediationColumns
    arms: Arms
    mediator: str  # one of the outcomes: it too is measured after assignment
    effect: Literal["indirect", "direct", "total"] = "indirect"  # which one the decision rests on
    mediator_link: Literal["linear", "probit", "logit"] = "linear"
    outcome_link: Literal["linear", "probit", "logit"] = "linear"
    interaction: bool = True
    draws: Annotated[int, Field(gt=0)] = 4_999
    seed: int = 0

    @model_validator(mode="after")
    def _the_mediator_is_a_secondary_outcome(self) -> "Mediation":
        allowed = [outcome.name for outcome in self.outcomes if outcome.role == "secondary"]
        if self.mediator not in allowed:
            raise ValueError(f"mediator: expected one of the secondary outcomes {allowed}, got {self.mediator!r}")
        return self

    @property
    def roles(self) -> dict[str, str]:
        """Columns by role."""
        return self.columns.model_dump(exclude_none=True)

    @property
    def condition(self) -> str:
        """Rows of a third arm are in neither of the two compared."""
        return in_treatment("arm", self.arms.control, self.arms.treatment)

    @property
    def arm_names(self) -> tuple[str, str]:
        """The two arms."""
        return self.arms.control, self.arms.treatment

    def estimates(self, warehouse: Warehouse, study: str) -> list[Finding]:
        """The chosen effect on each outcome, and the primary one's other effects. Rows leave the engine."""
        from causal_assets.estimators.mediation import effects

        findings: list[Finding] = []
        for outcome in self.outcomes:
            if outcome.name == self.mediator:
                continue
            models = self._models(warehouse, study, outcome.name)
            found = effects(models, outcome=outcome.name, seed=self.seed, level=self.level, draws=self.draws)
            findings.append((self.role(outcome.name), getattr(found, self.effect)))
            if outcome is self.primary:
                others = (field.name for field in fields(found) if field.name != self.effect)
                findings += [(Role.SECONDARY, getattr(found, name)) for name in others]
        return findings

    def diagnostics(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> list[Diagnostic]:  # noqa: ARG002
        """How strong an unseen cause of mediator and outcome would have to be, where that is defined."""
        from causal_assets.diagnostics.mediation_sensitivity import mediation_sensitivity
        from causal_assets.estimators.mediation import rho_of_covariates, rho_without_indirect

        models = self._models(warehouse, study, self.primary.name)
        if "logit" in (self.mediator_link, self.outcome_link) or "linear" not in (
            self.mediator_link,
            self.outcome_link,
        ):
            return []
        rho = min(rho_without_indirect(models), key=abs)
        return [mediation_sensitivity(rho, rho_of_covariates(models) if self.covariates else None)]

    def _models(self, warehouse: Warehouse, study: str, outcome: str) -> Models:
        from causal_assets.estimators.mediation import fit

        data = warehouse.arrays(
            f"SELECT c.*, o.{identifier(outcome)} AS y, o.{identifier(self.mediator)} AS _mediator "
            f"FROM {study}.cohort AS c JOIN {study}.outcomes AS o USING (_row) "
            "WHERE y IS NOT NULL AND _mediator IS NOT NULL ORDER BY _row"
        )
        rows: dict[str, NDArray[Any]] = {name: np.asarray(values) for name, values in data.items()}
        mediator = rows.pop("_mediator")  # what is left besides roles and outcome are covariates
        return fit(
            rows["treated"].astype(int),
            mediator,
            rows["y"],
            self.covariate_matrix(rows)[1],
            mediator_link=self.mediator_link,
            outcome_link=self.outcome_link,
            interaction=self.interaction,
            cluster=rows.get("cluster"),
        )
