import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import linprog
from scipy.stats import binomtest, t

from causal_assets.estimators.inference import Refusal
from causal_assets.targeting.fairness import group_fairness, harmful_parts, price_of_fairness
from causal_assets.types import Status

SEEDS = 200
COST, VALUE = 0.2, 2.0
# Effects in three parts of the population, the shares of both groups in them, and the shares treated of each.
EFFECT = np.array([1.0, 0.5, -0.8])
PART = {"a": np.array([0.5, 0.3, 0.2]), "b": np.array([0.3, 0.4, 0.3])}
TREATED = {"a": np.array([0.9, 0.5, 0.1]), "b": np.array([0.5, 0.4, 0.3])}


def _draw(rng, n, treated, effect=EFFECT, parts=PART, share=0.4, noise=0.5):
    """Scores of an experiment with equal arms, what a policy gives, group (``share`` of b), and part, of n units."""
    group = np.where(rng.random(n) < share, "b", "a")
    draw, part = rng.random(n), np.empty(n, dtype=int)
    given = np.empty(n, dtype=int)
    for name in ("a", "b"):
        inside = group == name
        part[inside] = rng.choice(len(effect), inside.sum(), p=parts[name])
        given[inside] = draw[inside] < treated[name][part[inside]]
    both = np.column_stack([np.zeros(n), effect[part]]) + 1.0
    d = rng.integers(0, 2, n)
    psi = np.full((n, 2), 1.2)
    psi[np.arange(n), d] += 2 * (both[np.arange(n), d] + noise * rng.normal(size=n) - 1.2)
    return psi, given, group, part


def _report(psi, given, group, part, **options):
    """By group, with what is harmful and best as the world has it."""
    fixed = {"unconstrained": np.where(part < 2, 1, 0), "harmful": part == 2, "cost": [COST], "value": VALUE}
    return {f.group: f for f in group_fairness(psi, given, group, **(fixed | options))}


def _truth(name):
    q, p = PART[name], TREATED[name]
    worth = VALUE * EFFECT - COST
    return {
        "treated": q @ p,
        "benefit": (q * p) @ EFFECT,
        "harmed": q[2] * p[2],
        "harm": 0.8 * q[2] * p[2],
        "forgone": (q * (1 - p))[:2] @ worth[:2] - (q * p)[2] * worth[2],
    }


def test_what_is_planted_in_each_group_is_covered_and_met_on_average():
    truth, weight = {name: _truth(name) for name in PART}, {"a": 0.6, "b": 0.4}
    for name, other in (("a", "b"), ("b", "a")):
        truth[name]["ratio"] = truth[name]["benefit"] / truth[other]["benefit"]
        for share, what in (("benefit_share", "benefit"), ("harm_share", "harm")):
            truth[name][share] = weight[name] * truth[name][what] / sum(weight[g] * truth[g][what] for g in PART)
    found = [_report(*_draw(np.random.default_rng(seed), 3_000, TREATED)) for seed in range(SEEDS)]
    for name, facts in truth.items():
        for what, number in facts.items():
            drawn = [getattr(f[name], what) for f in found]
            covered = sum(i.low <= number <= i.high for i in drawn)
            assert binomtest(covered, SEEDS, 0.95, alternative="less").pvalue > 0.01, (name, what, covered)
            values = np.array([i.value for i in drawn])
            assert abs(values.mean() - number) <= 3 * values.std() / np.sqrt(SEEDS), (name, what)
            assert all(i.low <= i.value <= i.high for i in drawn)


@pytest.mark.parametrize(("treated", "wanted"), [({"a": 0.6, "b": 0.15}, Status.FAIL), ({"a": 0.5, "b": 0.5}, None)])
def test_an_unfair_policy_fails_and_a_fair_one_passes(treated, wanted):
    always = {name: np.full(1, p) for name, p in treated.items()}
    statuses = []
    for seed in range(60):
        drawn = _draw(np.random.default_rng(seed), 8_000, always, np.ones(1), {"a": [1.0], "b": [1.0]})
        statuses.append({g: f.status for g, f in _report(*drawn, at_least=0.8).items()})
    if wanted is Status.FAIL:
        assert all(s == {"a": Status.PASS, "b": Status.FAIL} for s in statuses)
    else:
        assert sum(s == {"a": Status.PASS, "b": Status.PASS} for s in statuses) >= 57
        assert not any(Status.FAIL in s.values() for s in statuses)


def test_a_policy_at_the_rule_itself_is_for_review_but_for_a_twentieth():
    always = {"a": np.full(1, 0.5), "b": np.full(1, 0.4)}
    failed = passed = 0
    for seed in range(400):
        drawn = _draw(np.random.default_rng(seed), 800, always, np.ones(1), {"a": [1.0], "b": [1.0]})
        status = _report(*drawn, at_least=0.8)["b"].status
        failed, passed = failed + (status is Status.FAIL), passed + (status is Status.PASS)
    # Two groups at once, so each end errs for one in eighty.
    for wrong in (failed, passed):
        assert binomtest(wrong, 400, 0.025 / 2, alternative="greater").pvalue > 0.05


def test_a_tiny_group_is_for_review_and_a_large_one_of_which_nobody_is_treated_fails():
    for seed in range(40):
        rng = np.random.default_rng(seed)
        psi, given, _, part = _draw(rng, 2_000, TREATED)
        given[:300] = 0
        tiny = np.where(np.arange(2_000) < 6, "tiny", "rest")
        assert _report(psi, given, tiny, part, at_least=0.8)["tiny"].status is Status.REVIEW
        large = np.where(np.arange(2_000) < 300, "large", "rest")
        assert _report(psi, given, large, part, at_least=0.8)["large"].status is Status.FAIL


def test_a_policy_without_benefit_leaves_no_ratio_to_judge():
    psi, _, group, part = _draw(np.random.default_rng(0), 400, TREATED)
    nobody = _report(psi, np.zeros(400, dtype=int), group, part, at_least=0.8)
    assert [(f.ratio, f.benefit_share, f.harm_share, f.status) for f in nobody.values()] == [
        (None, None, None, Status.REVIEW)
    ] * 2
    rng = np.random.default_rng(1)
    harm = _draw(rng, 4_000, {"a": np.ones(1), "b": np.ones(1)}, np.array([-1.0]), {"a": [1.0], "b": [1.0]})
    assert {f.status for f in _report(*harm, at_least=0.8).values()} == {Status.REVIEW}


def test_harm_is_found_where_it_is_planted_and_noise_is_none():
    wrong, honest, naive = 0, [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        psi, given, _, part = _draw(rng, 3_000, TREATED)
        wrong += harmful_parts(psi, given, part) != {2}
        nothing = {"a": np.full(30, 0.5), "b": np.full(30, 0.5)}
        even = {"a": np.full(30, 1 / 30), "b": np.full(30, 1 / 30)}
        earlier, was, _, place = _draw(rng, 1_500, nothing, np.zeros(30), even)
        psi, given, group, part = _draw(rng, 1_500, nothing, np.zeros(30), even)
        for found, parts in ((honest, harmful_parts(earlier, was, place)), (naive, harmful_parts(psi, given, part))):
            flagged = np.isin(part, list(parts))
            found.append(_report(psi, given, group, part, harmful=flagged)["a"].harm.value)
    assert wrong == 0
    assert abs(np.mean(honest)) <= 3 * np.std(honest) / np.sqrt(60)
    assert np.mean(naive) > 3 * np.std(naive) / np.sqrt(60)


def test_the_ends_of_a_ratio_are_those_that_a_t_test_just_rejects():
    psi, given, group, part = _draw(np.random.default_rng(2), 500, TREATED)
    found = _report(psi, given, group, part)["b"].ratio
    benefit, inside = np.where(given == 1, psi[:, 1] - psi[:, 0], 0.0), group == "b"
    for end in (found.low, found.high):
        apart = benefit[inside].mean() - end * benefit[~inside].mean()
        # Leaving out one unit at a time: variances over (size - 1).
        error = np.sqrt(
            benefit[inside].var(ddof=1) / (inside.sum() - 1) + end**2 * benefit[~inside].var(ddof=1) / (~inside).sum()
        )
        critical = t.ppf(1 - 0.05 / 4, min(inside.sum(), (~inside).sum()) - 1)
        assert abs(apart) == pytest.approx(critical * error, rel=0.01)


def test_order_copies_and_names_change_nothing_they_should_not():
    psi, given, group, part = _draw(np.random.default_rng(3), 400, TREATED)
    base = _report(psi, given, group, part, at_least=0.5)
    order = np.random.default_rng(4).permutation(400)
    moved = _report(psi[order], given[order], group[order], part[order], at_least=0.5)
    renamed = _report(psi, given, np.where(group == "a", 2, 1), part, at_least=0.5)
    copied = _report(
        *(np.repeat(v, 3, axis=0) for v in (psi, given, group, part)),
        cluster=np.repeat(np.arange(400), 3),
        at_least=0.5,
    )
    for other, name in ((moved, "b"), (renamed, 1), (copied, "b")):
        for what in ("treated", "benefit", "benefit_share", "harmed", "harm", "harm_share", "forgone", "ratio"):
            one, same = getattr(base["b"], what), getattr(other[name], what)
            assert (same.value, same.low, same.high) == pytest.approx((one.value, one.low, one.high), rel=1e-9)


def _unequal(n, seed):
    """Effects of two treatments, smaller in a group of a third of the units, and their costs."""
    rng = np.random.default_rng(seed)
    inside = rng.random(n) < 1 / 3
    effect = rng.normal(np.where(inside, 0.22, 0.3)[:, None], 0.25, (n, 2))
    return effect, np.array([0.5, 0.8]), inside


@pytest.mark.parametrize("limits", [{}, {"budget": 120.0}, {"capacity": [150, 60], "contacts": 180}])
def test_the_rule_is_met_at_nearly_the_least_price_that_giving_the_group_more_can_have(limits):
    effect, cost, inside = _unequal(600, 0)
    found = price_of_fairness(effect, cost, inside, at_least=0.8, value=VALUE, **limits)
    assert found.before.ratio < 0.8 <= found.after.ratio
    assert found.after.ratio < 0.84
    assert found.after.benefit > found.before.benefit
    assert found.after.treated > found.before.treated
    assert found.free.profit - found.profit == pytest.approx(found.price)
    profit = VALUE * effect - cost
    on = found.chosen > 0
    taken = np.arange(600)[on], found.chosen[on] - 1
    assert found.profit == pytest.approx(profit[taken].sum())
    assert cost[taken[1]].sum() <= limits.get("budget", np.inf) * (1 + 1e-9)
    assert on.sum() <= limits.get("contacts", np.inf)
    # The least price of giving the group as much as it now has, by a linear programme.
    shared, room = [-(effect * inside[:, None]).ravel()], [-effect[taken][inside[on]].sum()]
    for column, limit in (
        (np.tile(cost, 600), limits.get("budget")), (np.ones(1_200), limits.get("contacts")),
        *((np.tile(np.eye(2)[k], 600), limits.get("capacity", [None, None])[k]) for k in (0, 1)),
    ):  # fmt: skip
        if limit is not None:
            shared, room = [*shared, column], [*room, limit]
    rows = sparse.vstack([sparse.kron(sparse.eye(600), np.ones((1, 2))), sparse.csr_matrix(np.array(shared))])
    best = -linprog(-profit.ravel(), rows.tocsr(), np.concatenate([np.ones(600), room]), bounds=(0, 1)).fun
    assert found.profit <= best + 1e-6
    assert best - found.profit <= len(room) * profit.max()


def test_a_rule_that_holds_already_costs_nothing_and_a_stricter_one_more():
    effect, cost, inside = _unequal(600, 1)
    prices = [price_of_fairness(effect, cost, inside, at_least=r, value=VALUE).price for r in (0.1, 0.8, 0.9, 0.95)]
    assert prices[0] == 0.0
    assert (np.diff(prices) > 0).all()
    free = price_of_fairness(effect, cost, inside, at_least=0.1, value=VALUE)
    assert free.weight == 0.0
    np.testing.assert_array_equal(free.chosen, free.free.chosen)


def test_a_rule_that_no_weight_meets_is_refused_with_what_can_be_had():
    effect, cost, inside = _unequal(300, 2)
    with pytest.raises(Refusal, match=r"comes to .* of the others' at most, not 5"):
        price_of_fairness(effect, cost, inside, at_least=5.0, value=VALUE)
    with pytest.raises(Refusal, match="comes to 0 of the others' at most"):
        price_of_fairness(np.where(inside[:, None], -1.0, effect), cost, inside, at_least=0.5, value=VALUE)


def test_what_makes_no_sense_is_refused_by_name():
    psi, given, group, part = _draw(np.random.default_rng(5), 50, TREATED)
    for change, message in (
        ({"given": np.full(50, 2)}, "chosen: treatments are 0 to 1, got 2 to 2"),
        ({"group": np.where(np.arange(50) < 1, "c", group)}, "group: 'c' or the units outside it are 1 unit"),
        ({"group": np.full(50, "a")}, r"group: a comparison needs at least 2 groups, got \['a'\]"),
        ({"group": group[1:]}, r"group: expected one label per unit \(50\)"),
        ({"group": np.where(group == "a", 1.0, np.nan)}, "group: labels may not be missing"),
        ({"group": np.where(group == "a", "a", None)}, "group: labels may not be missing"),
        ({"psi": np.where(psi > 2, np.nan, psi)}, "scores are NaN or infinite"),
    ):
        drawn = {"psi": psi, "given": given, "group": group, "part": part} | change
        with pytest.raises(ValueError, match=message):
            _report(**drawn)
    for option, message in (
        ({"at_least": 0.0}, "at_least: expected a positive ratio"),
        ({"level": 1.0}, "level: expected a number strictly between 0 and 1"),
        ({"harmful": part}, "harmful: expected 50 booleans, got int64"),
        ({"unconstrained": part}, "unconstrained: treatments are 0 to 1, got 0 to 2"),
        ({"cost": [-1.0]}, "cost: expected finite numbers from 0"),
        ({"cluster": group == "a"}, "group: 'a' or the units outside it are 1 unit or cluster, an error needs 2"),
    ):
        with pytest.raises(ValueError, match=message):
            _report(psi, given, group, part, **option)
    with pytest.raises(ValueError, match=r"part: expected one label per unit \(50\)"):
        harmful_parts(psi, given, part[1:])
    effect, cost, inside = _unequal(30, 6)
    for option, message in (
        ({"inside": np.zeros(30, dtype=bool)}, "inside: expected 30 booleans, some of them true"),
        ({"inside": inside * 1}, "inside: expected 30 booleans"),
        ({"at_least": -1.0}, "at_least: expected a positive number"),
        ({"value": 0.0}, "value: expected a positive number"),
        ({"cost": [np.nan, 1.0]}, "cost: expected finite numbers from 0"),
    ):
        good = {"effect": effect, "cost": cost, "inside": inside, "at_least": 0.8, "value": VALUE}
        with pytest.raises(ValueError, match=message):
            price_of_fairness(**(good | option))
