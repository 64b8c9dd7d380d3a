"""What a reader is told of a model is what the model does."""

import numpy as np
import pytest

from causal_assets.targeting.explain import MOST_ROWS, influence, policy_tree

NAMES, ARMS = ("recency", "orders", "visits"), ("control", "email", "call")


def rows(n=2_000, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 3))


def test_influence_is_the_mean_size_of_each_features_share_in_the_effect():
    x = rows()
    effect = np.column_stack([2.0 * x[:, 0], x[:, 1] - 0.5 * x[:, 2]])
    found = influence(x, effect, seed=1)
    assert found.shape == (3, 2)
    # A share of a linear effect is coefficient times distance from the mean, of mean size sqrt(2 / pi).
    planted = np.sqrt(2 / np.pi) * np.array([[2, 0], [0, 1], [0, 0.5]])
    np.testing.assert_allclose(found, planted, atol=0.12)
    assert found[1:, 0].max() < 0.02


def test_nothing_has_an_influence_on_the_same_effect_for_everybody():
    np.testing.assert_array_equal(influence(rows(), np.full((2_000, 2), 0.3), seed=1), 0.0)


def test_influence_is_in_the_outcomes_unit_and_the_same_each_time():
    x = rows()
    effect = x[:, [0]] * np.abs(x[:, [1]])
    found = influence(x, effect, seed=1)
    np.testing.assert_array_equal(influence(x, effect, seed=1), found)
    np.testing.assert_allclose(influence(x, 100 * effect + 7, seed=1), 100 * found, rtol=1e-6)


def test_rows_beyond_a_few_thousand_are_drawn():
    x = rows(MOST_ROWS + 5_000)
    found = influence(x, 2.0 * x[:, [0]], seed=1)
    assert found[0, 0] == pytest.approx(2 * np.sqrt(2 / np.pi), abs=0.1)


def worth(best):
    """Net worth (n, 3) of the arms where ``best`` (n,) is worth 1 and nothing is worth nothing but the control 0."""
    net = np.where(np.arange(3) == best[:, None], 1.0, -1.0)
    net[:, 0] = 0.0
    return net


def test_the_tree_of_a_known_policy_is_that_policy():
    x = rows()
    best = np.where(x[:, 0] <= 0.2, 0, np.where(x[:, 1] <= -0.4, 2, 1))
    found = policy_tree(x, worth(best), NAMES, ARMS, seed=1)
    cuts = [float(line.split()[-1].rstrip(":")) for line in found if line.endswith(":")]
    below = [max(x[:, 0][x[:, 0] <= 0.2]), max(x[:, 1][(x[:, 1] <= -0.4) & (x[:, 0] > 0.2)])]
    words = [line.rsplit(" ", 1)[0] if line.endswith(":") else line for line in found]
    assert words == [
        "recency up to", "  control", "recency above", "  orders up to", "    call", "  orders above", "    email",
    ]  # fmt: skip
    assert cuts[0] == cuts[1] == pytest.approx(below[0], abs=0.01)
    assert cuts[2] == cuts[3] == pytest.approx(below[1], abs=0.01)


@pytest.mark.parametrize("arm", [0, 1, 2])
def test_one_arm_for_everybody_is_one_line(arm):
    x = rows()
    net = worth(np.full(2_000, arm)) + 0.1 * x[:, [0]] * [0, 1, 1]  # that varies in size, not in sign
    assert policy_tree(x, net, NAMES, ARMS, seed=1) == [ARMS[arm]]


def test_a_kind_is_asked_for_by_name():
    x = np.column_stack([rows()[:, 0], np.arange(2_000) % 2])
    found = policy_tree(x, worth(np.where(x[:, 1] > 0, 1, 0)), ("recency", "channel=app"), ARMS, seed=1)
    assert found == ["not channel=app:", "  control", "channel=app:", "  email"]


def test_the_same_rows_give_the_same_tree():
    x = rows()
    net = worth(np.where(x[:, 0] + x[:, 1] > 0, 1, 0))
    assert policy_tree(x, net, NAMES, ARMS, seed=1) == policy_tree(x, net, NAMES, ARMS, seed=1)
