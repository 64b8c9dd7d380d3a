import numpy as np
import pytest

from causal_assets.estimators.moments import Moments, pseudo_inverse

ROWS = np.random.default_rng(11).lognormal(size=(1_000, 3))


def test_moments_are_the_sample_mean_and_covariance():
    moments = Moments.of(ROWS)
    np.testing.assert_allclose(moments.mean, ROWS.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(moments.cov, np.cov(ROWS.T), rtol=1e-12)


def test_seven_partitions_merge_to_the_whole():
    cuts = [1, 5, 80, 300, 301, 777]  # two partitions of one row: no variance of their own
    merged, *rest = (Moments.of(part) for part in np.split(ROWS, cuts))
    for part in rest:
        merged = merged.merge(part)
    whole = Moments.of(ROWS)
    assert merged.n == whole.n
    np.testing.assert_allclose(merged.mean, whole.mean, rtol=1e-10)
    np.testing.assert_allclose(merged.cov, whole.cov, rtol=1e-10)


def test_a_shift_by_a_billion_leaves_the_covariance():
    cuts = [100, 500]
    first, *rest = (Moments.of(part + 1e9) for part in np.split(ROWS, cuts))
    for part in rest:
        first = first.merge(part)
    np.testing.assert_allclose(first.cov, Moments.of(ROWS).cov, rtol=1e-6)


def test_selected_columns_come_in_the_given_order():
    moments = Moments.of(ROWS)
    np.testing.assert_array_equal(moments.select([2, 0]).mean, moments.mean[[2, 0]])
    np.testing.assert_array_equal(moments.select([2, 0]).cov, moments.cov[[2, 0]][:, [2, 0]])


def test_the_pseudo_inverse_ignores_constant_and_copied_columns():
    column = ROWS[:, :1]
    inverse, rank = pseudo_inverse(np.cov(np.hstack([column, 3 * column, np.ones_like(column)]).T))
    assert rank == 1
    assert not inverse[2].any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_refused_by_name(bad):
    with pytest.raises(ValueError, match="mean: moments must be finite"):
        Moments(3, np.array([bad]), np.eye(1))
    with pytest.raises(ValueError, match=r"array: columns \[0\] hold NaN or infinite"):
        Moments.of([1.0, bad])


def test_no_rows_and_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="at least 1 row"):
        Moments.of(np.empty((0, 2)))
    with pytest.raises(ValueError, match="cov: expected shape"):
        Moments(3, np.zeros(2), np.eye(3))
    with pytest.raises(ValueError, match="expected 3 columns, got 1"):
        Moments.of(ROWS).merge(Moments.of(ROWS[:, 0]))
