"""Nuisances are of other units' outcomes, and the scores made of them have the planted means."""

from dataclasses import replace

import numpy as np
import pytest

from causal_assets.targeting.nuisances import FOLDS, LEAST_PER_ARM, Sample, fit_nuisances, potential_scores

MEANS = np.array([1.0, 1.5, 0.8])
SEEDS = 20


def world(seed, n=1_000, *, selected=False, arms=3):
    """Units with mean outcomes 1, 1.5 and 0.8 by arm; where they are selected, those of a high level are treated."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    pull = np.stack([k * x[:, 0] * selected for k in range(arms)], axis=1) + rng.gumbel(size=(n, arms))
    arm = pull.argmax(axis=1)
    effect = (MEANS - 1)[:arms] * (1 + x[:, [1]])
    return x, arm, 1 + x[:, 0] + effect[np.arange(n), arm] + rng.normal(size=n)


@pytest.mark.parametrize("selected", [False, True])
def test_doubly_robust_scores_have_the_planted_means_where_the_arms_own_means_may_not(selected):
    found, naive = [], []
    for seed in range(SEEDS):
        x, arm, y = world(seed, selected=selected)
        sample = Sample.of(x, arm, y)
        nuisances = fit_nuisances(sample, randomised=not selected, seed=seed)
        found.append(potential_scores(sample, nuisances.expected, nuisances.propensity).mean(axis=0))
        naive.append([y[arm == a].mean() for a in range(3)])
    error = np.std(found, axis=0, ddof=1) / np.sqrt(SEEDS)
    assert (np.abs(np.mean(found, axis=0) - MEANS) < 3 * error).all()
    assert (error < 0.04).all()  # a tenth of what selection does to the naive means
    off = np.abs(np.mean(naive, axis=0) - MEANS)
    assert (off[[0, 2]] > 0.4).all() if selected else (off < 3 * np.std(naive, axis=0, ddof=1) / np.sqrt(SEEDS)).all()


def test_scores_of_new_units_have_the_planted_means_too():
    found = []
    for seed in range(SEEDS):
        sample, other = (Sample.of(*world(s, selected=True)) for s in (seed, 1_000 + seed))
        nuisances = fit_nuisances(sample, randomised=False, seed=seed)
        found.append(potential_scores(other, *nuisances.at(other.x)).mean(axis=0))
    assert (np.abs(np.mean(found, axis=0) - MEANS) < 3 * np.std(found, axis=0, ddof=1) / np.sqrt(SEEDS)).all()


def test_scores_are_the_formula():
    sample = Sample(np.zeros((3, 1)), np.array([0, 1, 1]), np.array([1.0, 2.0, 4.0]), np.arange(3))
    expected, propensity = np.array([[0.5, 3.0]] * 3), np.array([[0.75, 0.25]] * 3)
    found = potential_scores(sample, expected, propensity)
    np.testing.assert_allclose(
        found, [[0.5 + 0.5 / 0.75, 3.0], [0.5, 3.0 - 1 / 0.25], [0.5, 3.0 + 1 / 0.25]], rtol=1e-15
    )
    assert expected.tolist() == [[0.5, 3.0]] * 3  # what was handed in is left alone


@pytest.mark.parametrize("randomised", [True, False])
def test_a_units_own_outcome_moves_the_predictions_of_others_and_never_its_own(randomised):
    x, arm, y = world(1, n=900)
    unit = np.arange(900) // 2
    arm = arm[unit * 2]  # both rows of a unit are in its arm
    before = fit_nuisances(Sample.of(x, arm, y, unit), randomised=randomised, seed=4)
    for label in (0, 7, 300):
        moved = y + 1_000.0 * (unit == label)
        after = fit_nuisances(Sample.of(x, arm, moved, unit), randomised=randomised, seed=4)
        own = unit == label
        np.testing.assert_array_equal(after.expected[own], before.expected[own])
        changed = np.abs(after.expected - before.expected)[:, arm[own][0]] > 1
        assert changed.mean() > 0.1  # a leaf of two of the three folds
        np.testing.assert_array_equal(after.propensity, before.propensity)


def test_rows_of_a_unit_are_in_one_fold_whatever_their_number():
    x, arm, y = world(2, n=900)
    unit = np.random.default_rng(0).integers(0, 300, 900)
    arm = (unit % 3).astype(int)
    x = np.zeros_like(x) + unit[:, None] * [1.0, 0.0]  # rows of a unit look alike, so that its fold shows
    expected = fit_nuisances(Sample.of(x, arm, y, unit), randomised=True, seed=3).expected
    for label in np.unique(unit):
        assert len(np.unique(expected[unit == label], axis=0)) == 1
    assert len(np.unique(expected, axis=0)) > FOLDS


def test_propensities_are_the_shares_of_arms_drawn_by_chance_and_the_planted_ones_of_selected_units():
    x, arm, y = world(3, n=20_000, selected=True)
    sample = Sample.of(x, arm, y)
    shares = np.bincount(arm) / len(arm)
    drawn = fit_nuisances(sample, randomised=True, seed=1)
    np.testing.assert_array_equal(drawn.propensity, np.tile(shares, (len(arm), 1)))
    np.testing.assert_array_equal(drawn.at(x[:5])[1], np.tile(shares, (5, 1)))
    odds = np.exp(x[:, [0]] * np.arange(3))
    planted = odds / odds.sum(axis=1, keepdims=True)
    found = fit_nuisances(sample, randomised=False, seed=1)
    assert np.abs(found.propensity - planted.clip(0.01, 0.99)).max() < 0.05
    assert np.abs(found.at(x)[1] - planted.clip(0.01, 0.99)).max() < 0.05


def test_expected_outcomes_follow_the_planted_ones_out_of_fold():
    x, arm, y = world(4, n=6_000)
    sample = Sample.of(x, arm, y)
    found = fit_nuisances(sample, randomised=True, seed=1)
    truth = 1 + x[:, [0]] + (MEANS - 1) * (1 + x[:, [1]])
    for expected in (found.expected, found.at(x)[0]):
        assert all(np.corrcoef(expected[:, a], truth[:, a])[0, 1] > 0.95 for a in range(3))


def test_the_same_seed_gives_the_same_numbers_and_rows_in_another_order_the_same_to_rounding():
    x, arm, y = world(5)
    unit = np.arange(len(y))
    first, again = (fit_nuisances(Sample.of(x, arm, y, unit), randomised=True, seed=9) for _ in range(2))
    np.testing.assert_array_equal(first.expected, again.expected)
    order = np.random.default_rng(1).permutation(len(y))
    turned = fit_nuisances(Sample.of(x[order], arm[order], y[order], unit[order]), randomised=True, seed=9)
    np.testing.assert_allclose(turned.expected, first.expected[order], rtol=1e-9)
    other = fit_nuisances(Sample.of(x, arm, y, unit), randomised=True, seed=10)
    assert (other.expected != first.expected).any()


GOOD = {
    "x": np.random.default_rng(0).normal(size=(200, 2)), "arm": np.arange(200) % 2, "y": np.arange(200.0),
    "unit": np.arange(200),
}  # fmt: skip


@pytest.mark.parametrize(("field", "given", "message"), [
    ("arm", GOOD["arm"].astype(float), "arm: whole numbers from 0"),
    ("arm", GOOD["arm"] - 1, "arm: whole numbers from 0"),
    ("arm", np.zeros(200, dtype=int), r"arm: units per arm are \[200, 0\]; each needs at least 50"),
    ("arm", GOOD["arm"] * 2, r"arm: units per arm are \[100, 0, 100\]"),
    ("arm", np.arange(200) // (200 - LEAST_PER_ARM + 1), r"arm: units per arm are \[151, 49\]"),
    ("y", np.where(np.arange(200) == 3, np.nan, 1.0), "y: one finite outcome per row"),
    ("y", np.arange(199.0), "y: one finite outcome per row"),
    ("unit", np.arange(199), r"unit: one label per row \(200\), got 199"),
    ("unit", np.arange(200) // 2, "unit: some are in several arms"),
    ("unit", np.arange(200) % 60, r"arm: units per arm are \[30, 30\]"),
    ("x", np.full((200, 2), np.nan), "x"),
    ("x", np.ones((199, 2)), "x"),
])  # fmt: skip
def test_rows_that_cannot_be_learned_from_are_refused_by_field(field, given, message):
    Sample.of(**GOOD)
    with pytest.raises(ValueError, match=message):
        Sample.of(**(GOOD | {field: given}))


def test_units_and_not_rows_are_counted():
    sample = Sample.of(**(GOOD | {"unit": np.arange(200) // 4 * 2 + np.arange(200) % 2}) | {"arm": np.arange(200) % 2})
    assert sample.units_per_arm(2).tolist() == [50, 50]
    assert replace(sample, arm=np.zeros(200, dtype=int)).units_per_arm(3).tolist() == [100, 0, 0]
