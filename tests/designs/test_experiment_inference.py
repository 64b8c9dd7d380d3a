"""How an experiment concludes: adjustment, monitoring, priors, replayed assignments, missing outcomes, other tests."""

from typing import Any

import dagster as dg
import numpy as np
import pytest

from causal_assets.designs.experiment import Experiment
from causal_assets.designs.experiment_fields import Monitoring
from causal_assets.estimators.bayes import normal_posterior
from causal_assets.estimators.bounds import (
    lee_bounds,
    lee_bounds_clustered,
    manski_bounds,
    manski_bounds_clustered,
)
from causal_assets.estimators.cluster_randomized import Clusters, difference_of_cluster_randomized
from causal_assets.estimators.group_sequential import at_look
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.multiplicity import benjamini_hochberg
from causal_assets.estimators.randomization import randomization_test
from causal_assets.estimators.randomized import difference_in_means, regression_adjusted
from causal_assets.estimators.sequential import confidence_sequence
from causal_assets.home import Home
from causal_assets.types import Estimate, Role, Status, Verdict
from tests.designs.direct import find
from tests.designs.tables import tell
from tests.house import live_in

FIELDS: dict[str, Any] = {
    "question": "Does the new page raise revenue?",
    "intervention": "the new page",
    "unit": "customer",
    "columns": {"arm": "arm"},
    "arms": {"control": "old", "treatment": "new"},
    "outcomes": [{"name": "revenue", "role": "primary"}],
    "plausible_effect": 3.0,
    "decision": {"value_per_outcome": 1.0, "cost_per_unit": 0.1},
}
GUARDRAIL = {"name": "returns", "role": "guardrail", "harm": "increase", "margin": 0.5}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory):
    with live_in(tmp_path_factory.mktemp("home")) as root:
        yield Home(root)


def table(n: int = 2_000, effect: float = 1.0, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    arm = rng.permutation(np.array(["old", "new"]).repeat(n // 2))
    past = rng.normal(size=n)
    return {
        "arm": arm,
        "past": past,
        "revenue": 10 + 3 * past**2 + effect * (arm == "new") + rng.normal(size=n),
        "returns": rng.normal(size=n),
    }


def welch(columns: dict[str, Any], outcome: str = "revenue", arm: str = "new", level: float = 0.95) -> Estimate:
    y = columns[outcome]
    sides = (Moments.of(y[(columns["arm"] == side) & ~np.isnan(y)]) for side in ("old", arm))
    return difference_in_means(*sides, outcome=outcome, level=level)


def stores(clusters: int = 300, effect: float = 1.0) -> dict[str, Any]:
    """Baskets of stores of 2 to 20, assigned store by store, which share half of their variance."""
    rng = np.random.default_rng(11)
    store = np.repeat(np.arange(clusters), rng.integers(2, 21, clusters))
    treated = (rng.permutation(clusters) % 2)[store]
    noise = [level[store] + rng.normal(size=store.size) for level in rng.normal(size=(2, clusters))]
    return {
        "arm": np.where(treated, "new", "old"),
        "store": store,
        "revenue": 10 + effect * treated + noise[0],
        "returns": noise[1],
    }


BY_STORE = FIELDS | {"columns": {"arm": "arm", "cluster": "store"}}


def by_store(columns: dict[str, Any], outcome: str = "revenue", level: float = 0.95) -> Estimate:
    arms = Clusters.arms(columns[outcome], columns["arm"] == "new", columns["store"])
    return difference_of_cluster_randomized(*arms, outcome=outcome, level=level)


def same(one: Estimate, other: Estimate) -> None:
    for name in ("value", "low", "high", "p_value", "relative_low", "relative_high"):
        ours, theirs = getattr(one, name), getattr(other, name)
        assert ours == theirs or ours == pytest.approx(theirs, rel=1e-6, abs=1e-12), name


def test_a_learned_covariate_is_sharper_where_the_outcome_bends(home: Home) -> None:
    columns = table()
    told = find(home.root, Experiment, FIELDS | {"covariates": ["past"], "cupac": True, "seed": 3}, columns)
    plain = told.alternatives()["difference in means"]
    assert told.primary.covers(1.0)
    assert told.primary.spread < 0.5 * plain.spread  # a line through a parabola would gain nothing
    assert told.evidence["balance"].status is Status.PASS


def test_errors_can_be_hc2(home: Home) -> None:
    columns = table(60)
    told = find(home.root, Experiment, FIELDS | {"covariates": ["past"], "errors": "hc2"}, columns)
    y, d = columns["revenue"], (columns["arm"] == "new") * 1
    same(told.primary, regression_adjusted(y, d, columns["past"][:, None], outcome="revenue"))


def test_under_monitoring_primary_guardrail_and_alternatives_are_of_the_sequence(home: Home) -> None:
    columns = table()
    fields = FIELDS | {
        "outcomes": [*FIELDS["outcomes"], GUARDRAIL],
        "monitoring": {"kind": "always_valid", "planned_n": 4_000},
    }
    told = find(home.root, Experiment, fields, columns)
    same(told.primary, confidence_sequence(welch(columns), planned_n=4_000))
    guardrail = next(e for role, e in told.findings if role is Role.GUARDRAIL)
    same(guardrail, confidence_sequence(welch(columns, "returns"), planned_n=4_000))
    assert all("confidence sequence" in e.method for e in told.alternatives().values())


def test_always_valid_arms_share_the_error_rate_by_bonferroni(home: Home) -> None:
    columns = table(3_000)
    columns["arm"] = np.where(np.arange(3_000) % 3 == 2, "newer", columns["arm"])
    fields = FIELDS | {
        "other_arms": ["newer"],
        "planned_shares": {name: float((columns["arm"] == name).mean()) for name in ("old", "new", "newer")},
        "correction": "bonferroni",
        "monitoring": {"kind": "always_valid", "planned_n": 4_000},
    }
    told = find(home.root, Experiment, fields, columns)
    each = confidence_sequence(welch(columns, level=0.975), planned_n=4_000)
    assert (told.primary.low, told.primary.high) == pytest.approx((each.low, each.high), rel=1e-9)
    assert told.primary.p_value == pytest.approx(2 * (each.p_value or 0), rel=1e-6)
    assert told.primary.level == 0.95


def test_a_planned_look_has_the_boundary_of_its_look(home: Home) -> None:
    columns = table()
    plan = {"kind": "group_sequential", "planned_n": 4_000, "fractions": [0.5, 1.0], "spending": "pocock"}
    told = find(home.root, Experiment, FIELDS | {"monitoring": plan}, columns)
    same(told.primary, at_look(welch(columns), [0.5], spending="pocock"))


@pytest.mark.parametrize(
    ("units", "looks"), [(2_000, [0.5]), (2_060, [0.515]), (4_500, [0.5, 1.0]), (3_000, None), (100, None)]
)
def test_between_planned_looks_there_is_none(units: int, looks: list[float] | None) -> None:
    plan = Monitoring(kind="group_sequential", planned_n=4_000, fractions=[0.5, 1.0])
    assert plan.looks(units) == looks
    assert Monitoring(kind="group_sequential", fractions=[0.5, 0.8]).looks(units) == [0.5, 0.8]


def test_between_planned_looks_nothing_is_concluded(home: Home) -> None:
    plan = {"kind": "group_sequential", "planned_n": 3_000, "fractions": [0.5, 1.0]}
    told = tell(home, Experiment, FIELDS | {"monitoring": plan}, table())
    assert (told.primary.low, told.primary.high, told.primary.p_value) == (-np.inf, np.inf, 1.0)
    assert told.decision.verdict is Verdict.HOLD


@pytest.mark.parametrize("inference", ["frequentist", "bayesian"])
def test_a_stated_prior_gives_a_posterior_beside_or_instead(home: Home, inference: str) -> None:
    columns = table(400, effect=0.3)
    fields = FIELDS | {"prior": {"mean": 0.1, "sd": 0.2}, "inference": inference}
    told = find(home.root, Experiment, fields, columns)
    posterior = normal_posterior(welch(columns), prior_mean=0.1, prior_sd=0.2)
    alternative = next(iter(told.alternatives().values()))
    bayesian, other = (told.primary, alternative) if inference == "bayesian" else (alternative, told.primary)
    assert (bayesian.value, bayesian.low, bayesian.p_value) == (
        pytest.approx(posterior.estimate.value),
        pytest.approx(posterior.estimate.low),
        None,
    )
    same(other, welch(columns))
    said = told.evidence["posterior"]
    assert said.value == pytest.approx(posterior.chance_to_win)
    assert f"{posterior.expected_loss:.3g} of treating all" in said.message


def test_under_monitoring_looks_and_plans_count_clusters(home: Home) -> None:
    columns = stores()
    outcomes = {"outcomes": [*FIELDS["outcomes"], GUARDRAIL]}
    always = {"monitoring": {"kind": "always_valid", "planned_n": 400}}
    told = find(home.root, Experiment, BY_STORE | outcomes | always, columns)
    same(told.primary, confidence_sequence(by_store(columns), planned_n=400))
    same(told.of(Role.GUARDRAIL)[0], confidence_sequence(by_store(columns, "returns"), planned_n=400))
    assert told.primary.n_treated == 150
    planned = {"kind": "group_sequential", "planned_n": 600, "fractions": [0.5, 1.0]}
    told = find(home.root, Experiment, BY_STORE | outcomes | {"monitoring": planned}, columns)
    same(told.primary, at_look(by_store(columns), [0.5], spending="obrien_fleming"))  # 300 of 600 stores
    rows = find(home.root, Experiment, FIELDS | {"monitoring": planned}, columns)
    assert np.isfinite(rows.primary.high)
    assert rows.primary.spread < 0.5 * told.primary.spread  # as if every basket stood alone


def test_few_stores_are_looked_at_by_their_t_test(home: Home) -> None:
    columns = stores(14)
    plan = {"kind": "group_sequential", "planned_n": 14, "fractions": [1.0]}
    told = find(home.root, Experiment, BY_STORE | {"monitoring": plan}, columns)
    fixed = by_store(columns)
    assert (told.primary.low, told.primary.p_value) == pytest.approx((fixed.low, fixed.p_value), rel=1e-8)


@pytest.mark.parametrize("inference", ["frequentist", "bayesian"])
def test_a_posterior_of_stores_is_by_store(home: Home, inference: str) -> None:
    columns = stores(14)
    told = find(home.root, Experiment, BY_STORE | {"prior": {"sd": 0.5}, "inference": inference}, columns)
    posterior = normal_posterior(by_store(columns), prior_sd=0.5)
    found = told.primary if inference == "bayesian" else next(iter(told.alternatives().values()))
    assert (found.value, found.low, found.high) == pytest.approx(
        (posterior.estimate.value, posterior.estimate.low, posterior.estimate.high), rel=1e-9
    )
    assert told.evidence["posterior"].value == pytest.approx(posterior.chance_to_win, rel=1e-9)


@pytest.mark.parametrize("cap", [None, 12.0])
def test_missing_outcomes_of_stores_are_bounded_by_store(home: Home, cap: float | None) -> None:
    columns = stores(80)
    complete = columns["revenue"]
    lost = (columns["arm"] == "new") & (complete > 12) | (columns["store"] == 7)  # one store said nothing at all
    columns["revenue"] = np.where(lost, np.nan, complete)
    outcome = {"name": "revenue", "role": "primary"} | ({"kind": "capped_mean", "cap": cap} if cap else {})
    fields = BY_STORE | {"outcomes": [outcome], "missing": {"lowest": 0, "highest": 30}}
    told = find(home.root, Experiment, fields, columns)
    y, d = np.minimum(columns["revenue"], cap or np.inf), columns["arm"] == "new"
    rows = (y, d * 1, ~lost, columns["store"])
    found = told.alternatives()
    manski, lee = found["Manski bounds, clustered (CR2)"], found["Lee bounds, clustered (CR2)"]
    same(manski, manski_bounds_clustered(*rows, lowest=0, highest=30, outcome="revenue").estimate)
    same(lee, lee_bounds_clustered(*rows, outcome="revenue").estimate)
    assert (lee.n_control, lee.n_treated) == (manski.n_control, manski.n_treated) == (40, 40)
    assert manski.covers(1.0)
    assert told.evidence["loss_bound"].status is Status.REVIEW
    assert told.evidence["attrition"].status is Status.FAIL


def test_a_store_that_lost_one_arm_s_outcomes_is_still_in_both(home: Home) -> None:
    columns = stores(80)
    columns["arm"] = np.where(
        np.arange(columns["store"].size) == 0, "new", np.where(columns["store"] == 0, "old", columns["arm"])
    )
    columns["revenue"][0] = np.nan
    with pytest.raises(dg.Failure, match=r"columns\.cluster: 1 clusters are in several arms"):
        find(home.root, Experiment, BY_STORE | {"missing": {"lowest": 0, "highest": 30}}, columns)


def test_six_stores_are_answered_by_replaying_their_assignment(home: Home) -> None:
    rng = np.random.default_rng(5)
    store = np.arange(12).repeat(20)
    region, treated = np.where(store < 6, "n", "s"), np.isin(store, (0, 2, 5, 7, 8, 11))
    columns = {
        "arm": np.where(treated, "new", "old"),
        "store": store,
        "region": region,
        "revenue": rng.normal(size=12)[store] + 4 * treated + rng.normal(size=240),
    }
    fields = FIELDS | {"columns": {"arm": "arm", "cluster": "store", "stratum": "region"}, "inference": "randomization"}
    told = find(home.root, Experiment, fields, columns)
    direct = randomization_test(columns["revenue"], treated, store, stratum=region, outcome="revenue", seed=0)
    assert told.primary == direct
    assert "all 400 assignments" in told.primary.method
    assert told.evidence["srm"].value == 1.0  # six stores each


def test_missing_outcomes_are_bounded_and_their_loss_by_arm_fails_the_study(home: Home) -> None:
    columns = table()
    lost = (columns["arm"] == "new") & (columns["revenue"] > 16)
    columns["revenue"] = np.where(lost, np.nan, columns["revenue"])
    fields = FIELDS | {"missing": {"lowest": 0, "highest": 100}}
    told = tell(home, Experiment, fields, columns)
    sides = [columns["revenue"][(columns["arm"] == arm) & ~np.isnan(columns["revenue"])] for arm in ("old", "new")]
    counts = {"n_control": 1_000, "n_treated": 1_000, "outcome": "revenue"}
    moments = [Moments.of(y) for y in sides]
    found = told.alternatives()
    same(found["Manski bounds"], manski_bounds(*moments, lowest=0, highest=100, **counts).estimate)
    same(found["Lee bounds"], lee_bounds(*sides, **counts).estimate)
    assert found["Manski bounds"].covers(1.0)
    assert told.evidence["attrition"].status is Status.FAIL
    assert told.evidence["srm"].status is Status.PASS
    assert told.decision.verdict is Verdict.BLOCKED


def test_nothing_missing_is_neither_bounded_nor_tested(home: Home) -> None:
    told = find(home.root, Experiment, FIELDS | {"missing": {"lowest": 0, "highest": 100}}, table(200))
    assert not told.alternatives()
    assert not {"attrition", "srm_analysed"} & told.evidence.keys()


def test_a_second_experiment_that_changes_the_effect_is_shown(home: Home) -> None:
    columns = table(4_000)
    banner = np.random.default_rng(8).choice(np.array(["plain", "loud", "third"]), 4_000)
    columns["revenue"] += 2.0 * ((banner == "loud") & (columns["arm"] == "new"))
    fields = FIELDS | {
        "columns": {"arm": "arm", "other_arm": "banner"},
        "other_experiment": {"control": "plain", "treatment": "loud"},
        "outcomes": [{"name": "revenue", "role": "primary", "money": True}],
    }
    told = find(home.root, Experiment, fields, columns | {"banner": banner})
    found = next(e for role, e in told.findings if role is Role.SECONDARY)
    assert found.outcome == "revenue, with the other experiment"
    assert abs(found.value - 2.0) < 3 * found.spread
    assert told.primary.n_treated == 2_000  # the third banner's rows as well


def test_three_arms_are_corrected_as_asked(home: Home) -> None:
    rng = np.random.default_rng(9)
    arm = rng.permutation(np.repeat(["old", "new", "newer"], 500))
    columns = {"arm": arm, "revenue": rng.normal(size=1_500) + 0.12 * (arm == "new") + 0.3 * (arm == "newer")}
    fields = FIELDS | {"other_arms": ["newer"], "correction": "benjamini_hochberg"}
    told = find(home.root, Experiment, fields, columns)
    expected = benjamini_hochberg([lambda level, a=a: welch(columns, arm=a, level=level) for a in ("new", "newer")])
    same(told.primary, expected[0])
    same(next(e for role, e in told.findings if role is Role.SECONDARY), expected[1])


def test_skew_that_a_normal_interval_cannot_take_stops_the_study(home: Home) -> None:
    rng = np.random.default_rng(10)
    arm = np.where(np.arange(4_000) % 20 == 0, "new", "old")
    columns = {"arm": arm, "revenue": rng.lognormal(0, 2, 4_000), "returns": rng.normal(size=4_000)}
    arms = {"control": "old", "treatment": "new", "share": 0.05}
    told = find(home.root, Experiment, FIELDS | {"arms": arms}, columns)
    assert told.evidence["skew"].status is Status.FAIL
    capped = {"outcomes": [{"name": "revenue", "role": "primary", "kind": "capped_mean", "cap": 5}]}
    assert find(home.root, Experiment, FIELDS | {"arms": arms} | capped, columns).evidence["skew"].status is Status.PASS
