"""A few treated units against weighted untreated ones, over a prepared panel: one row per unit and period."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import dagster as dg
from pydantic import Field

from causal_assets.component import TemplateScaffolder
from causal_assets.designs.table import TABLE_CHECKS, TableStudy
from causal_assets.estimators.conformal import conformal
from causal_assets.estimators.placebo_space import placebo_in_space
from causal_assets.estimators.synthetic_control import Method, Panel, choose_ridge, fit, leave_one_out
from causal_assets.estimators.synthetic_did import synthetic_did
from causal_assets.memo.facts import Identification
from causal_assets.types import Diagnostic, Estimate, Role
from causal_assets.warehouse.engine import Warehouse, literal
from causal_assets.warehouse.results import Finding

BY_DONORS = Identification(
    words="Untreated {unit}s are weighted so that together they moved like the treated before it began. Had it not "
    "begun, the treated would have gone on moving like them; what differs afterwards is the effect.",
    assumptions=(
        "What moved the treated and the weighted {unit}s alike before goes on to move them alike.",
        "Nothing else happened to the treated, or to a {unit} with weight, from then on.",
        "The treated did not react before it began, and the others never did: no budget, stock or customer moved over.",
    ),
    by_chance=False,
)


class PanelColumns(dg.Model, dg.Resolvable):
    """Which column holds what: the unit and the period of each row."""

    unit_id: str
    period: str


@dg.scaffold_with(TemplateScaffolder)
class SyntheticControl(TableStudy):
    """Effect on the ``treated`` units from period ``start`` on; all other units are donors, or ``population`` of them.

    ``demeaned`` takes each unit's own level off first; ``augmented`` corrects what the weights leave unmatched by ridge
    regression, its penalty by leaving out one period at a time. ``inference`` permutes blocks of time or tries every
    unit as a placebo; synthetic DiD has a normal interval.
    """

    design: ClassVar[str] = "synthetic control"
    identification: ClassVar[Identification] = BY_DONORS
    randomised: ClassVar[bool] = False
    checks: ClassVar[tuple[str, ...]] = ("pre_fit", "donors", "resolution", "few_treated", *TABLE_CHECKS)
    cohort_grain: ClassVar[tuple[str, ...]] = ("unit_id", "period")
    cohort_fields: ClassVar[tuple[str, ...]] = ("treated",)
    estimate_fields: ClassVar[tuple[str, ...]] = (
        "start", "estimator", "demeaned", "augmented", "inference", "statistic", "seed",
    )  # fmt: skip

    columns: PanelColumns
    treated: Annotated[list[str], Field(min_length=1)]
    start: int | str
    estimator: Literal["synthetic_control", "synthetic_did", "difference_in_differences"] = "synthetic_control"
    demeaned: bool = False
    augmented: bool = False
    inference: Literal["conformal", "placebo"] = "conformal"
    statistic: Literal["mean", "absolute"] = "mean"
    seed: int = 0

    @property
    def roles(self) -> dict[str, str]:
        """Columns by role."""
        return self.columns.model_dump()

    @property
    def condition(self) -> str:
        """All rows of a treated unit, those before it was treated included."""
        return f"CAST(unit_id AS VARCHAR) IN ({', '.join(literal(unit) for unit in self.treated)})"

    @property
    def arm_names(self) -> tuple[str, str]:
        """Donors and treated."""
        return "donors", "treated"

    def panel(self, warehouse: Warehouse, study: str, outcome: str) -> Panel:
        """The outcome of all units over all periods.

        Raises:
            ValueError: as ``Panel.of``; rows without the outcome leave an unbalanced panel.
        """
        rows = self.rows(warehouse, study, outcome)
        when = rows["period"] if isinstance(self.start, int) else rows["period"].astype(str)
        return Panel.of(rows["unit_id"], when, rows["y"], treated=self.treated, start=self.start)

    def method(self, panel: Panel) -> Method:
        """How weights are found; the penalty comes from the periods before the treatment."""
        if self.estimator == "difference_in_differences":
            return Method(weights="uniform", demeaned=True)
        ridge = choose_ridge(panel, demeaned=self.demeaned) if self.augmented else None
        return Method(demeaned=self.demeaned, ridge=ridge)

    def effect(self, panel: Panel, outcome: str, method: Method, inference: str) -> Estimate:
        """The effect by the given method and inference."""
        if inference == "placebo":
            return placebo_in_space(panel, method, outcome=outcome, level=self.level, seed=self.seed)
        return conformal(panel, method, outcome=outcome, level=self.level, statistic=self.statistic)

    def estimates(self, warehouse: Warehouse, study: str) -> list[Finding]:
        """The effect on every outcome; of the primary also by the other inference, without each donor, unit by unit.

        An alternative that has no answer is left out; the study's own estimate then fails with its reason.
        """
        findings: list[Finding] = []
        for name in (outcome.name for outcome in self.outcomes):
            panel = self.panel(warehouse, study, name)
            method = self.method(panel)

            def own(panel: Panel, name: str = name, method: Method = method) -> Estimate:
                if self.estimator == "synthetic_did":
                    return synthetic_did(panel, outcome=name, level=self.level, seed=self.seed)
                return self.effect(panel, name, method, self.inference)

            findings.append((self.role(name), own(panel)))
            if name == self.primary.name:
                findings += [(Role.ALTERNATIVE, e) for e in self._alternatives(panel, name, method, own)]
        return findings

    def _alternatives(
        self, panel: Panel, name: str, method: Method, own: Callable[[Panel], Estimate]
    ) -> list[Estimate]:
        other = "placebo" if self.inference == "conformal" else "conformal"
        ways: list[tuple[str, Callable[[], Estimate]]] = [("", lambda: self.effect(panel, name, method, other))]
        if self.estimator != "synthetic_did":
            ways.append(("", lambda: synthetic_did(panel, outcome=name, level=self.level, seed=self.seed)))
        used = leave_one_out(panel, method) if len(panel.donors) > 2 and self.estimator == "synthetic_control" else {}
        ways += [(f", without {donor}", lambda donor=donor: own(panel.without(donor))) for donor in used]
        if panel.treated.sum() > 1:
            ways += [(f", {unit} alone", lambda one=one: own(one)) for unit, one in panel.one_by_one().items()]
        found = []
        for suffix, way in ways:
            try:
                estimate = way()
            except ValueError:
                continue
            found.append(replace(estimate, method=estimate.method + suffix))
        return found

    def diagnostics(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> list[Diagnostic]:  # noqa: ARG002
        """Fit before treatment, dependence on single donors, what the test can resolve, number of treated units."""
        from causal_assets.diagnostics.donors import donors
        from causal_assets.diagnostics.few_treated import few_treated
        from causal_assets.diagnostics.pre_fit import pre_fit
        from causal_assets.diagnostics.resolution import resolution
        from causal_assets.estimators.placebo_space import GROUPS, groups_of_units, placebo_gaps

        panel = self.panel(warehouse, study, self.primary.name)
        method = self.method(panel)
        found = fit(panel, method)
        groups = groups_of_units(panel.treated, GROUPS, self.seed)
        rmspe = placebo_gaps(panel, method, groups)[2]
        told = [pre_fit(rmspe[0], rmspe[1:], scaled_l2=found.scaled_l2, effect=found.effect)]
        if len(panel.donors) > 2:
            told.append(donors(found.effect, leave_one_out(panel, method)))
        if self.estimator == "synthetic_did":
            told.append(few_treated(int(panel.treated.sum())))
        elif self.inference == "conformal":
            told.append(resolution(panel.y.shape[1], self.level, pre_periods=panel.pre))
        else:
            told.append(resolution(len(groups), self.level))
        return told
