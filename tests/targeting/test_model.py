"""What a frozen model may have read, how often it claims too much, and whether its intervals and its rule hold."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from causal_assets.targeting.features import Features
from causal_assets.targeting.model import LEARN, POLICY, SELECT, TEST, Limits, Treatments, calibrated, fit
from causal_assets.targeting.nuisances import Sample, potential_scores
from causal_assets.targeting.rate import rate
from causal_assets.targeting.scoring import write

NAMES = ("recency", "orders", "visits")
OFFERS = ("email", "call")


def features(x):
    return Features.of(dict(zip(NAMES, x.T, strict=True)), NAMES, ())


def drawn(seed, n=1_600, slopes=(0.0,), mean=0.5):
    """Units with effects of mean 0.5 that rise with a feature of each treatment's own, and their folds."""
    rng = np.random.default_rng(seed)
    x, arm = rng.normal(size=(n, 3)), rng.integers(0, len(slopes) + 1, n)
    effect = np.column_stack([np.zeros(n), *(mean + slope * x[:, k] for k, slope in enumerate(slopes))])
    y = x[:, 2] + effect[np.arange(n), arm] + rng.normal(size=n)
    return Sample.of(x, arm, y), rng.integers(0, 4, n), effect[:, 1:]


def fitted(sample, fold, *, candidates=("none", "linear"), cost=0.0, most=np.inf, limits=None, level=0.9, seed=1):
    k = sample.treatments
    offered = Treatments(names=OFFERS[:k], cost=(cost,) * k, capacity=(most,) * k)
    return fit(
        sample, fold, features(sample.x), offered, value=1.0, limits=limits or Limits(), randomised=True,
        candidates=candidates, level=level, seed=seed,
    )  # fmt: skip


# --- who may be read -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("candidates", [("none", "linear", "s"), ("t", "x"), ("dr", "r")])
def test_outcomes_of_the_policy_fold_leave_no_trace_in_the_model(tmp_path, candidates):
    sample, fold, _ = drawn(1, slopes=(1.0, 0.0))
    policy = np.flatnonzero(fold == POLICY)
    mixed, huge = sample.y.copy(), sample.y.copy()
    mixed[policy] = np.random.default_rng(2).permutation(sample.y[policy])
    huge[policy] = 1e6
    files = {
        write(fitted(replace(sample, y=y), fold, candidates=candidates), tmp_path)[1] for y in (sample.y, mixed, huge)
    }
    assert len(files) == 1
    y = sample.y.copy()
    y[np.flatnonzero(fold == TEST)[0]] += 1  # one outcome that may be read shows, so that bytes can tell
    assert write(fitted(replace(sample, y=y), fold, candidates=candidates), tmp_path)[1] not in files


def test_the_test_fold_judges_the_winner_and_has_no_part_in_it():
    sample, fold, _ = drawn(3, slopes=(0.6,))
    mixed = sample.y.copy()
    mixed[fold == TEST] = np.random.default_rng(4).permutation(sample.y[fold == TEST])
    one, other = (fitted(replace(sample, y=y), fold, candidates=("none", "linear", "s")) for y in (sample.y, mixed))
    assert one.choice.trials == other.choice.trials
    np.testing.assert_array_equal(one.choice.effects(sample.x), other.choice.effects(sample.x))
    assert one.responds == (True,)
    assert other.responds == (False,)


def test_outcomes_of_the_other_folds_do_move_the_winner():
    sample, fold, _ = drawn(3, slopes=(0.6,))
    for place in (LEARN, SELECT):
        moved = fitted(replace(sample, y=sample.y + (fold == place) * sample.x[:, 0]), fold)
        assert moved.choice.trials != fitted(sample, fold).choice.trials


# --- what is claimed -------------------------------------------------------------------------------------------------


def test_worlds_where_nobody_in_particular_responds_more_are_seldom_claimed_as_a_test_on_the_search_would_claim_them():
    worlds, claims, leaky = 60, 0, 0
    for seed in range(worlds):
        sample, fold, _ = drawn(100 + seed, n=1_000)
        model = fitted(sample, fold, candidates=("linear",), seed=seed)
        claims += model.responds[0]
        searched = sample.where(np.isin(fold, (LEARN, SELECT)))
        potential = potential_scores(searched, *model.choice.nuisances.at(searched.x))
        again = rate(model.choice.effects(searched.x)[:, 0], potential[:, 1] - potential[:, 0], seed=1, draws=100)
        leaky += again.qini.p_value < 0.05
        if not model.responds[0]:
            scored = model.score_matrix(sample.x)
            np.testing.assert_array_equal(scored.effect, model.lines[0].ate.value)
    assert binom.sf(claims - 1, worlds, 0.05) > 0.01
    assert binom.sf(leaky - 1, worlds, 0.05) < 0.01  # the bound above can fail


def test_of_two_treatments_only_the_one_that_varies_is_let_vary():
    sample, fold, effect = drawn(5, n=4_000, slopes=(0.8, 0.0))
    model = fitted(sample, fold, candidates=("none", "linear", "s"))
    assert model.responds == (True, False)
    scored = model.score_matrix(sample.x)
    assert np.corrcoef(scored.effect[:, 0], effect[:, 0])[0, 1] > 0.9
    assert len(np.unique(scored.effect[:, 1])) == 1
    for k in range(2):
        assert scored.effect[:, k].mean() == pytest.approx(0.5, abs=0.15)


def test_rows_repeated_are_no_further_witnesses():
    sample, fold, _ = drawn(6, slopes=(0.3,))
    once = fitted(sample, fold, candidates=("none",))
    thrice = Sample(*(np.repeat(part, 3, axis=0) for part in (sample.x, sample.arm, sample.y, sample.unit)))
    again = fitted(thrice, np.repeat(fold, 3), candidates=("linear",))
    alone = fitted(sample, fold, candidates=("linear",))
    assert again.tested[0].std_error > 0.8 * alone.tested[0].std_error  # 0.58, were every row a witness
    assert once.tested[0].p_value == 1.0


# --- intervals and the rule ------------------------------------------------------------------------------------------


def test_intervals_cover_the_mean_effect_of_units_of_one_score():
    worlds, covered, level = 60, np.zeros(3), 0.9
    for seed in range(worlds):
        sample, fold, _ = drawn(300 + seed, n=1_200, slopes=(1.5,))
        model = fitted(sample, fold, level=level)
        assert model.responds == (True,)
        x = np.random.default_rng(seed).normal(size=(20_000, 3))
        raw, truth = model.choice.effects(x)[:, 0], 0.5 + 1.5 * x[:, 0]
        # The mean effect at a score, planted and predicted being linear: the regression of one on the other.
        slope = np.cov(raw, truth)[0, 1] / raw.var()
        for place, q in enumerate((0.1, 0.5, 0.9)):
            at = np.quantile(raw, q)
            _, low, high = calibrated(model.lines, np.array([[at]]), level)
            covered[place] += low[0, 0] <= truth.mean() + slope * (at - raw.mean()) <= high[0, 0]
    assert (binom.cdf(covered, worlds, level) > 0.01).all()
    assert (binom.sf(covered - 1, worlds, level) > 0.001).all()


def test_a_wider_level_gives_a_wider_interval_about_the_same_effect():
    sample, fold, _ = drawn(8, slopes=(1.0,))
    narrow, wide = (fitted(sample, fold, level=level).score_matrix(sample.x) for level in (0.8, 0.95))
    np.testing.assert_array_equal(narrow.effect, wide.effect)
    np.testing.assert_allclose((wide.high - wide.low) / (narrow.high - narrow.low), 1.959964 / 1.281552, rtol=1e-6)


@pytest.mark.parametrize(("limits", "most", "expected"), [
    (Limits(budget=200.0), np.inf, 100), (Limits(contacts=300.0), np.inf, 300), (Limits(), 250.0, 250),
])  # fmt: skip
def test_the_frozen_rule_keeps_its_limits_on_average_over_units_it_has_not_seen(limits, most, expected):
    treated = []
    for seed in range(6):
        sample, fold, _ = drawn(500 + seed, slopes=(1.5,))
        model = fitted(sample, fold, cost=2.0 if limits.budget else 0.1, most=most, limits=limits)
        x = np.random.default_rng(seed).normal(size=(16_000, 3))
        treated.append((model.score_matrix(x).chosen > 0).mean() * 1_600)
    error = np.std(treated, ddof=1) / np.sqrt(6)
    assert abs(np.mean(treated) - expected) < 3 * error
    assert error < 0.05 * expected


def test_without_limits_those_are_treated_whose_effect_is_worth_more_than_it_costs():
    sample, fold, _ = drawn(9, slopes=(1.0,))
    model = fitted(sample, fold, cost=0.7)
    scored = model.score_matrix(sample.x)
    np.testing.assert_array_equal(scored.chosen, (scored.effect[:, 0] > 0.7).astype(int))


def test_scoring_by_columns_is_scoring_the_matrix_and_the_cut_is_the_median_level():
    sample, fold, _ = drawn(10, slopes=(1.0,))
    model = fitted(sample, fold)
    one, other = model.score(dict(zip(NAMES, sample.x.T, strict=True))), model.score_matrix(sample.x)
    for name in ("raw", "effect", "low", "high", "expected", "propensity", "chosen"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert model.cut == np.median(other.expected[fold != POLICY, 0])


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("place", "name"), [(LEARN, "learn"), (SELECT, "select"), (TEST, "test"), (POLICY, "policy")])
def test_a_fold_without_enough_units_of_an_arm_is_named(place, name):
    sample, fold, _ = drawn(11)
    bare = np.where((fold == place) & (sample.arm == 1), (place + 1) % 4, fold)
    with pytest.raises(ValueError, match=rf"fold: units per arm in '{name}' are \[\d+, 0\]; needed are 50 of each"):
        fitted(sample, bare)
    few = np.where((fold == place) & (np.cumsum(fold == place) > 190), (place + 1) % 4, fold)
    with pytest.raises(ValueError, match=rf"fold: units per arm in '{name}' are .* 200 in all"):
        fitted(sample, few)


def test_folds_that_are_none_or_part_a_unit_are_refused():
    sample, fold, _ = drawn(12)
    for wrong in (fold + 1, fold[:-1]):
        with pytest.raises(ValueError, match=r"fold: one of 0 to 3 per row \(1600\)"):
            fitted(sample, wrong)
    unit = np.arange(1_600)
    unit[np.flatnonzero((sample.arm == 0) & (fold == TEST))[0]] = unit[
        np.flatnonzero((sample.arm == 0) & (fold == POLICY))[0]
    ]
    with pytest.raises(ValueError, match="fold: some units are in several; each needs one"):
        fitted(replace(sample, unit=unit), fold)
