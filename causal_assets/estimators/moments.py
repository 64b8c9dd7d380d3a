"""Count, means and covariances: all that a linear estimate needs to know about an arm."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.estimators.inference import Floats

# Directions with less than this share of the largest eigenvalue of a correlation matrix are copies of other columns.
COLLINEAR = 1e-10


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of k columns over ``n`` units: ``mean`` (k,) and the sample covariance ``cov`` (k, k), ddof 1.

    By convention column 0 is an outcome and the others are covariates. With one unit the covariance is zero.

    Raises:
        ValueError: no unit, shapes that do not fit, or a number that is NaN or infinite.
    """

    n: int
    mean: Floats
    cov: Floats

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n: moments need at least 1 unit, got {self.n}")
        if self.mean.ndim != 1 or self.cov.shape != (self.mean.size, self.mean.size):
            raise ValueError(f"cov: expected shape (k, k) for mean (k,), got {self.cov.shape} for {self.mean.shape}")
        for name, numbers in (("mean", self.mean), ("cov", self.cov)):
            if not np.isfinite(numbers).all():
                raise ValueError(f"{name}: moments must be finite, got {numbers.tolist()}")

    @classmethod
    def of(cls, array: ArrayLike) -> Self:
        """Moments of an (n, k) array of rows, or of an (n,) array as one column.

        Raises:
            ValueError: no row, or a NaN or infinite entry.
        """
        rows = np.asarray(array, dtype=np.float64)
        rows = rows[:, None] if rows.ndim == 1 else rows
        if len(rows) == 0:
            raise ValueError(f"array: moments need at least 1 row, got shape {rows.shape}")
        if not np.isfinite(rows).all():
            raise ValueError(
                f"array: columns {np.flatnonzero(~np.isfinite(rows).all(axis=0)).tolist()} hold NaN or infinite entries"
            )
        pilot = rows[0]  # centring before summing keeps the digits of y + 1e9
        mean = (rows - pilot).mean(axis=0)
        centred = rows - pilot - mean
        return cls(len(rows), pilot + mean, centred.T @ centred / max(len(rows) - 1, 1))

    def merge(self, other: Self) -> Self:
        """Moments of both sets of units together, exact for any split.

        Source: Chan, Golub & LeVeque (1983), Algorithms for computing the sample variance, Am. Stat. 37(3).

        Raises:
            ValueError: different numbers of columns.
        """
        if self.mean.size != other.mean.size:
            raise ValueError(f"other: expected {self.mean.size} columns, got {other.mean.size}")
        n = self.n + other.n
        gap = other.mean - self.mean
        products = (self.n - 1) * self.cov + (other.n - 1) * other.cov + np.outer(gap, gap) * (self.n * other.n / n)
        return type(self)(n, self.mean + gap * (other.n / n), products / (n - 1))

    def select(self, columns: Sequence[int]) -> Self:
        """Moments of the given columns, in the given order."""
        index = np.asarray(columns, dtype=np.intp)
        return type(self)(self.n, self.mean[index], self.cov[np.ix_(index, index)])


def pseudo_inverse(cov: Floats) -> tuple[Floats, int]:
    """Inverse and rank of a covariance (k, k) in which constant and collinear columns count for nothing."""
    scale = np.sqrt(np.diag(cov))
    scale = np.where(scale > 0, scale, 1.0)
    values, vectors = np.linalg.eigh(cov / np.outer(scale, scale))
    kept = values > COLLINEAR * values.max(initial=0.0)
    inverse = vectors[:, kept] / values[kept] @ vectors[:, kept].T
    return inverse / np.outer(scale, scale), int(kept.sum())
