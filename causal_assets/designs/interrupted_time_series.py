"""Interrupted time series over a prepared table: one row per period, the outcome beside series left untouched."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import dagster as dg
import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from causal_assets.component import TemplateScaffolder
from causal_assets.designs.table import TABLE_CHECKS, TableStudy
from causal_assets.estimators.structural_time_series import LEVEL_STEP, Counterfactual
from causal_assets.memo.facts import Assumption, Identification
from causal_assets.types import Diagnostic, Role
from causal_assets.warehouse.engine import Warehouse, literal
from causal_assets.warehouse.results import Finding

# Steps of time may differ by this factor (months, leap years) and still be one period each; a gap is twice as long.
UNEVEN = 1.5
BY_FORECAST = Identification(
    words="Everyone was treated at once. The time before says how the outcome moves with series that the intervention "
    "does not touch; from then on those series say what would have happened, and the difference is the effect.",
    assumptions=(
        Assumption(
            words="The intervention does not affect the control series.",
            untestable="what the controls would have done without it is seen as little as for the outcome.",
        ),
        Assumption(
            words="How the outcome moves with them would have stayed as it was.",
            checks=("level_break", "residual_drift", "residual_autocorrelation", "placebo_split"),
        ),
        Assumption(
            words="Nothing else began together with the intervention.",
            untestable="what begins on the same day in the only series treated cannot be told apart from it.",
        ),
    ),
    by_chance=False,
)


class SeriesColumns(dg.Model, dg.Resolvable):
    """Which column holds what: the period's time (a date or a number), and the control series."""

    time: str
    controls: Annotated[list[str], Field(default_factory=list)]


@dg.scaffold_with(TemplateScaffolder)
class InterruptedTimeSeries(TableStudy):
    """One series before and after an intervention, with control series; structural time series forecast."""

    design: ClassVar[str] = "interrupted time series"
    identification: ClassVar[Identification] = BY_FORECAST
    randomised: ClassVar[bool] = False
    checks: ClassVar[tuple[str, ...]] = (
        "level_break", "residual_drift", "residual_autocorrelation", "placebo_split", *TABLE_CHECKS,
    )  # fmt: skip
    cohort_fields: ClassVar[tuple[str, ...]] = ("starts",)
    estimate_fields: ClassVar[tuple[str, ...]] = ("drift", "season", "level_step")

    columns: SeriesColumns
    starts: Annotated[str, BeforeValidator(str)]  # the first period with the intervention
    drift: bool = False
    season: int = 0
    level_step: float = LEVEL_STEP

    @property
    def roles(self) -> dict[str, str]:
        """Columns by role; controls are numbered, a period is a unit."""
        controls = {f"control_{i}": column for i, column in enumerate(self.columns.controls)}
        return {"unit_id": self.columns.time, "time": self.columns.time, **controls}

    @property
    def in_order(self) -> dict[str, list[str]]:
        """Times, and the first with the intervention."""
        return {"time": [self.starts]}

    @property
    def condition(self) -> str:
        """The time since the intervention."""
        return f"time >= {literal(self.starts)}"

    @property
    def arm_names(self) -> tuple[str, str]:
        """The two stretches of time."""
        return "before", "after"

    def estimates(self, warehouse: Warehouse, study: str) -> list[Finding]:
        """Average and cumulative effect of every outcome, and the primary one's at a date when nothing happened."""
        from causal_assets.estimators.structural_time_series import average_effect, cumulative_effect

        findings: list[Finding] = []
        for outcome in self.outcomes:
            forecast = self._forecast(*self._series(warehouse, study, outcome.name))
            options = {"outcome": outcome.name, "level": self.level}
            findings.append((self.role(outcome.name), average_effect(forecast, **options)))
            findings.append((Role.SECONDARY, cumulative_effect(forecast, **options)))
        y, x, start = self._series(warehouse, study, self.primary.name)
        # As far ahead as the study itself, but from no less than half of the time before.
        earlier = start - min(y.size - start, start // 2)
        moving = np.ptp(x[:earlier], axis=0) > 0  # a control may not have moved yet
        placebo = self._forecast(y[:start], x[:start, moving], earlier)
        findings.append((Role.PLACEBO, average_effect(placebo, outcome=self.primary.name, level=self.level)))
        return findings

    def diagnostics(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> list[Diagnostic]:
        """Whether the model holds in the time before."""
        from causal_assets.diagnostics import time_series_fit as fit
        from causal_assets.estimators.structural_time_series import checks

        found = checks(self._forecast(*self._series(warehouse, study, self.primary.name)).fit, drift=self.drift)
        return [
            fit.level_break(found.break_at, found.break_z, found.break_p),
            fit.residual_drift(found.drift_z, found.drift_p),
            fit.residual_autocorrelation(found.autocorrelation_p),
            fit.placebo_split(next(estimate for role, estimate in findings if role is Role.PLACEBO)),
        ]

    def figures(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> dict[str, Any]:  # noqa: ARG002
        """Observed against forecast, the effect by period, and its sum since the intervention."""
        from causal_assets.estimators.structural_time_series import cumulative_by_period, effect_by_period
        from causal_assets.memo import design_plots

        y, x, start = self._series(warehouse, study, self.primary.name)
        forecast = self._forecast(y, x, start)
        each, summed = (path(forecast, level=self.level) for path in (effect_by_period, cumulative_by_period))
        courses = [design_plots.Course(path.value, path.low, path.high) for path in (each, summed)]
        periods = np.sort(self.rows(warehouse, study, self.primary.name)["time"])
        what = design_plots.Axis(self.primary.name, self.unit, self.primary.money)
        figure = design_plots.interrupted(y, *courses, periods.tolist(), what, time=self.columns.time, level=self.level)
        return {"observed and forecast": figure}

    def _forecast(self, y: NDArray[np.float64], x: NDArray[np.float64], start: int) -> Counterfactual:
        from causal_assets.estimators.structural_time_series import counterfactual

        return counterfactual(y, x, start=start, drift=self.drift, season=self.season, level_step=self.level_step)

    def _series(
        self, warehouse: Warehouse, study: str, outcome: str
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
        """Outcome (t,), controls (t, k) and the number of periods before the intervention, in order of time.

        Raises:
            dagster.Failure: a time that is no date or number, or periods that are missing.
        """
        rows = self.rows(warehouse, study, outcome)
        time = rows["time"]
        if time.dtype.kind not in "iuf":
            try:
                time = time.astype("datetime64[s]").astype(np.int64)
            except ValueError as error:
                raise dg.Failure(f"{study}: columns.time: {self.columns.time} is no date and no number") from error
        order = time.argsort(kind="stable")
        steps = np.diff(time[order].astype(np.float64))
        if steps.size and steps.max() > UNEVEN * steps.min():
            gap = rows["time"][order][int(steps.argmax())]
            raise dg.Failure(f"{study}: outcomes.{outcome}: a period is missing or repeated, look after {gap}")
        controls = [rows[f"control_{i}"][order].astype(np.float64) for i in range(len(self.columns.controls))]
        x = np.stack(controls, axis=1) if controls else np.empty((order.size, 0))
        return rows["y"][order].astype(np.float64), x, int((~rows["treated"].astype(bool)).sum())
