import numpy as np
import pytest

from causal_assets.estimators.bacon import bacon
from causal_assets.estimators.two_way import two_way
from tests.estimators.panels import long, reforms


def _world(seed, never=True):
    rng = np.random.default_rng(seed)
    start = rng.choice([2, 4, 7, 10] if never else [2, 4, 7], size=60)
    dose = (np.arange(10) >= start[:, None]).astype(float)
    return rng.normal(size=(60, 10)).cumsum(axis=1) + dose, dose


@pytest.mark.parametrize("never", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_components_add_to_the_two_way_coefficient(seed, never):
    outcome, dose = _world(seed, never)
    found = bacon(outcome, dose)
    assert sum(c.weight for c in found) == pytest.approx(1, rel=1e-12)
    assert all(c.weight > 0 for c in found)
    assert sum(c.weight * c.value for c in found) == pytest.approx(two_way(*long(outcome, dose)).value, rel=1e-9)


def test_the_published_decomposition_of_goodman_s_reforms_is_reproduced():
    # bacondecomp's README: weight and average estimate of each kind of comparison
    outcome, dose = reforms()
    kinds = {"untreated": [], "earlier": [], "later": []}
    for c in bacon(outcome, dose):
        kinds["later" if c.forbidden else "untreated" if c.control == 20 else "earlier"].append(c)
    for kind, weight, value in [
        ("earlier", 0.06353, 0.02868),
        ("later", 0.05265, 0.03375),
        ("untreated", 0.88382, -0.00129),
    ]:
        total = sum(c.weight for c in kinds[kind])
        assert total == pytest.approx(weight, abs=5e-6)
        assert sum(c.weight * c.value for c in kinds[kind]) / total == pytest.approx(value, abs=1e-5)


def test_weights_and_values_are_diff_diff_s():
    import pandas as pd
    from diff_diff import BaconDecomposition

    outcome, dose = _world(1)
    y, _, unit, period = long(outcome, dose)
    first = np.where(dose.any(axis=1), 10 - dose.sum(axis=1), 0)[unit]
    data = pd.DataFrame({"y": y, "unit": unit, "period": period, "first": first})
    reference = BaconDecomposition().fit(data, "y", "unit", "period", "first")
    theirs = sorted((c.weight, c.estimate) for c in reference.comparisons)
    np.testing.assert_allclose(sorted((c.weight, c.value) for c in bacon(outcome, dose)), theirs, rtol=1e-8)


def test_growing_effects_enter_forbidden_comparisons_with_the_wrong_sign():
    start = np.repeat([2, 5, 10], 10)
    exposure = np.clip(np.arange(10) - start[:, None] + 1, 0, None).astype(float)
    forbidden = [c for c in bacon(exposure, (exposure > 0).astype(float)) if c.forbidden]
    assert len(forbidden) == 1 and forbidden[0].value < 0


def test_bad_input_is_refused_by_name():
    outcome, dose = _world(0)
    for given, message in [
        ((outcome[1:], dose), "expected one shape"),
        ((outcome, np.maximum(dose, np.arange(60)[:, None] == 0)), "treated from the first period on"),
        ((outcome, dose * (np.arange(10) < 9)), "treatment ends"),
        ((outcome, 0 * dose), "nothing to compare"),
    ]:
        with pytest.raises(ValueError, match=message):
            bacon(*given)
