"""The effect at a cutoff: units just above it are treated, units just below are not, or are so less often."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf, sqrt
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.inference import Floats, estimate, fieller
from causal_assets.estimators.instruments import Set, anderson_rubin, cluster_sums, codes
from causal_assets.types import Estimate

Treated = Literal[">=", ">", "<=", "<"]
Kernel = Literal["triangular", "epanechnikov", "uniform"]
Selector = Literal["mserd", "msesum", "msecomb1", "cerrd", "cersum", "cercomb1"]  # one bandwidth for both sides

CONVENTIONAL = "conventional, without bias correction"
# Below this first-stage F the ratio's Wald interval is not trusted and the set is Anderson and Rubin's: a nominal 5%
# Wald test keeps its size below 10% above it (Stock & Yogo 2005, one instrument).
WEAK = 16.38
# rdrobust's own floor for a bandwidth: below so few distinct values a curve cannot be told from a jump.
FEW_DISTINCT = 10
MASS = 0.2  # rdrobust's own threshold: a fifth of the rows of a side repeat a value
NEIGHBOURS = 3  # rdrobust's default for the variance
# Shares below which a variance or a direction is rounding.
ROUNDING = 1e-20
COLLINEAR = 1e-8
# Clusters on each side; between fewer a clustered variance is an average of next to nothing.
FEWEST_CLUSTERS = 5
# diff-diff and rdrobust give up choosing a bandwidth below this many rows and use them all.
FEWEST_ROWS = 20


@dataclass(frozen=True, kw_only=True)
class Discontinuity:
    """An effect at the cutoff and what it rests on; pairs are (below, above) the cutoff.

    ``conventional`` is the estimate without bias correction, with its own error, to compare with printed tables only:
    at a bandwidth chosen by squared error its interval covers too seldom.
    ``strength`` is the F of the take-up jump (inf where sharp).
    """

    estimate: Estimate
    conventional: Estimate
    bandwidth: float
    bias_bandwidth: float
    rows: tuple[int, int]  # within the bandwidth
    distinct: tuple[int, int]  # distinct running values within the bandwidth
    strength: float = inf
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class _Data:
    """Validated columns on the axis of estimation, where treatment (or the larger take-up) is at ``x >= 0``."""

    y: Floats
    x: Floats
    t: Floats | None
    z: Floats  # (n, k)
    cluster: NDArray[np.intp] | None
    sign: float  # of the jump, +1 where the right side is treated
    mirrored: bool = False  # x is the given running variable with its sign turned
    origin: float = 0.0  # taken from y

    def as_given(self, pair: tuple[Any, Any]) -> tuple[Any, Any]:
        """(left, right) of the axis of estimation as (below, above) the cutoff."""
        return pair[::-1] if self.mirrored else pair


def _finite(name: str, values: ArrayLike, n: int) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.shape[:1] != (n,):
        raise ValueError(f"{name}: expected {n} rows, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: {int((~np.isfinite(array)).sum())} entries are NaN or infinite")
    return array


def _validated(
    y: ArrayLike, x: ArrayLike, cutoff: float, treated: Treated, t: ArrayLike | None, z: ArrayLike | None, unit: Any
) -> _Data:
    if treated not in get_args(Treated):
        raise ValueError(f"treated: expected one of {get_args(Treated)}, got {treated!r}")
    n = len(np.asarray(x))
    running = _finite("x", x, n) - float(cutoff)
    if min((running < 0).sum(), (running > 0).sum()) == 0:
        raise ValueError(f"cutoff: {cutoff} leaves one side of the running variable empty")
    if n < FEWEST_ROWS:
        raise ValueError(f"x: a discontinuity needs at least {FEWEST_ROWS} rows, got {n}")
    outcome = _finite("y", y, n)
    if np.ptp(outcome) == 0:
        raise ValueError(f"y: the outcome is constant at {outcome[0]}")
    mirrored = treated in ("<=", ">")  # units exactly at the cutoff belong to the right side of the axis
    takeup = None if t is None else _finite("takeup", t, n)
    covariates = np.empty((n, 0)) if z is None else _finite("covariates", z, n).reshape(n, -1)
    groups = None if unit is None else codes("cluster", unit, n)
    sign = -1.0 if treated in ("<", ">") else 1.0
    origin = float(outcome.mean())  # a jump does not depend on the origin; digits do
    return _Data(
        outcome - origin, -running if mirrored else running, takeup, covariates, groups, sign, mirrored, origin
    )


def robust_discontinuity(
    y: ArrayLike,
    x: ArrayLike,
    *,
    outcome: str,
    cutoff: float = 0.0,
    treated: Treated = ">=",
    takeup: ArrayLike | None = None,
    covariates: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
    kernel: Kernel = "triangular",
    order: int = 1,
    bandwidth: float | None = None,
    bias_bandwidth: float | None = None,
    selector: Selector = "mserd",
    level: float = 0.95,
) -> Discontinuity:
    """Robust bias-corrected jump of ``y`` (n,) where the running variable ``x`` (n,) crosses ``cutoff``.

    ``treated`` says which side is treated and to which side a unit exactly at the cutoff belongs; the effect is treated
    minus untreated. With ``takeup`` (n,), the treatment received, the design is fuzzy and the effect that on compliers
    at the cutoff. ``covariates`` (n, k) are fixed before treatment and add precision only. ``bandwidth`` (in units of
    ``x``; chosen by ``selector`` otherwise) and ``bias_bandwidth`` (the same where only the first is given) are as in
    rdrobust, whose numbers these are (its fuzzy bandwidth depends on the origin of ``y``). Value, p and interval are
    all of the bias-corrected estimate with its robust error. Where the take-up jump has an F below 16.38 they come from
    the Anderson-Rubin set of the bias-corrected jump in y - effect * takeup. ``control_mean`` is the untreated limit as
    local regression draws it (None with covariates or take-up, whose limit is of no population); the relative effect is
    to the bias-corrected one, by Fieller's interval of the same test.

    With ``cluster`` (n,) labels, scores are summed by cluster over both sides (rdrobust sums them on each side only),
    with factors G/(G-1) (n-1)/(n-k) by side and a t with G - 2 degrees of freedom; the bandwidth is that for
    independent rows. Rows near the cutoff must be in memory; not a sufficient-statistics problem, since the bandwidth
    is learned. Time: n log n; to choose the bandwidth about 30 us a row, to estimate at a given one 0.5.

    Sources: Calonico, Cattaneo & Titiunik (2014), Econometrica 82(6), eq. for the robust interval, sec. 2 and 3;
    Calonico, Cattaneo, Farrell & Titiunik (2019), REStat 101(3); Feir, Lemieux & Marmer (2016), Weak identification
    in fuzzy regression discontinuity designs, JBES 34(2).

    Raises:
        ValueError: a NaN or infinite entry, lengths that differ, an empty side, fewer than 20 rows, a constant outcome,
            take-up that does not jump, a bandwidth that holds fewer than order + 2 distinct values, or fewer than 5
            clusters on a side of it.
    """
    if bias_bandwidth is not None and bandwidth is None:
        raise ValueError("bias_bandwidth: give bandwidth too, alone it has no meaning")
    if not 0.0 < level < 1.0:
        raise ValueError(f"level: must lie strictly between 0 and 1, got {level}")
    for name, given, allowed in (("kernel", kernel, Kernel), ("selector", selector, Selector)):
        if given not in get_args(allowed):
            raise ValueError(f"{name}: expected one of {get_args(allowed)}, got {given!r}")
    data = _validated(y, x, cutoff, treated, takeup, covariates, cluster)
    h, b, said = _bandwidths(data, kernel, order, bandwidth, bias_bandwidth, selector)
    distinct = _distinct(data.x, h, order)
    if data.t is not None and np.ptp(data.t[np.abs(data.x) <= h]) == 0:
        raise ValueError(f"takeup: constant within the bandwidth {h:.4g}, it does not jump at the cutoff")
    jumps = _jumps(data, h, b, kernel, order)
    strength = inf if data.t is None else jumps.strength
    printed = _strong(jumps.uncorrected, data.t is not None, level)
    answer = _weak(jumps, level) if strength < WEAK else _strong(jumps, data.t is not None, level)
    if data.t is None and data.sign < 0:
        answer, printed = answer.reversed(), printed.reversed()
    right = data.sign > 0  # the treated side
    near = np.abs(data.x) <= h
    rows = int((near & (data.x < 0)).sum()), int((near & (data.x >= 0)).sum())
    shape = {0: "constant", 1: "linear", 2: "quadratic"}.get(order, f"order {order}")
    clusters = "" if jumps.clusters is None else f", {jumps.clusters} clusters"
    relative = (None, None, None)
    if data.t is None and covariates is None:
        relative = _relative(jumps, data.origin, int(right), level)
    robust = Estimate(
        outcome=outcome,
        estimand="effect at the cutoff" if data.t is None else "LATE at the cutoff",
        method=f"robust bias-corrected local {shape}, {kernel} kernel{clusters}{answer.how}",
        value=answer.value,
        std_error=answer.error,
        low=min(answer.pieces[0][0], answer.value),  # rounding may put the value outside a set of one point
        high=max(answer.pieces[-1][1], answer.value),
        p_value=answer.p_value,
        level=level,
        n_treated=rows[right],
        n_control=rows[not right],
        control_mean=data.origin + jumps.limits[not right] if data.t is None and covariates is None else None,
        relative=relative[0],
        relative_low=relative[1],
        relative_high=relative[2],
        pieces=answer.pieces if len(answer.pieces) > 1 else (),
    )
    return Discontinuity(
        estimate=robust,
        conventional=replace(
            robust,
            method=CONVENTIONAL,
            value=printed.value,
            std_error=printed.error,
            low=printed.pieces[0][0],
            high=printed.pieces[-1][1],
            p_value=printed.p_value,
            relative=None,
            relative_low=None,
            relative_high=None,
            pieces=(),
        ),
        bandwidth=h,
        bias_bandwidth=b,
        rows=data.as_given(rows),
        distinct=data.as_given(distinct),
        strength=strength,
        warnings=(*said, *_mass_points(data.x, distinct)),
    )


def _bandwidths(
    data: _Data, kernel: Kernel, order: int, h: float | None, b: float | None, selector: Selector
) -> tuple[float, float, tuple[str, ...]]:
    """Bandwidth, bias bandwidth and what their choice by diff-diff warned of."""
    for name, given in (("bandwidth", h), ("bias_bandwidth", b)):
        if given is not None and not 0 < given < inf:
            raise ValueError(f"{name}: expected a positive number, got {given}")
    if h is not None:
        return float(h), float(h if b is None else b), ()
    import pandas as pd
    from diff_diff import RegressionDiscontinuity

    covariates = {f"z{j}": column for j, column in enumerate(data.z.T)}
    takeup = {} if data.t is None else {"takeup": data.t}
    y = data.y if data.t is None else data.y + data.origin  # rdrobust's fuzzy bandwidth depends on the origin of y
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = RegressionDiscontinuity(p=order, kernel=kernel, bwselect=selector).fit(
            pd.DataFrame({"y": y, "x": data.x} | takeup | covariates),
            outcome="y",
            running="x",
            takeup="takeup" if takeup else None,
            covariates=list(covariates) or None,
        )
    said = (str(w.message) for w in caught if issubclass(w.category, (UserWarning, RuntimeWarning)))
    kept = (text for text in said if not text.startswith(("Weak first stage", "Mass points")))  # told by us
    return float(fit.h_left), float(fit.b_left), tuple(dict.fromkeys(kept))


def _distinct(x: Floats, h: float, order: int) -> tuple[int, int]:
    """Distinct running values within the bandwidth, left and right of 0.

    Raises:
        ValueError: too few for the curve.
    """
    left, right = (np.unique(x[side & (np.abs(x) <= h)]).size for side in (x < 0, x >= 0))
    if min(left, right) < order + 2:
        raise ValueError(
            f"x: a curve of order {order} on each side needs {order + 2} distinct running values within the bandwidth "
            f"{h:.4g}, got {left} and {right}"
        )
    return left, right


def _mass_points(x: Floats, distinct: tuple[int, int]) -> Iterator[str]:
    for side in (x[x < 0], x[x >= 0]):
        if np.unique(side).size <= (1 - MASS) * side.size:
            yield "Mass points: many rows share their value of the running variable."
            break
    if min(distinct) < FEW_DISTINCT:
        yield f"Only {min(distinct)} distinct running values on a side of the bandwidth."


@dataclass(frozen=True, eq=False)
class _Jumps:
    """Jumps of outcome and take-up (2,): conventional, and bias-corrected with their robust covariance (2, 2).

    ``limits`` are the outcome's conventional limits from the left and the right, ``levels`` the corrected ones with
    their covariance ``levels_cov`` (2, 2).
    """

    conventional: Floats
    conventional_cov: Floats
    value: Floats
    cov: Floats
    limits: tuple[float, float]
    levels: Floats
    levels_cov: Floats
    clusters: int | None

    @property
    def law(self) -> Any:
        """Distribution of an estimate in standard errors."""
        from scipy.stats import norm, t

        return norm() if self.clusters is None else t(self.clusters - 2)

    @property
    def conventional_ratio(self) -> float:
        return float(self.conventional[0] / self.conventional[1])

    @property
    def uncorrected(self) -> "_Jumps":
        """The conventional jumps with their own covariance."""
        return replace(self, value=self.conventional, cov=self.conventional_cov)

    @property
    def strength(self) -> float:
        """Robust F of the take-up jump; inf where take-up is certain on both sides."""
        if self.conventional[1] == 0 or self.value[1] == 0:
            raise ValueError("takeup: it does not jump at the cutoff at all, there is no effect to scale")
        certain = self.cov[1, 1] <= ROUNDING * self.value[1] ** 2
        return inf if certain else float(self.value[1] ** 2 / self.cov[1, 1])

    def error(self, gradient: tuple[float, float]) -> float:
        return sqrt(max(np.array(gradient) @ self.cov @ np.array(gradient), 0.0))


@dataclass(frozen=True)
class _Answer:
    value: float
    error: float
    pieces: Set
    p_value: float
    how: str = ""

    def reversed(self) -> "_Answer":
        """Of the jump taken from right to left."""
        pieces = tuple((-high, -low) for low, high in reversed(self.pieces))
        return replace(self, value=-self.value, pieces=pieces)


def _relative(jumps: _Jumps, origin: float, treated: int, level: float) -> tuple[float | None, float, float]:
    """The corrected jump over the corrected limit of the untreated side, with Fieller's interval of the same test."""
    signs = np.array([-1.0, 1.0]) if treated else np.array([1.0, -1.0])
    both = np.stack([np.eye(2)[1 - treated], signs])
    untreated, effect = float(origin + jumps.levels[1 - treated]), float(signs @ jumps.levels)
    critical = float(jumps.law.ppf((1 + level) / 2))
    low, high = fieller(effect, untreated, both @ jumps.levels_cov @ both.T, critical)
    return effect / untreated if untreated else None, low, high


def _strong(jumps: _Jumps, fuzzy: bool, level: float) -> _Answer:
    """The test of the bias-corrected estimate; of a ratio, bias and error are linear around the conventional jumps."""
    value, gradient = float(jumps.value[0]), (1.0, 0.0)
    if fuzzy:
        ratio = jumps.conventional_ratio
        gradient = (float(1 / jumps.conventional[1]), float(-ratio / jumps.conventional[1]))
        value = ratio + float(np.array(gradient) @ (jumps.value - jumps.conventional))
    error = jumps.error(gradient)
    if not error > 0:
        raise ValueError("y: the outcome has no variation around its curve within the bandwidth, nothing can be tested")
    margin = float(jumps.law.ppf((1 + level) / 2)) * error
    return _Answer(value, error, ((value - margin, value + margin),), float(2 * jumps.law.sf(abs(value) / error)))


def _weak(jumps: _Jumps, level: float) -> _Answer:
    """Anderson and Rubin's test of the bias-corrected jumps."""
    rise, first = map(float, jumps.value)
    if not jumps.cov[0, 0] > 0:
        raise ValueError("y: the outcome has no variation around its curve within the bandwidth, nothing can be tested")
    return _Answer(
        rise / first,
        jumps.error((1 / first, -rise / first**2)),
        anderson_rubin(rise, first, jumps.cov, float(jumps.law.ppf((1 + level) / 2))),
        float(2 * jumps.law.sf(abs(rise) / sqrt(jumps.cov[0, 0]))),
        ", weak take-up jump: Anderson-Rubin set",
    )


def _jumps(data: _Data, h: float, b: float, kernel: str, order: int) -> _Jumps:
    """Both jumps are linear in the responses; their covariance is the sum of squared scores, by row or by cluster.

    Residuals are nearest-neighbour differences, as in rdrobust; with clusters those around the curve.
    """
    responses = np.stack([data.y, np.zeros_like(data.y) if data.t is None else data.t], axis=1)
    near = np.abs(data.x) <= max(h, b)
    responses = responses - data.z @ _slopes(data, responses, h, kernel, order)
    limits, corrected, residuals = np.zeros((2, 2)), np.zeros((2, 2)), np.zeros_like(responses)
    weights = np.zeros((len(responses), 2))  # of a row's residual in the conventional and in the corrected jump
    for right, side in enumerate((data.x < 0, data.x >= 0)):
        rows = np.flatnonzero(side & near)
        limit, weight, curve = _local(data.x[rows], h, b, kernel, order)
        given = responses[rows]
        limits[right], corrected[right] = limit @ given, weight @ given
        weights[rows] = np.stack([limit, weight], axis=1) * (2 * right - 1)
        if data.cluster is None:
            residuals[rows] = _neighbour_residuals(data.x[rows], given)
        else:
            groups = np.unique(data.cluster[rows]).size
            if groups < FEWEST_CLUSTERS:
                raise ValueError(
                    f"cluster: errors need at least {FEWEST_CLUSTERS} clusters on each side within the bandwidth, got "
                    f"{groups}"
                )
            factor = groups / (groups - 1) * (rows.size - 1) / (rows.size - order - 2)
            residuals[rows] = sqrt(factor) * (given - curve @ given)
    clusters = None if data.cluster is None else int(np.unique(data.cluster[near]).size)
    scores = (residuals * weights[:, [0]], residuals * weights[:, [1]])
    # Of each limit; the jump is their difference.
    own = scores[1][:, [0]] * np.stack([np.where(data.x < 0, -1.0, 0.0), np.where(data.x < 0, 0.0, 1.0)], axis=1)
    scores = (*scores, own)
    if data.cluster is not None:
        scores = tuple(cluster_sums(each, data.cluster) for each in scores)
    conventional, robust, levels = (each.T @ each for each in scores)
    return _Jumps(
        conventional=limits[1] - limits[0],
        conventional_cov=conventional,
        value=corrected[1] - corrected[0],
        cov=robust,
        limits=(float(limits[0, 0]), float(limits[1, 0])),
        levels=corrected[:, 0],
        levels_cov=levels,
        clusters=clusters,
    )


def _kernel(u: Floats, kernel: str) -> Floats:
    inside = np.abs(u) <= 1
    if kernel == "uniform":
        return inside / 2
    return inside * (1 - np.abs(u) if kernel == "triangular" else 0.75 * (1 - u**2))


def _projection(basis: Floats, weight: Floats) -> Floats:
    """Rows (k, n) that turn responses into weighted least-squares coefficients."""
    root = np.sqrt(weight)
    return np.linalg.pinv(basis * root[:, None]) * root


def _local(x: Floats, h: float, b: float, kernel: str, order: int) -> tuple[Floats, Floats, "_Curve"]:
    """Weights (n,) of the limit at 0 from one side, the same less its bias, and the curve that gives the bias.

    The limit is the intercept at bandwidth h; its bias comes from the next power, fitted at bandwidth b.
    """
    basis = np.vander(x / b, order + 2, increasing=True)
    curve = _projection(basis, _kernel(x / b, kernel))
    limit = _projection(basis[:, :-1], _kernel(x / h, kernel))[0]
    return limit, limit - (limit @ basis[:, -1]) * curve[-1], _Curve(basis, curve)


@dataclass(frozen=True, eq=False)
class _Curve:
    basis: Floats  # (n, k)
    projection: Floats  # (k, n)

    def __matmul__(self, responses: Floats) -> Floats:
        """Fitted responses (n, m)."""
        return self.basis @ (self.projection @ responses)


def _slopes(data: _Data, responses: Floats, h: float, kernel: str, order: int) -> Floats:
    """Coefficients (k, 2) of the covariates, common to both sides, beside a curve of its own on each."""
    if not data.z.shape[1]:
        return np.zeros((0, 2))
    rows = np.flatnonzero(np.abs(data.x) <= h)
    weight, right = _kernel(data.x[rows] / h, kernel), (data.x[rows] >= 0)[:, None]
    basis = np.vander(data.x[rows] / h, order + 1, increasing=True)
    curves = np.hstack([basis * right, basis * ~right])
    both = np.hstack([data.z[rows], responses[rows]])
    both = (both - curves @ (_projection(curves, weight) @ both)) * np.sqrt(weight)[:, None]
    return np.linalg.pinv(both[:, :-2], rcond=COLLINEAR) @ both[:, -2:]


def _neighbour_residuals(x: Floats, responses: Floats) -> Floats:
    """Each response (n, m) less the mean of its nearest neighbours in ``x`` (n,), scaled to the residual's variance.

    At least three neighbours; rows that share a value, and values at one distance, count together.

    Source: Abadie & Imbens (2006), Econometrica 74(1); Calonico, Cattaneo & Titiunik (2014), sec. 2.4. Vectorised over
    rows: with it a fit at a given bandwidth takes 1/5 (2,000 rows) to 1/13 (200,000) of diff-diff's time.
    """
    values, code, size = np.unique(x, return_inverse=True, return_counts=True)
    centred = responses - responses.mean(axis=0)
    before = np.concatenate([[0], np.cumsum(size)])  # rows below each distinct value
    sums = np.concatenate([np.zeros((1, responses.shape[1])), np.cumsum(cluster_sums(centred, code), axis=0)])
    padded = np.concatenate([[-inf], values, [inf]])
    left = right = np.arange(values.size)
    wanted = min(NEIGHBOURS, x.size - 1)
    while (few := before[right + 1] - before[left] - 1 < wanted).any():
        down, up = values - padded[left], padded[right + 2] - values
        left, right = left - (few & (down <= up)), right + (few & (up <= down))
    others = (before[right + 1] - before[left] - 1)[code][:, None]
    mean = ((sums[right + 1] - sums[left])[code] - centred) / others
    return np.sqrt(others / (others + 1)) * (centred - mean)


def local_window(
    y: ArrayLike,
    d: ArrayLike,
    x: ArrayLike,
    *,
    outcome: str,
    window: tuple[float, float],
    cutoff: float,
    order: int = 0,
    cluster: ArrayLike | None = None,
    level: float = 0.95,
) -> Estimate:
    """Least squares of ``y`` on ``d`` (n,) of 0 and 1 among rows whose ``x`` lies strictly within ``window``.

    ``order`` 0 compares means, 1 adds a line on each side of ``cutoff``. No bias correction: the answer is right where
    the outcome would be flat (or straight) over the window. Errors by ``cluster`` (n,) with the factor
    G/(G-1) (n-1)/(n-k) and t with G - 1 degrees of freedom; HC1 and n - k without. Moments: one pass.

    Source: Lee, Moretti & Butler (2004), Do voters affect or elect policies?, QJE 119(3).

    Raises:
        ValueError: as ``robust_discontinuity``, a treatment that is not 0 or 1 or has one value in the window, an order
            other than 0 and 1, or collinear columns.
    """
    if order not in (0, 1):
        raise ValueError(f"order: expected 0 (means) or 1 (lines), got {order}")
    n = len(np.asarray(x))
    running, target, dose = _finite("x", x, n), _finite("y", y, n), _finite("d", d, n)
    labels = np.arange(n) if cluster is None else codes("cluster", cluster, n)
    if not window[0] < cutoff < window[1]:
        raise ValueError(f"window: expected low < cutoff {cutoff} < high, got {window}")
    kept = (running > window[0]) & (running < window[1])
    u, target, dose = running[kept] - cutoff, target[kept], dose[kept]
    if set(np.unique(dose)) != {0.0, 1.0}:
        raise ValueError(f"d: expected both 0 and 1 within the window, got {np.unique(dose).tolist()[:5]}")
    lines = [u, u * (u >= 0)] if order else []
    design = np.column_stack([np.ones_like(u), dose, *lines])
    code = np.unique(labels[kept], return_inverse=True)[1]
    groups, (rows, k) = int(code.max()) + 1, design.shape
    if cluster is not None and groups < FEWEST_CLUSTERS:
        raise ValueError(f"cluster: errors need at least {FEWEST_CLUSTERS} clusters, got {groups}")
    if rows <= k or np.linalg.matrix_rank(design) < k:
        raise ValueError(f"window: {rows} rows do not tell {k} coefficients apart")
    project = np.linalg.pinv(design)
    origin = target.mean()
    beta = project @ (target - origin)
    scores = project.T * (target - origin - design @ beta)[:, None]
    sums = cluster_sums(scores, code)
    factor = groups / (groups - 1) * (rows - 1) / (rows - k)
    return estimate(
        outcome=outcome,
        estimand="effect in the window",
        method=f"local window {window}, {'lines' if order else 'means'}",
        value=float(beta[1]),
        control_mean=float(origin + beta[0]),
        cov=(factor * sums.T @ sums)[:2, :2],
        df=groups - 1 if cluster is not None else rows - k,
        level=level,
        n_treated=int(dose.sum()),
        n_control=int(rows - dose.sum()),
    )


def over_bandwidths(
    y: ArrayLike,
    x: ArrayLike,
    main: Discontinuity,
    *,
    multiples: Sequence[float] = (0.5, 0.75, 1.5, 2.0),
    **options: Any,
) -> Iterator[tuple[float, Discontinuity]]:
    """The same estimate at multiples of the bandwidth of ``main``, both bandwidths scaled alike.

    ``options`` as given to ``robust_discontinuity``. A multiple at which nothing can be estimated is left out.
    """
    for multiple in multiples:
        at: dict[str, Any] = {
            **options,
            "bandwidth": multiple * main.bandwidth,
            "bias_bandwidth": multiple * main.bias_bandwidth,
        }
        try:
            found = robust_discontinuity(y, x, **at)
        except ValueError:
            continue
        yield multiple, found


def donut(y: ArrayLike, x: ArrayLike, main: Discontinuity, *, hole: float, **options: Any) -> Discontinuity:
    """The same estimate at the same bandwidths without the rows closer than ``hole`` to the cutoff.

    Source: Barreca, Guldi, Lindo & Waddell (2011), Saving babies?, QJE 126(4).

    Raises:
        ValueError: a hole that is not positive or not smaller than the bandwidth, or as ``robust_discontinuity``.
    """
    if not 0 < hole < main.bandwidth:
        raise ValueError(f"hole: expected above 0 and below the bandwidth {main.bandwidth:.4g}, got {hole}")
    kept = np.abs(np.asarray(x, dtype=np.float64) - options.get("cutoff", 0.0)) >= hole
    rest: dict[str, Any] = {**options, "bandwidth": main.bandwidth, "bias_bandwidth": main.bias_bandwidth}
    for name in ("takeup", "covariates", "cluster"):
        if options.get(name) is not None:
            rest[name] = np.asarray(options[name])[kept]
    return robust_discontinuity(np.asarray(y)[kept], np.asarray(x)[kept], **rest)


def local_curve(
    y: ArrayLike, x: ArrayLike, at: ArrayLike, *, bandwidth: float, kernel: Kernel = "triangular", order: int = 1
) -> Floats:
    """The curve behind the conventional limit from one side, at distances ``at`` (m,) from the cutoff.

    ``y`` and ``x`` (n,) are the rows of that side, ``x`` less the cutoff. The two sides' curves at 0 differ by the
    conventional jump without covariates.

    Raises:
        ValueError: fewer distinct values within the bandwidth than the curve has coefficients.
    """
    running, response = np.asarray(x, np.float64), np.asarray(y, np.float64)
    near = np.abs(running) <= bandwidth
    if np.unique(running[near]).size <= order:
        raise ValueError(f"x: a curve of order {order} needs more than {order} distinct values within the bandwidth")
    basis = np.vander(running[near] / bandwidth, order + 1, increasing=True)
    coef = _projection(basis, _kernel(running[near] / bandwidth, kernel)) @ response[near]
    return np.vander(np.asarray(at, np.float64) / bandwidth, order + 1, increasing=True) @ coef


@dataclass(frozen=True)
class Density:
    """Density of the running variable just below and just above the cutoff, and the p-value of their equality."""

    p_value: float
    below: float
    above: float
    warnings: tuple[str, ...] = ()


def density_jump(x: ArrayLike, *, cutoff: float = 0.0) -> Density:
    """Test of manipulation: does the density of ``x`` (n,) jump at the cutoff?

    Source: Cattaneo, Jansson & Ma (2020), Simple local polynomial density estimators, JASA 115(531).

    Raises:
        ValueError: a NaN or infinite entry, an empty side, or too few distinct values for the test.
    """
    import pandas as pd
    from diff_diff import RDDensityTest

    running = _finite("x", x, len(np.asarray(x)))
    if min((running < cutoff).sum(), (running > cutoff).sum()) == 0:
        raise ValueError(f"cutoff: {cutoff} leaves one side of the running variable empty")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = RDDensityTest(cutoff=cutoff).fit(pd.DataFrame({"x": running}), "x")
    if not 0 <= found.p_value <= 1:
        raise ValueError(f"x: the density test has no answer, {np.unique(running).size} distinct values")
    said = tuple(dict.fromkeys(str(w.message) for w in caught))
    return Density(float(found.p_value), float(found.f_left), float(found.f_right), said)
