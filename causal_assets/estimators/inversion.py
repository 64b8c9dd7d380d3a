"""From a p-value for every hypothesised effect to the set of effects that are not rejected."""

from collections.abc import Callable

import numpy as np

from causal_assets.estimators.inference import Floats

# Numbers closer than this share are ties; a tie of statistics counts against rejection.
TIE = 1e-12

Pieces = list[tuple[float, float]]


def inside(lows: Floats, highs: Floats) -> Floats:
    """A point inside each interval; where it is unbounded, as far beyond all finite ends as they are from zero."""
    ends = np.concatenate([lows[np.isfinite(lows)], highs[np.isfinite(highs)]])
    far = 2.0 * (np.abs(ends).max(initial=0.0) or 1.0)
    return (np.where(np.isfinite(lows), lows, -far) + np.where(np.isfinite(highs), highs, far)) / 2


def confidence_set(p_values: Callable[[Floats], Floats], edges: Floats, *, level: float) -> tuple[float, Pieces]:
    """P-value of no effect, and the closed pieces of {theta: p(theta) > 1 - level} from low to high.

    ``p_values`` gives the p-value of each hypothesised effect, constant between neighbouring ``edges``. The pieces may
    be none, several, or unbounded, and hold 0 exactly when p(0) > 1 - level, for 0 is made an edge.
    """
    alpha = 1 - level

    def tested(theta: Floats) -> Floats:
        p = p_values(theta)
        return np.where(np.isclose(p, alpha, rtol=TIE, atol=0.0), alpha, p)  # 2/20 is 1 - 0.9, whatever the last digit

    points = np.unique(np.append(edges[np.isfinite(edges)], 0.0))
    starts, ends = np.append(-np.inf, points), np.append(points, np.inf)
    between = tested(inside(starts, ends)) > alpha
    at_points = tested(points)
    pieces: Pieces = []
    for i, (low, high) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        if i and at_points[i - 1] > alpha:
            _extend(pieces, low, low)
        if between[i]:
            _extend(pieces, low, high)
    return float(at_points[points == 0.0][0]), pieces


def _extend(pieces: Pieces, low: float, high: float) -> None:
    """Add a closed piece, joined to the last one where they touch."""
    if pieces and pieces[-1][1] == low:
        pieces[-1] = (pieces[-1][0], high)
    else:
        pieces.append((low, high))
