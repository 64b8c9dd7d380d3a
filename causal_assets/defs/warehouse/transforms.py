"""The one dbt step: staging, intermediate and marts in a single `dbt build`, its tests shown as asset checks."""

import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import dagster as dg
from dagster_dbt import DbtCliResource, DbtProject, dbt_assets

from causal_assets.home import PROJECT, Home


@cache
def dbt_project() -> DbtProject:
    """The dbt project, parsed once when its manifest is missing or older than a model."""
    os.environ["CAUSAL_WAREHOUSE"] = str(Home.current().warehouse)
    # dbt is the one installed beside this interpreter, whether or not its environment is activated.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    folder = PROJECT / "dbt_project"
    project = DbtProject(project_dir=folder, profiles_dir=folder)
    if not project.manifest_path.exists() or project.manifest_path.stat().st_mtime < _last_change(folder):
        project.preparer.prepare(project)
    return project


def _last_change(folder: Path) -> float:
    kept = (path for name in ("models", "macros", "seeds", "tests") for path in (folder / name).rglob("*"))
    return max((folder / "dbt_project.yml").stat().st_mtime, *(path.stat().st_mtime for path in kept))


@dg.definitions
def transforms() -> dg.Definitions:
    """Assets and resource of the dbt project."""
    project = dbt_project()

    @dbt_assets(manifest=project.manifest_path, project=project)
    def warehouse_models(context: dg.AssetExecutionContext, dbt: DbtCliResource) -> Iterator:
        # Unit tests prove the code, not the data: the test suite runs them.
        yield from dbt.cli(["build", "--exclude-resource-type", "unit_test"], context=context).stream()

    return dg.Definitions(assets=[warehouse_models], resources={"dbt": DbtCliResource(project_dir=project)})
