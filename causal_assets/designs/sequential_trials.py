"""A campaign that is repeated: one target trial per date, over a prepared table of one row per unit and date."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Literal

import dagster as dg
import numpy as np
from pydantic import Field, model_validator

from causal_assets.component import TemplateScaffolder
from causal_assets.designs.adjusters import bounds_of
from causal_assets.designs.adjustment import NAIVE, ZERO_OR_ONE, AdjustedStudy, Rows
from causal_assets.designs.observational import require_many
from causal_assets.designs.table import TABLE_CHECKS
from causal_assets.estimators.propensity import CLIP
from causal_assets.estimators.target_trials import SequentialTrials as Trials
from causal_assets.protocol import Finite
from causal_assets.types import Diagnostic, Estimate, Role
from causal_assets.warehouse.engine import Warehouse
from causal_assets.warehouse.queries.tables import is_arm
from causal_assets.warehouse.results import Finding

Target = Literal["ATE", "ATT", "ATO"]
MIDNIGHT = " 00:00:00"


class TrialColumns(dg.Model, dg.Resolvable):
    """Which column holds what: unit, date and treatment on that date, 0 or 1, of each row.

    ``eligible`` (0 or 1) says who could have been treated on that date, as known before it. ``cluster`` labels groups
    of whole units that hang together, such as the customers of a store.
    """

    unit_id: str
    date: str
    treatment: str
    eligible: str | None = None
    cluster: str | None = None


@dg.scaffold_with(TemplateScaffolder)
class SequentialTrials(AdjustedStudy):
    """On each date, eligible units treated that day against those that were not, whatever happens to them later.

    Covariates are as of the row's date, outcomes count from it on. A unit leaves after its first treatment in the
    population, unless ``again`` lets it in anew. Each trial is cross-fitted augmented weighting; the pooled effect
    counts every row once, as the estimand weighs it, with errors by unit, or cluster, across trials.
    Estimands and clipping are as in ``AdjustedComparison``.
    """

    design: ClassVar[str] = "sequence of target trials"
    checks: ClassVar[tuple[str, ...]] = (
        "missing_pattern", "attrition", "balance", "variance_ratio", "overlap", "clipping", "heterogeneity",
        "negative_control", "robustness_value", "e_value", "causal_graph", *TABLE_CHECKS,
    )  # fmt: skip
    cohort_grain: ClassVar[tuple[str, ...]] = ("unit_id", "date")
    within: ClassVar[str | None] = "date"
    cohort_fields: ClassVar[tuple[str, ...]] = ("arms", "again")
    estimate_fields: ClassVar[tuple[str, ...]] = (
        "estimand", "propensity_model", "calibration", "outcome_model", "clip", "seed",
    )  # fmt: skip

    columns: TrialColumns
    again: bool = False
    estimand: Target = "ATT"
    propensity_model: Literal["logistic", "boosting"] = "logistic"
    calibration: Literal["platt", "isotonic"] | None = None
    outcome_model: Literal["linear", "boosted"] = "linear"
    clip: Annotated[Finite, Field(gt=0, lt=0.5)] | None = None  # as in AdjustedComparison
    seed: int = 0

    @model_validator(mode="after")
    def _clip_is_needed(self) -> "SequentialTrials":
        if self.clip is not None and self.estimand == "ATO":
            raise ValueError("clip: the weights of an ATO are bounded by themselves; allowed is with ATE or ATT")
        return self

    @property
    def roles(self) -> dict[str, str]:
        """Columns by role."""
        return self.columns.model_dump(exclude_none=True)

    @property
    def flags(self) -> list[str]:
        """The treatment, and who is eligible."""
        return [*super().flags, *(["eligible"] if self.columns.eligible else [])]

    @property
    def in_order(self) -> dict[str, list[str]]:
        """Dates."""
        return {"date": []}

    @property
    def condition(self) -> str:
        """Rows that are not eligible, or of a unit treated on an earlier date, are in no trial."""
        out = ["CAST(eligible AS DOUBLE) = 0"] if self.columns.eligible else []
        if not self.again:
            treated = is_arm("treatment", (self.arms or ZERO_OR_ONE).treatment)
            out.append(
                f"coalesce(bool_or({treated}) OVER (PARTITION BY unit_id ORDER BY date "
                "ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), false)"
            )
        return f"CASE WHEN {' OR '.join(out)} THEN NULL ELSE {self.treated_or_not} END" if out else self.treated_or_not

    # --- the answer -----------------------------------------------------------------------------------------------

    @property
    def _learners(self) -> dict[str, Any]:
        return {
            "propensity": self.propensity_model,
            "regression": "boosting" if self.outcome_model == "boosted" else "ridge",
            "calibration": self.calibration,
            "clip": bounds_of(self.estimand, self.clip or CLIP),
        }

    def _trials(self, rows: Rows, outcome: str, estimand: Target) -> Trials:
        from causal_assets.estimators.target_trials import sequential_effect

        return sequential_effect(
            self.covariate_matrix(rows)[1], rows["treated"], rows["y"], rows["unit_id"], rows["date"],
            estimand=estimand, outcome=outcome, cluster=rows.get("cluster"), level=self.level, seed=self.seed,
            **self._learners,
        )  # fmt: skip

    def estimates(self, warehouse: Warehouse, study: str) -> list[Finding]:
        """Pooled effects; of the primary outcome also each trial's own, the naive one and another population's."""
        findings: list[Finding] = []
        for outcome in sorted(self.outcomes, key=lambda one: one.role != "primary"):
            rows = self.rows(warehouse, study, outcome.name)
            require_many(study, "columns.cluster", rows.get("cluster"), rows["treated"])
            trials = self._trials(rows, outcome.name, self.estimand)
            findings.append((self.role(outcome.name), trials.pooled))
            if outcome.role != "primary":
                continue
            for label, trial in zip(trials.labels, trials.trials, strict=True):
                name = f"{outcome.name} {str(label).removesuffix(MIDNIGHT)}"
                findings.append((Role.OVER_TIME, replace(trial, outcome=name)))
            other: Target = "ATT" if self.estimand == "ATO" else "ATO"
            findings.append((Role.ALTERNATIVE, self._naive(rows, outcome.name)))
            findings.append((Role.ALTERNATIVE, self._trials(rows, outcome.name, other).pooled))
            self._keep(warehouse, study, rows, trials)
        return findings

    def _naive(self, rows: Rows, outcome: str) -> Estimate:
        """The difference in means of all rows, errors by unit or cluster: no population's effect."""
        from causal_assets.estimators.weighting import weighted_effect

        n = len(rows["y"])
        bare = weighted_effect(
            np.full(n, 0.5), rows["treated"], rows["y"], np.arange(n), estimand="ATE", outcome=outcome,
            cluster=rows.get("cluster", rows["unit_id"]), level=self.level,
        )  # fmt: skip
        return replace(bare, method=NAIVE, estimand="none")

    def _keep(self, warehouse: Warehouse, study: str, rows: Rows, trials: Trials) -> None:
        """Keep each row's propensity in its trial with its weight, and the test that all trials have one effect."""
        from causal_assets.estimators.overlap import weights
        from causal_assets.estimators.propensity import fit_propensity

        x, treated = self.covariate_matrix(rows)[1], rows["treated"]
        propensity = np.empty(len(treated))
        options = {name: value for name, value in self._learners.items() if name in ("calibration", "clip")}
        for date in np.unique(rows["date"]):
            one = rows["date"] == date
            propensity[one] = fit_propensity(
                x[one], treated[one], rows["unit_id"][one], cluster=rows["cluster"][one] if "cluster" in rows else None,
                learner=self.propensity_model, seed=self.seed, **options,
            ).median  # fmt: skip
        self.keep_scores(warehouse, study, rows["_row"], propensity, weights(propensity, treated, self.estimand))
        p = "NULL" if trials.heterogeneity_p is None else repr(trials.heterogeneity_p)
        warehouse.replace(f"{study}.trials", f"SELECT {trials.q!r}::DOUBLE AS q, {p}::DOUBLE AS p")

    # --- evidence -------------------------------------------------------------------------------------------------

    def diagnostics(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> list[Diagnostic]:
        """Balance, overlap and clipping over all trials, and whether the trials have one effect."""
        from causal_assets.diagnostics.clipping import clipping

        found = super().diagnostics(warehouse, study, findings)
        if self.estimand != "ATO":
            (low, high), e = bounds_of(self.estimand, self.clip or CLIP), self.scored(warehouse, study)["propensity"]
            found.append(clipping(int(((e <= low) | (e >= high)).sum()), len(e), low, high))
        return [*found, *self._heterogeneity(warehouse, study, findings)]

    def _heterogeneity(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> list[Diagnostic]:
        from causal_assets.diagnostics.heterogeneity import heterogeneity
        from causal_assets.estimators.pooling import random_effects

        trials = [estimate for role, estimate in findings if role is Role.OVER_TIME]
        (tested,) = warehouse.rows(f"FROM {study}.trials")
        if tested["p"] is None:
            return []
        spread = random_effects(
            [e.value for e in trials], [e.spread for e in trials], outcome=self.primary.name, level=self.level
        )
        return [
            heterogeneity(
                studies=len(trials),
                q_p_value=tested["p"],
                i2=max(0.0, 1 - (len(trials) - 1) / tested["q"]) if tested["q"] > 0 else 0.0,
                predicted_low=spread.predicted_low,
                predicted_high=spread.predicted_high,
            )
        ]
