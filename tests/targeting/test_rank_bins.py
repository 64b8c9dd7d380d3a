import numpy as np
import pytest

from causal_assets.targeting.rank_bins import BINS, FEWEST_PER_BIN, bin_draws, interpolated, rank_bins, tie_ends


def _ranked(seed, n, share=0.5):
    rng = np.random.default_rng(seed)
    arm = rng.random(n) < share
    weight = rng.uniform(1, 3, size=n)
    return [weight * arm, weight * ~arm], rng.normal(1.0, 2.0, size=n), rng


def test_draws_have_the_mean_and_the_covariance_of_poisson_copies_of_units():
    weights, y, rng = _ranked(0, 400)
    sums = rank_bins(weights, y, np.arange(1, 401))
    weight, total = bin_draws(sums, 20_000, seed=1)
    assert (weight > 0).all()
    bins = sums.shape[2]
    assert bins == 10
    w, values = weights[1][:40], y[:40]  # the first bin of the second arm
    copies = rng.poisson(1.0, size=(20_000, 40))
    plain = np.cov((copies * w).sum(axis=1), (copies * w * values).sum(axis=1))
    ours = np.cov(weight[:, 1, 0], total[:, 1, 0])
    scale = np.sqrt(np.outer(np.diag(plain), np.diag(plain)))
    assert (np.abs(ours - plain) < 4 * np.sqrt(2 * 2 / 20_000) * scale).all()
    assert weight[:, 1, 0].mean() == pytest.approx(w.sum(), rel=0.01)
    assert total[:, 1, 0].mean() == pytest.approx(w @ values, abs=4 * np.sqrt(plain[1, 1] / 20_000))
    apart = np.corrcoef(total.reshape(20_000, -1).T) - np.eye(2 * bins)
    assert np.abs(apart).max() < 5 / np.sqrt(20_000)


def test_bins_are_percentiles_where_units_suffice_and_tenths_where_they_do_not():
    for n, expected in [(20_000, BINS), (2_000, 50), (450, 10)]:
        y = np.random.default_rng(0).normal(size=n)
        arm = np.arange(n) % 2
        sums = rank_bins([1.0 * arm, 1.0 - arm], y, np.arange(1, n + 1))
        assert sums.shape == (5, 2, expected)
        assert sums[:2].sum(axis=2) == pytest.approx(np.array([[n / 2, n / 2], [y[arm == 1].sum(), y[arm == 0].sum()]]))


def test_no_tie_is_split_and_no_bin_lacks_an_arm():
    weights, y, _ = _ranked(1, 3_000, 0.1)
    ends = tie_ends(np.sort(np.random.default_rng(2).integers(0, 7, size=3_000)))
    counts = rank_bins([1.0 * (w > 0) for w in weights], y, ends)[0]
    assert set(counts.sum(axis=0).cumsum()) <= set(ends)
    lopsided = [np.append(np.ones(1_000), np.zeros(1_000)), np.append(np.zeros(1_000), np.ones(1_000))]
    assert rank_bins(lopsided, y[:2_000], np.arange(1, 2_001))[0].min() >= FEWEST_PER_BIN


def test_the_end_of_a_tie_counts_all_of_its_units():
    assert tie_ends(np.array([3.0, 3.0, 2.0, 1.0, 1.0])).tolist() == [2, 3, 5]


def test_rows_are_interpolated_each_on_its_own_axis():
    x = np.array([[0.0, 0.5, 1.0], [0.0, 0.25, 1.0]])
    values = np.array([[0.0, 1.0, 3.0], [5.0, 6.0, 7.0]])
    at = np.array([0.0, 0.25, 0.75, 1.0])
    expected = np.stack([np.interp(at, one, row) for one, row in zip(x, values, strict=True)])
    assert interpolated(at, x, values) == pytest.approx(expected)
