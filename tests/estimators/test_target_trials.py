import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import binomtest, kstest

from causal_assets.estimators.inference import Refusal
from causal_assets.estimators.overlap import effect, fit_nuisances
from causal_assets.estimators.target_trials import person_trials, sequential_effect
from tests.estimators.confounded import assert_honest

SEEDS = 400
UNITS = 300
GAINS = (1.0, 1.0, 1.0)


def _campaign(seed, units=UNITS, gains=GAINS):
    """Three mailings of those who spend much lately; spending has a part of its own in each unit, in all trials.

    One row per unit at risk and date: covariates as of the date, arm, spending after it, unit, trial.
    """
    rng = np.random.default_rng(seed)
    own = 1.5 * rng.normal(size=units)
    mailed = np.zeros(units, dtype=bool)
    rows = []
    for trial, gain in enumerate(gains):
        now = rng.normal(size=units)
        at_risk = np.flatnonzero(~mailed)
        d = rng.random(units) < expit(now - 1)
        y = own + now + gain * d + rng.normal(size=units)
        rows.append((now[at_risk, None], d[at_risk], y[at_risk], at_risk, np.full(at_risk.size, trial)))
        mailed |= d
    return tuple(np.concatenate(column) for column in zip(*rows, strict=True))


def _fit(x, d, y, unit, trial, estimand="ATO", **options):
    return sequential_effect(
        x, d, y, unit, trial, estimand=estimand, outcome="y", repeats=1, folds=2, seed=7, **options
    )


@pytest.fixture(scope="module")
def simulated():
    return [_fit(*_campaign(seed, gains=(1.0, 1.0))) for seed in range(SEEDS)]


def test_the_pooled_effect_is_recovered_with_errors_by_unit(simulated):
    assert_honest([one.pooled for one in simulated], 1.0)


def test_each_trial_covers_the_truth(simulated):
    for number in range(2):
        covered = sum(one.trials[number].covers(1.0) for one in simulated)
        assert binomtest(covered, SEEDS, 0.93, alternative="less").pvalue > 0.05


def test_the_test_of_heterogeneity_keeps_its_level_and_finds_a_difference(simulated):
    # uniform p-values where all trials are alike
    assert kstest([one.heterogeneity_p for one in simulated], "uniform").pvalue > 0.001
    unlike = [_fit(*_campaign(seed, gains=(1.0, 1.0, 2.5))).heterogeneity_p for seed in range(10)]
    assert np.median(unlike) < 0.01


def test_where_there_is_no_effect_none_is_found():
    found = [_fit(*_campaign(SEEDS + seed, gains=(0, 0)), estimand="ATT").pooled for seed in range(100)]
    assert binomtest(sum(one.covers(0.0) for one in found), 100, 0.93, alternative="less").pvalue > 0.05


def test_rows_of_one_unit_in_several_trials_are_not_independent():
    # Every unit is in every trial with the same arm and a large part of its own: trials as strangers would be too sure.
    rng = np.random.default_rng(0)
    d, own = np.arange(300) % 2 == 0, 5 * rng.normal(size=300)
    stacked = [np.tile(a, 3) for a in (rng.normal(size=(300, 1)), d, np.arange(300))]
    x, arms, unit = np.tile(rng.normal(size=(300, 1)), (3, 1)), stacked[1], stacked[2]
    y, trial = np.tile(own, 3) + rng.normal(size=900), np.repeat([0, 1, 2], 300)
    honest = _fit(x, arms, y, unit, trial).pooled.spread
    strangers = _fit(x, arms, y, unit + 1_000 * trial, trial).pooled.spread
    assert honest / strangers == pytest.approx(np.sqrt(3), rel=0.1)


def test_one_trial_is_the_cross_sectional_estimate():
    x, d, y, unit, _ = (a[:UNITS] for a in _campaign(1))
    alone = _fit(x, d, y, unit, np.zeros(UNITS), estimand="ATT")
    fit = fit_nuisances(x, d, y, unit, repeats=1, folds=2, seed=7)
    expected = effect(fit, d, y, unit, estimand="ATT", outcome="y")
    assert alone.trials == (expected,)
    assert alone.pooled.value == pytest.approx(expected.value, rel=1e-12)
    assert alone.pooled.std_error == pytest.approx(expected.std_error, rel=1e-12)
    assert (alone.q, alone.heterogeneity_p) == (0.0, None)


def test_the_pooled_att_weighs_trials_by_their_treated():
    x, d, y, unit, trial = _campaign(2)
    found = _fit(x, d, y, unit, trial, estimand="ATT")
    sizes = [d[trial == t].sum() for t in range(3)]
    assert found.pooled.value == pytest.approx(np.average([t.value for t in found.trials], weights=sizes), rel=1e-10)
    assert found.pooled.estimand == "ATT over 3 trials"
    assert found.pooled.n_treated == d.sum()  # a unit is treated once
    assert found.pooled.n_control == np.unique(unit[~d]).size


def test_order_labels_shift_and_scale_change_nothing_they_should_not():
    x, d, y, unit, trial = _campaign(3)
    base, order = _fit(x, d, y, unit, trial), np.random.default_rng(0).permutation(len(y))
    names = np.array(["may", "june", "september"])  # sorted, the trials change places
    labels = np.array([f"u{i:04d}" for i in unit])
    other = _fit(x[order], d[order], 100 * y[order] + 1e6, labels[order], names[trial][order])
    assert other.labels == ("june", "may", "september")
    assert other.pooled.value == pytest.approx(100 * base.pooled.value, rel=1e-7)
    assert other.pooled.std_error == pytest.approx(100 * base.pooled.spread, rel=1e-7)
    assert other.q == pytest.approx(base.q, rel=1e-6)


def _stores(seed, gain=1.0, stores=40, each=6):
    """Two mailings of customers; a store has a level of its own in spending and in who is mailed."""
    rng = np.random.default_rng(seed)
    store = np.repeat(np.arange(stores), each)
    level, lean = rng.normal(size=(2, stores))
    mailed, rows = np.zeros(store.size, dtype=bool), []
    for trial in range(2):
        now = rng.normal(size=store.size)
        at_risk = np.flatnonzero(~mailed)
        d = rng.random(store.size) < expit(now / 2 + lean[store] - 0.5)
        y = 1.5 * level[store] + now + gain * d + rng.normal(size=store.size)
        rows.append((now[at_risk, None], d[at_risk], y[at_risk], at_risk, np.full(at_risk.size, trial), store[at_risk]))
        mailed |= d
    return tuple(np.concatenate(column) for column in zip(*rows, strict=True))


@pytest.mark.parametrize("gain", [1.0, 0.0])
def test_units_of_one_store_are_not_independent(gain):
    by_store, by_unit = [], []
    for seed in range(50):
        *rows, store = _stores(seed, gain)
        by_store.append(_fit(*rows, estimand="ATT", cluster=store).pooled)
        by_unit.append(_fit(*rows, estimand="ATT").pooled)
    values = np.array([e.value for e in by_store])
    assert abs(values.mean() - gain) < 3 * values.std() / np.sqrt(50)
    assert binomtest(sum(e.covers(gain) for e in by_store), 50, 0.93, alternative="less").pvalue > 0.05
    assert np.mean([e.covers(gain) for e in by_unit]) < 0.88


def test_clusters_of_one_unit_are_units_and_labels_do_not_matter():
    *rows, store = _stores(0)
    base, alone = _fit(*rows), _fit(*rows, cluster=rows[3])
    assert alone.pooled.std_error == pytest.approx(base.pooled.std_error, rel=1e-12)
    assert alone.q == pytest.approx(base.q, rel=1e-9)
    one, other = _fit(*rows, cluster=store), _fit(*rows, cluster=np.char.add("s", np.char.zfill(store.astype(str), 3)))
    assert other == one


def test_clusters_that_split_a_unit_or_are_too_few_are_refused():
    *rows, store = _stores(1)
    with pytest.raises(ValueError, match=r"cluster: \d+ units are in more than one cluster"):
        _fit(*rows, cluster=rows[4])
    with pytest.raises(Refusal, match="cluster: 4 treated and 4 control clusters"):
        _fit(*rows, cluster=store % 4)


def test_who_takes_part_is_known_on_the_day_and_not_later():
    day = np.array(["2026-05-01", "2026-06-01"], dtype="datetime64[D]")
    known = np.array(["2026-01-01"] * 5 + ["2026-05-15"], dtype="datetime64[D]")
    treated = np.array(["2026-05-01", "2026-06-01", "NaT", "2026-05-20", "2026-04-01", "NaT"], dtype="datetime64[D]")
    found = person_trials(known, treated, day)
    rows = set(zip(found.unit.tolist(), found.trial.tolist(), found.treated.tolist(), strict=True))
    first = {(0, 0, True), (1, 0, False), (2, 0, False), (3, 0, False)}  # unit 4 was treated before, unit 5 unknown
    assert rows == first | {(1, 1, True), (2, 1, False), (5, 1, False)}  # unit 3 was treated between the dates
    numbers = person_trials(np.zeros(3), np.array([1.0, 2.0, np.nan]), np.array([1.0, 2.0]))
    assert numbers.unit.tolist() == [0, 1, 2, 1, 2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (([0, 0], [1], [1]), r"known_from, treated_on: shapes must agree, got \(2,\) and \(1,\)"),
        (([0, 0], [1, 2], [2, 1]), "dates: expected one or more rising dates"),
        (([0, 0], [1, 2], []), "dates: expected one or more rising dates"),
        (([0, 0], [1, 2], [3]), "dates: no eligible unit was treated on 3"),
    ],
)
def test_trials_that_cannot_be_built_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        person_trials(*given)


def test_bad_input_is_refused_by_name():
    x, d, y, unit, trial = _campaign(4)
    with pytest.raises(ValueError, match="unit: a unit may have one row in each trial, some have more"):
        _fit(x, d, y, unit, np.zeros(len(y)))
    with pytest.raises(
        ValueError, match="trial 1: folds: 2 folds need as many units in each arm, the smaller arm has 0"
    ):
        _fit(x, d & (trial != 1), y, unit, trial)
    with pytest.raises(ValueError, match=r"trial: expected one label per row \(\d+\), got 5"):
        _fit(x, d, y, unit, trial[:5])
    with pytest.raises(ValueError, match="y: 1 outcomes are NaN or infinite"):
        _fit(x, d, np.where(np.arange(len(y)) == 3, np.nan, y), unit, trial)
