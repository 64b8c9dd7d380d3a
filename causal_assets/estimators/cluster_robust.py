"""Least squares when clusters are few: CR2 errors with Bell and McCaffrey's degrees of freedom."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from causal_assets.estimators.inference import Floats, Refusal, estimate
from causal_assets.estimators.moments import COLLINEAR
from causal_assets.types import Estimate

# With fewer clusters in an arm no error from a model holds its level (one treated of twenty: CR1 covers 38%).
FEWEST_CLUSTERS = 5
# Clusters times columns squared: CR2's memory is kept under this many numbers (400 MB).
LARGEST_PRODUCTS = 50_000_000
# A leverage this close to 1 is 1: the cluster alone determines that direction and leaves no residual in it.
LEVERAGE = 1e-8


def require_clusters(treated: int, control: int, what: str = "clusters") -> None:
    """Refuse an interval from a model where clusters, or units that stand alone, are too few for any.

    Raises:
        Refusal: fewer than ``FEWEST_CLUSTERS`` treated or control clusters.
    """
    if min(treated, control) < FEWEST_CLUSTERS:
        raise Refusal(
            f"{what.removesuffix('s')}: {treated} treated and {control} control {what}; an interval from a model needs "
            f"at least {FEWEST_CLUSTERS} of each; with fewer, use randomisation inference or synthetic control"
        )


@dataclass(frozen=True, eq=False)
class ClusterFit:
    """Least squares on k columns, errors correlated within ``clusters``: ``coef`` (k,) and its CR2 ``cov`` (k, k).

    ``influence`` (G, k) is what each cluster adds to the coefficients' error, adjusted for its leverage; its
    cross-product is ``cov``, and estimates of the same clusters may be added up by it. Of kinds of clusters (see
    ``kinds_fit``) only the cross-product has a meaning; ``size`` (G,) is then how many clusters are of a kind, else 1.
    """

    coef: Floats
    influence: Floats
    clusters: int
    size: Floats
    whiten: Floats  # (k, r) F with (X F)'(X F) = I
    leverage: Floats  # (G, r) eigenvalues of each cluster's share B_g of that identity
    axes: Floats  # (G, r, r) their eigenvectors

    @property
    def cov(self) -> Floats:
        """CR2 covariance (k, k) of the coefficients."""
        return self.influence.T @ self.influence

    def df(self, contrast: ArrayLike) -> float:
        """Bell and McCaffrey's degrees of freedom of ``contrast`` (k,) under a working model of equal variances.

        Raises:
            ValueError: the contrast is not estimable, or one cluster alone determines part of it.
        """
        c = np.asarray(contrast, dtype=np.float64)
        inverse = self.whiten @ self.whiten.T
        gram = np.linalg.pinv(inverse, hermitian=True)
        if not np.allclose(gram @ (inverse @ c), c, atol=1e-6 * np.abs(c).max()):
            raise ValueError(f"contrast: {c.tolist()} is not estimable, its columns are constant or collinear")
        along = np.einsum("grs,r->gs", self.axes, self.whiten.T @ c)  # contrast in each cluster's axes
        alone = 1 - self.leverage < LEVERAGE
        if (np.abs(along[alone]) > 1e-6 * np.linalg.norm(self.whiten.T @ c)).any():
            raise ValueError("contrast: one cluster alone determines it, so that it leaves no residual to judge it by")
        adjusted = along * _inverse_root(self.leverage)
        weight = np.einsum("grs,gs->gr", self.axes, self.leverage * adjusted)
        own = (adjusted**2 * self.leverage).sum(axis=1)
        # The scores' covariance is diag(own) - weight weight'; trace and squared norm without forming it.
        squared, m = (weight**2).sum(axis=1), self.size
        trace = m @ (own - squared)
        norm = m @ (own**2 - 2 * own * squared) + ((weight.T @ (weight * m[:, None])) ** 2).sum()
        return float(trace**2 / norm)

    def estimate(
        self,
        contrast: ArrayLike,
        control: ArrayLike,
        *,
        outcome: str,
        estimand: str,
        method: str,
        n_treated: int,
        n_control: int,
        level: float = 0.95,
        control_offset: float = 0.0,
    ) -> Estimate:
        """The Estimate of ``contrast`` (k,) beside the control mean: the contrast ``control`` (k,) plus its offset.

        Raises:
            ValueError: as ``df`` and ``inference.estimate``.
        """
        both = np.stack([np.asarray(control, dtype=np.float64), np.asarray(contrast, dtype=np.float64)])
        return estimate(
            outcome=outcome,
            estimand=estimand,
            method=f"{method}, CR2",
            value=float(both[1] @ self.coef),
            control_mean=float(both[0] @ self.coef) + control_offset,
            cov=both @ self.cov @ both.T,
            df=self.df(contrast),
            level=level,
            n_treated=n_treated,
            n_control=n_control,
        )


def cluster_products(x: ArrayLike, y: ArrayLike, cluster: ArrayLike) -> tuple[Floats, Floats]:
    """X_g'X_g (G, k, k) and X_g'y_g (G, k) of each cluster, in the order of their labels.

    ``x`` (n, k), ``y`` (n,), ``cluster`` (n,). Weighted least squares: scale the rows of both by root weights, which
    are then inverse variances in the working model of CR2.

    Raises:
        ValueError: shapes that do not fit, or a NaN or infinite entry.
    """
    columns, response, labels = np.asarray(x, np.float64), np.asarray(y, np.float64), np.asarray(cluster)
    if columns.ndim != 2 or not len(columns) == response.size == labels.size:
        raise ValueError(f"x, y, cluster: lengths must agree, got {columns.shape}, {response.shape}, {labels.shape}")
    if not np.isfinite(columns).all() or not np.isfinite(response).all():
        raise ValueError("x, y: entries may not be NaN or infinite")
    _, code = np.unique(labels, return_inverse=True)
    order = np.argsort(code, kind="stable")
    starts = np.flatnonzero(np.diff(code[order], prepend=-1))
    columns, response = columns[order], response[order]
    gram = np.stack(
        [np.add.reduceat(columns * columns[:, [j]], starts, axis=0) for j in range(columns.shape[1])], axis=1
    )
    return gram, np.add.reduceat(columns * response[:, None], starts, axis=0)


def cluster_fit(gram: Floats, moment: Floats) -> ClusterFit:
    """Least squares from each cluster's cross-products ``gram`` (G, k, k) and ``moment`` (G, k).

    With Z = X F and Z'Z = I, cluster g's adjusted score is (I - B_g)^(-1/2) (Z_g'y_g - B_g b), B_g = Z_g'Z_g: rows are
    never needed. One pass, memory G k^2. Centre y before the products: a mean far above the spread costs digits.
    Effects of the cluster itself may be swept out before (their theorem 2).

    Source: Pustejovsky & Tipton (2018), Small-sample methods for cluster-robust variance estimation, JBES 36(4);
    Bell & McCaffrey (2002), Bias reduction in standard errors for linear regression, Survey Methodology 28(2).

    Raises:
        ValueError: fewer than two clusters, shapes that do not fit, or columns that are all zero.
    """
    return kinds_fit(gram, moment, np.ones(len(gram)))


def kinds_fit(gram: Floats, moment: Floats, size: Floats, spread: Floats | None = None) -> ClusterFit:
    """``cluster_fit`` where ``size`` (G,) clusters share each ``gram`` (G, k, k); ``moment`` (G, k) is their mean.

    ``spread`` (G, k, k) sums over a kind's clusters the products of their moments' deviations from that mean, so that
    the errors are those of the clusters one by one: memory kinds k^2, however many clusters there are.

    Raises:
        ValueError: as ``cluster_fit``.
    """
    if gram.ndim != 3 or gram.shape[:2] != moment.shape or gram.shape[1] != gram.shape[2]:
        raise ValueError(f"gram, moment: expected (G, k, k) and (G, k), got {gram.shape} and {moment.shape}")
    clusters = int(size.sum())
    if clusters < 2:
        raise ValueError(f"cluster: an error needs at least 2 clusters, got {clusters}")
    total = np.tensordot(size, gram, axes=1)
    scale = np.sqrt(np.diag(total))
    scale = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(total / np.outer(scale, scale))
    kept = values > COLLINEAR * max(values.max(initial=0.0), 0.0)
    if not kept.any():
        raise ValueError("x: every column is zero")
    whiten = vectors[:, kept] / np.sqrt(values[kept]) / scale[:, None]
    share = whiten.T @ gram @ whiten
    leverage, axes = np.linalg.eigh(share)
    leverage = np.clip(leverage, 0.0, 1.0)
    score = moment @ whiten
    coef = size @ score
    residual = score - share @ coef
    adjusted = np.einsum("grs,gs->gr", axes, np.einsum("grs,gr->gs", axes, residual) * _inverse_root(leverage))
    adjusted = adjusted * np.sqrt(size)[:, None]
    if spread is not None:
        values, vectors = np.linalg.eigh(spread)
        roots = (np.sqrt(values.clip(min=0.0))[:, None, :] * vectors).transpose(0, 2, 1) @ whiten  # (G, k, r)
        within = (roots @ axes * _inverse_root(leverage)[:, None, :]) @ axes.transpose(0, 2, 1)
        adjusted = np.concatenate([adjusted, within.reshape(-1, within.shape[2])])
    return ClusterFit(whiten @ coef, adjusted @ whiten.T, clusters, size, whiten, leverage, axes)


@dataclass(frozen=True, eq=False)
class CellMeans:
    """Means of C cells of rows with their CR2 ``fit``; ``rows`` (G, C) counts those of each cluster in each cell."""

    mean: Floats
    rows: Floats
    fit: ClusterFit


def cell_means(y: ArrayLike, cell: NDArray[np.intp], cluster: ArrayLike, cells: int) -> CellMeans:
    """Means of ``y`` (n,) in each ``cell`` (n,), numbered from 0; clusters may reach over cells.

    A function of counts and sums by cluster and cell. Memory clusters x cells^2.

    Raises:
        ValueError: lengths that differ, a NaN or infinite outcome, an empty cell, fewer than two clusters.
        Refusal: more clusters and cells than memory holds.
    """
    response, (labels, code) = np.asarray(y, dtype=np.float64), np.unique(np.asarray(cluster), return_inverse=True)
    if not response.shape == cell.shape == code.shape:
        raise ValueError(f"y, cluster: shapes must agree, got {response.shape} and {code.shape}")
    if not np.isfinite(response).all():
        raise ValueError(f"y: {int((~np.isfinite(response)).sum())} entries are NaN or infinite")
    groups = labels.size
    if groups * cells**2 > LARGEST_PRODUCTS:
        raise Refusal(f"cluster: CR2 of {cells} cells and {groups} clusters would fill the memory")
    place, pilot = code * cells + cell, response.mean()  # centring keeps the digits of y + 1e9
    rows = np.bincount(place, minlength=groups * cells).reshape(groups, cells).astype(np.float64)
    if (rows.sum(axis=0) == 0).any():
        raise ValueError(f"cell: {np.flatnonzero(rows.sum(axis=0) == 0).tolist()} hold no row")
    total = np.bincount(place, weights=response - pilot, minlength=groups * cells).astype(np.float64)
    fit = cluster_fit(rows[:, :, None] * np.eye(cells), total.reshape(groups, cells))
    return CellMeans(pilot + fit.coef, rows, fit)


def _inverse_root(leverage: Floats) -> Floats:
    """(1 - leverage)^(-1/2), zero where a cluster alone determines the direction."""
    left = 1 - leverage
    return np.where(left > LEVERAGE, 1 / np.sqrt(np.maximum(left, LEVERAGE)), 0.0)
