import numpy as np
import pytest
from scipy.stats import binomtest

from causal_assets.targeting.ranking import SHARES, area, ranking_scores, uplift_curve
from tests.targeting.ranked import MEAN, units

SEEDS = 300


def _values(curve):
    return np.array([*(float(one[0]) for one in area(curve)), *curve.uplift(SHARES)[0]])


def _measures(found):
    return [found.auuc, found.qini, *found.uplift]


def _truth(slope):
    return np.array([MEAN / 2 + slope / 12, slope / 12, *(MEAN + slope * (1 - np.array(SHARES)) / 2)])


def test_four_units_give_the_curve_drawn_by_hand():
    # ranked: treated 1, control 0, treated 0, control 1; before the first control the curve is straight
    curve = uplift_curve([4, 3, 2, 1], [1, 0, 0, 1], [1, 0, 1, 0])
    assert curve.share[0] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert curve.gain[0] == pytest.approx([0, 0.25, 0.5, 0.5, 0], abs=1e-15)
    auuc, qini = area(curve)
    assert (auuc[0], qini[0]) == pytest.approx((0.3125, 0.3125))
    assert curve.uplift([0.5, 1.0])[0] == pytest.approx([1.0, 0.0], abs=1e-15)


def test_controls_are_scaled_to_the_treated_where_arms_are_unequal():
    # three controls to one treated among the best two thirds: g = (1 - 2 * 1/3) / 2; all: (1 - 3 * 2/4) / 2
    curve = uplift_curve([2, 2, 2, 2, 1, 1], [1, 1, 1, 0, 0, 1], [1, 0, 0, 0, 1, 0])
    assert curve.share[0] == pytest.approx([0, 4 / 6, 1])
    assert curve.gain[0] == pytest.approx([0, (1 - 2 / 3) / 2, (1 - 2 * 3 / 4) / 2])


def test_of_a_tied_group_half_is_half_of_each_arm():
    curve = uplift_curve([1, 1, 1, 1, 0, 0], [1, 0, 1, 1, 5, 5], [1, 1, 0, 0, 1, 0])
    assert curve.uplift([1 / 3, 2 / 3])[0] == pytest.approx([-0.5, -0.5])


@pytest.mark.parametrize("share", [0.95, 0.5, 0.05])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_a_constant_score_has_a_qini_of_exactly_zero(share, order):
    _, y, d = units(7, 6_000, share)
    mixed = np.random.default_rng(order).permutation(6_000)
    found = ranking_scores(np.full(6_000, 0.03), y[mixed], d[mixed], seed=order, draws=100)
    assert (found.qini.value, found.qini.low, found.qini.high, found.qini.p_value) == (0, 0, 0, 1)
    assert [m.value for m in found.uplift] == pytest.approx([y[d].mean() - y[~d].mean()] * 3)


@pytest.mark.parametrize(("n", "share", "binary"), [(2_000, 0.5, False), (6_000, 0.05, True)])
@pytest.mark.parametrize("slope", [0.3, 0.0])
def test_planted_scores_are_recovered_with_honest_errors_and_bands(n, share, binary, slope):
    first = 0 if slope else SEEDS  # the placebo twin has draws of its own
    values, errors, covered, held = [], [], 0, 0
    for seed in range(first, first + SEEDS):
        found = ranking_scores(*units(seed, n, share, slope, binary), seed=seed, draws=200)
        measures = _measures(found)
        values.append([m.value for m in measures])
        errors.append([m.std_error for m in measures])
        covered += np.array([m.low <= t <= m.high for m, t in zip(measures, _truth(slope), strict=True)])
        x, curve = found.curve.share, found.curve
        gain = MEAN * x + slope * x * (1 - x) / 2
        held += bool(((curve.low <= gain + 1e-12) & (gain <= curve.high + 1e-12)).all())
    spread = np.std(values, axis=0)
    assert (np.abs(np.mean(values, axis=0) - _truth(slope)) < 3 * spread / np.sqrt(SEEDS)).all()
    assert (np.abs(np.mean(errors, axis=0) / spread - 1) < 0.13).all()  # three Monte-Carlo errors of the spread
    assert all(binomtest(int(c), SEEDS, 0.94, alternative="less").pvalue > 0.01 for c in covered)
    assert binomtest(held, SEEDS, 0.94, alternative="less").pvalue > 0.01


@pytest.mark.parametrize("share", [0.5, 0.05])
def test_the_interval_of_a_model_of_pure_noise_covers_zero(share):
    covered, claimed = 0, 0
    for seed in range(SEEDS):
        _, y, d = units(seed, 4_500, share)
        noise = np.random.default_rng(seed + 9_000).normal(size=4_500)
        qini = ranking_scores(noise, y, d, seed=seed, draws=200).qini
        covered += qini.low <= 0 <= qini.high
        claimed += qini.p_value < 0.05
    assert binomtest(covered, SEEDS, 0.95).pvalue > 0.01
    assert binomtest(claimed, SEEDS, 0.05).pvalue > 0.01


@pytest.mark.parametrize(
    ("n", "share", "ties", "weighted"),
    [(3_000, 0.5, False, False), (3_000, 0.2, True, True), (20_000, 0.05, False, False)],
)
def test_errors_from_bins_are_those_of_a_plain_bootstrap_of_units(n, share, ties, weighted):
    u, y, d = units(3, n, share, binary=False)
    rng = np.random.default_rng(5)
    score = np.floor(8 * u) if ties else u
    weight = rng.uniform(0.5, 2.0, size=n) if weighted else np.ones(n)
    ours = [m.std_error for m in _measures(ranking_scores(score, y, d, seed=0, weight=weight, draws=4_000))]
    draws = []
    for _ in range(500):
        i = rng.integers(n, size=n)
        draws.append(_values(uplift_curve(score[i], y[i], d[i], weight[i])))
    chance = np.sqrt(1 / (2 * 500) + 1 / (2 * 4_000))
    assert ours == pytest.approx(np.std(draws, axis=0, ddof=1), rel=3 * chance)


def test_weights_are_copies_of_a_unit_and_their_scale_is_nothing():
    u, y, d = units(4, 2_000)
    copies = np.random.default_rng(0).integers(1, 4, size=2_000)
    weighted = _values(uplift_curve(u, y, d, copies))
    assert weighted == pytest.approx(_values(uplift_curve(*(np.repeat(a, copies) for a in (u, y, d)))), rel=1e-10)
    assert _values(uplift_curve(u, y, d, copies / 7)) == pytest.approx(weighted, rel=1e-10)


def test_inverse_probabilities_undo_a_choice_of_the_treated():
    weighted, naive = [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        u, x = rng.random(4_000), rng.random(4_000)
        p = 0.2 + 0.6 * x * u
        d = rng.random(4_000) < p
        y = 3 * x * u + d * (MEAN + 0.6 * (u - 0.5)) + rng.normal(size=4_000)
        found = ranking_scores(u, y, d, seed=seed, weight=np.where(d, 1 / p, 1 / (1 - p)), draws=100)
        weighted.append([found.qini.value, found.qini.std_error])
        naive.append(ranking_scores(u, y, d, seed=seed, draws=100).qini.value)
    value, error = np.mean(weighted, axis=0)
    spread = np.std(weighted, axis=0)[0]
    assert abs(value - 0.05) < 3 * spread / 10
    assert error > 0.9 * spread  # weights taken as known: no shorter than the truth
    assert abs(np.mean(naive) - 0.05) > 5 * np.std(naive) / 10


def test_only_the_order_of_scores_counts_and_the_unit_of_outcomes_scales():
    u, y, d = units(5, 3_000, 0.2, binary=False)
    base = ranking_scores(u, y, d, seed=1)
    assert ranking_scores(np.exp(9 * u) - 4, y, d, seed=1).qini == base.qini
    mixed = np.random.default_rng(0).permutation(3_000)
    for other, factor in [
        (ranking_scores(u[mixed], y[mixed], d[mixed], seed=1), 1),
        (ranking_scores(u, 100 * y, d, seed=1), 100),
        (ranking_scores(u, y + 1e9, d, seed=1), 1),
    ]:
        for ours, same in zip(_measures(other), _measures(base), strict=True):
            assert ours.value == pytest.approx(factor * same.value, rel=1e-5)
            assert ours.std_error == pytest.approx(factor * same.std_error, rel=1e-5)


def test_same_seed_same_bytes_other_seed_same_value():
    data = units(6, 3_000)
    one, same, other = (ranking_scores(*data, seed=seed) for seed in (1, 1, 2))
    assert one.qini == same.qini
    assert one.curve.high.tobytes() == same.curve.high.tobytes()
    assert other.qini.value == one.qini.value
    assert other.qini.std_error == pytest.approx(one.qini.std_error, rel=0.1)


def test_causalml_gives_the_same_numbers_on_its_definitions():
    import pandas as pd
    from causalml.metrics import auuc_score, qini_score

    u, y, d = units(8, 1_500, 0.1)
    n, frame = 1_500, pd.DataFrame({"model": u, "y": y, "w": d.astype(int)})
    curve = uplift_curve(u, y, d)
    # its Qini: the mean over 0..n of g less the line, as a share of |g(1)|
    ours = float(area(curve)[1][0] / abs(curve.gain[0, -1])) * n / (n + 1)
    assert ours == pytest.approx(qini_score(frame)["model"], rel=1e-9)
    # its AUUC: the mean over ranks k of k times the difference in means, as a share of the last
    both = curve.treated[0] * curve.control[0] > 0
    lift = curve.treated_sum[0, both] / curve.treated[0, both] - curve.control_sum[0, both] / curve.control[0, both]
    rank = np.arange(n + 1)
    gain = rank * np.interp(rank, np.append(0, n * curve.share[0, both]), np.append(0, lift))
    assert gain.mean() / abs(gain[-1]) == pytest.approx(auuc_score(frame)["model"], rel=1e-9)


def test_input_that_makes_no_sense_is_refused_by_name():
    u, y, d = units(9, 1_000)

    def refused(message, score=u, outcome=y, treated=d, **options):
        with pytest.raises(ValueError, match=message):
            ranking_scores(score, outcome, treated, seed=0, **options)

    refused("score: 1 entries are NaN", score=np.where(np.arange(1_000) == 3, np.nan, u))
    refused("y: 1 entries are NaN or infinite", outcome=np.where(np.arange(1_000) == 3, np.inf, y))
    refused("expected vectors of one length", outcome=y[:-1])
    refused("treated: expected both 0 and 1 and nothing else, got \\[1.0\\]", treated=np.ones(1_000))
    refused("treated: expected both 0 and 1", treated=np.arange(1_000) % 3)
    refused("the treated count as 50", treated=np.arange(1_000) < 50)
    refused("weight: 2 are not positive", weight=np.append(np.ones(998), [0.0, -1.0]))
    refused("the control count as", weight=np.where(d, 1.0, np.random.default_rng(0).pareto(1.0, 1_000) + 1e-3))
    refused("y: is the same for all units", outcome=np.full(1_000, 0.1))
    refused("level: must lie", level=1.0)
    refused("draws: an error and a band need at least 100, got 20", draws=20)
    refused("score: the first .* do not hold both arms", score=d + 0.001 * u)
