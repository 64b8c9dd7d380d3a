"""The one dbt step: staging, intermediate and marts in a single `dbt build`, its tests shown as asset checks."""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_dbt import DbtCliResource, DbtProject, dbt_assets
from packaging.version import Version

from causal_assets.home import PROJECT, Home
from causal_assets.warehouse.engine import Warehouse


class Dbt(DbtCliResource):
    """The dbt installed beside this interpreter, without what costs a run five seconds and gives it nothing."""

    @cached_property
    def _cli_version(self) -> Version:
        return Version(version("dbt-core"))  # instead of starting dbt once more to ask it

    def _initialize_dbt_core_adapter(self, args: Sequence[str]) -> Any:
        """No handle to the warehouse: rows are counted by us, once dbt has let go of the file."""


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
    def warehouse_models(context: dg.AssetExecutionContext, dbt: Dbt, warehouse: Warehouse) -> Iterator[Any]:
        # Unit tests prove the code, not the data: the test suite runs them.
        command = ["build", "--exclude-resource-type", "unit_test"]
        invocation = dbt.cli(command, context=context, raise_on_error=False)
        # The file is dbt's alone while it runs, so rows are counted once it has ended.
        events = list(invocation.stream())
        said = {event.output_name for event in events if isinstance(event, dg.Output)}
        seen = warehouse.overview([_table(name) for name in sorted(said)])
        for event in events:
            yield _described(event, *seen[_table(event.output_name)]) if isinstance(event, dg.Output) else event
        if error := invocation.get_error():
            raise error
        shutil.rmtree(invocation.target_path)  # one folder a run; kept only where dbt failed
        # Outputs of dbt are optional: without this, a dbt that says nothing would skip all that follows and look green.
        wanted = {key.to_python_identifier() for key in context.selected_asset_keys}
        if wanted - said:
            raise dg.Failure(f"dbt reported nothing about {sorted(wanted - said)}")

    return dg.Definitions(assets=[warehouse_models], resources={"dbt": Dbt(project_dir=project)})


def _table(output_name: str) -> str:
    schema, _, name = output_name.partition("__")
    return f"{schema}.{name}"


def _described(output: dg.Output, rows: int, preview: str) -> dg.Output:
    """The model's output with its row count and first rows."""
    return output.with_metadata({**output.metadata, "dagster/row_count": rows, "preview": dg.MetadataValue.md(preview)})
