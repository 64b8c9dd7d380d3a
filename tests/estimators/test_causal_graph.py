"""A causal graph: what must and must not be adjusted for, and whether the data bear it out."""

from itertools import combinations

import networkx as nx
import numpy as np
import pytest

from causal_assets.estimators.causal_graph import CausalGraph, Independence, independence_tests


def graph(*lines: str, covariates: str = "") -> CausalGraph:
    return CausalGraph.read(lines, "y", covariates.split())


@pytest.mark.parametrize(
    ("lines", "covariates", "sets", "left_open", "opened", "descendants"),
    [
        (["a -> treatment, y", "treatment -> y"], "a", [("a",)], 0, (), ()),
        (["a, (u) -> treatment, y", "treatment -> y"], "a", [], 1, (), ()),
        (["(u) -> a, y", "a -> treatment -> y"], "a", [("a",)], 0, (), ()),
        (["(u) -> treatment, m", "(v) -> m, y", "treatment -> y"], "m", [()], 1, ("m",), ()),
        (
            ["(u) -> treatment, m", "(v) -> m, y", "m -> child", "treatment -> y"],
            "m child",
            [()],
            1,
            ("child", "m"),
            (),
        ),
        (["treatment -> mediator -> y"], "mediator", [()], 0, (), ("mediator",)),
        (["z -> treatment -> y", "(u) -> treatment, y, proxy"], "z proxy", [], 1, (), ()),
        (["a -> b -> treatment -> y", "a -> y"], "a b", [("a",), ("b",)], 0, (), ()),
    ],
    ids=[
        "confounder",
        "hidden",
        "front of hidden",
        "M-bias",
        "M-bias by a child",
        "mediator",
        "proxy",
        "either of two",
    ],
)
def test_textbook_graphs(lines, covariates, sets, left_open, opened, descendants):
    found = graph(*lines, covariates=covariates).adjustment()
    assert found.sets == tuple(sets)
    assert len(found.open_paths) == left_open
    assert found.opened == opened
    assert found.descendants == descendants


def test_an_open_path_is_told_with_its_arrows():
    (path,) = graph("(u) -> treatment, m", "(v) -> m, y", "treatment -> y", covariates="m").adjustment().open_paths
    assert path == "treatment <- (u) -> m <- (v) -> y"


def random_graph(rng: np.random.Generator) -> CausalGraph:
    """Seven names in a random order, each pair joined by chance; the treatment always reaches the outcome."""
    names = [*rng.permutation(["a", "b", "c", "d", "(u)"]), "y"]
    names.insert(int(rng.integers(6)), "treatment")
    edges = [f"{one} -> {other}" for one, other in combinations(names, 2) if rng.random() < 0.4]
    joined = {name.strip() for edge in edges for name in edge.split("->")}
    covariates = " ".join(sorted(joined & {"a", "b", "c", "d"}))
    return graph(*edges, "treatment -> y", covariates=covariates)


@pytest.mark.parametrize("seed", range(40))
def test_paths_and_sets_agree_with_separation_in_random_graphs(seed: int):
    drawn = random_graph(np.random.default_rng(seed))

    def separates(names: tuple[str, ...]) -> bool:
        return nx.is_d_separator(drawn.backdoor, {"treatment"}, {"y"}, set(names))

    subsets = [names for size in range(len(drawn.before) + 1) for names in combinations(drawn.before, size)]
    assert all(separates(names) is (not list(drawn.open_paths(names))) for names in subsets)
    enough = [set(names) for names in subsets if separates(names)]
    minimal = {tuple(sorted(one)) for one in enough if not any(other < one for other in enough)}
    found = set(drawn.adjustment_sets())
    assert found <= minimal
    assert found == minimal or len(found) == 5
    for one, other, given in drawn.independences():
        assert nx.is_d_separator(drawn.network, {one}, {other}, set(given))
        assert not {"y", *drawn.changed, *drawn.unobserved} & {one, other, *given}


@pytest.mark.parametrize(
    ("lines", "covariates", "said"),
    [
        (["a => treatment"], "a", "'a => treatment' is no edge; allowed is such as"),
        (["a -> -> treatment"], "a", "is no edge"),
        (["a, () -> treatment -> y"], "a", "is no edge"),
        (["a, b -> treatment -> y"], "a", r"unknown \['b'\]; allowed are \['a', 'treatment', 'y'\]"),
        (["(a) -> treatment -> y"], "a", r"\['a'\] in parentheses, which are recorded"),
        (["treatment -> y"], "a", r"\['a'\] have no place in it"),
        (["a -> y"], "a", r"\['treatment'\] have no place in it"),
        (["a -> b -> a -> treatment -> y"], "a b", "a -> b -> a is a cycle"),
        (["y -> treatment"], "", "no way from treatment to y"),
    ],
)
def test_a_graph_that_cannot_be_is_refused_by_name(lines, covariates, said):
    with pytest.raises(ValueError, match=f"causal_graph: .*{said}"):
        graph(*lines, covariates=covariates)


TRUE = ["a -> b -> treatment -> y", "a -> c", "b -> y"]
WRONG = ["a -> treatment", "b -> treatment -> y", "a -> c", "b -> y"]  # without a -> b


def world(seed: int, n: int = 400) -> dict[str, np.ndarray]:
    """Data of the true graph with long tails and spreads that grow with the cause, and a treatment of 0 and 1."""
    rng = np.random.default_rng(seed)
    a = rng.exponential(size=n)
    b = 0.4 * a + np.sqrt(a) * rng.normal(size=n)
    c = 0.5 * a + np.sqrt(a) * (rng.exponential(size=n) - 1)
    treated = rng.random(n) < 1 / (1 + np.exp(-b))
    return {
        name: values[:, None].astype(float) for name, values in {"a": a, "b": b, "c": c, "treatment": treated}.items()
    }


def rejected(lines: list[str], seed: int, alpha: float = 0.05) -> bool:
    implied = graph(*lines, covariates="a b c").independences()
    columns = world(seed)
    tested = independence_tests(implied, columns, np.arange(len(columns["a"])))
    return min(test.p_value for test in tested) * len(tested) < alpha


def test_a_true_graph_is_rejected_no_more_often_than_stated_and_a_wrong_one_is_found():
    seeds = range(250)
    assert np.mean([rejected(TRUE, seed) for seed in seeds]) < 0.05 + 2.5 * np.sqrt(0.05 * 0.95 / len(seeds))
    assert np.mean([rejected(WRONG, seed) for seed in range(30)]) > 0.8


def test_with_normal_data_the_test_is_fishers(seed: int = 3):
    rng = np.random.default_rng(seed)
    n = 5_000
    z, e, f = rng.normal(size=(3, n))
    one, other = z + e, 0.5 * z + f + 0.03 * e
    columns = {name: values[:, None] for name, values in {"one": one, "other": other, "z": z}.items()}
    (found,) = independence_tests([Independence("one", "other", ("z",))], columns, np.arange(n))
    inverse = np.linalg.inv(np.corrcoef([one, other, z]))
    partial = -inverse[0, 1] / np.sqrt(inverse[0, 0] * inverse[1, 1])
    assert found.correlation == pytest.approx(partial, abs=1e-12)
    from scipy.stats import norm

    fisher = 2 * norm.sf(abs(np.arctanh(partial)) * np.sqrt(n - 4))
    assert found.p_value == pytest.approx(fisher, rel=0.2)


def test_copies_of_rows_in_one_cluster_add_nothing_and_levels_of_a_text_are_one_name():
    columns = world(0) | {"region": np.eye(3)[np.arange(400) % 3][:, 1:]}
    implied = [Independence("b", "c", ("a", "region")), Independence("a", "region", ())]
    once = independence_tests(implied, columns, np.arange(400))
    twice = {name: np.tile(values, (2, 1)) for name, values in columns.items()}
    again = independence_tests(implied, twice, np.tile(np.arange(400), 2))
    assert [test.p_value for test in again] == pytest.approx([test.p_value for test in once])
    scaled = independence_tests(implied, {name: 7 + 3 * values for name, values in columns.items()}, np.arange(400))
    assert [test.p_value for test in scaled] == pytest.approx([test.p_value for test in once])


def test_what_does_not_vary_or_is_known_already_refuses_nothing():
    columns = world(0)
    columns |= {"constant": np.ones((400, 1)), "copy": 2 * columns["a"], "one_level": np.empty((400, 0))}
    implied = [Independence("b", name, ("a",)) for name in ("constant", "copy", "one_level")]
    assert [test.p_value for test in independence_tests(implied, columns, np.arange(400))] == [1.0, 1.0, 1.0]
