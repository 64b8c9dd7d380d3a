"""One outcome of a randomised experiment: what is read of it, by arm, and the estimate made of that.

Means, ratios, proportions and strata come as counts and moments from the engine, clusters as one row of sums each;
quantiles, learned covariates, HC2 errors, randomisation tests and Lee bounds read the outcome's rows, as do covariates,
strata, triggers, interactions and bounds where there are clusters.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import dagster as dg
import numpy as np
from numpy.typing import NDArray

from causal_assets.designs.experiment_fields import Metric
from causal_assets.designs.randomized import read_arms
from causal_assets.estimators.moments import Moments
from causal_assets.types import Estimate
from causal_assets.warehouse.engine import Warehouse, identifier
from causal_assets.warehouse.queries.moments import arm_moments
from causal_assets.warehouse.queries.tables import is_arm

# An estimate as a function of its level; its p-value is the same at all of them.
Analysis = Callable[[float], Estimate]
Cells = dict[Any, Moments]

# The delta method by cluster is a large-sample one; below, the moments of so few sums are too noisy.
LEAST_CLUSTERS = 30
# What the interaction with a second experiment is called, after its outcome's name.
CONCURRENT = "with the other experiment"


def arm_number(column: str, arms: Sequence[str]) -> str:
    """SQL: the place of a row's arm among ``arms``, NULL where it is none of them."""
    return "CASE " + " ".join(f"WHEN {is_arm(column, arm)} THEN {i}" for i, arm in enumerate(arms)) + " END"


def moments(warehouse: Warehouse, relation: str, columns: Sequence[str], by: Sequence[str]) -> Cells:
    """Moments of columns of ``relation`` by the values of ``by``, as tuples: one grouped query, no rows."""
    keyed = f"(SELECT * EXCLUDE (treated), row({', '.join(by)}) AS treated FROM {relation})"
    found: dict[Any, tuple[Moments, list[str]]] = dict(read_arms(warehouse, f"({arm_moments(keyed, columns)})"))
    return {key: cell for key, (cell, _) in found.items()}


@dataclass(frozen=True)
class Compared:
    """An outcome in the arms compared, the control first, its cohort's columns beside it; ``arm`` numbers them from 0.

    ``covariates`` are what means and ratios are adjusted for; ``counted`` says that a row stands for ``count`` of them.
    """

    warehouse: Warehouse
    study: str
    outcome: Metric
    arms: tuple[str, ...]
    covariates: tuple[str, ...] = ()
    counted: bool = False
    _read: dict[Any, Any] = field(default_factory=dict, compare=False)

    # --- what is read ---------------------------------------------------------------------------------------------

    @property
    def rows(self) -> str:
        """SQL: rows with the outcome, ``_arm`` the number of their arm, ``_y`` the outcome and ``_of`` its denominator.

        What the outcome is capped at is one number for all arms.
        """
        value = (
            identifier(self.outcome.name)
            if self.cap is None
            else f"least({identifier(self.outcome.name)}, {self.cap!r})"
        )
        below = identifier(self.outcome.beside) if self.outcome.beside else "1.0"
        return f"(SELECT *, {value} AS _y, {below} AS _of FROM {self._known})"

    @property
    def _known(self) -> str:
        return f"(FROM {self._assigned} WHERE {identifier(self.outcome.name)} IS NOT NULL)"

    @property
    def _assigned(self) -> str:
        """SQL: rows of the arms compared, with the outcome or without."""
        return (
            f"(SELECT *, {arm_number('arm', self.arms)} AS _arm FROM {self.study}.cohort "
            f"JOIN {self.study}.outcomes USING (_row) WHERE _arm IS NOT NULL)"
        )

    @cached_property
    def cap(self) -> float | None:
        """The number the outcome is cut off at, where it is: as declared, or read off all arms together."""
        if self.outcome.cap_quantile is None:
            return self.outcome.cap
        name = identifier(self.outcome.name)
        return self.warehouse.scalar(f"SELECT quantile_disc({name}, {self.outcome.cap_quantile!r}) FROM {self._known}")

    def capped(self, quantile: float) -> Self:
        """The same outcome cut off at a quantile of all arms together."""
        capped = self.outcome.model_copy(update={"kind": "capped_mean", "cap_quantile": quantile})
        return replace(self, outcome=capped, _read={})

    @property
    def estimand(self) -> str:
        """ATE, or that on the capped mean, by its cap."""
        return "ATE" if self.cap is None else f"ATE on the mean capped at {self.cap:g}"

    def label(self, arm: int) -> str:
        """The outcome's name, with the arm's where that is not the one the study decides on."""
        return self.outcome.name if arm == 1 else f"{self.outcome.name}, {self.arms[arm]}"

    def cells(self, columns: Sequence[str], by: Sequence[str] = ("_arm",)) -> Cells:
        """Moments by the values of ``by``; one query for all arms."""
        asked = (tuple(columns), tuple(by))
        if asked not in self._read:
            self._read[asked] = moments(self.warehouse, self.rows, columns, by)
        return self._read[asked]

    def arrays(self, *columns: str) -> dict[str, NDArray[Any]]:
        """Rows of ``_arm``, ``_y`` and further columns, in the table's order."""
        chosen = ", ".join(["_row", "_arm", "_y", *map(identifier, columns)])
        found = self.warehouse.arrays(f"SELECT {chosen} FROM {self.rows} ORDER BY _row")
        return {name: np.asarray(values) for name, values in found.items()}

    def pair(self, cells: Cells, arm: int) -> tuple[Moments, Moments]:
        """Control and arm.

        Raises:
            dagster.Failure: nothing is known of one of them.
        """
        self._require_known({key[0] for key in cells}, arm)
        return cells[(0,)], cells[(arm,)]

    def _require_known(self, known: Collection[int], arm: int) -> None:
        if absent := [self.arms[i] for i in (0, arm) if i not in known]:
            raise dg.Failure(f"{self.study}: outcomes.{self.outcome.name}: no value is known in {absent}")

    def require_fit(self) -> None:
        """Make sure that the values are of the outcome's kind.

        Raises:
            dagster.Failure: a proportion with a value other than 0 and 1.
        """
        if self.outcome.kind != "proportion":
            return
        other = self.warehouse.scalar(f"SELECT any_value(_y) FROM {self.rows} WHERE _y NOT IN (0, 1)")
        if other is not None:
            raise dg.Failure(
                f"{self.study}: outcomes.{self.outcome.name}: kind proportion is of 0 and 1, got {other:g}; "
                "allowed kinds for other values are mean, ratio, quantile and capped_mean"
            )

    # --- one row, one unit ----------------------------------------------------------------------------------------

    def by_kind(self, arm: int) -> Analysis:
        """The estimate that the outcome's kind asks for, rows being independent."""
        match self.outcome.kind:
            case "proportion":
                return self.proportion(arm)
            case "ratio":
                return self.ratio(arm)
            case "quantile":
                return self.quantile(arm)
            case _:
                return self.mean(arm)

    def mean(self, arm: int) -> Analysis:
        """Difference in means from moments, adjusted for the covariates."""
        from causal_assets.estimators.randomized import difference_in_means

        cells = self._counted_cells() if self.counted else self.cells(["_y", *self.covariates])
        control, treated = self.pair(cells, arm)
        name, estimand = self.label(arm), self.estimand
        return lambda level: difference_in_means(control, treated, outcome=name, level=level, estimand=estimand)

    def _counted_cells(self) -> Cells:
        """Moments of the outcome by arm, each row as often as it counts."""
        weight = identifier("count")
        found = self.warehouse.rows(
            f"SELECT _arm, CAST(sum({weight}) AS BIGINT) AS n, sum({weight} * _y) / sum({weight}) AS mean, "
            f"sum({weight} * (_y - centre) ** 2) / (sum({weight}) - 1) AS variance FROM (SELECT *, "
            f"sum({weight} * _y) OVER (PARTITION BY _arm) / sum({weight}) OVER (PARTITION BY _arm) AS centre "
            f"FROM {self.rows}) GROUP BY _arm",
            repeatable=True,
        )
        return {(r["_arm"],): Moments(r["n"], np.array([r["mean"]]), np.array([[r["variance"]]])) for r in found}

    def ratio(self, arm: int) -> Analysis:
        """Difference of ratios of totals, by the delta method, from moments."""
        from causal_assets.estimators.ratios import difference_in_ratios

        control, treated = self.pair(self.cells(["_y", "_of", *self.covariates]), arm)
        return lambda level: difference_in_ratios(control, treated, outcome=self.label(arm), level=level)

    def proportion(self, arm: int) -> Analysis:
        """Difference in proportions by the score test, from counts of rows, or of what they stand for."""
        from causal_assets.estimators.proportions import Events, difference_in_proportions

        weight = identifier("count") if self.counted else "1"
        found = self.warehouse.rows(
            f"SELECT _arm, CAST(sum({weight}) AS BIGINT) AS n, CAST(sum({weight} * _y) AS BIGINT) AS events "
            f"FROM {self.rows} GROUP BY _arm"
        )
        by_arm = {row["_arm"]: Events(row["events"], row["n"]) for row in found}
        self._require_known(by_arm, arm)
        return lambda level: difference_in_proportions(by_arm[0], by_arm[arm], outcome=self.label(arm), level=level)

    def quantile(self, arm: int, cluster: str | None = None) -> Analysis:
        """Difference in quantiles, from rows; of rows where ``cluster`` labels which belong together."""
        from causal_assets.estimators.quantiles import difference_in_quantiles

        assert self.outcome.quantile is not None  # the kind needs one
        quantile = self.outcome.quantile
        rows = self.arrays(*[cluster] if cluster else [])
        control, treated = rows["_arm"] == 0, rows["_arm"] == arm
        return lambda level: difference_in_quantiles(
            rows["_y"][control],
            rows["_y"][treated],
            quantile,
            control_unit=rows[cluster][control] if cluster else None,
            treated_unit=rows[cluster][treated] if cluster else None,
            outcome=self.label(arm),
            level=level,
        )

    def learned(self, arm: int, seed: int, *, cluster: bool) -> Analysis:
        """Adjusted for one covariate, what a model expects of the row's outcome (CUPAC); from rows of all arms."""
        from causal_assets.estimators.cupac import expected_outcome
        from causal_assets.estimators.randomized import difference_in_means

        rows = self._dependent(*self.covariates) if cluster else self.arrays(*self.covariates)
        x = np.stack([rows[name] for name in self.covariates], axis=1)
        unit = rows["cluster" if cluster else "_row"]
        expected = np.column_stack([rows["_y"], expected_outcome(x, rows["_y"], unit, seed=seed)])
        if cluster:
            return self._adjusted(arm, rows, expected[:, 1:])
        control, treated = (Moments.of(expected[rows["_arm"] == i]) for i in (0, arm))
        name, estimand = self.label(arm), self.estimand

        def analysis(level: float) -> Estimate:
            found = difference_in_means(control, treated, outcome=name, level=level, estimand=estimand)
            return replace(found, method="difference in means, adjusted for the expected outcome (CUPAC)")

        return analysis

    def robust(self, arm: int, *, cluster: bool) -> Analysis:
        """Adjusted for the covariates with HC2 errors, or CR2 by cluster, from rows."""
        rows = self._dependent(*self.covariates) if cluster else self.arrays(*self.covariates)
        return self._adjusted(arm, rows, np.stack([rows[name] for name in self.covariates], axis=1))

    def _adjusted(self, arm: int, rows: dict[str, NDArray[Any]], x: NDArray[np.float64]) -> Analysis:
        from causal_assets.estimators.randomized import regression_adjusted

        own = np.isin(rows["_arm"], (0, arm))
        y, d, name, estimand = rows["_y"][own], (rows["_arm"][own] == arm) * 1, self.label(arm), self.estimand
        cluster = rows["cluster"][own] if "cluster" in rows else None
        return lambda level: regression_adjusted(
            y, d, x[own], cluster=cluster, outcome=name, level=level, estimand=estimand
        )

    # --- strata, clusters, triggers -------------------------------------------------------------------------------

    def stratified(self, arm: int) -> Analysis:
        """Difference in means within strata, weighted by their sizes, from moments.

        Raises:
            dagster.Failure: a stratum without one of the arms.
        """
        from causal_assets.estimators.stratified import poststratified

        cells = self.cells(["_y"], ["_arm", "CAST(stratum AS VARCHAR)"])
        names = sorted({stratum for i, stratum in cells if i in (0, arm)})
        if alone := [name for name in names if (0, name) not in cells or (arm, name) not in cells]:
            raise dg.Failure(
                f"{self.study}: columns.stratum: {alone} hold only one of {[self.arms[0], self.arms[arm]]}; "
                "merge them with others"
            )
        strata = {name: (cells[0, name], cells[arm, name]) for name in names}
        label, estimand = self.label(arm), self.estimand
        return lambda level: poststratified(strata, outcome=label, level=level, estimand=estimand)

    def _by_cluster(self, *columns: str) -> str:
        """SQL: one row per cluster with its rows, the sums of outcome and denominator, and the means of ``columns``.

        Raises:
            dagster.Failure: a cluster in several arms.
        """
        self._require_whole_clusters()
        means = "".join(f", avg({identifier(name)}) AS {identifier(name)}" for name in columns)
        return (
            f"(SELECT _arm, any_value(treated) AS treated, cluster, CAST(count(*) AS DOUBLE) AS _rows, sum(_y) AS _y, "
            f"sum(_of) AS _of{means} FROM {self.rows} GROUP BY _arm, cluster)"
        )

    def _dependent(self, *columns: str) -> dict[str, NDArray[Any]]:
        """Rows as ``arrays`` gives them, with their cluster.

        Raises:
            dagster.Failure: a cluster in several arms.
        """
        self._require_whole_clusters()
        return self.arrays(*columns, "cluster")

    def _require_whole_clusters(self) -> None:
        both = self.warehouse.scalar(
            f"SELECT count(*) FROM (SELECT cluster FROM {self._assigned} GROUP BY cluster HAVING min(_arm) < max(_arm))"
        )
        if both:
            raise dg.Failure(f"{self.study}: columns.cluster: {both} clusters are in several arms; each needs one")

    def clustered(self, arm: int) -> Analysis:
        """The outcome's kind where clusters were assigned; the unit of every count is the cluster.

        A mean is that of rows, with CR2 errors from one row of sums per cluster. Ratios, and means adjusted for the
        clusters' means of the covariates, go by the delta method over those sums; quantiles read rows.

        Raises:
            ValueError: fewer than 5 clusters in an arm, or 30 for what goes by the delta method or for quantiles.
        """
        from causal_assets.estimators.ratios import difference_in_ratios

        if self.outcome.kind == "quantile":
            return self.quantile(arm, "cluster")
        if self.outcome.kind != "ratio" and not self.covariates:
            return self.clustered_mean(arm)
        top, below = "_y", "_of" if self.outcome.kind == "ratio" else "_rows"
        cells = moments(self.warehouse, self._by_cluster(*self.covariates), [top, below, *self.covariates], ["_arm"])
        control, treated = self.pair(cells, arm)
        if min(control.n, treated.n) < LEAST_CLUSTERS:
            raise ValueError(
                f"outcomes.{self.outcome.name}: {treated.n} treated and {control.n} control clusters; ratios and "
                f"covariates need {LEAST_CLUSTERS} of each, allowed with fewer is a mean without covariates"
            )

        def analysis(level: float) -> Estimate:
            found = difference_in_ratios(control, treated, outcome=self.label(arm), level=level, estimand=self.estimand)
            return replace(found, method=f"{found.method}, clustered")

        return analysis

    def clustered_mean(self, arm: int) -> Analysis:
        """Difference in means of rows, CR2 errors by cluster."""
        from causal_assets.estimators.cluster_randomized import Clusters, difference_of_cluster_randomized

        found = self.warehouse.rows(
            f"SELECT _arm, _rows, _y FROM {self._by_cluster()} ORDER BY _arm, cluster", repeatable=True
        )
        sums = np.array([(row["_arm"], row["_rows"], row["_y"]) for row in found], dtype=np.float64)
        control, treated = (Clusters(sums[sums[:, 0] == i, 1], sums[sums[:, 0] == i, 2]) for i in (0, arm))
        label, estimand = self.label(arm), self.estimand
        return lambda level: difference_of_cluster_randomized(
            control, treated, outcome=label, level=level, estimand=estimand
        )

    def clustered_strata(self, arm: int) -> Analysis:
        """As ``stratified`` where clusters were assigned, within strata or with strata among their rows; from rows."""
        from causal_assets.estimators.stratified import poststratified_clustered

        rows = self._dependent("stratum")
        own = np.isin(rows["_arm"], (0, arm))
        y, d = rows["_y"][own], rows["_arm"][own] == arm
        stratum, cluster, name, estimand = rows["stratum"][own], rows["cluster"][own], self.label(arm), self.estimand
        return lambda level: poststratified_clustered(
            y, d, stratum, cluster, outcome=name, level=level, estimand=estimand
        )

    def clustered_triggered(self, arm: int) -> tuple[Analysis, Analysis]:
        """As ``triggered`` where clusters were assigned; from rows."""
        from causal_assets.estimators.randomized import regression_adjusted
        from causal_assets.estimators.triggered import diluted_clustered

        rows = self._dependent("triggered", *self.covariates)
        own = np.isin(rows["_arm"], (0, arm))
        x = np.column_stack([np.empty((own.size, 0)), *(rows[name] for name in self.covariates)])[own]
        y, d, cluster, name = rows["_y"][own], (rows["_arm"][own] == arm) * 1, rows["cluster"][own], self.label(arm)
        met = rows["triggered"][own].astype(bool)

        def on_triggered(level: float) -> Estimate:
            return regression_adjusted(
                y[met], d[met], x[met], cluster=cluster[met], outcome=name, level=level, estimand="ATE on the triggered"
            )

        return lambda level: diluted_clustered(y, d, met, cluster, x, outcome=name, level=level), on_triggered

    def triggered(self, arm: int) -> tuple[Analysis, Analysis]:
        """The effect on triggered units diluted to all, and the undiluted one, from moments.

        Raises:
            dagster.Failure: an arm without triggered units.
        """
        from causal_assets.estimators.randomized import difference_in_means
        from causal_assets.estimators.triggered import diluted

        columns, name = ["_y", *self.covariates], self.label(arm)
        met = moments(self.warehouse, f"(FROM {self.rows} WHERE CAST(triggered AS BOOLEAN))", columns, ["_arm"])
        control, treated = self.pair(met, arm)
        all_control, all_treated = self.pair(self.cells(["_y"]), arm)

        def on_all(level: float) -> Estimate:
            return diluted(
                control, treated, all_control=all_control, n_all_treated=all_treated.n, outcome=name, level=level
            )

        def on_triggered(level: float) -> Estimate:
            return difference_in_means(control, treated, outcome=name, level=level, estimand="ATE on the triggered")

        return on_all, on_triggered

    # --- other inference ------------------------------------------------------------------------------------------

    def replayed(self, arm: int, *, cluster: bool, stratum: bool, draws: int, seed: int) -> Analysis:
        """Difference in means, its set from replaying the assignment of clusters or rows within strata; from rows."""
        from causal_assets.estimators.randomization import randomization_test

        rows = self.arrays(*["cluster"] * cluster, *["stratum"] * stratum)
        own = np.isin(rows["_arm"], (0, arm))

        def analysis(level: float) -> Estimate:
            found = randomization_test(
                rows["_y"][own],
                rows["_arm"][own] == arm,
                rows["cluster" if cluster else "_row"][own],
                stratum=rows["stratum"][own] if stratum else None,
                outcome=self.label(arm),
                draws=draws,
                seed=seed,
                level=level,
            )
            return replace(found, estimand=self.estimand)

        return analysis

    def bounds(
        self, assigned: Sequence[int], lowest: float, highest: float, level: float, *, cluster: bool
    ) -> list[Estimate]:
        """Manski's bounds from the stated range and Lee's, for the first arm; Lee's, and both by cluster, from rows.

        Raises:
            dagster.Failure: an outcome outside the stated range, or a cluster in several arms.
        """
        from causal_assets.estimators.bounds import (
            lee_bounds,
            lee_bounds_clustered,
            manski_bounds,
            manski_bounds_clustered,
        )

        rows = self.arrays()
        found = float(rows["_y"].min()), float(rows["_y"].max())
        if not lowest <= found[0] <= found[1] <= highest:
            raise dg.Failure(
                f"{self.study}: missing: {self.outcome.name} goes from {found[0]:g} to {found[1]:g}, which does not "
                f"fit in [{lowest:g}, {highest:g}]"
            )
        if cluster:
            self._require_whole_clusters()
            name = identifier(self.outcome.name)
            every = self.warehouse.arrays(
                f"SELECT _arm, cluster, {name} IS NOT NULL AS _seen, coalesce({name}, 0.0) AS _y FROM {self._assigned} "
                "WHERE _arm < 2 ORDER BY _row"
            )
            y, d, seen, label = (np.asarray(every[column]) for column in ("_y", "_arm", "_seen", "cluster"))
            of = (y if self.cap is None else np.minimum(y, self.cap), d, seen, label)
            by_range = manski_bounds_clustered(
                *of, lowest=lowest, highest=highest, outcome=self.outcome.name, level=level
            )
            return [by_range.estimate, lee_bounds_clustered(*of, outcome=self.outcome.name, level=level).estimate]
        control, treated = self.pair(self.cells(["_y"]), 1)
        counts = {"n_control": assigned[0], "n_treated": assigned[1], "outcome": self.outcome.name, "level": level}
        manski = manski_bounds(control, treated, lowest=lowest, highest=highest, **counts)
        lee = lee_bounds(rows["_y"][rows["_arm"] == 0], rows["_y"][rows["_arm"] == 1], **counts)
        return [manski.estimate, lee.estimate]

    def interaction(self, other: str, level: float, *, cluster: bool) -> Estimate:
        """What a second experiment's treatment does to the effect of the first; ``other`` is SQL for its arm, 0 or 1.

        From moments, or from rows where they hang together in clusters.

        Raises:
            dagster.Failure: a combination of arms that nobody had.
        """
        from causal_assets.estimators.interaction import two_experiments, two_experiments_clustered

        name = f"{self.outcome.name}, {CONCURRENT}"
        if cluster:
            self._require_whole_clusters()
            rows = self.warehouse.arrays(
                f"SELECT _arm, _y, cluster, {other} AS _other FROM {self.rows} "
                f"WHERE _arm < 2 AND {other} IS NOT NULL ORDER BY _row"
            )
            y, first, second, label = (np.asarray(rows[column]) for column in ("_y", "_arm", "_other", "cluster"))
            return two_experiments_clustered(y, first, second, label, outcome=name, level=level).interaction
        cells = self.cells(["_y"], ["_arm", other])
        if absent := [key for key in ((0, 0), (0, 1), (1, 0), (1, 1)) if key not in cells]:
            raise dg.Failure(f"{self.study}: columns.other_arm: nobody had the arms {absent} of both experiments")
        found = two_experiments(
            [[cells[a, b] for b in (0, 1)] for a in (0, 1)],
            outcome=name,
            level=level,
        )
        return found.interaction
