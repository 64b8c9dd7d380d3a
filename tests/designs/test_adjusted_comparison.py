"""Treated against untreated units of one prepared table, adjusted for covariates."""

from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from scipy.special import expit

from causal_assets.designs.adjusted_comparison import AdjustedComparison
from causal_assets.home import Home
from causal_assets.types import Estimate, Role, Status, Verdict
from tests.designs.direct import Found, find
from tests.designs.tables import tell
from tests.house import live_in

FIELDS: dict[str, Any] = {
    "question": "What did the app change?",
    "intervention": "the app",
    "unit": "customer",
    "columns": {"treatment": "app", "unit_id": "customer"},
    "outcomes": [{"name": "spend", "role": "primary", "money": True}, {"name": "fuel", "role": "negative_control"}],
    "covariates": ["before", "visits"],
    "begins_on": "2099-01-01",
    "plausible_effect": 3.0,
    "decision": {"value_per_outcome": 1.0, "cost_per_unit": 0.1},
}
N = 1_500
# The effect is 2 plus the covariate that drives treatment: its mean over all, the treated, and where both arms occur.
SLOPE, INTERCEPT, GAIN = 0.8, -0.5, 2.0


def truth(estimand: str) -> float:
    nodes, mass = np.polynomial.hermite_e.hermegauss(60)
    e = expit(SLOPE * nodes + INTERCEPT)
    density = mass * {"ATE": np.ones_like(e), "ATT": e, "ATO": e * (1 - e)}[estimand]
    return float(GAIN + (density @ nodes) / density.sum())


def table(n: int = N, *, hidden: float = 0.0, seed: int = 0) -> dict[str, Any]:
    """Customers with more visits install the app and spend more; ``hidden`` drives app, spending and fuel unseen."""
    rng = np.random.default_rng(seed)
    visits, before, unseen = rng.normal(size=(3, n))
    app = rng.random(n) < expit(SLOPE * visits + INTERCEPT + hidden * unseen)
    return {
        "customer": np.arange(n),
        "app": app.astype(int),
        "visits": visits,
        "before": before,
        "store": np.arange(n) % 60,
        "region": np.where(np.arange(n) % 3, "north", "south"),
        "spend": 2 * visits + before + (GAIN + visits) * app + hidden * unseen + rng.normal(size=n),
        "fuel": visits + hidden * unseen + rng.normal(size=n),
        "mailed": rng.integers(0, 2, n),
    }


@pytest.fixture
def home(tmp_path: Path):
    with live_in(tmp_path) as root:
        yield Home(root)


@pytest.mark.parametrize(
    ("method", "estimand"),
    [("aipw", "ATE"), ("ipw", "ATT"), ("matching", "ATT"), ("stratification", "ATE"), ("partially_linear", "ATO")],
)
def test_each_method_answers_for_the_population_it_names(tmp_path: Path, method: str, estimand: str) -> None:
    told = find(tmp_path, AdjustedComparison, FIELDS | {"method": method, "estimand": estimand}, table())
    assert told.primary.estimand == estimand
    assert abs(told.primary.value - truth(estimand)) < 3 * told.primary.spread
    naive = told.alternatives()["naive difference in means"]
    assert naive.estimand == "none"
    assert naive.value - truth(estimand) > 5 * told.primary.spread
    assert told.primary.method not in told.alternatives()


def test_the_default_is_the_effect_on_the_treated_with_other_methods_beside_and_checked(home: Home) -> None:
    fields = FIELDS | {"columns": {"treatment": "app", "unit_id": "customer", "co_intervention": "mailed"}}
    told = tell(home, AdjustedComparison, fields, table())
    assert (told.primary.estimand, told.primary.method) == ("ATT", "cross-fitted augmented weighting")
    adjusted = [e for e in told.alternatives().values() if e.estimand == "ATT"]
    assert len(adjusted) == 4
    assert all(abs(e.value - truth("ATT")) < 4 * e.spread for e in adjusted)
    checks = ("balance", "overlap", "clipping", "sign_stability", "co_intervention", "negative_control", "data_loss")
    assert {check: told.evidence[check].status for check in checks} == dict.fromkeys(checks, Status.PASS)
    assert told.evidence["balance"].value < 0.1
    assert told.decision.grade == "B"
    assert told.decision.verdict is Verdict.SHIP


def test_a_hidden_reason_shows_in_what_the_treatment_cannot_move(tmp_path: Path) -> None:
    told = find(tmp_path, AdjustedComparison, FIELDS, table(hidden=1.0))
    assert told.evidence["negative_control"].status is Status.FAIL


def test_without_a_negative_control_nobody_can_know(tmp_path: Path) -> None:
    told = find(tmp_path, AdjustedComparison, FIELDS | {"outcomes": FIELDS["outcomes"][:1]}, table())
    assert told.evidence["negative_control"].status is Status.REVIEW


def test_choices_declared_as_good_are_each_estimated(tmp_path: Path) -> None:
    declared = {"methods": ["aipw", "ipw"], "covariates": [["visits"], ["before", "visits"]], "fractions": [0.5]}
    told = find(tmp_path, AdjustedComparison, FIELDS | {"specifications": declared}, table())
    found = told.of(Role.SPECIFICATION)
    assert [e.method.partition(",")[0] for e in found] == ["aipw", "ipw", "aipw", "ipw"]
    assert all(abs(e.value - truth("ATT")) < 4 * e.spread for e in found)
    assert {round((e.n_treated + e.n_control) / N, 1) for e in found} == {0.5}
    with pytest.raises(ValueError, match=r"specifications.covariates: \['age'\] are not the study's"):
        find(tmp_path, AdjustedComparison, FIELDS | {"specifications": {"covariates": [["age"]]}}, table())


def test_the_matched_and_the_trimmed_are_named_and_counted(tmp_path: Path) -> None:
    columns = table()
    columns["visits"][:80] += 6  # treated without anyone like them
    columns["app"][:80] = 1
    matched = find(tmp_path, AdjustedComparison, FIELDS | {"method": "matching", "estimand": "matched"}, columns)
    assert matched.primary.estimand == "ATT of the matched"
    assert matched.primary.n_treated == columns["app"].sum() - round(
        matched.evidence["left_out"].value * columns["app"].sum()
    )
    assert matched.evidence["left_out"].status is Status.REVIEW


def test_trimming_changes_the_population_and_says_so(tmp_path: Path) -> None:
    told = find(tmp_path, AdjustedComparison, FIELDS | {"trim": 0.3, "estimand": "ATE"}, table())
    assert told.primary.estimand == "ATE where 0.3 <= e <= 0.7"
    assert told.evidence["left_out"].status is Status.REVIEW


def test_where_few_are_treated_unlike_controls_do_not_count(tmp_path: Path) -> None:
    # A bound from below would give each of thousands of unlike controls the weight of one treated in a hundred.
    rng = np.random.default_rng(0)
    n = 6_000
    visits = np.concatenate([rng.normal(2.0, 1, 60), rng.normal(-2.0, 1.5, n - 60)])
    columns = table(n) | {"visits": visits, "app": (np.arange(n) < 60).astype(int)}
    columns["spend"] = 2 * visits**2 + columns["app"] + rng.normal(size=n)
    fields = FIELDS | {"method": "ipw", "covariates": ["visits"], "outcomes": FIELDS["outcomes"][:1]}
    told = find(tmp_path, AdjustedComparison, fields, columns)
    assert told.evidence["clipping"].value < 0.005
    assert abs(told.primary.value - 1.0) < 3 * told.primary.spread


def test_clusters_may_hold_both_arms_and_widen_the_interval(tmp_path: Path) -> None:
    columns = table()
    columns["spend"] = (
        columns["spend"] + np.random.default_rng(1).normal(size=60)[columns["store"]] * columns["app"] * 2
    )
    clustered = FIELDS | {"columns": {"treatment": "app", "unit_id": "customer", "cluster": "store"}}
    by_store = find(tmp_path, AdjustedComparison, clustered, columns).primary
    by_row = find(tmp_path, AdjustedComparison, FIELDS, columns).primary
    assert by_store.spread > 1.3 * by_row.spread
    assert (by_store.n_treated, by_store.n_control) == (by_row.n_treated, by_row.n_control)
    with pytest.raises(dg.Failure, match=r"columns\.cluster: 5 clusters.* allowed are at least 30"):
        find(tmp_path, AdjustedComparison, clustered, columns | {"store": np.arange(N) % 5})


@pytest.mark.parametrize("method", ["matching", "ipw"])
def test_a_cluster_widens_the_answer_and_its_negative_exposures(tmp_path: Path, method: str) -> None:
    rng = np.random.default_rng(3)
    columns = table()
    level = 2 * rng.normal(size=60)[columns["store"]]
    columns["spend"] = columns["spend"] + level
    columns["radio"] = (rng.normal(size=60) > 0)[columns["store"]].astype(int)  # heard in half of the stores
    fields = FIELDS | {"method": method, "negative_exposures": ["radio"]}
    clustered = fields | {"columns": {"treatment": "app", "unit_id": "customer", "cluster": "store"}}
    by_store, by_row = (find(tmp_path, AdjustedComparison, f, columns) for f in (clustered, fields))

    def radio(found: Found) -> Estimate:
        return next(e for e in found.of(Role.NEGATIVE_CONTROL) if e.outcome == "spend by radio")

    assert radio(by_store).spread > 2 * radio(by_row).spread
    assert radio(by_store).covers(0.0)
    columns["radio"] = (columns["store"] < 4).astype(int)
    with pytest.raises(dg.Failure, match=r"columns\.cluster: 60 clusters, 4 with treated"):
        find(tmp_path, AdjustedComparison, clustered, columns)


def test_negative_exposures_and_calibration_count_systematic_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    columns = table()
    for k in range(6):  # exposures that follow visits, as the app does, and do nothing
        columns[f"other_{k}"] = (rng.random(N) < expit(columns["visits"])).astype(int)
    fields = FIELDS | {"negative_exposures": [f"other_{k}" for k in range(6)], "outcomes": FIELDS["outcomes"][:1]}
    plain = find(tmp_path, AdjustedComparison, fields | {"method": "ipw"}, columns)
    controls = [e for role, e in plain.findings if role is Role.NEGATIVE_CONTROL]
    assert [e.outcome for e in controls] == [f"spend by other_{k}" for k in range(6)]
    assert all(abs(e.value) < 4 * e.spread for e in controls)
    told = find(tmp_path, AdjustedComparison, fields | {"method": "ipw", "calibrated": True}, columns)
    assert told.primary.method.endswith("calibrated on 6 negative controls")
    assert told.primary.spread > plain.primary.spread
    assert told.alternatives()[plain.primary.method] == plain.primary
    assert told.evidence["negative_control"].status is not Status.FAIL


def test_a_difference_in_differences_brackets_the_answer_where_the_past_is_named(tmp_path: Path) -> None:
    fields = FIELDS | {
        "columns": {"treatment": "app", "unit_id": "customer", "before": "before"},
        "derived": {"prior": "before"},
        "covariates": ["prior", "visits"],
    }
    told = find(tmp_path, AdjustedComparison, fields, table())
    assert "2x2 difference-in-differences" in told.alternatives()
    assert "bracket" in told.evidence


def test_the_order_of_rows_and_the_names_of_units_change_nothing(tmp_path: Path) -> None:
    columns = table(400)
    order = np.random.default_rng(0).permutation(400)
    found = find(tmp_path, AdjustedComparison, FIELDS, columns).primary
    shuffled = find(
        tmp_path, AdjustedComparison, FIELDS, {name: values[order] for name, values in columns.items()}
    ).primary
    assert (shuffled.value, shuffled.std_error) == pytest.approx((found.value, found.std_error), rel=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "matching", "estimand": "ATE"}, r"estimand: matching .* ATE; allowed are \('ATT', 'matched'\)"),
        ({"method": "partially_linear"}, r"estimand: partially_linear does not answer for ATT; allowed are \('ATO',\)"),
        ({"method": "ipw", "propensity_model": "boosting"}, r"propensity_model: boosting: method ipw .* allowed are"),
        ({"method": "aipw", "cross_fit": False}, r"cross_fit: false: method aipw does not take it"),
        ({"method": "aipw", "caliper": 0.1}, r"caliper: method aipw does not take it; allowed are \('matching',\)"),
        ({"method": "matching", "caliper": 0.1}, r"caliper: leaves treated units out"),
        ({"method": "ipw", "trim": 0.1}, r"trim: method ipw does not take it"),
        ({"method": "aipw", "strata": 5}, r"strata: method aipw"),
        ({"method": "stratification", "bias_adjusted": False}, r"bias_adjusted: method stratification"),
        ({"estimand": "ATO", "clip": 0.05}, r"clip: the weights of an ATO are bounded"),
        ({"clip": 0.7}, r"less than 0\.5"),
        ({"method": "matching", "exact": ["income"]}, r"exact: \['income'\] are no covariates; allowed are"),
        ({"method": "standardization", "modifiers": ["income"]}, r"modifiers: \['income'\]"),
        (
            {"method": "partially_linear", "estimand": "ATO", "outcome_model": "boosted"},
            r"outcome_model: partially_linear learns both alike",
        ),
        (
            {"method": "standardization", "columns": {"treatment": "app", "cluster": "store"}},
            r"columns\.cluster: method standardization",
        ),
        ({"calibrated": True}, r"calibrated: needs at least 6 negative controls.* got 1"),
        ({"covariates": []}, r"covariates: at least one is needed"),
    ],
)
def test_fields_that_do_not_go_together_fail_when_the_study_is_loaded(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AdjustedComparison.resolve_from_dict({"table": "table.parquet", **FIELDS, **change})


def test_a_treatment_of_other_values_needs_arms(tmp_path: Path) -> None:
    columns = table(300)
    columns["app"] = np.array(["web", "app", "fax"])[np.where(np.arange(300) < 3, 2, columns["app"])]
    with pytest.raises(dg.Failure, match=r"columns\.treatment: 'app' must hold 0 and 1, got \['app', 'fax', 'web'\]"):
        find(tmp_path, AdjustedComparison, FIELDS, columns)
    told = find(tmp_path, AdjustedComparison, FIELDS | {"arms": {"control": "web", "treatment": "app"}}, columns)
    assert told.primary.n_treated + told.primary.n_control == 297


def test_an_unknown_treatment_is_counted_as_lost(tmp_path: Path) -> None:
    columns = table(400)
    columns["app"] = columns["app"].astype(float)
    columns["app"][:10] = np.nan
    told = find(tmp_path, AdjustedComparison, FIELDS, columns)
    assert told.lost == 10
    assert told.primary.n_treated + told.primary.n_control == 390


def test_an_att_by_matching_that_leaves_treated_units_out_is_refused(tmp_path: Path) -> None:
    columns = table(400)
    columns["app"] = (np.arange(400) < 300).astype(int)
    fields = FIELDS | {"method": "matching", "replacement": False}
    with pytest.raises(ValueError, match=r"estimand: 200 of 300 treated found no match"):
        find(tmp_path, AdjustedComparison, fields, columns)


def test_arms_that_the_covariates_separate_are_refused(tmp_path: Path) -> None:
    columns = table(400)
    columns["app"] = (columns["visits"] > 0).astype(int)
    with pytest.raises(ValueError, match="separate treated from untreated"):
        find(tmp_path, AdjustedComparison, FIELDS | {"method": "ipw"}, columns)


def test_matches_agree_on_what_must_be_exact_and_a_text_may_be_named(tmp_path: Path) -> None:
    columns = table()
    columns["spend"] = columns["spend"] + 100.0 * (columns["region"] == "south")
    fields = FIELDS | {"method": "matching", "covariates": ["visits", "region"], "bias_adjusted": False}
    found = find(tmp_path, AdjustedComparison, fields | {"exact": ["region"]}, columns).primary
    assert abs(found.value - truth("ATT")) < 3 * found.spread
    loose = find(tmp_path, AdjustedComparison, fields | {"bias_adjusted": True, "exact": []}, columns).primary
    assert abs(loose.value - truth("ATT")) < 4 * loose.spread
    # A pair of two regions is 100 apart: with one such pair in a hundred the plain mean would be off by one.
    assert abs(found.value - truth("ATT")) < 0.5


@pytest.mark.parametrize("change", [{"method": "interactive"}, {"outcome_model": "boosted"}, {"calibration": "platt"}])
def test_learners_and_other_names_of_the_doubly_robust_method_find_the_effect(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    found = find(tmp_path, AdjustedComparison, FIELDS | change, table(400)).primary
    assert abs(found.value - truth("ATT")) < 4 * found.spread
    assert found.estimand == "ATT"
