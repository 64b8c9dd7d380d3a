import numpy as np
import pytest

from causal_assets.estimators.inversion import confidence_set


def _step(*accepted):
    """A p-value of 0.5 inside closed intervals, 0.01 outside."""
    return lambda theta: np.where(np.any([(theta >= a) & (theta <= b) for a, b in accepted], axis=0), 0.5, 0.01)


@pytest.mark.parametrize(
    "pieces",
    [
        [(-1.0, 2.0)],
        [(1.0, 3.0)],
        [(-4.0, -1.0), (2.0, 5.0)],
        [(-np.inf, -1.0), (0.0, 0.0), (3.0, np.inf)],
        [(2.0, 2.0)],
    ],
)
def test_the_set_is_what_the_test_accepts_piece_by_piece(pieces):
    edges = np.array([e for piece in pieces for e in piece])
    p_value, found = confidence_set(_step(*pieces), np.append(edges, [0.5, 1.5]), level=0.95)
    assert found == pieces
    assert p_value == _step(*pieces)(np.zeros(1))[0]


def test_a_test_that_never_rejects_gives_the_line_and_one_that_always_does_gives_nothing():
    assert confidence_set(np.ones_like, np.array([1.0]), level=0.95) == (1.0, [(-np.inf, np.inf)])
    assert confidence_set(np.zeros_like, np.array([1.0]), level=0.95) == (0.0, [])
