"""Every candidate finds who responds where somebody does; the libraries compute from the nuisances they are given."""

import pickle
import subprocess
import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from causal_assets.targeting.learners import CANDIDATES, Task, uplift_forest
from causal_assets.targeting.nuisances import Sample, fit_nuisances, trees

N, SEEDS = 3_000, 6
# No heterogeneity ranks nobody: 0. Deep trees, which chase noise among so few units, come to 0.6.
BOUND, DEEP_BOUND = 0.7, 0.5
LEARNING = [name for name in CANDIDATES if name != "none"]
# Those whose trees are grown on draws of rows, so that their order matters.
DRAWN = {"forest", "uplift_forest"}


def effects(x, treatments):
    """Of responses' probability: each treatment has a feature of its own that decides who responds."""
    return 0.1 + 0.35 * np.tanh(2 * x[:, :treatments])


@cache
def task(treatments: int, *, selected: bool = False, seed: int = 7) -> Task:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, 4))
    pull = np.outer(x[:, 2], np.arange(treatments + 1)) * 0.7 * selected + rng.gumbel(size=(N, treatments + 1))
    arm = pull.argmax(axis=1)
    chance = 0.45 + 0.1 * np.tanh(2 * x[:, 2])
    chance[arm > 0] += effects(x, treatments)[arm > 0, arm[arm > 0] - 1]
    sample = Sample.of(x, arm, (rng.random(N) < chance).astype(float))
    nuisances = fit_nuisances(sample, randomised=not selected, seed=1)
    return Task(sample, nuisances.expected, nuisances.propensity, seed=1)


@cache
def learned(name: str, treatments: int):
    return CANDIDATES[name](task(treatments))


def new(treatments):
    x = np.random.default_rng(8).normal(size=(2_000, 4))
    return x, effects(x, treatments)


@pytest.mark.parametrize("treatments", [1, 2])
@pytest.mark.parametrize("name", LEARNING)
def test_every_candidate_ranks_new_units_by_their_planted_effects(name, treatments):
    x, planted = new(treatments)
    found = learned(name, treatments)(x)
    assert found.shape == planted.shape
    for k in range(treatments):
        assert np.corrcoef(found[:, k], planted[:, k])[0, 1] > (DEEP_BOUND if name.endswith("deep") else BOUND)
        assert abs(found[:, k].mean() - planted[:, k].mean()) < 0.08


@pytest.mark.parametrize("treatments", [1, 2])
def test_no_heterogeneity_is_the_mean_score_for_everybody(treatments):
    found = learned("none", treatments)(new(treatments)[0])
    np.testing.assert_array_equal(found, np.tile(task(treatments).scores.mean(axis=0), (2_000, 1)))
    assert np.abs(found[0] - 0.1).max() < 0.06


@pytest.mark.parametrize("name", ["none", "linear", "dr", "r", "forest"])
def test_selected_units_are_no_excuse_for_those_that_use_propensities(name):
    off, naive, errors = [], [], []
    for seed in range(SEEDS):
        given = task(2, selected=True, seed=seed)
        found, planted = CANDIDATES[name](given)(given.sample.x), effects(given.sample.x, 2)
        off.append(found.mean(axis=0) - planted.mean(axis=0))
        errors.append(given.scores.std(axis=0) / np.sqrt(N))
        by_arm = [given.sample.y[given.sample.arm == a].mean() for a in range(3)]
        naive.append(by_arm[2] - by_arm[0] - planted[:, 1].mean())
        if name != "none":
            assert min(np.corrcoef(found[:, k], planted[:, k])[0, 1] for k in range(2)) > BOUND
    error = np.mean(errors, axis=0) / np.sqrt(SEEDS)
    assert (np.abs(np.mean(off, axis=0)) < 3 * error).all()
    assert np.mean(naive) > 5 * error[1]


@pytest.mark.parametrize("treatments", [1, 2])
def test_econmls_linear_learner_is_least_squares_on_the_scores(treatments):
    given, (x, _) = task(treatments), new(treatments)
    one = np.ones((N, 1))
    coef = np.linalg.lstsq(np.hstack([one, given.sample.x]), given.scores, rcond=None)[0]
    np.testing.assert_allclose(learned("linear", treatments)(x), np.hstack([one[: len(x)], x]) @ coef, atol=1e-10)


@pytest.mark.parametrize("treatments", [1, 2])
def test_econmls_doubly_robust_learner_is_lightgbm_on_the_scores(treatments):
    given, (x, _) = task(treatments), new(treatments)
    direct = [trees(given.seed).fit(given.sample.x, column).predict(x) for column in given.scores.T]
    np.testing.assert_allclose(learned("dr", treatments)(x), np.stack(direct, axis=1), atol=1e-10)


def test_econmls_residual_learner_is_lightgbm_on_residual_over_residual_against_the_control():
    given, (x, _) = task(2), new(2)
    found = learned("r", 2)(x)
    for k in (1, 2):
        own = np.isin(given.sample.arm, (0, k))
        e = given.propensity[own, k] / (given.propensity[own, 0] + given.propensity[own, k])
        expected = given.expected[own]
        left = given.sample.y[own] - (1 - e) * expected[:, 0] - e * expected[:, k]
        moved = (given.sample.arm[own] == k) - e
        direct = trees(given.seed).fit(given.sample.x[own], left / moved, sample_weight=moved**2)
        np.testing.assert_allclose(found[:, k - 1], direct.predict(x), atol=1e-8)


@pytest.mark.parametrize("name", LEARNING)
def test_the_same_rows_and_seed_give_the_same_bytes_whatever_was_drawn_before(name):
    first = pickle.dumps(learned(name, 1)(new(1)[0]))
    np.random.seed(1)  # a library that draws from here would show
    np.random.rand(3)
    assert pickle.dumps(CANDIDATES[name](task(1))(new(1)[0])) == first


@pytest.mark.parametrize("name", [name for name in LEARNING if name not in DRAWN])
def test_the_order_of_rows_moves_nothing_but_rounding_where_no_rows_are_drawn(name):
    given, (x, _) = task(1), new(1)
    order = np.random.default_rng(2).permutation(N)
    s = given.sample
    turned = Sample(s.x[order], s.arm[order], s.y[order], s.unit[order])
    found = CANDIDATES[name](Task(turned, given.expected[order], given.propensity[order], given.seed))(x)
    np.testing.assert_allclose(found, learned(name, 1)(x), atol=1e-8)


@pytest.mark.parametrize("name", ["linear", "dr", "x"])
def test_treatments_in_another_order_have_the_same_effects(name):
    given, (x, _) = task(2), new(2)
    swapped = replace(given.sample, arm=np.array([0, 2, 1])[given.sample.arm])
    columns = [0, 2, 1]
    found = CANDIDATES[name](Task(swapped, given.expected[:, columns], given.propensity[:, columns], given.seed))(x)
    np.testing.assert_allclose(found[:, ::-1], learned(name, 2)(x), atol=1e-8)


def test_more_treatments_than_digits_keep_their_order_in_the_uplift_forest():
    rng = np.random.default_rng(3)
    x, arm = rng.normal(size=(6_000, 2)), rng.integers(0, 12, 6_000)
    y = (rng.random(6_000) < 0.2 + 0.6 * (arm == 2)).astype(float)
    flat = np.full((6_000, 12), 1 / 12)
    found = uplift_forest(Task(Sample(x, arm, y, np.arange(6_000)), flat, flat, seed=1))(x[:200]).mean(axis=0)
    assert found.argmax() == 1
    assert found[1] > 0.4


def test_the_uplift_forest_refuses_outcomes_that_are_no_yes_or_no():
    given = task(1)
    with pytest.raises(ValueError, match="uplift_forest takes outcomes of 0 and 1 only"):
        uplift_forest(replace(given, sample=replace(given.sample, y=given.sample.y * 2)))


@pytest.mark.parametrize("name", ["linear", "s", "dr", "x", "forest", "uplift_forest"])
def test_a_learned_model_holds_no_rows_of_persons(name):
    stored = pickle.dumps(learned(name, 1))
    for column in (*task(1).sample.x.T, task(1).sample.y):
        assert column[100:104].tobytes() not in stored


IMPORTS = """
import matplotlib, numpy as np
before = dict(matplotlib.rcParams)
from causal_assets.targeting.learners import library
for module, name in (("econml.dr", "DRLearner"), ("causalml.inference.meta", "BaseSRegressor"),
                     ("causalml.inference.tree", "UpliftRandomForestClassifier"), ("econml.policy", "PolicyTree")):
    library(module, name)
changed = [key for key in before if matplotlib.rcParams[key] != before[key]]
assert not changed, changed
"""


def test_loading_the_libraries_leaves_the_style_of_plots_alone():
    run = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
