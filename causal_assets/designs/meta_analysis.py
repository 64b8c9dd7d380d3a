"""One answer from several studies: a table of effects with their standard errors, one row each."""

import re
from collections.abc import Sequence
from typing import ClassVar, Literal

import dagster as dg
import numpy as np

from causal_assets.component import TemplateScaffolder
from causal_assets.designs.table import TABLE_CHECKS, TableStudy
from causal_assets.estimators.pooling import Pooled, partial_pooling, random_effects
from causal_assets.memo.facts import Assumption, Identification
from causal_assets.types import Diagnostic, Role
from causal_assets.warehouse.engine import Warehouse
from causal_assets.warehouse.results import Finding

# With fewer studies the data say too little about how far each should be drawn to the mean.
FEWEST_GROUPS = 4
# What the name of a tracked metric may not hold.
UNPRINTABLE = re.compile(r"[^\w. /-]", re.ASCII)
POOLED = Identification(
    words="Each {unit} has estimated the effect of “{treated}” on its own. Their mean is an effect as far as "
    "each of them is one, for a population of such cases of which these are a fair sample.",
    assumptions=(
        Assumption(
            words="Each {unit}'s own estimate is valid, and its standard error honest.",
            untestable="the table holds estimates, not the data that they were made of.",
        ),
        Assumption(
            words="The estimates are independent of each other: no customers in common.",
            untestable="the table does not say whose data an estimate was made of.",
        ),
        Assumption(
            words="No {unit} was left out because of what it found.",
            untestable="what was left out is not in the table.",
        ),
        Assumption(
            words="Where one {unit} differs from another, one mean still tells what to expect of the next.",
            checks=("heterogeneity",),
        ),
    ),
    by_chance=False,
)


class StudyColumns(dg.Model, dg.Resolvable):
    """Which column holds what: the standard error, the study's name, and its units per arm where they are known."""

    std_error: str
    unit_id: str
    n_treated: str | None = None
    n_control: str | None = None


@dg.scaffold_with(TemplateScaffolder)
class MetaAnalysis(TableStudy):
    """Random-effects mean of the effects in the primary outcome's column, with each study's shrunken effect beside.

    ``between`` says how the variance between studies is estimated.
    """

    design: ClassVar[str] = "meta-analysis"
    identification: ClassVar[Identification] = POOLED
    randomised: ClassVar[bool] = False
    checks: ClassVar[tuple[str, ...]] = ("heterogeneity", *TABLE_CHECKS)
    one_sided: ClassVar[bool] = True
    estimate_fields: ClassVar[tuple[str, ...]] = ("between",)

    columns: StudyColumns
    between: Literal["REML", "DL", "PM"] = "REML"

    @property
    def roles(self) -> dict[str, str]:
        """Columns by role."""
        return self.columns.model_dump(exclude_none=True)

    @property
    def condition(self) -> str:
        """Every study is one of the treatment."""
        return "true"

    def _pooled(self, warehouse: Warehouse, study: str, outcome: str) -> Pooled:
        rows = self.rows(warehouse, study, outcome)
        n_treated, n_control = (int(np.sum(rows.get(name, 0))) for name in ("n_treated", "n_control"))
        return random_effects(
            rows["y"],
            rows["std_error"],
            outcome=outcome,
            between=self.between,
            level=self.level,
            n_treated=n_treated,
            n_control=n_control,
        )

    def estimates(self, warehouse: Warehouse, study: str) -> list[Finding]:
        """The pooled effect, the common one beside it, and each study's own drawn to the mean."""
        from causal_assets.estimators.pooling import fixed_effect

        name = self.primary.name
        rows = self.rows(warehouse, study, name)
        findings: list[Finding] = [(Role.PRIMARY, self._pooled(warehouse, study, name).estimate)]
        common = fixed_effect(rows["y"], rows["std_error"], outcome=name, level=self.level)
        findings.append((Role.ALTERNATIVE, common))
        if len(rows["y"]) >= FEWEST_GROUPS:
            groups = partial_pooling(
                rows["y"],
                rows["std_error"],
                outcomes=[f"{name}: {UNPRINTABLE.sub('_', str(label))}" for label in rows["unit_id"]],
                level=self.level,
                n_treated=rows["n_treated"].tolist() if "n_treated" in rows else None,
                n_control=rows["n_control"].tolist() if "n_control" in rows else None,
            )
            findings += [(Role.SECONDARY, group) for group in groups]
        return findings

    def diagnostics(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> list[Diagnostic]:  # noqa: ARG002
        """How much the studies differ."""
        from causal_assets.diagnostics.heterogeneity import heterogeneity

        pooled = self._pooled(warehouse, study, self.primary.name)
        return [
            heterogeneity(
                studies=pooled.studies,
                q_p_value=pooled.q_p_value,
                i2=pooled.i2,
                predicted_low=pooled.predicted_low,
                predicted_high=pooled.predicted_high,
            )
        ]
