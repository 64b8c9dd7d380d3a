"""What no estimator may turn into a number that looks fine: each case is refused, in words that say what is wrong."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from causal_assets.estimators.bounds import lee_bounds
from causal_assets.estimators.capped import difference_in_capped_means
from causal_assets.estimators.conformal import conformal
from causal_assets.estimators.did import two_by_two, two_by_two_clustered
from causal_assets.estimators.discontinuity import robust_discontinuity
from causal_assets.estimators.double_ml import partially_linear
from causal_assets.estimators.instruments import two_stage_least_squares
from causal_assets.estimators.joint import clustered_effects
from causal_assets.estimators.matching import match, matched_effect
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.overlap import effect, fit_nuisances
from causal_assets.estimators.propensity import fit_logit
from causal_assets.estimators.quantiles import difference_in_quantiles
from causal_assets.estimators.randomization import randomization_test
from causal_assets.estimators.randomized import difference_in_means, regression_adjusted
from causal_assets.estimators.staggered import group_time
from causal_assets.estimators.synthetic_control import Method, Panel
from causal_assets.estimators.synthetic_did import synthetic_did
from causal_assets.estimators.target_trials import sequential_effect
from causal_assets.estimators.two_way import two_way
from causal_assets.estimators.weighting import standardized_effect, stratified_effect, weighted_effect
from causal_assets.types import Estimate

Rows = dict[str, Any]
N = 120


def _rows() -> Rows:
    rng = np.random.default_rng(0)
    x, d = rng.normal(size=(N, 2)), np.arange(N) % 2
    y = x[:, 0] + d + rng.normal(size=N)
    return {
        "x": x,
        "d": d,
        "y": y,
        "unit": np.arange(N),
        "cluster": np.arange(N) // 4,
        "z": np.where(np.arange(N) % 5, d, 1 - d),
    }


def _arms(r: Rows) -> tuple[Any, Any]:
    return r["y"][r["d"] == 0], r["y"][r["d"] == 1]


def _means(r: Rows) -> Estimate:
    return difference_in_means(*map(Moments.of, _arms(r)), outcome="y")


def _adjusted(r: Rows) -> Estimate:
    return regression_adjusted(r["y"], r["d"], r["x"], outcome="y")


def _adjusted_by_cluster(r: Rows) -> Estimate:
    return regression_adjusted(r["y"], r["d"], r["x"], cluster=r["cluster"], outcome="y")


def _clustered(r: Rows) -> Estimate:
    found = clustered_effects(r["y"], r["d"], r["cluster"])
    return found.combine([1.0], outcome="y", estimand="ATE", method="m", level=0.95)


def _capped(r: Rows) -> Estimate:
    return difference_in_capped_means(r["y"], r["d"], quantile=0.9, outcome="y")


def _quantiles(r: Rows) -> Estimate:
    return difference_in_quantiles(*_arms(r), 0.5, outcome="y")


def _replayed(r: Rows) -> Estimate:
    return randomization_test(r["y"], r["d"], r["unit"], outcome="y", draws=99, seed=0)


def _lee(r: Rows) -> Estimate:
    control, treated = _arms(r)
    return lee_bounds(control, treated, n_control=control.size + 3, n_treated=treated.size, outcome="y").estimate


def _weighted(r: Rows) -> Estimate:
    return weighted_effect(
        fit_logit(r["x"], r["d"]), r["d"], r["y"], r["unit"], estimand="ATE", outcome="y", cluster=r.get("by")
    )


def _stratified(r: Rows) -> Estimate:
    score = fit_logit(r["x"], r["d"])
    return stratified_effect(score, r["d"], r["y"], r["unit"], estimand="ATT", outcome="y", cluster=r.get("by"))


def _standardized(r: Rows) -> Estimate:
    return standardized_effect(
        r["x"], r["d"], r["y"], r["unit"], estimand="ATT", outcome="y", modifiers=[], cluster=r.get("by")
    )


def _matched(r: Rows) -> Estimate:
    score = fit_logit(r["x"], r["d"])
    pairs = match(score, r["d"], r["unit"], replacement=True)
    return matched_effect(pairs, score, r["d"], r["y"], outcome="y", cluster=r.get("by"))


def _augmented(r: Rows) -> Estimate:
    fitted = fit_nuisances(r["x"], r["d"], r["y"], r["unit"], repeats=1, seed=0)
    return effect(fitted, r["d"], r["y"], r["unit"], estimand="ATE", outcome="y", cluster=r.get("by"))


def _partially_linear(r: Rows) -> Estimate:
    return partially_linear(r["x"], r["d"], r["y"], r.get("by", r["unit"]), outcome="y", repeats=1, seed=0)


def _trials(r: Rows) -> Estimate:
    trial, options = np.arange(N) // 60, {"repeats": 1, "cluster": r.get("by"), "seed": 0}
    return sequential_effect(
        r["x"], r["d"], r["y"], r["unit"], trial, estimand="ATE", outcome="y", **options
    ).pooled  # fmt: skip


def _two_by_two(r: Rows) -> Estimate:
    return two_by_two(r["x"][:, 0], r["y"], r["d"], r["unit"], cluster=r.get("by"), outcome="y")


def _instrumented(r: Rows) -> Estimate:
    return two_stage_least_squares(r["y"], r["d"], r["z"], cluster=r.get("by"), outcome="y").effect


def _discontinuity(r: Rows) -> Estimate:
    return robust_discontinuity(r["y"], r["x"][:, 0], cluster=r.get("by"), outcome="y").estimate


Estimator = Callable[[Rows], Estimate]
EXPERIMENTS = (_means, _adjusted, _adjusted_by_cluster, _clustered, _capped, _quantiles, _replayed, _lee)
BY_SCORE = (_weighted, _stratified, _matched, _augmented, _partially_linear)
ADJUSTED = (*BY_SCORE, _standardized, _trials)
ARMS = (*EXPERIMENTS, *ADJUSTED, _two_by_two)
EVERY = (*ARMS, _instrumented, _discontinuity)


def _nth(value: float) -> Callable[[Rows], Rows]:
    return lambda r: {"y": np.where(np.arange(N) == 3, value, r["y"])}


# A case, what it changes, who has to refuse it, and words of which the refusal must hold one.
CASES: dict[str, tuple[Callable[[Rows], Rows], tuple[Estimator, ...], str]] = {
    "a NaN outcome": (_nth(np.nan), EVERY, r"NaN|finite"),
    "an infinite outcome": (_nth(np.inf), EVERY, r"NaN|finite"),
    "everybody treated": (
        lambda _: {"d": np.ones(N, int)}, (*ARMS, _instrumented), r"arm|both|0 and 1|at least|units|d: |finite",
    ),
    "nobody treated": (
        lambda _: {"d": np.zeros(N, int)}, (*ARMS, _instrumented), r"arm|both|0 and 1|at least|units|d: |finite",
    ),
    "an outcome that is constant": (
        lambda _: {"y": np.ones(N)},
        tuple(one for one in EVERY if one is not _two_by_two),  # its change varies with what was before
        r"variance|constant|tied|vary|varies|variation",
    ),
    "one treated unit": (
        lambda _: {"d": (np.arange(N) == 7).astype(int)},
        tuple(one for one in ARMS if one is not _replayed),  # which has a reference of its own: all assignments
        r"units|at least|need|determine|reach|overlap|finite|too few",
    ),
    "covariates that tell the arms apart": (
        lambda r: {"d": (r["x"][:, 0] > 0).astype(int)}, BY_SCORE, r"overlap|separat|converge|determined|within",
    ),
    "arms far from each other": (
        lambda r: {"x": r["x"] + 50 * np.column_stack([r["d"], np.zeros(N)])},
        BY_SCORE, r"overlap|separat|converge|determined|within",
    ),
    "a unit in both arms": (
        lambda _: {"unit": np.arange(N) // 2},
        (_weighted, _stratified, _standardized, _matched, _augmented, _two_by_two, _replayed),
        r"both treated and untreated|more than one arm|both arms|in two|one row per unit",
    ),
    "a unit twice": (lambda _: {"unit": np.where(np.arange(N) == 2, 0, np.arange(N))}, (_matched, _trials), r"one row"),
    "a covariate that is NaN": (
        lambda r: {"x": np.where(np.arange(N)[:, None] == 3, np.nan, r["x"])},
        (_adjusted, _adjusted_by_cluster, *ADJUSTED, _two_by_two, _discontinuity), r"NaN|finite",
    ),
    "another treatment than 0 and 1": (
        lambda r: {"d": 3 * r["d"]},
        tuple(one for one in ARMS if one not in (_means, _quantiles, _lee, _partially_linear)), r"0 or 1|0 and 1",
    ),
    "one cluster": (
        lambda _: {"cluster": np.zeros(N), "by": np.zeros(N, int)},
        (_adjusted_by_cluster, _clustered, *ADJUSTED, _two_by_two, _instrumented, _discontinuity),
        r"cluster|fold|units",
    ),
    "labels of another length": (
        lambda _: {"cluster": np.zeros(N - 1), "by": np.zeros(N - 1, int)},
        (_adjusted_by_cluster, _clustered, *ADJUSTED, _two_by_two, _instrumented, _discontinuity),
        r"length|label|shape",
    ),
    "a running variable of three values": (
        lambda r: {"x": np.sign(np.round(r["x"]))}, (_discontinuity,), r"distinct|values|side",
    ),
}  # fmt: skip


def test_the_rows_that_the_cases_change_are_good():
    for estimator in EVERY:
        assert np.isfinite(estimator(_rows()).value), estimator


@pytest.mark.parametrize(("case", "estimator"), [(case, one) for case, (_, whom, _) in CASES.items() for one in whom])
def test_a_case_that_has_no_answer_gets_none(case: str, estimator: Estimator):
    change, _, words = CASES[case]
    good = _rows()
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=words):
        estimator(good | change(good))


# --- panels ---------------------------------------------------------------------------------------------------------

UNITS, PERIODS = 30, 6


def _panel(first: np.ndarray) -> Rows:
    unit, period = (a.ravel() for a in np.indices((UNITS, PERIODS)))
    y = np.random.default_rng(1).normal(size=unit.size) + period
    return {"y": y, "d": (period >= first[unit]).astype(float), "unit": unit, "period": period, "first": first}


def _by_two_way(p: Rows) -> Estimate:
    return two_way(p["y"], p["d"], p["unit"], p["period"]).estimate(outcome="y")


def _by_cohort(p: Rows) -> Estimate:
    cohort = np.where(p["first"] < PERIODS, p["first"], np.inf)
    return group_time(p["y"].reshape(UNITS, -1), cohort, np.arange(PERIODS)).aggregate("simple").overall(outcome="y")


def _by_cells(p: Rows) -> Estimate:
    arm = (p["first"] < PERIODS)[p["unit"]]
    return two_by_two_clustered(p["y"], arm, p["period"] >= p["first"].min(), p["unit"], outcome="y")


HALF = np.where(np.arange(UNITS) < 15, 3, PERIODS)
PANELS: dict[str, tuple[Rows, tuple[Estimator, ...], str]] = {
    "no period before": (_panel(np.where(np.arange(UNITS) < 15, 0, PERIODS)), (_by_two_way, _by_cohort, _by_cells), ""),
    "some treated before the panel starts": (
        _panel(np.where(np.arange(UNITS) < 5, 0, HALF)), (_by_two_way, _by_cohort), "pre-period|first period|before",
    ),
    "everybody treated at once": (_panel(np.full(UNITS, 3)), (_by_two_way, _by_cohort, _by_cells), ""),
    "nobody treated": (_panel(np.full(UNITS, PERIODS)), (_by_two_way, _by_cohort, _by_cells), ""),
    "three treated units": (
        _panel(np.where(np.arange(UNITS) < 3, 3, PERIODS)), (_by_two_way, _by_cohort, _by_cells), "3 treated",
    ),
    "a NaN outcome": (
        {**_panel(HALF), "y": np.where(np.arange(180) == 4, np.nan, _panel(HALF)["y"])},
        (_by_two_way, _by_cohort, _by_cells), "NaN|finite|infinite",
    ),
    "an outcome that is constant": (
        {**_panel(HALF), "y": np.ones(180)}, (_by_two_way, _by_cohort, _by_cells), "variance|constant",
    ),
    "a unit twice in a period": (
        {**_panel(HALF), "period": np.where(np.arange(180) == 1, 0, _panel(HALF)["period"])},
        (_by_two_way,), "more than",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("case", "estimator"), [(case, one) for case, (_, whom, _) in PANELS.items() for one in whom])
def test_a_panel_that_has_no_answer_gets_none(case: str, estimator: Estimator):
    assert np.isfinite(estimator(_panel(HALF)).value)
    panel, _, words = PANELS[case]
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=words) as refused:
        estimator(panel)
    assert ": " in str(refused.value)  # names what is wrong before it says why


def test_one_donor_and_no_pre_period_are_no_synthetic_control():
    y = np.random.default_rng(2).normal(size=(2, 30)).cumsum(axis=1)
    treated = np.array([True, False])
    for method in (lambda p: conformal(p, Method(), outcome="y"), lambda p: synthetic_did(p, outcome="y", seed=0)):
        with pytest.raises(ValueError, match=r"donor|control"):
            method(Panel(y, treated, 20, ("a", "b"), tuple(range(30))))
    with pytest.raises(ValueError, match="pre"):
        Panel(np.ones((4, 6)), np.arange(4) == 0, 0, tuple("abcd"), tuple(range(6)))
