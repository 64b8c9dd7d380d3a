"""A study that draws its causal graph: judged from the cohort alone, part of the protocol, shown in the memo."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from causal_assets.designs.adjusted_comparison import AdjustedComparison
from causal_assets.designs.graph import StudyGraph
from causal_assets.designs.sequential_trials import SequentialTrials
from causal_assets.home import Home
from causal_assets.types import Diagnostic, Status, Verdict
from causal_assets.warehouse.engine import Warehouse
from tests.designs.direct import NAME
from tests.designs.tables import tell, write_table
from tests.designs.test_adjusted_comparison import FIELDS, table
from tests.house import live_in

# As the table is made: visits drive the app and the spending, what a customer spent before only the latter.
TRUE = ["visits -> treatment -> spend", "visits, before -> spend"]


@pytest.fixture
def home(tmp_path: Path):
    with live_in(tmp_path) as root:
        yield Home(root)


def judged(home: Home, graph: list[str], **changed) -> Diagnostic:
    """The check as the cohort alone gives it: no outcome has been read."""
    columns = table() | changed.pop("columns", {})
    write_table(home, columns)
    study = AdjustedComparison.resolve_from_dict({"table": "table.parquet", **FIELDS, "causal_graph": graph, **changed})
    warehouse = Warehouse(path=str(home.root / "warehouse.duckdb"))
    study.write_cohort(warehouse, NAME, str(home.root / "studies" / NAME / "defs.yaml"))
    assert "outcomes" not in warehouse.tables(NAME)
    (found,) = study.cohort_diagnostics(warehouse, NAME)
    return found


def test_the_graph_of_the_world_passes_and_another_one_is_refused_by_the_cohort(home: Home) -> None:
    found = judged(home, TRUE)
    assert (found.name, found.status) == ("causal_graph", Status.PASS)
    wrong = judged(home, ["before -> treatment -> spend", "visits, before -> spend"])
    assert wrong.status is Status.REVIEW
    assert "visits and treatment" in wrong.message


def test_a_text_is_one_name_of_the_graph(home: Home) -> None:
    covariates = ["before", "visits", "region"]
    assert judged(home, [*TRUE, "region -> spend"], covariates=covariates).status is Status.PASS
    moved = np.where(table()["app"] == 1, "north", "south")
    moved[:300] = "east"
    wrong = judged(home, [*TRUE, "region -> spend"], covariates=covariates, columns={"region": moved})
    assert wrong.status is Status.REVIEW
    assert "region" in wrong.message


def test_a_covariate_that_the_treatment_changes_blocks_the_study_and_the_memo_draws_it(home: Home) -> None:
    graph = ["visits -> treatment -> before -> spend", "(habit) -> visits, spend"]
    told = tell(home, AdjustedComparison, FIELDS | {"causal_graph": graph}, table())
    assert told.evidence["causal_graph"].status is Status.FAIL
    assert told.decision.verdict is Verdict.NOT_IDENTIFIED
    assert any("the treatment changes before" in reason for reason in told.decision.reasons)
    assert 'alt="Causal graph: visits causes treatment; treatment causes before;' in told.memo


@pytest.mark.parametrize("design", [AdjustedComparison, SequentialTrials])
def test_a_graph_of_unknown_names_is_refused_when_the_study_is_loaded(design) -> None:
    columns = {"treatment": "app", "unit_id": "customer"} | ({"date": "day"} if design is SequentialTrials else {})
    fields = FIELDS | {"table": "t.parquet", "columns": columns, "causal_graph": ["season -> treatment -> spend"]}
    with pytest.raises(ValidationError, match=r"causal_graph: unknown \['season'\]; allowed are \['before', 'spend'"):
        design.resolve_from_dict(fields)


def test_a_changed_graph_reruns_the_evidence_and_nothing_before_it() -> None:
    def versions(graph: list[str]) -> dict[str, str]:
        study = AdjustedComparison.resolve_from_dict({"table": "t.parquet", **FIELDS, "causal_graph": graph})
        return StudyGraph(study, NAME, "defs.yaml").versions

    one, other = versions(TRUE), versions([])
    assert {stage for stage in one if one[stage] == other[stage]} == {"cohort", "outcomes", "estimate"}
