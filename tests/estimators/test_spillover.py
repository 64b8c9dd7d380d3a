import numpy as np
import pytest
from scipy.stats import binomtest

from causal_assets.estimators.spillover import Exposures, Saturations, exposure_effect, saturation_effects

ESTIMANDS = ("direct", "spillover", "total", "overall")


def _saturated(seed, direct=1.0, spill=2.0, clusters=20, sizes=(10,)):
    """Clusters at saturations 0 and 0.5; treatment adds ``direct``, its share ``spill`` times to all."""
    rng = np.random.default_rng(seed)
    size = rng.choice(sizes, clusters)
    saturation = rng.permutation(np.arange(clusters) % 2) * 0.5
    cluster = np.repeat(np.arange(clusters), size)
    d = np.concatenate([rng.permutation(n) < round(s * n) for s, n in zip(saturation, size, strict=True)])
    y = 5 + rng.normal(size=clusters)[cluster] + rng.normal(size=cluster.size)
    return y + direct * d + spill * saturation[cluster], d, cluster, saturation[cluster]


def _effects(rows, **options):
    return saturation_effects(Saturations.of(*rows), saturation=0.5, outcome="y", **options)


@pytest.mark.parametrize("weigh", ["clusters", "units"])
@pytest.mark.parametrize(("direct", "spill"), [(1.0, 2.0), (0.0, 0.0)])
def test_direct_spillover_total_and_overall_effects_are_recovered(weigh, direct, spill):
    sizes = (10,) if weigh == "clusters" else (6, 10, 14)
    results = [_effects(_saturated([seed, int(spill)], direct, spill, 40, sizes), weigh=weigh) for seed in range(800)]
    truths = (direct, spill / 2, direct + spill / 2, direct / 2 + spill / 2)
    for estimates, truth in zip(zip(*results, strict=True), truths, strict=True):
        errors = np.array([e.value - truth for e in estimates])
        assert abs(errors.mean()) / errors.std() < 0.15
        assert 0.93 < np.mean([e.std_error for e in estimates]) / errors.std() < 1.07
        assert binomtest(sum(e.covers(truth) for e in estimates), 800, 0.93, alternative="less").pvalue > 0.05


def test_errors_by_person_would_find_spillover_where_there_is_none():
    from causal_assets.estimators.moments import Moments
    from causal_assets.estimators.randomized import difference_in_means

    naive, ours = 0, 0
    for seed in range(200):
        rows = _saturated(seed, 0.0, 0.0)
        y, d, _, saturation = rows
        arms = Moments.of(y[saturation == 0]), Moments.of(y[(saturation > 0) & ~d])
        naive += difference_in_means(*arms, outcome="y").p_value < 0.05
        ours += _effects(rows)[1].p_value < 0.05
    assert naive > 50
    assert binomtest(ours, 200, 0.05).pvalue > 0.01


def test_treated_against_untreated_neighbours_misses_the_spillover():
    direct, spill, total, overall = _effects(_saturated(0, 1.0, 2.0, clusters=400))
    assert direct.value == pytest.approx(1.0, abs=0.2)
    assert total.value == pytest.approx(direct.value + spill.value, rel=1e-10)
    assert overall.value == pytest.approx(spill.value + direct.value / 2, rel=1e-10)
    assert total.value > 1.5


def test_equal_clusters_give_welchs_test_on_cluster_means_and_the_paired_test_within():
    from scipy.stats import ttest_1samp, ttest_ind

    y, d, cluster, _ = rows = _saturated(1)
    direct, spill, *_ = _effects(rows)
    untreated = np.array([y[(cluster == c) & ~d].mean() for c in range(20)])
    treated = np.array([y[(cluster == c) & d].mean() if d[cluster == c].any() else np.nan for c in range(20)])
    half = np.isfinite(treated)
    welch = ttest_ind(untreated[half], untreated[~half], equal_var=False)
    assert spill.p_value == pytest.approx(welch.pvalue, rel=1e-9)
    assert (spill.low, spill.high) == pytest.approx(tuple(welch.confidence_interval(0.95)), rel=1e-9)
    paired = ttest_1samp((treated - untreated)[half], 0.0)
    assert direct.p_value == pytest.approx(paired.pvalue, rel=1e-9)


def test_the_two_weightings_answer_two_questions_where_big_clusters_respond_more():
    rng = np.random.default_rng(2)
    size = np.tile([5, 20], 100)
    saturation = np.repeat([0.0, 1.0], 100)
    cluster = np.repeat(np.arange(200), size)
    y = rng.normal(size=cluster.size) + saturation[cluster] * size[cluster] / 5  # 1 in small, 4 in big clusters
    rows = Saturations.of(y, saturation[cluster] == 1, cluster, saturation[cluster])
    by = {weigh: saturation_effects(rows, saturation=1.0, outcome="y", weigh=weigh) for weigh in ("clusters", "units")}
    assert [len(v) for v in by.values()] == [2, 2]  # all treated: neither direct effect nor spillover on the untreated
    assert by["clusters"][0].value == pytest.approx(2.5, abs=0.15)
    assert by["units"][0].value == pytest.approx(3.4, abs=0.15)


def test_two_positive_saturations_can_be_compared():
    rng = np.random.default_rng(3)
    cluster = np.repeat(np.arange(60), 10)
    saturation = np.repeat(np.tile([0.2, 0.8], 30), 10)
    d = np.concatenate([rng.permutation(10) < 10 * s for s in saturation[::10]])
    y = rng.normal(size=600) + d + 2 * saturation
    found = saturation_effects(Saturations.of(y, d, cluster, saturation), saturation=0.8, reference=0.2, outcome="y")
    assert [e.value for e in found] == pytest.approx([1, 1.2, 2.2, 1.8], abs=0.4)
    assert found[0].estimand == "direct effect at saturation 0.8"


def test_order_labels_and_units_change_nothing_they_should_not():
    y, d, cluster, saturation = rows = _saturated(4, sizes=(6, 10, 14))
    order = np.random.default_rng(0).permutation(len(y))
    for weigh in ("clusters", "units"):
        base = _effects(rows, weigh=weigh)
        moved = _effects(
            (100 * y[order] + 1e6, d[order], [f"c{c}" for c in cluster[order]], saturation[order]), weigh=weigh
        )
        assert [m.value for m in moved] == pytest.approx([100 * b.value for b in base], rel=1e-6)
        assert [m.p_value for m in moved] == pytest.approx([b.p_value for b in base], rel=1e-5)
        assert all(b.covers(0.0) == (b.p_value > 0.05) for b in base)


def test_designs_that_cannot_answer_are_refused_by_name():
    y, d, cluster, saturation = rows = _saturated(5)
    with pytest.raises(ValueError, match="no cluster at"):
        saturation_effects(Saturations.of(*rows), saturation=0.3, outcome="y")
    with pytest.raises(ValueError, match="at least 5 in an arm, got 4"):
        _effects(_saturated(5, clusters=8))
    with pytest.raises(ValueError, match="y: 1 outcomes are NaN"):
        Saturations.of(np.r_[np.nan, y[1:]], d, cluster, saturation)
    with pytest.raises(ValueError, match="treated units in clusters of saturation 0"):
        Saturations.of(y, np.ones(len(y)), cluster, saturation)
    with pytest.raises(ValueError, match=r"clusters \[0\] have more than one"):
        Saturations.of(y, np.zeros(len(y)), cluster, np.r_[0.1, np.full(len(y) - 1, 0.2)])
    with pytest.raises(ValueError, match="shapes must agree"):
        Saturations.of(y[1:], d, cluster, saturation)
    lone = d.copy()
    lone[cluster == cluster[saturation > 0][0]] = False
    with pytest.raises(ValueError, match=r"1 clusters at saturation 0\.5 have no treated or no untreated unit"):
        _effects((y, lone, cluster, saturation))
    with pytest.raises(ValueError, match="expected shares from 0 to 1"):
        Saturations.of(y, d, cluster, 100 * saturation)
    everybody = Saturations.of(y, saturation == 0, cluster, np.where(saturation == 0, 1.0, 0.0))
    with pytest.raises(ValueError, match="no untreated unit at saturation 1"):
        saturation_effects(everybody, saturation=0.0, reference=1.0, outcome="y")


# ---------------------------------------------------------------- exposure mapping


NAMES = ("nothing", "neighbour only", "own")


def _ring(n=150, k=1):
    """Each unit has k neighbours on either side."""
    index = np.arange(n)
    return np.stack([(index + step) % n for step in (*range(-k, 0), *range(1, k + 1))], axis=1)


def _assign(n, share=0.2):
    return lambda rng: (rng.permutation(n) < share * n).astype(np.intp)


def _expose(neighbours):
    return lambda z: np.where(z == 1, 2, (z[neighbours].sum(axis=1) > 0).astype(np.intp))


@pytest.fixture(scope="module")
def ring():
    neighbours = _ring()
    return neighbours, Exposures.replay(_assign(150), _expose(neighbours), names=NAMES, draws=2_000, seed=1)


def test_replayed_probabilities_are_those_of_the_mechanism(ring):
    from math import comb

    _, exposures = ring
    nothing = comb(147, 30) / comb(150, 30)
    assert exposures.probability("own").mean() == pytest.approx(0.2, abs=1e-12)
    assert exposures.probability("nothing") == pytest.approx(np.full(150, nothing), abs=0.05)
    assert exposures.probability("nothing").mean() == pytest.approx(nothing, abs=0.005)


@pytest.mark.parametrize("spill", [1.0, 0.0])
def test_the_exposure_effect_is_recovered_and_its_interval_covers(ring, spill):
    neighbours, exposures = ring
    rng = np.random.default_rng(int(spill))
    base = rng.normal(size=150)  # potential outcomes are fixed, assignment is drawn again
    draw, expose = _assign(150), _expose(neighbours)
    results = []
    for _ in range(300):
        code = expose(draw(rng))
        y = base + spill * (code > 0) + 2 * (code == 2)
        results.append(exposure_effect(exposures, y, code, exposure="neighbour only", reference="nothing", outcome="y"))
    errors = np.array([r.value - spill for r in results])
    assert abs(errors.mean()) / errors.std() < 0.15
    assert np.mean([r.std_error for r in results]) / errors.std() > 0.93  # conservative: no upper bar
    assert binomtest(sum(r.covers(spill) for r in results), 300, 0.93, alternative="less").pvalue > 0.05


def test_without_interference_it_is_the_difference_in_means_with_neymans_conservative_error():
    rng = np.random.default_rng(3)
    exposures = Exposures.replay(_assign(80, 0.5), lambda z: z, names=("control", "treated"), draws=4_000, seed=2)
    code = _assign(80, 0.5)(rng)
    y = rng.normal(size=80) + code
    ours = exposure_effect(exposures, y, code, exposure="treated", reference="control", outcome="y")
    assert ours.value == pytest.approx(y[code == 1].mean() - y[code == 0].mean(), abs=0.02)
    neyman = np.sqrt(y[code == 1].var(ddof=1) / 40 + y[code == 0].var(ddof=1) / 40)
    assert ours.std_error == pytest.approx(neyman, rel=0.1)


def test_ignoring_unequal_probabilities_would_be_wrong():
    # the well-connected are exposed more often, and are richer: the naive difference is off, the weighted one is not
    rng = np.random.default_rng(4)
    degree = np.where(np.arange(120) < 60, 1, 4)
    neighbours = [rng.choice(np.delete(np.arange(120), i), k, replace=False) for i, k in enumerate(degree)]

    def expose(z):
        return np.array([z[n].any() for n in neighbours]).astype(np.intp)

    exposures = Exposures.replay(_assign(120, 0.3), expose, names=("none", "some"), draws=2_000, seed=3)
    naive, ours = [], []
    for _ in range(60):
        code = expose(_assign(120, 0.3)(rng))
        y = 3.0 * (degree == 4) + 0.3 * rng.normal(size=120) + code
        naive.append(y[code == 1].mean() - y[code == 0].mean())
        ours.append(exposure_effect(exposures, y, code, exposure="some", reference="none", outcome="y"))
    assert np.mean(naive) > 2.0
    assert np.mean([o.value for o in ours]) == pytest.approx(1.0, abs=0.15)


def test_the_same_seed_gives_the_same_bytes_and_swapping_exposures_flips_the_sign(ring):
    neighbours, exposures = ring
    again = Exposures.replay(_assign(150), _expose(neighbours), names=NAMES, draws=2_000, seed=1)
    assert (again.replays == exposures.replays).all()
    rng = np.random.default_rng(5)
    code, y = _expose(neighbours)(_assign(150)(rng)), rng.normal(size=150)
    one, other = (
        exposure_effect(exposures, s * y + 1e6 * (s - 1), code, exposure=e, reference=r, outcome="y")
        for s, e, r in ((1, "own", "nothing"), (3, "nothing", "own"))
    )
    assert (other.value, other.std_error) == pytest.approx((-3 * one.value, 3 * one.std_error), rel=1e-6)
    assert one.covers(0.0) == (one.p_value > 0.05)


def test_an_impossible_exposure_is_refused_because_its_mean_is_not_identified():
    neighbours = _ring(20, 2)

    def never_near_the_first(z):
        code = _expose(neighbours)(z)
        code[0] = 2 * z[0]
        return code

    exposures = Exposures.replay(_assign(20), never_near_the_first, names=NAMES, draws=200, seed=0)
    rng = np.random.default_rng(0)
    code = never_near_the_first(_assign(20)(rng))
    with pytest.raises(ValueError, match="neighbour only: impossible for 1 of 20 units"):
        exposure_effect(
            exposures, rng.normal(size=20), code, exposure="neighbour only", reference="nothing", outcome="y"
        )


def test_bad_exposures_are_refused_by_name(ring):
    _, exposures = ring
    y, code = np.arange(150.0), np.tile([0, 1, 2], 50)
    good = {"exposure": "own", "reference": "nothing", "outcome": "y"}
    with pytest.raises(ValueError, match="exposure: expected one of"):
        exposure_effect(exposures, y, code, **good | {"exposure": "typo"})
    with pytest.raises(ValueError, match="reference: must differ"):
        exposure_effect(exposures, y, code, **good | {"reference": "own"})
    with pytest.raises(ValueError, match="y: 1 outcomes are NaN"):
        exposure_effect(exposures, np.r_[np.nan, y[1:]], code, **good)
    with pytest.raises(ValueError, match="expected shape"):
        exposure_effect(exposures, y[1:], code, **good)
    with pytest.raises(ValueError, match="own: at least 2 units must have got it, got 0"):
        exposure_effect(exposures, y, 0 * code, **good)
    with pytest.raises(ValueError, match="at least 100 replays"):
        Exposures.replay(_assign(10), lambda z: z, names=("a", "b"), draws=10, seed=0)
    with pytest.raises(ValueError, match="expected codes"):
        Exposures.replay(_assign(10), lambda z: z + 5, names=("a", "b"), draws=100, seed=0)
