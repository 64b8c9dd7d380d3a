"""A few planned looks that share one error rate: alpha spending and repeated confidence intervals."""

from collections.abc import Sequence
from math import ceil, e, inf, log, sqrt
from typing import Literal, get_args

import numpy as np

from causal_assets.estimators.inference import Floats, degrees_of_freedom
from causal_assets.estimators.sequential import at_critical, intersection, z_value
from causal_assets.types import Estimate

Spending = Literal["obrien_fleming", "pocock"]

# No sum of independent increments strays so many standard deviations: error below 1e-22.
FAR = 10.0
# Gauss-Legendre nodes on each piece of two standard deviations of an increment.
NODES = 16
# Stands for an infinite boundary where a root is sought.
NEVER = 1e9
# Repeated p-values are not told apart below this.
SMALLEST_P = 1e-12


def spent(fraction: float, *, alpha: float, spending: Spending) -> float:
    """Two-sided error that may have been spent once ``fraction`` of the information is in; half on either side.

    Source: Lan & DeMets (1983), Discrete sequential boundaries for clinical trials, Biometrika 70(3).
    """
    from scipy.special import ndtr, ndtri

    if spending == "pocock":
        return alpha * log(1 + (e - 1) * fraction)
    return float(4 * ndtr(ndtri(alpha / 4) / sqrt(fraction)))


def boundaries(fractions: Sequence[float], *, alpha: float, spending: Spending) -> Floats:
    """Critical values (k,) for |z| at looks with ``fractions`` (k,) of the planned information.

    Independent increments; P(|z| crosses at look j or before | no effect) is what may be spent there. The density of
    those that go on is carried from look to look by Gauss-Legendre quadrature. Infinite where nothing may be spent yet.

    Sources: Armitage, McPherson & Rowe (1969), JRSS A 132(2); Jennison & Turnbull (2000), ch. 7, 19.

    Raises:
        ValueError: fractions that do not increase within (0, 1], an alpha outside (0, 1), or an unknown spending.
    """
    from scipy.optimize import brentq

    times = [float(t) for t in fractions]
    if not times or not all(a < b for a, b in zip([0.0, *times], [*times, inf], strict=True)) or times[-1] > 1:
        raise ValueError(f"fractions: must increase within (0, 1], got {times}")
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha: must lie strictly between 0 and 1, got {alpha}")
    if spending not in get_args(Spending):
        raise ValueError(f"spending: expected one of {get_args(Spending)}, got {spending!r}")
    nodes, mass = np.zeros(1), np.ones(1)  # score of those that went on, as a discrete distribution
    before, used, found = 0.0, 0.0, []
    for time in times:
        root, step, budget = sqrt(time), sqrt(time - before), spent(time, alpha=alpha, spending=spending)
        state = (step, nodes, mass, budget - used)
        if _overspent(FAR * root, *state) > 0:
            end = inf
        else:
            used = budget
            end = (
                float(brentq(_overspent, 0.0, FAR * root, args=state, xtol=1e-11))
                if _overspent(0.0, *state) > 0
                else 0.0
            )
        found.append(end / root)
        if time < times[-1]:
            inside, weights = _quadrature(min(end, FAR * root), step)
            kernel = np.exp(-0.5 * ((inside[:, None] - nodes) / step) ** 2) / (step * sqrt(2 * np.pi))
            nodes, mass, before = inside, weights * (kernel @ mass), time
    return np.array(found)


def _overspent(end: float, step: float, nodes: Floats, mass: Floats, budget: float) -> float:
    """P(the score is beyond +-``end`` after one more increment of SD ``step``) minus ``budget``."""
    from scipy.special import ndtr

    return float(mass @ (ndtr((nodes - end) / step) + ndtr((-nodes - end) / step))) - budget


def _quadrature(end: float, step: float) -> tuple[Floats, Floats]:
    """Nodes and weights on [-end, end], in pieces no wider than two steps."""
    points, weights = np.polynomial.legendre.leggauss(NODES)
    pieces = max(ceil(end / step), 1)
    half = end / pieces
    centres = (2 * np.arange(pieces) + 1 - pieces) * half
    return (centres[:, None] + half * points).ravel(), np.tile(half * weights, pieces)


def at_look(look: Estimate, fractions: Sequence[float], *, spending: Spending) -> Estimate:
    """``look``, an estimate with a standard error from all data so far, as the last of the looks at ``fractions``.

    The repeated confidence interval is value +- (boundary of this look) standard errors, so that all looks' intervals
    hold the effect together with probability ``level``; the p-value is the smallest alpha whose boundary at this look
    is crossed, down to 1e-12. Fractions are of the planned information (for means: of the planned units, which are
    clusters, each one whole, where the look counts clusters), this look's last; all alpha is spent only at 1.

    A boundary is crossed where the t test behind the look is as improbable as the normal boundary: with few units, or
    clusters, the normal one alone would reject far too often (two looks at 5 and 10 equal clusters an arm: 7% to 9%,
    so 5%; at clusters of very unequal size 10% to 13%, so 5% to 7%).

    Sources: Jennison & Turnbull (1989), Interim analyses: the repeated confidence interval approach, JRSS B 51(3);
    Pocock (1977), Biometrika 64(2), on nominal significance levels where the variance is unknown.

    Raises:
        ValueError: as ``boundaries``, or a look that is not value +- c SE.
    """
    from scipy.special import ndtr, ndtri, stdtr, stdtrit

    z, df = abs(z_value(look)), degrees_of_freedom(look)
    boundary = float(boundaries(fractions, alpha=1 - look.level, spending=spending)[-1])
    critical = abs(float(stdtrit(df, ndtr(-boundary))))
    p = _repeated_p_value(-float(ndtri(stdtr(df, -z))), fractions, spending)
    names = {"obrien_fleming": "O'Brien-Fleming", "pocock": "Pocock"}
    rule = f"group sequential, {names[spending]} spending, look {len(fractions)} at {fractions[-1]:.3g} of information"
    return at_critical(look, critical, p, rule)


def running(looks: Sequence[Estimate], fractions: Sequence[float], *, spending: Spending) -> Estimate:
    """What all ``looks`` so far, oldest first, say together; see ``sequential.intersection``.

    Raises:
        ValueError: as ``at_look`` and ``intersection``, or a look without its fraction.
    """
    if len(looks) != len(fractions):
        raise ValueError(f"fractions: needs one for each of {len(looks)} looks, got {len(fractions)}")
    return intersection([at_look(look, fractions[: k + 1], spending=spending) for k, look in enumerate(looks)])


def _repeated_p_value(z: float, fractions: Sequence[float], spending: Spending) -> float:
    """Smallest alpha at which the last boundary is at most ``z``; boundaries fall as alpha grows."""
    from scipy.optimize import brentq

    def beyond(log_alpha: float) -> float:
        critical = float(boundaries(fractions, alpha=float(np.exp(log_alpha)), spending=spending)[-1])
        return min(critical, NEVER) - z

    least, most = log(SMALLEST_P), log(1 - SMALLEST_P)
    if beyond(most) > 0:
        return 1.0
    if beyond(least) <= 0:
        return SMALLEST_P
    return float(np.exp(brentq(beyond, least, most, xtol=1e-12, rtol=1e-12)))
