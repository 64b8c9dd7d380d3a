"""Switchback experiment over a prepared table: one row per region and period, treatment on or off for whole blocks."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import dagster as dg
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from causal_assets.component import TemplateScaffolder
from causal_assets.designs.table import TABLE_CHECKS, TableStudy
from causal_assets.estimators.switchback import Blocks
from causal_assets.memo.facts import NO_INTERFERENCE, Assumption, Identification
from causal_assets.protocol import Arms
from causal_assets.types import Diagnostic, Estimate, Role
from causal_assets.warehouse import results
from causal_assets.warehouse.engine import Warehouse
from causal_assets.warehouse.queries.tables import is_arm
from causal_assets.warehouse.results import Finding

BY_TURNS = Identification(
    words="Chance decided in which blocks of time each {unit} got \u201c{treated}\u201d and in which "
    "\u201c{control}\u201d. Blocks of one {unit} therefore differ by chance only, and what differs is what having the "
    "treatment on caused.",
    assumptions=(
        Assumption(
            words="Blocks were assigned at random, independently within each {unit}.",
            checks=("srm", "negative_control"),
        ),
        Assumption(
            words="What a block still does to the next one ends within the periods left out after a switch.",
            checks=("carry_over",),
        ),
        NO_INTERFERENCE,
    ),
    by_chance=True,
)


class SwitchbackColumns(dg.Model, dg.Resolvable):
    """Which column holds what: the unit (a region, a market), the period (a number, a day or a time), and the arm.

    ``block`` labels the periods that were assigned at once within a unit.
    """

    unit_id: str
    period: str
    arm: str
    block: str | None = None


@dg.scaffold_with(TemplateScaffolder)
class Switchback(TableStudy):
    """Units switched on and off at random in blocks of periods; block means compared within units.

    Blocks are a column, or ``block_length`` periods each from the table's first period on. The first ``burn_in``
    periods of every block are left out. ``inference: randomization`` replays the assignment instead.
    """

    design: ClassVar[str] = "switchback experiment"
    identification: ClassVar[Identification] = BY_TURNS
    randomised: ClassVar[bool] = True
    checks: ClassVar[tuple[str, ...]] = ("srm", "carry_over", "negative_control", *TABLE_CHECKS)
    cohort_grain: ClassVar[tuple[str, ...]] = ("unit_id", "period")
    cohort_fields: ClassVar[tuple[str, ...]] = ("arms",)
    estimate_fields: ClassVar[tuple[str, ...]] = ("block_length", "burn_in", "inference", "draws", "seed")

    columns: SwitchbackColumns
    arms: Arms
    block_length: Annotated[int, Field(gt=0)] | None = None
    burn_in: Annotated[int, Field(ge=0)] = 0
    inference: Literal["frequentist", "randomization"] = "frequentist"
    draws: Annotated[int, Field(gt=0)] = 9_999
    seed: int = 0

    @model_validator(mode="after")
    def _blocks_are_told_once(self) -> Self:
        if (self.columns.block is None) == (self.block_length is None):
            raise ValueError("columns.block, block_length: name exactly one of them")
        if self.block_length is not None and self.burn_in >= self.block_length:
            raise ValueError(f"burn_in: must be below block_length {self.block_length}, got {self.burn_in}")
        if self.covariates:
            raise ValueError(f"covariates: a switchback takes none, got {self.covariates}")
        return self

    @property
    def roles(self) -> dict[str, str]:
        """Columns by role."""
        return self.columns.model_dump(exclude_none=True)

    @property
    def in_order(self) -> dict[str, list[str]]:
        """Periods."""
        return {"period": []}

    @property
    def condition(self) -> str:
        """Periods of a third arm are left out."""
        treated, control = is_arm("arm", self.arms.treatment), is_arm("arm", self.arms.control)
        return f"CASE WHEN {treated} THEN true WHEN {control} THEN false END"

    @property
    def arm_names(self) -> tuple[str, str]:
        """The two arms."""
        return self.arms.control, self.arms.treatment

    def _blocks(self, rows: dict[str, NDArray[Any]]) -> NDArray[Any]:
        """Label of each row's block within its unit."""
        if self.columns.block is not None:
            return rows["block"]
        place = np.unique(rows["period"], return_inverse=True)[1]
        return place // (self.block_length or 1)

    def _means(self, warehouse: Warehouse, study: str, outcome: str) -> Blocks:
        """Block means; reads all rows, one per unit and period.

        Raises:
            dagster.Failure: a unit lacks a period between others, so that the burn-in could not be counted.
        """
        from causal_assets.estimators.switchback import block_means

        rows = self.rows(warehouse, study, outcome)
        unit, period = (np.unique(rows[name], return_inverse=True)[1] for name in ("unit_id", "period"))
        first, last = np.full(unit.max() + 1, period.size), np.zeros(unit.max() + 1, dtype=np.intp)
        np.minimum.at(first, unit, period)
        np.maximum.at(last, unit, period)
        gaps = int((last - first + 1 - np.bincount(unit)).sum())
        if gaps and self.burn_in:
            raise dg.Failure(
                f"{study}: outcomes.{outcome}: {gaps} periods are missing; a burn_in of {self.burn_in} needs them all"
            )
        return block_means(
            rows["y"], rows["treated"] * 1, rows["unit_id"], period, self._blocks(rows), burn_in=self.burn_in
        )

    def _effect(self, blocks: Blocks, outcome: str, inference: str) -> Estimate:
        from causal_assets.estimators.switchback import switchback, switchback_test

        if inference == "randomization":
            return switchback_test(blocks, outcome=outcome, draws=self.draws, seed=self.seed, level=self.level)
        return switchback(blocks, outcome=outcome, level=self.level)

    def estimates(self, warehouse: Warehouse, study: str) -> list[Finding]:
        """Effect of being switched on, on every outcome; the primary one also by the other kind of inference."""
        findings: list[Finding] = []
        for outcome in self.outcomes:
            blocks = self._means(warehouse, study, outcome.name)
            findings.append((self.role(outcome.name), self._effect(blocks, outcome.name, self.inference)))
            if outcome is self.primary and self.inference == "frequentist":
                findings.append((Role.ALTERNATIVE, self._effect(blocks, outcome.name, "randomization")))
        return findings

    def arm_counts(self, warehouse: Warehouse, study: str) -> dict[str, int]:
        """Blocks in each arm: a block is what was assigned."""
        chosen = ", ".join(["_row", "unit_id", "period", "treated", *["block"] * (self.columns.block is not None)])
        rows = warehouse.arrays(f"SELECT {chosen} FROM {study}.cohort ORDER BY _row")
        rows = {name: np.asarray(values) for name, values in rows.items()}
        keys = zip(rows["unit_id"].tolist(), self._blocks(rows).tolist(), rows["treated"].tolist(), strict=True)
        treated = [arm for _, _, arm in set(keys)]
        return {self.arms.control: treated.count(False), self.arms.treatment: treated.count(True)}

    def cohort_diagnostics(self, warehouse: Warehouse, study: str) -> list[Diagnostic]:
        """Sample ratio of blocks."""
        from causal_assets.diagnostics.srm import srm

        planned = {self.arms.control: 1 - self.arms.share, self.arms.treatment: self.arms.share}
        return [srm(self.arm_counts(warehouse, study), planned)]

    def diagnostics(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> list[Diagnostic]:
        """What the block before still does, and outcomes that the treatment should not move, where any are named."""
        from causal_assets.diagnostics import carry_over
        from causal_assets.diagnostics.negative_control import negative_control
        from causal_assets.estimators import switchback

        primary = results.primary(findings)
        assert primary is not None  # the graph asks for diagnostics of an estimate only
        blocks = self._means(warehouse, study, primary.outcome)
        before = switchback.carry_over(blocks, primary.value, outcome=primary.outcome, level=self.level)
        controls = [estimate for role, estimate in findings if role is Role.NEGATIVE_CONTROL]
        found = [carry_over.carry_over(before)] if before else []
        return [*found, *([negative_control(controls)] if controls else [])]
