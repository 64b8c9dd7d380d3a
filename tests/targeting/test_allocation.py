import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from causal_assets.targeting import knapsack
from causal_assets.targeting.allocation import Prices, Rule, allocate, frontier

VALUE = 10.0


def _units(n, arms, seed, varying=True):
    """Effects of either sign, and costs that a fifth of the units are worth."""
    rng = np.random.default_rng(seed)
    effect = rng.normal(0.05, 0.1, (n, arms)) * np.linspace(1, 1.5, arms)
    cost = np.linspace(0.3, 0.8, arms) * (rng.uniform(0.5, 1.5, (n, arms)) if varying else 1.0)
    return effect, cost


def _some_limits(n, arms, rng):
    """Budget, capacities and contacts, each absent in a third of the draws."""
    return {
        "budget": None if rng.random() < 1 / 3 else float(rng.uniform(0.02, 0.15) * n),
        "capacity": None if rng.random() < 1 / 3 else np.ceil(rng.uniform(0.05, 0.3, arms) * n).tolist(),
        "contacts": None if rng.random() < 1 / 3 else float(np.ceil(rng.uniform(0.1, 0.4) * n)),
    }


def _programme(effect, cost, budget, capacity, contacts):
    """Profits, rows and right sides of the same problem as HiGHS takes it."""
    n, arms = effect.shape
    paid = np.broadcast_to(cost, effect.shape)
    shared = [paid.ravel()] if budget is not None else []
    shared += [np.tile(np.eye(arms)[k], n) for k in range(arms)] if capacity is not None else []
    shared += [np.ones(n * arms)] if contacts is not None else []
    room = [
        *([] if budget is None else [budget]), *([] if capacity is None else capacity),
        *([] if contacts is None else [contacts]),
    ]  # fmt: skip
    each = sparse.kron(sparse.eye(n), np.ones((1, arms)))
    rows = sparse.vstack([each, sparse.csr_matrix(np.reshape(shared, (-1, n * arms)))], format="csr")
    return (VALUE * effect - paid).ravel(), rows, np.concatenate([np.ones(n), room])


def _best_relaxed(effect, cost, limits):
    profit, rows, room = _programme(effect, cost, **limits)
    return -linprog(-profit, rows, room, bounds=(0, 1), method="highs-ds").fun


def _best_whole(effect, cost, limits):
    profit, rows, room = _programme(effect, cost, **limits)
    found = milp(-profit, constraints=LinearConstraint(rows, ub=room), bounds=Bounds(0, 1), integrality=1)
    return -found.fun


def _holds(found, effect, cost, budget=None, capacity=None, contacts=None):
    """That the choice keeps the limits and that its totals are its own; the number of limits that bind."""
    n, arms = effect.shape
    paid, on = np.broadcast_to(cost, effect.shape), found.chosen > 0
    taken = np.arange(n)[on], found.chosen[on] - 1
    assert found.spend == pytest.approx(paid[taken].sum(), rel=1e-9, abs=1e-12)
    assert found.profit == pytest.approx((VALUE * effect - paid)[taken].sum(), rel=1e-9, abs=1e-9)
    assert found.treated == tuple(np.bincount(found.chosen, minlength=arms + 1)[1:])
    limits = [(budget, found.spend), *zip(capacity or [None] * arms, found.treated, strict=True)]
    limits.append((contacts, on.sum()))
    assert all(used <= limit * (1 + 1e-9) for limit, used in limits if limit is not None)
    prices = found.rule.prices
    return sum(price > 0 for price in (prices.budget, *prices.capacity, prices.contacts))


@pytest.mark.parametrize("arms", [1, 2, 3])
def test_the_best_whole_choice_lies_between_profit_and_bound_which_are_close(arms):
    short = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        effect, cost = _units(int(rng.integers(5, 40)), arms, seed, varying=seed % 2 == 0)
        limits = _some_limits(len(effect), arms, rng)
        found, best = allocate(effect, cost, value=VALUE, **limits), _best_whole(effect, cost, limits)
        binding = _holds(found, effect, cost, **limits)
        assert found.profit <= best + 1e-6 <= found.bound + 2e-6
        assert found.gap <= binding * (VALUE * effect - cost).max() + 1e-6
        short += found.gap > 1e-6
    assert short > 0  # some budgets do split a unit


@pytest.mark.parametrize("varying", [True, False])
def test_cuts_and_settling_find_the_price_of_the_whole_linear_programme(varying, monkeypatch):
    monkeypatch.setattr(knapsack, "PROGRAMME", 25)
    for seed in range(8):
        rng = np.random.default_rng(100 + seed)
        effect, cost = _units(600, 2, 100 + seed, varying)
        limits = _some_limits(600, 2, rng)
        found = allocate(effect, cost, value=VALUE, **limits)
        binding = _holds(found, effect, cost, **limits)
        assert found.bound == pytest.approx(_best_relaxed(effect, cost, limits), rel=1e-6)
        assert found.gap <= binding * (VALUE * effect - cost).max() + 1e-6


def test_without_limits_each_unit_gets_what_is_best_for_it_and_nothing_is_missed():
    effect, cost = _units(5_000, 3, 0)
    found = allocate(effect, cost, value=VALUE)
    profit = np.column_stack([np.zeros(5_000), VALUE * effect - cost])
    np.testing.assert_array_equal(found.chosen, profit.argmax(axis=1))
    assert found.profit == pytest.approx(profit.max(axis=1).sum(), rel=1e-12)
    assert found.gap <= 1e-9
    assert found.rule.prices == Prices(budget=0.0, capacity=(0.0, 0.0, 0.0), contacts=0.0)


@pytest.mark.parametrize("n", [900, 9_000])
def test_one_treatment_goes_to_those_with_most_profit_per_money(n):
    effect, cost = _units(n, 1, 1)
    found = allocate(effect, cost, value=VALUE, budget=0.05 * n)
    ratio = ((VALUE * effect - cost) / cost)[:, 0]
    order = np.argsort(-ratio)
    afforded = int((cost[order, 0].cumsum() <= 0.05 * n).sum())
    expected = np.zeros(n, dtype=int)
    expected[order[:afforded]] = 1
    # After the last unit that is paid in full the money left may still do for one that costs less.
    different = np.flatnonzero(found.chosen != expected)
    assert (found.chosen[different] == 1).all()
    assert different.size <= 1
    assert found.rule.prices.budget == pytest.approx(ratio[order[afforded]], rel=1e-6)


def test_each_capacity_of_one_treatment_is_a_quantile_and_its_price_the_next_units_profit():
    effect, cost = _units(6_000, 1, 2, varying=False)
    found = allocate(effect, cost, value=VALUE, capacity=[700])
    gain = VALUE * effect[:, 0] - cost[0]
    order = np.argsort(-gain)
    np.testing.assert_array_equal(np.flatnonzero(found.chosen), np.sort(order[:700]))
    assert gain[order[700]] - 1e-6 <= found.rule.prices.capacity[0] <= gain[order[699]] + 1e-6
    assert found.gap <= 1e-6  # places are whole numbers: nothing is split


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
def test_the_order_of_rows_changes_nothing(seed):
    effect, cost = _units(400, 2, seed)
    limits = {"budget": 20.0, "capacity": [80, 60], "contacts": 110}
    order = np.random.default_rng(seed).permutation(400)
    base, moved = (allocate(effect[o], cost[o], value=VALUE, **limits) for o in (np.arange(400), order))
    np.testing.assert_array_equal(moved.chosen, base.chosen[order])
    assert moved.bound == pytest.approx(base.bound, rel=1e-9)


def test_the_order_of_many_rows_changes_nothing_either():
    effect, cost = _units(20_000, 2, 5)
    limits = {"budget": 1_000.0, "contacts": 5_000}
    order = np.random.default_rng(5).permutation(20_000)
    base, moved = (allocate(effect[o], cost[o], value=VALUE, **limits) for o in (np.arange(20_000), order))
    np.testing.assert_array_equal(moved.chosen, base.chosen[order])
    assert moved.rule.prices.budget == pytest.approx(base.rule.prices.budget, rel=1e-6)
    assert moved.rule.prices.contacts == pytest.approx(base.rule.prices.contacts, rel=1e-6)


@pytest.mark.parametrize("rate", [1e-9, 100.0, 1e9])
def test_money_in_another_currency_changes_no_choice(rate):
    effect, cost = _units(5_000, 2, 6)
    limits = {"capacity": [300, 250], "contacts": 500}
    base = allocate(effect, cost, value=VALUE, budget=200.0, **limits)
    other = allocate(effect, rate * cost, value=rate * VALUE, budget=rate * 200.0, **limits)
    np.testing.assert_array_equal(other.chosen, base.chosen)
    assert other.rule.prices.budget == pytest.approx(base.rule.prices.budget, rel=1e-6)
    assert other.rule.prices.contacts == pytest.approx(rate * base.rule.prices.contacts, rel=1e-6)


def test_costs_by_treatment_are_costs_by_unit_that_do_not_differ_and_single_precision_will_do():
    effect, cost = _units(5_000, 2, 7, varying=False)
    limits = {"budget": 200.0, "capacity": [400, 150]}
    base = allocate(effect, cost, value=VALUE, **limits)
    np.testing.assert_array_equal(
        allocate(effect, np.tile(cost, (5_000, 1)), value=VALUE, **limits).chosen, base.chosen
    )
    single = allocate(effect.astype(np.float32), cost.astype(np.float32), value=VALUE, **limits)
    assert single.bound == pytest.approx(base.bound, rel=1e-6)
    assert single.gap <= 2 * (VALUE * effect - cost).max()


def test_equal_units_are_treated_by_row_and_counted():
    effect = np.tile([[0.10], [0.20]], (10_000, 1))  # a score with two values
    found = allocate(effect, [0.5], value=VALUE, budget=6_000.0)
    assert found.treated == (12_000,)
    assert found.tied == 10_000
    assert (found.chosen[1::2] == 1).all()
    np.testing.assert_array_equal(np.flatnonzero(found.chosen[::2]), np.arange(2_000))
    assert found.rule.prices.budget == pytest.approx((VALUE * 0.10 - 0.5) / 0.5)
    assert found.gap <= 1e-9 * found.profit  # as far as limits are kept


def test_rounded_scores_cost_no_more_than_a_unit_per_limit():
    effect, cost = _units(30_000, 2, 8, varying=False)
    limits = {"budget": 2_000.3, "capacity": [4_000, 2_000], "contacts": 5_000}
    found = allocate(np.round(effect, 1), cost, value=VALUE, **limits)
    assert found.gap <= _holds(found, np.round(effect, 1), cost, **limits) * VALUE * np.round(effect, 1).max()
    assert found.tied > 1_000


def test_thousands_of_different_units_tied_at_one_price_still_come_close_to_the_bound(monkeypatch):
    monkeypatch.setattr(knapsack, "PROGRAMME", 200)
    effect, _ = _units(6_000, 2, 9)
    cost = 0.25 * VALUE * np.abs(effect)  # profit is three times the cost for all who gain
    limits = {"budget": 500.0, "capacity": [1_500, 1_500]}
    found = allocate(effect, cost, value=VALUE, **limits)
    _holds(found, effect, cost, **limits)
    assert found.rule.prices.budget == pytest.approx(3.0, rel=1e-4)
    assert found.gap <= 0.005 * found.profit


@pytest.mark.parametrize("n", [50, 5_000])
def test_no_budget_treats_nobody_who_costs_something(n):
    effect, cost = _units(n, 2, 10)
    cost[::10, 1] = 0.0
    found = allocate(effect, cost, value=VALUE, budget=0.0)
    assert found.spend == 0.0
    free = np.flatnonzero((cost[:, 1] == 0) & (effect[:, 1] > 0))
    np.testing.assert_array_equal(np.flatnonzero(found.chosen), free)
    assert not allocate(effect, cost, value=VALUE, capacity=[0, 0]).chosen.any()
    assert not allocate(effect, cost, value=VALUE, contacts=0).chosen.any()


def test_a_frozen_rule_repeats_its_own_choice_and_spends_the_budget_on_new_units_on_average():
    effect, cost = _units(20_000, 2, 11)
    limits = {"budget": 1_000.0, "contacts": 3_000}
    found = allocate(effect, cost, value=VALUE, **limits)
    again = found.rule.treat(effect, cost)
    assert (again != found.chosen).sum() <= found.tied <= 2
    spends, contacts = [], []
    for seed in range(20):
        new_effect, new_cost = _units(20_000, 2, 1_000 + seed)
        chosen = found.rule.treat(new_effect, new_cost)
        on = chosen > 0
        spends.append(new_cost[on, chosen[on] - 1].sum())
        contacts.append(on.sum())
    # The prices come from one draw of units, hence the error of a difference of two draws.
    for drawn, limit in ((spends, 1_000.0), (contacts, 3_000)):
        assert abs(np.mean(drawn) - limit) <= 3 * np.std(drawn) * np.sqrt(1 + 1 / 20)


def test_ties_of_a_rule_go_to_no_treatment_and_then_to_the_first():
    rule = Rule(value=1.0, prices=Prices(budget=1.0, capacity=(0.0, 0.5), contacts=0.25))
    # net of 2 * cost, place and contact: (0, -), (0.5, 0.5), (-, 0.25)
    effect = np.array([[2.25, 0.0], [2.75, 3.25], [0.0, 3.0]])
    np.testing.assert_array_equal(rule.treat(effect, [1.0, 1.0]), [0, 1, 2])


def test_the_frontier_is_the_choice_at_each_budget_in_any_order():
    effect, cost = _units(4_000, 2, 12)
    budgets = [400.0, 20.0, 100.0, 1e6, 200.0]
    points = frontier(effect, cost, value=VALUE, budgets=budgets, contacts=900)
    for budget, point in zip(budgets, points, strict=True):
        alone = allocate(effect, cost, value=VALUE, budget=budget, contacts=900)
        assert point.budget == budget
        assert point.bound == pytest.approx(alone.bound, rel=1e-7)
        assert point.profit == pytest.approx(alone.profit, abs=2.0)
        assert point.spend <= budget * (1 + 1e-9)
        assert point.bound - point.profit <= 2 * (VALUE * effect - cost).max()


def test_the_frontier_rises_ever_more_slowly_and_its_price_is_its_slope():
    effect, cost = _units(10_000, 2, 13)
    points = frontier(effect, cost, value=VALUE, budgets=np.linspace(20, 800, 14).tolist())
    slopes = np.diff([p.bound for p in points]) / np.diff([p.budget for p in points])
    prices = np.array([p.price for p in points])
    assert (np.diff(prices) < 0).all()
    assert (slopes <= prices[:-1] + 1e-6).all()
    assert (slopes >= prices[1:] - 1e-6).all()


def test_prices_of_capacity_and_contacts_are_what_one_more_would_earn():
    effect, cost = _units(5_000, 2, 14)
    limits = {"budget": 250.0, "capacity": [400, 300], "contacts": 600}
    base = allocate(effect, cost, value=VALUE, **limits)
    prices = base.rule.prices
    more = allocate(effect, cost, value=VALUE, **(limits | {"contacts": 601}))
    fewer = allocate(effect, cost, value=VALUE, **(limits | {"contacts": 599}))
    assert prices.contacts > 0
    assert more.bound - base.bound <= prices.contacts + 1e-5 <= base.bound - fewer.bound + 2e-5


def test_arrays_and_limits_that_make_no_sense_are_refused_by_name():
    effect, cost = _units(20, 2, 15)
    hole = effect.copy()
    hole[3, 1] = np.nan
    with pytest.raises(ValueError, match="effect: expected finite numbers, got nan"):
        allocate(hole, cost, value=VALUE)
    with pytest.raises(ValueError, match=r"effect: expected numbers \(n, K\) of at least one unit"):
        allocate(effect[:, 0], cost, value=VALUE)
    with pytest.raises(ValueError, match=r"effect: expected numbers .* got <U"):
        allocate([["a", "b"]], [1.0, 1.0], value=VALUE)
    with pytest.raises(ValueError, match=r"cost: expected numbers \(2,\) or \(20, 2\), got float64 \(3,\)"):
        allocate(effect, np.ones(3), value=VALUE)
    with pytest.raises(ValueError, match=r"cost: expected finite numbers from 0, got -1\.0"):
        allocate(effect, [1.0, -1.0], value=VALUE)
    with pytest.raises(ValueError, match="value: expected a finite number, got nan"):
        allocate(effect, cost, value=np.nan)
    for name, limit in (("budget", -1.0), ("budget", np.nan), ("contacts", -3), ("contacts", np.inf)):
        with pytest.raises(ValueError, match=f"{name}: expected None or a finite number from 0"):
            allocate(effect, cost, value=VALUE, **{name: limit})
    for capacity in ([1.0], [1.0, -2.0], [1.0, np.nan]):
        with pytest.raises(ValueError, match="capacity: expected 2 numbers from 0, one per treatment"):
            allocate(effect, cost, value=VALUE, capacity=capacity)
    with pytest.raises(ValueError, match="budget: expected None or a finite number from 0, got -2"):
        frontier(effect, cost, value=VALUE, budgets=[1.0, -2.0])
    rule = Rule(value=1.0, prices=Prices(budget=0.0, capacity=(0.0,), contacts=0.0))
    with pytest.raises(ValueError, match="effect: expected 1 treatments, got 2"):
        rule.treat(effect, cost)
