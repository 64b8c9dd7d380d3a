import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from scipy.special import expit, logit

from causal_assets.estimators.matching import match, matched_effect
from causal_assets.estimators.propensity import fit_logit
from tests.estimators.confounded import STEPS, assert_honest, assert_none_found, step_truths, step_world, truth, world

SEEDS = 400
PLACEBOS = 100
N = 1_500
WAYS = {
    "with replacement": {"replacement": True, "caliper": None},
    "three with replacement": {"replacement": True, "caliper": None, "ratio": 3},
}


def _estimates(x, d, y, unit):
    """Each way of matching with its own kind of adjustment, and pairs without replacement."""
    score = fit_logit(x, d)
    found = {name: matched_effect(match(score, d, unit, **way), score, d, y, outcome="y") for name, way in WAYS.items()}
    pairs = match(score, d, unit)
    return found | {"pairs": matched_effect(pairs, score, d, y, outcome="y", x=x)}, pairs


@pytest.fixture(scope="module")
def simulated():
    """Estimates of every seed, and the effect planted in the treated whom pairs without replacement kept."""
    found, kept = [], []
    for seed in range(SEEDS):
        x, d, y, unit = world(seed, N)
        estimates, pairs = _estimates(x, d, y, unit)
        found.append(estimates)
        kept.append(1 + x[pairs.treated, 0].mean())
    return found, kept


@pytest.mark.parametrize("way", WAYS)
def test_the_effect_on_the_treated_is_recovered_with_honest_errors(simulated, way):
    assert_honest([one[way] for one in simulated[0]], truth("ATT"))
    assert simulated[0][0][way].estimand == "ATT"


def test_pairs_without_replacement_recover_the_effect_on_the_matched(simulated):
    found, kept = simulated
    assert_honest([one["pairs"] for one in found], np.mean(kept))
    assert found[0]["pairs"].estimand == "ATT of the matched"
    assert np.mean(kept) < truth("ATT") - 0.02  # those left out would have gained most


def test_where_there_is_no_effect_none_is_found():
    found = [_estimates(*world(SEEDS + seed, N, null=True))[0] for seed in range(PLACEBOS)]
    for way in found[0]:
        assert_none_found([one[way] for one in found])


@pytest.mark.parametrize("steps", STEPS.values(), ids=STEPS)
def test_the_estimate_is_the_effect_on_the_treated_and_not_another(steps):
    # The score has two values only: ties are broken at random, so that every control has its share of the work.
    values = []
    for seed in range(60):
        x, d, y, unit = step_world(seed, 1_500, steps)
        score = np.where(x[:, 1] > 0, steps[1], steps[0])
        values.append(matched_effect(match(score, d, unit, replacement=True), score, d, y, outcome="y").value)
    truths, error = step_truths(steps), np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values) - truths["ATT"]) < 4 * error
    assert abs(np.mean(values) - truths["ATE"]) > 4 * error


def test_taking_an_estimated_score_as_known_overstates_the_error():
    # Abadie & Imbens (2016): the correction is negative as a rule; here with three controls each.
    ratios = []
    for seed in range(40):
        x, d, y, _ = world(seed, N)
        score = fit_logit(x, d)
        matches = match(score, d, ratio=3, replacement=True)
        known, estimated = (matched_effect(matches, s, d, y, outcome="y").spread for s in (score.score, score))
        ratios.append(known / estimated)
    assert np.mean(ratios) > 1.02


def test_plain_pairs_that_lean_to_one_side_are_refused_and_those_that_do_not_are_not():
    x, d, y, _ = world(0, 4_000)
    score = fit_logit(x, d)
    with pytest.raises(ValueError, match="adjust: pairs lean to one side"):
        matched_effect(match(score, d, caliper=None), score, d, y, outcome="y", adjust=False)
    plain = matched_effect(match(score, d, replacement=True), score, d, y, outcome="y", adjust=False)
    adjusted = matched_effect(match(score, d, replacement=True), score, d, y, outcome="y")
    assert plain.value == pytest.approx(adjusted.value, abs=0.25 * plain.spread)
    assert (plain.method, adjusted.method) == ("matching on the propensity", plain.method + ", bias-adjusted")


@pytest.mark.parametrize("ratio", [1, 2, 5])
def test_neighbours_with_replacement_are_those_of_scikit_learn(ratio):
    from sklearn.neighbors import NearestNeighbors

    rng = np.random.default_rng(0)
    e, d = rng.uniform(0.05, 0.95, 400), rng.random(400) < 0.3
    z = logit(e)
    gaps = NearestNeighbors(n_neighbors=ratio).fit(z[~d, None]).kneighbors(z[d, None])[0]
    found = match(e, d, ratio=ratio, replacement=True, caliper=None)
    assert found.distance.sum() == pytest.approx(gaps.sum(), rel=1e-9)
    assert len(found.treated) == ratio * d.sum()


def test_pairs_of_the_chosen_units_have_the_least_total_distance():
    rng = np.random.default_rng(1)
    e, d = rng.uniform(0.05, 0.95, 300), rng.random(300) < 0.4
    found = match(e, d)
    z = logit(e)
    cost = np.abs(z[found.treated][:, None] - z[found.control])
    assert found.distance.sum() == pytest.approx(cost[linear_sum_assignment(cost)].sum(), rel=1e-9)


def _closest_first(z, d, caliper):
    """The rule written out over every pair there is."""
    taken: set[int] = set()
    pairs = [(abs(z[t] - z[c]), t, c) for t in np.flatnonzero(d) for c in np.flatnonzero(~d)]
    for distance, t, c in sorted(pairs):
        if distance <= caliper and not {t, c} & taken:
            taken |= {t, c}
    return taken


@pytest.mark.parametrize("few", [0.0, 2.0])
def test_the_closest_pair_of_all_goes_first(few, monkeypatch):
    # Many treated for few controls, so that most choices are contested; by sweeps alone, or by the stack after one.
    monkeypatch.setattr("causal_assets.estimators.matching.FEW_AT_ONCE", few)
    rng = np.random.default_rng(2)
    for caliper in np.repeat([0.05, 1.0], 15):
        e, d = rng.uniform(0.05, 0.95, 120), rng.random(120) < 0.6
        found = match(e, d, caliper=caliper)
        assert set(found.treated) | set(found.control) == _closest_first(logit(e), d, found.caliper)


@pytest.mark.parametrize("middle", [0, 35, 60, 120])
def test_the_closest_pair_goes_first_where_each_pair_waits_for_the_next(middle):
    # Gaps widen away from the middle, so that one pair only is closer than its neighbours, then the pair around it.
    z = np.cumsum(1.03 ** np.abs(np.arange(121.0) - middle))
    e, d = expit(4 * z / z[-1] - 2), np.arange(121) % 2 == 0
    found = match(e, d, caliper=0.1)
    taken = _closest_first(logit(e), d, found.caliper)
    assert set(found.treated) | set(found.control) == taken
    assert 20 < len(taken) < 121


def test_scores_that_differ_in_their_last_bits_only_find_their_nearest():
    rng = np.random.default_rng(4)
    e, d = np.repeat([0.1, 0.9], 200) + rng.permutation(400) * 1.2e-16, rng.random(400) < 0.3
    own = np.log(e / (1 - e))
    assert np.unique(own).size == own.size
    found = match(e, d, replacement=True)
    np.testing.assert_array_equal(found.distance, np.abs(own[d][:, None] - own[~d]).min(axis=1))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(20, 120),
    ratio=st.integers(1, 3),
    replacement=st.booleans(),
    caliper=st.sampled_from([0.05, 0.2, 1.0, None]),
    values=st.sampled_from([3, 10**6]),
)
def test_pairs_keep_the_caliper_the_exact_columns_and_the_ratio(seed, n, ratio, replacement, caliper, values):
    rng = np.random.default_rng(seed)
    e = expit(rng.integers(-values, values + 1, n) / values)
    d = np.arange(n) % 3 == 0
    group = rng.integers(0, 2, size=(n, 2))
    try:
        found = match(e, d, ratio=ratio, replacement=replacement, caliper=caliper, exact=group)
    except ValueError as error:
        assert "no control lies within" in str(error)
        return
    assert d[found.treated].all() and not d[found.control].any()
    assert (found.distance <= found.caliper * (1 + 1e-9)).all()
    assert (group[found.treated] == group[found.control]).all()
    assert np.bincount(found.treated).max() <= ratio
    assert np.unique(found.treated * n + found.control).size == len(found.treated)
    if not replacement:
        assert np.bincount(found.control).max() == 1


@pytest.mark.parametrize("values", [2, 10**9])
@pytest.mark.parametrize("way", [{}, {"replacement": True, "ratio": 2}])
def test_row_order_changes_nothing_even_where_scores_are_tied(values, way):
    rng = np.random.default_rng(3)
    e, d = expit(rng.integers(-values, values, 300) / values), rng.random(300) < 0.3
    y, unit = rng.normal(size=300), np.arange(300)
    order = rng.permutation(300)
    base, other = match(e, d, unit, **way), match(e[order], d[order], unit[order], **way)
    pairs = {tuple(pair) for pair in np.stack([base.treated, base.control], axis=1)}
    assert {tuple(pair) for pair in np.stack([order[other.treated], order[other.control]], axis=1)} == pairs
    estimates = [
        matched_effect(m, s, a, v, outcome="y")
        for m, s, a, v in ((base, e, d, y), (other, e[order], d[order], y[order]))
    ]
    assert estimates[1].value == pytest.approx(estimates[0].value, rel=1e-9)
    assert estimates[1].std_error == pytest.approx(estimates[0].std_error, rel=1e-9)


def test_rows_sorted_by_outcome_do_not_bias_tied_scores():
    rng = np.random.default_rng(4)
    y = np.sort(rng.normal(size=4_000))
    d = rng.random(4_000) < 0.3
    score = np.full(4_000, 0.3)
    for way in ({}, {"replacement": True}):
        found = matched_effect(match(score, d, **way), score, d, y, outcome="y")
        assert found.low < y[d].mean() - y[~d].mean() < found.high
        assert found.low < 0 < found.high


def test_scale_and_shift_of_the_outcome_change_nothing_they_should_not():
    x, d, y, unit = world(5, 500)
    base, scaled = _estimates(x, d, y, unit)[0], _estimates(x, d, 100 * y + 1e6, unit)[0]
    for way in base:
        assert scaled[way].value == pytest.approx(100 * base[way].value, rel=1e-7)
        assert scaled[way].std_error == pytest.approx(100 * base[way].std_error, rel=1e-7)
        assert scaled[way].control_mean == pytest.approx(100 * base[way].control_mean + 1e6, rel=1e-9)


def test_lalonde_pairs_hold_the_answer_of_the_experiment():
    # Treated of the experiment beside survey controls; the experiment says 1,794 (Dehejia & Wahba 1999).
    import causaldata

    frames = [causaldata.nsw_mixtape.load_pandas().data, causaldata.cps_mixtape.load_pandas().data]
    nsw, cps = ({c: f[c].to_numpy(dtype=float) for c in f.columns if c != "data_id"} for f in frames)
    rows = {c: np.concatenate([nsw[c][nsw["treat"] == 1], cps[c]]) for c in nsw}
    d, y = rows.pop("treat"), rows.pop("re78")
    extra = {"age2": rows["age"] ** 2, "no_re74": rows["re74"] == 0, "no_re75": rows["re75"] == 0}
    x = np.column_stack([*(rows | extra).values()])
    score = fit_logit(x, d, clip=1e-6)
    for way in ({}, {"replacement": True}):
        found = matched_effect(match(score, d, **way), score, d, y, outcome="re78", x=x)
        assert found.low < 1_794 < found.high


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": np.linspace(0, 1, 40)}, "score: propensities must lie strictly between 0 and 1"),
        ({"score": np.full(40, np.nan)}, "y: 40 outcomes are NaN|score: propensities"),
        ({"d": np.ones(40)}, "d: both arms are needed, 40 of 40 rows are treated"),
        ({"d": np.arange(40)}, "d: treatment must be 0 or 1"),
        (
            {"unit": np.arange(40) // 4 * 2 + np.arange(40) % 2},
            "matching needs one row per unit, got 40 rows of 20 units",
        ),
        ({"ratio": 0}, "ratio: expected at least 1"),
        ({"caliper": 0.0}, "caliper: expected None or a positive number"),
        ({"score": np.where(np.arange(40) % 2, 0.9, 0.1)}, "no control lies within .* is there any overlap"),
    ],
)
def test_bad_input_is_refused_by_name(change, message):
    good = {"score": np.linspace(0.2, 0.8, 40), "d": np.arange(40) % 2}
    with pytest.raises(ValueError, match=message):
        match(**(good | change))


def test_outcomes_that_cannot_be_tested_are_refused():
    e, d, y = np.linspace(0.2, 0.8, 40), np.arange(40) % 2, np.sin(np.arange(40))
    with pytest.raises(ValueError, match="spend: the effect needs a positive variance"):
        matched_effect(match(e, d), e, d, np.ones(40), outcome="spend")
    with pytest.raises(ValueError, match="y: 40 outcomes are NaN or infinite"):
        matched_effect(match(e, d), e, d, np.full(40, np.inf), outcome="spend")
    with pytest.raises(ValueError, match="x: covariates are for the adjusted estimate"):
        matched_effect(match(e, d), e, d, y, outcome="spend", x=np.ones((40, 1)), adjust=False)
    with pytest.raises(ValueError, match="1 matched treated, 39 controls are too few for an error"):
        one = np.arange(40) == 7
        matched_effect(match(e, one), e, one, y, outcome="spend")
