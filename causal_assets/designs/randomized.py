"""Randomised experiment: units assigned by chance, their effect a function of counts, means and covariances."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import dagster as dg
import numpy as np
from pydantic import model_validator

from causal_assets.component import TemplateScaffolder
from causal_assets.designs.events import SHARED_CHECKS, EventStudy
from causal_assets.designs.specifications import covariate_sets, of_moments
from causal_assets.estimators.moments import Moments
from causal_assets.memo.facts import NO_INTERFERENCE, Identification, assigned_by_chance, recorded_alike
from causal_assets.protocol import Day
from causal_assets.types import Diagnostic, Role
from causal_assets.warehouse import results
from causal_assets.warehouse.engine import Warehouse, literal
from causal_assets.warehouse.queries.cohorts import randomised_units
from causal_assets.warehouse.queries.moments import arm_moments
from causal_assets.warehouse.queries.windows import BEFORE, EVER, EXPOSED_BEFORE, Window, window_sums
from causal_assets.warehouse.results import Finding

# Welch's test of a long tail is a large-sample one: with fewer units in an arm it may cry wolf.
FEWEST_FOR_PLACEBO = 100

BY_CHANCE = Identification(
    words="Chance alone decided which {unit} got \u201c{treated}\u201d and which \u201c{control}\u201d. Before the "
    "study the two groups therefore differ by chance only, and what differs afterwards is what being assigned caused.",
    assumptions=(
        assigned_by_chance(
            "srm", "srm_sequential", "several_arms", "exposure_before_assignment", "placebo_period", "balance"
        ),
        recorded_alike("data_loss", sensitivity=("loss_bound",)),
        NO_INTERFERENCE,
    ),
    by_chance=True,
)


@dg.scaffold_with(TemplateScaffolder)
class RandomizedExperiment(EventStudy):
    """Arms assigned at random within a period; difference in means, adjusted for what was known before (CUPED)."""

    design: ClassVar[str] = "randomised experiment"
    identification: ClassVar[Identification] = BY_CHANCE
    randomised: ClassVar[bool] = True
    checks: ClassVar[tuple[str, ...]] = (
        "srm", "srm_sequential", "several_arms", "exposure_before_assignment", "placebo_period", "balance", "skew",
        "outlier_influence", *SHARED_CHECKS,
    )  # fmt: skip
    cohort_fields: ClassVar[tuple[str, ...]] = (
        "source", "program", "arms", "population", "covariates", "enrolled_from", "enrolled_to", "exposure",
    )  # fmt: skip

    outcome_grain: ClassVar[str] = "one row per arm: counts, means and covariances"

    enrolled_from: Day
    enrolled_to: Day
    exposure: str | None = None  # a metric that counts how often a unit met the treatment
    estimand: Literal["ATE"] = "ATE"  # ty: ignore[incompatible-mutable-override]: narrower, and never assigned

    @model_validator(mode="after")
    def _enrolment_is_a_period(self) -> "RandomizedExperiment":
        if self.enrolled_to < self.enrolled_from:
            raise ValueError(f"enrolled_to: {self.enrolled_to} is before enrolled_from {self.enrolled_from}")
        return self

    def units(self) -> str:
        """First assignment of each unit within the enrolment period, if it was to one of the study's arms."""
        first = randomised_units(self.source, self.program, self.arms.treatment, self.enrolled_from, self.enrolled_to)
        # Who began in a third arm of the programme is no control.
        return f"SELECT * FROM ({first}) WHERE arm IN ({literal(self.arms.control)}, {literal(self.arms.treatment)})"

    def begins(self) -> str:
        """Outcomes begin with the first assignment."""
        return self.enrolled_from

    def closes(self) -> str:
        """Units come until enrolment ends, whether or not one came today."""
        return self.enrolled_to

    def population_in_words(self) -> str:
        """Who was enrolled, when."""
        where = f", where {self.population}" if self.population else ""
        return f"every {self.unit} first assigned between {self.enrolled_from} and {self.enrolled_to}{where}"

    def write_outcomes(self, warehouse: Warehouse, study: str) -> None:
        """Take the study's own rows of the shared moments: one row per arm.

        Raises:
            dagster.Failure: the shared pass was not made under this protocol.
        """
        own = f"study = {literal(study)} AND protocol = {literal(self.protocol_hash)}"
        arms = warehouse.replace(f"{study}.outcomes", f"SELECT * FROM studies.moments WHERE {own}")
        if not arms and self.matured(warehouse, study)[0]:
            raise dg.Failure(
                f"{study}: studies/study_moments has nothing under protocol {self.protocol_hash[:12]}; materialise it"
            )

    def estimates(self, warehouse: Warehouse, study: str) -> list[Finding]:
        """Adjusted effects on every outcome, the unadjusted one of the primary beside it."""
        from causal_assets.estimators.randomized import difference_in_means

        arms = read_arms(warehouse, f"{study}.outcomes")
        enough = len(self.covariate_names) + 2  # an adjusted arm of fewer units has no variance
        if len(arms) < 2 or min(moments.n for moments, _ in arms.values()) < enough:
            return []
        (control, names), (treated, _) = arms[False], arms[True]
        covariates = [names.index(name) for name in self.covariate_names]

        def effect(outcome: str, adjust: list[int]) -> Finding:
            columns = [names.index(outcome), *adjust]
            estimate = difference_in_means(
                control.select(columns), treated.select(columns), outcome=outcome, level=self.level
            )
            return self.role(outcome), estimate

        still = {names[i] for i in np.flatnonzero(np.diag(control.cov) + np.diag(treated.cov) == 0)}
        if still & {outcome.name for outcome in self.outcomes} and self.days_left(warehouse) > 0:
            return []
        # A week in which nobody did anything has no effect to draw; a declared outcome without events is an error.
        shown = [w.name for w in self.windows if w.name not in still or self.role(w.name) is not Role.OVER_TIME]
        findings = [effect(name, covariates) for name in shown]
        findings.sort(key=lambda finding: finding[0] is not Role.PRIMARY)
        if covariates:
            findings.append((Role.ALTERNATIVE, effect(self.primary.name, [])[1]))
            columns = [names.index(self.primary.name), *covariates]
            groups = {name: [1 + place] for place, name in enumerate(self.covariate_names)}
            sets = covariate_sets(groups)
            arms_of_primary = control.select(columns), treated.select(columns)
            findings += of_moments(*arms_of_primary, sets, outcome=self.primary.name, level=self.level)
        return findings

    def cohort_diagnostics(self, warehouse: Warehouse, study: str) -> list[Diagnostic]:
        """Sample ratio in all and by day, units in several arms, exposure before, pre-period balance."""
        from causal_assets.diagnostics.balance import randomized_balance
        from causal_assets.diagnostics.exposure_before_assignment import exposure_before_assignment
        from causal_assets.diagnostics.several_arms import several_arms
        from causal_assets.estimators.balance import omnibus

        units = sum(self.arm_counts(warehouse, study).values())
        several = warehouse.scalar(f"SELECT count(*) FROM {study}.cohort WHERE arms > 1")
        found = [
            *self.sample_ratio(warehouse, study),
            several_arms(several, units),
            *self._placebo_period(warehouse, study),
        ]
        if self.exposure is not None:
            early = warehouse.scalar(f"SELECT count(*) FROM {study}.cohort WHERE {EXPOSED_BEFORE} > 0")
            found.append(exposure_before_assignment(early, units))
        if self.covariates:
            arms = read_arms(warehouse, f"({arm_moments(f'{study}.cohort', self.covariate_names)})")
            differences = {name: before for name, before, _ in self.balance(warehouse, study)}
            found.append(randomized_balance(differences, omnibus(arms[False][0], arms[True][0])))
        return found

    def sample_ratio(self, warehouse: Warehouse, study: str) -> list[Diagnostic]:
        """Whether the arms have their planned shares, in all and day by day."""
        from causal_assets.diagnostics.srm import srm
        from causal_assets.diagnostics.srm_sequential import srm_sequential

        counts = self.arm_counts(warehouse, study)
        planned = {self.arms.control: 1 - self.arms.share, self.arms.treatment: self.arms.share}
        by_day = warehouse.rows(
            "SELECT CAST(assigned_on AS VARCHAR) AS day, count(*) FILTER (NOT treated) AS control, "
            f"count(*) FILTER (treated) AS treated FROM {study}.cohort GROUP BY 1 ORDER BY 1"
        )
        daily = [(row["control"], row["treated"]) for row in by_day]
        return [srm(counts, planned), srm_sequential([row["day"] for row in by_day], daily, list(planned.values()))]

    def extra_windows(self) -> list[Window]:
        """The primary metric just before, where nothing can have been caused yet, and exposures, if they are logged."""
        before = Window(BEFORE, self.primary.metric, -self.primary.days, 0)
        return [before] if self.exposure is None else [before, Window(EXPOSED_BEFORE, self.exposure, -EVER, 0)]

    def metrics_used(self) -> dict[str, str]:
        """Those of every study of events, and the one that counts exposures."""
        return super().metrics_used() | ({} if self.exposure is None else {"exposure": self.exposure})

    def _placebo_period(self, warehouse: Warehouse, study: str) -> list[Diagnostic]:
        """The study's own comparison before assignment, unadjusted; none where nobody did anything."""
        from causal_assets.diagnostics.placebo_period import placebo_period
        from causal_assets.estimators.randomized import difference_in_means

        arms = read_arms(warehouse, f"({arm_moments(f'{study}.cohort', [BEFORE])})")
        control, treated = arms[False][0], arms[True][0]
        if min(control.n, treated.n) < FEWEST_FOR_PLACEBO or not control.cov[0, 0] + treated.cov[0, 0]:
            return []
        return [placebo_period(difference_in_means(control, treated, outcome=self.primary.name, level=self.level))]

    def diagnostics(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> list[Diagnostic]:
        """Skew of the primary outcome against the number of units, and what its largest value does."""
        from causal_assets.designs.influence import influence
        from causal_assets.diagnostics.skew import skew

        primary = results.primary(findings)
        assert primary is not None  # the graph asks for diagnostics of an estimate only
        third = "skewness[list_position(names, ?)]"  # NULL for two units, NaN for a constant
        rows = warehouse.rows(
            f"SELECT treated, n, coalesce(nullif({third}, 'nan'::DOUBLE), 0) AS skew FROM {study}.outcomes",
            [primary.outcome],
        )
        by_arm = {self.arms.treatment if row["treated"] else self.arms.control: row for row in rows}
        units, skewness = ({arm: row[name] for arm, row in by_arm.items()} for name in ("n", "skew"))
        return [
            skew(units, skewness, final=self.days_left(warehouse) == 0),
            *self.loss_bound(warehouse, study, primary),
            *self.novelty(findings),
            *influence(
                warehouse,
                self._primary_by_unit(warehouse, study),
                self.covariate_names,
                self.decision,
                outcome=primary.outcome,
                level=self.level,
            ),
        ]

    def _primary_by_unit(self, warehouse: Warehouse, study: str) -> str:
        """Write one row per unit, and name the table. The moments that all studies share know of no single unit, so
        the mart is read again, for one metric; in order, or sums of floats would depend on the mart's."""
        mature = f"(FROM {study}.cohort WHERE {self.is_mature(warehouse)})"
        window = Window("_y", self.primary.metric, 0, self.primary.days)
        sums = window_sums(mature, self.source, [window])
        table = f"{study}.by_unit"
        warehouse.replace(table, f"SELECT unit_id AS unit, * FROM {mature} JOIN ({sums}) USING (unit_id) ORDER BY unit")
        return table

    def balance(self, warehouse: Warehouse, study: str) -> list[tuple[str, float, float | None]]:
        """Standardised mean differences of the covariates; nothing is weighted, so there is no after."""
        from causal_assets.estimators.balance import standardized_differences

        if not self.covariates:
            return []
        arms = read_arms(warehouse, f"({arm_moments(f'{study}.cohort', self.covariate_names)})")
        (control, names), (treated, _) = arms[False], arms[True]
        differences = standardized_differences(control, treated)
        return [(name, float(value), None) for name, value in zip(names, differences, strict=True)]


def read_arms(warehouse: Warehouse, relation: str) -> dict[bool, tuple[Moments, list[str]]]:
    """Moments of each arm with their column names, from rows as ``study_moments`` writes them."""
    arms = {}
    for row in warehouse.rows(f"SELECT treated, n, names, means, covariances FROM {relation}", repeatable=True):
        size = len(row["means"])
        upper = np.triu_indices(size)
        cov = np.zeros((size, size))
        cov[upper] = [value or 0.0 for value in row["covariances"]]  # NULL: a single unit has no spread
        cov = cov + np.triu(cov, 1).T
        used = [i for i, name in enumerate(row["names"]) if name is not None]
        moments = Moments(row["n"], np.array(row["means"], dtype=np.float64), cov).select(used)
        arms[row["treated"]] = (moments, [row["names"][i] for i in used])
    return arms
