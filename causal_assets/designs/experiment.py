"""Randomised experiment over a prepared table: one row per unit with its arm, its past and its outcomes."""

from collections.abc import Sequence
from typing import ClassVar

import dagster as dg

from causal_assets.component import TemplateScaffolder
from causal_assets.designs.randomized import BY_CHANCE, read_arms
from causal_assets.designs.table import TABLE_CHECKS, TableStudy
from causal_assets.memo.facts import Identification
from causal_assets.protocol import Arms
from causal_assets.types import Diagnostic, Role
from causal_assets.warehouse.engine import Warehouse, identifier, literal
from causal_assets.warehouse.queries.moments import arm_moments
from causal_assets.warehouse.results import Finding


class ExperimentColumns(dg.Model, dg.Resolvable):
    """Which column holds what: the arm of each row, and its unit where the table names it."""

    arm: str
    unit_id: str | None = None


@dg.scaffold_with(TemplateScaffolder)
class Experiment(TableStudy):
    """Units assigned at random, one row each; difference in means, adjusted for the covariates."""

    design: ClassVar[str] = "randomised experiment"
    identification: ClassVar[Identification] = BY_CHANCE
    randomised: ClassVar[bool] = True
    checks: ClassVar[tuple[str, ...]] = ("srm", *TABLE_CHECKS)
    cohort_fields: ClassVar[tuple[str, ...]] = ("arms",)

    columns: ExperimentColumns
    arms: Arms

    @property
    def roles(self) -> dict[str, str]:
        """Columns by role."""
        return self.columns.model_dump(exclude_none=True)

    @property
    def condition(self) -> str:
        """Rows of a third arm are in neither of the two compared."""
        return f"CASE WHEN {_equals(self.arms.treatment)} THEN true WHEN {_equals(self.arms.control)} THEN false END"

    @property
    def arm_names(self) -> tuple[str, str]:
        """The two arms."""
        return self.arms.control, self.arms.treatment

    def estimates(self, warehouse: Warehouse, study: str) -> list[Finding]:
        """Adjusted effects on every outcome, the unadjusted one of the primary beside it; moments only, no rows."""
        from causal_assets.estimators.randomized import difference_in_means

        covariates = self.adjusted_for(warehouse, study)
        findings: list[Finding] = []
        for name in (outcome.name for outcome in self.outcomes):
            known = f"(FROM {study}.cohort JOIN {study}.outcomes USING (_row) WHERE {identifier(name)} IS NOT NULL)"
            arms = read_arms(warehouse, f"({arm_moments(known, [name, *covariates])})")
            (control, _), (treated, _) = arms[False], arms[True]
            findings.append((self.role(name), difference_in_means(control, treated, outcome=name, level=self.level)))
            if name == self.primary.name and covariates:
                bare = difference_in_means(control.select([0]), treated.select([0]), outcome=name, level=self.level)
                findings.append((Role.ALTERNATIVE, bare))
        return findings

    def cohort_diagnostics(self, warehouse: Warehouse, study: str) -> list[Diagnostic]:
        """Sample ratio."""
        from causal_assets.diagnostics.srm import srm

        planned = {self.arms.control: 1 - self.arms.share, self.arms.treatment: self.arms.share}
        return [srm(self.arm_counts(warehouse, study), planned)]

    def diagnostics(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> list[Diagnostic]:  # noqa: ARG002
        """None of the findings beyond those every study has."""
        return []


def _equals(arm: str) -> str:
    """SQL: the row's arm is this one, as text or as a number: 1 and 1.0 are one arm."""
    return f"(CAST(arm AS VARCHAR) = {literal(arm)} OR TRY_CAST(arm AS DOUBLE) = TRY_CAST({literal(arm)} AS DOUBLE))"
