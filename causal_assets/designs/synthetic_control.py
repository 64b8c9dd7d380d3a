"""A few treated units against weighted untreated ones, over a prepared panel: one row per unit and period."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal, Self

import dagster as dg
import numpy as np
from pydantic import Field, model_validator

from causal_assets.component import TemplateScaffolder
from causal_assets.designs.table import TABLE_CHECKS, TableStudy
from causal_assets.estimators.conformal import conformal
from causal_assets.estimators.placebo_space import placebo_in_space
from causal_assets.estimators.predictors import fit_predictors
from causal_assets.estimators.synthetic_control import Fit, Method, Panel, choose_ridge, fit, leave_one_out
from causal_assets.estimators.synthetic_did import synthetic_did
from causal_assets.memo.facts import Assumption, Identification
from causal_assets.protocol import Arm, Finite, is_day
from causal_assets.types import Diagnostic, Estimate, Role
from causal_assets.warehouse import results
from causal_assets.warehouse.engine import Warehouse, identifier, literal
from causal_assets.warehouse.queries.tables import numbered
from causal_assets.warehouse.results import Finding

# A donor with less weight than this does not count.
NO_WEIGHT = 1e-6
# So many donors make a p of 5% possible by rank.
ENOUGH_DONORS = 19
Period = int | str
ABOUT_A_DAY = re.compile(r"\d{4}-\d{1,2}-\d{1,2}")
ON_PREDICTORS = " matched on predictors,"
BY_DONORS = Identification(
    words="Untreated {unit}s are weighted so that together they moved like the treated before it began. Had it not "
    "begun, the treated would have gone on moving like them; what differs afterwards is the effect.",
    assumptions=(
        Assumption(
            words="What moved the treated and the weighted {unit}s alike before goes on to move them alike.",
            checks=("pre_fit", "hull", "placebo_in_time", "placebo_in_space"),
            sensitivity=("donors",),
        ),
        Assumption(
            words="Nothing else happened to the treated, or to a {unit} with weight, from then on.",
            sensitivity=("donors",),
        ),
        Assumption(
            words="The treated did not react before it began, and the others never did: no budget, stock or customer "
            "moved over.",
            checks=("anticipation",),
        ),
    ),
    by_chance=False,
)


class PanelColumns(dg.Model, dg.Resolvable):
    """Which column holds what: the unit and the period of each row."""

    unit_id: str
    period: str


class Predictor(dg.Model, dg.Resolvable):
    """A column's mean over the periods ``first`` to ``last``, both included; by default all before the treatment.

    Values that are empty do not count; the outcome's own column may be a predictor.
    """

    column: str
    first: Period | None = None
    last: Period | None = None


@dg.scaffold_with(TemplateScaffolder)
class SyntheticControl(TableStudy):
    """Effect on the ``treated`` units from period ``start`` on; all other units are donors, or ``population`` of them.

    ``demeaned`` takes each unit's own level off first; ``augmented`` corrects what the weights leave unmatched by ridge
    regression, its penalty by leaving out one period at a time. ``inference`` permutes blocks of time or tries every
    unit as a placebo; synthetic DiD has a normal interval.

    With ``predictors`` the weights match these instead of every earlier outcome (Abadie, Diamond & Hainmueller). Their
    ``importance`` is given, or searched so that the outcome is followed best over ``fit_over`` (first, last).
    """

    design: ClassVar[str] = "synthetic control"
    identification: ClassVar[Identification] = BY_DONORS
    randomised: ClassVar[bool] = False
    checks: ClassVar[tuple[str, ...]] = (
        "pre_fit", "hull", "donors", "placebo_in_time", "anticipation", "placebo_in_space", "resolution", "few_treated",
        *TABLE_CHECKS,
    )  # fmt: skip
    cohort_grain: ClassVar[tuple[str, ...]] = ("unit_id", "period")
    cohort_fields: ClassVar[tuple[str, ...]] = ("treated",)
    estimate_fields: ClassVar[tuple[str, ...]] = (
        "start", "estimator", "demeaned", "augmented", "inference", "statistic", "seed",
        "importance", "fit_over",
    )  # fmt: skip

    columns: PanelColumns
    treated: Annotated[list[Arm], Field(min_length=1)]  # units; a number is written as such
    start: Period
    estimator: Literal["synthetic_control", "synthetic_did", "difference_in_differences"] = "synthetic_control"
    demeaned: bool = False
    augmented: bool = False
    inference: Literal["conformal", "placebo"] = "conformal"
    statistic: Literal["mean", "absolute"] = "mean"
    seed: int = 0
    predictors: Annotated[list[Predictor], Field(default_factory=list)]
    importance: list[Finite] | None = None
    fit_over: Annotated[list[Period], Field(min_length=2, max_length=2)] | None = None

    @model_validator(mode="after")
    def _days_are_written_in_full(self) -> Self:
        for text in self._texts:
            if ABOUT_A_DAY.fullmatch(text):  # compared as text, 2026-7-1 is after 2026-10-01
                is_day(text)
        return self

    @model_validator(mode="after")
    def _fields_fit_together(self) -> Self:
        if self.covariates:
            raise ValueError(f"covariates: {self.covariates} would not be used; name them as predictors")
        if not self.predictors:
            for name in ("importance", "fit_over"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name}: belongs to predictors, and none are given")
            return self
        if self.estimator != "synthetic_control" or self.demeaned or self.augmented or self.inference != "placebo":
            raise ValueError(
                "predictors: they need estimator: synthetic_control and inference: placebo, without demeaned or "
                "augmented"
            )
        if self.importance is not None and len(self.importance) != len(self.predictors):
            raise ValueError(
                f"importance: expected {len(self.predictors)} shares, as many as predictors, got {len(self.importance)}"
            )
        windows = {f"predictors.{p.column}": (p.first, p.last) for p in self.predictors}
        windows |= {} if self.fit_over is None else {"fit_over": (self.fit_over[0], self.fit_over[1])}
        for field, window in windows.items():
            given = [period for period in window if period is not None]
            if any(type(period) is not type(self.start) for period in given):
                raise ValueError(f"{field}: {given} must be written as start is, which is {self.start!r}")
            if given != sorted(given, key=lambda period: (period, 0)) or any(not p < self.start for p in given):  # ty: ignore[unsupported-operator]
                raise ValueError(f"{field}: expected first <= last, both before start {self.start}, got {given}")
        return self

    @property
    def stage_fields(self) -> dict[str, tuple[str, ...]]:
        """Predictors are read with the outcomes, for the outcome's own past is usually one."""
        fields = super().stage_fields
        return fields | {"outcomes": (*fields["outcomes"], "predictors")}

    def write_outcomes(self, warehouse: Warehouse, study: str) -> None:
        """Also write ``<study>.predictors``: their means by unit.

        Raises:
            dagster.Failure: as ``TableStudy``; a column that the table has not, or a unit without a predictor.
        """
        super().write_outcomes(warehouse, study)
        if not self.predictors:
            return
        relation = self._delivery(warehouse, study)["relation"]
        known = warehouse.columns(f"(FROM {relation})")
        for one in self.predictors:
            if one.column not in known:
                raise dg.Failure(
                    f"{study}: predictors: no column {one.column!r} in {self.origin()}; it has {sorted(known)}"
                )
        means = ", ".join(f"{self._mean(one)} AS p{k}" for k, one in enumerate(self.predictors))
        warehouse.replace(
            f"{study}.predictors",
            f"SELECT CAST(c.unit_id AS VARCHAR) AS unit_id, {means} FROM {study}.cohort AS c "
            f"JOIN ({numbered(relation)}) AS r USING (_row) GROUP BY ALL ORDER BY unit_id",
        )
        for k, one in enumerate(self.predictors):
            missing = warehouse.rows(f"SELECT unit_id FROM {study}.predictors WHERE p{k} IS NULL ORDER BY 1")
            if missing:
                units = [row["unit_id"] for row in missing]
                raise dg.Failure(
                    f"{study}: predictors.{one.column}: {len(units)} units have no value over its periods, such as "
                    f"{units[:3]}; choose other periods, or leave these units out by population"
                )

    def _mean(self, one: Predictor) -> str:
        """SQL of one predictor over the rows of a unit."""
        value = f"CAST(r.{identifier(one.column)} AS DOUBLE)"
        period = "c.period" if isinstance(self.start, int) else "CAST(c.period AS VARCHAR)"
        limits = [f"{period} < {_sql(self.start)}"]
        limits += [f"{period} >= {_sql(one.first)}"] if one.first is not None else []
        limits += [f"{period} <= {_sql(one.last)}"] if one.last is not None else []
        return f"avg({value}) FILTER (WHERE NOT isnan({value}) AND {' AND '.join(limits)})"

    @property
    def roles(self) -> dict[str, str]:
        """Columns by role."""
        return self.columns.model_dump()

    @property
    def in_order(self) -> dict[str, list[str]]:
        """Periods, and those of the protocol."""
        return {"period": self._texts}

    @property
    def _texts(self) -> list[str]:
        ends = [self.start, *(self.fit_over or []), *(end for p in self.predictors for end in (p.first, p.last))]
        return [end for end in ends if isinstance(end, str)]

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

    def matched(self, warehouse: Warehouse, study: str) -> Callable[[Panel], Fit] | None:
        """How a panel's donors are matched on the predictors; None without predictors."""
        if not self.predictors:
            return None
        rows = warehouse.rows(f"FROM {study}.predictors")
        by_unit = {row["unit_id"]: [row[f"p{k}"] for k in range(len(self.predictors))] for row in rows}

        def match(panel: Panel) -> Fit:
            labels = np.asarray(panel.periods[: panel.pre])
            loss = None if self.fit_over is None else (labels >= self.fit_over[0]) & (labels <= self.fit_over[1])
            values = [by_unit[unit] for unit in panel.units]
            return fit_predictors(panel, values, importance=self.importance, loss=loss).fit

        return match

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
            if match := self.matched(warehouse, study):
                found = placebo_in_space(
                    panel, method, outcome=name, level=self.level, seed=self.seed, weights_of=lambda p: match(p).weights
                )
                findings.append((self.role(name), replace(found, method=found.method.replace(",", ON_PREDICTORS, 1))))
                if name == self.primary.name:
                    findings.append((Role.ALTERNATIVE, self.effect(panel, name, method, "placebo")))
                continue

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

    def diagnostics(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> list[Diagnostic]:
        """Fit and gaps before treatment, single donors, untreated units, what the test can resolve, treated units."""
        from causal_assets.diagnostics.donors import donors
        from causal_assets.diagnostics.few_treated import few_treated
        from causal_assets.diagnostics.hull import hull
        from causal_assets.diagnostics.pre_fit import pre_fit
        from causal_assets.diagnostics.resolution import resolution
        from causal_assets.estimators.placebo_space import GROUPS, groups_of_units, placebo_gaps

        primary = results.primary(findings)
        assert primary is not None  # the graph asks for diagnostics of an estimate only
        panel = self.panel(warehouse, study, self.primary.name)
        method = self.method(panel)
        match = self.matched(warehouse, study)
        found = match(panel) if match else fit(panel, method)
        groups = groups_of_units(panel.treated, GROUPS, self.seed)
        rmspe = placebo_gaps(panel, method, groups, (lambda p: match(p).weights) if match else None)[2]
        told = [pre_fit(rmspe[0], rmspe[1:], scaled_l2=found.scaled_l2, effect=found.effect)]
        if len(panel.donors) > 2 and match:
            used = [donor for donor, w in zip(panel.donors, found.weights, strict=True) if w > NO_WEIGHT]
            told.append(donors(primary, {donor: match(panel.without(donor)).effect for donor in used}))
        elif len(panel.donors) > 2 and self.estimator == "synthetic_control":
            told.append(donors(primary, leave_one_out(panel, method)))
        if not match:
            told += [hull(panel.outside(demeaned=method.demeaned), panel.pre), *self._before(panel, method, primary)]
            told += self._beside(primary, findings)
        if self.estimator == "synthetic_did":
            told.append(few_treated(int(panel.treated.sum())))
        elif self.inference == "conformal":
            told.append(resolution(panel.y.shape[1], self.level, pre_periods=panel.pre))
        else:
            told.append(resolution(len(groups), self.level))
        return told

    def _before(self, panel: Panel, method: Method, primary: Estimate) -> list[Diagnostic]:
        """Gaps in the last periods before the treatment, and in stretches as long as that after it before these."""
        from causal_assets.diagnostics.placebo_periods import early_periods, placebo_periods

        after = panel.y.shape[1] - panel.pre
        ahead = -(-after // 2)
        stretches = ((ahead, 0), (after, ahead), (after, ahead + after))
        early, *placebos = (self._gap_before(panel, method, length, ends) for length, ends in stretches)
        told = [early_periods(early, ahead)] if early else []
        shown = [placebo for placebo in placebos if placebo]
        return [*told, placebo_periods(shown, primary, early)] if shown else told

    def _gap_before(self, panel: Panel, method: Method, length: int, ends: int) -> Estimate | None:
        """The gap over ``length`` periods, ``ends`` before the treatment; None where the fit could not be compared.

        A fit on less than half of the time is another fit, and one that is exact shows no gaps (``pre_fit`` tells).
        """
        if panel.pre - ends - length < max(panel.pre / 2, 2):
            return None
        # Among fewer units the smallest p is above 5%, and nothing would be seen; blocks of time then say more.
        inference = "placebo" if len(panel.donors) >= ENOUGH_DONORS else "conformal"
        try:
            return self.effect(panel.earlier(length, ends=ends), self.primary.name, method, inference)
        except ValueError:
            return None

    def _beside(self, primary: Estimate, findings: Sequence[Finding]) -> list[Diagnostic]:
        """The claim among untreated units, where it was made by permuting time."""
        from causal_assets.diagnostics.placebo_in_space import placebo_in_space

        if self.inference != "conformal":
            return []
        ranked = [e for role, e in findings if role is Role.ALTERNATIVE and "placebo in space" in e.method]
        return [placebo_in_space(primary, e) for e in ranked]

    def figures(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> dict[str, Any]:  # noqa: ARG002
        """The treated beside their weighted donors, and the donors' weights; none for synthetic DiD."""
        if self.estimator == "synthetic_did":
            return {}
        from causal_assets.memo import design_plots

        panel = self.panel(warehouse, study, self.primary.name)
        match = self.matched(warehouse, study)
        found = match(panel) if match else fit(panel, self.method(panel))
        what = design_plots.Axis(self.primary.name, self.unit, self.primary.money)
        pairs = zip(panel.donors, found.weights.tolist(), strict=True)
        return {
            "treated and weighted donors": design_plots.synthetic(
                panel.mean_treated, found.gaps, panel.periods, panel.pre, what, time=self.columns.period
            ),
            "donor weights": design_plots.donor_weights({unit: w for unit, w in pairs if abs(w) > NO_WEIGHT}),
        }


def _sql(period: Period) -> str:
    return str(period) if isinstance(period, int) else literal(period)
