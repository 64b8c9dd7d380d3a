import numpy as np
import pytest
from scipy.stats import binomtest, norm

from causal_assets.targeting.rate import rate
from tests.targeting.ranked import scores

SEEDS = 300


def _sample_form(score, psi):
    """AUTOC and Qini-weighted RATE as means over ranks; tied units take the mean of their group, as in grf."""
    order = np.argsort(-score, kind="stable")
    ranked, effect = score[order], psi[order].copy()
    for one in np.unique(ranked):
        effect[ranked == one] = effect[ranked == one].mean()
    rank = np.arange(1, len(psi) + 1)
    toc = effect.cumsum() / rank - psi.mean()
    return toc.mean(), (rank / len(psi) * toc).mean()


@pytest.mark.parametrize("ties", [None, 4, 30])
def test_values_are_the_papers_sample_form(ties):
    u, psi = scores(1, 900)
    score = u if ties is None else np.floor(ties * u)
    found = rate(score, psi, seed=0, draws=100)
    assert (found.autoc.value, found.qini.value) == pytest.approx(_sample_form(score, psi), abs=1e-12)


@pytest.mark.parametrize("slope", [0.4, 0.0])
def test_planted_rates_are_recovered_with_honest_errors_and_bands(slope):
    first = 0 if slope else SEEDS  # the placebo twin has draws of its own
    truth, values, errors = np.array([slope / 4, slope / 12]), [], []
    covered, held, claimed = 0, 0, 0
    for seed in range(first, first + SEEDS):
        found = rate(*scores(seed, 1_500, slope), seed=seed, draws=300)
        both = (found.autoc, found.qini)
        values.append([m.value for m in both])
        errors.append([m.std_error for m in both])
        covered += np.array([m.low <= t <= m.high for m, t in zip(both, truth, strict=True)])
        claimed += np.array([m.p_value < 0.05 for m in both])
        toc = slope * (1 - found.curve.share) / 2
        held += bool(((found.curve.low <= toc + 1e-12) & (toc <= found.curve.high + 1e-12)).all())
    spread = np.std(values, axis=0)
    # a rank's own share of the sum is of order log n / n: it is within the allowance
    assert (np.abs(np.mean(values, axis=0) - truth) < 3 * spread / np.sqrt(SEEDS)).all()
    assert (np.abs(np.mean(errors, axis=0) / spread - 1) < 0.13).all()  # three Monte-Carlo errors of the spread
    assert all(binomtest(int(c), SEEDS, 0.94, alternative="less").pvalue > 0.01 for c in covered)
    assert binomtest(held, SEEDS, 0.94, alternative="less").pvalue > 0.01
    power = norm.sf(norm.ppf(0.95) - truth / spread)  # 5% where nothing is planted
    assert all(binomtest(int(c), SEEDS, p).pvalue > 0.01 for c, p in zip(claimed, power, strict=True))


def test_with_few_events_among_few_controls_the_qini_weighting_still_finds_nothing_in_noise():
    claimed = 0
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        d, y = rng.random(4_000) < 0.95, rng.random(4_000) < 0.05
        psi = np.where(d, 1 / 0.95, -1 / 0.05) * (y - 0.05)
        claimed += rate(rng.normal(size=4_000), psi, seed=seed, draws=100).qini.p_value < 0.05
    assert binomtest(claimed, SEEDS, 0.05, alternative="greater").pvalue > 0.05


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("slope", [0.8, 40.0])  # in the latter nearly all of the error is in the ranks
def test_errors_are_those_of_the_half_sample_bootstrap(ties, slope):
    u, psi = scores(2, 1_000, slope)
    score = np.floor(10 * u) if ties else u
    found = rate(score, psi, seed=0, draws=100)
    rng, moved = np.random.default_rng(3), []
    for _ in range(600):
        half = rng.permutation(1_000)[:500]
        again = rate(score[half], psi[half], seed=0, draws=100)
        moved.append([again.autoc.value, again.qini.value])
    ours = [found.autoc.std_error, found.qini.std_error]
    assert ours == pytest.approx(np.std(moved, axis=0), rel=3 / np.sqrt(1_200) + 0.02)  # 0.02: halves are small samples


def test_the_curve_is_econmls_and_so_is_its_qini_weighting():
    from econml.validate.utils import calc_uplift

    u, psi = scores(4, 2_000)
    curve = rate(u, psi, seed=0).curve
    inside = curve.share[:-1]
    rank = np.round(inside * 2_000).astype(int)
    # it takes its thresholds from quantiles of a training fold: here between the units of our ranks
    percentiles = 100 * (1 - (rank - 0.5) / 1_999)
    for metric, ours in [("toc", curve.value[:-1]), ("qini", inside * curve.value[:-1])]:
        _, _, theirs = calc_uplift(u, u, psi, percentiles, metric, n_bootstrap=2)
        assert theirs["value"].to_numpy() == pytest.approx(ours, abs=1e-12)


def test_causalmls_qini_weighted_rate_is_twice_ours():
    import pandas as pd
    from causalml.metrics import rate_score

    u, psi = scores(5, 20_000)
    theirs = rate_score(pd.DataFrame({"model": u, "tau": psi}), weighting="qini")["model"]
    # its weights add up to 1, those of the paper to 1/2; the trapezoid and the sum differ by one rank in n
    assert theirs / 2 == pytest.approx(rate(u, psi, seed=0).qini.value, abs=2 / 20_000)


def test_a_score_without_order_finds_exactly_nothing():
    found = rate(np.full(1_000, 0.1), scores(6, 1_000)[1], seed=0)
    for one in (found.autoc, found.qini):
        assert (one.value, one.std_error, one.low, one.high, one.p_value) == (0, 0, 0, 0, 1)


def test_order_shift_and_scale_change_nothing_they_should_not():
    u, psi = scores(7, 1_000)
    base = rate(u, psi, seed=0)
    mixed = np.random.default_rng(0).permutation(1_000)
    for other, factor in [
        (rate(u[mixed], psi[mixed], seed=0), 1),
        (rate(u**3, psi, seed=0), 1),
        (rate(u, psi + 1e6, seed=0), 1),
        (rate(u, 10 * psi, seed=0), 10),
    ]:
        for ours, same in [(other.autoc, base.autoc), (other.qini, base.qini)]:
            assert ours.value == pytest.approx(factor * same.value, rel=1e-7)
            assert ours.std_error == pytest.approx(factor * same.std_error, rel=1e-7)
        assert other.curve.high == pytest.approx(factor * base.curve.high, rel=1e-6, abs=1e-9)


def test_the_opposite_order_of_two_groups_has_the_opposite_sign():
    rng = np.random.default_rng(8)
    group, psi = np.arange(1_000) % 2, rng.normal(size=1_000)
    up, down = rate(group, psi, seed=0), rate(-group, psi, seed=0)
    assert down.autoc.value == pytest.approx(-up.autoc.value, rel=1e-9)
    assert down.autoc.std_error == pytest.approx(up.autoc.std_error, rel=1e-9)


def test_input_that_makes_no_sense_is_refused_by_name():
    u, psi = scores(9, 1_000)
    with pytest.raises(ValueError, match="psi: 1 entries are NaN"):
        rate(u, np.where(np.arange(1_000) == 5, np.nan, psi), seed=0)
    with pytest.raises(ValueError, match="score, psi: expected vectors of one length"):
        rate(u[:-1], psi, seed=0)
    with pytest.raises(ValueError, match="at least 200 units and 100 draws, got 199 and 1000"):
        rate(u[:199], psi[:199], seed=0)
    with pytest.raises(ValueError, match="got 1000 and 5"):
        rate(u, psi, seed=0, draws=5)
    with pytest.raises(ValueError, match="psi: is the same for all units"):
        rate(u, np.full(1_000, 0.3), seed=0)
    with pytest.raises(ValueError, match="level: must lie"):
        rate(u, psi, seed=0, level=95)
