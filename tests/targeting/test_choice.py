"""Which candidate is kept, by hand-made losses and in planted worlds; what a budget leaves out."""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest

from causal_assets.targeting import choice, learners
from causal_assets.targeting.choice import BYTES, SECONDS, Budget, Trial, _compared, _kept, _within_time, choose
from causal_assets.targeting.learners import CANDIDATES, DEFAULT
from causal_assets.targeting.nuisances import Sample, fit_nuisances, potential_scores

FEW = ("none", "linear", "s")


def sample(seed=0, n=2_000, slope=1.0, unit=None):
    rng = np.random.default_rng(seed)
    x, arm = rng.normal(size=(n, 3)), rng.integers(0, 2, n)
    return Sample.of(x, arm, x[:, 0] + arm * (0.5 + slope * x[:, 1]) + rng.normal(size=n), unit)


def held_out(n=2_000):
    return np.arange(n) % 4 == 0


# --- losses compared -------------------------------------------------------------------------------------------------


def test_differences_of_losses_are_paired_with_the_textbooks_error():
    rng = np.random.default_rng(1)
    common, noise = 100 * rng.random(50), 0.1 * rng.normal(size=50)
    losses = {"none": common + 1.0, "linear": common + noise, "s": common}
    none, linear, s = _compared(losses, np.arange(50))
    assert none == Trial("none", 0.0, pytest.approx(1 - min(noise.mean(), 0)), pytest.approx(none.std_error))
    best = "linear" if noise.mean() < 0 else "s"
    other, first = (s, linear) if best == "linear" else (linear, s)
    assert (first.behind, first.std_error) == (0.0, 0.0)
    assert other.behind == pytest.approx(abs(noise.mean()))
    assert other.std_error == pytest.approx(noise.std(ddof=1) / sqrt(50))  # of the difference: the common 100 is gone
    assert linear.gain == pytest.approx(1 - noise.mean())
    assert s.gain == pytest.approx(1.0)


def test_rows_of_one_unit_count_once_in_the_error():
    rng = np.random.default_rng(2)
    losses = {"none": rng.random(60), "linear": rng.random(60) - 0.2}
    alone = _compared(losses, np.arange(60))
    thrice = _compared({name: np.repeat(loss, 3) for name, loss in losses.items()}, np.repeat(np.arange(60), 3))
    for one, three in zip(alone, thrice, strict=True):
        assert (three.gain, three.behind, three.std_error) == pytest.approx((one.gain, one.behind, one.std_error))


@pytest.mark.parametrize(("behind", "expected"), [
    ({"none": (0.0, 0.0), "linear": (0.1, 0.2), "s": (0.1, 0.2)}, "none"),  # nothing is better than nothing
    ({"none": (0.1, 0.2), "linear": (0.0, 0.0), "s": (0.1, 0.2)}, "linear"),  # whether it is real the test fold tells
    ({"none": (0.9, 0.2), "linear": (0.2, 0.2), "s": (0.0, 0.0)}, "linear"),  # simpler, by just one standard error
    ({"none": (0.9, 0.2), "linear": (0.21, 0.2), "s": (0.0, 0.0)}, "s"),
    ({"none": (0.9, 0.2), "linear": (0.21, 0.2), "s": (0.1, 0.2), "dr": (0.0, 0.0)}, "s"),
    ({"none": (0.0, 0.0)}, "none"),
])  # fmt: skip
def test_the_simplest_within_one_standard_error_of_the_best_is_kept(behind, expected):
    assert _kept([Trial(name, 0.0, *numbers) for name, numbers in behind.items()]) == expected


# --- in planted worlds -----------------------------------------------------------------------------------------------


def test_the_candidate_of_the_planted_shape_is_kept_and_learned_again_from_all_rows():
    rows, selecting = sample(), held_out()
    found = choose(rows, selecting, randomised=True, candidates=("s", "linear"), seed=1)
    assert [trial.candidate for trial in found.trials] == list(FEW)  # none is always tried, in order of simplicity
    assert (found.winner, found.left_out, found.rows) == ("linear", (), 2_000)
    assert found.trials[1].gain == pytest.approx(1.0, abs=0.4)  # the planted variance of the effect
    grid = np.zeros((2, 3))
    grid[1, 1] = 1.0
    low, high = found.effects(grid)[:, 0]
    assert (low, high - low) == (pytest.approx(0.5, abs=0.2), pytest.approx(1.0, abs=0.2))
    nuisances = fit_nuisances(rows.where(~selecting), randomised=True, seed=1)
    np.testing.assert_array_equal(found.nuisances.expected, nuisances.expected)
    expected, propensity = np.empty((2, 2_000, 2))
    expected[~selecting], propensity[~selecting] = nuisances.expected, nuisances.propensity
    expected[selecting], propensity[selecting] = nuisances.at(rows.x[selecting])
    potential = potential_scores(rows, expected, propensity)
    direct = np.linalg.lstsq(np.c_[np.ones(2_000), rows.x], potential[:, 1] - potential[:, 0], rcond=None)[0]
    np.testing.assert_allclose([low, high - low], [direct[0], direct[2]], atol=1e-9)


def test_losses_are_of_rows_that_nothing_compared_has_learned_from(monkeypatch):
    seen = []

    def spy(task):
        seen.append(task)
        return learners.linear(task)

    monkeypatch.setitem(CANDIDATES, "linear", spy)
    rows, selecting = sample(), held_out()
    choose(rows, selecting, randomised=True, candidates=("linear",), seed=1)
    moved = replace(rows, y=rows.y + 100.0 * selecting * np.random.default_rng(3).normal(size=2_000))
    choose(moved, selecting, randomised=True, candidates=("linear",), seed=1)
    (before, *_), (after, *_) = (
        [task for task in seen if len(task.sample.y) == 1_500][k:] for k in (0, 1)
    )  # fmt: skip
    for one, other in ((before.sample.y, after.sample.y), (before.expected, after.expected)):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(before.propensity, after.propensity)


def test_a_world_without_heterogeneity_keeps_a_model_whose_loss_is_no_better_by_more_than_noise():
    gains = []
    for seed in range(12):
        found = choose(sample(seed, slope=0.0), held_out(), randomised=True, candidates=FEW, seed=seed)
        gains.append([trial.gain for trial in found.trials])
    error = np.std(gains, axis=0, ddof=1) / sqrt(12)
    assert (np.mean(gains, axis=0) <= 3 * error).all()  # a candidate that had seen its judges would gain


def test_the_same_rows_and_seed_give_the_same_choice():
    first, again = (choose(sample(), held_out(), randomised=True, candidates=FEW, seed=1) for _ in range(2))
    assert (first.trials, first.winner) == (again.trials, again.winner)
    np.testing.assert_array_equal(first.effects(sample().x), again.effects(sample().x))


# --- budget ----------------------------------------------------------------------------------------------------------


def test_a_time_budget_leaves_out_by_rates_and_never_by_the_clock():
    rows, cells = sample(), 2_000 * 3 * 2 / 1e6
    everything = sum(SECONDS[name] for name in FEW) * cells
    assert _within_time(FEW, rows, everything * 1.001) == list(FEW)
    assert _within_time(FEW, rows, everything * 0.999) == ["none", "linear"]
    assert _within_time(FEW, rows, 1e-9) == ["none"]
    assert "forest" not in _within_time(DEFAULT, rows, sum(SECONDS[name] for name in DEFAULT) * cells * 1.01)
    found = choose(rows, held_out(), randomised=True, candidates=FEW, budget=Budget(seconds=1e-9), seed=1)
    assert (found.winner, found.left_out) == ("none", ("linear", "s"))
    assert set(SECONDS) == set(CANDIDATES)


def test_a_memory_budget_learns_from_a_draw_that_keeps_the_shares_of_arms_and_folds(monkeypatch):
    rng = np.random.default_rng(4)
    x, arm = rng.normal(size=(4_000, 3)), (rng.random(4_000) < 0.2).astype(int)
    rows, selecting = Sample.of(x, arm, rng.normal(size=4_000)), held_out(4_000)
    drawn = []
    monkeypatch.setattr(choice, "_within_time", lambda names, kept, _: drawn.append(kept) or ["none"])
    gigabytes = 1_500 * BYTES * 3 * 2 / 1e9
    for _ in range(2):
        found = choose(rows, selecting, randomised=True, budget=Budget(gigabytes=gigabytes), seed=1)
    assert found.rows == len(drawn[0].y) == pytest.approx(1_500, abs=2)
    np.testing.assert_array_equal(drawn[0].x, drawn[1].x)
    assert drawn[0].arm.mean() == pytest.approx(arm.mean(), abs=0.001)
    kept = np.isin(rows.x[:, 0], drawn[0].x[:, 0])
    assert selecting[kept].mean() == pytest.approx(0.25, abs=0.001)
    assert arm[kept & selecting].mean() == pytest.approx(arm[selecting].mean(), abs=0.002)


# --- refusals --------------------------------------------------------------------------------------------------------


def test_candidates_that_are_none_are_named_with_those_allowed():
    with pytest.raises(ValueError, match=r"learners: unknown \['best'\]; allowed are \['none', 'linear'"):
        choose(sample(), held_out(), randomised=True, candidates=("best", "s"), seed=1)


@pytest.mark.parametrize("budget", [{"seconds": 0.0}, {"gigabytes": -1.0}, {"seconds": float("nan")}])
def test_a_budget_of_nothing_is_refused(budget):
    with pytest.raises(ValueError, match="budget: seconds and gigabytes must be above 0"):
        Budget(**budget)


def test_a_fold_with_too_few_units_of_an_arm_is_named():
    rows = sample()
    with pytest.raises(ValueError, match=r"selecting units per arm are \[\d+, 0\]; each needs at least 50"):
        choose(rows, held_out() & (rows.arm == 0), randomised=True, candidates=FEW, seed=1)
    with pytest.raises(ValueError, match=r"learning units per arm are \[0, \d+\]"):
        choose(rows, held_out() | (rows.arm == 0), randomised=True, candidates=FEW, seed=1)
    with pytest.raises(ValueError, match="folds, gigabytes: selecting units per arm are"):
        choose(rows, held_out(), randomised=True, budget=Budget(gigabytes=300 * BYTES * 6 / 1e9), seed=1)
    # Many rows of few units are few units.
    unit = np.where(rows.arm == 1, np.arange(2_000) // 4 * 2 % 160 + 1, np.arange(2_000) // 4 * 2)
    with pytest.raises(ValueError, match=r"selecting units per arm are"):
        choose(replace(rows, unit=unit), unit % 40 < 4, randomised=True, candidates=FEW, seed=1)
