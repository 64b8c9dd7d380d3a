"""Treated against untreated units of one prepared table, made alike in what was recorded before.

Which method takes which estimand and option is written in ``ESTIMANDS`` and ``OPTIONS``. ``adjusters.py`` computes.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Annotated, ClassVar, Literal, Self

import dagster as dg
import numpy as np
from pydantic import Field, model_validator

from causal_assets.component import TemplateScaffolder
from causal_assets.designs import subgroups
from causal_assets.designs.adjusters import Adjuster, Compared, Options, bounds_of, dummies
from causal_assets.designs.adjustment import AdjustedStudy, Rows
from causal_assets.designs.observational import require_many
from causal_assets.designs.specifications import Specifications
from causal_assets.designs.table import TABLE_CHECKS
from causal_assets.estimators.propensity import CLIP
from causal_assets.protocol import Finite
from causal_assets.types import Diagnostic, Estimate, Role
from causal_assets.warehouse import results
from causal_assets.warehouse.engine import Warehouse
from causal_assets.warehouse.results import Finding

Method = Literal["aipw", "ipw", "matching", "stratification", "partially_linear", "interactive", "standardization"]
Target = Literal["ATE", "ATT", "ATO", "matched"]

# The populations that a method can answer for.
ESTIMANDS: dict[str, tuple[str, ...]] = {
    "aipw": ("ATE", "ATT", "ATO"),
    "interactive": ("ATE", "ATT"),
    "partially_linear": ("ATO",),
    "ipw": ("ATE", "ATT", "ATO"),
    "matching": ("ATT", "matched"),
    "stratification": ("ATE", "ATT"),
    "standardization": ("ATE", "ATT"),
}
# Methods whose first-order error does not depend on the nuisances', and that therefore may learn them by machine, out
# of fold. With a boosted propensity, weighting covers 68% and matching 13% of the time [2,000 units, 60 data sets].
ORTHOGONAL = ("aipw", "interactive", "partially_linear")
BY_SCORE = ("ipw", "matching", "stratification")
# The methods that take an option, where it is given.
OPTIONS: dict[str, tuple[str, ...]] = {
    "propensity_model: boosting": ORTHOGONAL,
    "outcome_model": ORTHOGONAL,
    "calibration": ("aipw", "interactive"),
    "cross_fit: true": (*ORTHOGONAL, *BY_SCORE),
    "cross_fit: false": (*BY_SCORE, "standardization"),
    "errors: robust": ("ipw",),
    "clip": ("aipw", "interactive", *BY_SCORE),
    "trim": ("aipw", "interactive"),
    "neighbours": ("matching",),
    "replacement": ("matching",),
    "caliper": ("matching",),
    "exact": ("matching",),
    "bias_adjusted": ("matching",),
    "strata": ("stratification",),
    "modifiers": ("standardization",),
    # The g-formula's error covers 91% with 60 clusters of unequal size.
    "columns.cluster": (*ORTHOGONAL, *BY_SCORE),
}
# Shown beside the answer where they answer for the same population.
BESIDE: tuple[Method, ...] = ("aipw", "ipw", "matching", "stratification", "partially_linear", "standardization")
# Negative controls that calibrate: five to learn from, and one held out to see whether it helped.
FEWEST_TO_CALIBRATE = 6
DID = "2x2 difference-in-differences"


class ComparisonColumns(dg.Model, dg.Resolvable):
    """Which column holds what: who was treated, and the unit of each row where the table names it.

    ``cluster`` labels units that hang together, such as the customers of a store. ``before`` is the primary outcome
    over an equal time before the treatment, for a difference-in-differences beside the answer. ``co_intervention`` says
    (0 or 1) who got another treatment while the outcome was counted.
    """

    treatment: str
    unit_id: str | None = None
    cluster: str | None = None
    before: str | None = None
    co_intervention: str | None = None


@dg.scaffold_with(TemplateScaffolder)
class AdjustedComparison(AdjustedStudy):
    """One row per unit: what the treatment did, adjusted for covariates by one method, with the others beside it.

    The estimand is by default the ATT: what those who were treated gained. It is what programme evaluation asks, what
    matching answers, and what the decision's profit per treated unit is made of. Where the treated have no one to be
    compared with, the check of overlap says so: ``ATO`` answers for where both arms occur, ``matched`` for the treated
    who found a match.

    ``aipw`` is doubly robust and cross-fitted; ``interactive`` is its other name in double machine learning, for ATE
    and ATT. ``standardization`` is the g-formula. The other methods rest on one model and are fitted to all rows at
    once, so that their errors count the estimation of the propensity; ``cross_fit: true`` takes it as known, which as a
    rule makes the interval longer.
    """

    design: ClassVar[str] = "adjusted comparison"
    checks: ClassVar[tuple[str, ...]] = (
        "missing_pattern", "attrition", "balance", "variance_ratio", "overlap", "clipping", "left_out",
        "sign_stability", "bracket", "co_intervention", "negative_control", "robustness_value", "e_value",
        "causal_graph", "subgroups", *TABLE_CHECKS,
    )  # fmt: skip
    cohort_fields: ClassVar[tuple[str, ...]] = ("arms", "negative_exposures", "subgroups")
    estimate_fields: ClassVar[tuple[str, ...]] = (
        "estimand", "method", "propensity_model", "calibration", "outcome_model", "cross_fit", "errors", "clip", "trim",
        "neighbours", "replacement", "caliper", "exact", "bias_adjusted", "strata", "modifiers", "calibrated",
        "specifications", "seed",
    )  # fmt: skip

    columns: ComparisonColumns
    estimand: Target = "ATT"
    method: Method = "aipw"
    propensity_model: Literal["logistic", "boosting"] = "logistic"
    calibration: Literal["platt", "isotonic"] | None = None
    outcome_model: Literal["linear", "boosted"] | None = None  # linear
    cross_fit: bool | None = None  # true for the doubly robust methods, false for the others
    errors: Literal["estimated", "robust"] = "estimated"  # robust: the textbook's, as if the propensity were known
    clip: Annotated[Finite, Field(gt=0, lt=0.5)] | None = None  # propensities to [clip, 1 - clip], as needed; 0.01
    trim: Annotated[Finite, Field(gt=0, lt=0.5)] | None = None
    neighbours: Annotated[int, Field(ge=1)] | None = None  # 1
    replacement: bool | None = None  # true: every treated unit takes its nearest
    caliper: Annotated[Finite, Field(gt=0)] | None = None  # standard deviations of the logit; 0.2 where matched
    exact: Annotated[list[str], Field(default_factory=list)]
    bias_adjusted: bool | None = None  # true: regression on the covariates among the matched
    strata: Annotated[int, Field(ge=2)] | None = None  # 5
    modifiers: list[str] | None = None  # along which the effect may vary: all covariates; [] for one effect
    negative_exposures: Annotated[list[str], Field(default_factory=list)]
    subgroups: Annotated[list[str], Field(default_factory=list)]  # columns known before, whose values part the units
    calibrated: bool = False
    specifications: Specifications | None = None  # other choices as good as these; each is fitted anew
    seed: int = 0

    # --- which fields go together ---------------------------------------------------------------------------------

    @property
    def _given(self) -> list[str]:
        """Options given, by the names that ``OPTIONS`` knows."""
        flags = {
            "propensity_model: boosting": self.propensity_model == "boosting",
            "cross_fit: true": self.cross_fit is True,
            "cross_fit: false": self.cross_fit is False,
            "errors: robust": self.errors == "robust",
            "columns.cluster": self.columns.cluster is not None,
            "exact": bool(self.exact),
        }
        return [option for option in OPTIONS if flags.get(option, getattr(self, option, None) is not None)]

    @model_validator(mode="after")
    def _fields_go_together(self) -> Self:
        if self.estimand not in ESTIMANDS[self.method]:
            raise ValueError(
                f"estimand: {self.method} does not answer for {self.estimand}; allowed are {ESTIMANDS[self.method]}"
            )
        for option in self._given:
            if self.method not in OPTIONS[option]:
                raise ValueError(f"{option}: method {self.method} does not take it; allowed are {OPTIONS[option]}")
        if self.clip is not None and self.estimand == "ATO":
            raise ValueError(
                "clip: the weights of an ATO are bounded by themselves; allowed is with ATE, ATT or matched"
            )
        if self.caliper is not None and self.estimand != "matched":
            raise ValueError(
                f"caliper: leaves treated units out, so the answer is not the {self.estimand}; allowed is with "
                "estimand: matched"
            )
        if self.method == "partially_linear" and (self.propensity_model, self._regression) in (
            ("logistic", "boosting"),
            ("boosting", "ridge"),
        ):
            raise ValueError(
                f"outcome_model: partially_linear learns both alike, got propensity_model {self.propensity_model} and "
                f"outcome_model {self.outcome_model}; allowed are logistic with linear, boosting with boosted"
            )
        for field in ("exact", "modifiers"):
            if unknown := sorted(set(getattr(self, field) or []) - set(self.covariates)):
                raise ValueError(f"{field}: {unknown} are no covariates; allowed are {self.covariates}")
        if self.specifications is not None:
            self._require_known(self.specifications)
        if self.subgroups and (self.exact or self.modifiers or self.columns.cluster):
            raise ValueError("subgroups: not together with exact, modifiers or columns.cluster")
        learned_from = len(self.negative_exposures) + sum(o.role == "negative_control" for o in self.outcomes)
        if self.calibrated and learned_from < FEWEST_TO_CALIBRATE:
            raise ValueError(
                f"calibrated: needs at least {FEWEST_TO_CALIBRATE} negative controls, all in the primary outcome's "
                f"unit, got {learned_from}"
            )
        return self

    def _require_known(self, declared: Specifications) -> None:
        named = {name for covariates in declared.covariates for name in covariates}
        allowed = [method for method in ESTIMANDS if self.estimand in ESTIMANDS[method]]
        for field, given, known in (
            ("covariates", named, self.covariates),
            ("methods", declared.methods, allowed),
        ):
            if unknown := sorted(set(given) - set(known)):
                raise ValueError(f"specifications.{field}: {unknown} are not the study's; allowed are {known}")
        if declared.covariates and (self.exact or self.modifiers):
            raise ValueError("specifications.covariates: not together with exact or modifiers, which name covariates")

    @property
    def _regression(self) -> Literal["ridge", "boosting"]:
        return "boosting" if self.outcome_model == "boosted" else "ridge"

    @property
    def roles(self) -> dict[str, str]:
        """Columns by role."""
        exposures = {f"negative_exposure_{k}": column for k, column in enumerate(self.negative_exposures)}
        parts = {f"subgroup_{k}": column for k, column in enumerate(self.subgroups)}
        return self.columns.model_dump(exclude_none=True) | exposures | parts

    @property
    def flags(self) -> list[str]:
        """The treatment, what else units got, and the negative exposures."""
        other = [role for role in self.roles if role == "co_intervention" or role.startswith("negative_exposure_")]
        return [*super().flags, *other]

    @property
    def condition(self) -> str:
        """As the treatment's column says."""
        return self.treated_or_not

    @property
    def money_outcomes(self) -> list[str]:
        """Outcomes that are money, the primary one by negative exposures included."""
        own = super().money_outcomes
        return [*own, *map(self._of_exposure, self.negative_exposures)] if self.primary.money else own

    def _of_exposure(self, column: str) -> str:
        return f"{self.primary.name} by {column}"

    # --- the answer -----------------------------------------------------------------------------------------------

    @property
    def options(self) -> Options:
        """How the methods work; what is not given is the method's own default."""
        given = {
            "trim": self.trim, "neighbours": self.neighbours, "replacement": self.replacement,
            "caliper": self.caliper, "bias_adjusted": self.bias_adjusted, "strata": self.strata,
        }  # fmt: skip
        return Options(
            learner=self.propensity_model,
            calibration=self.calibration,
            regression=self._regression,
            cross_fit=bool(self.cross_fit),
            robust=self.errors == "robust",
            clip=bounds_of(self.estimand, self.clip or CLIP),
            seed=self.seed,
            **{name: value for name, value in given.items() if value is not None},  # ty: ignore[invalid-argument-type]
        )

    def _compared(self, rows: Rows, outcome: str, exposure: str | None = None) -> Compared:
        """The rows of an outcome; of a negative exposure, adjusted for the treatment as well."""
        names, x = self.covariate_matrix(rows)
        treated = rows["treated"].astype(bool)
        if exposure is not None:
            x, treated = np.column_stack([x, treated]), rows[exposure].astype(bool)
        return Compared(
            outcome=outcome,
            level=self.level,
            x=x,
            treated=treated,
            y=rows["y"],
            unit=rows["unit_id"],
            cluster=rows.get("cluster"),
            exact=x[:, dummies(names, self.exact)] if self.exact else None,
            modifiers=None if self.modifiers is None else dummies(names, self.modifiers),
        )

    def estimates(self, warehouse: Warehouse, study: str) -> list[Finding]:
        """Every outcome by the study's method; of the primary also the difference in means and the other methods."""
        adjuster = Adjuster(self.options)
        findings: list[Finding] = []
        for outcome in sorted(self.outcomes, key=lambda one: one.role != "primary"):
            rows = self.rows(warehouse, study, outcome.name)
            data = self._compared(rows, outcome.name)
            require_many(study, "columns.cluster", rows.get("cluster"), data.treated)
            found = adjuster.by(self.method, data, self.estimand)
            findings.append((self.role(outcome.name), found.estimate))
            if outcome.role == "primary":
                self.keep_scores(warehouse, study, rows["_row"], found.propensity, found.weight)
                findings += [(Role.ALTERNATIVE, e) for e in self._beside(data, rows)]
                findings += [(Role.SPECIFICATION, e) for e in self._specified(rows, data)]
                parts = {c: self._by_part(study, rows, data, k) for k, c in enumerate(self.subgroups)}
                findings += subgroups.findings(parts, level=self.level)
                for k, column in enumerate(self.negative_exposures):
                    other = self._compared(rows, self._of_exposure(column), f"negative_exposure_{k}")
                    require_many(study, "columns.cluster", rows.get("cluster"), other.treated)
                    findings.append((Role.NEGATIVE_CONTROL, adjuster.by(self.method, other, self.estimand).estimate))
        return self._calibrated(findings) if self.calibrated else findings

    def _beside(self, data: Compared, rows: Rows) -> list[Estimate]:
        """Other answers to the same question; a method that has none is left out."""
        found = [data.naive()]
        plain = replace(self.options, cross_fit=False, robust=False, trim=0.0)
        for method in BESIDE:
            same = method == self.method or (method == "aipw" and self.method == "interactive")
            if same or not self._answers(method) or (self.columns.cluster and method not in OPTIONS["columns.cluster"]):
                continue
            try:
                found.append(Adjuster(plain).by(method, data, self.estimand).estimate)
            except ValueError:
                continue
        return [*found, *self._did(data, rows)]

    def _by_part(self, study: str, rows: Rows, data: Compared, place: int) -> dict[str, Estimate]:
        """The effect by the study's method in each part of a column that is large enough, its nuisances its own."""
        part = rows[f"subgroup_{place}"].astype(str)
        values = np.unique(part).tolist()
        subgroups.require_few(study, self.subgroups[place], values)
        found = {}
        for value in values:
            own = part == value
            treated = int(data.treated[own].sum())
            if subgroups.large_enough(int(own.sum()) - treated, treated):
                varying = np.flatnonzero(np.ptp(data.x[own], axis=0) > 0).tolist()
                chosen = data.select(own, varying)
                found[value] = Adjuster(self.options).by(self.method, chosen, self.estimand).estimate
        return found

    def _specified(self, rows: Rows, data: Compared) -> list[Estimate]:
        """The primary outcome under every combination of the choices declared; rows again, for methods read them."""
        if self.specifications is None:
            return []
        names, declared = self.covariate_matrix(rows)[0], self.specifications
        chance = np.random.default_rng(self.seed).random(len(data.y))
        found = []
        for covariates, method, trim, fraction in product(
            declared.covariates or [self.covariates],
            declared.methods or [self.method],
            declared.trims or [self.trim or 0.0],
            declared.fractions or [1.0],
        ):
            chosen = data.select(chance <= fraction, dummies(names, covariates))
            trimmed = Adjuster(replace(self.options, trim=trim if method in OPTIONS["trim"] else 0.0))
            words = f"{method}, {' + '.join(covariates)}, trimmed at {trim:g}, {fraction:.0%} of the units"
            found.append(replace(trimmed.by(method, chosen, self.estimand).estimate, method=words))
        return found

    def _answers(self, method: str) -> bool:
        asked = "ATT" if self.estimand == "matched" else self.estimand
        return asked in ESTIMANDS[method]

    def _did(self, data: Compared, rows: Rows) -> list[Estimate]:
        from causal_assets.estimators.did import two_by_two, two_by_two_clustered

        if self.columns.before is None:
            return []
        before = rows["before"].astype(np.float64)
        if data.cluster is None:
            did = two_by_two(before, data.y, data.treated, data.unit, outcome=data.outcome, level=data.level)
        else:
            after = np.arange(2).repeat(len(before))
            did = two_by_two_clustered(
                np.concatenate([before, data.y]), np.tile(data.treated, 2), after, np.tile(data.cluster, 2),
                outcome=data.outcome, level=data.level,
            )  # fmt: skip
        return [replace(did, method=DID)]

    def _calibrated(self, findings: list[Finding]) -> list[Finding]:
        """The answer less what the design errs by where the truth is zero; each control by what the others err."""
        from causal_assets.estimators.calibration import calibrated, fit_systematic_error

        controls = self.controls(findings)
        (primary,) = [e for role, e in findings if role is Role.PRIMARY]
        held_out = [calibrated(e, fit_systematic_error([c for c in controls if c is not e])) for e in controls]
        rest = [(role, e) for role, e in findings if role not in (Role.PRIMARY, Role.NEGATIVE_CONTROL)]
        return [
            (Role.PRIMARY, calibrated(primary, fit_systematic_error(controls))),
            (Role.ALTERNATIVE, primary),
            *rest,
            *((Role.NEGATIVE_CONTROL, e) for e in held_out),
        ]

    # --- evidence -------------------------------------------------------------------------------------------------

    @property
    def adjusts_by_weights(self) -> bool:
        """All methods but the g-formula."""
        return self.method != "standardization"

    def cohort_diagnostics(self, warehouse: Warehouse, study: str) -> list[Diagnostic]:
        """Gaps by arm, the causal graph, and whether the arms differ in what else they got."""
        from causal_assets.diagnostics.co_intervention import co_intervention

        found = super().cohort_diagnostics(warehouse, study)
        if self.columns.co_intervention is None:
            return found
        rows = warehouse.rows(
            f"SELECT treated, count(*) AS n, count(*) FILTER (CAST(co_intervention AS DOUBLE) = 1) AS other "
            f"FROM {study}.cohort GROUP BY treated"
        )
        by_arm = {row["treated"]: (row["other"], row["n"]) for row in rows}
        return [*found, co_intervention(*by_arm[True], *by_arm[False])]

    def diagnostics(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> list[Diagnostic]:
        """Balance, overlap, what the propensity's bounds decide, who is left out, and other ways to the same answer."""
        from causal_assets.diagnostics.bracket import bracket
        from causal_assets.diagnostics.clipping import clipping
        from causal_assets.diagnostics.left_out import left_out
        from causal_assets.diagnostics.sign_stability import sign_stability

        primary = results.primary(findings)
        assert primary is not None  # the graph asks for diagnostics of an estimate only
        found = super().diagnostics(warehouse, study, findings)
        data = self.scored(warehouse, study)
        if self.method in OPTIONS["clip"] and self.estimand != "ATO":
            (low, high), e = bounds_of(self.estimand, self.clip or CLIP), data["propensity"]
            found.append(clipping(int(((e <= low) | (e >= high)).sum()), len(e), low, high))
        if self.trim or self.estimand == "matched":
            asked = data["treated"] if self.estimand in ("ATT", "matched") else np.ones(len(data["weight"]), dtype=bool)
            found.append(left_out(int((data["weight"][asked] == 0).sum()), int(asked.sum())))
        others = [e for role, e in findings if role is Role.ALTERNATIVE and e.estimand != "none"]
        did = [e for e in others if e.method == DID]
        stable = sign_stability(primary, [e for e in others if e not in did])
        return [*found, *([stable] if stable else []), *(bracket(primary, e) for e in did)]
