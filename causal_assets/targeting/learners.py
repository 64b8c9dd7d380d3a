"""Models of a treatment's effect as a function of what was known before: causalml's and EconML's, made comparable.

Each takes the same rows with the same cross-fitted nuisances and gives a function from features (m, p) to effects
(m, K) of each treatment against the control. EconML's learners are handed the nuisances instead of fitting their own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from causal_assets.estimators.inference import Floats
from causal_assets.targeting.nuisances import SHALLOW, Sample, potential_scores, trees

Effects = Callable[[Floats], Floats]

DEEP = {**SHALLOW, "num_leaves": 31, "n_estimators": 200}
# A forest's time grows faster than its rows; on more than these it is grown on a draw of them.
FOREST_ROWS = 10_000
# causalml orders arms as text, by which a tenth would come before the second.
NAMED = "%03d"
FOREST = {"n_estimators": 60, "min_samples_leaf": 30, "max_depth": 6}


@dataclass(frozen=True, eq=False)
class Task:
    """What a candidate learns from: rows, their nuisances, a seed."""

    sample: Sample
    expected: Floats
    propensity: Floats
    seed: int

    @property
    def scores(self) -> Floats:
        """Doubly robust scores (n, K) of the effects."""
        potential = potential_scores(self.sample, self.expected, self.propensity)
        return potential[:, 1:] - potential[:, :1]

    def against_control(self, k: int) -> "Task":
        """The rows of treatment ``k`` and of the control alone, as treatment 1 and control."""
        own = np.isin(self.sample.arm, (0, k))
        s = self.sample.where(own)
        both = self.propensity[own][:, [0, k]]
        pair = Sample(s.x, (s.arm == k).astype(np.intp), s.y, s.unit)
        return Task(pair, self.expected[own][:, [0, k]], both / both.sum(axis=1, keepdims=True), self.seed)


@dataclass(frozen=True, eq=False)
class Constant:
    """The same effects (K,) for everybody."""

    effects: Floats

    def __call__(self, x: Floats) -> Floats:  # noqa: D102
        return np.tile(self.effects, (len(x), 1))


@dataclass(frozen=True, eq=False)
class Library:
    """A fitted estimator's method as effects; ``arguments`` are passed on."""

    predict: Callable[..., Any]
    arguments: dict[str, Any]

    def __call__(self, x: Floats) -> Floats:  # noqa: D102
        return np.asarray(self.predict(x, **self.arguments), dtype=np.float64).reshape(len(x), -1)


@dataclass(frozen=True, eq=False)
class Columns:
    """One model per treatment, side by side."""

    models: tuple[Callable[[Floats], Floats], ...]

    def __call__(self, x: Floats) -> Floats:  # noqa: D102
        return np.column_stack([model(x) for model in self.models])


def library(module: str, name: str) -> Any:
    """A class of causalml or EconML. Importing them restyles every plot of the process; that is undone."""
    from matplotlib import rc_context

    with rc_context():
        return getattr(import_module(module), name)


def none(task: Task) -> Effects:
    """No heterogeneity: the average effect for everybody."""
    return Constant(task.scores.mean(axis=0))


def linear(task: Task) -> Effects:
    """Effects linear in the features (EconML's LinearDRLearner)."""
    return _doubly_robust(task, library("econml.dr", "LinearDRLearner"))


def s_learner(task: Task, **settings: Any) -> Effects:
    """One outcome model per treatment with the treatment as a feature (causalml)."""
    return _meta(task, library("causalml.inference.meta", "BaseSRegressor"), settings, with_propensity=False)


def t_learner(task: Task, **settings: Any) -> Effects:
    """One outcome model per arm (causalml)."""
    return _meta(task, library("causalml.inference.meta", "BaseTRegressor"), settings, with_propensity=False)


def x_learner(task: Task, **settings: Any) -> Effects:
    """Effects imputed by the other arm's outcome model (Kunzel et al. 2019; causalml)."""
    return _meta(task, library("causalml.inference.meta", "BaseXRegressor"), settings, with_propensity=True)


def dr_learner(task: Task, **settings: Any) -> Effects:
    """Doubly robust scores regressed on the features (Kennedy 2023; EconML)."""
    return _doubly_robust(task, library("econml.dr", "DRLearner"), model_final=trees(task.seed, **settings))


def r_learner(task: Task, **settings: Any) -> Effects:
    """Residual on residual (Nie & Wager 2021; EconML's NonParamDML), each treatment against the control."""
    from causal_assets.targeting.given import GivenOutcome, GivenPropensity

    models = []
    for k in range(1, task.sample.treatments + 1):
        pair = task.against_control(k)
        p = pair.sample.x.shape[1]
        final = trees(task.seed, **settings)
        learner = library("econml.dml", "NonParamDML")(
            model_y=GivenOutcome(p), model_t=GivenPropensity(p + 1), model_final=final, discrete_treatment=True, cv=2,
            random_state=task.seed,
        )  # fmt: skip
        models.append(_residual(pair, learner))
    return Columns(tuple(models))


def forest(task: Task) -> Effects:
    """A causal forest (Athey, Tibshirani & Wager 2019; EconML), each treatment against the control."""
    from causal_assets.targeting.given import GivenOutcome, GivenPropensity

    models = []
    for k in range(1, task.sample.treatments + 1):
        pair = task.against_control(k)
        p = pair.sample.x.shape[1]
        learner = library("econml.dml", "CausalForestDML")(
            model_y=GivenOutcome(p), model_t=GivenPropensity(p + 1), discrete_treatment=True, cv=2,
            random_state=task.seed, inference=False, n_jobs=1, **FOREST,
        )  # fmt: skip
        models.append(_residual(_drawn(pair, FOREST_ROWS), learner))
    return Columns(tuple(models))


def transformed_outcome(task: Task, **settings: Any) -> Effects:
    """The inverse-propensity-weighted outcome regressed on the features (Athey & Imbens 2016)."""
    arms = task.sample.arm[:, None] == np.arange(task.propensity.shape[1])
    weighted = task.sample.y[:, None] * arms / task.propensity
    scores = weighted[:, 1:] - weighted[:, :1]
    return Columns(tuple(trees(task.seed, **settings).fit(task.sample.x, column).predict for column in scores.T))


def uplift_forest(task: Task) -> Effects:
    """Trees split where outcome rates diverge (Rzepakowski & Jaroszewicz 2012; causalml); outcomes of 0 and 1 only.

    Raises:
        ValueError: another outcome.
    """
    if not np.isin(task.sample.y, (0, 1)).all():
        raise ValueError("learners: uplift_forest takes outcomes of 0 and 1 only; choose another for this outcome")
    drawn = _drawn(task, FOREST_ROWS)
    learner = library("causalml.inference.tree", "UpliftRandomForestClassifier")(
        control_name=NAMED % 0, random_state=task.seed, n_jobs=1, max_depth=8
    )
    learner.fit(drawn.sample.x, treatment=np.char.mod(NAMED, drawn.sample.arm), y=drawn.sample.y.astype(int))
    return Library(learner.predict, {})


def _meta(task: Task, kind: type, settings: dict[str, Any], *, with_propensity: bool) -> Effects:
    sample = task.sample
    learner = kind(learner=trees(task.seed, **settings), control_name=0)
    if not with_propensity:
        learner.fit(X=sample.x, treatment=sample.arm, y=sample.y)
        return Library(learner.predict, {})
    # causalml blends its two models by a constant where it is handed one, so that none is needed for new rows.
    shares = {k: task.against_control(k).propensity[:, 1].mean() for k in range(1, sample.treatments + 1)}
    learner.fit(X=sample.x, treatment=sample.arm, y=sample.y, p=_tiled(shares, len(sample.y)))
    return Blended(learner, shares)


@dataclass(frozen=True, eq=False)
class Blended:
    """An X-learner of causalml with the constant shares by which it blends its models."""

    learner: Any
    shares: dict[int, float]

    def __call__(self, x: Floats) -> Floats:  # noqa: D102
        return np.asarray(self.learner.predict(x, p=_tiled(self.shares, len(x))), dtype=np.float64)


def _tiled(shares: dict[int, float], n: int) -> dict[int, Floats]:
    return {k: np.full(n, share) for k, share in shares.items()}


def _doubly_robust(task: Task, kind: type, **arguments: Any) -> Effects:
    from causal_assets.targeting.given import GivenOutcome, GivenPropensity

    sample, arms = task.sample, task.expected.shape[1]
    p = sample.x.shape[1]
    learner = kind(
        model_regression=GivenOutcome(p, arms), model_propensity=GivenPropensity(p + arms, arms), cv=2,
        random_state=task.seed, **arguments,
    )  # fmt: skip
    learner.fit(sample.y, sample.arm, X=sample.x, W=np.hstack([task.expected, task.propensity]), inference=None)
    return Library(learner.const_marginal_effect, {})


def _residual(pair: Task, learner: Any) -> Callable[[Floats], Floats]:
    """Fit one of EconML's residual learners with the expected outcome over both arms, and its propensities."""
    overall = (pair.expected * pair.propensity).sum(axis=1, keepdims=True)
    learner.fit(
        pair.sample.y, pair.sample.arm, X=pair.sample.x, W=np.hstack([overall, pair.propensity]), inference=None
    )
    return partial(_flat, learner)


def _flat(learner: Any, x: Floats) -> Floats:
    return np.asarray(learner.const_marginal_effect(x), dtype=np.float64).reshape(len(x))


def _drawn(task: Task, most: int) -> Task:
    """At most ``most`` rows, drawn within arms so that each keeps its share."""
    n = len(task.sample.y)
    if n <= most:
        return task
    rng = np.random.default_rng(task.seed)
    kept = np.zeros(n, dtype=bool)
    for arm in np.unique(task.sample.arm):
        own = np.flatnonzero(task.sample.arm == arm)
        kept[rng.choice(own, round(most * len(own) / n), replace=False)] = True
    return Task(task.sample.where(kept), task.expected[kept], task.propensity[kept], task.seed)


# In order of simplicity: where two do equally well, the earlier one is taken.
CANDIDATES: dict[str, Callable[[Task], Effects]] = {
    "none": none,
    "linear": linear,
    "s": s_learner,
    "t": t_learner,
    "x": x_learner,
    "dr": dr_learner,
    "r": r_learner,
    "transformed": transformed_outcome,
    "s_deep": partial(s_learner, **DEEP),
    "t_deep": partial(t_learner, **DEEP),
    "x_deep": partial(x_learner, **DEEP),
    "dr_deep": partial(dr_learner, **DEEP),
    "r_deep": partial(r_learner, **DEEP),
    "forest": forest,
    "uplift_forest": uplift_forest,
}
DEFAULT = ("none", "linear", "s", "t", "x", "dr", "s_deep", "x_deep", "forest")
