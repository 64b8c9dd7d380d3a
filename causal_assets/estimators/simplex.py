"""Least squares with weights that are not negative and sum to one, many targets on one Gram matrix at a time."""

import numpy as np
from numpy.typing import NDArray

from causal_assets.estimators.inference import Floats

Mask = NDArray[np.bool_]

# Added to the Gram matrix's diagonal, as a share of its mean: with more donors than periods the weights are still
# unique (those of least norm), whatever the order of the donors; fits change by about as little.
RIDGE = 1e-10
# A donor enters only if it lowers the objective by more than rounding, in shares of the gradient's size.
ENTER = 1e-12
# A working set changes by one donor a step, so that healthy problems need about twice their support.
STEPS_PER_DONOR = 20


def simplex_weights(
    gram: Floats, linear: Floats, *, allowed: Mask | None = None, start: Floats | None = None
) -> Floats:
    """Weights (b, n) that minimise w' gram w - 2 linear' w over w >= 0, sum w = 1, for each of b rows of ``linear``.

    ``gram`` (n, n) is X'X of the donors' series, or (b, n, n) one for each target; ``linear`` (b, n) is X'y of each
    target. ``allowed`` (b, n) says who may be a donor of whom; ``start`` (b, n) are feasible weights from which to
    begin, by default the best single donor. Series are best centred by one common profile first: it changes no weight
    and keeps the digits.

    Wolfe's active-set method, all targets in step: one matrix product gives every gradient, one batch of small solves
    every working set, so memory is that of the arguments and O(b k^2) for supports of k donors.

    Source: Wolfe (1976), Finding the nearest point in a polytope, Mathematical Programming 11.

    Raises:
        ValueError: no allowed donor for some target, or a start that is not feasible.
        ArithmeticError: no convergence, which only input beyond double precision has shown.
    """
    batch, n = linear.shape
    scale = np.atleast_1d(np.trace(gram, axis1=-2, axis2=-1)) / n
    scale = np.where(scale > 0, scale, 1.0)
    quadratic = (gram.reshape(-1, n, n) / scale[:, None, None] + RIDGE * np.eye(n)).reshape(gram.shape)
    target = linear / scale[:, None]
    may = np.ones((batch, n), dtype=bool) if allowed is None else allowed
    if not may.any(axis=1).all():
        raise ValueError(f"allowed: every target needs a donor, targets {np.flatnonzero(~may.any(axis=1))} have none")
    if start is None:
        best = np.where(may, np.diagonal(quadratic, axis1=-2, axis2=-1) - 2 * target, np.inf).argmin(axis=1)
        weights = np.eye(n)[best]
    else:
        weights = start.copy()
        if (weights < 0).any() or (weights[~may] != 0).any() or not np.allclose(weights.sum(axis=1), 1.0):
            raise ValueError("start: expected weights of allowed donors that are not negative and sum to 1")
    support = weights > 0
    running = np.arange(batch)
    for _ in range(STEPS_PER_DONOR * (n + 5)):
        w, held, goal = weights[running], support[running], target[running]
        own = quadratic if quadratic.ndim == 2 else quadratic[running]
        trial = _affine(own, goal, held)
        bad = held & (trial <= 0)
        # a donor that would leave in the step after it entered had gained nothing but rounding: the weights stand
        going = ~(bad & (w == 0)).any(axis=1)
        inside, outside = ~bad.any(axis=1), bad.any(axis=1) & going
        w[inside] = trial[inside]
        if outside.any():
            w[outside], held[outside] = _retreat(_of(own, outside), goal[outside], w[outside], trial[outside])
        if inside.any():
            enters = _entering(_of(own, inside), goal[inside], w[inside], may[running][inside])
            rows = np.flatnonzero(inside)
            held[rows[enters >= 0], enters[enters >= 0]] = True
            going[rows[enters < 0]] = False
        weights[running], support[running] = w, held
        running = running[going]
        if running.size == 0:
            return weights
    raise ArithmeticError(f"simplex_weights: {running.size} of {batch} targets did not converge")


def _of(quadratic: Floats, rows: Mask) -> Floats:
    """The quadratic forms of some targets; one form is that of all."""
    return quadratic if quadratic.ndim == 2 else quadratic[rows]


def _times(quadratic: Floats, w: Floats) -> Floats:
    """Each target's quadratic form times its weights (b, n)."""
    return w @ quadratic if quadratic.ndim == 2 else (quadratic @ w[:, :, None])[:, :, 0]


def _affine(quadratic: Floats, target: Floats, held: Mask) -> Floats:
    """The best weights (b, n) that sum to one on each support, of any sign."""
    size = held.sum(axis=1)
    width = int(size.max())
    index = np.argsort(~held, axis=1, kind="stable")[:, :width]
    real = np.arange(width) < size[:, None]
    pairs = real[:, :, None] & real[:, None, :]
    which = index[:, :, None], index[:, None, :]
    among = quadratic[which] if quadratic.ndim == 2 else quadratic[np.arange(len(held))[:, None, None], *which]
    system = np.zeros((len(held), width + 1, width + 1))
    system[:, :width, :width] = np.where(pairs, among, np.eye(width))
    system[:, width, :width] = system[:, :width, width] = real
    right = np.ones((len(held), width + 1))
    right[:, :width] = np.where(real, np.take_along_axis(target, index, axis=1), 0.0)
    solution = np.linalg.solve(system, right[:, :, None])[:, :width, 0]
    weights = np.zeros_like(target)
    np.put_along_axis(weights, index, np.where(real, solution, 0.0), axis=1)
    return weights


def _entering(quadratic: Floats, goal: Floats, w: Floats, may: Mask) -> NDArray[np.intp]:
    """The donor without weight that lowers each objective fastest (b,), -1 where none does."""
    gradient = _times(quadratic, w) - goal
    reduced = np.where(may & (w == 0), gradient - (w * gradient).sum(axis=1, keepdims=True), np.inf)
    best = reduced.argmin(axis=1)
    rounding = ENTER * (1.0 + np.abs(goal).max(axis=1))
    return np.where(reduced[np.arange(best.size), best] < -rounding, best, -1)


def _retreat(quadratic: Floats, target: Floats, w: Floats, trial: Floats) -> tuple[Floats, Mask]:
    """Towards infeasible trial weights: drop all negative ones if that lowers the objective, else the first met."""

    def objective(weights: Floats) -> Floats:
        return ((_times(quadratic, weights) - 2 * target) * weights).sum(axis=1)

    clipped = np.maximum(trial, 0.0)
    clipped /= clipped.sum(axis=1, keepdims=True)
    blocking = (w > 0) & (trial <= 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        room = np.where(blocking, w / (w - trial), np.inf)
    # a donor that has just entered has weight zero: it may block at once only by rounding, and leaves then
    step = np.minimum(room.min(axis=1), 1.0)
    partial = w + step[:, None] * (trial - w)
    partial[blocking & (room <= step[:, None])] = 0.0
    partial = np.maximum(partial, 0.0)
    partial /= partial.sum(axis=1, keepdims=True)
    jump = objective(clipped) < objective(partial)
    moved = np.where(jump[:, None], clipped, partial)
    return moved, moved > 0
