"""Event study of one adoption date: the effect by period, each against the period before adoption."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.estimators.cluster_robust import LARGEST_PRODUCTS, cluster_fit, require_clusters
from causal_assets.estimators.inference import Floats, Refusal
from causal_assets.estimators.moments import Moments, pseudo_inverse
from causal_assets.estimators.two_way import FEW_CLUSTERS, cr1_factor
from causal_assets.types import Estimate


@dataclass(frozen=True, eq=False)
class EventStudy:
    """Effects by period: ``relative`` (K,) periods since adoption without the reference -1, which is 0 by definition.

    ``coef`` (K,) and its full ``cov`` (K, K), or only its diagonal where ``joint`` is False; ``df`` of each t test.
    """

    relative: tuple[int, ...]
    coef: Floats
    cov: Floats
    df: float
    n_treated: int
    n_control: int
    joint: bool = True
    reference: int = field(default=-1)

    def estimates(self, *, outcome: str, level: float = 0.95) -> list[Estimate]:
        """One Estimate per period, each interval at ``level`` on its own (not simultaneous).

        Raises:
            ValueError: a level outside (0, 1), or fewer than five treated or control units.
        """
        from scipy.stats import t

        if not 0.0 < level < 1.0:
            raise ValueError(f"{outcome}: level must lie strictly between 0 and 1, got {level}")
        require_clusters(self.n_treated, self.n_control)
        errors, critical = np.sqrt(np.diag(self.cov)), t.ppf((1 + level) / 2, self.df)
        if not (errors > 0).all():
            raise Refusal(f"{outcome}: an effect needs a positive variance; is the outcome constant?")
        return [
            Estimate(
                outcome=outcome,
                estimand=f"ATT, period {when:+d}",
                method="event study",
                value=float(value),
                std_error=float(error),
                low=float(value - critical * error),
                high=float(value + critical * error),
                p_value=float(2 * t.sf(abs(value) / error, self.df)),
                level=level,
                n_treated=self.n_treated,
                n_control=self.n_control,
                control_mean=None,
            )
            for when, value, error in zip(self.relative, self.coef, errors, strict=True)
        ]

    def average(self, *, outcome: str, level: float = 0.95) -> Estimate:
        """The mean of the effects after adoption.

        Raises:
            ValueError: as ``estimates``; no period after adoption, or covariances that were not computed.
        """
        after = [k for k, when in enumerate(self.relative) if when > self.reference]
        if not after or not self.joint:
            raise Refusal("relative: an average needs a period after adoption and the full covariance")
        weight = np.full(len(after), 1 / len(after))
        mean = weight @ self.coef[after]
        variance = weight @ self.cov[np.ix_(after, after)] @ weight
        one = replace(self, relative=(0,), coef=np.array([mean]), cov=np.array([[variance]]))
        (found,) = one.estimates(outcome=outcome, level=level)
        return replace(found, estimand="ATT, average after adoption")

    def pre_trend(self) -> tuple[float, int, float]:
        """Wald statistic that every effect before adoption is zero, its degrees of freedom and p-value.

        Hotelling's: a chi-squared takes a covariance estimated from a few dozen units as known and rejects too often.

        Passing it proves nothing, and it may have no power: see ``diagnostics.parallel_trends``.

        Raises:
            ValueError: no period before the reference, or covariances that were not computed.
        """
        from scipy.stats import f

        before = [k for k, when in enumerate(self.relative) if when < self.reference]
        if not before or not self.joint:
            raise Refusal("relative: a pre-trend test needs 2 periods before adoption and the full covariance")
        inverse, rank = pseudo_inverse(self.cov[np.ix_(before, before)])
        wald = float(self.coef[before] @ inverse @ self.coef[before])
        rest = self.df - rank + 1
        if rest <= 0:
            raise Refusal(f"relative: a joint test of {rank} periods before adoption needs more units or clusters")
        return wald, rank, float(f.sf(wald * rest / (rank * self.df), rank, rest))


def event_study(control: Moments, treated: Moments, relative: Sequence[int], *, joint: bool = True) -> EventStudy:
    """Treated minus control mean of each column, a period's outcome minus the unit's own in the reference period.

    Columns are in the order of ``relative`` (K,), without the reference. On a balanced panel with one adoption date
    this is the regression on unit and period effects and K dummies exactly, and its CR1 error by unit; where an arm
    has fewer than 50 units, errors are CR2 (each arm's own variance over its size) with Bell and McCaffrey's degrees of
    freedom, both in closed form. ``joint=False`` says that only the diagonals of the covariances are given.

    Raises:
        ValueError: one arm without two units, or columns that do not fit.
    """
    n1, n0, columns = treated.n, control.n, len(relative)
    if min(n1, n0) < 2:
        raise Refusal(f"d: an event study needs at least 2 treated and 2 control units, got {n1} and {n0}")
    if not treated.mean.size == control.mean.size == columns:
        raise ValueError(f"relative: expected {treated.mean.size} periods, got {columns}")
    if min(n1, n0) < FEW_CLUSTERS:
        cov = treated.cov / n1 + control.cov / n0
        df = (1 / n1 + 1 / n0) ** 2 / (1 / (n1**2 * (n1 - 1)) + 1 / (n0**2 * (n0 - 1)))
    else:
        units = n1 + n0
        factor = cr1_factor(units * (columns + 1), units, 2 * columns + 1)
        cov = factor * (treated.cov * ((n1 - 1) / n1**2) + control.cov * ((n0 - 1) / n0**2))
        df = units - 1.0
    return EventStudy(tuple(relative), treated.mean - control.mean, cov, df, n1, n0, joint)


def event_study_clusters(units: Floats, totals: Floats, relative: Sequence[int]) -> EventStudy:
    """As ``event_study`` with errors by cluster, which may hold units of both arms; counts are clusters.

    ``units`` (G, 2) counts the control and the treated units of each cluster, ``totals`` (G, 2, K) sums their columns.
    CR1 and t(G - 1); where an arm has fewer than 50 clusters, CR2 of the columns' regressions on the arm, with Bell and
    McCaffrey's degrees of freedom. Memory G x K squared.

    Raises:
        Refusal: fewer than five clusters of an arm; CR2 where clusters times (2 K) squared are too many for memory.
        ValueError: columns that do not fit.
    """
    groups, columns = len(units), len(relative)
    if units.shape != (groups, 2) or totals.shape != (groups, 2, columns):
        raise ValueError(f"units, totals: expected (G, 2) and (G, 2, {columns}), got {units.shape} and {totals.shape}")
    n_control, n_treated = (int((units[:, arm] > 0).sum()) for arm in (0, 1))
    require_clusters(n_treated, n_control)
    n = units.sum(axis=0)
    means = totals.sum(axis=0) / n[:, None]
    coef = means[1] - means[0]
    if min(n_control, n_treated) >= FEW_CLUSTERS:
        residual = (totals - units[:, :, None] * means) / n[:, None]
        scores = residual[:, 1] - residual[:, 0]
        factor = cr1_factor(int(n.sum()) * (columns + 1), groups, 2 * columns + 1)
        return EventStudy(tuple(relative), coef, factor * scores.T @ scores, groups - 1.0, n_treated, n_control)
    if groups * (2 * columns) ** 2 > LARGEST_PRODUCTS:
        raise Refusal(f"cluster: CR2 of {columns} periods and {groups} clusters would fill the memory")
    design = np.stack([[units.sum(axis=1), units[:, 1]], [units[:, 1], units[:, 1]]]).transpose(2, 0, 1)
    moment = np.stack([(totals - units[:, :, None] * means[0]).sum(axis=1), totals[:, 1] - units[:, [1]] * means[0]])
    fit = cluster_fit(np.kron(np.eye(columns), design), moment.transpose(1, 2, 0).reshape(groups, -1))
    arm = np.arange(columns) * 2 + 1
    df = fit.df(np.eye(2 * columns)[1])
    return EventStudy(tuple(relative), coef, fit.cov[np.ix_(arm, arm)], df, n_treated, n_control)


def one_adoption(share: ArrayLike) -> int:
    """Index of the period in which all treated units adopt, from the ``share`` (T,) of them treated by period.

    Raises:
        ValueError: nobody is treated, some adopt at another date or stop, or adoption is in the first period.
    """
    shares = np.asarray(share, np.float64)
    if shares.size == 0 or not np.isfinite(shares).all() or not shares.any():
        raise Refusal("d: nobody is treated")
    adoption = int(np.argmax(shares > 0))
    if adoption == 0:
        raise Refusal("d: treated units are treated from the first period on, there is no pre-period")
    if (shares[adoption:] != 1).any():
        raise Refusal("d: treated units do not all adopt in one period and stay treated; use staggered adoption")
    return adoption
