"""Long-term effect of a short experiment: history knows how the short term leads to the long term."""

from collections.abc import Sequence
from typing import ClassVar

import dagster as dg
import numpy as np
from pydantic import model_validator

from causal_assets.component import TemplateScaffolder
from causal_assets.designs.randomized import read_arms
from causal_assets.designs.study import Losses
from causal_assets.designs.table import TABLE_CHECKS, TableStudy
from causal_assets.estimators.inference import Floats
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.surrogate import SurrogateIndex as Index
from causal_assets.memo.facts import NO_INTERFERENCE, Assumption, Identification, assigned_by_chance
from causal_assets.protocol import Arms
from causal_assets.types import Diagnostic, Estimate, Role
from causal_assets.warehouse.engine import Warehouse, identifier
from causal_assets.warehouse.queries.moments import arm_moments
from causal_assets.warehouse.queries.tables import in_treatment, is_arm
from causal_assets.warehouse.results import Finding

THROUGH_SURROGATES = Identification(
    words="Chance alone decided which {unit} of the experiment got “{treated}” and which “{control}”. What that did to "
    "the short-term outcomes is seen; what it does in the long term is foretold from how the same short-term outcomes "
    "led to the long-term one in the history.",
    assumptions=(
        assigned_by_chance("srm"),
        Assumption(
            words="The treatment works on the long term only through the short-term outcomes named (surrogacy).",
            checks=("surrogacy",),
        ),
        Assumption(
            words="Given these, the long term follows as it did in the history (comparability).",
            checks=("surrogate_support",),
        ),
        NO_INTERFERENCE,
    ),
    by_chance=False,
)


class SurrogateColumns(dg.Model, dg.Resolvable):
    """Which column says the arm of a row, or that it is of the history; and its unit where the table names it."""

    arm: str
    unit_id: str | None = None


@dg.scaffold_with(TemplateScaffolder)
class SurrogateIndex(TableStudy):
    """Effect on a long-term outcome, the primary one, by way of the secondary ones, its surrogates.

    One table holds both samples, each unit in one of them: rows of the experiment (``arms``) with the surrogates, and
    rows whose arm is ``history`` with surrogates and long-term outcome. Where the experiment's long-term outcome is
    known for every unit, its own effect is shown beside, and it tests the index.
    """

    design: ClassVar[str] = "surrogate index"
    identification: ClassVar[Identification] = THROUGH_SURROGATES
    randomised: ClassVar[bool] = True
    checks: ClassVar[tuple[str, ...]] = ("srm", "surrogate_support", "surrogacy", *TABLE_CHECKS)
    cohort_fields: ClassVar[tuple[str, ...]] = ("arms", "history")

    columns: SurrogateColumns
    arms: Arms
    history: str = "history"

    @model_validator(mode="after")
    def _has_history_and_surrogates(self) -> "SurrogateIndex":
        if not self.surrogates:
            raise ValueError("outcomes: a surrogate index needs at least one secondary outcome, its surrogates")
        if self.history in (self.arms.control, self.arms.treatment):
            raise ValueError(f"history: {self.history!r} is an arm; the history's rows need a value of their own")
        return self

    @property
    def surrogates(self) -> list[str]:
        """The short-term outcomes."""
        return [outcome.name for outcome in self.outcomes if outcome.role == "secondary"]

    @property
    def roles(self) -> dict[str, str]:
        """Columns by role."""
        return self.columns.model_dump(exclude_none=True)

    @property
    def condition(self) -> str:
        """The history is untreated; rows of a third arm are left out."""
        compared = in_treatment("arm", self.arms.control, self.arms.treatment)
        return f"CASE WHEN {is_arm('arm', self.history)} THEN false ELSE {compared} END"

    @property
    def arm_names(self) -> tuple[str, str]:
        """The two arms of the experiment."""
        return self.arms.control, self.arms.treatment

    def arm_counts(self, warehouse: Warehouse, study: str) -> dict[str, int]:
        """Units of the experiment per arm, without the history."""
        (row,) = warehouse.rows(
            f"SELECT count(*) FILTER (NOT treated) AS control, count(*) FILTER (treated) AS treated "
            f"FROM {study}.cohort WHERE NOT {is_arm('arm', self.history)}"
        )
        return dict(zip(self.arm_names, (row["control"], row["treated"]), strict=True))

    def losses(self, warehouse: Warehouse, study: str) -> Losses:
        """Rows of the cohort without a surrogate, and rows of the history without the long-term outcome."""
        base = super().losses(warehouse, study)
        lost = [(reason, rows) for reason, rows in base.by_reason if reason != "the outcome is empty"]
        if "outcomes" in warehouse.tables(study):
            missing = warehouse.scalar(f"SELECT count(*) FROM {self._sample(study)} WHERE NOT ({self._complete})")
            lost += [("a surrogate, or the history's long-term outcome, is empty", missing)] if missing else []
        return Losses(tuple(lost), sum(rows for _, rows in lost), base.rows_in)

    # --- the two samples ------------------------------------------------------------------------------------------

    @property
    def _complete(self) -> str:
        """SQL condition: all that a row's sample must hold is there."""
        surrogates = " AND ".join(f"{identifier(name)} IS NOT NULL" for name in self.surrogates)
        long_term = f"({identifier(self.primary.name)} IS NOT NULL OR NOT in_history)"
        return f"{surrogates} AND {long_term}"

    def _sample(self, study: str) -> str:
        past = is_arm("arm", self.history)
        return f"(SELECT *, {past} AS in_history FROM {study}.cohort JOIN {study}.outcomes USING (_row))"

    def _columns(self, warehouse: Warehouse, study: str) -> list[str]:
        """What the index is a function of: surrogates, then covariates."""
        return [*self.surrogates, *self.adjusted_for(warehouse, study)]

    def _past(self, warehouse: Warehouse, study: str) -> tuple[Floats, Floats]:
        """Long-term outcome (n,) and columns (n, k) of the history; rows, for robust errors need squared residuals."""
        columns = self._columns(warehouse, study)
        data = self._rows(warehouse, study, [self.primary.name, *columns], "in_history")
        if not len(data):
            raise dg.Failure(f"{study}: history: no complete row of {self.origin()} is {self.history!r}")
        return data[:, 0], data[:, 1:]

    def _rows(self, warehouse: Warehouse, study: str, columns: Sequence[str], which: str) -> Floats:
        chosen = ", ".join(f"CAST({identifier(name)} AS DOUBLE) AS {identifier(name)}" for name in columns)
        found = warehouse.arrays(
            f"SELECT {chosen} FROM {self._sample(study)} WHERE {which} AND {self._complete} ORDER BY _row"
        )
        return np.column_stack([np.asarray(found[name], dtype=np.float64) for name in columns])

    def _arms(self, warehouse: Warehouse, study: str, columns: Sequence[str]) -> tuple[Moments, Moments]:
        """Moments of the experiment's two arms."""
        experiment = f"(FROM {self._sample(study)} WHERE NOT in_history AND {self._complete})"
        arms = read_arms(warehouse, f"({arm_moments(experiment, columns)})")
        if set(arms) != {False, True}:
            raise dg.Failure(f"{study}: arms: {self.arm_names} need complete rows each, got {len(arms)} of 2")
        return arms[False][0], arms[True][0]

    def _long_term_is_known(self, warehouse: Warehouse, study: str) -> bool:
        missing = f"SELECT count(*) FROM {self._sample(study)} WHERE NOT in_history"
        return not warehouse.scalar(f"{missing} AND {identifier(self.primary.name)} IS NULL")

    def _index(self, warehouse: Warehouse, study: str) -> Index:
        from causal_assets.estimators.surrogate import fit_index

        return fit_index(*self._past(warehouse, study))

    def _back_test(self, warehouse: Warehouse, study: str, index: Index) -> Estimate | None:
        """What the index missed, where the experiment's long-term outcome is known."""
        from causal_assets.estimators.surrogate import back_test, short_term_effects

        if not self._long_term_is_known(warehouse, study):
            return None
        name = self.primary.name
        arms = self._arms(warehouse, study, [name, *self._columns(warehouse, study)])
        effects = short_term_effects(*arms, surrogates=1 + len(self.surrogates))
        return back_test(index, effects, outcome=name, level=self.level)

    # --- what the study says --------------------------------------------------------------------------------------

    def estimates(self, warehouse: Warehouse, study: str) -> list[Finding]:
        """The index's effect, those on the surrogates, and the long-term effect itself where it is known."""
        from causal_assets.estimators.randomized import difference_in_means
        from causal_assets.estimators.surrogate import short_term_effects, surrogate_effect

        name = self.primary.name
        control, treated = self._arms(warehouse, study, self._columns(warehouse, study))
        effects = short_term_effects(control, treated, surrogates=len(self.surrogates))
        index = self._index(warehouse, study)
        findings: list[Finding] = [
            (Role.PRIMARY, surrogate_effect(index, effects, outcome=name, level=self.level)),
        ]
        covariates = list(range(len(self.surrogates), control.mean.size))
        for i, surrogate in enumerate(self.surrogates):
            arms = (arm.select([i, *covariates]) for arm in (control, treated))
            findings.append((Role.SECONDARY, difference_in_means(*arms, outcome=surrogate, level=self.level)))
        if self._long_term_is_known(warehouse, study):
            arms = self._arms(warehouse, study, [name, *self.adjusted_for(warehouse, study)])
            findings.append((Role.ALTERNATIVE, difference_in_means(*arms, outcome=name, level=self.level)))
        return findings

    def cohort_diagnostics(self, warehouse: Warehouse, study: str) -> list[Diagnostic]:
        """Sample ratio of the experiment."""
        from causal_assets.diagnostics.srm import srm

        planned = {self.arms.control: 1 - self.arms.share, self.arms.treatment: self.arms.share}
        return [srm(self.arm_counts(warehouse, study), planned)]

    def diagnostics(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> list[Diagnostic]:  # noqa: ARG002
        """Whether history knows units like these, and whether the surrogates carry the whole effect."""
        from causal_assets.diagnostics.surrogacy import surrogacy, surrogate_support
        from causal_assets.estimators.surrogate import fit_index, outside_support

        long_term, past = self._past(warehouse, study)
        index = fit_index(long_term, past)
        now = self._rows(warehouse, study, self._columns(warehouse, study), "NOT in_history")
        return [
            surrogate_support(outside_support(past, now), len(now)),
            surrogacy(index.explained, self._back_test(warehouse, study, index)),
        ]
