"""Units that adopt against units that have not, over a prepared panel: one row per unit and period."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Literal, Self

import dagster as dg
import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from causal_assets.component import TemplateScaffolder
from causal_assets.designs.panel_reading import read_event_study, read_two_by_two, read_two_way
from causal_assets.designs.table import TABLE_CHECKS, TableStudy
from causal_assets.estimators.inference import Refusal
from causal_assets.estimators.parallel_trends import detrended, pre_trend
from causal_assets.estimators.staggered import Effects, GroupTime, group_time
from causal_assets.estimators.two_way import wide_panel
from causal_assets.memo.facts import NO_INTERFERENCE, Assumption, Identification
from causal_assets.types import Diagnostic, Estimate, Role
from causal_assets.warehouse.engine import Warehouse, identifier
from causal_assets.warehouse.queries import panels
from causal_assets.warehouse.queries.tables import unknown
from causal_assets.warehouse.results import Finding

BY_TRENDS = Identification(
    words="Treated {unit}s are compared with {unit}s not treated at that time, each with its own past. Had nobody been "
    "treated, both would have changed alike; what the treated changed more is the effect.",
    assumptions=(
        Assumption(
            words="Without treatment, treated and untreated {unit}s would have changed by the same amount "
            "(parallel trends).",
            checks=("parallel_trends", "placebo_in_time", "placebo_units"),
            sensitivity=("alternatives",),
        ),
        Assumption(
            words="Nobody reacted before being treated, beyond the anticipation declared.", checks=("anticipation",)
        ),
        NO_INTERFERENCE,
    ),
    by_chance=False,
)


class PanelColumns(dg.Model, dg.Resolvable):
    """Which column holds what: unit and period of each row, and who is treated when.

    ``treatment`` is 0 or 1 in each row, or ``first_treated`` is the unit's first treated period, 0 if it has none.
    Errors are by ``cluster`` where given, which holds whole units, and by unit otherwise.
    """

    unit_id: str
    period: str
    treatment: str | None = None
    first_treated: str | None = None
    cluster: str | None = None


@dg.scaffold_with(TemplateScaffolder)
class DifferenceInDifferences(TableStudy):
    """Effect on the treated, after they adopt.

    ``staggered`` compares each cohort with units not (yet) treated and is right whatever the dates; ``two_way`` is the
    regression on unit and period effects, ``event_study`` its effects by period (one adoption date, averaged), and
    ``two_by_two`` the four means before and after the one date, units seen once included.
    """

    design: ClassVar[str] = "difference-in-differences"
    identification: ClassVar[Identification] = BY_TRENDS
    randomised: ClassVar[bool] = False
    checks: ClassVar[tuple[str, ...]] = (
        "parallel_trends", "placebo_in_time", "anticipation", "placebo_units", "alternatives", *TABLE_CHECKS,
    )  # fmt: skip
    cohort_grain: ClassVar[tuple[str, ...]] = ("unit_id", "period")
    estimate_fields: ClassVar[tuple[str, ...]] = ("estimator", "controls", "average", "anticipation", "seed")

    columns: PanelColumns
    estimator: Literal["staggered", "two_way", "event_study", "two_by_two"] = "staggered"
    controls: Literal["never", "not yet"] = "never"
    average: Literal["simple", "group", "dynamic", "calendar"] = "simple"
    anticipation: int = 0
    seed: int = 0

    @model_validator(mode="after")
    def _treatment_is_told_once(self) -> Self:
        if (self.columns.treatment is None) == (self.columns.first_treated is None):
            raise ValueError("columns: name either treatment or first_treated")
        if self.covariates and self.estimator != "staggered":
            raise ValueError(f"covariates: {self.estimator} takes none; use estimator: staggered")
        return self

    @property
    def roles(self) -> dict[str, str]:
        """Columns by role."""
        return self.columns.model_dump(exclude_none=True)

    @property
    def in_order(self) -> dict[str, list[str]]:
        """Periods."""
        return {"period": []}

    def write_cohort(self, warehouse: Warehouse, study: str, file: str) -> None:
        """As any study's cohort; every row says when its unit is first treated.

        Raises:
            dagster.Failure: names file, field, given and allowed.
        """
        if first := self.columns.first_treated:
            rows = f"(SELECT * FROM {self._relation(warehouse, file)} {self._filter(warehouse, file)})"
            if empty := warehouse.scalar(f"SELECT count(*) FROM {rows} WHERE {unknown(identifier(first))}"):
                raise dg.Failure(
                    f"{file}: columns.first_treated: {first!r} is empty in {empty} rows; a unit never treated has 0"
                )
        super().write_cohort(warehouse, study, file)

    @property
    def condition(self) -> str:
        """All rows of a unit that is ever treated, those before it was treated included."""
        if self.columns.first_treated is not None:
            return "first_treated > 0"
        return "max(CAST(treatment AS INTEGER)) OVER (PARTITION BY unit_id) = 1"

    @property
    def arm_names(self) -> tuple[str, str]:
        """Never and ever treated."""
        return "never treated", "treated"

    one_sided: ClassVar[bool] = True  # units not yet treated may be the only controls

    def panel(self, warehouse: Warehouse, study: str, outcome: str) -> dict[str, NDArray[Any]]:
        """Rows as arrays: ``y``, ``d`` (0 or 1), ``unit_id``, ``period``, ``cluster`` and covariates."""
        rows = self.rows(warehouse, study, outcome)
        if self.columns.treatment is not None:
            rows["d"] = rows["treatment"].astype(np.float64)
        else:
            first = rows["first_treated"]
            rows["d"] = ((first > 0) & (rows["period"] >= first)).astype(np.float64)
        rows.setdefault("cluster", rows["unit_id"])
        return rows

    def cells(self, warehouse: Warehouse, study: str, rows: dict[str, NDArray[Any]], base: Any) -> GroupTime:
        """Effects by cohort and period; covariates are those of a unit's first period.

        Raises:
            ValueError: as ``wide_panel`` and ``group_time``.
        """
        outcome, dose = wide_panel(rows["y"], rows["d"], rows["unit_id"], rows["period"])
        periods = np.unique(rows["period"])
        when = periods if np.issubdtype(periods.dtype, np.number) else np.arange(periods.size)
        adopts = dose.any(axis=1)
        cohort = np.where(adopts, when[dose.argmax(axis=1)], np.inf)
        _, first = np.unique(rows["unit_id"][order := np.lexsort((rows["period"], rows["unit_id"]))], return_index=True)
        names = self.adjusted_for(warehouse, study)
        x = np.column_stack([rows[name][order][first] for name in names]).astype(np.float64) if names else None
        return group_time(
            outcome,
            cohort,
            when,
            x,
            control=self.controls,
            anticipation=self.anticipation,
            base=base,
            cluster=rows["cluster"][order][first],
        )

    def relation(self, study: str, outcome: str) -> panels.PanelColumns:
        """The same rows where they are, for estimates from grouped sums."""
        treatment = "c.treatment"
        if self.columns.first_treated is not None:
            treatment = "CAST(c.first_treated > 0 AND c.period >= c.first_treated AS INTEGER)"
        cluster = ", c.cluster" if self.columns.cluster else ""
        table = (
            f"(SELECT c.unit_id, c.period{cluster}, CAST(c.treated AS INTEGER) AS arm, {treatment} AS d, "
            f"o.{identifier(outcome)} AS y FROM {study}.cohort AS c "
            f"JOIN {study}.outcomes AS o USING (_row) WHERE o.{identifier(outcome)} IS NOT NULL)"
        )
        return panels.PanelColumns(table, "unit_id", "period", "y", "d", "cluster" if self.columns.cluster else None)

    def effect(self, warehouse: Warehouse, study: str, name: str, by: str) -> Estimate:
        """The effect by one of the estimators, from grouped sums; ``staggered`` reads rows (see ``staggered``).

        Raises:
            ValueError: as that estimator.
        """
        if by == "two_way":
            return read_two_way(warehouse, self.relation(study, name)).estimate(outcome=name, level=self.level)
        if by == "event_study":
            return read_event_study(warehouse, self.relation(study, name)).average(outcome=name, level=self.level)
        if by == "two_by_two":
            panel = self.relation(study, name)
            return read_two_by_two(warehouse, panel, "arm", outcome=name, level=self.level)
        rows = self.panel(warehouse, study, name)
        effects = self.cells(warehouse, study, rows, "varying").aggregate(self.average)
        return effects.overall(outcome=name, level=self.level)

    def estimates(self, warehouse: Warehouse, study: str) -> list[Finding]:
        """The effect on every outcome; of the primary also by event time, by two-way effects and less a linear trend.

        An alternative that the data cannot give is left out, and ``alternatives`` tells why.
        """
        findings: list[Finding] = []
        for name in (outcome.name for outcome in self.outcomes):
            findings.append((self.role(name), self.effect(warehouse, study, name, self.estimator)))
            if name == self.primary.name:
                for way in self._ways(warehouse, study).values():
                    with suppress(Refusal):
                        findings += [(Role.ALTERNATIVE, e) for e in way()]
        return findings

    def _ways(self, warehouse: Warehouse, study: str) -> dict[str, Callable[[], list[Estimate]]]:
        """Other answers to the primary question, by words that their methods hold and no other's."""
        name = self.primary.name

        def by_time() -> Effects:
            rows = self.panel(warehouse, study, name)
            return self.cells(warehouse, study, rows, "universal").aggregate("dynamic")

        def less_a_trend() -> list[Estimate]:
            events = by_time().event_study()
            after = sum(when > events.reference for when in events.relative)
            return [detrended(events, np.full(after, 1 / after), outcome=name, level=self.level)]

        other, method = ("two_way", "two-way") if self.estimator == "staggered" else ("staggered", "varying base")
        return {
            method: lambda: [self.effect(warehouse, study, name, other)],
            "less a linear trend": less_a_trend,
            "simultaneous": lambda: by_time().bands(outcome=name, seed=self.seed, level=self.level),
        }

    def diagnostics(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> list[Diagnostic]:
        """Parallel trends, and effects where there can be none: before adoption, and among the untreated."""
        from causal_assets.diagnostics.alternatives import alternatives

        methods = [estimate.method for role, estimate in findings if role is Role.ALTERNATIVE]
        refused: dict[str, str] = {}
        for words, way in self._ways(warehouse, study).items():
            if not any(words in method for method in methods):
                try:
                    way()
                except Refusal as reason:
                    refused[words] = str(reason)
        rows = self.panel(warehouse, study, self.primary.name)
        return [*self._before(warehouse, study, rows), *self._untreated(rows), alternatives(refused)]

    def _before(self, warehouse: Warehouse, study: str, rows: dict[str, NDArray[Any]]) -> list[Diagnostic]:
        from dataclasses import asdict

        from causal_assets.diagnostics import placebo_in_time as before
        from causal_assets.diagnostics.parallel_trends import parallel_trends, untestable
        from causal_assets.estimators.before_adoption import anticipation, placebo_in_time

        try:
            events = self.cells(warehouse, study, rows, "universal").aggregate("dynamic").event_study()
            rule, name, level = self.decision, self.primary.name, self.level
            pays = rule.cost_per_unit / rule.value_per_outcome if rule.value_per_outcome else 0.0
            average = events.average(outcome=name, level=level)
            return [
                parallel_trends(**asdict(pre_trend(events, threshold=pays, level=level))),
                before.placebo_in_time(placebo_in_time(events, outcome=name, level=level), average),
                before.anticipation(anticipation(events, outcome=name, level=level), average),
            ]
        except Refusal as error:
            return [untestable(str(error))]

    def _untreated(self, rows: dict[str, NDArray[Any]]) -> list[Diagnostic]:
        """Made-up treated groups among the units, or clusters, that are never treated, at the first adoption date."""
        from causal_assets.diagnostics.placebo_units import placebo_units
        from causal_assets.estimators.before_adoption import rejections_among_untreated

        never = rows["treated"] == 0
        own, index = np.unique(rows["cluster"][never], return_inverse=True)
        after = rows["period"][never] >= rows["period"][rows["d"] == 1].min()
        cell = index + own.size * after
        sums, counts = (
            np.bincount(cell, weights, 2 * own.size).reshape(2, -1)
            for weights in (rows["y"][never], np.ones(cell.size))
        )
        whole = counts.min(axis=0) > 0  # a unit may lack one of the sides
        change = sums[1, whole] / counts[1, whole] - sums[0, whole] / counts[0, whole]
        treated = np.unique(rows["cluster"][~never]).size
        try:
            rejected = rejections_among_untreated(change, treated, level=self.level, seed=self.seed)
        except Refusal:
            return []
        return [placebo_units(rejected, self.level)]

    def figures(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> dict[str, Any]:
        """Effects by event time with simultaneous bands, and what two-way effects would have averaged."""
        from causal_assets.estimators.bacon import bacon
        from causal_assets.memo import design_plots

        shown: dict[str, Any] = {}
        prefix = "ATT, event time "
        times = {
            int(e.estimand.removeprefix(prefix)): e
            for role, e in findings
            if role is Role.ALTERNATIVE and "simultaneous" in e.method and e.estimand.startswith(prefix)
        }
        what = design_plots.Axis(self.primary.name, self.unit, self.primary.money)
        if times:
            shown["effect by time since adoption"] = design_plots.event_study(times, -1 - self.anticipation, what)
        rows = self.panel(warehouse, study, self.primary.name)
        with suppress(Refusal):
            pairs = bacon(*wide_panel(rows["y"], rows["d"], rows["unit_id"], rows["period"]))
            if len(pairs) > 1:
                shown["comparisons in the two-way estimate"] = design_plots.bacon(
                    pairs, np.unique(rows["period"]).size, what
                )
        return shown
