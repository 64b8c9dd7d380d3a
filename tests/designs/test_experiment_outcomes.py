"""What an experiment compares: kinds of outcome, clusters, strata, triggers, several arms; and what it refuses."""

import re
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
import yaml
from dagster.components.resolved.errors import ResolutionException

from causal_assets.designs import experiment
from causal_assets.designs.experiment import Experiment
from causal_assets.designs.experiment_fields import CLASHES, KINDS, NEEDS
from causal_assets.designs.switchback import Switchback
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.proportions import Events, difference_in_proportions
from causal_assets.estimators.quantiles import difference_in_quantiles
from causal_assets.estimators.randomized import difference_in_means
from causal_assets.home import Home
from causal_assets.types import Estimate, Role, Status, Verdict
from tests.designs.direct import Found, find
from tests.designs.tables import NAME, Told, house_of, tell, write_table
from tests.house import failures, live_in

FIELDS: dict[str, Any] = {
    "question": "Does the new page raise revenue?",
    "intervention": "the new page",
    "unit": "customer",
    "columns": {"arm": "arm"},
    "arms": {"control": "old", "treatment": "new"},
    "outcomes": [{"name": "revenue", "role": "primary", "money": True}],
    "plausible_effect": 3.0,
    "decision": {"value_per_outcome": 1.0, "cost_per_unit": 0.1},
}
LIFT = 2.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory):
    with live_in(tmp_path_factory.mktemp("home")) as root:
        yield Home(root)


def with_columns(**columns: str) -> dict[str, Any]:
    return {"columns": FIELDS["columns"] | columns}


def outcome(**fields: Any) -> dict[str, Any]:
    return {"name": "revenue", "role": "primary", **fields}


def table(n: int = 3_000, seed: int = 0) -> dict[str, Any]:
    """Orders and money of customers; the new page adds ``LIFT`` per customer."""
    rng = np.random.default_rng(seed)
    arm = rng.permutation(np.array(["old", "new"]).repeat(n // 2))
    orders = 1 + rng.poisson(2.0, n)
    past = rng.gamma(2.0, 5.0, n)
    revenue = past + 3 * orders + LIFT * (arm == "new") + rng.exponential(5.0, n)
    return {"arm": arm, "orders": orders, "past": past, "revenue": revenue, "bought": (revenue > 20) * 1}


def by_label(told: Told) -> dict[tuple[Role, str], Estimate]:
    return {(role, e.outcome): e for role, e in told.findings if role is not Role.ALTERNATIVE}


def refused(change: dict[str, Any]) -> str:
    with pytest.raises((ValueError, ResolutionException)) as error:
        Experiment.resolve_from_dict({"table": "table.parquet", **FIELDS, **change})
    return str(error.value)


def test_every_kind_of_outcome_is_the_estimate_of_its_kind(home: Home) -> None:
    rows = table()
    rows["revenue"][:10] = np.nan
    outcomes = [
        outcome(money=True),
        {"name": "bought", "kind": "proportion"},
        {"name": "per_order", "column": "revenue", "kind": "ratio", "denominator": "orders"},
        {"name": "median", "column": "revenue", "kind": "quantile", "quantile": 0.5},
        {"name": "capped", "column": "revenue", "kind": "capped_mean", "cap_quantile": 0.99},
        {"name": "capped_at", "column": "revenue", "kind": "capped_mean", "cap": 30},
    ]
    told = tell(home, Experiment, FIELDS | {"outcomes": outcomes, "covariates": ["past"]}, rows)
    found = {name: e for (_, name), e in by_label(told).items()}

    known = ~np.isnan(rows["revenue"])
    new, y, orders = (rows["arm"] == "new")[known], rows["revenue"][known], rows["orders"][known]
    events = [Events(int(rows["bought"][rows["arm"] == arm].sum()), 1_500) for arm in ("old", "new")]
    assert found["bought"].p_value == difference_in_proportions(*events, outcome="bought").p_value
    ratios = [y[side].sum() / orders[side].sum() for side in (~new, new)]
    assert found["per_order"].control_mean == pytest.approx(ratios[0], rel=0.05)  # adjusted, so near and not equal
    assert abs(found["per_order"].value - (ratios[1] - ratios[0])) < 2 * found["per_order"].spread
    median = difference_in_quantiles(y[~new], y[new], 0.5, outcome="median")
    assert (found["median"].low, found["median"].high) == (median.low, median.high)
    cap = np.quantile(y, 0.99, method="inverted_cdf")
    assert found["capped"].estimand == f"ATE on the mean capped at {cap:g}"
    assert found["capped_at"].estimand == "ATE on the mean capped at 30"
    assert 0 < found["capped_at"].value < found["revenue"].value
    assert all(e.relative is not None for e in found.values())
    assert told.decision.verdict is Verdict.SHIP


def test_a_ratio_without_covariates_is_the_ratio_of_totals(home: Home) -> None:
    rows = table(600) | {"orders": np.where(np.arange(600) < 5, np.nan, table(600)["orders"])}
    told = find(home.root, Experiment, FIELDS | {"outcomes": [outcome(kind="ratio", denominator="orders")]}, rows)
    known, new = ~np.isnan(rows["orders"]), rows["arm"] == "new"
    old, now = (rows["revenue"][side].sum() / rows["orders"][side].sum() for side in (known & ~new, known & new))
    assert told.primary.value == pytest.approx(now - old, rel=1e-9)
    assert told.primary.n_control + told.primary.n_treated == 595


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outcomes": [outcome(kind="proportion")]}, r"outcomes\.revenue: kind proportion is of 0 and 1, got \d"),
        (
            {"outcomes": [outcome(kind="proportion")], "inference": "randomization", "draws": 10},
            r"outcomes\.revenue: kind proportion is of 0 and 1",
        ),
        ({"outcomes": [outcome(kind="ratio", denominator="visits")]}, r"revenue\.denominator: no column 'visits'"),
        ({"other_arms": ["newest"]}, r"no row of table\.parquet is 'newest'"),
        (with_columns(cluster="orders"), r"columns\.cluster: \d+ clusters are in several arms"),
        (with_columns(cluster="one_each"), r"1 treated and 1 control clusters; .* randomisation inference"),
        (with_columns(stratum="arm"), r"columns\.stratum: \['new', 'old'\] hold only one of"),
        ({"missing": {"lowest": 0, "highest": 1}, "outcomes": [outcome(column="gone")]}, r"does not fit in \[0, 1\]"),
    ],
)
def test_what_the_data_do_not_allow_fails_by_name(home: Home, change: dict[str, Any], message: str) -> None:
    columns = table(200)
    gone = np.where(np.arange(200) < 3, np.nan, columns["revenue"])
    write_table(home, columns | {"one_each": columns["arm"], "gone": gone})
    result = house_of(home, Experiment, FIELDS | change).run(
        *((NAME, stage) for stage in ("registration", "cohort", "outcomes", "estimate"))
    )
    assert not result.success
    assert re.search(message, failures(result)), failures(result)


def test_baskets_of_stores_are_compared_with_errors_by_store(home: Home) -> None:
    rng = np.random.default_rng(3)
    store = np.arange(80).repeat(30)
    level, loyal = rng.normal(0, 4, 80), rng.normal(size=80)
    columns = {
        "arm": np.where(store % 2, "new", "old"),
        "store": store,
        "loyal": loyal[store],
        "items": 1 + rng.poisson(1.0, store.size),
        "revenue": 20 + level[store] + 5 * loyal[store] + LIFT * (store % 2) + rng.normal(size=store.size),
    }
    outcomes = [
        outcome(),
        {"name": "per_item", "column": "revenue", "kind": "ratio", "denominator": "items"},
        {"name": "median", "column": "revenue", "kind": "quantile", "quantile": 0.5},
    ]
    fields = FIELDS | with_columns(cluster="store") | {"outcomes": outcomes, "covariates": ["loyal"]}
    columns["revenue"][:31] = np.nan  # all of one store and a basket of another
    told = find(home.root, Experiment, fields, columns)
    bare = told.alternatives()["difference in means, clustered (CR2)"]
    assert (told.primary.n_control, told.primary.n_treated) == (39, 40) == (bare.n_control, bare.n_treated)
    assert told.primary.spread < 0.8 * bare.spread
    assert told.primary.covers(LIFT)
    assert bare.spread > 0.7  # the stores' own spread; baskets as if independent would say 0.2
    assert by_label(told)[Role.SECONDARY, "median"].n_treated == 40
    assert told.evidence["srm"].status is Status.PASS
    assert "40 (planned" not in told.evidence["srm"].message
    assert {"attrition", "srm_analysed", "balance"} <= told.evidence.keys()


@pytest.mark.parametrize(
    ("field", "method"),
    [
        ("errors: hc2", "covariate-adjusted (CR2)"),
        ("cupac", "covariate-adjusted (CR2)"),
        ("columns.stratum", "post-stratified, clustered (CR2)"),
        ("columns.triggered", "triggered difference in means, diluted"),
        ("columns.other_arm", "contrast of cell means, clustered (CR2)"),
    ],
)
def test_what_else_is_asked_of_clusters_has_their_errors(home: Home, field: str, method: str) -> None:
    rng = np.random.default_rng(6)
    store = np.arange(40).repeat(30)
    n, level = store.size, 3 * rng.normal(size=(2, 40))
    columns: dict[str, Any] = {
        "arm": np.where(store % 2, "new", "old"),
        "store": store,
        "segment": rng.integers(0, 2, n),
        "met": rng.integers(0, 2, n),
        "banner": np.where(rng.integers(0, 2, n), "b", "a"),
        "past": rng.normal(size=n),
    }
    there = columns["met"] == 1
    lift = LIFT * there if field == "columns.triggered" else LIFT
    columns["revenue"] = 40 + level[0][store] + level[1][store] * (columns["banner"] == "b") + rng.normal(size=n)
    columns["revenue"] = columns["revenue"] + columns["past"] + lift * (store % 2)
    fields = together(*{field, *(["other_experiment"] if field == "columns.other_arm" else [])})
    clustered = FIELDS | fields | {"columns": fields["columns"] | {"cluster": "store"}}
    found, by_row = (
        find(home.root, Experiment, clustered, columns),
        find(home.root, Experiment, FIELDS | fields, columns),
    )

    def asked(told: Found) -> Estimate:
        return told.of(Role.SECONDARY)[0] if field == "columns.other_arm" else told.primary

    assert method in asked(found).method
    assert asked(found).spread > 2 * asked(by_row).spread
    assert asked(found).n_control <= 40
    assert found.primary.covers(LIFT / 2 if field == "columns.triggered" else LIFT)
    columns["store"] = store % 8
    with pytest.raises(ValueError, match=r"cluster: 4 treated and 4 control clusters|at least 5 clusters"):
        find(home.root, Experiment, clustered, columns)


def test_strata_with_shares_of_their_own_are_weighted_by_size(home: Home) -> None:
    rng = np.random.default_rng(4)
    rich = rng.random(4_000) < 0.5
    new = rng.random(4_000) < np.where(rich, 0.8, 0.2)
    columns = {
        "arm": np.where(new, "new", "old"),
        "segment": np.where(rich, "rich", "poor"),
        "revenue": 10 * rich + LIFT * new + rng.normal(size=4_000),
    }
    told = find(home.root, Experiment, FIELDS | with_columns(stratum="segment"), columns)
    assert told.primary.covers(LIFT)
    assert told.primary.method == "difference in means, post-stratified"


def test_the_effect_on_the_triggered_is_diluted_to_all_and_both_are_shown(home: Home) -> None:
    columns = table()
    met = np.random.default_rng(5).random(3_000) < 0.3
    columns["revenue"] += np.where(met, LIFT, -LIFT) * (columns["arm"] == "new")
    fields = FIELDS | with_columns(triggered="met") | {"covariates": ["past"], "outcomes": [outcome()]}
    told = find(home.root, Experiment, fields, columns | {"met": met})
    beside = told.alternatives()["difference in means, covariate-adjusted"]
    assert abs(beside.value - 2 * LIFT) < 3 * beside.spread
    assert beside.estimand == "ATE on the triggered"
    assert told.primary.value == pytest.approx(beside.value * met.mean(), rel=1e-9)
    assert told.primary.n_treated == 1_500
    assert told.evidence["srm_analysed"].status is Status.PASS


def test_several_arms_share_one_error_rate_and_one_sample_ratio(home: Home) -> None:
    rng = np.random.default_rng(6)
    arm = rng.permutation(np.repeat(["1", "2", "3"], [2_000, 1_000, 1_000]))
    columns = {
        "arm": arm.astype(int),
        "revenue": 1.0 * (arm == "2") + rng.normal(0, 3, 4_000),
        "clicks": rng.normal(size=4_000),
    }
    fields = FIELDS | {
        "arms": {"control": 1, "treatment": 2},
        "other_arms": [3],
        "planned_shares": {"1": 0.5, "2": 0.25, "3": 0.25},
        "outcomes": [outcome(money=True), {"name": "clicks", "role": "guardrail", "harm": "decrease", "margin": 0.5}],
        "correction": "bonferroni",
    }
    told = tell(home, Experiment, fields, columns)
    found = by_label(told)
    y = columns["revenue"]
    for place, name in (("2", "revenue"), ("3", "revenue, 3")):
        from scipy.stats import ttest_ind

        welch = ttest_ind(y[arm == place], y[arm == "1"], equal_var=False)
        own = found[Role.PRIMARY if place == "2" else Role.SECONDARY, name]
        assert own.p_value == pytest.approx(min(1, 2 * welch.pvalue), rel=1e-6)
        assert (own.low, own.high) == pytest.approx(tuple(welch.confidence_interval(0.975)), rel=1e-6)
    assert {(Role.GUARDRAIL, "clicks"), (Role.SECONDARY, "clicks, 3")} <= found.keys()
    assert told.evidence["srm"].status is Status.PASS
    assert told.evidence["srm"].value > 0.9  # exactly as planned
    assert "revenue, 3" in told.memo


def test_counts_of_units_are_the_units(home: Home) -> None:
    columns = {"arm": ["a", "a", "b", "b"], "won": [0, 1, 0, 1], "users": [900, 100, 850, 150]}
    fields = (
        FIELDS
        | with_columns(count="users")
        | {
            "arms": {"control": "a", "treatment": "b"},
            "outcomes": [{"name": "won", "role": "primary", "kind": "proportion"}, {"name": "mean", "column": "won"}],
        }
    )
    told = find(home.root, Experiment, fields, columns)
    direct = difference_in_proportions(Events(100, 1_000), Events(150, 1_000), outcome="won")
    assert told.primary == direct
    rows = [Moments.of(np.repeat([0.0, 1.0], counts)) for counts in ((900, 100), (850, 150))]
    mean = by_label(told)[Role.SECONDARY, "mean"]
    expected = difference_in_means(*rows, outcome="mean")
    assert (mean.value, mean.std_error, mean.low) == pytest.approx((expected.value, expected.std_error, expected.low))
    assert told.evidence["srm"].message.startswith("Of 2,000 units")


# --- what does not go together --------------------------------------------------------------------------------------

EXAMPLES: dict[str, dict[str, Any]] = {
    "columns.unit_id": with_columns(unit_id="customer"),
    "columns.cluster": with_columns(cluster="store"),
    "columns.stratum": with_columns(stratum="segment"),
    "columns.triggered": with_columns(triggered="met"),
    "columns.count": with_columns(count="n"),
    "columns.other_arm": with_columns(other_arm="banner"),
    "other_experiment": {"other_experiment": {"control": "a", "treatment": "b"}},
    "covariates": {"covariates": ["past"]},
    "cupac": {"cupac": True, "covariates": ["past"]},
    "errors: hc2": {"errors": "hc2", "covariates": ["past"]},
    "missing": {"missing": {"lowest": 0, "highest": 1}},
    "monitoring": {"monitoring": {"kind": "always_valid", "planned_n": 10_000}},
    "prior": {"prior": {"sd": 1}},
    "inference: randomization": {"inference": "randomization"},
    "inference: bayesian": {"inference": "bayesian"},
    "correction": {"correction": "holm"},
    "planned_shares": {"planned_shares": {"old": 0.5, "new": 0.5}},
    "other_arms": {"other_arms": ["newer"]},
    "subgroups": {"subgroups": ["segment"]},
}


def together(*names: str) -> dict[str, Any]:
    columns = {k: v for name in names for k, v in EXAMPLES[name].get("columns", {}).items()}
    fields = {k: v for name in names for k, v in EXAMPLES[name].items() if k != "columns"}
    return {**fields, "columns": {**FIELDS["columns"], **columns}}


@pytest.mark.parametrize(("field", "other"), [(a, b) for a, others in CLASHES.items() for b in others])
def test_fields_that_clash_are_refused_by_name(field: str, other: str) -> None:
    kind = "proportion" if "columns.count" in (field, other) else "mean"
    said = refused(together(field, other) | {"outcomes": [outcome(kind=kind)]})
    assert "cannot be given together with" in said
    assert field in said


@pytest.mark.parametrize(("field", "other"), NEEDS.items())
def test_a_field_without_the_one_it_needs_is_refused(field: str, other: str) -> None:
    given = together(field)
    given.pop(other, None)
    assert re.search(f"{field}: needs {other}", refused(given))


@pytest.mark.parametrize("field", KINDS)
def test_a_kind_of_outcome_that_a_field_does_not_take_is_refused(field: str) -> None:
    needed = {"columns.other_arm": ["other_experiment"]}.get(field, [])
    quantile = {"outcomes": [outcome(kind="quantile", quantile=0.5)]}
    assert f"{field}: does not take outcome revenue of kind quantile; allowed are" in refused(
        together(field, *needed) | quantile
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"outcomes": [outcome(kind="ratio")]}, r"kind ratio needs exactly one of \['denominator'\], got none"),
        ({"outcomes": [outcome(cap=3)]}, r"kind mean needs none of them, got \['cap'\]"),
        ({"outcomes": [outcome(kind="capped_mean", cap=3, cap_quantile=0.9)]}, "exactly one of"),
        ({"outcomes": [outcome(kind="quantile", quantile=1.5)]}, "strictly between 0 and 1, got 1.5"),
        ({"outcomes": [outcome(kind="median")]}, "kind"),
        ({"outcomes": [outcome(kind="ratio", denominator="orders")], "covariates": ["orders"]}, "another role|other"),
        ({"other_arms": ["new"]}, "other_arms: must differ"),
        ({"other_arms": ["x"], "planned_shares": {"old": 0.5, "new": 0.5}}, "planned_shares: a positive share for"),
        ({"monitoring": {"kind": "always_valid"}}, "always_valid needs planned_n"),
        ({"monitoring": {"kind": "group_sequential", "fractions": [0.5, 0.4]}}, "must increase within"),
        ({"monitoring": {"kind": "always_valid", "planned_n": 40}}, "planned_n is at least 200, got 40; .* group_seq"),
        ({"missing": {"lowest": 1, "highest": 1}}, "lowest must be below highest"),
        (
            {"monitoring": EXAMPLES["monitoring"]["monitoring"], "other_arms": ["x"]},
            "with monitoring always_valid allowed is bonferroni, got None",
        ),
    ],
)
def test_a_field_that_cannot_be_right_is_refused_at_load(change: dict[str, Any], message: str) -> None:
    assert re.search(message, refused(change))


@pytest.mark.parametrize("design", [Experiment, Switchback])
def test_the_template_is_a_study_and_so_is_each_line_uncommented(design: type) -> None:
    path = Path(experiment.__file__).parents[1] / "templates" / f"{design.__name__}.yaml"
    text = path.read_text(encoding="utf-8")
    assert design.resolve_from_dict(yaml.safe_load(text)["attributes"])
    everything = yaml.safe_load(re.sub(r"^( *)# (?=\S+: |- )", r"\1", text, flags=re.MULTILINE))["attributes"]
    shown = {name for name in everything if name not in ("draws", "seed")}
    assert shown <= set(design.model_fields)
    assert set(design.model_fields) - shown <= {"population", "derived", "begins_on", "level", "draws", "seed"} | (
        {"covariates"} if design is Switchback else set()
    )


def test_a_published_scorecard_is_reproduced_from_its_sums(home: Home) -> None:
    # gbstats, tests/frequentist/test_tests.py: sums 1396.87 and 2422.7, squares 52377.9767 and 134698.29.
    arms = {"a": (1396.87, 52377.9767, 3_407), "b": (2422.7, 134698.29, 3_461)}
    arm, y = [], []
    for name, (total, squares, n) in arms.items():
        sd = np.sqrt((squares - total**2 / n) / (n - 1))
        arm += [name] * n
        y += [total / n + sd] * (n // 2) + [total / n - sd] * (n // 2) + [total / n]  # these moments, exactly
    fields = FIELDS | {"arms": {"control": "a", "treatment": "b"}, "outcomes": [outcome()]}
    told = find(home.root, Experiment, fields, {"arm": arm, "revenue": y})
    e = told.primary
    assert (e.value, e.low, e.high) == pytest.approx((0.29, 0.04538, 0.53462), abs=5e-6)
    assert e.p_value == pytest.approx(0.02016, abs=5e-6)


def test_an_infinite_denominator_is_an_error_by_name(home: Home) -> None:
    columns = table(100) | {"orders": np.r_[np.inf, np.ones(99)]}
    with pytest.raises(dg.Failure, match="denominator orders: 1 values are infinite"):
        find(home.root, Experiment, FIELDS | {"outcomes": [outcome(kind="ratio", denominator="orders")]}, columns)
