"""Regression discontinuity over a prepared table: a cutoff of a running variable decides who is treated."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import dagster as dg
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from causal_assets.component import TemplateScaffolder
from causal_assets.designs.table import TABLE_CHECKS, TableStudy
from causal_assets.estimators.discontinuity import Discontinuity, Kernel, Selector, Treated
from causal_assets.memo.facts import NO_INTERFERENCE, Assumption, Identification
from causal_assets.protocol import Finite
from causal_assets.types import Diagnostic, Estimate, Role
from causal_assets.warehouse.engine import Warehouse
from causal_assets.warehouse.results import Finding

MULTIPLES = (0.5, 0.75, 1.5, 2.0)
BINS = 20  # of a side in the plot
CURVE = 40  # points a curve is drawn through
AT_THE_CUTOFF = Identification(
    words="Whether a {unit} got “{treated}” or “{control}” turned on which side of the cutoff its "
    "running variable fell. Just at the cutoff the two sides differ in nothing else, so that the jump of the outcome "
    "there is what the treatment caused, for those at the cutoff.",
    assumptions=(
        Assumption(words="No {unit} could place itself on a chosen side of the cutoff.", checks=("manipulation",)),
        Assumption(words="Nothing else changes at the cutoff.", checks=("continuity", "negative_control")),
        Assumption(
            words="Without treatment the outcome would run smoothly through the cutoff.",
            checks=("mass_points", "placebo_cutoffs"),
            sensitivity=("bandwidth", "donut"),
        ),
        NO_INTERFERENCE,
    ),
    by_chance=False,
)


class RunningColumns(dg.Model, dg.Resolvable):
    """Which column holds what; ``takeup`` is the treatment received, where the cutoff does not decide it alone."""

    running: str
    takeup: str | None = None
    cluster: str | None = None
    unit_id: str | None = None


@dg.scaffold_with(TemplateScaffolder)
class RegressionDiscontinuity(TableStudy):
    """Treated on one side of a cutoff; robust bias-corrected jump, or a comparison within a window.

    With ``window`` (low, high) the answer is least squares within it (``lines``: with a line on each side), on the
    treatment received where ``takeup`` is named, and the robust jump stands beside it. Covariates are tested for jumps
    of their own, and adjusted for with ``adjust``.
    """

    design: ClassVar[str] = "regression discontinuity"
    identification: ClassVar[Identification] = AT_THE_CUTOFF
    randomised: ClassVar[bool] = False
    checks: ClassVar[tuple[str, ...]] = (
        "manipulation", "continuity", "mass_points", "bandwidth", "donut", "placebo_cutoffs", "first_stage",
        "negative_control", *TABLE_CHECKS,
    )  # fmt: skip
    cohort_fields: ClassVar[tuple[str, ...]] = ("cutoff", "treated_where")
    estimate_fields: ClassVar[tuple[str, ...]] = (
        "kernel", "order", "bandwidth", "bias_bandwidth", "selector", "adjust", "donut", "window", "lines",
    )  # fmt: skip

    columns: RunningColumns
    cutoff: Finite
    treated_where: Treated = ">="
    kernel: Kernel = "triangular"
    order: Annotated[int, Field(ge=0, le=3)] = 1
    bandwidth: Annotated[Finite, Field(gt=0)] | None = None
    bias_bandwidth: Annotated[Finite, Field(gt=0)] | None = None
    selector: Selector = "mserd"
    adjust: bool = False
    donut: Annotated[Finite, Field(gt=0)] | None = None
    window: Annotated[list[Finite], Field(min_length=2, max_length=2)] | None = None
    lines: bool = False

    @model_validator(mode="after")
    def _fields_fit_together(self) -> "RegressionDiscontinuity":
        if self.window is not None and not self.window[0] < self.cutoff < self.window[1]:
            raise ValueError(f"window: {self.window} does not hold the cutoff {self.cutoff}; allowed is [low, high]")
        if self.lines and self.window is None:
            raise ValueError("lines: belongs to a window, and none is given")
        if self.bias_bandwidth is not None and self.bandwidth is None:
            raise ValueError("bias_bandwidth: give bandwidth too, alone it has no meaning")
        return self

    @property
    def roles(self) -> dict[str, str]:
        """Columns by role."""
        return self.columns.model_dump(exclude_none=True)

    @property
    def condition(self) -> str:
        """The side of the cutoff."""
        return f"running {self.treated_where} {self.cutoff!r}"

    @property
    def arm_names(self) -> tuple[str, str]:
        """The two sides."""
        other: dict[Treated, Literal["<", "<=", ">", ">="]] = {">=": "<", ">": "<=", "<": ">=", "<=": ">"}
        return f"{other[self.treated_where]} {self.cutoff:g}", f"{self.treated_where} {self.cutoff:g}"

    def estimates(self, warehouse: Warehouse, study: str) -> list[Finding]:
        """Every outcome's jump; of the primary also the conventional one, other bandwidths, a donut, covariates' jumps.

        Rows leave the engine, one outcome at a time: the bandwidth is learned from them.
        """
        findings: list[Finding] = []
        for outcome in self.outcomes:
            rows = self.rows(warehouse, study, outcome.name)
            jump = self._jump(rows, outcome.name)
            answer = self._within_window(rows, outcome.name) if self.window else jump.estimate
            findings.append((self.role(outcome.name), answer))
            if outcome is self.primary:
                findings += [(Role.ALTERNATIVE, e) for e in self._beside(rows, jump)]
                findings += [(Role.PLACEBO, e) for e in self._covariate_jumps(rows, jump)]
        return findings

    def _options(self, rows: dict[str, NDArray[Any]], outcome: str) -> dict[str, Any]:
        """All arguments of the estimator but the bandwidth's."""
        return {
            "outcome": outcome,
            "cutoff": self.cutoff,
            "treated": self.treated_where,
            "takeup": rows.get("takeup"),
            "cluster": rows.get("cluster"),
            "covariates": self.covariate_matrix(rows)[1] if self.adjust and self.covariates else None,
            "kernel": self.kernel,
            "order": self.order,
            "level": self.level,
        }

    def _jump(self, rows: dict[str, NDArray[Any]], outcome: str) -> Discontinuity:
        from causal_assets.estimators.discontinuity import robust_discontinuity

        return robust_discontinuity(
            rows["y"],
            rows["running"],
            bandwidth=self.bandwidth,
            bias_bandwidth=self.bias_bandwidth,
            selector=self.selector,
            **self._options(rows, outcome),
        )

    def _within_window(self, rows: dict[str, NDArray[Any]], outcome: str) -> Estimate:
        from causal_assets.estimators.discontinuity import local_window

        assert self.window is not None
        return local_window(
            rows["y"],
            rows.get("takeup", rows["treated"]),
            rows["running"],
            outcome=outcome,
            window=(self.window[0], self.window[1]),
            cutoff=self.cutoff,
            order=int(self.lines),
            cluster=rows.get("cluster"),
            level=self.level,
        )

    def _beside(self, rows: dict[str, NDArray[Any]], jump: Discontinuity) -> list[Estimate]:
        """The primary outcome's jump at other bandwidths and without the nearest rows, named by their methods."""
        from causal_assets.estimators.discontinuity import donut, over_bandwidths

        y, x, options = rows["y"], rows["running"], self._options(rows, self.primary.name)
        found = [jump.estimate, jump.conventional] if self.window else [jump.conventional]
        for multiple, other in over_bandwidths(y, x, jump, multiples=MULTIPLES, **options):
            found.append(replace(other.estimate, method=_at(multiple)))
        if self.donut is not None:
            ring = donut(y, x, jump, hole=self.donut, **options).estimate
            found.append(replace(ring, method=_without(self.donut)))
        return found

    def _covariate_jumps(self, rows: dict[str, NDArray[Any]], jump: Discontinuity) -> list[Estimate]:
        """Jumps of the covariates at the primary outcome's bandwidth; one that is constant there cannot jump."""
        from causal_assets.estimators.discontinuity import robust_discontinuity

        names, matrix = self.covariate_matrix(rows)
        near = np.abs(rows["running"] - self.cutoff) <= jump.bandwidth
        found = []
        for name, column in zip(names, matrix.T, strict=True):
            if np.ptp(column[near]) == 0:
                continue
            options: dict[str, Any] = {
                **self._options(rows, name),
                "takeup": None,
                "covariates": None,
                "bandwidth": jump.bandwidth,
                "bias_bandwidth": jump.bias_bandwidth,
            }
            found.append(robust_discontinuity(column, rows["running"], **options).estimate)
        return found

    def diagnostics(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> list[Diagnostic]:
        """Sorting at the cutoff, jumps of covariates and elsewhere, values near it, bandwidths, a donut, take-up."""
        from causal_assets.diagnostics.bandwidth import bandwidth
        from causal_assets.diagnostics.continuity import continuity
        from causal_assets.diagnostics.donut import donut
        from causal_assets.diagnostics.first_stage import first_stage
        from causal_assets.diagnostics.manipulation import manipulation
        from causal_assets.diagnostics.mass_points import mass_points
        from causal_assets.diagnostics.negative_control import negative_control
        from causal_assets.diagnostics.placebo_cutoffs import placebo_cutoffs
        from causal_assets.estimators.discontinuity import density_jump
        from causal_assets.estimators.placebo_cutoffs import placebo_cutoffs as at_other_cutoffs

        rows = self.rows(warehouse, study, self.primary.name)
        jump = self._jump(rows, self.primary.name)
        running = warehouse.arrays(f"SELECT running FROM {study}.cohort ORDER BY _row")["running"]
        density = density_jump(running, cutoff=self.cutoff)
        by_method = {estimate.method: estimate for role, estimate in findings if role is Role.ALTERNATIVE}
        others = {multiple: by_method[_at(multiple)] for multiple in MULTIPLES if _at(multiple) in by_method}
        found = [
            manipulation(density.p_value, density.below, density.above),
            continuity([estimate for role, estimate in findings if role is Role.PLACEBO]),
            mass_points(jump.distinct, jump.rows, jump.warnings),
            bandwidth(jump.estimate, others),
            placebo_cutoffs(
                dict(at_other_cutoffs(rows["y"], rows["running"], jump, **self._options(rows, self.primary.name)))
            ),
        ]
        if self.donut is not None:
            found.append(donut(jump.estimate, by_method[_without(self.donut)], self.donut))
        if self.columns.takeup is not None:
            found.append(first_stage(jump.strength))
        controls = [estimate for role, estimate in findings if role is Role.NEGATIVE_CONTROL]
        return [*found, negative_control(controls)] if controls else found

    def figures(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> dict[str, Any]:
        """Binned means with the local fits at the cutoff, and the robust jump at other bandwidths."""
        from causal_assets.memo import design_plots

        rows = self.rows(warehouse, study, self.primary.name)
        jump = self._jump(rows, self.primary.name)
        what = design_plots.Axis(self.primary.name, self.unit, self.primary.money)
        shown: dict[str, Any] = {"outcome at the cutoff": self._at_the_cutoff(rows, jump, what)}
        at = {_at(multiple): multiple * jump.bandwidth for multiple in MULTIPLES}
        others = [(at[e.method], e) for role, e in findings if role is Role.ALTERNATIVE and e.method in at]
        if others:
            widths, estimates = zip(
                *sorted([(jump.bandwidth, jump.estimate), *others], key=lambda p: p[0]), strict=True
            )
            shown["jump by bandwidth"] = design_plots.over_bandwidths(
                widths, estimates, jump.bandwidth, self.columns.running, what
            )
        return shown

    def _at_the_cutoff(self, rows: dict[str, NDArray[Any]], jump: Discontinuity, what: Any) -> Any:
        """Both sides up to twice the bandwidth, or the window."""
        from causal_assets.estimators.discontinuity import local_curve
        from causal_assets.memo import design_plots

        x, y = rows["running"].astype(np.float64) - self.cutoff, rows["y"]
        reach, wide, kernel, order = jump.bandwidth, 2 * jump.bandwidth, self.kernel, self.order
        shape = f"{('means', 'straight lines', 'quadratics', 'cubics')[order]} within the bandwidth, {kernel} kernel"
        low, high = -reach, reach
        if self.window:
            low, high = self.window[0] - self.cutoff, self.window[1] - self.cutoff
            wide, kernel, order = max(-low, high), "uniform", int(self.lines)
            shape = f"{'straight lines' if self.lines else 'means'} within the window"
        first_right = self.treated_where in (">=", "<")  # a unit exactly at the cutoff belongs to the right side
        right = x >= 0 if first_right else x > 0
        sides = []
        for at_right, end in ((False, low), (True, high)):
            own = right == at_right
            treated = at_right == self.treated_where.startswith(">")
            limit = min(wide, float(np.abs(x[own]).max()))
            edges = np.linspace(0.0, limit, BINS + 1) * (1 if at_right else -1)
            at = np.array([end, 0.0]) if order < 2 else np.linspace(end, 0.0, CURVE)
            mean_x, mean_y = design_plots.bins(x[own], y[own], np.sort(edges))
            curve = local_curve(y[own], x[own], at, bandwidth=abs(end), kernel=kernel, order=order)
            sides.append(
                design_plots.Side(
                    self.arm_names[treated], treated, mean_x + self.cutoff, mean_y, at + self.cutoff, curve
                )
            )
        return design_plots.discontinuity(sides, self.cutoff, self.columns.running, what, shape=shape)


def _at(multiple: float) -> str:
    return f"robust, {multiple:g} times the bandwidth"


def _without(hole: float) -> str:
    return f"robust, without rows closer than {hole:g} to the cutoff"
