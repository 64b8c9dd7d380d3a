import numpy as np
import pytest

from causal_assets.estimators.synthetic_control import (
    Method,
    Panel,
    choose_ridge,
    fit,
    leave_one_out,
    relative_to_counterfactual,
)
from tests.estimators.planted_panel import changed, long_rows, planted

METHODS = [
    Method(),
    Method(demeaned=True),
    Method(ridge=5.0),
    Method(demeaned=True, ridge=5.0),
    Method(weights="uniform", demeaned=True),
]
SEEDS = 400


@pytest.fixture(scope="module")
def prop99():
    import synthdid

    data = synthdid.load_california_prop99()
    return Panel.of(data["State"], data["Year"], data["PacksPerCapita"], treated=["California"], start=1989)


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
@pytest.mark.parametrize("truth", [2.0, 0.0])
def test_the_planted_effect_is_recovered_without_bias(method, truth):
    first = 0 if truth else SEEDS  # the placebo twin has draws of its own
    errors = [fit(planted(first + s, effect=truth), method).effect - truth for s in range(SEEDS)]
    assert abs(np.mean(errors)) / np.std(errors) < 0.15


def test_weights_beat_plain_differences_where_units_follow_common_factors():
    spread = {
        m: np.std([fit(planted(s, noise=0.3, pre=60), m).effect for s in range(60)]) for m in (METHODS[0], METHODS[4])
    }
    assert spread[METHODS[0]] < 0.7 * spread[METHODS[4]]


def test_a_treated_unit_that_is_a_mix_of_donors_is_followed_exactly():
    panel = planted(0, noise=1.0)
    y = panel.y.copy()
    y[0] = 0.6 * y[1] + 0.4 * y[5]
    y[0, panel.pre :] += 3.0
    found = fit(changed(panel, y), Method())
    np.testing.assert_allclose(found.weights, [0.6, 0, 0, 0, 0.4, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found.gaps[panel.pre :], 3.0, atol=1e-5)
    assert found.scaled_l2 < 1e-5


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_order_labels_shift_and_scale_change_nothing_they_should_not(method):
    panel = planted(1)
    base, order = fit(panel, method), np.random.default_rng(0).permutation(9)
    assert fit(changed(panel, order=order), method).effect == pytest.approx(base.effect, abs=1e-7)
    assert fit(changed(panel, units=[f"x{i}" for i in range(9)]), method).effect == base.effect
    assert fit(changed(panel, panel.y + 1e9), method).effect == pytest.approx(base.effect, abs=1e-5)
    common = panel.y + np.linspace(0, 50, 35)  # the same trend in every unit
    assert fit(changed(panel, common), method).effect == pytest.approx(base.effect, abs=1e-7)
    scaled = Method(demeaned=method.demeaned, ridge=method.ridge and method.ridge * 1e4, weights=method.weights)
    assert fit(changed(panel, panel.y * 100), scaled).effect == pytest.approx(100 * base.effect, rel=1e-7)


@pytest.mark.parametrize("demeaned", [False, True])
def test_a_level_of_its_own_is_taken_off_only_where_asked(demeaned):
    panel = planted(2, noise=0.1)
    y = panel.y.copy()
    y[0] += 100
    error = abs(fit(changed(panel, y), Method(demeaned=demeaned)).effect - 2.0)
    assert (error < 1) == demeaned


def test_california_gives_the_published_effects(prop99):
    # Arkhangelsky et al. (2021), table 1: DiD -27.3 (synthdid: -27.3491), DIFP, here demeaned, -11.1
    assert fit(prop99, Method(weights="uniform", demeaned=True)).effect == pytest.approx(-27.3491, abs=5e-5)
    assert fit(prop99, Method(demeaned=True)).effect == pytest.approx(-11.1, abs=0.05)


def test_california_is_fitted_closer_than_by_the_published_optimiser(prop99):
    # Table 1 has SC -19.6 (synthdid: -19.6197), where Frank-Wolfe stops; more steps move it to the optimum, -19.51
    import synthdid

    data = synthdid.panel_matrices(synthdid.load_california_prop99())
    donors, target = data.Y[:-1, : data.T0], data.Y[-1, : data.T0]

    def published(**options):
        result = synthdid.sc_estimate(data.Y, data.N0, data.T0, **options)
        return float(result), ((target - np.asarray(result.weights.omega) @ donors) ** 2).sum()

    found = fit(prop99, Method())
    stopped, further = published(), published(max_iter=40_000, min_decrease=1e-9)
    assert stopped[0] == pytest.approx(-19.6197, abs=5e-5)
    assert found.l2**2 < further[1] < stopped[1]
    assert stopped[0] < further[0] < found.effect == pytest.approx(-19.5136, abs=5e-5)
    assert max(abs(found.weights - np.asarray(synthdid.sc_estimate(data.Y, 38, 19).weights.omega))) < 0.005


def test_the_augmentation_is_the_published_closed_form():
    # Ben-Michael, Feller & Rothstein (2021), eq. 11: weights + (x1 - X0'w)' (X0'X0 + lambda I)^-1 X0'
    panel = planted(3)
    x = panel.y[1:, : panel.pre] - panel.y[1:, : panel.pre].mean(axis=0)
    target = panel.y[0, : panel.pre] - panel.y[1:, : panel.pre].mean(axis=0)
    plain = fit(panel, Method()).weights
    added = (target - plain @ x) @ np.linalg.solve(x.T @ x + 7.0 * np.eye(panel.pre), x.T)
    augmented = fit(panel, Method(ridge=7.0)).weights
    np.testing.assert_allclose(augmented, plain + added, atol=1e-9)
    assert augmented.sum() == pytest.approx(1.0)


def test_a_penalty_without_end_adds_nothing_and_a_small_one_fits_closer():
    panel = planted(4)
    plain = fit(panel, Method())
    np.testing.assert_allclose(fit(panel, Method(ridge=1e12)).weights, plain.weights, atol=1e-8)
    assert fit(panel, Method(ridge=1e-2)).l2 < plain.l2


def test_the_penalty_is_the_largest_within_one_error_of_the_best_at_left_out_periods():
    panel = planted(5, pre=12)
    x = panel.y[1:, :12] - panel.y[1:, :12].mean(axis=0)
    target = panel.y[0, :12] - panel.y[1:, :12].mean(axis=0)
    grid = np.linalg.norm(x, 2) ** 2 * 1e-8 ** (np.arange(21) / 20)
    errors = np.empty((12, 21))
    for t in range(12):
        others = [i for i in range(12) if i != t]
        part = Panel(panel.y[:, [*others, t]], panel.treated, 11, panel.units, tuple(range(12)))
        for k, ridge in enumerate(grid):
            weights = fit(part, Method(ridge=ridge)).weights
            errors[t, k] = (target[t] - weights @ x[:, t]) ** 2
    mean, error = errors.mean(axis=0), errors.std(axis=0, ddof=1) / 12**0.5
    best = mean.argmin()
    # the plain weights of a fold are centred on that fold, as are these
    assert choose_ridge(panel) == pytest.approx(max(grid[mean <= mean[best] + error[best]]), rel=1e-9)


def test_leaving_one_out_is_the_fit_without_that_donor():
    panel = planted(6)
    for method in METHODS[:3]:
        found = leave_one_out(panel, method)
        weights = dict(zip(panel.donors, fit(panel, method).weights, strict=True))
        assert set(found) == {unit for unit, weight in weights.items() if weight}
        for unit, effect in found.items():
            assert effect == pytest.approx(fit(panel.without(unit), method).effect, abs=1e-7)


def test_several_treated_units_are_averaged_or_taken_one_by_one():
    panel = planted(7, treated=3, noise=0.2, pre=60)
    assert fit(panel, Method()).effect == pytest.approx(2.0, abs=0.4)
    apart = panel.one_by_one()
    assert list(apart) == ["u00", "u01", "u02"]
    for unit, one in apart.items():
        assert one.donors == panel.donors
        assert one.mean_treated == pytest.approx(panel.y[panel.units.index(unit)])


def test_long_rows_in_any_order_give_the_panel():
    panel = planted(8)
    unit, period, y = long_rows(panel)
    order = np.random.default_rng(0).permutation(y.size)
    built = Panel.of(unit[order], period[order], y[order], treated=["u00"], start=30)
    np.testing.assert_array_equal(built.y, panel.y)
    assert (built.pre, built.units, built.donors) == (30, panel.units, panel.donors)
    pool = Panel.of(unit, period, y, treated=["u00"], start=30, donors=["u03", "u05"])
    assert pool.donors == ("u03", "u05")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drop": 3}, r"1 cells, first u00 at 3, have no row: the panel must be balanced"),
        ({"twice": 3}, r"1 cells, first u00 at 3, have more than one row"),
        ({"nan": 3}, r"y: outcomes may not be NaN or infinite, units \['u00'\]"),
        ({"start": 0}, "start: expected a period after 0 and up to 34, got 0"),
        ({"start": 40}, "start: expected a period after 0 and up to 34, got 40"),
        ({"start": 1}, "pre: a fit needs at least 2 periods before the treatment, got 1"),
        ({"treated": []}, "treated: no unit is treated"),
        ({"treated": ["nobody"]}, r"treated, donors: no rows of \['nobody'\]"),
        ({"donors": ["u00", "u01"]}, r"donors: \['u00'\] are treated"),
        ({"donors": ["u01"]}, "a synthetic control needs at least 2 donors, got 1"),
        ({"constant": ["u00"]}, "every treated unit is constant before the treatment"),
        ({"constant": [f"u{i:02d}" for i in range(1, 9)]}, "every donor is constant before the treatment"),
    ],
)
def test_bad_panels_are_refused_by_name(change, message):
    unit, period, y = long_rows(planted(9))
    options = {"treated": ["u00"], "start": 30} | {k: change[k] for k in ("start", "treated", "donors") if k in change}
    rows = np.arange(y.size)
    if "drop" in change:
        rows = np.delete(rows, change["drop"])
    if "twice" in change:
        rows = np.append(rows, change["twice"])
    if "nan" in change:
        y[change["nan"]] = np.nan
    if "constant" in change:
        y[np.isin(unit, change["constant"])] = 4.0
    with pytest.raises(ValueError, match=message):
        Panel.of(unit[rows], period[rows], y[rows], **options)


def test_a_constant_donor_among_others_is_a_level_like_any_other():
    panel = planted(10)
    y = panel.y.copy()
    y[3] = 10.0
    for method in METHODS:
        assert np.isfinite(fit(changed(panel, y), method).effect)


def test_impossible_methods_are_refused_by_name():
    with pytest.raises(ValueError, match="ridge: expected a positive penalty or None, got 0"):
        Method(ridge=0)
    with pytest.raises(ValueError, match="weights: expected 'simplex' or 'uniform', got 'ols'"):
        Method(weights="ols")
    with pytest.raises(ValueError, match="leaving one out needs at least 3, got 2"):
        leave_one_out(planted(0, donors=2), Method())
    with pytest.raises(ValueError, match="choosing a penalty needs at least 3 periods"):
        choose_ridge(planted(0, pre=2))


def test_a_relative_effect_is_taken_of_what_would_have_been():
    assert relative_to_counterfactual(20.0, 120.0) == pytest.approx(0.2)
    assert relative_to_counterfactual(-np.inf, 120.0) == -1.0
    assert relative_to_counterfactual(120.0, 120.0) == np.inf
