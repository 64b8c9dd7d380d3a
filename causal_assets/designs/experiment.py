"""Randomised experiment over a prepared table: one row per unit, or per row of a unit, with arm, past and outcomes.

The fields say what is compared and how; which of them go together is written in ``experiment_fields.py``,
how an outcome is read and compared in ``analysis.py``.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from typing import Annotated, ClassVar, Literal, Self

import dagster as dg
from pydantic import Field, model_validator

from causal_assets.component import TemplateScaffolder
from causal_assets.designs import subgroups
from causal_assets.designs.analysis import CONCURRENT, Analysis, Compared, arm_number, moments
from causal_assets.designs.experiment_fields import (
    MEANS,
    ExperimentColumns,
    Metric,
    Monitoring,
    Prior,
    require_fit,
)
from causal_assets.designs.randomized import BY_CHANCE
from causal_assets.designs.specifications import MOST, covariate_sets, of_moments
from causal_assets.designs.table import TABLE_CHECKS, TableStudy, columns_of
from causal_assets.estimators.bayes import Posterior
from causal_assets.estimators.bounds import MANSKI
from causal_assets.estimators.moments import Moments
from causal_assets.memo.facts import NO_INTERFERENCE, Identification, assigned_by_chance, recorded_alike
from causal_assets.protocol import Arm, Arms, Range
from causal_assets.types import Diagnostic, Estimate, Role, Status
from causal_assets.warehouse import results
from causal_assets.warehouse.engine import Warehouse, identifier
from causal_assets.warehouse.queries.filters import filter_columns
from causal_assets.warehouse.queries.tables import is_arm, numbered
from causal_assets.warehouse.results import Finding

# The omnibus test of balance is a large-sample one: with fewer units per covariate in an arm it cries wolf.
LEAST_PER_COVARIATE = 30
# Quantiles of all arms together at which the primary outcome is cut off beside the raw one.
CAPS = (0.999, 0.99)


@dg.scaffold_with(TemplateScaffolder)
class Experiment(TableStudy):
    """Units assigned at random; each outcome compared as its kind says, means adjusted for the covariates.

    The decision rests on ``arms``; ``other_arms`` are compared with the same control, and the primary outcome's
    intervals and p-values over all arms are corrected together. With ``columns.cluster`` every error, look,
    posterior and bound is by cluster, ``planned_n`` and all counts are of clusters, and subgroups are refused.
    """

    design: ClassVar[str] = "randomised experiment"
    identification: ClassVar[Identification] = replace(
        BY_CHANCE,
        assumptions=(
            assigned_by_chance("srm", "srm_analysed", "balance", "negative_control"),
            recorded_alike("missing_pattern", "attrition", "data_loss", sensitivity=("loss_bound",)),
            NO_INTERFERENCE,
        ),
    )
    randomised: ClassVar[bool] = True
    checks: ClassVar[tuple[str, ...]] = (
        "srm", "srm_analysed", "balance", "missing_pattern", "attrition", "loss_bound", "skew",
        "outlier_influence",         "negative_control", "posterior", "subgroups", *TABLE_CHECKS,
    )  # fmt: skip
    cohort_fields: ClassVar[tuple[str, ...]] = ("arms", "other_arms", "subgroups")
    estimate_fields: ClassVar[tuple[str, ...]] = (
        "cupac", "errors", "correction", "monitoring", "inference", "prior", "missing", "other_experiment", "draws",
        "seed",
    )  # fmt: skip
    evidence_fields: ClassVar[tuple[str, ...]] = ("planned_shares",)

    columns: ExperimentColumns
    arms: Arms
    other_arms: Annotated[list[Arm], Field(default_factory=list)]
    planned_shares: dict[str, float] | None = None  # of every arm; without it, other arms are planned like treatment
    outcomes: Annotated[list[Metric], Field(min_length=1)]  # ty: ignore[incompatible-attribute-override]: never assigned
    cupac: bool = False
    errors: Literal["moments", "hc2"] = "moments"
    correction: Literal["holm", "benjamini_hochberg", "bonferroni"] | None = None  # holm where there are other arms
    monitoring: Monitoring | None = None
    inference: Literal["frequentist", "bayesian", "randomization"] = "frequentist"
    prior: Prior | None = None
    missing: Range | None = None
    other_experiment: Arms | None = None
    subgroups: Annotated[list[str], Field(default_factory=list)]  # columns known before, whose values part the units
    draws: Annotated[int, Field(gt=0)] = 9_999
    seed: int = 0

    # --- which fields go together ---------------------------------------------------------------------------------

    @property
    def _given(self) -> set[str]:
        """Fields given, by the names that ``CLASHES``, ``NEEDS`` and ``KINDS`` know."""
        columns = {f"columns.{role}" for role in self.columns.model_dump(exclude_none=True)}
        fields = {
            name
            for name in (
                "covariates", "other_arms", "planned_shares", "cupac", "correction", "monitoring", "prior", "missing",
                "other_experiment", "subgroups",
            )
            if getattr(self, name)
        }  # fmt: skip
        return columns | fields | {f"errors: {self.errors}", f"inference: {self.inference}"}

    @model_validator(mode="after")
    def _fields_go_together(self) -> Self:
        require_fit(self._given, self.outcomes)
        always = self.monitoring is not None and self.monitoring.kind == "always_valid"
        if always and self.other_arms and self.correction != "bonferroni":
            raise ValueError(f"correction: with monitoring always_valid allowed is bonferroni, got {self.correction}")
        return self

    @model_validator(mode="after")
    def _arms_are_told_apart(self) -> Self:
        every = self.every_arm
        if len(set(every)) < len(every):
            raise ValueError(f"other_arms: must differ from each other and from arms, got {self.other_arms}")
        if self.planned_shares is not None:
            total = sum(self.planned_shares.values())
            if {*self.planned_shares} != {*every} or abs(total - 1) > 1e-6 or min(self.planned_shares.values()) <= 0:
                raise ValueError(
                    f"planned_shares: a positive share for each of {sorted(every)}, together 1, "
                    f"got {self.planned_shares}"
                )
        return self

    @model_validator(mode="after")
    def _denominators_are_not_known_before(self) -> Self:
        before = self._made_of([*self.roles.values(), *self.covariates, *filter_columns(self.population)])
        after = set(self._denominators.values())
        after |= {column for name in after if len(parts := self._parts(name)) == 1 for column in parts}
        if leaks := sorted(before & after):
            raise ValueError(f"outcomes: {leaks} also have another role; a denominator is read after everything else")
        return self

    # --- the table ------------------------------------------------------------------------------------------------

    @property
    def primary(self) -> Metric:
        """The outcome the decision rests on."""
        return next(outcome for outcome in self.outcomes if outcome.role == "primary")

    @property
    def money_outcomes(self) -> list[str]:
        """Outcomes that are money, those of other arms included."""
        return [
            name
            for outcome in self.outcomes
            if outcome.money
            for name in (outcome.name, *(f"{outcome.name}, {other}" for other in (*self.other_arms, CONCURRENT)))
        ]

    @property
    def every_arm(self) -> tuple[str, ...]:
        """All arms, control first, treatment second."""
        return self.arms.control, self.arms.treatment, *self.other_arms

    @property
    def roles(self) -> dict[str, str]:
        """Columns by role."""
        parts = {f"subgroup_{k}": column for k, column in enumerate(self.subgroups)}
        return self.columns.model_dump(exclude_none=True) | parts

    @property
    def condition(self) -> str:
        """All arms but the control are treated; rows of an arm that is not named are left out."""
        treated = " OR ".join(is_arm("arm", arm) for arm in self.every_arm[1:])
        return f"CASE WHEN {treated} THEN true WHEN {is_arm('arm', self.arms.control)} THEN false END"

    @property
    def arm_names(self) -> tuple[str, str]:
        """The two arms that the decision compares."""
        return self.arms.control, self.arms.treatment

    @property
    def _denominators(self) -> dict[str, str]:
        """The table's columns that ratios divide by, by their names among the outcomes."""
        return {
            outcome.beside: outcome.denominator for outcome in self.outcomes if outcome.beside and outcome.denominator
        }

    def write_cohort(self, warehouse: Warehouse, study: str, file: str) -> None:
        """As any study's cohort; every arm and denominator is there as well.

        Raises:
            dagster.Failure: names file, field, given and allowed.
        """
        known = warehouse.columns(f"(FROM {self._relation(warehouse, file)})")
        for name, column in self._denominators.items():
            if column not in known:
                raise dg.Failure(
                    f"{file}: outcomes.{name.removeprefix('_of_')}.denominator: no column {column!r} in "
                    f"{self.origin()}; it has {sorted(known)}"
                )
        super().write_cohort(warehouse, study, file)
        if self.columns.count and (
            odd := warehouse.scalar(f"SELECT count(*) FROM {study}.cohort WHERE count < 0 OR count <> floor(count)")
        ):
            raise dg.Failure(f"{file}: columns.count: {self.columns.count!r} is no number of units in {odd} rows")
        counts = self.arm_counts(warehouse, study)
        if empty := [arm for arm, rows in counts.items() if not rows]:
            raise dg.Failure(f"{file}: no row of {self.origin()} is {empty[0]!r} (columns.arm: {self.columns.arm})")

    def write_outcomes(self, warehouse: Warehouse, study: str) -> None:
        """As any study's outcomes, with denominators; a ratio without its denominator is not known.

        Raises:
            dagster.Failure: the table is not the one the cohort was drawn from, or an outcome is infinite.
        """
        super().write_outcomes(warehouse, study)
        if not self._denominators:
            return
        relation = self._delivery(warehouse, study)["relation"]
        read = ", ".join(
            f"CAST({identifier(column)} AS DOUBLE) AS {identifier(name)}" for name, column in self._denominators.items()
        )
        tops = ", ".join(
            f"CASE WHEN NOT isnan({identifier(name)}) THEN {identifier(top)} END AS {identifier(top)}"
            for name in self._denominators
            if (top := name.removeprefix("_of_"))
        )
        warehouse.replace(
            f"{study}.outcomes",
            f"SELECT * REPLACE ({tops}) FROM {study}.outcomes JOIN "
            f"(SELECT _row, {read} FROM ({numbered(relation)})) USING (_row) ORDER BY _row",
        )
        for name, column in self._denominators.items():
            if infinite := warehouse.scalar(f"SELECT count_if(isinf({identifier(name)})) FROM {study}.outcomes"):
                raise dg.Failure(f"{study}: denominator {column}: {infinite} values are infinite")

    def arm_counts(self, warehouse: Warehouse, study: str) -> dict[str, int]:
        """What was assigned to each arm: clusters where there are any, else units."""
        counted = "sum(count)" if self.columns.count else f"count(DISTINCT {self._assigned})"
        number = arm_number("arm", self.every_arm)
        rows = warehouse.rows(f"SELECT {number} AS a, CAST({counted} AS BIGINT) AS n FROM {study}.cohort GROUP BY 1")
        found = {row["a"]: row["n"] for row in rows}
        return {arm: found.get(i, 0) for i, arm in enumerate(self.every_arm)}

    @property
    def _assigned(self) -> str:
        return "cluster" if self.columns.cluster else "unit_id"

    # --- the answer -----------------------------------------------------------------------------------------------

    def _compared(self, warehouse: Warehouse, study: str, outcome: Metric) -> Compared:
        covariates = tuple(self.adjusted_for(warehouse, study))
        return Compared(warehouse, study, outcome, self.every_arm, covariates, counted=self.columns.count is not None)

    def _analysis(self, data: Compared, arm: int) -> Analysis:
        """What the fields say of one outcome and arm; read once, a function of the level."""
        columns = self.columns
        if self.inference == "randomization":
            grouped = {"cluster": columns.cluster is not None, "stratum": columns.stratum is not None}
            return data.replayed(arm, **grouped, draws=self.draws, seed=self.seed)
        cluster = columns.cluster is not None
        if columns.stratum:
            return data.clustered_strata(arm) if cluster else data.stratified(arm)
        if columns.triggered:
            return (data.clustered_triggered(arm) if cluster else data.triggered(arm))[0]
        if data.outcome.kind in MEANS and self.cupac:
            return data.learned(arm, self.seed, cluster=cluster)
        if data.outcome.kind in MEANS and self.errors == "hc2":
            return data.robust(arm, cluster=cluster)
        return data.clustered(arm) if cluster else data.by_kind(arm)

    def _simpler(self, data: Compared) -> list[Analysis]:
        """Analyses to show beside that of the primary outcome."""
        bare = replace(data, covariates=())
        if self.columns.triggered:
            return [(data.clustered_triggered(1) if self.columns.cluster else data.triggered(1))[1]]
        if self.columns.cluster or self.columns.stratum:
            return [bare.clustered(1)] if self.covariates and self.inference != "randomization" else []
        if self.inference == "randomization":
            return [bare.mean(1)]
        if not self.covariates or data.outcome.kind == "quantile":
            return []
        return [data.mean(1) if data.outcome.kind == "proportion" else bare.by_kind(1)]

    def _monitored(self, analysis: Analysis) -> Analysis:
        """The same under the study's monitoring: one member of the sequence of looks."""
        from causal_assets.estimators.group_sequential import at_look
        from causal_assets.estimators.sequential import at_critical, confidence_sequence

        plan = self.monitoring
        if plan is None:
            return analysis

        def monitored(level: float) -> Estimate:
            look = analysis(level)
            if plan.kind == "always_valid":
                assert plan.planned_n is not None  # the kind needs it
                return confidence_sequence(look, planned_n=plan.planned_n)
            looks = plan.looks(look.n_treated + look.n_control)
            if looks is None:
                return at_critical(look, inf, 1.0, f"group sequential, between the looks planned at {plan.fractions}")
            return at_look(look, looks, spending=plan.spending)

        return monitored

    def _corrected(self, family: Sequence[Analysis]) -> list[Estimate]:
        """The primary outcome in all arms, p-values and intervals corrected together where there are several."""
        from causal_assets.estimators.multiplicity import benjamini_hochberg, bonferroni, holm

        m = len(family)
        if m == 1:
            return [family[0](self.level)]
        if self.monitoring and self.monitoring.kind == "always_valid":
            # The sequence's p-value belongs to its level's rho, so that both are taken at Bonferroni's level.
            found = [analysis(1 - (1 - self.level) / m) for analysis in family]
            p_values = [min(1.0, m * e.p_value) if e.p_value is not None else None for e in found]
            return [
                replace(e, p_value=p, level=self.level, method=f"{e.method}, Bonferroni")
                for e, p in zip(found, p_values, strict=True)
            ]
        rules = {"holm": holm, "benjamini_hochberg": benjamini_hochberg, "bonferroni": bonferroni}
        return rules[self.correction or "holm"](family, level=self.level)

    def _posterior(self, look: Estimate) -> Posterior | None:
        from causal_assets.estimators.bayes import normal_posterior

        return normal_posterior(look, prior_mean=self.prior.mean, prior_sd=self.prior.sd) if self.prior else None

    def estimates(self, warehouse: Warehouse, study: str) -> list[Finding]:
        """Effects on every outcome in every arm; beside the primary one its simpler analyses, bounds and posterior."""
        findings: list[Finding] = []
        for outcome in self.outcomes:
            data = self._compared(warehouse, study, outcome)
            data.require_fit()
            family = [self._analysis(data, arm) for arm in range(1, len(self.every_arm))]
            if outcome is self.primary:
                findings += self._of_primary(data, family)
                continue
            guarded = [self._monitored(one) for one in family] if outcome.role == "guardrail" else family
            roles = [self.role(outcome.name), *[Role.SECONDARY] * len(self.other_arms)]
            findings += [(role, one(self.level)) for role, one in zip(roles, guarded, strict=True)]
        return findings

    def _of_primary(self, data: Compared, family: Sequence[Analysis]) -> list[Finding]:
        found = self._corrected([self._monitored(analysis) for analysis in family])
        beside = [self._monitored(analysis)(self.level) for analysis in self._simpler(data)]
        posteriors = [p.estimate for one in family if (p := self._posterior(one(self.level)))]
        if self.inference == "bayesian":
            found, posteriors = posteriors, found
        findings = [(Role.PRIMARY, found[0]), *((Role.SECONDARY, other) for other in found[1:])]
        if self.other_experiment:
            other = arm_number("other_arm", (self.other_experiment.control, self.other_experiment.treatment))
            cluster = self.columns.cluster is not None
            findings.append((Role.SECONDARY, data.interaction(other, self.level, cluster=cluster)))
        findings += self._specified(data)
        findings += subgroups.findings(
            {c: self._by_part(data, k) for k, c in enumerate(self.subgroups)}, level=self.level
        )
        beside = [*posteriors[:1], *beside]
        assigned, observed = self._rows_by_arm(data)
        if self.missing and observed[:2] != assigned[:2]:
            cluster = self.columns.cluster is not None
            beside += data.bounds(assigned, self.missing.lowest, self.missing.highest, self.level, cluster=cluster)
        return [*findings, *((Role.ALTERNATIVE, estimate) for estimate in beside)]

    def _by_part(self, data: Compared, place: int) -> dict[str, Estimate]:
        """The difference in means in each part of a column that is large enough, unadjusted, from moments."""
        from causal_assets.estimators.randomized import difference_in_means

        cells = data.cells(["_y"], ["_arm", f"CAST(subgroup_{place} AS VARCHAR)"])
        values = sorted({value for _, value in cells})
        subgroups.require_few(data.study, self.subgroups[place], values)
        arms = {value: (cells.get((0, value)), cells.get((1, value))) for value in values}
        return {
            value: difference_in_means(control, treated, outcome=data.outcome.name, level=self.level)
            for value, (control, treated) in arms.items()
            if control and treated and subgroups.large_enough(control.n, treated.n)
        }

    def _specified(self, data: Compared) -> list[Finding]:
        """The primary mean under other covariates and caps, from moments; where rows are units that nobody monitors."""
        if not self._plain(data):
            return []
        columns = self.adjusted_for(data.warehouse, data.study)
        names = ["_y", *columns]
        groups = {name: [names.index(c) for c in columns_of(name, columns)] for name in self.covariates}
        found = of_moments(
            *data.pair(data.cells(names), 1), covariate_sets(groups), outcome=data.outcome.name, level=self.level
        )
        for quantile in CAPS:
            capped = data.capped(quantile)
            cells = capped.pair(capped.cells(names), 1)
            cap = f", capped at the {quantile:.1%} quantile"
            found += of_moments(*cells, covariate_sets(groups), outcome=data.outcome.name, level=self.level, cap=cap)
        return found[:MOST]

    # --- its evidence ---------------------------------------------------------------------------------------------

    def _planned(self) -> dict[str, float]:
        """Planned share of every arm."""
        if self.planned_shares is not None:
            return self.planned_shares
        parts = dict.fromkeys(self.every_arm, self.arms.share) | {self.arms.control: 1 - self.arms.share}
        return {arm: part / sum(parts.values()) for arm, part in parts.items()}

    def _before(self, warehouse: Warehouse, study: str) -> tuple[list[str], Moments, Moments]:
        """Names and moments of the covariates in control and treatment; of clusters' means where they were assigned."""
        names = self.adjusted_for(warehouse, study)
        relation = f"(SELECT *, {arm_number('arm', self.every_arm)} AS _arm FROM {study}.cohort)"
        if self.columns.cluster:
            means = ", ".join(f"avg({identifier(name)}) AS {identifier(name)}" for name in names)
            relation = f"(SELECT _arm, any_value(treated) AS treated, {means} FROM {relation} GROUP BY _arm, cluster)"
        cells = moments(warehouse, relation, names, ["_arm"])
        return names, cells[(0,)], cells[(1,)]

    def balance(self, warehouse: Warehouse, study: str) -> list[tuple[str, float, float | None]]:
        """Standardised mean differences of the covariates; nothing is weighted, so there is no after."""
        from causal_assets.estimators.balance import standardized_differences

        if not self.covariates:
            return []
        names, control, treated = self._before(warehouse, study)
        differences = standardized_differences(control, treated)
        return [(name, float(value), None) for name, value in zip(names, differences, strict=True)]

    def cohort_diagnostics(self, warehouse: Warehouse, study: str) -> list[Diagnostic]:
        """Sample ratio of what was assigned, gaps by arm, and balance where units are enough for its test."""
        from causal_assets.diagnostics.balance import randomized_balance
        from causal_assets.diagnostics.srm import srm
        from causal_assets.estimators.balance import omnibus

        found = [srm(self.arm_counts(warehouse, study), self._planned())]
        if not self.columns.cluster:  # rows of one cluster lack a covariate together: no test of rows
            found += self.gaps_by_arm(warehouse, study)
        if self.covariates:
            names, control, treated = self._before(warehouse, study)
            if min(control.n, treated.n) >= LEAST_PER_COVARIATE * len(names):
                differences = {name: value for name, value, _ in self.balance(warehouse, study)}
                found.append(randomized_balance(differences, omnibus(control, treated)))
        return found

    def _rows_by_arm(self, data: Compared) -> tuple[list[int], list[int]]:
        """Rows assigned to each arm, and those of them with the outcome."""
        counted = "sum(count)" if self.columns.count else "count(*)"
        number = arm_number("arm", self.every_arm)
        (assigned, observed) = (
            {row["a"]: row["n"] for row in data.warehouse.rows(sql)}
            for sql in (
                f"SELECT {number} AS a, CAST({counted} AS BIGINT) AS n FROM {data.study}.cohort GROUP BY 1",
                f"SELECT _arm AS a, CAST({counted} AS BIGINT) AS n FROM {data.rows} GROUP BY 1",
            )
        )
        arms = range(len(self.every_arm))
        return [assigned.get(arm, 0) for arm in arms], [observed.get(arm, 0) for arm in arms]

    def diagnostics(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> list[Diagnostic]:
        """Sample ratio of what is analysed, attrition, skew, negative controls, and the posterior in words."""
        from causal_assets.diagnostics.negative_control import negative_control

        data = self._compared(warehouse, study, self.primary)
        bounds = [e for role, e in findings if role is Role.ALTERNATIVE and e.method.startswith(MANSKI)]
        controls = [estimate for role, estimate in findings if role is Role.NEGATIVE_CONTROL]
        found = [*self._lost(data), *self._skewed(data), *self._influence(data)]
        assigned, observed = self._rows_by_arm(data)
        if observed[:2] != assigned[:2]:
            found.append(self._loss_bound(findings, sum(assigned[:2]) - sum(observed[:2]), bounds))
        if controls:
            found.append(negative_control(controls))
        if self.prior and (posterior := self._posterior(self._analysis(data, 1)(self.level))):
            found.append(in_words(posterior, self.unit))
        return found

    def _loss_bound(self, findings: Sequence[Finding], lost: int, bounds: Sequence[Estimate]) -> Diagnostic:
        from causal_assets.diagnostics.loss_bound import loss_bound

        primary = results.primary(findings)
        assert primary is not None  # the graph asks for diagnostics of an estimate only
        # Bounds are of the unadjusted means, so that their interval may end inside the adjusted one's.
        worst = [(min(e.low, primary.low), max(e.high, primary.high)) for e in bounds]
        return loss_bound(
            primary, lost, worst[0] if worst else None, needed=self.decision.needed, what="an outcome (missing)"
        )

    def _influence(self, data: Compared) -> list[Diagnostic]:
        """What the largest value does to a mean of rows that are units, both unadjusted."""
        from causal_assets.designs.influence import influence

        if not self._plain(data):
            return []
        relation = f"(SELECT CAST(_row AS VARCHAR) AS unit, treated, _y FROM {data.rows} WHERE _arm < 2)"
        return influence(data.warehouse, relation, [], self.decision, outcome=data.outcome.name, level=self.level)

    def _plain(self, data: Compared) -> bool:
        """Whether the primary outcome is a mean of rows that are units, and nobody looks at it before the end."""
        rows_are_units = not (self.columns.cluster or self.columns.stratum or self.columns.triggered)
        return data.outcome.kind == "mean" and rows_are_units and not data.counted and not self.monitoring

    def _lost(self, data: Compared) -> list[Diagnostic]:
        """Whether outcomes are missing alike in all arms, and what is analysed still in the planned shares."""
        from causal_assets.diagnostics.attrition import attrition
        from causal_assets.diagnostics.srm import srm

        found = []
        assigned, observed = self._rows_by_arm(data)
        if observed != assigned:
            if self.columns.cluster:
                found += self._lost_by_cluster(data)
            else:
                found.append(attrition(*(dict(zip(self.every_arm, n, strict=True)) for n in (observed, assigned))))
        if observed != assigned or self.columns.triggered:
            counted = "sum(count)" if self.columns.count else f"count(DISTINCT {self._assigned})"
            where = "CAST(triggered AS BOOLEAN)" if self.columns.triggered else "true"
            rows = data.warehouse.rows(
                f"SELECT _arm, CAST({counted} AS BIGINT) AS n FROM {data.rows} WHERE {where} GROUP BY _arm"
            )
            counts = dict.fromkeys(self.every_arm, 0) | {self.every_arm[row["_arm"]]: row["n"] for row in rows}
            found.append(replace(srm(counts, self._planned()), name="srm_analysed"))
        return found

    def _lost_by_cluster(self, data: Compared) -> list[Diagnostic]:
        """Attrition where clusters were assigned: whether their shares of rows with an outcome differ by arm."""
        from causal_assets.diagnostics.attrition import FAIL_P, REVIEW_P
        from causal_assets.diagnostics.grading import below, diagnostic
        from causal_assets.estimators.balance import omnibus

        shares = (
            f"(SELECT {arm_number('arm', self.every_arm)} AS _arm, any_value(treated) AS treated, "
            f"count({identifier(self.primary.name)}) / count(*) AS known FROM {data.study}.cohort "
            f"JOIN {data.study}.outcomes USING (_row) GROUP BY _arm, cluster)"
        )
        cells = moments(data.warehouse, shares, ["known"], ["_arm"])
        control, treated = cells[(0,)], cells[(1,)]
        if min(control.n, treated.n) < LEAST_PER_COVARIATE:
            return []
        p = omnibus(control, treated)
        said = (
            f"Clusters have the outcome of {treated.mean[0]:.2%} of their rows in {self.arms.treatment}, of "
            f"{control.mean[0]:.2%} in {self.arms.control}; p = {p:.2g} if treatment does not move who is observed."
        )
        graded = below(p, review=REVIEW_P, fail=FAIL_P)
        return [diagnostic("attrition", graded, p, said, "Find why one arm loses more outcomes.")]

    def _skewed(self, data: Compared) -> list[Diagnostic]:
        """Skew of what is averaged, against the number of units; where rows are units and an interval is normal."""
        from causal_assets.diagnostics.skew import skew

        averaged = {"ratio": f"_y - (SELECT sum(_y) / sum(_of) FROM {data.rows}) * _of"}
        kind = data.outcome.kind
        rows_are_units = self.columns.cluster is None and self.columns.count is None
        if not rows_are_units or self.inference == "randomization" or kind not in MEANS | {"ratio"}:
            return []
        where = "CAST(triggered AS BOOLEAN)" if self.columns.triggered else "true"
        third = f"skewness({averaged.get(kind, '_y')})"  # NULL for two units, NaN for a constant
        rows = data.warehouse.rows(
            f"SELECT _arm, count(*) AS n, coalesce(nullif({third}, 'nan'::DOUBLE), 0) AS skew "
            f"FROM {data.rows} WHERE _arm < 2 AND {where} GROUP BY _arm",
            repeatable=True,
        )
        units, skewness = ({self.every_arm[row["_arm"]]: row[name] for row in rows} for name in ("n", "skew"))
        return [skew(units, skewness)]


def in_words(posterior: Posterior, unit: str) -> Diagnostic:
    """What the posterior says of either choice; it passes, for it is part of the answer."""
    return Diagnostic(
        name="posterior",
        status=Status.PASS,
        value=posterior.chance_to_win,
        threshold=0.5,
        message=(
            f"The chance that treatment is better is {posterior.chance_to_win:.1%}. Expected loss per {unit}: "
            f"{posterior.expected_loss:.3g} of treating all, {posterior.expected_loss_of_holding:.3g} of treating none."
        ),
        next_step="Nothing to do.",
    )
