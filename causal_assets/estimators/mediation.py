"""How much of a treatment's effect goes through a mediator, and how much does not.

Mediator and outcome have a regression each: linear, probit or logit, on treatment and covariates, the outcome's also on
the mediator and, by choice, treatment x mediator. Effects are those of the potential-outcome definition: the mean
outcome under treatment t with the mediator as it would be under treatment s, in closed form or by quadrature, averaged
over the covariates. They are causal only if, given treatment and covariates, nothing unseen moves both mediator and
outcome (sequential ignorability); randomising the treatment does not give that.

Links and clusters need rows, not moments: two fits, then one pass per draw where a model is not linear.
Memory is O(n (k + BATCH)).
"""

from dataclasses import dataclass
from math import inf, pi, sqrt
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.inference import Floats, clustered_covariance
from causal_assets.types import Estimate

Link = Literal["linear", "probit", "logit"]

# With fewer clusters in an arm no error from clusters can be trusted (MacKinnon & Webb 2018).
FEWEST_CLUSTERS = 5
# Directions of the covariates below this share of the largest are copies of others.
COLLINEAR = 1e-8
# Columns have unit size, so that information this ill-conditioned means that one of them separates the binary variable.
SEPARATED = 1e8
# Newton steps; a regression that is not separated needs fewer than ten.
STEPS = 50
# Gauss-Hermite nodes for a logit outcome over a normal mediator: errors below 1e-6 for slopes up to 2 per sd.
NODES = 16
# (draws + 1) times 0.05 / 2 is a whole number, so that a 95% interval is one of order statistics.
DRAWS = 4_999
# Draws evaluated together, to bound memory.
BATCH = 50
# Coefficients of the outcome model before those of the covariates: constant, treatment, mediator, treatment x mediator.
HEAD = 4


@dataclass(frozen=True, eq=False)
class Regression:
    """``coef`` (p,), the ``influence`` (n, p) of each row on it, and the residual ``variance`` (1 if binary)."""

    link: Link
    coef: Floats
    influence: Floats
    variance: float


@dataclass(frozen=True, eq=False)
class Models:
    """The fitted pair. ``z`` (n, r) are the covariates as orthogonal columns of mean 0 and size 1.

    ``mediator`` has coefficients of constant, treatment and z; ``outcome`` of constant, treatment, mediator, treatment
    x mediator (0 where it was not asked for) and z. A linear variable is in standard deviations from its mean:
    ``mediator_values`` (n,) as fitted, and the outcome is ``centre + size`` times what its model says.
    """

    mediator: Regression
    outcome: Regression
    treated: NDArray[np.bool_]
    mediator_values: Floats
    outcome_values: Floats
    z: Floats
    cluster: NDArray[np.intp]
    interaction: bool
    centre: float
    size: float


@dataclass(frozen=True)
class Effects:
    """Average causal mediation (indirect), direct and total effect; by arm where the other path is held, and averaged.

    ``indirect_treated`` is the change that the mediator's shift makes with the treatment on; ``direct_treated`` that of
    the treatment with the mediator as under treatment. total = indirect_treated + direct_control = indirect + direct.
    """

    indirect: Estimate
    direct: Estimate
    total: Estimate
    indirect_control: Estimate
    indirect_treated: Estimate
    direct_control: Estimate
    direct_treated: Estimate


# Each effect as weights of the mean outcomes (treatment, mediator as under): (0, 0), (0, 1), (1, 0), (1, 1).
EFFECTS = {
    "indirect": ("ACME", (-0.5, 0.5, -0.5, 0.5)),
    "direct": ("ADE", (-0.5, -0.5, 0.5, 0.5)),
    "total": ("total effect", (-1.0, 0.0, 0.0, 1.0)),
    "indirect_control": ("ACME(0)", (-1.0, 1.0, 0.0, 0.0)),
    "indirect_treated": ("ACME(1)", (0.0, 0.0, -1.0, 1.0)),
    "direct_control": ("ADE(0)", (-1.0, 0.0, 1.0, 0.0)),
    "direct_treated": ("ADE(1)", (0.0, -1.0, 0.0, 1.0)),
}


def _column(name: str, values: ArrayLike, rows: int, link: Link) -> Floats:
    """One variable (n,), checked against its link."""
    if link not in get_args(Link):
        raise ValueError(f"{name}_link: expected one of {get_args(Link)}, got {link!r}")
    column = np.asarray(values, dtype=np.float64)
    if column.shape != (rows,):
        raise ValueError(f"{name}: expected shape ({rows},), got {column.shape}")
    if not np.isfinite(column).all():
        raise ValueError(f"{name}: {int((~np.isfinite(column)).sum())} entries are NaN or infinite")
    if np.ptp(column) == 0:
        raise ValueError(f"{name}: it is {column[0]:g} in every row; an effect needs it to vary")
    if link != "linear" and not np.isin(column, (0.0, 1.0)).all():
        raise ValueError(f"{name}: a {link} model needs 0 and 1, got {np.unique(column).tolist()[:5]}")
    return column


def _orthogonal(x: ArrayLike, treated: NDArray[np.bool_]) -> Floats:
    """Covariates (n, k) as orthogonal columns (n, r); constant and copied ones count for nothing."""
    columns = np.asarray(x, dtype=np.float64)
    if columns.ndim != 2 or len(columns) != treated.size:
        raise ValueError(f"x: expected shape ({treated.size}, k), got {columns.shape}")
    if not np.isfinite(columns).all():
        raise ValueError(f"x: columns {np.flatnonzero(~np.isfinite(columns).all(axis=0)).tolist()} hold NaN or inf")
    centred = columns - columns.mean(axis=0)
    spread = centred.std(axis=0)
    left, values, _ = np.linalg.svd(centred[:, spread > 0] / spread[spread > 0], full_matrices=False)
    z = left[:, values > COLLINEAR * values.max(initial=0.0)] * sqrt(len(columns))
    dose = treated - treated.mean()
    if ((dose - z @ (z.T @ dose) / len(z)) ** 2).sum() < COLLINEAR * (dose**2).sum():
        raise ValueError("x: the covariates say exactly who is treated; nobody is left to compare")
    return z


def _linear(design: Floats, y: Floats) -> Regression:
    inverse = np.linalg.inv(design.T @ design)
    coef = inverse @ (design.T @ y)
    residual = y - design @ coef
    rows, columns = design.shape
    variance = float(residual @ residual) / rows
    scale = rows * sqrt((rows - 1) / (rows - columns))  # CR1, with the factor of clusters from their covariance
    return Regression("linear", coef, scale * residual[:, None] * (design @ inverse), variance)


def _log_density(index: Floats) -> Floats:
    return -(index**2) / 2 - np.log(2 * pi) / 2


def _score(link: Link, index: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Derivative of each row's log-likelihood in its index (n,), and its information (n,)."""
    from scipy.special import expit, log_ndtr

    if link == "logit":
        mean = expit(index)
        return y - mean, mean * (1 - mean)
    density, above, below = _log_density(index), log_ndtr(index), log_ndtr(-index)
    return np.where(y == 1, np.exp(density - above), -np.exp(density - below)), np.exp(2 * density - above - below)


def _binary(name: str, link: Link, design: Floats, y: Floats) -> Regression:
    """Maximum likelihood by Fisher scoring; the scores are what clusters need."""
    coef = np.zeros(design.shape[1])
    for _ in range(STEPS):
        score, information = _score(link, design @ coef, y)
        total = (design * information[:, None]).T @ design
        if not np.linalg.cond(total) < SEPARATED:
            break
        step = np.linalg.solve(total, design.T @ score)
        coef = coef + step
        if np.abs(step).max() < 1e-10:
            rows, columns = design.shape
            influence = score[:, None] * (design @ np.linalg.inv(total))
            return Regression(link, coef, rows * sqrt((rows - 1) / (rows - columns)) * influence, 1.0)
    raise ValueError(
        f"{name}: the {link} model has no finite fit; treatment, mediator or covariates separate its 0 and 1"
    )


def _regression(name: str, link: Link, design: Floats, y: Floats) -> Regression:
    return _linear(design, y) if link == "linear" else _binary(name, link, design, y)


def fit(
    treatment: ArrayLike,
    mediator: ArrayLike,
    outcome: ArrayLike,
    x: ArrayLike,
    *,
    mediator_link: Link = "linear",
    outcome_link: Link = "linear",
    interaction: bool = True,
    cluster: ArrayLike | None = None,
) -> Models:
    """Fit both models; ``treatment`` (n,) is 0 or 1, ``x`` (n, k) are covariates from before it, k may be 0.

    ``interaction`` lets the mediator matter more in one arm. ``cluster`` (n,) labels rows that are not independent;
    without it each row is its own.

    Raises:
        ValueError: shapes that differ, a NaN or infinite entry, a treatment that is not 0 and 1, a constant mediator
            or outcome, values other than 0 and 1 for a binary link, covariates that determine the treatment, a mediator
            that treatment and covariates determine, fewer rows than coefficients, fewer than 5 clusters in an arm, or
            a binary variable that is separated.
    """
    dose = np.asarray(treatment)
    if dose.ndim != 1 or set(np.unique(dose).tolist()) != {0, 1}:
        raise ValueError(f"treatment: expected both 0 and 1 and nothing else, got {np.unique(dose).tolist()[:5]}")
    treated, rows = dose.astype(bool), dose.size
    m = _column("mediator", mediator, rows, mediator_link)
    y = _column("outcome", outcome, rows, outcome_link)
    z = _orthogonal(x, treated)
    if rows < z.shape[1] + HEAD + 2:
        raise ValueError(f"x: {z.shape[1]} covariates need at least {z.shape[1] + HEAD + 2} rows, got {rows}")
    code = np.arange(rows) if cluster is None else np.unique(np.asarray(cluster), return_inverse=True)[1]
    if code.shape != (rows,):
        raise ValueError(f"cluster: expected shape ({rows},), got {code.shape}")
    fewest = min(np.unique(code[arm]).size for arm in (treated, ~treated))
    if fewest < FEWEST_CLUSTERS:
        raise ValueError(
            f"cluster: at least {FEWEST_CLUSTERS} in each arm are needed for a standard error, got {fewest}"
        )
    if mediator_link == "linear":
        m = (m - m.mean()) / m.std()
    centre, size = (y.mean(), y.std()) if outcome_link == "linear" else (0.0, 1.0)
    y = (y - centre) / size
    base = np.column_stack([np.ones(rows), treated, z])
    kept = [0, 1, 2, 3] if interaction else [0, 1, 2]
    design = np.column_stack([np.column_stack([np.ones(rows), treated, m, treated * m])[:, kept], z])
    if np.linalg.svd(design, compute_uv=False)[-1] ** 2 < COLLINEAR * rows:
        raise ValueError("mediator: treatment and covariates determine it in an arm; its own effect cannot be told")
    of_outcome = _regression("outcome", outcome_link, design, y)
    if of_outcome.variance < COLLINEAR:
        raise ValueError("outcome: treatment, mediator and covariates reproduce it exactly; nothing can be tested")
    if not interaction:
        coef, influence = (np.insert(a, HEAD - 1, 0.0, axis=-1) for a in (of_outcome.coef, of_outcome.influence))
        of_outcome = Regression(outcome_link, coef, influence, of_outcome.variance)
    of_mediator = _regression("mediator", mediator_link, base, m)
    return Models(of_mediator, of_outcome, treated, m, y, z, code, interaction, float(centre), float(size))


def _mean(link: Link, index: Floats) -> Floats:
    from scipy.special import expit, ndtr

    return {"linear": lambda i: i, "probit": ndtr, "logit": expit}[link](index)


def _potential(models: Models, z: Floats, alpha: Floats, variance: Floats, beta: Floats) -> Floats:
    """Mean outcomes (4, d, n) of (treatment, mediator as under) for d coefficient vectors at covariates ``z`` (n, r).

    ``alpha`` (d, p) and ``variance`` (d,) are the mediator's, ``beta`` (d, q) the outcome's. A normal mediator
    integrates in closed form under a linear and a probit outcome, by Gauss-Hermite quadrature under a logit.
    """
    link = models.outcome.link
    of_z, outcome_of_z = alpha[:, 2:] @ z.T, beta[:, HEAD:] @ z.T
    spread = np.sqrt(np.maximum(variance, 0.0))[:, None]
    cells = []
    for t, s in ((0, 0), (0, 1), (1, 0), (1, 1)):
        index = alpha[:, :1] + s * alpha[:, 1:2] + of_z
        rest = beta[:, :1] + t * beta[:, 1:2] + outcome_of_z
        slope = beta[:, 2:3] + t * beta[:, 3:4]
        if models.mediator.link != "linear":
            share = _mean(models.mediator.link, index)
            cells.append((1 - share) * _mean(link, rest) + share * _mean(link, rest + slope))
        elif link == "linear":
            cells.append(rest + slope * index)
        elif link == "probit":
            cells.append(_mean(link, (rest + slope * index) / np.sqrt(1 + (slope * spread) ** 2)))
        else:
            nodes, mass = np.polynomial.hermite_e.hermegauss(NODES)
            at = (_mean(link, rest + slope * (index + spread * node)) for node in nodes)
            cells.append(sum(w * mean for w, mean in zip(mass / mass.sum(), at, strict=True)))
    return np.stack(cells)


def _draws(models: Models, cells: Floats, draws: int, seed: int) -> Floats:
    """Mean outcomes (draws, 4) with coefficients, variance and covariates drawn from their joint distribution.

    Normal draws from the sandwich covariance of all that is estimated, scaled to t with (clusters - 1) degrees of
    freedom.
    """
    mediator, outcome = models.mediator, models.outcome
    rows = models.treated.size
    linear = mediator.link == "linear"
    residual = models.mediator_values - np.column_stack([np.ones(rows), models.treated, models.z]) @ mediator.coef
    of_variance = (residual**2 - mediator.variance)[:, None] * linear
    of_covariates = cells[:, 0].T - cells[:, 0].mean(axis=1)
    influence = np.column_stack([mediator.influence, outcome.influence, of_variance, of_covariates])
    values, vectors = np.linalg.eigh(clustered_covariance(influence, models.cluster))
    rng = np.random.default_rng(seed)
    df = int(models.cluster.max())
    noise = rng.standard_normal((draws, values.size)) * np.sqrt(df / rng.chisquare(df, size=(draws, 1)))
    moved = noise @ (vectors * np.sqrt(np.maximum(values, 0.0))).T
    p, q = mediator.coef.size, outcome.coef.size
    alpha, beta, variance = mediator.coef + moved[:, :p], outcome.coef + moved[:, p : p + q], moved[:, p + q]
    both_linear = linear and outcome.link == "linear"
    z = np.zeros((1, models.z.shape[1])) if both_linear else models.z  # there only their mean, zero, matters
    batches = (slice(i, i + BATCH) for i in range(0, draws, BATCH))
    means = [_potential(models, z, alpha[b], mediator.variance + variance[b], beta[b]).mean(axis=2).T for b in batches]
    return np.concatenate(means) + moved[:, p + q + 1 :]


def _between(draws: Floats, level: float) -> tuple[float, float]:
    """The two order statistics beyond which a draw has a p-value of at most 1 - level."""
    ordered = np.sort(draws)
    p_values = 2 * np.arange(1, draws.size + 1) / (draws.size + 1)
    beyond = int(np.searchsorted(p_values, 1 - level, side="right"))
    return float(ordered[beyond - 1]), float(ordered[-beyond])


def _estimate(
    models: Models, outcome: str, estimand: str, level: float, value: float, drawn: Floats, control: float, base: Floats
) -> Estimate:
    """One effect with its draws (draws,), beside the mean outcome of the controls with its own."""
    low, high = _between(drawn, level)
    smaller = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    relative_low, relative_high = _between(drawn / base, level) if (base > 0).all() or (base < 0).all() else (-inf, inf)
    return Estimate(
        outcome=outcome,
        estimand=estimand,
        method=f"mediation, {models.mediator.link} mediator, {models.outcome.link} outcome",
        value=value,
        std_error=float(drawn.std()),
        low=low,
        high=high,
        p_value=min(1.0, 2 * (smaller + 1) / (drawn.size + 1)),
        level=level,
        n_treated=int(models.treated.sum()),
        n_control=int((~models.treated).sum()),
        control_mean=control,
        relative=value / control if control else None,
        relative_low=relative_low,
        relative_high=relative_high,
    )


def effects(models: Models, *, outcome: str, seed: int, level: float = 0.95, draws: int = DRAWS) -> Effects:
    """Indirect, direct and total effects on the scale of the outcome (a probability for a binary one).

    Values are exact functions of the fits. Interval and p-value come from one set of ``draws`` of all estimated
    parameters from their joint distribution (sandwich, by cluster): a product of two normals is not normal, least of
    all near zero, where the interval is conservative. It lies between two order statistics, and p is
    2 (1 + draws beyond 0 on the rarer side) / (draws + 1), so that 0 is inside exactly when p > 1 - level.
    ``n_treated`` and ``n_control`` count rows.

    Sources: Imai, Keele & Tingley (2010), A general approach to causal mediation analysis, Psych. Methods 15(4),
    algorithm 1; MacKinnon, Lockwood & Williams (2004), Confidence limits for the indirect effect, MBR 39(1).

    Raises:
        ValueError: a level outside (0, 1), or too few draws for it.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level: must lie strictly between 0 and 1, got {level}")
    if (1 - level) / 2 * (draws + 1) < 10:
        raise ValueError(f"draws: an interval at {level} needs at least {20 / (1 - level):.0f} draws, got {draws}")
    alpha, beta = models.mediator.coef[None, :], models.outcome.coef[None, :]
    cells = _potential(models, models.z, alpha, np.array([models.mediator.variance]), beta)
    drawn = _draws(models, cells, draws, seed)
    means = cells.mean(axis=(1, 2))
    control, base = models.centre + models.size * float(means[0]), models.centre + models.size * drawn[:, 0]
    return Effects(
        **{
            name: _estimate(
                models,
                outcome,
                estimand,
                level,
                models.size * float(means @ np.array(weights)),
                models.size * (drawn @ np.array(weights)),
                control,
                base,
            )
            for name, (estimand, weights) in EFFECTS.items()
        }
    )


def rho_without_indirect(models: Models) -> tuple[float, float]:
    """Correlation of unseen causes of mediator and outcome at which ACME(0), ACME(1) would be zero.

    The errors of both models are jointly normal with correlation rho. Given the mediator the outcome's error has mean
    c l, c = rho sd(outcome error), with l the mediator's standardised residual (in a probit its inverse Mills ratio),
    so that the c which explains the whole coefficient of the mediator is that coefficient over the one of l. In the
    linear pair without interaction rho is the correlation of both residuals when the mediator is left out.

    Sources: Imai, Keele & Yamamoto (2010), Identification, inference and sensitivity analysis for causal mediation
    effects, Stat. Science 25(1), theorem 4; Imai, Keele & Tingley (2010), appendices F-H.

    Raises:
        ValueError: a logit, or two binary variables: no joint normal error is defined there.
    """
    mediator, outcome = models.mediator, models.outcome
    slopes = outcome.coef[2] + np.array([0.0, outcome.coef[3]])
    if mediator.link == "linear" and outcome.link in ("linear", "probit"):
        c = slopes * sqrt(mediator.variance)
        ratio = c / np.sqrt(outcome.variance + c**2)
    elif mediator.link == "probit" and outcome.link == "linear":
        rows = models.treated.size
        base = np.column_stack([np.ones(rows), models.treated, models.z])
        index, m = base @ mediator.coef, models.mediator_values
        mills = _score("probit", index, m)[0]
        design = np.column_stack([base, m, models.treated * m] if models.interaction else [base, m])
        both = np.column_stack([models.outcome_values, mills])
        coef = np.linalg.lstsq(design, both)[0]
        at = base.shape[1]
        rest = both - design @ coef
        of_mills = coef[at, 1] + np.array([0.0, coef[at + 1, 1] if models.interaction else 0.0])
        c = slopes / of_mills
        left = ((rest[:, :1] - c * rest[:, 1:]) ** 2).mean(axis=0)
        ratio = c / np.sqrt(left + c**2 * (mills * (mills + index)).mean())
    else:
        raise ValueError(
            "rho: defined for linear or probit models of which at most one is binary, got "
            f"{mediator.link} mediator and {outcome.link} outcome"
        )
    return float(ratio[0]), float(ratio[1])


def _latent_noise(model: Regression) -> float:
    return {"linear": model.variance, "probit": 1.0, "logit": pi**2 / 3}[model.link]


def rho_of_covariates(models: Models) -> float:
    """The correlation of unseen causes that leaving out the covariates would have made: a yardstick for another one.

    Zero without covariates. In binary models errors are those of the latent variable.
    """
    of_mediator, of_outcome = models.mediator.coef[2:], models.outcome.coef[HEAD:]
    # The covariates are orthogonal with size 1, so that sums of products of coefficients are covariances.
    mediator = of_mediator @ of_mediator + _latent_noise(models.mediator)
    return float(
        of_mediator @ of_outcome / np.sqrt(mediator * (of_outcome @ of_outcome + _latent_noise(models.outcome)))
    )
