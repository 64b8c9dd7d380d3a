"""What Dagster is given to load: the graph, its checks, jobs and schedules, and what a wrong YAML file is told."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from causal_assets.home import PROJECT
from tests.house import live_in

SNAPSHOT = Path(__file__).with_name("graph.json")
STUDIES = ("coupon_mailing_may", "personalised_home_page", "winback_email", "winback_offer")
STAGES = ("registration", "cohort", "outcomes", "estimate", "evidence", "decision", "mandate", "memo")
OF_UPLIFT = ("model", "champion")
MANY = 200
CEILING_SECONDS = 30  # of the processor, so that a busy machine does not fail it

# Loads everything in an interpreter of its own, cut off from the network; prints our warnings and processor seconds.
FRESH = """
import json, socket, time, warnings

def refuse(*given):
    raise OSError(f"no network here: {given}")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
began = time.process_time()
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import dagster as dg
    from causal_assets.definitions import defs
    loaded = defs()
    dg.Definitions.validate_loadable(loaded)
unstable = (dg.BetaWarning, dg.PreviewWarning, dg.SupersessionWarning)
ours = [str(w.message) for w in caught if "causal_assets" in w.filename or issubclass(w.category, unstable)]
groups = {spec.group_name for spec in loaded.resolve_all_asset_specs()}
print(json.dumps({"warnings": ours, "groups": len(groups), "seconds": time.process_time() - began}))
"""


@pytest.fixture(scope="module")
def definitions(manifest: Path) -> dg.Definitions:
    from causal_assets.definitions import defs

    return defs()


@pytest.fixture(scope="module")
def project_copy(tmp_path_factory: pytest.TempPathFactory, manifest: Path) -> Path:
    """The project tree, so that a test may add studies to it."""
    copy = tmp_path_factory.mktemp("copy")
    for part in ("causal_assets", "dbt_project"):
        shutil.copytree(
            PROJECT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__", "logs", "warehouse_*")
        )
    shutil.copy(PROJECT / "pyproject.toml", copy)
    return copy


@pytest.fixture(scope="module")
def studies_only(project_copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The copy without its sources and dbt, which load slower than what is asked of it here."""
    copy = tmp_path_factory.mktemp("studies") / "copy"
    shutil.copytree(project_copy, copy)
    shutil.rmtree(copy / "causal_assets" / "defs" / "warehouse")
    return copy


def run_in(project: Path, home: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as in a project of its own, with its own package and its own home."""
    with live_in(home):
        environment = os.environ | {"PYTHONPATH": str(project), "NO_COLOR": "1", "DG_CLI_CONFIG": os.devnull}
        return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


def check_defs(project: Path, home: Path) -> subprocess.CompletedProcess[str]:
    return run_in(project, home, str(Path(sys.executable).with_name("dg")), "check", "defs")


def load(project: Path, home: Path) -> dict[str, Any]:
    """Load all definitions in a fresh interpreter."""
    done = run_in(project, home, sys.executable, "-c", FRESH)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def graph_of(definitions: dg.Definitions) -> dict[str, Any]:
    """Every asset with its group, what it depends on and its checks, sorted."""
    graph = definitions.resolve_asset_graph()
    checks: dict[dg.AssetKey, list[str]] = {}
    for check in graph.asset_check_keys:
        checks.setdefault(check.asset_key, []).append(check.name)
    return {
        key.to_user_string(): {
            "group": graph.get(key).group_name,
            "deps": sorted(parent.to_user_string() for parent in graph.get(key).parent_keys),
            "checks": sorted(checks.get(key, [])),
        }
        for key in sorted(graph.get_all_asset_keys())
    }


def test_definitions_load_in_a_fresh_interpreter_without_network_or_a_warning_of_ours(
    manifest: Path, tmp_path: Path
) -> None:
    assert load(PROJECT, tmp_path)["warnings"] == []


def test_the_graph_is_the_one_committed(definitions: dg.Definitions) -> None:
    now = graph_of(definitions)
    if os.environ.get("UPDATE_SNAPSHOT") == "1":
        SNAPSHOT.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    committed = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    assert now == committed, "if this is meant, run this test with UPDATE_SNAPSHOT=1 and commit the file"


def test_every_study_has_its_stages_in_a_group_of_its_own(definitions: dg.Definitions) -> None:
    specs = {spec.key: spec for spec in definitions.resolve_all_asset_specs()}
    for study in STUDIES:
        stages = {key.path[1] for key, spec in specs.items() if spec.group_name == study}
        assert stages == {*STAGES, *(OF_UPLIFT if study == "winback_offer" else ())}
        assert {key.path[0] for key, spec in specs.items() if spec.group_name == study} == {study}


def test_a_cohort_does_not_wait_for_its_registration_but_its_outcomes_do(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    for study in STUDIES:
        registration = dg.AssetKey([study, "registration"])
        assert registration not in graph.get(dg.AssetKey([study, "cohort"])).parent_keys
        assert registration in graph.get(dg.AssetKey([study, "outcomes"])).parent_keys


def test_every_asset_is_in_a_group_that_says_where_it_stands_in_the_flow(definitions: dg.Definitions) -> None:
    groups = {spec.group_name for spec in definitions.resolve_all_asset_specs()}
    assert groups == {"landing", "raw", "staging", "intermediate", "marts", "studies", *STUDIES}


def test_nothing_but_memos_stands_on_what_was_planted(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    planted = [dg.AssetKey(["marts", mart]) for mart in ("planted_truth", "planted_effects")]
    readers = {child.path[-1] for mart in planted for child in graph.get(mart).child_keys}
    assert readers == {"memo"}


def test_the_jobs_run_everything_once_and_the_days_one_by_one(definitions: dg.Definitions) -> None:
    everything = set(definitions.resolve_asset_graph().executable_asset_keys)
    daily = dg.AssetKey(["studies", "daily_totals"])
    assert definitions.resolve_job_def("main").asset_layer.selected_asset_keys == everything - {daily}
    assert definitions.resolve_job_def("daily_totals").asset_layer.selected_asset_keys == {daily}


def test_both_schedules_run_unless_someone_stops_them(definitions: dg.Definitions) -> None:
    resolved = [definitions.resolve_schedule_def(name) for name in ("every_morning", "daily_totals_schedule")]
    assert len(list(definitions.schedules or ())) == len(resolved)
    assert {schedule.job_name for schedule in resolved} == {"main", "daily_totals"}
    assert all(schedule.default_status is dg.DefaultScheduleStatus.RUNNING for schedule in resolved)


def test_runs_stay_in_one_process(definitions: dg.Definitions) -> None:
    assert definitions.resolve_job_def("main").executor_def is dg.in_process_executor


def test_every_data_test_of_dbt_is_an_asset_check(definitions: dg.Definitions, manifest: Path) -> None:
    nodes = json.loads(manifest.read_text(encoding="utf-8"))["nodes"].values()
    tests = Counter(node["name"] for node in nodes if node["resource_type"] == "test")
    models = {dg.AssetKey([node["schema"], node["name"]]) for node in nodes if node["resource_type"] == "model"}
    checks = [check.name for check in definitions.resolve_asset_graph().asset_check_keys if check.asset_key in models]
    assert tests
    assert Counter(checks) == tests


def test_every_declared_raw_table_is_an_asset_with_two_blocking_checks(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    declared = {
        dg.AssetKey(["raw", f"{file.parent.name}__{table}"])
        for file in (PROJECT / "causal_assets" / "defs" / "warehouse").glob("*/defs.yaml")
        for table in yaml.safe_load(file.read_text(encoding="utf-8"))["attributes"]["tables"]
    }
    raw = {spec.key for spec in definitions.resolve_all_asset_specs() if spec.group_name == "raw"}
    assert raw == declared
    for key in raw:
        checks = {check.name: graph.get_check_spec(check) for check in graph.asset_check_keys if check.asset_key == key}
        assert set(checks) == {"rows_accounted_for", "schema_as_declared"}
        assert all(spec.blocking for spec in checks.values())


def test_broken_cohorts_block_while_evidence_never_does(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    blocking = {
        (check.asset_key.path[1], graph.get_check_spec(check).blocking)
        for check in graph.asset_check_keys
        if check.asset_key.path[0] in STUDIES
    }
    assert blocking == {("cohort", True), ("evidence", False)}


def test_the_project_checks_clean(manifest: Path, tmp_path: Path) -> None:
    done = check_defs(PROJECT, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All definitions loaded successfully." in done.stdout


@pytest.mark.parametrize(
    ("right", "wrong", "field", "said"),
    [
        ("  question:", "  questoin:", "questoin", "Extra inputs are not permitted"),
        ("[[-56, 0]", "[[-56, 1]", "covariates", r"window \[-56, 1\] reaches past assignment; allowed is to <= 0"),
        (
            "  time_zero:",
            "  controls: never\n  time_zero:",
            "controls",
            "'never' is no comparison group; allowed is at_risk",
        ),
        ('"2026-01-26"', '"2026-01-27"', "placebo_date", "2026-01-27 is too late.*allowed is up to 2026-01-26"),
    ],
    ids=["misspelt field", "window past assignment", "controls chosen on the future", "placebo date too late"],
)
def test_a_wrong_study_is_reported_with_its_file_its_field_and_what_is_allowed(
    studies_only: Path, tmp_path: Path, right: str, wrong: str, field: str, said: str
) -> None:
    studies = studies_only / "causal_assets" / "defs" / "studies"
    text = (studies / "winback_email" / "defs.yaml").read_text(encoding="utf-8")
    assert right in text
    broken = studies / "broken" / "defs.yaml"
    broken.parent.mkdir()
    broken.write_text(text.replace(right, wrong, 1), encoding="utf-8")
    try:
        done = check_defs(studies_only, tmp_path)
    finally:
        shutil.rmtree(broken.parent)
    told = done.stdout + done.stderr
    assert done.returncode != 0
    # What one field breaks is told with the file's path and line, what several break together with the component's.
    assert "studies/broken/defs.yaml" in told or "Error while loading component studies/broken[0]" in told
    assert field in told
    assert re.search(said, told), told


def test_two_hundred_studies_load_in_seconds(
    project_copy: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    studies = project_copy / "causal_assets" / "defs" / "studies"
    text = (studies / "personalised_home_page" / "defs.yaml").read_text(encoding="utf-8")
    for number in range(MANY - len(STUDIES)):
        (studies / f"study_{number:03}").mkdir()
        (studies / f"study_{number:03}" / "defs.yaml").write_text(text, encoding="utf-8")
    try:
        loaded = load(project_copy, tmp_path)
    finally:
        for folder in studies.glob("study_*"):
            shutil.rmtree(folder)
    record_property("seconds", loaded["seconds"])
    print(f"{MANY} studies loaded in {loaded['seconds']:.1f} s")
    assert loaded["groups"] == MANY + 6
    assert loaded["seconds"] < CEILING_SECONDS
