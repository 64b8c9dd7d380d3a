"""An instrument moved the treatment, read from one prepared table."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from causal_assets.designs.instrumental_variable import ITT, InstrumentalVariable
from causal_assets.estimators.late_assumptions import shrinking_density
from causal_assets.home import Home
from causal_assets.types import Role, Status, Verdict
from tests.designs.direct import find
from tests.designs.tables import tell
from tests.house import live_in

TRUTH = 2.0
FIELDS: dict[str, Any] = {
    "question": "Does the app raise spending?",
    "intervention": "the app",
    "unit": "customer",
    "columns": {"instruments": ["invited"], "treatment": "uses_app", "cluster": "store", "fixed_effect": "region"},
    "outcomes": [{"name": "spend", "role": "primary", "money": True}, {"name": "fuel", "role": "negative_control"}],
    "covariates": ["age"],
    "begins_on": "2099-01-01",
    "plausible_effect": 3.0,
    "decision": {"value_per_outcome": 1.0, "cost_per_unit": 0.1},
}


def table(pull: float = 0.5, n: int = 4_000) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    store = np.arange(n) // 10
    region = np.array(["north", "south", "west"])[store % 3]
    invited = rng.integers(0, 2, n)
    keen, age = rng.normal(size=n), rng.normal(40, 10, n)
    uses = np.where(rng.random(n) < pull, invited == 1, keen > 0)
    return {
        "invited": invited,
        "uses_app": uses,
        "store": store,
        "region": region,
        "age": age,
        "spend": TRUTH * uses + 3 * keen + 0.1 * age + (store % 3) + rng.normal(size=n),
        "fuel": rng.normal(size=n),
    }


@pytest.fixture
def home(tmp_path: Path):
    with live_in(tmp_path) as root:
        yield Home(root)


def test_an_encouragement_gives_the_effect_of_the_treatment_with_its_first_stage(home: Home) -> None:
    told = tell(home, InstrumentalVariable, FIELDS, table())
    assert told.primary.covers(TRUTH)
    assert "400 clusters" in told.primary.method
    assert told.alternatives()[ITT].value == pytest.approx(told.primary.value * 0.5, rel=0.1)
    assert told.evidence["monotonicity"].status is Status.PASS
    assert "instrument_validity" not in told.evidence  # the instrument may need the controls
    stage = next(e for role, e in told.findings if role is Role.SECONDARY)
    assert (stage.outcome, stage.value) == ("uses_app", pytest.approx(0.5, abs=0.05))
    assert told.evidence["first_stage"].status is Status.PASS
    assert told.evidence["negative_control"].status is Status.PASS
    assert told.decision.verdict is Verdict.SHIP
    assert "an instrument moved it" in told.memo


def test_an_instrument_that_moves_nothing_is_not_identified(home: Home) -> None:
    told = tell(home, InstrumentalVariable, FIELDS, table(pull=0.0))
    assert told.evidence["first_stage"].status is Status.FAIL
    assert np.isinf(told.primary.high)
    assert told.decision.verdict is Verdict.NOT_IDENTIFIED


def test_insurance_take_up_by_friends_is_the_published_answer_through_a_study(home: Home) -> None:
    # Cai, de Janvry & Sadoulet (2015); The Effect, ch. 19: 0.791 (0.273), first stage 0.118 (0.034).
    import causaldata

    controls = ["male", "age", "agpop", "ricearea_2010", "literacy", "intensive", "risk_averse", "disaster_prob"]
    rows = causaldata.social_insure.load_pandas().data
    columns = {name: rows[name].to_numpy() for name in (*controls, "takeup_survey", "pre_takeup_rate", "default")}
    columns |= {name: rows[name].to_numpy().astype(str) for name in ("village", "address")}
    fields = FIELDS | {
        "columns": {
            "instruments": ["default"],
            "treatment": "pre_takeup_rate",
            "fixed_effect": "village",
            "cluster": "address",
        },
        "outcomes": [{"name": "takeup_survey", "role": "primary"}],
        "covariates": controls,
    }
    told = find(home.root, InstrumentalVariable, fields, columns)
    assert (told.primary.value, told.primary.std_error) == pytest.approx((0.7911, 0.2731), abs=5e-5)
    assert told.evidence["monotonicity"].status is Status.PASS
    assert "instrument_validity" not in told.evidence  # the instrument may need the controls
    stage = next(e for role, e in told.findings if role is Role.SECONDARY)
    assert (stage.value, stage.std_error) == pytest.approx((0.1180, 0.0344), abs=5e-5)


@pytest.mark.parametrize("cluster", [{}, {"cluster": "store"}])
def test_an_instrument_that_moves_the_outcome_itself_is_contradicted_where_it_needs_no_controls(
    tmp_path: Path, cluster: dict[str, str]
) -> None:
    columns = table()
    columns["spend"] = columns["spend"] + 15.0 * columns["invited"]
    bare = {"columns": {"instruments": ["invited"], "treatment": "uses_app", **cluster}, "covariates": []}
    told = find(tmp_path, InstrumentalVariable, FIELDS | bare, columns)
    rows = (columns["spend"], columns["uses_app"], columns["invited"])
    expected, _ = shrinking_density(*rows, cluster=columns["store"] if cluster else None)
    assert told.evidence["instrument_validity"].status is Status.FAIL
    assert told.evidence["instrument_validity"].value == pytest.approx(expected, rel=1e-9)
    assert "monotonicity" not in told.evidence  # nothing to divide the rows by
