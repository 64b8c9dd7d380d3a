"""Observational study as a target trial: the experiment one would have run, imitated on what was recorded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import product
from typing import Annotated, Any, ClassVar, Literal

import dagster as dg
import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from causal_assets.component import TemplateScaffolder
from causal_assets.designs import reporting
from causal_assets.designs.adjusted_checks import hidden_causes, spread
from causal_assets.designs.drawn import DrawnStudy
from causal_assets.designs.events import SHARED_CHECKS, EventStudy
from causal_assets.designs.specifications import Specifications
from causal_assets.estimators.overlap import Nuisances
from causal_assets.memo.facts import NO_INTERFERENCE, Assumption, Identification
from causal_assets.protocol import Day
from causal_assets.types import Diagnostic, Estimate, Role
from causal_assets.warehouse import results
from causal_assets.warehouse.engine import Warehouse, identifier, literal
from causal_assets.warehouse.queries.cohorts import EARLIER, co_interventions, cohort, units_at_risk
from causal_assets.warehouse.queries.windows import BEFORE, Window, covariate_windows, exact_sum, window_sums
from causal_assets.warehouse.results import Finding

NAIVE, DID = "naive difference in means", "2x2 difference-in-differences"
NEVER, LATER = "controls never treated later", "controls treated later"
# Ten bins: enough to see where the arms stop overlapping, few enough to read.
PROPENSITY_BINS = 10

# Sums over fewer clusters than this are no large sample: a t interval of them is too short.
FEWEST_CLUSTERS, FEWEST_CLUSTERS_PER_ARM = 30, 10
# A split of the controls into fewer than this says nothing about the study.
FEWEST_CONTROLS = 50

Floats = NDArray[np.float64]


def require_many(study: str, field: str, cluster: NDArray[Any] | None, treated: NDArray[np.bool_]) -> None:
    """Make sure that clusters (n,), where there are any, are enough for errors by them.

    Raises:
        dagster.Failure: fewer than 30, or than 10 that hold ``treated`` (n,), or other, rows; ``field`` gave them.
    """
    if cluster is None:
        return
    kept = np.ones(treated.size, dtype=bool), treated, ~treated
    clusters, with_treated, with_untreated = (np.unique(cluster[rows]).size for rows in kept)
    if clusters < FEWEST_CLUSTERS or min(with_treated, with_untreated) < FEWEST_CLUSTERS_PER_ARM:
        raise dg.Failure(
            f"{study}: {field}: {clusters} clusters, {with_treated} with treated and {with_untreated} with untreated "
            f"rows, are too few for an interval; allowed are at least {FEWEST_CLUSTERS}, and "
            f"{FEWEST_CLUSTERS_PER_ARM} with each"
        )


def _at_risk_only(value: Any) -> Any:
    if value != "at_risk":
        raise ValueError(
            f"{value!r} is no comparison group; allowed is at_risk: everyone who could have been treated at time zero, "
            "whatever happened later. 'Never treated' and 'treated later' are chosen on the future and bias the answer"
        )
    return value


class Specificity(dg.Model, dg.Resolvable):
    """Two outcomes that split the primary one: what the treatment aims at, and the rest."""

    targeted: str
    untargeted: str


@dataclass(frozen=True)
class Sample:
    """Aligned arrays of a cohort: covariates (n, k), their names, arm, outcomes by name, units, perhaps clusters."""

    names: list[str]
    x: Floats
    treated: NDArray[np.bool_]
    outcomes: dict[str, Floats]
    unit: NDArray[Any]
    cluster: NDArray[Any] | None = None

    def where(self, kept: NDArray[np.bool_]) -> "Sample":
        """The rows kept."""
        outcomes = {name: values[kept] for name, values in self.outcomes.items()}
        cluster = None if self.cluster is None else self.cluster[kept]
        return Sample(self.names, self.x[kept], self.treated[kept], outcomes, self.unit[kept], cluster)


AS_A_TRIAL = Identification(
    words="Nobody was assigned by chance. The study imitates the experiment one would have run: the same eligibility "
    "and the same starting day for everyone, \u201c{treated}\u201d against \u201c{control}\u201d on that day "
    "whatever happened later, and differences recorded before that day adjusted away. What was not recorded is not "
    "adjusted.",
    assumptions=(
        Assumption(
            words="Whatever drove both the selection and the outcome was recorded before the starting day.",
            checks=("negative_control", "placebo_date", "specificity", "causal_graph"),
            sensitivity=("robustness_value", "e_value", "bracket", "comparison_groups"),
        ),
        Assumption(words="Every {unit} compared could have been in either arm.", checks=("overlap",)),
        Assumption(
            words="Both arms were as given from the starting day on, for as long as the outcome was measured.",
            checks=("clean_start", "crossover"),
        ),
        Assumption(
            words="Nothing else reached the treated {unit}s together with the intervention.",
            checks=("co_intervention",),
        ),
        NO_INTERFERENCE,
    ),
    by_chance=False,
)


@dg.scaffold_with(TemplateScaffolder)
class ObservationalStudy(DrawnStudy, EventStudy):
    """Units at risk on one day, treated that day or not; their effect by cross-fitted augmented weighting.

    ``cluster`` is an attribute whose values label units that hang together; a unit without it stands alone.
    """

    design: ClassVar[str] = "observational target trial"
    identification: ClassVar[Identification] = AS_A_TRIAL
    randomised: ClassVar[bool] = False
    checks: ClassVar[tuple[str, ...]] = (
        "clean_start", "crossover", "missing_pattern", "balance", "variance_ratio", "overlap", "co_intervention",
        "bracket", "comparison_groups", "placebo_date", "negative_control", "specificity", "robustness_value",
        "e_value", "causal_graph", *SHARED_CHECKS,
    )  # fmt: skip
    cohort_fields: ClassVar[tuple[str, ...]] = (
        "source", "program", "arms", "population", "covariates", "attributes", "co_interventions", "time_zero",
        "active_metric", "controls", "placebo_date", "outcomes", "cluster",
    )  # fmt: skip
    estimate_fields: ClassVar[tuple[str, ...]] = ("specifications", "seed")
    evidence_fields: ClassVar[tuple[str, ...]] = ("specificity", "benchmark", *DrawnStudy.evidence_fields)

    outcome_grain: ClassVar[str] = "one row per unit whose windows have passed"

    time_zero: Day
    active_metric: str | None = None
    controls: Annotated[Literal["at_risk"], BeforeValidator(_at_risk_only)] = "at_risk"
    attributes: Annotated[list[str], Field(default_factory=list)]
    cluster: str | None = None
    co_interventions: Annotated[list[str], Field(default_factory=list)]
    placebo_date: Day | None = None
    specificity: Specificity | None = None
    specifications: Specifications | None = None  # other covariates (by metric or attribute) and fractions; fitted anew
    benchmark: str | None = None  # the covariate's metric, or attribute, beside which a hidden cause is imagined
    estimand: Literal["ATO", "ATT"] = "ATO"  # ty: ignore[incompatible-mutable-override]: narrower, and never assigned
    seed: int = 0

    @model_validator(mode="after")
    def _fields_fit_together(self) -> "ObservationalStudy":
        if not self.covariates:
            raise ValueError("covariates: an observational study needs at least one to adjust for")
        if self.placebo_date is not None:
            latest = str(date.fromisoformat(self.time_zero) - timedelta(days=self.primary.days))
            if self.placebo_date > latest:
                raise ValueError(
                    f"placebo_date: {self.placebo_date} is too late; its {self.primary.days} days must end by "
                    f"time_zero, allowed is up to {latest}"
                )
        known = sorted({*(covariate.metric for covariate in self.covariates), *self.attributes})
        if self.benchmark is not None and self.benchmark not in known:
            raise ValueError(f"benchmark: {self.benchmark!r} is no covariate; allowed are {known}")
        if self.specifications is not None:
            declared = self.specifications
            unknown = sorted({name for names in declared.covariates for name in names} - {*known, EARLIER})
            if unknown or declared.methods or declared.trims:
                raise ValueError(
                    f"specifications: allowed are covariates of {known} and fractions, got {declared.model_dump()}"
                )
        if self.specificity is not None:
            names = {outcome.name for outcome in self.outcomes}
            unknown = sorted({self.specificity.targeted, self.specificity.untargeted} - names)
            if unknown:
                raise ValueError(f"specificity: unknown outcome {unknown}; allowed are {sorted(names)}")
        return self

    # --- cohort ---------------------------------------------------------------------------------------------------

    def units(self) -> str:
        """Everyone at risk at time zero, treated that day or not."""
        return self._units(self.time_zero)

    def _units(self, as_of: str) -> str:
        return units_at_risk(
            self.source,
            self.program,
            self.active_metric,
            self.time_zero,
            as_of,
            self.co_interventions,
            self.arms.treatment,
        )

    @property
    def covariate_names(self) -> list[str]:
        """The covariates declared and, where other treatments are named, how many a unit had before."""
        return [*super().covariate_names, *([EARLIER] if self.co_interventions else [])]

    @property
    def adjusted_names(self) -> Sequence[str]:
        """The covariates' columns, and the attributes."""
        return [*self.covariate_names, *self.attributes]

    def before_treatment(
        self, warehouse: Warehouse, study: str
    ) -> tuple[list[str], Floats, NDArray[np.bool_], NDArray[Any]]:
        """All that is adjusted for, one row per unit."""
        data = warehouse.arrays(
            f"SELECT unit_id, treated, {_listed(self.adjusted_names)} FROM {study}.cohort ORDER BY unit_id"
        )
        return *self._adjusted_for(data), np.asarray(data["treated"], dtype=bool), np.asarray(data["unit_id"])

    @property
    def cohort_attributes(self) -> list[str]:
        """Attributes to adjust for and the cluster, besides those of the population's filter."""
        return sorted({*super().cohort_attributes, *self.attributes, *self._clustered_by})

    @property
    def _clustered_by(self) -> list[str]:
        return [] if self.cluster is None else [self.cluster]

    def begins(self) -> str:
        """Outcomes begin at time zero."""
        return self.time_zero

    def closes(self) -> str:
        """Everyone enters at time zero."""
        return self.time_zero

    def population_in_words(self) -> str:
        """Who was at risk, when."""
        where = f", where {self.population}" if self.population else ""
        known = "known" if self.active_metric is None else f"with {self.active_metric}"
        return f"every {self.unit} {known} before {self.time_zero} and never treated before that day{where}"

    def extra_windows(self) -> list[Window]:
        """The primary metric just before, for the difference-in-differences."""
        return [Window(BEFORE, self.primary.metric, -self.primary.days, 0)]

    def write_extras(self, warehouse: Warehouse, study: str, file: str) -> None:
        """The placebo cohort: units by their later treatment; all else, the population too, as of the placebo date."""
        if self.placebo_date is None:
            return
        # Only days before time zero are read, so the outcome lock is not touched.
        windows = [
            *covariate_windows(self.covariates),
            Window(self.primary.name, self.primary.metric, 0, self.primary.days),
        ]
        population = self.population_filter(warehouse, file)
        sql = cohort(self._units(self.placebo_date), self.source, windows, self.cohort_attributes, population)
        warehouse.replace(f"{study}.placebo", f"SELECT * FROM ({sql}) ORDER BY unit_id")

    def metrics_used(self) -> dict[str, str]:
        """Every metric that the protocol names, the one that makes a unit active included."""
        return super().metrics_used() | ({"active_metric.metric": self.active_metric} if self.active_metric else {})

    def other_programs(self) -> list[str]:
        """Programmes of other treatments."""
        return self.co_interventions

    def validate_against_data(self, warehouse: Warehouse, file: str) -> None:
        """Refuse what the marts do not know, and a history too short for the difference-in-differences."""
        super().validate_against_data(warehouse, file)
        first = warehouse.scalar(f"SELECT first_day FROM marts.coverage WHERE source = {literal(self.source)}")
        allowed = first + timedelta(days=self.primary.days)
        if date.fromisoformat(self.time_zero) < allowed:
            raise dg.Failure(
                f"{file}: time_zero: {self.time_zero} has too little history: data begin on {first}, and "
                f"{self.primary.name} is compared with as many days before; allowed is from {allowed}"
            )

    # --- outcomes and estimates -----------------------------------------------------------------------------------

    def write_outcomes(self, warehouse: Warehouse, study: str) -> None:
        """One row per unit of the cohort whose windows have passed, zero where nothing happened."""
        mature = f"(SELECT unit_id, assigned_on FROM {study}.cohort WHERE {self.is_mature(warehouse)})"
        warehouse.replace(
            f"{study}.outcomes", f"SELECT * FROM ({window_sums(mature, self.source, self.windows)}) ORDER BY unit_id"
        )

    def estimates(self, warehouse: Warehouse, study: str) -> list[Finding]:
        """Overlap-weighted effects on every outcome; beside the primary one what else could have been printed."""
        from causal_assets.estimators.overlap import effect

        names = [window.name for window in self.windows]
        sample = self._sample(warehouse, study, names)
        if not len(sample.unit):
            return []
        require_many(study, "cluster", sample.cluster, sample.treated)
        # A week in which nobody did anything has no effect to draw; a declared outcome without events is an error.
        names = [n for n in names if self.role(n) is not Role.OVER_TIME or np.ptp(sample.outcomes[n]) > 0]
        y = np.stack([sample.outcomes[name] for name in names], axis=1)
        nuisances = self._fit(sample, y)
        self._write_scores(warehouse, study, sample, nuisances)

        def adjusted(column: int, estimand: Literal["ATO", "ATT"]) -> Estimate:
            return effect(
                nuisances, sample.treated, y, sample.unit, cluster=sample.cluster,
                estimand=estimand, outcome=names[column], column=column, level=self.level,
            )  # fmt: skip

        findings = [(self.role(name), adjusted(column, self.estimand)) for column, name in enumerate(names)]
        findings.sort(key=lambda finding: finding[0] is not Role.PRIMARY)
        other: Literal["ATO", "ATT"] = "ATT" if self.estimand == "ATO" else "ATO"
        beside = adjusted(names.index(self.primary.name), other)
        alternatives = [beside, *self._unadjusted(sample), *self._by_later_treatment(warehouse, study, sample)]
        findings += [(Role.ALTERNATIVE, estimate) for estimate in alternatives]
        findings += [(Role.SPECIFICATION, estimate) for estimate in self._specified(sample)]
        return findings + self._placebo(warehouse, study)

    def _fit(self, sample: Sample, y: Floats) -> Nuisances:
        from causal_assets.estimators.overlap import fit_nuisances

        return fit_nuisances(sample.x, sample.treated, y, sample.unit, cluster=sample.cluster, seed=self.seed)

    def _effect(self, sample: Sample, outcome: str, method: str) -> Estimate:
        from causal_assets.estimators.overlap import effect

        y = sample.outcomes[outcome]
        found = effect(
            self._fit(sample, y), sample.treated, y, sample.unit, cluster=sample.cluster,
            estimand=self.estimand, outcome=outcome, level=self.level,
        )  # fmt: skip
        return replace(found, method=method)

    def _specified(self, sample: Sample) -> list[Estimate]:
        """The primary effect under every combination of the choices declared; each learns its nuisances anew."""
        if self.specifications is None:
            return []
        every = sorted({self._declared_as(name) for name in sample.names})
        chance = np.random.default_rng(self.seed).random(len(sample.unit))
        found = []
        for names, fraction in product(
            self.specifications.covariates or [every], self.specifications.fractions or [1.0]
        ):
            kept = sample.where(chance <= fraction)
            columns = [k for k, name in enumerate(sample.names) if self._declared_as(name) in names]
            words = f"{' + '.join(names)}, {fraction:.0%} of the units"
            found.append(self._effect(replace(kept, x=kept.x[:, columns]), self.primary.name, words))
        return found

    def _declared_as(self, column: str) -> str:
        """The metric or attribute that a covariate's column was declared as."""
        metrics = {name: covariate.metric for covariate in self.covariates for name in covariate.names()}
        return metrics.get(column, column.partition("=")[0])

    def _unadjusted(self, sample: Sample) -> list[Estimate]:
        """The naive difference, and the difference-in-differences that brackets the adjusted answer."""
        from causal_assets.estimators.did import two_by_two
        from causal_assets.estimators.moments import Moments
        from causal_assets.estimators.randomized import difference_in_means
        from causal_assets.estimators.weighting import weighted_effect

        name, treated = self.primary.name, sample.treated
        after, before = sample.outcomes[name], sample.outcomes[BEFORE]
        if sample.cluster is None:
            naive = difference_in_means(
                Moments.of(after[~treated]), Moments.of(after[treated]), outcome=name, level=self.level
            )
        else:
            naive = weighted_effect(
                np.full(after.size, 0.5), treated, after, sample.unit, cluster=sample.cluster,
                estimand="ATE", outcome=name, level=self.level,
            )  # fmt: skip
        did = two_by_two(before, after, treated, sample.unit, cluster=sample.cluster, outcome=name, level=self.level)
        return [replace(naive, method=NAIVE, estimand="none"), replace(did, method=DID)]

    def _by_later_treatment(self, warehouse: Warehouse, study: str, sample: Sample) -> list[Estimate]:
        """The primary effect against controls split by their future: a falsification, never an answer."""
        future = warehouse.arrays(
            f"SELECT c.later_on IS NOT NULL AS later FROM {study}.cohort AS c JOIN {study}.outcomes USING (unit_id) "
            "ORDER BY unit_id"
        )["later"]
        groups = {NEVER: ~future, LATER: future}
        if min((kept & ~sample.treated).sum() for kept in groups.values()) < FEWEST_CONTROLS:
            return []
        return [
            self._effect(sample.where(sample.treated | kept), self.primary.name, method)
            for method, kept in groups.items()
        ]

    def _placebo(self, warehouse: Warehouse, study: str) -> list[Finding]:
        if self.placebo_date is None:
            return []
        columns = [*self.covariate_names, *self.attributes, *self._clustered_by, self.primary.name]
        data = warehouse.arrays(f"SELECT unit_id, treated, {_listed(columns)} FROM {study}.placebo ORDER BY unit_id")
        sample = self._as_sample(data, [self.primary.name])
        return [(Role.PLACEBO, self._effect(sample, self.primary.name, f"placebo date {self.placebo_date}"))]

    def _sample(self, warehouse: Warehouse, study: str, outcomes: Sequence[str]) -> Sample:
        """Rows leave the engine here: the learners need them, one row per unit with its covariates and outcomes."""
        known = _listed([BEFORE, *self.covariate_names, *self.attributes, *self._clustered_by], "c")
        data = warehouse.arrays(
            f"SELECT c.unit_id, c.treated, {known}, {_listed(outcomes, 'o')} "
            f"FROM {study}.cohort AS c JOIN {study}.outcomes AS o USING (unit_id) ORDER BY c.unit_id"
        )
        return self._as_sample(data, [*outcomes, BEFORE])

    def _as_sample(self, data: dict[str, Any], outcomes: Sequence[str]) -> Sample:
        y = {name: np.asarray(data[name], dtype=np.float64) for name in outcomes}
        unit, cluster = np.asarray(data["unit_id"]), None
        if self.cluster is not None:
            known = np.char.add("in ", np.ma.filled(data[self.cluster], "").astype(str))
            alone = np.char.add("alone ", unit.astype(str))
            cluster = np.where(np.ma.getmaskarray(data[self.cluster]), alone, known)
        return Sample(*self._adjusted_for(data), np.asarray(data["treated"], dtype=bool), y, unit, cluster)

    def _adjusted_for(self, data: dict[str, Any]) -> tuple[list[str], Floats]:
        """Names (k) and columns (n, k): the covariates, then one column per level of each attribute but its first."""
        names = list(self.covariate_names)
        columns = [np.asarray(data[name], dtype=np.float64) for name in names]
        for attribute in self.attributes:
            values = np.ma.filled(data[attribute], "unknown").astype(str)
            for level in np.unique(values)[1:]:
                names.append(f"{attribute}={level}")
                columns.append((values == level).astype(np.float64))
        return names, np.stack(columns, axis=1)

    def _write_scores(self, warehouse: Warehouse, study: str, sample: Sample, nuisances: Nuisances) -> None:
        """Keep the propensity of every unit: overlap and balance are read from it."""
        import pyarrow as pa

        scores = pa.table({"unit_id": sample.unit, "propensity": np.median(nuisances.propensity, axis=0)})
        with warehouse.transaction() as connection:
            connection.register("scores", scores)
            connection.execute(f"CREATE OR REPLACE TABLE {study}.scores AS FROM scores")

    # --- evidence -------------------------------------------------------------------------------------------------

    def cohort_diagnostics(self, warehouse: Warehouse, study: str) -> list[Diagnostic]:
        """Treatment during the day of time zero, controls treated in the window, gaps by arm, other treatments."""
        from causal_assets.diagnostics.clean_start import clean_start
        from causal_assets.diagnostics.crossover import crossover

        counts = self.arm_counts(warehouse, study)
        in_the_day = warehouse.scalar(
            f"SELECT count(DISTINCT unit_id) FROM marts.assignments JOIN {study}.cohort USING (unit_id) "
            f"WHERE source = {literal(self.source)} AND program = {literal(self.program)} AND treated "
            f"AND assignments.assigned_at > cohort.assigned_at AND assignments.assigned_at < cohort.assigned_on + 1"
        )
        crossed = warehouse.scalar(
            f"SELECT count(*) FROM {study}.cohort WHERE NOT treated AND later_on < assigned_on + {self.primary.days}"
        )
        found = [
            clean_start(in_the_day, counts[self.arms.treatment]),
            crossover(crossed, counts[self.arms.control]),
        ]
        found += self._gaps(warehouse, study, counts)
        found += self.graph_diagnostics(warehouse, study)
        return [*found, self._co_intervention(warehouse, study)] if self.co_interventions else found

    def _gaps(self, warehouse: Warehouse, study: str, counts: Mapping[str, int]) -> list[Diagnostic]:
        """Whether attributes are unknown by arm, where any is."""
        from causal_assets.diagnostics.missing_pattern import missing_pattern

        if not self.attributes:
            return []
        unknown = ", ".join(f"count(*) - count({identifier(a)}) AS {identifier(a)}" for a in self.attributes)
        rows = {
            row["treated"]: row for row in warehouse.rows(f"SELECT treated, {unknown} FROM {study}.cohort GROUP BY 1")
        }
        missing = {name: (rows[False][name], rows[True][name]) for name in self.attributes}
        if not any(control + treated for control, treated in missing.values()):
            return []
        units = counts[self.arms.control], counts[self.arms.treatment]
        return [missing_pattern(missing, units, randomised=False)]

    def diagnostics(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> list[Diagnostic]:
        """Balance, overlap, other treatments; does the answer survive another method, group, date or product?"""
        from causal_assets.diagnostics.balance import weighted_balance
        from causal_assets.diagnostics.bracket import bracket
        from causal_assets.diagnostics.comparison_groups import comparison_groups
        from causal_assets.diagnostics.negative_control import negative_control
        from causal_assets.diagnostics.placebo_date import placebo_date

        primary = results.primary(findings)
        assert primary is not None  # the graph asks for diagnostics of an estimate only
        by_method = {estimate.method: estimate for role, estimate in findings if role is Role.ALTERNATIVE}
        placebos = [estimate for role, estimate in findings if role is Role.PLACEBO]
        controls = [estimate for role, estimate in findings if role is Role.NEGATIVE_CONTROL]
        found = [
            weighted_balance({name: after for name, _, after in self.balance(warehouse, study) if after is not None}),
            *self._spread(warehouse, study),
            self._overlap(warehouse, study),
            bracket(primary, by_method[DID]),
        ]
        if NEVER in by_method and LATER in by_method:
            found.append(comparison_groups({name: by_method[name] for name in (NEVER, LATER)}))
        found += [placebo_date(placebo, primary) for placebo in placebos]
        found.append(negative_control(controls))
        if self.specificity is not None:
            found.append(self._specificity(warehouse, study, findings, self.specificity))
        found += [*self.loss_bound(warehouse, study, primary), *self.novelty(findings)]
        return [*found, *self._hidden_causes(warehouse, study, primary)]

    def _hidden_causes(self, warehouse: Warehouse, study: str, primary: Estimate) -> list[Diagnostic]:
        groups: dict[str, list[str]] = {}
        for column in self.covariate_names:
            groups.setdefault(self._declared_as(column), []).append(column)
        indicators = []
        for attribute in self.attributes:
            value = f"coalesce({identifier(attribute)}, 'unknown')"
            levels = warehouse.rows(f"SELECT DISTINCT {value} AS level FROM {study}.cohort ORDER BY 1")[1:]
            groups[attribute] = [f"{attribute}={row['level']}" for row in levels]
            indicators += [
                f"CAST({value} = {literal(row['level'])} AS DOUBLE) AS {identifier(name)}"
                for row, name in zip(levels, groups[attribute], strict=True)
            ]
        chosen = ", ".join(["*", *indicators])
        relation = f"(SELECT {chosen} FROM {study}.cohort JOIN {study}.outcomes USING (unit_id))"
        return hidden_causes(warehouse, relation, groups, primary, named=self.benchmark)

    def _spread(self, warehouse: Warehouse, study: str) -> list[Diagnostic]:
        names, x, treated, weight = self._weighed(warehouse, study)
        return [] if weight is None else spread(names, x, treated, weight)

    def _scored(self, warehouse: Warehouse, study: str) -> tuple[Floats, NDArray[np.bool_]]:
        data = warehouse.arrays(
            f"SELECT propensity, treated FROM {study}.scores JOIN {study}.cohort USING (unit_id) ORDER BY unit_id"
        )
        return data["propensity"], data["treated"]

    def _overlap(self, warehouse: Warehouse, study: str) -> Diagnostic:
        from causal_assets.diagnostics.overlap import overlap
        from causal_assets.estimators.overlap import effective_sample_size, weights

        propensity, treated = self._scored(warehouse, study)
        effective = effective_sample_size(weights(propensity, treated, self.estimand)[~treated])
        return overlap(propensity[treated], effective, int((~treated).sum()))

    def _co_intervention(self, warehouse: Warehouse, study: str) -> Diagnostic:
        from causal_assets.diagnostics.co_intervention import co_intervention

        sql = co_interventions(f"{study}.cohort", self.source, self.co_interventions, self.primary.days)
        rows = warehouse.rows(sql)
        counts = self.arm_counts(warehouse, study)
        n_control, n_treated = counts[self.arms.control], counts[self.arms.treatment]
        with_any = {row["treated"]: row["reached"] for row in rows}
        return co_intervention(with_any.get(True, 0), n_treated, with_any.get(False, 0), n_control)

    def _specificity(
        self, warehouse: Warehouse, study: str, findings: Sequence[Finding], split: Specificity
    ) -> Diagnostic:
        from causal_assets.diagnostics.specificity import specificity

        targeted = next(e for role, e in findings if e.outcome == split.targeted and role is not Role.OVER_TIME)
        primary = results.primary(findings)
        assert primary is not None
        share = warehouse.scalar(
            f"SELECT {exact_sum(identifier(split.targeted))} / {exact_sum(identifier(primary.outcome))} "
            f"FROM {study}.outcomes JOIN {study}.cohort USING (unit_id) WHERE treated"
        )
        return specificity(targeted, primary, share)

    def balance(self, warehouse: Warehouse, study: str) -> list[tuple[str, float, float | None]]:
        """Standardised mean differences before weighting and, once propensities exist, after it."""
        from causal_assets.estimators.balance import weighted_differences

        names, x, treated, weight = self._weighed(warehouse, study)
        before = weighted_differences(x, treated, np.ones(len(treated)))
        if weight is None:
            return [(name, float(b), None) for name, b in zip(names, before, strict=True)]
        after = weighted_differences(x, treated, weight)
        return [(n, float(b), float(a)) for n, b, a in zip(names, before, after, strict=True)]

    def _weighed(self, warehouse: Warehouse, study: str) -> tuple[list[str], Floats, NDArray[np.bool_], Floats | None]:
        """Names (k), covariates (n, k), treatment (n,) and, once propensities exist, weights (n,)."""
        from causal_assets.estimators.overlap import weights

        scored = "scores" in warehouse.tables(study)
        source = f"{study}.cohort" + (f" JOIN {study}.scores USING (unit_id)" if scored else "")
        wanted = f"treated, {_listed([*self.covariate_names, *self.attributes])}" + (", propensity" if scored else "")
        data = warehouse.arrays(f"SELECT {wanted} FROM {source} ORDER BY unit_id")
        weight = weights(data["propensity"], data["treated"], self.estimand) if scored else None
        return *self._adjusted_for(data), data["treated"], weight

    def propensity(self, warehouse: Warehouse, study: str) -> reporting.Propensity | None:
        """Units per propensity bin and arm."""
        if "scores" not in warehouse.tables(study):
            return None
        propensity, treated = self._scored(warehouse, study)
        edges = np.linspace(0, 1, PROPENSITY_BINS + 1)
        counts = [np.histogram(propensity[arm], edges)[0].tolist() for arm in (treated, ~treated)]
        return edges.tolist(), counts[0], counts[1]


def _listed(columns: Sequence[str], table: str | None = None) -> str:
    prefix = f"{table}." if table else ""
    return ", ".join(f"{prefix}{identifier(column)}" for column in columns)
