import numpy as np
import pytest
from scipy.stats import binomtest, norm

from causal_assets.estimators.inference import Refusal
from causal_assets.targeting.policy_value import Baseline, best_baseline, policy_gain

SEEDS = 400
COST = (0.2, 0.5)
# Effects of the treatments are x and 2x - 0.5 for a standard normal x, so that one unit of outcome is worth 1 of money.
EFFECTS = (lambda x: x, lambda x: 2 * x - 0.5)


def _scores(rng, effects, n, noise=1.0):
    """A covariate and doubly robust scores (n, K+1) of an experiment with equal arms and a poor outcome model."""
    x = rng.normal(size=n)
    arms = len(effects) + 1
    d = rng.integers(0, arms, n)
    mean = np.column_stack([np.zeros(n), *(f(x) for f in effects)]) + 1.0 + 0.5 * x[:, None]
    y = mean[np.arange(n), d] + noise * rng.normal(size=n)
    guess = 0.7 * mean + 0.3
    psi = guess.copy()
    psi[np.arange(n), d] += arms * (y - guess[np.arange(n), d])
    return x, psi


def _policy(x):
    """Nothing below 0, the first treatment up to 0.8, the second beyond."""
    return np.where(x < 0, 0, np.where(x < 0.8, 1, 2))


def _above(cut, slope, shift):
    """E[(slope x + shift) 1(x > cut)] of a standard normal x."""
    return slope * norm.pdf(cut) + shift * norm.sf(cut)


# What _policy earns over treating nobody, and what each treatment for all earns.
POLICY = _above(0, 1, -COST[0]) - _above(0.8, 1, -COST[0]) + _above(0.8, 2, -0.5 - COST[1])
ALL = {0: 0.0, 1: -COST[0], 2: -0.5 - COST[1]}


@pytest.mark.parametrize("arm", [0, 1, 2])
def test_the_planted_gain_is_recovered_with_honest_errors(arm):
    truth, found = POLICY - ALL[arm], []
    for seed in range(SEEDS):
        x, psi = _scores(np.random.default_rng(1_000 * arm + seed), EFFECTS, 1_000)
        found.append(policy_gain(psi, _policy(x), np.full(1_000, arm), COST, value=1.0, outcome="spend"))
    errors = np.array([e.value for e in found]) - truth
    assert abs(errors.mean()) / errors.std() < 0.15
    assert 0.93 < np.mean([e.std_error for e in found]) / errors.std() < 1.07
    assert binomtest(sum(e.covers(truth) for e in found), SEEDS, 0.9).pvalue > 0.001
    assert binomtest(sum(e.low <= truth for e in found), SEEDS, 0.95).pvalue > 0.001


def _learnt(x, psi, cost):
    """A policy that believes its training fold: the best treatment in each tenth of x, by mean scores."""
    edges = np.quantile(x, np.arange(1, 10) / 10)
    bins = np.searchsorted(edges, x)
    best = np.array([(psi[bins == b].mean(axis=0) - np.append(0.0, cost)).argmax() for b in range(10)])
    return lambda new: best[np.searchsorted(edges, new)]


def _activates(seed, effects, cost, n=600):
    rng = np.random.default_rng(seed)
    x, psi = _scores(rng, effects, n)
    policy, baseline = _learnt(x, psi, cost), best_baseline(psi, cost, value=1.0)
    new, fresh = _scores(rng, effects, n)
    return policy_gain(fresh, policy(new), baseline.arms(n), cost, value=1.0, outcome="spend").low > 0


@pytest.mark.parametrize(
    ("effects", "cost"),
    [
        ((lambda x: 0 * x, lambda x: 0 * x), (0.0, 0.0)),  # nothing works and nothing costs: any policy is as good
        ((lambda x: 0 * x + 0.3, lambda x: 0 * x + 0.5), (0.3, 0.5)),  # all alike, worth exactly what it costs
    ],
)
def test_worlds_without_heterogeneity_activate_a_policy_in_at_most_a_twentieth(effects, cost):
    activated = sum(_activates(seed, effects, cost) for seed in range(SEEDS))
    assert binomtest(activated, SEEDS, 0.05, alternative="greater").pvalue > 0.05


def test_a_world_worth_targeting_activates_its_policy():
    assert sum(_activates(seed, EFFECTS, COST) for seed in range(50)) >= 45


def test_where_all_gain_and_nothing_costs_no_policy_beats_treating_all():
    effects = (lambda x: 1.0 + 0.3 * np.tanh(x),)
    found = []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        _, psi = _scores(rng, effects, 400)
        baseline = best_baseline(psi, (0.0,), value=1.0)
        assert baseline == Baseline(name="treat all with 1", arm=1, value=pytest.approx(psi[:, 1].mean()))
        new, fresh = _scores(rng, effects, 400)
        found.append(policy_gain(fresh, (new > -0.5) * 1, baseline.arms(400), (0.0,), value=1.0, outcome="visit"))
    assert binomtest(sum(e.low > 0 for e in found), SEEDS, 0.05, alternative="greater").pvalue > 0.05
    assert np.mean([e.value for e in found]) < 0


def test_the_gain_by_hand():
    potential = np.array([[1.0, 3.0], [2.0, 1.0], [0.0, 4.0], [1.0, 1.5], [2.0, 5.0], [1.0, 0.0]])
    chosen, nobody = np.array([1, 1, 1, 1, 1, 1]), np.zeros(6, dtype=int)
    # twice the effects 2, -1, 4, .5, 3, -1 less a cost of 1
    each = np.array([3.0, -3.0, 7.0, 0.0, 5.0, -3.0])
    found = policy_gain(potential, chosen, nobody, [1.0], value=2.0, outcome="visit")
    assert found.value == pytest.approx(each.mean())
    assert found.std_error == pytest.approx(each.std(ddof=1) / np.sqrt(6))
    assert found.control_mean == pytest.approx(2 * potential[:, 0].mean())
    assert (found.n_treated, found.n_control) == (6, 0)
    own = policy_gain(potential, chosen, nobody, np.arange(6.0)[:, None], value=2.0, outcome="visit")
    assert own.value == pytest.approx((each + 1 - np.arange(6)).mean())
    back = policy_gain(potential, nobody, chosen, [1.0], value=2.0, outcome="visit")
    assert (back.value, back.low, back.p_value) == pytest.approx((-found.value, -found.high, found.p_value))


def test_a_policy_that_is_its_baseline_gains_nothing_for_certain():
    x, psi = _scores(np.random.default_rng(0), EFFECTS, 50)
    found = policy_gain(psi, _policy(x), _policy(x), COST, value=1.0, outcome="spend")
    assert (found.value, found.low, found.high, found.std_error, found.p_value) == (0.0, 0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("apart", [5, 12])
def test_a_policy_that_changes_little_keeps_its_level(apart):
    rng = np.random.default_rng(apart)
    low, covered = 0, 0
    for _ in range(600):
        potential = np.zeros((200, 2))
        potential[:, 1] = rng.normal(size=200)
        chosen = (np.arange(200) < apart) * 1
        found = policy_gain(potential, chosen, np.zeros(200, dtype=int), [0.0], value=1.0, outcome="y")
        low, covered = low + (found.low > 0), covered + found.covers(0.0)
    assert binomtest(low, 600, 0.05, alternative="greater").pvalue > 0.05
    assert covered / 600 >= 0.9


def test_units_of_one_cluster_are_not_independent():
    rng = np.random.default_rng(7)
    covered = {"clusters": 0, "units": 0}
    for _ in range(SEEDS):
        household = np.repeat(np.arange(60), rng.integers(1, 9, 60))
        effect = rng.normal(size=60)[household] + 0.5 * rng.normal(size=household.size)
        potential = np.column_stack([np.zeros(household.size), effect])
        everybody, nobody = np.ones(household.size, dtype=int), np.zeros(household.size, dtype=int)
        for name, cluster in (("clusters", household), ("units", None)):
            found = policy_gain(potential, everybody, nobody, [0.0], value=1.0, outcome="y", cluster=cluster)
            covered[name] += found.covers(0.0)
    assert binomtest(covered["clusters"], SEEDS, 0.9, alternative="less").pvalue > 0.05
    assert covered["units"] < 0.8 * SEEDS


def test_row_order_labels_copies_and_currency_change_nothing_they_should_not():
    x, psi = _scores(np.random.default_rng(3), EFFECTS, 300)
    fit = {"value": 1.0, "outcome": "spend"}
    base = policy_gain(psi, _policy(x), np.ones(300, dtype=int), COST, **fit)
    order = np.random.default_rng(4).permutation(300)
    moved = policy_gain(psi[order], _policy(x)[order], np.ones(300, dtype=int), COST, **fit)
    assert (moved.value, moved.std_error) == pytest.approx((base.value, base.std_error), rel=1e-10)
    names = np.array([f"u{i}" for i in order])
    copied = policy_gain(
        np.repeat(psi, 2, axis=0), np.repeat(_policy(x), 2), np.ones(600, dtype=int), COST,
        cluster=np.repeat(names, 2), **fit,
    )  # fmt: skip
    assert (copied.value, copied.low) == pytest.approx((base.value, base.low), rel=1e-10)
    shifted = policy_gain(psi + 1e6, _policy(x), np.ones(300, dtype=int), COST, **fit)
    assert shifted.std_error == pytest.approx(base.std_error, rel=1e-6)
    cents = policy_gain(psi, _policy(x), np.ones(300, dtype=int), np.multiply(100, COST), value=100.0, outcome="spend")
    assert (cents.value, cents.low, cents.p_value) == pytest.approx((100 * base.value, 100 * base.low, base.p_value))


def test_the_baseline_is_the_best_simple_rule_that_is_possible():
    x, psi = _scores(np.random.default_rng(5), (lambda x: 0 * x + 1.0, lambda x: 0 * x + 3.0), 2_000)
    assert best_baseline(psi, [0.5, 1.0], value=1.0).name == "treat all with 2"
    assert best_baseline(psi, [0.5, 1.0], value=1.0, possible=[1]).name == "treat all with 1"
    assert best_baseline(psi, [9.0, 9.0], value=1.0, today=_policy(x)).arm == 0
    today = np.where(x > 0, 2, 0)
    cost = np.column_stack([np.full(2_000, 9.0), np.where(x > 0, 1.0, 9.0)])
    chosen = best_baseline(psi, cost, value=1.0, today=today)
    assert (chosen.name, chosen.arm) == ("today's rule", None)
    np.testing.assert_array_equal(chosen.arms(2_000, today), today)
    assert best_baseline(np.zeros((10, 2)), [0.0], value=1.0).arm == 0  # of equals the first


def test_arrays_that_make_no_sense_are_refused_by_name():
    x, psi = _scores(np.random.default_rng(6), EFFECTS, 30)
    good = {"chosen": _policy(x), "baseline": np.zeros(30, dtype=int), "cost": COST, "value": 1.0, "outcome": "y"}
    hole = psi.copy()
    hole[2, 1] = np.nan
    for potential, message in (
        (hole, "potential: 1 scores are NaN or infinite"),
        (psi[:, :1], r"potential: expected shape \(n, K\+1\)"),
        (psi[0], r"potential: expected shape \(n, K\+1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            policy_gain(potential, **good)
    for change, message in (
        ({"chosen": np.full(30, 3)}, "chosen: treatments are 0 to 2, got 3 to 3"),
        ({"baseline": np.full(30, -1)}, "baseline: treatments are 0 to 2, got -1 to -1"),
        ({"chosen": _policy(x) * 1.0}, "chosen: expected 30 whole numbers, got float64"),
        ({"chosen": _policy(x)[:-1]}, "chosen: expected 30 whole numbers"),
        ({"cost": [1.0]}, r"cost: expected shape \(2,\) or \(30, 2\)"),
        ({"cost": [1.0, -1.0]}, "cost: expected finite numbers from 0"),
        ({"cost": [1.0, np.nan]}, "cost: expected finite numbers from 0"),
        ({"value": np.inf}, "value: expected a finite number"),
        ({"level": 1.0}, "level must lie strictly between 0 and 1"),
        ({"cluster": np.arange(29)}, r"cluster: expected one label per unit \(30\)"),
    ):
        with pytest.raises(ValueError, match=message):
            policy_gain(psi, **(good | change))
    few = np.zeros(30, dtype=int)
    few[:4] = 1
    with pytest.raises(Refusal, match="policy and baseline differ on 4 units or clusters, an error needs 5"):
        policy_gain(psi, **(good | {"chosen": few}))
    with pytest.raises(ValueError, match="possible: expected treatments from 1 to 2, got"):
        best_baseline(psi, COST, value=1.0, possible=[0, 1])
    with pytest.raises(ValueError, match="today: expected the 30 units' treatments under today's rule"):
        Baseline(name="today's rule", arm=None, value=0.0).arms(30)
