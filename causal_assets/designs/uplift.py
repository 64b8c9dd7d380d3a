"""Who responds because of it: uplift studies of an experiment, from events or from one prepared table."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, ClassVar

import dagster as dg
from pydantic import Field

from causal_assets.component import TemplateScaffolder
from causal_assets.designs.analysis import arm_number
from causal_assets.designs.graph import MARTS
from causal_assets.designs.randomized import BY_CHANCE, RandomizedExperiment
from causal_assets.designs.table import TableStudy
from causal_assets.designs.targeted import PROFIT, Fairness, SeveralArms, Targeted, equal_shares, with_model
from causal_assets.memo.facts import NO_INTERFERENCE, Assumption, Identification, assigned_by_chance, recorded_alike
from causal_assets.targeting.model import POLICY
from causal_assets.types import Diagnostic
from causal_assets.warehouse.engine import Warehouse, literal
from causal_assets.warehouse.queries.cohorts import randomised_units
from causal_assets.warehouse.queries.tables import is_arm
from causal_assets.warehouse.queries.windows import outcome_windows, window_sums

EFFECTS = dg.AssetKey(["marts", "planted_effects"])
CHOSEN_BY_CHANCE = replace(
    BY_CHANCE,
    words="Chance alone decided which {unit} got \u201c{treated}\u201d and which \u201c{control}\u201d. So what a rule "
    "that chooses per {unit} would have brought can be told from the {unit}s that chance gave what the rule would have "
    "given. The rule was fixed before any of the {unit}s it is proven on was looked at.",
    assumptions=(
        assigned_by_chance("srm", "several_arms", "placebo_period", "balance"),
        recorded_alike("data_loss"),
        NO_INTERFERENCE,
        Assumption(
            words="Those treated next respond like those of the study.",
            untestable="the next {unit}s are not here yet; a holdout kept from them will show it.",
        ),
    ),
)
SHARED = (
    "responders",
    "uplift_calibration",
    "fairness",
    "multiplicity",
    "power",
    "data_loss",
    "retrospective",
    "deviations",
)


@dg.scaffold_with(TemplateScaffolder)
class UpliftStudy(Targeted, RandomizedExperiment):
    """Several treatments assigned at random within a period: who responds to which, and whether to act on it."""

    design: ClassVar[str] = "uplift experiment"
    identification: ClassVar[Identification] = CHOSEN_BY_CHANCE
    checks: ClassVar[tuple[str, ...]] = (
        "srm", "several_arms", "exposure_before_assignment", "placebo_period", "balance", "maturity", *SHARED,
    )  # fmt: skip
    cohort_key: ClassVar[str] = "unit_id"
    cohort_fields: ClassVar[tuple[str, ...]] = (*RandomizedExperiment.cohort_fields, "attributes", "fairness")
    outcome_grain: ClassVar[str] = "one row per unit whose windows have passed"

    arms: SeveralArms  # ty: ignore[incompatible-attribute-override]: never assigned
    attributes: Annotated[list[str], Field(default_factory=list)]  # features that are text

    @property
    def stage_fields(self) -> dict[str, tuple[str, ...]]:
        """Protocol fields that each stage reads, besides those of the stages before it."""
        return with_model(super().stage_fields, self.model_fields_read)

    @property
    def arm_sql(self) -> str:
        """The place of the arm's name."""
        return arm_number("c.arm", self.arms.every)

    def numbers(self, warehouse: Warehouse, study: str) -> Sequence[str]:  # noqa: ARG002
        """The covariates."""
        return self.covariate_names

    @property
    def texts(self) -> Sequence[str]:
        """The attributes."""
        return self.attributes

    @property
    def cohort_attributes(self) -> list[str]:
        """Features that are attributes and protected ones, besides those of the population's filter."""
        return sorted({*super().cohort_attributes, *self.attributes, *(one.attribute for one in self.fairness)})

    def units(self) -> str:
        """First assignment of each unit within the enrolment period, if it was to one of the study's arms."""
        first = randomised_units(
            self.source, self.program, self.arms.treatments[0], self.enrolled_from, self.enrolled_to
        )
        control, every = literal(self.arms.control), ", ".join(map(literal, self.arms.every))
        return f"SELECT * REPLACE (arm <> {control} AS treated) FROM ({first}) WHERE arm IN ({every})"

    def _require_arms(self, file: str, control: int, treated: int, known: list[str]) -> None:
        if unknown := sorted(set(self.arms.every) - set(known)):
            raise dg.Failure(
                f"{file}: arms: program {self.program!r} has no {unknown}; the programme's arms are {known}"
            )
        if not (control and treated):
            raise dg.Failure(
                f"{file}: {control} units in {self.arms.control!r} and {treated} in {self.arms.treatment!r} "
                f"({self.population_in_words()}); look at the dates, the program and the population"
            )

    def outcome_deps(self) -> Sequence[dg.AssetKey]:
        """The mart of unit days and how far it reaches; learners need rows, not the moments that all studies share."""
        return [MARTS[0], MARTS[3]]

    def memo_deps(self) -> Sequence[dg.AssetKey]:
        """What is planted, of the whole and of each unit, shown beside what was estimated."""
        return [*super().memo_deps(), EFFECTS]

    def write_extras(self, warehouse: Warehouse, study: str, file: str) -> None:  # noqa: ARG002
        """The folds, which are as much a part of who is in the study as its arms."""
        self.write_folds(warehouse, study)

    def write_outcomes(self, warehouse: Warehouse, study: str) -> None:
        """One row per unit of the cohort whose windows have passed, zero where nothing happened."""
        mature = f"(SELECT unit_id, assigned_on FROM {study}.cohort WHERE {self.is_mature(warehouse)})"
        windows = outcome_windows(self.outcomes)
        warehouse.replace(
            f"{study}.outcomes", f"SELECT * FROM ({window_sums(mature, self.source, windows)}) ORDER BY unit_id"
        )

    def sample_ratio(self, warehouse: Warehouse, study: str) -> list[Diagnostic]:
        """Whether all arms have equal shares, as they are planned."""
        return equal_shares(warehouse, study, self.arm_sql, self.arms.every)

    def truth(self, warehouse: Warehouse, study: str) -> dict[str, float]:
        """True effects of each treatment, and of the policy on its own fold, where a world was planted."""
        found = self._true_gain(warehouse, study)
        for arm in self.arms.treatments:
            rows = warehouse.rows(
                f"SELECT outcome, value FROM marts.planted_truth WHERE study = {literal(study)} "
                f"AND estimand = {literal(f'ATE of {arm}')} AND segment = 'all'"
            )
            found |= {self.of_arm(row["outcome"], arm): row["value"] for row in rows}
        return found

    def _true_gain(self, warehouse: Warehouse, study: str) -> dict[str, float]:
        """What the policy is expected to earn over the best simple alternative, by the effects of each customer."""
        known = "planted_effects" in warehouse.tables("marts") and warehouse.scalar(
            f"SELECT count(*) FROM marts.planted_effects WHERE study = {literal(study)}"
        )
        if not known or not warehouse.scalar(f"SELECT count(*) FROM {study}.scored"):
            return {}
        best, _ = self.alternatives(warehouse, study)
        offers = enumerate(zip(self.arms.treatments, self.cost, strict=True), start=1)
        names = ", ".join(f"({place}, {literal(arm)}, {cost})" for place, (arm, cost) in offers)
        worth = f"coalesce({self.decision.value_per_outcome} * e.effect - a.cost, 0)"

        def earned(arm: str) -> float:
            return warehouse.scalar(
                f"SELECT avg({worth}) FROM {study}.scored AS s LEFT JOIN (VALUES {names}) AS a (place, name, cost) "
                f"ON a.place = {arm} LEFT JOIN marts.planted_effects AS e ON e.study = {literal(study)} "
                f"AND e.unit_id = s.unit_id AND e.treatment = a.name AND e.outcome = {literal(self.primary.name)} "
                f"WHERE s.fold = {POLICY}"
            )

        return {PROFIT: earned("s.chosen") - earned(str(best))}


class UpliftColumns(dg.Model, dg.Resolvable):
    """Which column holds the arm of each row, and which its unit, where rows are not units."""

    arm: str
    unit_id: str | None = None


@dg.scaffold_with(TemplateScaffolder)
class UpliftTable(Targeted, TableStudy):
    """An uplift study of one prepared table: one row per unit, assigned at random, with features and outcomes."""

    design: ClassVar[str] = "uplift experiment"
    identification: ClassVar[Identification] = replace(
        CHOSEN_BY_CHANCE, assumptions=(assigned_by_chance("srm"), *CHOSEN_BY_CHANCE.assumptions[1:])
    )
    randomised: ClassVar[bool] = True
    checks: ClassVar[tuple[str, ...]] = ("srm", *SHARED)
    cohort_key: ClassVar[str] = "_row"
    cohort_fields: ClassVar[tuple[str, ...]] = ("arms", "fairness")

    columns: UpliftColumns

    @property
    def stage_fields(self) -> dict[str, tuple[str, ...]]:
        """Protocol fields that each stage reads, besides those of the stages before it."""
        return with_model(super().stage_fields, self.model_fields_read)

    @property
    def roles(self) -> dict[str, str]:
        """Columns of the table by their role."""
        protected = {self.protected(rule): rule.attribute for rule in self.fairness}
        return self.columns.model_dump(exclude_none=True) | protected

    def protected(self, rule: Fairness) -> str:
        """A role of its own: the attribute may be a feature too."""
        return f"protected_{rule.attribute}"

    @property
    def condition(self) -> str:
        """Treated in any way, or the control; other arms are left out."""
        treated = " OR ".join(is_arm("arm", arm) for arm in self.arms.treatments)
        return f"CASE WHEN {treated} THEN true WHEN {is_arm('arm', self.arms.control)} THEN false END"

    @property
    def arm_sql(self) -> str:
        """The place of the arm's name."""
        return arm_number("c.arm", self.arms.every)

    def numbers(self, warehouse: Warehouse, study: str) -> Sequence[str]:
        """The cohort's columns of covariates; a text is one per value but its first."""
        return self.adjusted_for(warehouse, study)

    @property
    def texts(self) -> Sequence[str]:
        """None: the cohort has numbers only."""
        return ()

    def write_cohort(self, warehouse: Warehouse, study: str, file: str) -> None:
        """As for every table, and the folds."""
        super().write_cohort(warehouse, study, file)
        self.write_folds(warehouse, study)

    def cohort_diagnostics(self, warehouse: Warehouse, study: str) -> list[Diagnostic]:
        """Whether all arms have equal shares, as they are planned."""
        return equal_shares(warehouse, study, self.arm_sql, self.arms.every)
