"""Ghost ads over a prepared table: one row per user with its arm, the log's prediction, exposure and outcomes."""

from collections.abc import Sequence
from typing import ClassVar

import dagster as dg

from causal_assets.component import TemplateScaffolder
from causal_assets.designs.randomized import BY_CHANCE, read_arms
from causal_assets.designs.table import TABLE_CHECKS, TableStudy
from causal_assets.estimators.ghost_ads import Answers, Cell
from causal_assets.estimators.moments import Moments
from causal_assets.memo.facts import (
    NO_INTERFERENCE,
    Assumption,
    Identification,
    assigned_by_chance,
    recorded_alike,
)
from causal_assets.protocol import Arms
from causal_assets.types import Diagnostic, Role
from causal_assets.warehouse.engine import Warehouse, identifier
from causal_assets.warehouse.queries.moments import arm_moments
from causal_assets.warehouse.queries.tables import in_treatment
from causal_assets.warehouse.results import Finding

BY_CHANCE_AND_LOG = Identification(
    words=BY_CHANCE.words
    + " The log says in both groups who would have been shown the ad; among those, the difference "
    "divided by the difference in exposure is the effect of seeing it.",
    assumptions=(
        assigned_by_chance("srm"),
        recorded_alike("missing_pattern", "data_loss"),
        NO_INTERFERENCE,
        Assumption(
            words="The log's rule is blind to the arm: it would serve the same {unit} in either.",
            checks=("prediction",),
        ),
        Assumption(
            words="Being assigned changes the outcome only by the ad being seen.",
            untestable="whatever else came with the assignment would show in the same difference.",
        ),
    ),
    by_chance=True,
)


class AdColumns(dg.Model, dg.Resolvable):
    """Which column holds what: the arm, whether the log would have served the user, whether the ad was seen."""

    arm: str
    predicted: str
    exposed: str
    unit_id: str | None = None


@dg.scaffold_with(TemplateScaffolder)
class GhostAds(TableStudy):
    """Users assigned at random, with a log in both arms of who would have been served; effect on the exposed."""

    design: ClassVar[str] = "ghost ads experiment"
    identification: ClassVar[Identification] = BY_CHANCE_AND_LOG
    randomised: ClassVar[bool] = True
    checks: ClassVar[tuple[str, ...]] = ("srm", "missing_pattern", "prediction", "first_stage", *TABLE_CHECKS)
    cohort_fields: ClassVar[tuple[str, ...]] = ("arms",)

    columns: AdColumns
    arms: Arms

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
        """Effects on the exposed; of the primary also both ITTs and what exposed users say, which is wrong."""
        findings: list[Finding] = []
        for outcome in self.outcomes:
            found = self._answers(warehouse, study, outcome.name)
            findings.append((self.role(outcome.name), found.among_predicted.effect))
            if outcome is self.primary:
                beside = (found.among_predicted.reduced_form, found.all_users, found.naive)
                findings += [(Role.ALTERNATIVE, estimate) for estimate in beside if estimate is not None]
        return findings

    def _answers(self, warehouse: Warehouse, study: str, outcome: str) -> Answers:
        """From the moments of each cell of users, one grouped query per prediction and exposure; no rows."""
        from causal_assets.estimators.ghost_ads import ghost_ads

        columns = [outcome, *self.adjusted_for(warehouse, study)]
        cells: dict[Cell, Moments] = {}
        for predicted in (False, True):
            for exposed in (False, True):
                members = (
                    f"(SELECT * FROM {study}.cohort JOIN {study}.outcomes USING (_row) WHERE "
                    f"{identifier(outcome)} IS NOT NULL AND CAST(predicted AS BOOLEAN) = {predicted} AND "
                    f"CAST(exposed AS BOOLEAN) = {exposed})"
                )
                moments = read_arms(warehouse, f"({arm_moments(members, columns)})")
                cells |= {Cell(arm, predicted, exposed): found for arm, (found, _) in moments.items()}
        return ghost_ads(cells, outcome=outcome, level=self.level)

    def cohort_diagnostics(self, warehouse: Warehouse, study: str) -> list[Diagnostic]:
        """Sample ratio, gaps by arm, and whether the log predicts alike in both."""
        from causal_assets.diagnostics.prediction import prediction
        from causal_assets.diagnostics.srm import srm

        planned = {self.arms.control: 1 - self.arms.share, self.arms.treatment: self.arms.share}
        rows = warehouse.rows(
            "SELECT count(*) AS users, count(*) FILTER (CAST(predicted AS BOOLEAN)) AS served "
            f"FROM {study}.cohort GROUP BY treated ORDER BY treated"
        )
        (control, treated) = rows
        return [
            srm(self.arm_counts(warehouse, study), planned),
            *self.gaps_by_arm(warehouse, study),
            prediction(treated["served"], treated["users"], control["served"], control["users"]),
        ]

    def diagnostics(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> list[Diagnostic]:  # noqa: ARG002
        """How much the campaign moved exposure among predicted users."""
        from causal_assets.diagnostics.first_stage import first_stage

        found = self._answers(warehouse, study, self.primary.name).among_predicted
        return [first_stage(found.strength, found.first_stage)]
