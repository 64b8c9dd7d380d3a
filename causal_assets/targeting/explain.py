"""What a model's effects hang on, for people to read: influence by feature, and a short tree of who gets what."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causal_assets.estimators.inference import Floats
from causal_assets.targeting.learners import library
from causal_assets.targeting.nuisances import trees

# Enough rows for a stable mean and a tree of two questions, few enough for a second.
MOST_ROWS = 10_000
# Two questions in a row are what a reader keeps in mind.
DEPTH = 2


def influence(x: Floats, effect: Floats, *, seed: int) -> Floats:
    """Mean size (p, K) of each feature's share in each predicted effect, in the outcome's unit.

    TreeSHAP values of boosted trees that imitate ``effect`` (n, K) as a function of ``x`` (n, p). They say what the
    model looks at, not what would happen if a feature were changed.

    Source: Lundberg et al. (2020), From local explanations to global understanding, Nature Machine Intelligence 2.
    """
    own = _drawn(len(x), seed)
    found = [trees(seed).fit(x[own], column).predict(x[own], pred_contrib=True) for column in effect[own].T]
    return np.stack([np.abs(np.asarray(values)[:, :-1]).mean(axis=0) for values in found], axis=1)


def policy_tree(x: Floats, net: Floats, features: Sequence[str], arms: Sequence[str], *, seed: int) -> list[str]:
    """A tree of at most two questions that treats nearly as well as the model, as indented lines.

    ``net`` (n, K + 1) is what each arm is predicted to be worth, less its cost, the control first. To read, not to act
    on: the policy itself looks at every unit's own effects.

    Source: Athey & Wager (2021), Policy learning with observational data, section 2; EconML's PolicyTree.
    """
    own = _drawn(len(x), seed)
    tree = library("econml.policy", "PolicyTree")(
        max_depth=DEPTH, min_samples_leaf=max(len(own) // 50, 1), honest=False, random_state=seed
    )
    tree.fit(x[own], net[own])
    return _lines(tree.tree_, 0, 0, features, arms)


def _lines(tree: Any, node: int, depth: int, features: Sequence[str], arms: Sequence[str]) -> list[str]:
    indent = "  " * depth
    if tree.children_left[node] < 0:
        return [f"{indent}{arms[int(np.argmax(np.ravel(tree.value[node])))]}"]
    low, high = (
        _lines(tree, child, depth + 1, features, arms)
        for child in (tree.children_left[node], tree.children_right[node])
    )
    if low == high and len(low) == 1:  # a question that changes nothing
        return [indent + low[0].strip()]
    name, cut = features[tree.feature[node]], tree.threshold[node]
    yes_or_no = "=" in name  # see ``Features.names``
    below, above = (f"not {name}", name) if yes_or_no else (f"{name} up to {cut:.4g}", f"{name} above {cut:.4g}")
    return [f"{indent}{below}:", *low, f"{indent}{above}:", *high]


def _drawn(n: int, seed: int) -> NDArray[np.intp]:
    return np.sort(np.random.default_rng(seed).permutation(n)[:MOST_ROWS])
