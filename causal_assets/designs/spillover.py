"""Experiment whose treatment reaches the untreated: clusters are drawn to a share to treat, then units within them."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import dagster as dg
from pydantic import Field, model_validator

from causal_assets.component import TemplateScaffolder
from causal_assets.designs.table import TABLE_CHECKS, TableStudy
from causal_assets.memo.facts import Assumption, Identification
from causal_assets.protocol import Arms
from causal_assets.types import Diagnostic, Role
from causal_assets.warehouse.engine import Warehouse
from causal_assets.warehouse.queries.tables import in_treatment
from causal_assets.warehouse.results import Finding

TWO_STAGES = Identification(
    words="Chance decided what share of each cluster was treated, and then which {unit} within it got "
    "“{treated}”. Clusters of different shares therefore differ by chance only, and so do the treated and the "
    "untreated of one cluster: what treatment does to those who did not get it can be seen.",
    assumptions=(
        Assumption(
            words="Clusters were assigned to their shares at random, and each {unit} within its cluster at random.",
            untestable="how clusters and {unit}s were drawn is not in the table.",
        ),
        Assumption(
            words="What one {unit} was given may change outcomes within its cluster, but not in other clusters.",
            untestable="if clusters change each other, none is left to compare with.",
        ),
        Assumption(words="The outcome is recorded in the same way in all clusters.", checks=("data_loss",)),
    ),
    by_chance=True,
)


class SpilloverColumns(dg.Model, dg.Resolvable):
    """Which column holds what: a row's arm, its cluster, the cluster's planned share of treated, and its unit."""

    arm: str
    cluster: str
    saturation: str
    unit_id: str | None = None


@dg.scaffold_with(TemplateScaffolder)
class SpilloverExperiment(TableStudy):
    """Direct, spillover, total and overall effects of treating the share ``saturation`` instead of ``reference``.

    ``effect`` is the one that the decision rests on; of the overall effect, which is per unit of a cluster, treated or
    not, ``cost_per_unit`` is that of one treated times the share. ``weigh`` says whether clusters or units count alike.
    """

    design: ClassVar[str] = "two-stage spillover experiment"
    identification: ClassVar[Identification] = TWO_STAGES
    randomised: ClassVar[bool] = True
    checks: ClassVar[tuple[str, ...]] = ("srm", *TABLE_CHECKS)
    cohort_fields: ClassVar[tuple[str, ...]] = ("arms",)
    estimate_fields: ClassVar[tuple[str, ...]] = ("saturation", "reference", "effect", "weigh")

    columns: SpilloverColumns
    arms: Arms
    saturation: Annotated[float, Field(gt=0, le=1)]
    reference: Annotated[float, Field(ge=0, lt=1)] = 0.0
    effect: Literal["direct", "spillover", "total", "overall"] = "overall"
    weigh: Literal["clusters", "units"] = "clusters"

    @model_validator(mode="after")
    def _shares_differ(self) -> "SpilloverExperiment":
        if self.saturation == self.reference:
            raise ValueError(f"reference: must differ from saturation, got {self.reference} twice")
        return self

    @property
    def roles(self) -> dict[str, str]:
        """Columns by role."""
        return self.columns.model_dump(exclude_none=True)

    @property
    def condition(self) -> str:
        """Rows of a third arm are left out."""
        return in_treatment("arm", self.arms.control, self.arms.treatment)

    @property
    def arm_names(self) -> tuple[str, str]:
        """The two arms."""
        return self.arms.control, self.arms.treatment

    def cohort_diagnostics(self, warehouse: Warehouse, study: str) -> list[Diagnostic]:
        """Whether as many are treated as their clusters' saturations say, where these leave both to chance."""
        from causal_assets.diagnostics.srm import srm

        (drawn,) = warehouse.rows(
            "SELECT count(*) FILTER (treated) AS treated, count(*) AS units, avg(saturation) AS planned "
            f"FROM {study}.cohort WHERE saturation > 0 AND saturation < 1"
        )
        if not drawn["units"]:
            return []
        counts = (drawn["units"] - drawn["treated"], drawn["treated"])
        planned = (1 - drawn["planned"], drawn["planned"])
        return [srm(*(dict(zip(self.arm_names, given, strict=True)) for given in (counts, planned)))]

    def estimates(self, warehouse: Warehouse, study: str) -> list[Finding]:
        """All four effects on the primary outcome, the chosen one first; the chosen one on the other outcomes."""
        from causal_assets.estimators.spillover import Saturations, saturation_effects

        findings: list[Finding] = []
        for name in (outcome.name for outcome in self.outcomes):
            rows = self.rows(warehouse, study, name)
            clusters = Saturations.of(rows["y"], rows["treated"], rows["cluster"], rows["saturation"])
            effects = saturation_effects(
                clusters,
                saturation=self.saturation,
                reference=self.reference,
                outcome=name,
                weigh=self.weigh,
                level=self.level,
            )
            by_name = {effect.estimand.split()[0]: effect for effect in effects}
            if self.effect not in by_name:
                raise dg.Failure(
                    f"{study}: effect: {self.effect!r} has no comparison at saturation {self.saturation}; "
                    f"there are {sorted(by_name)}"
                )
            findings.append((self.role(name), by_name.pop(self.effect)))
            if name == self.primary.name:
                findings += [(Role.SECONDARY, other) for other in by_name.values()]
        return findings

    def diagnostics(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> list[Diagnostic]:  # noqa: ARG002
        """None of the findings beyond those every study has."""
        return []
