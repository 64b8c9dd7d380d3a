"""A treatment, a mediator and an outcome, read from one prepared table."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from causal_assets.designs.mediation import Mediation
from causal_assets.home import Home
from causal_assets.types import Role, Status
from tests.designs.direct import find
from tests.designs.tables import tell
from tests.house import live_in

FIELDS: dict[str, Any] = {
    "question": "Does the newsletter sell because it is read?",
    "intervention": "the newsletter",
    "unit": "customer",
    "columns": {"arm": "arm", "unit_id": "customer"},
    "arms": {"control": "none", "treatment": "letter"},
    "mediator": "minutes",
    "outcomes": [{"name": "spend", "role": "primary", "money": True}, {"name": "minutes"}],
    "covariates": ["before"],
    "begins_on": "2099-01-01",
    "plausible_effect": 3.0,
    "decision": {"value_per_outcome": 1.0, "cost_per_unit": 0.1},
}
INDIRECT, DIRECT = 1.0, 0.5


def table(n: int = 3_000) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    letter = rng.integers(0, 2, n)
    before = rng.normal(size=n)
    minutes = 2 * letter + before / 2 + rng.normal(size=n)
    spend = 10 + DIRECT * letter + INDIRECT / 2 * minutes + before / 2 + rng.normal(size=n)
    arm = np.where(letter == 1, "letter", "none")
    return {"customer": np.arange(n), "arm": arm, "before": before, "minutes": minutes, "spend": spend}


@pytest.fixture
def home(tmp_path: Path):
    with live_in(tmp_path) as root:
        yield Home(root)


def test_a_table_gives_the_effect_through_the_mediator_and_beside_it(home: Home) -> None:
    told = tell(home, Mediation, FIELDS, table())
    assert told.primary.estimand == "ACME"
    assert told.primary.covers(INDIRECT)
    others = {e.estimand: e for role, e in told.findings if role is Role.SECONDARY}
    assert others["ADE"].covers(DIRECT)
    assert others["total effect"].covers(INDIRECT + DIRECT)
    assert told.evidence["mediation_sensitivity"].status is Status.PASS
    assert "the mediator is as good as random" in told.memo


def test_without_covariates_the_split_is_for_review(home: Home) -> None:
    told = find(home.root, Mediation, FIELDS | {"covariates": []}, table())
    assert told.evidence["mediation_sensitivity"].status is Status.REVIEW
    assert not told.primary.covers(INDIRECT)  # what moves both is left out


def test_rows_without_a_mediator_are_left_out(home: Home) -> None:
    columns = table()
    columns["minutes"][:10] = np.nan
    told = find(home.root, Mediation, FIELDS, columns)
    assert told.primary.n_treated + told.primary.n_control == 2_990


def test_the_mediator_is_read_as_an_outcome_not_before() -> None:
    with pytest.raises(
        ValueError, match=r"mediator: expected one of the secondary outcomes \['minutes'\], got 'before'"
    ):
        Mediation.resolve_from_dict({"table": "t.parquet", **FIELDS, "mediator": "before"})
    with pytest.raises(ValueError, match=r"names must differ, got \['minutes'\] twice"):
        Mediation.resolve_from_dict({"table": "t.parquet", **FIELDS, "covariates": ["minutes"]})
