"""What studies over a table share that adjust for what was recorded: who was treated, propensity, weights, balance."""

from collections.abc import Sequence
from typing import Any, ClassVar

import dagster as dg
import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from causal_assets.designs import reporting
from causal_assets.designs.adjusted_checks import hidden_causes, spread
from causal_assets.designs.drawn import DrawnStudy
from causal_assets.designs.observational import PROPENSITY_BINS
from causal_assets.designs.table import TableStudy, columns_of
from causal_assets.memo.facts import NO_INTERFERENCE, Assumption, Identification
from causal_assets.protocol import Arms
from causal_assets.types import Diagnostic, Estimate, Role
from causal_assets.warehouse import results
from causal_assets.warehouse.engine import Warehouse, identifier
from causal_assets.warehouse.queries.tables import is_arm, numbered, unknown
from causal_assets.warehouse.results import Finding

Floats = NDArray[np.float64]
Rows = dict[str, NDArray[Any]]

NAIVE = "naive difference in means"
ZERO_OR_ONE = Arms(control="0", treatment="1")
BY_ADJUSTMENT = Identification(
    words="Nobody was assigned by chance. Treated and untreated {unit}s are made alike in everything recorded before "
    "the treatment, and the difference that is left is read as its effect. What was not recorded is not adjusted.",
    assumptions=(
        Assumption(
            words="Whatever drove both the treatment and the outcome is among the covariates.",
            checks=("negative_control", "causal_graph"),
            sensitivity=("robustness_value", "e_value"),
        ),
        Assumption(words="No covariate was changed by the treatment.", checks=("causal_graph",)),
        Assumption(words="Every {unit} compared could have been treated or not.", checks=("overlap", "clipping")),
        NO_INTERFERENCE,
    ),
    by_chance=False,
)


class AdjustedStudy(DrawnStudy, TableStudy):
    """A study that compares treated and untreated rows of a table, adjusted for covariates.

    ``columns.treatment`` holds 0 and 1, or the two values of ``arms``; rows of other values are then left out.
    ``<study>.scores`` keeps each row's propensity and weight, from which overlap and balance are read.
    """

    identification: ClassVar[Identification] = BY_ADJUSTMENT
    randomised: ClassVar[bool] = False
    evidence_fields: ClassVar[tuple[str, ...]] = ("benchmark", *DrawnStudy.evidence_fields)
    within: ClassVar[str | None] = None  # the role inside whose values units are compared

    arms: Arms | None = None
    benchmark: str | None = None  # the covariate beside which a hidden cause is imagined; the strongest of all

    @model_validator(mode="after")
    def _there_is_something_to_adjust_for(self) -> "AdjustedStudy":
        if not self.covariates:
            raise ValueError(
                "covariates: at least one is needed, got none; without any, the difference is the naive one"
            )
        if self.benchmark is not None and self.benchmark not in self.covariates:
            raise ValueError(f"benchmark: {self.benchmark!r} is no covariate; allowed are {self.covariates}")
        return self

    @property
    def arm_names(self) -> tuple[str, str]:
        """What the two sides are called."""
        return (self.arms.control, self.arms.treatment) if self.arms else super().arm_names

    @property
    def treated_or_not(self) -> str:
        """SQL: whether a row is treated. An unknown treatment is false here, so that it is counted as incomplete."""
        arms = self.arms or ZERO_OR_ONE
        return (
            f"CASE WHEN {is_arm('treatment', arms.treatment)} THEN true "
            f"WHEN {is_arm('treatment', arms.control)} OR {unknown('treatment')} THEN false END"
        )

    @property
    def flags(self) -> list[str]:
        """Roles whose columns must hold 0 and 1; the treatment's too, unless ``arms`` names its values."""
        return [] if self.arms else ["treatment"]

    def write_cohort(self, warehouse: Warehouse, study: str, file: str) -> None:
        """As any study's cohort; columns that say yes or no do.

        Raises:
            dagster.Failure: names file, field, given and allowed.
        """
        table = f"(SELECT * FROM ({numbered(self._relation(warehouse, file))}) {self._filter(warehouse, file)})"
        for role in self.flags:
            column = identifier(self.roles[role])
            fits = " OR ".join((is_arm(column, "0"), is_arm(column, "1"), unknown(column)))
            other = warehouse.rows(
                f"SELECT DISTINCT CAST({column} AS VARCHAR) AS given FROM {table} "
                f"WHERE ({fits}) IS NOT TRUE ORDER BY 1 LIMIT 5"
            )
            if other:
                hint = "; name its two values in arms" if role == "treatment" else ""
                raise dg.Failure(
                    f"{file}: columns.{role}: {self.roles[role]!r} must hold 0 and 1, got "
                    f"{[row['given'] for row in other]}{hint}"
                )
        super().write_cohort(warehouse, study, file)

    @property
    def adjusted_names(self) -> Sequence[str]:
        """The covariates, called as in the table."""
        return self.covariates

    def before_treatment(
        self, warehouse: Warehouse, study: str
    ) -> tuple[list[str], Floats, NDArray[np.bool_], NDArray[Any]]:
        """The covariates of every row; rows of one cluster, or else of one unit, hang together."""
        data = warehouse.arrays(f"FROM {study}.cohort ORDER BY _row")
        cluster = data["cluster"] if "cluster" in self.roles else data["unit_id"]
        return *self.covariate_matrix(data), data["treated"].astype(bool), cluster

    def keep_scores(
        self, warehouse: Warehouse, study: str, row: NDArray[Any], propensity: Floats, weight: Floats
    ) -> None:
        """Keep propensity and weight of every row that the primary estimate was made of."""
        import pyarrow as pa

        scores = pa.table({"_row": row, "propensity": propensity, "weight": np.asarray(weight, dtype=np.float64)})
        with warehouse.transaction() as connection:
            connection.register("scores", scores)
            connection.execute(f"CREATE OR REPLACE TABLE {study}.scores AS FROM scores")

    def scored(self, warehouse: Warehouse, study: str) -> Rows:
        """``propensity``, ``weight`` and ``treated`` (n,) of those rows, by row."""
        return warehouse.arrays(
            f"SELECT propensity, weight, treated FROM {study}.scores JOIN {study}.cohort USING (_row) ORDER BY _row"
        )

    def balance(self, warehouse: Warehouse, study: str) -> list[tuple[str, float, float | None]]:
        """Standardised mean differences before adjustment and, once there are weights, after it."""
        from causal_assets.estimators.balance import weighted_differences

        names, x, treated, weight = self._weighed(warehouse, study)
        before = weighted_differences(x, treated, np.ones(len(treated))).tolist()
        if weight is None:
            return [(name, b, None) for name, b in zip(names, before, strict=True)]
        return list(zip(names, before, weighted_differences(x, treated, weight).tolist(), strict=True))

    def _weighed(self, warehouse: Warehouse, study: str) -> tuple[list[str], Floats, NDArray[np.bool_], Floats | None]:
        """Names (k), covariates (n, k), treatment (n,) and, where the answer compares weighted rows, weights (n,)."""
        names = self.adjusted_for(warehouse, study)
        scored = "scores" in warehouse.tables(study)
        source = f"{study}.cohort" + (f" JOIN {study}.scores USING (_row)" if scored else "")
        wanted = ", ".join(["treated", *map(identifier, names), *(["weight"] if scored else [])])
        data = warehouse.arrays(f"SELECT {wanted} FROM {source} ORDER BY _row")
        weight = data["weight"] if scored and self.adjusts_by_weights else None
        return names, np.stack([data[name] for name in names], axis=1), data["treated"], weight

    @property
    def adjusts_by_weights(self) -> bool:
        """Whether the answer compares weighted rows; the balance after adjustment is theirs."""
        return True

    def propensity(self, warehouse: Warehouse, study: str) -> reporting.Propensity | None:
        """Rows per propensity bin and arm."""
        if "scores" not in warehouse.tables(study):
            return None
        data = self.scored(warehouse, study)
        edges = np.linspace(0, 1, PROPENSITY_BINS + 1)
        treated, control = (
            np.histogram(data["propensity"][arm], edges)[0].tolist() for arm in (data["treated"], ~data["treated"])
        )
        return edges.tolist(), treated, control

    def cohort_diagnostics(self, warehouse: Warehouse, study: str) -> list[Diagnostic]:
        """Gaps by arm, and whether the causal graph drawn and the cohort bear each other out."""
        return [*self.gaps_by_arm(warehouse, study), *self.graph_diagnostics(warehouse, study)]

    def diagnostics(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> list[Diagnostic]:
        """Balance after adjustment, overlap, what moves that the treatment cannot move, and hidden causes."""
        from causal_assets.diagnostics.balance import weighted_balance
        from causal_assets.diagnostics.negative_control import negative_control
        from causal_assets.diagnostics.overlap import overlap
        from causal_assets.estimators.overlap import effective_sample_size

        data = self.scored(warehouse, study)
        treated, weight = data["treated"], data["weight"]
        effective = effective_sample_size(weight[~treated])
        found = [overlap(data["propensity"][treated], effective, int((~treated).sum()))]
        after = {name: value for name, _, value in self.balance(warehouse, study) if value is not None}
        if after:
            found += [weighted_balance(after), *self._spread(warehouse, study)]
        if (lost := self._lost(warehouse, study)) is not None:
            found.append(lost)
        return [*found, negative_control(self.controls(findings)), *self._hidden_causes(warehouse, study, findings)]

    def _spread(self, warehouse: Warehouse, study: str) -> list[Diagnostic]:
        names, x, treated, weight = self._weighed(warehouse, study)
        return [] if weight is None else spread(names, x, treated, weight)

    def _lost(self, warehouse: Warehouse, study: str) -> Diagnostic | None:
        from causal_assets.diagnostics.attrition import attrition

        rows = warehouse.rows(
            f"SELECT treated, count(*) AS assigned, count({identifier(self.primary.name)}) AS observed "
            f"FROM {study}.cohort JOIN {study}.outcomes USING (_row) GROUP BY treated"
        )
        arm = dict(zip((False, True), self.arm_names, strict=True))
        observed, assigned = ({arm[row["treated"]]: row[n] for row in rows} for n in ("observed", "assigned"))
        return None if observed == assigned else attrition(observed, assigned, randomised=False)

    def _hidden_causes(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> list[Diagnostic]:
        primary = results.primary(findings)
        assert primary is not None  # the graph asks for diagnostics of an estimate only
        columns = self.adjusted_for(warehouse, study)
        return hidden_causes(
            warehouse,
            f"(FROM {study}.cohort JOIN {study}.outcomes USING (_row))",
            {name: columns_of(name, columns) for name in self.covariates},
            primary,
            named=self.benchmark,
            within=self.within,
        )

    def controls(self, findings: Sequence[Finding]) -> list[Estimate]:
        """Effects that are zero if the covariates are enough."""
        return [estimate for role, estimate in findings if role is Role.NEGATIVE_CONTROL]
