"""What every uplift study has, wherever its rows come from: folds, a model, the value of the policy that follows.

Units are split once into four folds by a keyed hash. Candidates learn on one, are chosen on the second, the winner is
tested and calibrated on the third, and the policy that follows is valued on the fourth, which nothing else has read.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import dagster as dg
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from causal_assets.designs import reporting, targeting_fairness, targeting_report
from causal_assets.designs.analysis import moments
from causal_assets.designs.graph import StudyGraph
from causal_assets.designs.study import Study
from causal_assets.designs.targeting_graph import TargetingGraph
from causal_assets.estimators.cluster_robust import FEWEST_CLUSTERS
from causal_assets.estimators.inference import Floats
from causal_assets.estimators.multiplicity import step_down
from causal_assets.home import Home
from causal_assets.memo.facts import Rows
from causal_assets.protocol import Arm, Finite, Rule
from causal_assets.targeting.features import Features
from causal_assets.targeting.learners import CANDIDATES, DEFAULT
from causal_assets.targeting.measures import FEWEST_UNITS
from causal_assets.targeting.model import FOLDS, POLICY, TEST, UpliftModel
from causal_assets.types import Diagnostic, Estimate, Role
from causal_assets.warehouse import results
from causal_assets.warehouse.engine import Warehouse, identifier, literal
from causal_assets.warehouse.results import Finding

# Shares of the folds in percent, in the order of ``FOLDS``: much to learn from, much to prove it on.
SHARES = (40, 15, 20, 25)
# What the primary estimate of an uplift study is of: money per unit, net of cost.
PROFIT = "profit"
# The rule that holds a policy to every protected group's share of the benefit.
FOUR_FIFTHS = 0.8


class SeveralArms(dg.Model, dg.Resolvable):
    """The control and the treatments to choose from."""

    control: Arm
    treatments: Annotated[list[Arm], Field(min_length=1)]

    @model_validator(mode="after")
    def _arms_differ(self) -> "SeveralArms":
        every = [self.control, *self.treatments]
        if len(set(every)) < len(every):
            raise ValueError(f"arms: control and treatments must differ, got {every}")
        return self

    @property
    def every(self) -> list[str]:
        """The control, then the treatments."""
        return [self.control, *self.treatments]

    @property
    def treatment(self) -> str:
        """All treatments in words."""
        return " or ".join(self.treatments)


class Fairness(dg.Model, dg.Resolvable):
    """A protected attribute, and the least that each group's benefit per unit must be, as a ratio to all others'."""

    attribute: str
    ratio: Annotated[Finite, Field(gt=0, le=1)] = FOUR_FIFTHS


@dataclass(frozen=True, eq=False)
class Judged:
    """Rows of one fold as ``<study>.scored`` keeps them: arm (n,), outcome (n,), ``raw``, ``effect`` and ends (n, K),
    doubly robust scores ``potential`` (n, K + 1), the treatment ``chosen`` (n,)."""

    arm: NDArray[np.intp]
    y: Floats
    raw: Floats
    effect: Floats
    low: Floats
    high: Floats
    expected: Floats
    potential: Floats
    chosen: NDArray[np.intp]
    unit: NDArray[np.intp]

    @property
    def psi(self) -> Floats:
        """Scores of the effects (n, K)."""
        return self.potential[:, 1:] - self.potential[:, :1]

    @property
    def cluster(self) -> NDArray[np.intp] | None:
        """Units, where several rows are of one."""
        return self.unit if len(np.unique(self.unit)) < len(self.unit) else None


class Targeted(Study):
    """What every uplift study has, wherever its rows come from."""

    graph: ClassVar[type[StudyGraph]] = TargetingGraph
    cohort_key: ClassVar[str]
    model_fields_read: ClassVar[tuple[str, ...]] = (
        "costs", "capacities", "budget", "contacts", "learners", "seconds", "gigabytes", "today", "decision", "level",
        "seed",
    )  # fmt: skip

    arms: SeveralArms
    costs: Annotated[dict[str, Annotated[Finite, Field(ge=0)]], Field(default_factory=dict)]  # money per unit treated
    capacities: Annotated[dict[str, Annotated[int, Field(ge=0)]], Field(default_factory=dict)]  # units per treatment
    budget: Annotated[Finite, Field(ge=0)] | None = None  # of a campaign to as many units as the cohort has
    contacts: Annotated[int, Field(ge=0)] | None = None  # units treated at all, likewise
    today: Arm | None = None  # what everybody gets today; the control where nothing is said
    fairness: Annotated[list[Fairness], Field(default_factory=list)]
    learners: Annotated[list[str], Field(default_factory=lambda: list(DEFAULT))]
    seconds: Annotated[Finite, Field(gt=0)] = 600.0  # of processor time, by measured rates
    gigabytes: Annotated[Finite, Field(gt=0)] = 4.0
    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.9  # so that the lower end is a one-sided bound of 95%
    seed: int = 0

    # --- what a source of rows supplies ---------------------------------------------------------------------------

    @property
    @abstractmethod
    def arm_sql(self) -> str:
        """SQL over the cohort's columns: the number of a row's arm, 0 the control."""

    @abstractmethod
    def numbers(self, warehouse: Warehouse, study: str) -> Sequence[str]:
        """Numeric features, columns of the cohort."""

    @property
    @abstractmethod
    def texts(self) -> Sequence[str]:
        """Text features, columns of the cohort."""

    def protected(self, rule: Fairness) -> str:
        """The cohort's column that holds a protected attribute."""
        return rule.attribute

    # --- fields ---------------------------------------------------------------------------------------------------

    @model_validator(mode="after")
    def _fields_name_arms(self) -> Self:
        for field, given in (("costs", self.costs), ("capacities", self.capacities)):
            if unknown := sorted(set(given) - set(self.arms.treatments)):
                raise ValueError(f"{field}: {unknown} are no treatments; allowed are {self.arms.treatments}")
        if self.today is not None and self.today not in self.arms.every:
            raise ValueError(f"today: {self.today!r} is no arm; allowed are {self.arms.every}")
        if unknown := sorted(set(self.learners) - set(CANDIDATES)):
            raise ValueError(f"learners: unknown {unknown}; allowed are {list(CANDIDATES)}")
        if self.decision.cost_per_unit:
            raise ValueError("decision: cost_per_unit must be left out; the treatments have costs")
        return self

    @property
    def arm_names(self) -> tuple[str, str]:
        """The control, and all treatments."""
        return self.arms.control, self.arms.treatment

    @property
    def rule(self) -> Rule:
        """The primary estimate is money already, net of cost."""
        return Rule(value_per_outcome=1.0, minimum_profit=self.decision.minimum_profit)

    @property
    def money_outcomes(self) -> list[str]:
        """Outcomes that are money, by each treatment too, and the profit."""
        named = [o.name for o in self.measures if o.money]
        return [PROFIT, *named, *(self.of_arm(name, arm) for name in named for arm in self.arms.treatments)]

    @cached_property
    def cost(self) -> Floats:
        """Cost (K,) per unit treated."""
        return np.array([self.costs.get(arm, 0.0) for arm in self.arms.treatments])

    @property
    def most(self) -> tuple[float, ...]:
        """Most units (K,) of each treatment; inf is any number."""
        return tuple(float(self.capacities.get(arm, np.inf)) for arm in self.arms.treatments)

    def of_arm(self, outcome: str, arm: str) -> str:
        """What an outcome's effect is called where there are several treatments."""
        return outcome if len(self.arms.treatments) == 1 else f"{outcome}, {arm}"

    # --- the model ------------------------------------------------------------------------------------------------

    def write_folds(self, warehouse: Warehouse, study: str) -> None:
        """Write ``<study>.folds``: the fold of each unit, from a hash of its name and the study's, once and for all."""
        ends = np.cumsum(SHARES)
        draw = f"CAST(md5_number({literal(study + ' fold ')} || unit_id) % 100 AS INTEGER)"
        cases = " ".join(f"WHEN {draw} < {end} THEN {fold}" for fold, end in enumerate(ends[:-1]))
        warehouse.replace(
            f"{study}.folds",
            f"SELECT DISTINCT unit_id, CASE {cases} ELSE {POLICY} END AS fold "
            f"FROM (SELECT CAST(unit_id AS VARCHAR) AS unit_id FROM {study}.cohort) ORDER BY unit_id",
        )

    def write_model(self, warehouse: Warehouse, study: str, folder: Path) -> dict[str, Any]:
        """Search, test and freeze a model; write it into ``folder`` and ``<study>.scored``; return what is to be seen.

        Before every outcome is known nothing is learned: the table is empty.

        Raises:
            dagster.Failure: too few units in a fold or an arm, or features that tell nobody apart.
        """
        if self.days_left(warehouse) or not self.has_outcomes(warehouse, study):
            warehouse.replace(f"{study}.scored", f"SELECT unit_id, 0 AS fold FROM {study}.cohort LIMIT 0")
            return {"waiting": "the model is learned once, when every unit's outcome window has passed"}
        try:
            return self._learn(warehouse, study, folder)
        except ValueError as error:
            raise dg.Failure(f"{study}: {error}") from error

    def _learn(self, warehouse: Warehouse, study: str, folder: Path) -> dict[str, Any]:
        from causal_assets.targeting import scoring
        from causal_assets.targeting.choice import Budget
        from causal_assets.targeting.model import Limits, Treatments, fit
        from causal_assets.targeting.nuisances import Sample

        rows = self.read_rows(warehouse, study)
        self._require_many(rows)
        features = Features.of(rows, self.numbers(warehouse, study), self.texts)
        sample = Sample.of(features.matrix(rows), rows["_arm"], rows["_y"], rows["_unit"])
        model = fit(
            sample,
            rows["fold"],
            features,
            Treatments(
                names=tuple(self.arms.treatments),
                cost=tuple(self.cost.tolist()),
                capacity=self.most,
            ),
            value=self.decision.value_per_outcome,
            limits=Limits(budget=self.budget, contacts=self.contacts),
            randomised=self.randomised,
            candidates=self.learners,
            budget=Budget(self.seconds, self.gigabytes),
            level=self.level,
            seed=self.seed,
        )
        folder.mkdir(parents=True, exist_ok=True)
        file, sha256 = scoring.write(model, folder)
        for other in set(folder.iterdir()) - {file}:
            other.unlink()
        self._write_scored(warehouse, study, model, sample, rows)
        self._write_explained(warehouse, study, model, sample.x, sha256)
        return _seen(model)

    def _require_many(self, rows: dict[str, NDArray[Any]]) -> None:
        """Raises ValueError where a fold that proves something has too few units of an arm to rank them."""
        for fold in (TEST, POLICY):
            counts = np.bincount(rows["_arm"][rows["fold"] == fold], minlength=len(self.arms.every))
            if counts.min() < FEWEST_UNITS:
                told = dict(zip(self.arms.every, counts.tolist(), strict=True))
                raise ValueError(f"arms: the {FOLDS[fold]} fold has {told} rows; each arm needs {FEWEST_UNITS}")

    def read_rows(self, warehouse: Warehouse, study: str) -> dict[str, NDArray[Any]]:
        """Rows leave the engine here, for the learners: features, ``_arm``, ``_y``, ``_unit``, ``fold``, in order."""
        known = ", ".join(f"c.{identifier(name)}" for name in (*self.numbers(warehouse, study), *self.texts))
        key, fold = self.cohort_key, f"{study}.folds"
        return warehouse.arrays(
            f"SELECT {known}, {self.arm_sql} AS _arm, CAST(o.{identifier(self.primary.name)} AS DOUBLE) AS _y, "
            f"CAST(c.unit_id AS VARCHAR) AS _unit, c.{key} AS _key, f.fold "
            f"FROM {study}.cohort AS c JOIN {study}.outcomes AS o USING ({key}) "
            f"JOIN {fold} AS f ON f.unit_id = CAST(c.unit_id AS VARCHAR) "
            f"WHERE _y IS NOT NULL ORDER BY _unit, _key"
        )

    def _write_scored(
        self, warehouse: Warehouse, study: str, model: UpliftModel, sample: Any, rows: dict[str, Any]
    ) -> None:
        import pyarrow as pa

        from causal_assets.targeting.nuisances import potential_scores

        scored = model.score_matrix(sample.x)
        potential = potential_scores(sample, scored.expected, scored.propensity)
        held_out = np.isin(rows["fold"], (TEST, POLICY))
        columns: dict[str, Any] = {
            "unit_id": rows["_unit"], "key": rows["_key"], "fold": rows["fold"], "arm": sample.arm, "y": sample.y,
            "chosen": scored.chosen,
        }  # fmt: skip
        for name, values in (
            ("raw", scored.raw), ("effect", scored.effect), ("low", scored.low), ("high", scored.high),
            ("expected", scored.expected),
        ):  # fmt: skip
            columns |= {f"{name}_{k}": column for k, column in enumerate(values.T, start=name != "expected")}
        # Units that the nuisances were learned from would look better predicted than they are.
        columns |= {f"potential_{k}": pa.array(column, mask=~held_out) for k, column in enumerate(potential.T)}
        with warehouse.transaction() as connection:
            connection.register("found", pa.table(columns))
            connection.execute(f"CREATE OR REPLACE TABLE {study}.scored AS FROM found")
            connection.unregister("found")

    def _write_explained(self, warehouse: Warehouse, study: str, model: UpliftModel, x: Floats, sha256: str) -> None:
        import pyarrow as pa

        from causal_assets.targeting.explain import influence, policy_tree

        names, effect = model.features.names, model.score_matrix(x).effect
        net = np.column_stack([np.zeros(len(x)), self.decision.value_per_outcome * effect - self.cost])
        sizes = influence(x, effect, seed=self.seed)
        tree = policy_tree(x, net, names, self.arms.every, seed=self.seed)
        table = {"feature": list(names)} | dict(zip(self.arms.treatments, sizes.T, strict=True))
        trials = model.choice.trials
        tried = {
            "candidate": [trial.candidate for trial in trials],
            "gain": [trial.gain for trial in trials],
            "behind": [trial.behind for trial in trials],
            "std_error": [trial.std_error for trial in trials],
            "kept": [trial.candidate == model.choice.winner for trial in trials],
        }
        tested = {"treatment": self.arms.treatments, "responds": list(model.responds)} | {
            name: [getattr(one, name) for one in model.tested]
            for name in ("name", "definition", "value", "low", "high", "p_value")
        }
        frozen = {"model": [sha256], "cut": [model.cut], "budget_price": [model.rule.prices.budget]}
        with warehouse.transaction() as connection:
            for name, columns in (
                ("influence", table), ("policy_tree", {"line": tree}), ("candidates", tried), ("tested", tested),
                ("frozen", frozen),
            ):  # fmt: skip
                connection.register("found", pa.table(columns))
                connection.execute(f"CREATE OR REPLACE TABLE {study}.{name} AS FROM found")
                connection.unregister("found")

    def judged(self, warehouse: Warehouse, study: str, fold: int | None) -> Judged:
        """The rows of one fold as scored; of all, None, without doubly robust scores."""
        where = "" if fold is None else f"WHERE fold = {fold}"
        data = warehouse.arrays(f"FROM {study}.scored {where} ORDER BY unit_id, key")
        arms = range(len(self.arms.every))

        def stacked(name: str, places: Sequence[int]) -> Floats:
            return np.stack([np.asarray(np.ma.filled(data[f"{name}_{k}"], np.nan)) for k in places], axis=1)

        return Judged(
            arm=np.asarray(data["arm"]), y=np.asarray(data["y"]), chosen=np.asarray(data["chosen"]),
            unit=np.unique(np.asarray(data["unit_id"]).astype(str), return_inverse=True)[1],
            **{name: stacked(name, arms[1:]) for name in ("raw", "effect", "low", "high")},
            **{name: stacked(name, arms) for name in ("expected", "potential")},
        )  # fmt: skip

    # --- the estimate ---------------------------------------------------------------------------------------------

    def estimates(self, warehouse: Warehouse, study: str) -> list[Finding]:
        """What the frozen policy earns over the best simple alternative; effects of the treatments; guardrails."""
        if not warehouse.scalar(f"SELECT count(*) FROM {study}.scored"):
            return []
        held_out = self.judged(warehouse, study, POLICY)
        best, others = self.alternatives(warehouse, study)
        findings: list[Finding] = []
        for arm in (best, *others):
            gain = self._gain(warehouse, study, np.full(len(held_out.arm), arm), self.level)
            role = Role.PRIMARY if arm == best else Role.ALTERNATIVE
            findings.append((role, replace(gain, method=f"against {self.arms.every[arm]} for everybody")))
        return findings + self._effects(warehouse, study) + self._guardrails(warehouse, study, held_out)

    def alternatives(self, warehouse: Warehouse, study: str) -> tuple[int, list[int]]:
        """The arm that is best for everybody, by the test fold, and the other ones that everybody could be given."""
        from causal_assets.targeting.policy_value import best_baseline

        test = self.judged(warehouse, study, TEST)
        units = warehouse.scalar(f"SELECT count(*) FROM {study}.scored")  # the limits are of as many as the cohort has
        possible = {*self._possible(units), self.arms.every.index(self.today or self.arms.control)} - {0}
        best = best_baseline(test.potential, self.cost, value=self.decision.value_per_outcome, possible=possible).arm
        assert best is not None  # what everybody gets today is an arm
        return best, sorted({0, *possible} - {best})

    def _gain(self, warehouse: Warehouse, study: str, rival: NDArray[np.intp] | None, level: float) -> Estimate:
        """What the policy earns per unit over the ``rival`` (n,) on its own fold; None: the best simple alternative.

        A policy that differs from it for fewer units than an error needs is taken for the same: nothing is gained.
        """
        from causal_assets.targeting.policy_value import policy_gain

        held_out = self.judged(warehouse, study, POLICY)
        if rival is None:
            rival = np.full(len(held_out.arm), self.alternatives(warehouse, study)[0])
        apart = np.unique(held_out.unit[held_out.chosen != rival]).size
        chosen = held_out.chosen if apart >= FEWEST_CLUSTERS else rival
        return policy_gain(
            held_out.potential, chosen, rival, self.cost, value=self.decision.value_per_outcome,
            outcome=PROFIT, cluster=held_out.cluster, level=level,
        )  # fmt: skip

    def _possible(self, n: int) -> list[int]:
        """Treatments that the limits allow to give to all."""
        units = n if self.contacts is None else min(n, self.contacts)
        found = []
        for k, arm in enumerate(self.arms.treatments, start=1):
            within = self.budget is None or self.cost[k - 1] * n <= self.budget
            if within and units >= n and self.capacities.get(arm, n) >= n:
                found.append(k)
        return found

    def _effects(self, warehouse: Warehouse, study: str) -> list[Finding]:
        """Mean effects of each treatment on each outcome, over the whole cohort: from moments, adjusted by features."""
        from causal_assets.estimators.randomized import difference_in_means

        names = [o.name for o in self.measures if o.role != "guardrail"]
        numbers = self.numbers(warehouse, study)
        key = self.cohort_key
        listed = ", ".join(f"o.{identifier(name)}" for name in names)
        rows = (
            f"(SELECT c.* EXCLUDE (treated), {self.arm_sql} AS _arm, true AS treated, {listed} "
            f"FROM {study}.cohort AS c JOIN {study}.outcomes AS o USING ({key}) WHERE _arm IS NOT NULL)"
        )
        found: list[Finding] = []
        for name in names:
            cells = moments(
                warehouse, f"(FROM {rows} WHERE {identifier(name)} IS NOT NULL)", [name, *numbers], ["_arm"]
            )
            for k, arm in enumerate(self.arms.treatments, start=1):
                effect = difference_in_means(cells[(0,)], cells[(k,)], outcome=self.of_arm(name, arm), level=self.level)
                found.append((Role.SECONDARY, effect))
        return found

    def _guardrails(self, warehouse: Warehouse, study: str, held_out: Judged) -> list[Finding]:
        """What the policy does to each guardrail, against treating nobody: from weighted outcomes, without a model."""
        from causal_assets.targeting.policy_value import policy_gain

        found: list[Finding] = []
        key = self.cohort_key
        for outcome in (o for o in self.measures if o.role == "guardrail"):
            y = warehouse.arrays(
                f"SELECT CAST(o.{identifier(outcome.name)} AS DOUBLE) AS y FROM {study}.scored AS s "
                f"JOIN {study}.outcomes AS o ON o.{key} = s.key WHERE fold = {POLICY} ORDER BY s.unit_id, s.key"
            )["y"]
            if unknown := int(np.ma.getmaskarray(y).sum()):  # what lies under a mask is no outcome
                raise dg.Failure(f"{study}: outcomes.{outcome.name}: {unknown} values are empty; a guardrail needs all")
            arms = held_out.arm[:, None] == np.arange(len(self.arms.every))
            mean = (arms * y[:, None]).sum(axis=0) / arms.sum(axis=0)
            scores = mean + arms * (y[:, None] - mean) / arms.mean(axis=0)
            effect = policy_gain(
                scores, held_out.chosen, np.zeros(len(y), dtype=np.intp), np.zeros(len(self.cost)),
                value=1.0, outcome=outcome.name, cluster=held_out.cluster, level=self.level,
            )  # fmt: skip
            found.append((Role.GUARDRAIL, replace(effect, estimand="effect of the policy", method="weighted outcomes")))
        return found

    # --- the champion ---------------------------------------------------------------------------------------------

    def challenge(self, warehouse: Warehouse, study: str, home: Home, protocol: str) -> dict[str, Any]:
        """Register the model as challenger and promote it if the rule says so; returns what is to be seen.

        Raises:
            dagster.Failure: the champion cannot score these units, so that the two cannot be compared.
        """
        findings = results.read_estimates(warehouse, study)
        if results.primary(findings) is None:
            return {"waiting": "there is no model yet"}
        from causal_assets import registry
        from causal_assets.targeting import scoring

        sha256 = warehouse.scalar(f"SELECT model FROM {study}.frozen")
        model = scoring.read(home.models / study / f"{sha256}{scoring.SUFFIX}").model
        rows = self.read_rows(warehouse, study)
        held_out = rows["fold"] == POLICY
        features = {name: rows[name][held_out] for name in model.features.columns}
        version = registry.log_challenger(
            home, study, protocol=protocol, cohort_version=reporting.content_version(warehouse, f"{study}.cohort"),
            model=model, example={name: column[:5] for name, column in features.items()},
            metrics=targeting_report.metrics(self, warehouse, study, findings),
            params={"winner": model.choice.winner, "rows": model.choice.rows, "features": len(model.features.names)},
            plots={}, card=targeting_report.card(self, warehouse, study, findings),
        )  # fmt: skip
        try:
            served = registry.load(home, study)
        except registry.MissingModelError:
            served = None
        try:
            over = None if served is None else served.model.score(features)
        except ValueError as error:
            raise dg.Failure(f"{study}: the champion cannot score this cohort ({error}); demote it first") from error
        gain = self._gain(warehouse, study, None if over is None else over.chosen, registry.LEVEL)
        said = registry.promote(
            home, study, version, protocol=protocol, decision=results.read_decision(warehouse, study), gain=gain,
            over=None if served is None else served.version,
        )  # fmt: skip
        return {"version": version, "promoted": said.promote, "why": said.reason}

    # --- evidence -------------------------------------------------------------------------------------------------

    def diagnostics(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> list[Diagnostic]:  # noqa: ARG002
        """Whether anybody in particular responds more, and whether predictions come true."""
        from causal_assets.diagnostics.responders import responders
        from causal_assets.diagnostics.uplift_calibration import Gaps, uplift_calibration

        tested = warehouse.rows(f"FROM {study}.tested")
        p = np.array([row["p_value"] for row in tested])
        gaps = {}
        for arm, found in targeting_report.by_tenth(self, self.judged(warehouse, study, POLICY)).items():
            away = [(group.realised - group.predicted, group.std_error) for group in found.groups]
            chi_square = sum((gap / error) ** 2 for gap, error in away)
            gaps[arm] = Gaps(chi_square, len(away), max(abs(gap) for gap, _ in away))
        return [
            responders(dict(zip([row["treatment"] for row in tested], step_down(p).tolist(), strict=True))),
            uplift_calibration(gaps),
            *targeting_fairness.check(targeting_fairness.fair(self, warehouse, study)),
        ]

    # --- what a person sees ---------------------------------------------------------------------------------------

    def figures(self, warehouse: Warehouse, study: str, findings: Sequence[Finding]) -> dict[str, Any]:
        """Uplift curves with their bands, predicted against realised effects, and profit against spend."""
        return targeting_report.figures(self, warehouse, study) if findings else {}

    def tables(self, warehouse: Warehouse, study: str) -> Mapping[str, Rows]:
        """Who gets what, how well the model ranks, the segments, what was tried, and what the model looks at."""
        own = targeting_report.tables(self, warehouse, study)
        return {**own, **targeting_fairness.tables(self, warehouse, study)}


def equal_shares(warehouse: Warehouse, study: str, arm_sql: str, arms: Sequence[str]) -> list[Diagnostic]:
    """Whether the cohort's units are spread evenly over the arms."""
    from causal_assets.diagnostics.srm import srm

    rows = warehouse.rows(f"SELECT {arm_sql} AS arm, count(*) AS n FROM {study}.cohort AS c GROUP BY 1")
    found = {row["arm"]: row["n"] for row in rows}
    return [srm({arm: found.get(k, 0) for k, arm in enumerate(arms)}, dict.fromkeys(arms, 1 / len(arms)))]


def with_model(stages: dict[str, tuple[str, ...]], fields: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The stages with the model between outcomes and estimate."""
    found = {}
    for stage, own in stages.items():
        found[stage] = own
        if stage == "outcomes":
            found["model"] = fields
    return found


def _seen(model: UpliftModel) -> dict[str, Any]:
    lines = ["| candidate | loss saved | behind the best | standard error |", "|---|---|---|---|"]
    lines += [f"| {t.candidate} | {t.gain:.4g} | {t.behind:.4g} | {t.std_error:.4g} |" for t in model.choice.trials]
    return {
        "winner": model.choice.winner,
        "rows learned from": model.choice.rows,
        "left out for the budget": ", ".join(model.choice.left_out) or "none",
        "candidates": dg.MetadataValue.md("\n".join(lines)),
        "responds": ", ".join(n for n, shown in zip(model.treatments.names, model.responds, strict=True) if shown)
        or "nobody in particular",
    }
