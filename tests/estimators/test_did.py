import numpy as np
import pytest
from scipy.stats import binomtest

from causal_assets.estimators.did import two_by_two

N = 1_000


def _panel(seed, effect):
    """Treated units start 3 higher, so that the difference after is off by 3; both arms move by 1 alike."""
    rng = np.random.default_rng(seed)
    d = rng.random(N) < 0.3
    level = 10 + 3 * d + rng.normal(size=N)
    return level + rng.normal(size=N), level + 1 + effect * d + rng.normal(size=N), d, np.arange(N)


@pytest.mark.parametrize("truth", [2.0, 0.0])
def test_parallel_trends_are_subtracted_with_honest_errors(truth):
    first = 0 if truth else 400  # the placebo twin has draws of its own
    results = [two_by_two(*_panel(first + seed, truth), outcome="y") for seed in range(400)]
    errors = np.array([r.value - truth for r in results])
    assert abs(errors.mean()) / errors.std() < 0.15
    assert 0.93 < np.mean([r.std_error for r in results]) / errors.std() < 1.07
    covered = sum(r.low <= truth <= r.high for r in results)
    assert binomtest(covered, 400, 0.93, alternative="less").pvalue > 0.05
    assert np.mean([r.control_mean for r in results]) == pytest.approx(14, abs=0.02)


def test_the_four_means_give_the_estimate():
    pre, post, d, unit = _panel(0, 2.0)
    by_hand = (post[d].mean() - pre[d].mean()) - (post[~d].mean() - pre[~d].mean())
    result = two_by_two(pre, post, d, unit, outcome="y")
    assert result.value == pytest.approx(by_hand, rel=1e-10)
    assert result.control_mean == pytest.approx(post[d].mean() - by_hand, rel=1e-10)
    assert (result.n_treated, result.n_control) == (d.sum(), (~d).sum())


def test_duplicated_rows_order_shift_and_swapped_arms_leave_the_error():
    panel = _panel(1, 2.0)
    base = two_by_two(*panel, outcome="y")
    twice = two_by_two(*(np.repeat(a, 2) for a in panel), outcome="y")
    assert twice.std_error == pytest.approx(base.std_error, rel=1e-12)
    assert twice.n_treated == base.n_treated
    order = np.random.default_rng(2).permutation(N)
    assert two_by_two(*(a[order] for a in panel), outcome="y").value == pytest.approx(base.value, rel=1e-10)
    pre, post, d, unit = panel
    assert two_by_two(pre + 1e9, post + 1e9, d, unit, outcome="y").std_error == pytest.approx(base.std_error, rel=1e-6)
    assert two_by_two(pre, post, ~d, unit, outcome="y").value == pytest.approx(-base.value, rel=1e-10)


def test_bad_input_is_refused_by_name():
    pre, post, d, unit = _panel(0, 0.0)
    with pytest.raises(ValueError, match="shapes must agree"):
        two_by_two(pre[1:], post, d, unit, outcome="y")
    with pytest.raises(ValueError, match="may not be NaN"):
        two_by_two(np.where(d, np.nan, pre), post, d, unit, outcome="y")
    with pytest.raises(ValueError, match="expected both 0 and 1"):
        two_by_two(pre, post, np.zeros(N), unit, outcome="y")
