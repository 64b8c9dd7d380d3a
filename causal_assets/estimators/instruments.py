"""The effect of a treatment that was encouraged, not assigned: encouragement, exposure and outcome are recorded."""

from dataclasses import dataclass
from math import inf, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.inference import Floats, fieller
from causal_assets.estimators.joint import JointEffects
from causal_assets.estimators.moments import Moments, pseudo_inverse
from causal_assets.estimators.randomized import difference_in_means
from causal_assets.types import Estimate

Set = tuple[tuple[float, float], ...]

# With several instruments the interval is Wald's, which is refused below this effective F: Montiel Olea & Pflueger
# (2013), 5% test that the bias exceeds a tenth of the worst case; 23.1 is its value for one instrument, the largest.
WEAK = 23.1
# Between fewer clusters a clustered variance is an average of next to nothing.
FEWEST_CLUSTERS = 5
# A direction that keeps less than this share of its variance once controls are partialled out has nothing of its own.
COLLINEAR = 1e-10


@dataclass(frozen=True, kw_only=True)
class Instrumented:
    """Effect of the treatment on those whom the instrument moves, and its two ingredients.

    ``strength`` is the first stage's robust F; with several instruments the effective F, and no single ingredient, but
    the test that all of them tell of one effect, ``overidentification``.
    """

    effect: Estimate
    strength: float
    reduced_form: Estimate | None = None  # the instrument's effect on the outcome (ITT)
    first_stage: Estimate | None = None  # the instrument's effect on the treatment
    overidentification: "Overidentification | None" = None


@dataclass(frozen=True)
class Overidentification:
    """Hansen's J of ``df`` + 1 instruments and its chi-squared p-value."""

    j: float
    df: int
    p_value: float


def anderson_rubin(reduced: float, first: float, cov: Floats, critical: float) -> Set:
    """Every effect t for which ``reduced - t * first`` is not rejected as 0: an interval, two rays, or the whole line.

    ``cov`` is the (2, 2) covariance of ``(reduced, first)``. Right however weak the first stage is. At t = 0 the test
    is that of ``reduced`` itself, so both exclude 0 together.

    Source: Anderson & Rubin (1949), Ann. Math. Stat. 20(1); with robust variances, Andrews, Stock & Sun (2019),
    Weak instruments in instrumental variables regression, Annu. Rev. Econ. 11.
    """
    a = first**2 - critical**2 * cov[1, 1]
    half_b = reduced * first - critical**2 * cov[0, 1]
    c = reduced**2 - critical**2 * cov[0, 0]
    discriminant = half_b**2 - a * c
    if a > 0:
        root = sqrt(max(discriminant, 0.0))
        return ((float((half_b - root) / a), float((half_b + root) / a)),)
    if a == 0 or discriminant <= 0:
        return ((-inf, inf),)
    root = sqrt(discriminant)
    return (-inf, float((half_b + root) / a)), (float((half_b - root) / a), inf)


def complier_effect(
    *, outcome: str, estimand: str, method: str, reduced_form: Estimate, first_stage: Estimate, covariance: float
) -> Estimate:
    """Ratio of two effects of one instrument, with Anderson and Rubin's set at the level of ``reduced_form``.

    ``covariance`` is that of the two estimates. The p-value is the reduced form's: both test an effect of 0. The
    standard error is the delta method's (2SLS's own), for the eye; the set does not use it.

    Raises:
        ValueError: a first stage of exactly 0.
    """
    if first_stage.value == 0 or reduced_form.std_error is None or first_stage.std_error is None:
        raise ValueError(f"{outcome}: the instrument does not move the treatment at all, there is no effect to scale")
    errors = reduced_form.std_error, first_stage.std_error
    cov = np.array([[errors[0] ** 2, covariance], [covariance, errors[1] ** 2]])
    value = reduced_form.value / first_stage.value
    critical = (reduced_form.high - reduced_form.value) / errors[0]
    pieces = anderson_rubin(reduced_form.value, first_stage.value, cov, critical)
    contrast = np.array([1.0, -value])
    return Estimate(
        outcome=outcome,
        estimand=estimand,
        method=method,
        value=value,
        std_error=sqrt(max(contrast @ cov @ contrast, 0.0)) / abs(first_stage.value),
        low=min(pieces[0][0], value),  # rounding may put the ratio outside a set of one point
        high=max(pieces[-1][1], value),
        p_value=reduced_form.p_value,
        level=reduced_form.level,
        n_treated=reduced_form.n_treated,
        n_control=reduced_form.n_control,
        control_mean=None,
        pieces=pieces if len(pieces) > 1 else (),
    )


def cell_moments(rows: ArrayLike, count: ArrayLike) -> Moments:
    """Moments of grouped data: ``rows`` (g, k) are distinct rows, ``count`` (g,) how many units have each.

    Raises:
        ValueError: counts that are negative, not whole, or do not fit the rows.
    """
    values, counts = np.asarray(rows, dtype=np.float64), np.asarray(count)
    if values.ndim != 2 or counts.shape != (len(values),):
        raise ValueError(f"count: expected one per row, got {counts.shape} for rows of shape {values.shape}")
    if (counts < 0).any() or (counts != counts.astype(np.int64)).any() or counts.sum() < 1:
        raise ValueError(f"count: expected whole numbers from 0 and a positive total, got {counts.tolist()[:5]}")
    n = int(counts.sum())
    mean = counts @ values / n
    centred = values - mean
    return Moments(n, mean, (centred * counts[:, None]).T @ centred / max(n - 1, 1))


def _mixed(moments: Moments, weight: Floats) -> Moments:
    """The outcome replaced by a weighted sum of outcome and uptake; covariates stay."""
    k = moments.mean.size
    mix = np.zeros((k - 1, k))
    mix[0, :2], mix[1:, 2:] = weight, np.eye(k - 2)
    return Moments(moments.n, mix @ moments.mean, mix @ moments.cov @ mix.T)


def certain(outcome: str, value: float, like: Estimate) -> Estimate:
    """An effect without sampling error: everybody in an arm is alike."""
    return Estimate(
        outcome=outcome, estimand=like.estimand, method=like.method, value=value, std_error=0.0, low=value, high=value,
        p_value=float(value == 0), level=like.level, n_treated=like.n_treated, n_control=like.n_control,
        control_mean=None,
    )  # fmt: skip


def wald(
    control: Moments,
    encouraged: Moments,
    *,
    outcome: str,
    uptake: str = "uptake",
    estimand: str = "LATE",
    level: float = 0.95,
) -> Instrumented:
    """Effect of the treatment on compliers from the moments of two randomised arms.

    Columns are outcome, uptake (0 or 1, or a dose), then covariates measured before assignment, to which outcome and
    uptake are adjusted as in ``difference_in_means``. One pass, memory O(k^2). With perfect compliance it is the ITT.

    Source: Imbens & Angrist (1994), Identification and estimation of local average treatment effects, Econometrica 62.

    Raises:
        ValueError: as ``difference_in_means``, fewer than two columns, or arms with the same uptake.
    """
    for name, arm in (("control", control), ("encouraged", encouraged)):
        if arm.mean.size < 2:
            raise ValueError(f"{name}: expected columns outcome, uptake, covariates ..., got {arm.mean.size} column")
    rest = range(2, control.mean.size)
    reduced = difference_in_means(
        control.select([0, *rest]), encouraged.select([0, *rest]), outcome=outcome, level=level, estimand="ITT"
    )
    scale = np.sqrt([max(control.cov[i, i], encouraged.cov[i, i]) for i in (0, 1)])
    if scale[1] == 0:
        first = certain(uptake, float(encouraged.mean[1] - control.mean[1]), reduced)
        covariance = 0.0
    else:
        first = difference_in_means(
            control.select([1, *rest]), encouraged.select([1, *rest]), outcome=uptake, level=level, estimand="ITT"
        )
        total = [difference_in_means(_mixed(control, w), _mixed(encouraged, w), outcome=outcome).std_error
                 for w in (1 / scale, np.array([1.0, -1.0]) / scale)]  # fmt: skip
        assert total[0] is not None and total[1] is not None
        covariance = float((total[0] ** 2 - total[1] ** 2) / 4 * scale.prod())
    found = complier_effect(
        outcome=outcome,
        estimand=estimand,
        method="Wald ratio, Anderson-Rubin set",
        reduced_form=reduced,
        first_stage=first,
        covariance=covariance,
    )
    return Instrumented(effect=found, strength=_strength(first), reduced_form=reduced, first_stage=first)


def wald_clustered(
    effects: JointEffects, *, outcome: str, uptake: str = "uptake", estimand: str = "LATE", level: float = 0.95
) -> Instrumented:
    """``wald`` from the encouragement's effects on (outcome, uptake), as ``joint.clustered_effects`` gives them.

    Raises:
        ValueError: other than two columns, arms with the same uptake, or an outcome without variance.
    """
    method = "difference in means, clustered (CR2)"
    reduced = effects.combine([1.0, 0.0], outcome=outcome, estimand="ITT", method=method, level=level)
    if effects.cov[1, 1] > COLLINEAR * effects.value[1] ** 2:
        first = effects.combine([0.0, 1.0], outcome=uptake, estimand="ITT", method=method, level=level)
    else:
        first = certain(uptake, float(effects.value[1]), reduced)
    found = complier_effect(
        outcome=outcome,
        estimand=estimand,
        method="Wald ratio, Anderson-Rubin set, clustered",
        reduced_form=reduced,
        first_stage=first,
        covariance=float(effects.cov[0, 1]) if first.std_error else 0.0,
    )
    return Instrumented(effect=found, strength=_strength(first), reduced_form=reduced, first_stage=first)


def _strength(first: Estimate) -> float:
    return (first.value / first.std_error) ** 2 if first.std_error else inf


def _columns(name: str, values: ArrayLike, n: int) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or len(array) != n:
        raise ValueError(f"{name}: expected {n} rows, got shape {np.shape(values)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: {int((~np.isfinite(array)).sum())} entries are NaN or infinite")
    return array


def codes(name: str, labels: ArrayLike, n: int) -> NDArray[np.intp]:
    """Whole numbers from 0 for ``n`` labels.

    Raises:
        ValueError: another number of labels, or a missing one; ``name`` says of what.
    """
    given = np.asarray(labels)
    if given.shape != (n,):
        raise ValueError(f"{name}: expected {n} labels, got shape {given.shape}")
    missing = int((given != given).sum()) + sum(label is None for label in given.tolist())
    if missing:
        raise ValueError(f"{name}: {missing} labels are missing")
    return np.unique(given, return_inverse=True)[1]


def cluster_sums(scores: Floats, code: NDArray[np.intp]) -> Floats:
    """Scores (n, k) summed by cluster: (clusters, k)."""
    sums = np.zeros((int(code.max()) + 1, scores.shape[1]))
    np.add.at(sums, code, scores)
    return sums


def _demeaned(columns: Floats, group: NDArray[np.intp]) -> Floats:
    means = cluster_sums(columns, group) / np.bincount(group)[:, None]
    return columns - means[group]


def _residuals(columns: Floats, on: Floats) -> tuple[Floats, int]:
    """Columns less their projection on ``on``, and the rank of the latter."""
    if not on.shape[1]:
        return columns, 0
    inverse, rank = pseudo_inverse(on.T @ on)
    return columns - on @ (inverse @ (on.T @ columns)), rank


def two_stage_least_squares(
    y: ArrayLike,
    d: ArrayLike,
    z: ArrayLike,
    *,
    outcome: str,
    x: ArrayLike | None = None,
    absorb: ArrayLike | None = None,
    cluster: ArrayLike | None = None,
    estimand: str = "LATE",
    level: float = 0.95,
) -> Instrumented:
    """Effect of ``d`` (n,) on ``y`` (n,) by two-stage least squares with instruments ``z`` (n,) or (n, m).

    ``x`` (n, k) are controls, ``absorb`` (n,) labels of one fixed effect, removed by demeaning, ``cluster`` (n,) labels
    within which errors may be dependent. Errors are robust, with the factor G/(G-1) (n-1)/(n-k) where k counts controls
    and absorbed groups (HC1 without clusters); t has G - 1, or n - k, degrees of freedom. One rule for the set: with
    one instrument p and set are always Anderson and Rubin's, with several Wald's, refused below an effective F of 23.1.
    Counts are rows with the instrument above and not above its mean, for 0 and 1 the two arms.

    With one instrument and a treatment of 0 and 1 ``control_mean`` is that of the compliers, the 2SLS effect of 1 -
    d on (1 - d) y. The relative effect is then a ratio of two reduced forms, of y over that of (d - 1) y, with
    Fieller's set, which holds 0 exactly when the absolute one does, or is unbounded where the compliers' mean
    cannot be told from zero. With several instruments each has compliers of its own, and there is none.

    Passes: means and cross-products, then scores summed by cluster; memory O(n (k + m)) here, O(k^2 + clusters)
    from an engine.

    Sources: Wooldridge (2010), Econometric Analysis, ch. 5; Montiel Olea & Pflueger (2013), A robust test for weak
    instruments, JBES 31(3); Abadie (2002), Bootstrap tests for distributional treatment effects in instrumental
    variable models, JASA 97(457), lemma 2.1, for the compliers' mean; Hansen (1982), Econometrica 50(4), for J.

    Raises:
        ValueError: lengths that differ, a NaN or infinite entry, an outcome, treatment or instrument without variation
            beyond the controls, fewer than 5 clusters, too few rows, or several instruments that are weak together.
    """
    n = len(np.asarray(y))
    target, dose, tool = (_columns(name, values, n) for name, values in (("y", y), ("d", d), ("z", z)))
    if target.shape[1] != 1 or dose.shape[1] != 1:
        raise ValueError(f"y, d: expected one column each, got {target.shape[1]} and {dose.shape[1]}")
    if not 0.0 < level < 1.0:
        raise ValueError(f"{outcome}: level must lie strictly between 0 and 1, got {level}")
    controls = np.empty((n, 0)) if x is None else _columns("x", x, n)
    group = np.zeros(n, dtype=np.intp) if absorb is None else codes("absorb", absorb, n)
    unit = np.arange(n) if cluster is None else codes("cluster", cluster, n)
    clusters = int(unit.max()) + 1
    if cluster is not None and clusters < FEWEST_CLUSTERS:
        raise ValueError(f"cluster: errors need at least {FEWEST_CLUSTERS} clusters, got {clusters}")
    columns = np.hstack([target, dose, tool])
    pilot, binary = float(target[0, 0]), tool.shape[1] == 1 and bool(np.isin(dose, (0, 1)).all())
    if binary:
        columns = np.hstack([columns, (1 - dose) * (target - pilot)])
    columns = columns - columns[0]  # a pilot: digits do not depend on the origin, and constants become 0
    columns = columns - columns.mean(axis=0)
    partialled, rank = _residuals(_demeaned(columns, group), _demeaned(controls - controls[0], group))
    names = ["y", "d", *(f"z[{j}]" for j in range(tool.shape[1]))]
    for name, before, after in zip(names, columns.T, partialled.T, strict=False):
        if after @ after <= COLLINEAR * (before @ before):
            raise ValueError(f"{name}: no variation is left once controls and absorbed groups are taken out")
    parameters = int(group.max()) + 1 + rank + 1
    if n <= parameters:
        raise ValueError(f"y: {parameters} coefficients need more rows than that, got {n}")
    factor = (n - 1) / (n - parameters) * clusters / (clusters - 1) if cluster is not None else n / (n - parameters)
    df = clusters - 1 if cluster is not None else n - parameters
    high = int((tool[:, 0] > tool[:, 0].mean()).sum())
    frame = _Frame(outcome, estimand, level, df, factor, unit, high, n - high)
    method = "two-stage least squares" + ("" if cluster is None else f", {clusters} clusters")
    if tool.shape[1] > 1:
        return _several_instruments(partialled[:, 0], partialled[:, 1], partialled[:, 2:], frame, method)
    untreated = (partialled[:, 3], pilot) if binary else None
    return _one_instrument(partialled[:, 0], partialled[:, 1], partialled[:, 2], untreated, frame, method)


@dataclass(frozen=True)
class _Frame:
    outcome: str
    estimand: str
    level: float
    df: int
    factor: float
    unit: NDArray[np.intp]
    n_treated: int
    n_control: int

    def meat(self, scores: Floats) -> Floats:
        """Sum of outer products of scores (n, k) summed by cluster, with the small-sample factor."""
        sums = cluster_sums(scores, self.unit)
        return self.factor * sums.T @ sums

    def estimate(self, outcome: str, estimand: str, method: str, value: float, std_error: float) -> Estimate:
        """One t test, without a relative effect."""
        from scipy.stats import t

        if not std_error > 0:
            raise ValueError(f"{outcome}: the effect needs a positive variance, got {std_error**2}")
        critical = float(t.ppf((1 + self.level) / 2, self.df))
        return Estimate(
            outcome=outcome, estimand=estimand, method=method, value=float(value), std_error=std_error,
            low=float(value) - critical * std_error, high=float(value) + critical * std_error,
            p_value=float(2 * t.sf(abs(value) / std_error, self.df)), level=self.level,
            n_treated=self.n_treated, n_control=self.n_control, control_mean=None,
        )  # fmt: skip


def _one_instrument(
    y: Floats, d: Floats, tool: Floats, untreated: tuple[Floats, float] | None, frame: _Frame, method: str
) -> Instrumented:
    """``untreated`` is (1 - d) times the outcome less a number, that number beside it, for the compliers' mean."""
    size = tool @ tool
    reduced, first = float(tool @ y / size), float(tool @ d / size)
    residuals = np.stack([y - reduced * tool, d - first * tool], axis=1)
    cov = frame.meat(residuals * tool[:, None] / size)
    if cov[0, 0] <= 0:
        raise ValueError(f"{frame.outcome}: the outcome is an exact function of instrument and controls")
    itt = frame.estimate(frame.outcome, "ITT", "least squares", reduced, sqrt(cov[0, 0]))
    exact = cov[1, 1] <= COLLINEAR * first**2
    stage = (
        certain("treatment", first, itt)
        if exact
        else frame.estimate("treatment", "ITT", "least squares", first, sqrt(cov[1, 1]))
    )
    found = complier_effect(
        outcome=frame.outcome,
        estimand=frame.estimand,
        method=f"{method}, Anderson-Rubin set",
        reduced_form=itt,
        first_stage=stage,
        covariance=0.0 if exact else float(cov[0, 1]),
    )
    if untreated is not None:
        found = _relative(found, y, d, tool, untreated, frame)
    return Instrumented(effect=found, strength=_strength(stage), reduced_form=itt, first_stage=stage)


def _relative(
    found: Estimate, y: Floats, d: Floats, tool: Floats, untreated: tuple[Floats, float], frame: _Frame
) -> Estimate:
    """The effect beside the compliers' mean without treatment: reduced form of y over that of (d - 1) y."""
    from dataclasses import replace

    from scipy.stats import t

    columns = np.column_stack([y, d, untreated[0]])
    size = tool @ tool
    coef = tool @ columns / size
    cov = frame.meat((columns - np.outer(tool, coef)) * tool[:, None] / size)
    # Moving the outcome by c moves the reduced form of (d - 1) y by c times the first stage.
    contrast = np.array([[0.0, untreated[1], -1.0], [1.0, 0.0, 0.0]])
    level, reduced = contrast @ coef
    critical = float(t.ppf((1 + frame.level) / 2, frame.df))
    low, high = fieller(float(reduced), float(level), contrast @ cov @ contrast.T, critical)
    return replace(
        found,
        control_mean=float(level / coef[1]),
        relative=float(reduced / level) if level else None,
        relative_low=low,
        relative_high=high,
    )


def _several_instruments(y: Floats, d: Floats, z: Floats, frame: _Frame, method: str) -> Instrumented:
    gram = z.T @ z
    inverse, _ = pseudo_inverse(gram)
    slope = inverse @ (z.T @ d)
    fitted = z @ slope
    first_cov = inverse @ frame.meat(z * (d - fitted)[:, None]) @ inverse
    spread = float(np.trace(first_cov @ gram))
    strength = float(slope @ gram @ slope / spread) if spread > 0 else inf
    if strength < WEAK:
        raise ValueError(
            f"z: {z.shape[1]} instruments are weak together, effective F {strength:.1f} is below {WEAK}; use the "
            "strongest alone, whose set is right at any strength"
        )
    size = fitted @ d
    value = float(fitted @ y / size)
    variance = frame.meat((fitted * (y - value * d) / size)[:, None])[0, 0]
    effect = frame.estimate(frame.outcome, frame.estimand, f"{method}, Wald", value, sqrt(variance))
    return Instrumented(effect=effect, strength=strength, overidentification=_overidentified(y, d, z, value, frame))


def _overidentified(y: Floats, d: Floats, z: Floats, value: float, frame: _Frame) -> Overidentification | None:
    """Hansen's J at the efficient estimate, scores weighted by their robust or clustered covariance at 2SLS.

    None for copies of one instrument, or with no more clusters than instruments.
    """
    from scipy.stats import chi2

    weight, rank = pseudo_inverse(frame.meat(z * (y - value * d)[:, None]))
    if rank < 2 or frame.unit.max() < z.shape[1]:  # a covariance of scores of lower rank than they are
        return None
    moments, slope = z.T @ y, z.T @ d
    left = moments - slope * float((slope @ weight @ moments) / (slope @ weight @ slope))
    j = float(left @ weight @ left)
    return Overidentification(j, rank - 1, float(chi2.sf(j, rank - 1)))
