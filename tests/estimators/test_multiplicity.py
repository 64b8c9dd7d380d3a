import gc
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri

from causal_assets.estimators.inference import estimate
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.multiplicity import at_level, benjamini_hochberg, bonferroni, holm
from causal_assets.estimators.proportions import Events, difference_in_proportions
from causal_assets.estimators.randomized import difference_in_means
from causal_assets.types import Estimate

PROCEDURES = {"bonferroni": bonferroni, "holm": holm, "fdr_bh": benjamini_hochberg}


def _t(value, df=30.0, level=0.95, error=1.0):
    cov = np.array([[0.25, -0.25], [-0.25, 1.0]]) * error**2
    named = {"outcome": "y", "estimand": "ATE", "method": "t", "n_treated": 20, "n_control": 20}
    return estimate(value=value, control_mean=10.0, cov=cov, df=df, level=level, **named)


def _family(values):
    """As functions of the level, so that relative intervals stay."""
    return [partial(lambda level, v: _t(v, level=level), v=v) for v in values]


@pytest.fixture(scope="module", autouse=True)
def frozen():
    """statsmodels collects garbage in every call of Holm's procedure: it need not look at all that is loaded."""
    from statsmodels.stats.multitest import multipletests  # noqa: F401

    gc.freeze()


same_sign = st.lists(st.floats(0.0, 6.0), min_size=1, max_size=8)


@pytest.mark.parametrize("name", list(PROCEDURES))
@settings(deadline=None, max_examples=40)
@given(values=same_sign)
def test_adjusted_p_values_are_statsmodels(name, values):
    from statsmodels.stats.multitest import multipletests

    p = [_normal(v).p_value for v in values]
    ours = [e.p_value for e in PROCEDURES[name]([_normal(v) for v in values])]
    assert ours == pytest.approx(multipletests(p, method=name)[1], rel=1e-9)


@pytest.mark.parametrize("name", list(PROCEDURES))
@settings(deadline=None, max_examples=40)
@given(values=st.lists(st.floats(-6, 6), min_size=1, max_size=8), level=st.sampled_from([0.8, 0.95]))
def test_zero_is_inside_exactly_when_the_adjusted_p_is_above_alpha_on_both_scales(name, values, level):
    for e in PROCEDURES[name](_family(values), level=level):
        if abs(e.p_value - (1 - level)) < 1e-9:
            continue  # on the very boundary the last digit decides
        assert (e.low <= 0 <= e.high) == (e.p_value > 1 - level)
        assert (e.relative_low <= 0 <= e.relative_high) == (e.p_value > 1 - level)
        assert (e.level, e.low <= e.value <= e.high) == (level, True)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(-6, 6), min_size=1, max_size=8))
def test_holm_is_never_above_bonferroni_nor_below_holms_own_and_signs_mirror(values):
    from statsmodels.stats.multitest import multipletests

    family = [_normal(v) for v in values]
    stepped, flipped = holm(family), holm([_normal(-v) for v in values])
    classical = multipletests([e.p_value for e in family], method="holm")[1]
    for e, mirror, b, c in zip(stepped, flipped, bonferroni(family), classical, strict=True):
        assert c - 1e-12 <= e.p_value <= b.p_value + 1e-12
        assert mirror.p_value == pytest.approx(e.p_value, abs=1e-12) or e.value == 0
        if e.value != 0:
            assert (mirror.low, mirror.high) == pytest.approx((-e.high, -e.low), rel=1e-9, abs=1e-300)


def test_what_holm_gains_over_bonferroni_costs_the_end_towards_zero():
    # p = .0003, .021, .3: Bonferroni stops at the first, Holm (.021 < .05 / 2) does not
    values = [4.0, 2.43, 1.05]
    strong, gained, standing = holm(_family(values))
    assert [e.p_value < 0.05 for e in bonferroni(_family(values))] == [True, False, False]
    assert gained.p_value < 0.05 and 0 < gained.low < 1e-300 and gained.high == bonferroni(_family(values))[1].high
    assert 0 < strong.low < 1e-300  # a third effect stands, so only the sign is known
    assert standing.low == pytest.approx(_t(1.05).low) and standing.high > _t(1.05).high


def test_where_holm_rejects_all_the_intervals_are_bonferronis():
    values = [4.0, 5.0, 6.0]
    assert [(e.low, e.high) for e in holm(_family(values))] == [(e.low, e.high) for e in bonferroni(_family(values))]


def test_all_holm_intervals_hold_their_effects_at_once_at_their_rate_whatever_is_true():
    rng = np.random.default_rng(1)
    for effects in ([0.0, 0.0, 0.0], [3.0, 0.0, 0.0], [3.0, -2.5, 0.0], [2.5, 2.5, 2.5]):
        missed = 0
        for noise in rng.normal(size=(600, 3)):
            shared = 0.5**0.5 * (noise + rng.normal())  # arms share their control
            family = [partial(_normal, x) for x in effects + shared]
            missed += any(not e.covers(truth) for e, truth in zip(holm(family), effects, strict=True))
        assert missed / 600 <= 0.05 + 3 * (0.05 * 0.95 / 600) ** 0.5


def _normal(value, level=0.95):
    z = ndtri((1 + level) / 2)
    return Estimate(
        outcome="y",
        estimand="ATE",
        method="z",
        value=value,
        std_error=1.0,
        low=value - z,
        high=value + z,
        p_value=float(2 * ndtr(-abs(value))),
        level=level,
        n_treated=1,
        n_control=1,
        control_mean=None,
    )


def test_intervals_around_findings_miss_as_rarely_as_promised_where_unadjusted_ones_do_not():
    rng = np.random.default_rng(2)
    shares, naive = [], []
    effects = np.full(20, 1.5)  # weak: what is found is found because it looked larger than it is
    for noise in rng.normal(size=(250, 20)):
        family = [_normal(x) for x in effects + noise]
        adjusted = benjamini_hochberg(family)
        found = [i for i, e in enumerate(adjusted) if e.p_value <= 0.05]
        shares.append(np.mean([not adjusted[i].covers(effects[i]) for i in found]) if found else 0.0)
        naive.append(np.mean([not family[i].covers(effects[i]) for i in found]) if found else 0.0)
    assert np.mean(shares) <= 0.05 + 3 * np.std(shares) / 250**0.5
    assert np.mean(naive) > 0.1


def test_a_t_test_is_inverted_again_from_its_estimate():
    rng = np.random.default_rng(3)
    arms = Moments.of(rng.normal(size=12)), Moments.of(rng.normal(0.5, 2, size=9))
    at_95, at_99 = (difference_in_means(*arms, outcome="y", level=level) for level in (0.95, 0.99))
    again = at_level(at_95, 0.99)
    assert (again.low, again.high) == pytest.approx((at_99.low, at_99.high), rel=1e-9)
    assert again.p_value == at_99.p_value and again.relative_low is None
    wide = at_level(_normal(1.0), 0.99)
    assert wide.high == pytest.approx(1 + 2.5758293, rel=1e-7)


def test_a_score_test_is_adjusted_as_a_function_of_its_level_and_refused_as_an_estimate():
    cells = [(Events(100, 1_000), Events(x, 1_000)) for x in (128, 135, 104)]
    analyses = [
        partial(lambda level, c, t: difference_in_proportions(c, t, outcome="y", level=level), c=c, t=t)
        for c, t in cells
    ]
    for procedure in PROCEDURES.values():
        for e in procedure(analyses):
            assert (e.low <= 0 <= e.high) == (e.p_value > 0.05)
    with pytest.raises(ValueError, match="not a t test; give the analysis as a function of level"):
        bonferroni([analyses[0](0.95)])


def test_order_of_the_family_does_not_matter():
    values = [2.2, -3.1, 0.4, 2.9]
    for procedure in PROCEDURES.values():
        forward, backward = procedure(_family(values)), procedure(_family(values[::-1]))
        assert [e.p_value for e in forward] == [e.p_value for e in backward[::-1]]
        assert [e.low for e in forward] == [e.low for e in backward[::-1]]


def test_empty_families_posteriors_and_bad_levels_are_refused():
    for procedure in PROCEDURES.values():
        with pytest.raises(ValueError, match="expected estimates and a level"):
            procedure([])
        with pytest.raises(ValueError, match="expected estimates and a level"):
            procedure(_family([1.0]), level=95)
        with pytest.raises(ValueError, match="a posterior has no p-value to adjust"):
            procedure([lambda level: replace(_t(1.0, level=level), p_value=None)])
