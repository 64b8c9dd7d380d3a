"""What docs/own_data.md says of a source works as written: one is added, and the demo's are left behind."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import pytest

from causal_assets.home import PROJECT
from tests.dbt.builds import DBT_PROJECT, SOURCES, Build, Rows, built, dbt, deliver

pytestmark = pytest.mark.xdist_group("dbt")

PAGE = (PROJECT / "docs" / "own_data.md").read_text(encoding="utf-8")
MARTS = (
    "unit_days",
    "assignments",
    "unit_attributes",
    "ad_spend",
    "data_loss",
    "planted_truth",
    "planted_effects",
    "coverage",
)
MY_SHOP: dict[str, Rows] = {
    "orders": [
        {"order_id": "o1", "customer_id": "S1", "ordered_at": "2026-03-01 09:00:00", "amount": 4.25},
        {"order_id": "o2", "customer_id": "S1", "ordered_at": "2026-03-01 21:00:00", "amount": 0},
    ],
    "assignments": [{"program": "welcome", "customer_id": "S1", "arm": "control", "assigned_at": "2026-02-28"}],
}
UNIT_DAYS = [
    ("S1", date(2026, 3, 1), "orders", 2.0, 2),
    ("S1", date(2026, 3, 1), "revenue", 4.25, 2),
]
ASSIGNMENTS = [("my_shop", "welcome", "S1", "control", datetime(2026, 2, 28))]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with the files of the page's steps 1 to 3 written into it."""
    checkout = tmp_path_factory.mktemp("shop")
    shutil.copytree(DBT_PROJECT, checkout / "dbt_project", ignore=shutil.ignore_patterns("target", "logs"))
    shutil.copytree(SOURCES.parent, checkout / "causal_assets" / "defs")
    contract = checkout / "causal_assets" / "defs" / "warehouse" / "my_shop" / "defs.yaml"
    contract.parent.mkdir()
    shutil.copy(PROJECT / "causal_assets" / "templates" / "Source.yaml", contract)
    for name, text in re.findall(r"^```(?:yaml|sql) (\S+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        _write(checkout / name, text)
    return checkout


def _write(path: Path, text: str) -> None:
    """A block of the page: a line of the list of sources, the end of a file that is there, or a new file."""
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    path.parent.mkdir(parents=True, exist_ok=True)
    listed = before.replace("\n  sources:\n", f"\n  sources:\n{text}")
    path.write_text(listed if listed != before else before + text, encoding="utf-8")


@pytest.fixture(scope="module")
def alone(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Build]:
    """The checkout without the demo, built over the shop's rows."""
    folder = tmp_path_factory.mktemp("alone")
    checkout = shutil.copytree(shop, folder / "checkout")
    (removal,) = re.findall(r"^```bash\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    subprocess.run(["bash", "-ec", removal], cwd=checkout, check=True)
    settings = checkout / "dbt_project" / "dbt_project.yml"
    listed = re.sub(
        r"^    (planted_world|complete_journey): .*\n", "", settings.read_text(encoding="utf-8"), flags=re.M
    )
    settings.write_text(listed, encoding="utf-8")
    deliver(folder, {"my_shop": MY_SHOP}, checkout / "causal_assets" / "defs" / "warehouse")
    with built(checkout / "dbt_project", folder) as build:
        yield build


def test_a_source_added_as_the_page_says_stands_in_the_marts_beside_the_others(shop: Path, tmp_path: Path) -> None:
    journey: dict[str, Rows] = {
        "campaigns": [{"campaign_id": 8}],
        "campaign_descriptions": [{"campaign_id": 8, "campaign_type": "Type A", "start_date": "2017-05-08"}],
    }
    sources = {"my_shop": MY_SHOP, "planted_world": {}, "complete_journey": journey}
    deliver(tmp_path, sources, shop / "causal_assets" / "defs" / "warehouse")
    with built(shop / "dbt_project", tmp_path) as build:
        assert build.unit_days("my_shop") == UNIT_DAYS
        assert build.rows("FROM marts.assignments ORDER BY source") == [
            ("complete_journey", "campaign_type_a", "1", "mailed", datetime(2017, 5, 8)),
            *ASSIGNMENTS,
        ]


def test_the_project_builds_without_the_demo(alone: Build) -> None:
    assert alone.unit_days("my_shop") == UNIT_DAYS
    assert alone.rows("FROM marts.assignments") == ASSIGNMENTS
    assert alone.rows("FROM marts.coverage") == [("my_shop", date(2026, 3, 1), date(2026, 3, 1))]
    assert not [name for name in alone.manifest["nodes"] if "planted_world" in name or "journey" in name]


def test_a_mart_that_no_source_has_rows_for_is_empty_and_keeps_its_columns(alone: Build) -> None:
    columns = alone.rows(
        "SELECT table_name, list(column_name ORDER BY ordinal_position) FROM information_schema.columns "
        "WHERE table_schema = 'marts' GROUP BY ALL"
    )
    declared = {name: [*alone.manifest["nodes"][f"model.causal_assets.{name}"]["columns"]] for name in MARTS}
    assert dict(columns) == declared
    for mart in ("unit_attributes", "ad_spend", "data_loss", "planted_truth", "planted_effects"):
        assert alone.rows(f"FROM marts.{mart}") == []


def test_a_model_that_no_source_lists_is_refused_by_name(shop: Path, tmp_path: Path) -> None:
    project = shutil.copytree(shop / "dbt_project", tmp_path / "dbt_project")
    spend = "models/intermediate/my_shop/int_my_shop__ad_spend.sql"
    (project / spend).write_text("select 1 as spend_usd\n", encoding="utf-8")
    done = dbt(project, tmp_path, "compile", "--select", "ad_spend")
    assert done.returncode != 0
    assert f"{spend} is in no mart: dbt_project.yml, vars.sources.my_shop lists" in done.stdout
