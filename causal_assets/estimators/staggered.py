"""Staggered adoption: effects by cohort and period against units not (yet) treated, and their averages.

Not from sufficient statistics: covariates enter by a logistic regression, and the multiplier bootstrap of the uniform
bands draws a sign for each unit or cluster. One wide row per unit is read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.cluster_robust import require_clusters
from causal_assets.estimators.event_study import EventStudy
from causal_assets.estimators.inference import Floats, Refusal, clustered_covariance, estimate
from causal_assets.types import Estimate

Kind = Literal["simple", "group", "dynamic", "calendar"]
# A propensity this near to 1 has no comparable control (the limit of R's did).
NO_OVERLAP = 0.999
# Newton steps of the logistic propensity, and the step at which it has converged.
STEPS, CONVERGED = 30, 1e-10
# Bootstrap draws held in memory at a time.
DRAWS = 50


@dataclass(frozen=True, eq=False)
class Effects:
    """J averages of effects: ``label`` (J,) cohort, event time or period, ``value`` and counterfactual ``level`` (J,).

    ``influence`` and ``level_influence`` (n, J) have the estimates' errors as their means over units; the ``overall``
    effect, where there is one, is the last column. Counts are clusters.
    """

    label: tuple[float, ...]
    value: Floats
    level: Floats
    influence: Floats
    level_influence: Floats
    cluster: NDArray[np.intp]
    n_treated: tuple[int, ...]
    n_control: int
    name: str
    method: str

    def estimates(self, *, outcome: str, level: float = 0.95) -> list[Estimate]:
        """Each effect, the overall one last, by a t test on its own; errors by cluster from the influence functions.

        Effects of fewer than five treated clusters are left out: they have no error to go by.

        Raises:
            ValueError: fewer than five control clusters, or treated clusters in all, or no variance.
        """
        return [self._estimate(j, outcome, level) for j in self._usable()]

    def overall(self, *, outcome: str, level: float = 0.95) -> Estimate:
        """The overall effect, as ``estimates`` gives it."""
        return self._estimate(len(self.label), outcome, level)

    def _estimate(self, j: int, outcome: str, level: float) -> Estimate:
        require_clusters(self.n_treated[-1], self.n_control)
        influence = np.stack([self.level_influence[:, j], self.influence[:, j]], axis=1)
        return estimate(
            outcome=outcome,
            estimand=self.estimand(j),
            method=self.method,
            value=float(self.value[j]),
            control_mean=float(self.level[j]),
            cov=clustered_covariance(influence, self.cluster),
            df=int(self.cluster.max()),
            level=level,
            n_treated=self.n_treated[j],
            n_control=self.n_control,
        )

    def bands(self, *, outcome: str, seed: int, level: float = 0.95, draws: int = 999) -> list[Estimate]:
        """The effects but the overall one with simultaneous intervals, and p-values adjusted for all of them (max-t).

        Rademacher multipliers by cluster; the maximum over effects of |t| is the reference of every effect.

        Source: Callaway & Sant'Anna (2021), algorithm 1 and theorem 3; Montiel Olea & Plagborg-Moller (2019).

        Raises:
            ValueError: as ``estimates``; draws too few for the level.
        """
        from dataclasses import replace

        if draws < 1 / (1 - level):
            raise ValueError(f"draws: a level of {level} needs at least {int(np.ceil(1 / (1 - level)))}, got {draws}")
        usable = [j for j in self._usable() if j < len(self.label)]
        single = self.estimates(outcome=outcome, level=level)[: len(usable)]
        errors = np.array([e.spread for e in single])
        top = np.sort(_maxima(self._by_cluster(usable) / errors, draws, np.random.default_rng(seed)))
        critical = top[int(np.ceil((draws + 1) * level)) - 1]
        found = []
        for one, error in zip(single, errors, strict=True):
            above = draws - np.searchsorted(top, abs(one.value) / error, side="left")
            found.append(
                replace(
                    one,
                    method=f"{one.method}, simultaneous over {len(usable)}",
                    low=float(one.value - critical * error),
                    high=float(one.value + critical * error),
                    p_value=float((1 + above) / (draws + 1)),
                    relative=None,
                    relative_low=None,
                    relative_high=None,
                )
            )
        return found

    def event_study(self) -> EventStudy:
        """Effects by event time with their full covariance, for pre-trend tests and sensitivity analysis.

        Raises:
            ValueError: not by event time, or not against one universal base period.
        """
        if self.name != "dynamic" or "universal" not in self.method:
            raise ValueError("kind, base: an event study needs the dynamic effects with the universal base period")
        keep = [j for j in range(len(self.label)) if self.influence[:, j].any()]
        reference = {int(e) for e in self.label} - {int(self.label[j]) for j in keep}
        scores = self._by_cluster(keep)
        groups = len(scores)
        return EventStudy(
            tuple(int(self.label[j]) for j in keep),
            self.value[keep],
            scores.T @ scores * (groups / (groups - 1)),
            groups - 1.0,
            self.n_treated[-1],
            self.n_control,
            reference=max(reference),
        )

    def estimand(self, j: int) -> str:
        """What effect ``j`` is."""
        if j == len(self.label):
            return f"ATT, {self.name} average"
        words = {"group": "cohort", "dynamic": "event time", "calendar": "period"}
        return f"ATT, {words[self.name]} {self.label[j]:g}"

    def _usable(self) -> list[int]:
        last = len(self.label)
        return [j for j in range(last + 1) if self.influence[:, j].any() and (j == last or self.n_treated[j] >= 5)]

    def _by_cluster(self, columns: Sequence[int]) -> Floats:
        """Influence functions summed by cluster over n: (G, columns)."""
        n, groups = len(self.influence), int(self.cluster.max()) + 1
        return np.stack([np.bincount(self.cluster, self.influence[:, j], groups) for j in columns], axis=1) / n


@dataclass(frozen=True, eq=False)
class GroupTime:
    """ATT(g, t): ``value`` (K,) of cohort index ``group`` (K,) in period index ``time`` (K,), ``influence`` (n, K).

    ``periods`` (T,) are the periods' own values, ``cohort`` (n,) the index of a unit's first treated period, T if none.
    """

    periods: Floats
    cohort: NDArray[np.intp]
    cluster: NDArray[np.intp]
    group: NDArray[np.intp]
    time: NDArray[np.intp]
    value: Floats
    influence: Floats
    outcome: Floats
    controls: int
    method: str

    def aggregate(self, kind: Kind, *, balance: int | None = None) -> Effects:
        """Averages of the effects after adoption, cohorts weighted by their size.

        ``simple``: over all cells; ``group``: over each cohort's periods, then over cohorts; ``dynamic``: over cohorts
        at each event time, then over the times from 0 on; ``calendar``: over cohorts in each period, then over periods.
        ``balance`` keeps, for ``dynamic``, cohorts seen at least that long after adoption, and event times up to it.

        Source: Callaway & Sant'Anna (2021), Difference-in-differences with multiple time periods, JoE 225(2), sec. 3.1
        and table 1.

        Raises:
            ValueError: no cell after adoption.
        """
        event = self.time - self.group
        kept = np.ones(event.size, dtype=bool)
        last = self.periods.size - 1
        if balance is not None:
            kept = (last - self.group >= balance) & (event <= balance) & (event >= balance - last)
        after = kept & (event >= 0)
        if not after.any():
            raise Refusal("cohort: no cohort has an effect after adoption with these controls")
        by = {"simple": np.zeros_like(event), "group": self.group, "dynamic": event, "calendar": self.time}[kind]
        cells = kept if kind == "dynamic" else after
        labels = np.unique(by[cells])
        member = cells[:, None] & (by[:, None] == labels)  # (K, J)
        value, level, influence, level_influence = self._averages(member)
        treated = tuple(self._clusters(np.isin(self.cohort, self.group[column])) for column in member.T)
        everyone = self._clusters(np.isin(self.cohort, self.group[after]))
        if kind == "simple":
            names = ()
        else:
            names = tuple((labels if kind == "dynamic" else self.periods[labels]).astype(np.float64).tolist())
            share = np.ones(labels.size)
            if kind == "group":
                share = (self.cohort[:, None] == labels).mean(axis=0)
            elif kind == "dynamic":
                share = (labels >= 0).astype(np.float64)
            total, weight = share.sum(), share / share.sum()
            pairs = []
            for each, scores in ((value, influence), (level, level_influence)):
                average, score = each @ weight, scores @ weight
                if kind == "group":  # sizes of cohorts are estimated too
                    drift = np.zeros(self.periods.size + 1)
                    drift[labels] = (each - average) / total
                    score = score + drift[self.cohort]
                pairs.append((np.append(each, average), np.column_stack([scores, score])))
            (value, influence), (level, level_influence) = pairs
            treated = (*treated, everyone)
        return Effects(
            names, value, level, influence, level_influence, self.cluster, treated, self.controls, kind, self.method
        )

    def _averages(self, member: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats, Floats]:
        """Effects and counterfactual levels (J,) of cells ``member`` (K, J), cohorts by size; influences (n, J)."""
        cohorts = np.unique(self.group)
        units = {g: np.flatnonzero(self.cohort == g) for g in cohorts}
        means = {g: self.outcome[units[g]].mean(axis=0) for g in cohorts}
        size = np.array([units[g].size / self.cohort.size for g in self.group])
        observed = np.array([means[g][t] for g, t in zip(self.group, self.time, strict=True)])
        total = size @ member
        weight = member * size[:, None] / total
        value, level = self.value @ weight, (observed - self.value) @ weight
        influence = self.influence @ weight
        level_influence = -influence
        for g in cohorts:
            own = self.group == g
            by_period = np.zeros((self.periods.size, member.shape[1]))
            by_period[self.time[own]] = weight[own]
            spread = (self.outcome[units[g]] - means[g]) @ by_period * (self.cohort.size / units[g].size)
            # Cohort sizes are estimated: a unit more of this cohort moves the average towards its effect.
            shift = ((self.value[own, None] - value) * member[own]).sum(axis=0) / total
            below = ((observed[own, None] - self.value[own, None] - level) * member[own]).sum(axis=0) / total
            influence[units[g]] += shift
            level_influence[units[g]] += spread + below
        return value, level, influence, level_influence

    def _clusters(self, units: NDArray[np.bool_]) -> int:
        return np.unique(self.cluster[units]).size


def group_time(
    y: ArrayLike,
    cohort: ArrayLike,
    periods: ArrayLike,
    x: ArrayLike | None = None,
    *,
    control: Literal["never", "not yet"] = "never",
    anticipation: int = 0,
    base: Literal["varying", "universal"] = "varying",
    cluster: ArrayLike | None = None,
) -> GroupTime:
    """ATT(g, t) for every cohort and period, doubly robust in the covariates ``x`` (n, k) where given.

    ``y`` (n, T) is a balanced panel, ``cohort`` (n,) the value in ``periods`` (T,) of a unit's first treated period,
    ``inf`` if it has none. Controls are never treated, or ``not yet`` treated ``anticipation`` periods after either end
    of the comparison. Effects are against the last period before adoption less ``anticipation``; before adoption,
    against the period before (``varying``) or that same one (``universal``). Propensity and outcome change are logistic
    and linear in ``x``, fitted once per cohort and set of controls for all periods. Time and memory: n x cells.

    Source: Callaway & Sant'Anna (2021); Sant'Anna & Zhao (2020), Doubly robust difference-in-differences estimators,
    JoE 219(1), eq. 3.1 with its influence function.

    Raises:
        ValueError: shapes that do not fit, NaN or infinite entries, one period, a cohort that is no period or has no
            period before it, no control, no treated unit, collinear covariates, or no overlap.
    """
    outcome, when = np.asarray(y, np.float64), np.asarray(periods, np.float64)
    first = np.asarray(cohort, np.float64)
    if outcome.ndim != 2 or outcome.shape != (first.size, when.size):
        raise ValueError(f"y: expected (units, periods) = {first.size, when.size}, got {outcome.shape}")
    if not np.isfinite(outcome).all():
        raise ValueError("y: outcomes may not be NaN or infinite; staggered adoption needs a balanced panel")
    if when.size < 2 or (np.diff(when) <= 0).any():
        raise ValueError(f"periods: expected at least 2 in rising order, got {when.tolist()[:5]}")
    starts = np.where(first > when[-1], when.size, np.searchsorted(when, first)).astype(np.intp)
    if np.isnan(first).any() or (np.append(when, np.inf)[starts] != np.where(first > when[-1], np.inf, first)).any():
        raise ValueError("cohort: every first treated period must be one of the periods, or inf for never treated")
    if (starts <= anticipation).any():
        raise Refusal(
            f"cohort: {(starts <= anticipation).sum()} units are treated before the panel starts or have no "
            f"pre-period with anticipation {anticipation}; leave them out"
        )
    if (starts == when.size).all():
        raise Refusal("cohort: nobody is treated")
    if control == "never" and not (starts == when.size).any():
        raise Refusal('cohort: no unit is never treated; use control="not yet"')
    design = _design(x, first.size)
    labels = np.arange(first.size) if cluster is None else np.asarray(cluster)
    _, code = np.unique(labels, return_inverse=True)
    cells, values, columns, used = [], [], [], np.zeros(first.size, dtype=bool)
    for g in np.unique(starts[starts < when.size]):
        for keep, times, bases in _comparisons(starts, g, when.size, control, anticipation, base):
            member = starts == g
            units = np.flatnonzero(member | keep)
            used |= keep
            value, influence = _doubly_robust(
                outcome[np.ix_(units, times)] - outcome[np.ix_(units, bases)],
                member[units],
                None if design is None else design[units],
                f"cohort {when[g]:g}",
            )
            spread = np.zeros((first.size, len(times)))
            spread[units] = influence * (first.size / units.size)
            cells += [(g, t) for t in times]
            values.append(value)
            columns.append(spread)
    if not cells:
        raise Refusal("cohort: no period has both a treated cohort and a control; is everyone treated at once?")
    group, time = np.array(cells).T
    order = np.lexsort((time, group))
    return GroupTime(
        when,
        starts,
        code,
        group[order],
        time[order],
        np.concatenate(values)[order],
        np.concatenate(columns, axis=1)[:, order],
        outcome,
        np.unique(code[used]).size,
        f"Callaway-Sant'Anna, {control} treated controls, {base} base"
        + ("" if design is None else ", doubly robust")
        + (f", anticipation {anticipation}" if anticipation else ""),
    )


def _comparisons(starts, g, periods, control, anticipation, base):
    """Yield (controls, periods, base periods) of cohort ``g``, periods with the same controls together."""
    last = g - 1 - anticipation  # the reference of every effect after adoption
    cells: dict[int, list[tuple[int, int]]] = {}
    for t in range(periods):
        reference = last if base == "universal" or t > last else t - 1
        if reference < 0:
            continue
        # A control is untreated, and not anticipating, at both ends of the comparison.
        latest = periods - 1 if control == "never" else min(max(t, reference) + anticipation, periods - 1)
        cells.setdefault(latest, []).append((t, reference))
    for latest, pairs in cells.items():
        controls = (starts > latest) & (starts != g)
        if controls.any():
            yield controls, [t for t, _ in pairs], [reference for _, reference in pairs]


def _doubly_robust(change: Floats, d: NDArray[np.bool_], x: Floats | None, name: str) -> tuple[Floats, Floats]:
    """ATT (c,) on the columns of ``change`` (m, c) and its influence functions (m, c)."""
    treated, share = d[:, None].astype(np.float64), d.mean()
    if x is None:
        gap = change - np.where(d[:, None], change[d].mean(axis=0), change[~d].mean(axis=0))
        return change[d].mean(axis=0) - change[~d].mean(axis=0), gap * (treated / share - (1 - treated) / (1 - share))
    m = len(d)
    bread = np.linalg.pinv(x[~d].T @ x[~d] / m, hermitian=True)
    residual = change - x @ (bread @ (x[~d].T @ change[~d] / m))
    propensity, information = _logit(x, d, name)
    odds = np.where(d, 0.0, propensity / (1 - propensity))[:, None]
    weight = odds.mean()
    own, other = (treated * residual).mean(axis=0) / share, (odds * residual).mean(axis=0) / weight
    # How the fitted outcome and the fitted propensity move the estimate.
    lever = x @ (bread @ ((treated * x).mean(axis=0) / share - (odds * x).mean(axis=0) / weight))
    tilt = x @ (information @ (x.T @ (odds * (residual - other)) / m))
    influence = (
        treated * (residual - own) / share
        - (odds * (residual - other) + (d - propensity)[:, None] * tilt) / weight
        - (1 - treated) * residual * lever[:, None]
    )
    return own - other, influence


def _logit(x: Floats, d: NDArray[np.bool_], name: str) -> tuple[Floats, Floats]:
    """Logistic propensity (m,) by Newton's method, and the inverse (k, k) of its mean information.

    Raises:
        ValueError: no convergence, or a propensity that leaves no comparable control.
    """
    coef = np.zeros(x.shape[1])
    for _ in range(STEPS):
        propensity = 1 / (1 + np.exp(-np.clip(x @ coef, -500, 500)))
        inverse = np.linalg.pinv((x * (propensity * (1 - propensity))[:, None]).T @ x / len(d), hermitian=True)
        step = inverse @ (x.T @ (d - propensity) / len(d))
        coef += step
        if np.abs(step).max() < CONVERGED:
            break
        if propensity.max() > NO_OVERLAP:
            break
    if not propensity.max() <= NO_OVERLAP or np.abs(step).max() >= CONVERGED:
        raise Refusal(f"x: no overlap, the covariates tell {name} from its controls (propensity above {NO_OVERLAP})")
    return propensity, inverse


def _design(x: ArrayLike | None, n: int) -> Floats | None:
    """Constant and standardised covariates (n, 1 + k), None without covariates."""
    if x is None:
        return None
    columns = np.asarray(x, np.float64).reshape(n, -1) if np.size(x) % n == 0 else np.empty((0, 0))
    if len(columns) != n or columns.shape[1] == 0:
        raise ValueError(f"x: expected {n} rows, got {np.shape(x)}")
    if not np.isfinite(columns).all():
        raise ValueError("x: covariates may not be NaN or infinite")
    spread = columns.std(axis=0)
    design = np.column_stack([np.ones(n), (columns - columns.mean(axis=0)) / np.where(spread > 0, spread, 1.0)])
    if np.linalg.matrix_rank(design) < design.shape[1]:
        raise Refusal("x: covariates are constant or collinear")
    return design


def _maxima(scores: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """Largest |sum of signs times ``scores`` (G, J)| over J, for each draw of the G signs."""
    found, single, total = [], scores.astype(np.float32), scores.sum(axis=0, dtype=np.float64)
    for start in range(0, draws, DRAWS):
        count = min(DRAWS, draws - start)
        packed = np.frombuffer(rng.bytes(count * -(-len(scores) // 8)), np.uint8).reshape(count, -1)
        chosen = np.unpackbits(packed, axis=1, count=len(scores)).astype(np.float32)
        found.append(np.abs(2 * (chosen @ single) - total).max(axis=1))  # signs are 2 chosen - 1
    return np.concatenate(found).astype(np.float64)
