"""Instrumental variable over a prepared table: what moved the treatment touches the outcome in no other way."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any, ClassVar

import dagster as dg
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from causal_assets.component import TemplateScaffolder
from causal_assets.designs.table import TABLE_CHECKS, TableStudy
from causal_assets.estimators.inference import Refusal
from causal_assets.estimators.instruments import Instrumented
from causal_assets.memo.facts import NO_INTERFERENCE, Assumption, Identification
from causal_assets.types import Diagnostic, Estimate, Role
from causal_assets.warehouse.engine import Warehouse
from causal_assets.warehouse.results import Finding

ITT = "effect of the instrument on the outcome (ITT)"
BY_INSTRUMENT = Identification(
    words="The treatment was not assigned; an instrument moved it. Where that touches the outcome through the "
    "treatment alone, its effect on the outcome divided by its effect on the treatment is what the treatment caused, "
    "for each {unit} that the instrument moves.",
    assumptions=(
        Assumption(words="The instrument moves the treatment.", checks=("first_stage",)),
        Assumption(words="The instrument is as good as random, given the controls.", checks=("negative_control",)),
        Assumption(
            words="It changes the outcome through the treatment alone.",
            checks=("instrument_validity", "overidentification"),
        ),
        Assumption(
            words="It moves no {unit} away from the treatment while it moves others towards it.",
            checks=("monotonicity", "instrument_validity"),
        ),
        NO_INTERFERENCE,
    ),
    by_chance=False,
)


class InstrumentColumns(dg.Model, dg.Resolvable):
    """Which column holds what: the instruments, the treatment received, a fixed effect, the clusters of errors."""

    instruments: Annotated[list[str], Field(min_length=1)]
    treatment: str
    fixed_effect: str | None = None
    cluster: str | None = None
    unit_id: str | None = None


@dg.scaffold_with(TemplateScaffolder)
class InstrumentalVariable(TableStudy):
    """An instrument moved the treatment; two-stage least squares with controls, a fixed effect and clusters."""

    design: ClassVar[str] = "instrumental variable"
    identification: ClassVar[Identification] = BY_INSTRUMENT
    randomised: ClassVar[bool] = False
    checks: ClassVar[tuple[str, ...]] = (
        "first_stage", "monotonicity", "instrument_validity", "overidentification", "negative_control", *TABLE_CHECKS,
    )  # fmt: skip

    columns: InstrumentColumns

    @property
    def roles(self) -> dict[str, str]:
        """Columns by role; instruments are numbered."""
        named = self.columns.model_dump(exclude_none=True, exclude={"instruments"})
        return {f"instrument_{i}": column for i, column in enumerate(self.columns.instruments)} | named

    @property
    def condition(self) -> str:
        """Whether the first instrument is above its mean: for 0 and 1, whether the row was encouraged."""
        return "instrument_0 > avg(instrument_0) OVER ()"

    @property
    def arm_names(self) -> tuple[str, str]:
        """The two sides of the first instrument."""
        return f"low {self.columns.instruments[0]}", f"high {self.columns.instruments[0]}"

    def estimates(self, warehouse: Warehouse, study: str) -> list[Finding]:
        """Every outcome's effect; of the primary also the ITT and the first stage.

        Rows leave the engine: scores are summed by cluster.
        """
        findings: list[Finding] = []
        for outcome in self.outcomes:
            found = self._fit(self.rows(warehouse, study, outcome.name), outcome.name)
            findings.append((self.role(outcome.name), found.effect))
            if outcome is self.primary and found.reduced_form and found.first_stage:
                findings.append((Role.ALTERNATIVE, replace(found.reduced_form, method=ITT)))
                stage = replace(found.first_stage, outcome=self.columns.treatment, method="first stage")
                findings.append((Role.SECONDARY, stage))
        return findings

    def _fit(self, rows: dict[str, NDArray[Any]], outcome: str) -> Instrumented:
        from causal_assets.estimators.instruments import two_stage_least_squares

        tools = np.stack([rows[f"instrument_{i}"] for i in range(len(self.columns.instruments))], axis=1)
        return two_stage_least_squares(
            rows["y"],
            rows["treatment"],
            tools,
            outcome=outcome,
            x=self.covariate_matrix(rows)[1] if self.covariates else None,
            absorb=rows.get("fixed_effect"),
            cluster=rows.get("cluster"),
            level=self.level,
        )

    def diagnostics(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> list[Diagnostic]:
        """How strongly the instrument moves the treatment, and all alike; whether several agree; negative controls."""
        from causal_assets.diagnostics.first_stage import first_stage
        from causal_assets.diagnostics.negative_control import negative_control
        from causal_assets.diagnostics.overidentification import overidentification

        rows = self.rows(warehouse, study, self.primary.name)
        found = self._fit(rows, self.primary.name)
        stage = found.first_stage and replace(found.first_stage, outcome=self.columns.treatment)
        controls = [estimate for role, estimate in findings if role is Role.NEGATIVE_CONTROL]
        told = self._of_one_instrument(rows, stage) if stage else []
        if over := found.overidentification:
            told.append(overidentification(len(self.columns.instruments), over.j, over.p_value))
        return [first_stage(found.strength, stage), *told, negative_control(controls)]

    def _of_one_instrument(self, rows: dict[str, NDArray[Any]], stage: Estimate) -> list[Diagnostic]:
        """The first stage by halves of the covariates; Kitagawa's test where the instrument needs no controls."""
        from causal_assets.diagnostics.monotonicity import density, monotonicity
        from causal_assets.estimators.late_assumptions import first_stages, shrinking_density

        y, d, z = rows["y"], rows["treatment"], rows["instrument_0"]
        told = []
        if self.covariates:
            names, x = self.covariate_matrix(rows)
            parts = {}
            for name, column in zip(names, x.T, strict=True):
                limit = min(float(np.median(column)), float(column.max(initial=-np.inf, where=column < column.max())))
                parts |= {f"{name} > {limit:.4g}": column > limit, f"{name} <= {limit:.4g}": column <= limit}
            by_part = first_stages(
                y, d, z, parts, treatment=stage.outcome, x=x, absorb=rows.get("fixed_effect"),
                cluster=rows.get("cluster"),
            )  # fmt: skip
            told += [monotonicity(stage, by_part)] if by_part else []
        binary = all(set(np.unique(values).tolist()) == {0, 1} for values in (d, z))
        if binary and not self.covariates and "fixed_effect" not in rows:
            with suppress(Refusal):  # clusters may be too few for it
                told.append(density(*shrinking_density(y, d, z, cluster=rows.get("cluster"))))
        return told
