import numpy as np
import pytest
from scipy.stats import binomtest

from causal_assets.estimators.did import two_by_two, two_by_two_clustered, two_by_two_moments
from causal_assets.estimators.moments import Moments

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


def _moments(pre, post, d):
    return [Moments.of(np.column_stack([pre, post - pre])[d == arm]) for arm in (False, True)]


@pytest.mark.parametrize("truth", [2.0, 0.0])
def test_moments_of_small_arms_keep_their_coverage(truth):
    first = 0 if truth else 2_000  # the placebo twin has draws of its own
    results = []
    for seed in range(2_000):
        pre, post, d, _ = (a[:60] for a in _panel(first + seed, truth))
        results.append(two_by_two_moments(*_moments(pre, post, d), outcome="y"))
    errors = np.array([r.value - truth for r in results])
    assert abs(errors.mean()) / errors.std() < 0.15
    assert 0.93 < np.sqrt(np.mean([r.std_error**2 for r in results])) / errors.std() < 1.07
    assert binomtest(sum(r.covers(truth) for r in results), 2_000, 0.95).pvalue > 0.001
    assert all(r.covers(0) == (r.p_value > 0.05) for r in results)


def test_moments_and_clusters_of_one_unit_agree_with_the_rows():
    pre, post, d, unit = _panel(3, 2.0)
    rows, moments = (
        two_by_two(pre, post, d, unit, outcome="y"),
        two_by_two_moments(*_moments(pre, post, d), outcome="y"),
    )
    long = two_by_two_clustered(
        np.append(pre, post), np.tile(d, 2), np.repeat([0, 1], N), np.tile(unit, 2), outcome="y"
    )
    assert moments.value == pytest.approx(rows.value, rel=1e-12)
    assert long.value == pytest.approx(rows.value, rel=1e-9)
    assert long.control_mean == pytest.approx(rows.control_mean, rel=1e-9)
    assert moments.control_mean == pytest.approx(rows.control_mean, rel=1e-12)
    assert long.std_error == pytest.approx(moments.std_error, rel=1e-9)  # CR2 by unit is each arm's own variance
    assert rows.std_error == pytest.approx(moments.std_error, rel=2e-3)
    assert (long.relative_low, long.relative_high) == pytest.approx(
        (moments.relative_low, moments.relative_high), rel=1e-3
    )


def test_card_and_krueger_s_published_employment_effect_is_reproduced():
    # Card & Krueger (1994), AER 84(4), table 3, rows 1-4: means of full-time equivalents in New Jersey and
    # Pennsylvania before and after, and their standard errors; the difference is 2.76 (1.36).
    before = {"pa": (23.33, 1.35), "nj": (20.44, 0.51)}
    after = {"pa": (21.17, 0.94), "nj": (21.03, 0.52)}
    stores = {"pa": 77, "nj": 321}
    rng = np.random.default_rng(0)
    y, d, post = [], [], []
    for state, n in stores.items():
        for when, cells in enumerate((before, after)):
            mean, error = cells[state]
            draw = rng.normal(size=n)
            y.append(mean + (draw - draw.mean()) / draw.std(ddof=1) * error * np.sqrt(n))
            d.append(np.full(n, state == "nj"))
            post.append(np.full(n, when))
    y, d, post = (np.concatenate(a) for a in (y, d, post))
    result = two_by_two_clustered(y, d, post, np.arange(y.size), outcome="fte")
    assert result.value == pytest.approx(2.76, abs=0.011)  # the printed means are rounded
    assert result.std_error == pytest.approx(np.sqrt(1.35**2 + 0.51**2 + 0.94**2 + 0.52**2), rel=1e-9)


def test_twenty_unequal_markets_are_covered_and_row_errors_are_not():
    covered = naive = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        market = np.repeat(np.arange(20), np.geomspace(3, 60, 20).astype(int)[rng.permutation(20)])
        d, shock = market < 10, rng.normal(size=(2, 20))
        y = np.concatenate([shock[post][market] + rng.normal(size=market.size) for post in (0, 1)])
        long = y, np.tile(d, 2), np.repeat([0, 1], market.size)
        covered += two_by_two_clustered(*long, np.tile(market, 2), outcome="y").covers(0)
        naive += two_by_two_clustered(*long, np.arange(y.size), outcome="y").covers(0)
    assert binomtest(covered, 400, 0.93, alternative="less").pvalue > 0.05
    assert naive < 300  # the trap of errors by row


def test_a_billion_added_partitions_and_swapped_arms_leave_the_moments_estimate():
    pre, post, d, _ = _panel(5, 2.0)
    base = two_by_two_moments(*_moments(pre, post, d), outcome="y")
    shifted = two_by_two_moments(*_moments(pre + 1e9, post + 1e9, d), outcome="y")
    assert shifted.std_error == pytest.approx(base.std_error, rel=1e-6)
    parts = [_moments(pre[k::7], post[k::7], d[k::7]) for k in range(7)]
    control, treated = parts[0]
    for c, t in parts[1:]:
        control, treated = control.merge(c), treated.merge(t)
    assert two_by_two_moments(control, treated, outcome="y").std_error == pytest.approx(base.std_error, rel=1e-10)
    assert two_by_two_moments(*_moments(pre, post, ~d), outcome="y").value == pytest.approx(-base.value, rel=1e-10)


def test_bad_moments_and_clusters_are_refused_by_name():
    pre, post, d, _ = _panel(0, 0.0)
    good, other = _moments(pre, post, d)
    with pytest.raises(ValueError, match="control: expected the columns before and change, got 1"):
        two_by_two_moments(good.select([0]), other, outcome="y")
    with pytest.raises(ValueError, match="treated: a variance needs at least 2 units"):
        two_by_two_moments(good, Moments.of([[1.0, 2.0]]), outcome="y")
    flat = Moments.of(np.ones((5, 2)))
    with pytest.raises(ValueError, match="no variance in either arm"):
        two_by_two_moments(flat, flat, outcome="y")
    y, dose, late = np.append(pre, post), np.tile(d, 2), np.repeat([0, 1], N)
    market = np.tile(np.arange(N) % 50, 2)
    for given, message in [
        ((y[1:], dose, late, market), "shapes must agree"),
        ((np.full(2 * N, np.inf), dose, late, market), "may not be NaN or infinite"),
        ((y, dose, late + 1, market), "post: expected both 0 and 1"),
        ((y, late, late, market), "one of the four cells is empty"),
        ((y, dose, late, np.where(dose, 0, market)), "1 treated and 50 control clusters"),
    ]:
        with pytest.raises(ValueError, match=message):
            two_by_two_clustered(*given, outcome="y")
