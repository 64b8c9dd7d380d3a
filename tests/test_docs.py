"""What the documentation says is what the project does."""

import doctest
import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from causal_assets.home import PROJECT

README = (PROJECT / "README.md").read_text(encoding="utf-8")


def test_the_asset_table_is_as_generated():
    from docs.generate import DOCS, page

    assert (DOCS / "assets.md").read_text(encoding="utf-8") == page(), "run `make docs`"


def test_the_page_of_designs_is_as_generated():
    from docs.generate import DOCS, designs_page

    assert (DOCS / "designs.md").read_text(encoding="utf-8") == designs_page(), "run `make docs`"


def test_the_page_of_results_is_as_generated():
    from docs.generate import DOCS, results_page

    assert (DOCS / "results.md").read_text(encoding="utf-8") == results_page(), "run `make docs`"


def test_the_schema_of_the_memo_is_as_generated():
    from causal_assets.memo.document import schema
    from docs.generate import DOCS

    assert (DOCS / "memo.schema.json").read_text(encoding="utf-8") == schema(), "run `make docs`"


def test_the_readme_speaks_of_every_group_of_assets():
    from docs.generate import FLOW

    assert all(f"`{group}`" in README for group in FLOW)


def test_the_commands_that_add_a_study_work_as_written(tmp_path: Path):
    commands = [line.strip() for line in README.splitlines() if line.startswith("    dg ")]
    assert [shlex.split(command)[1] for command in commands] == ["scaffold", "check"]
    project = tmp_path / "project"
    for name in ("causal_assets", "dbt_project"):
        shutil.copytree(PROJECT / name, project / name)
    for name in ("pyproject.toml", "workspace.yaml"):
        shutil.copy(PROJECT / name, project)
    for command in commands:
        _, *rest = shlex.split(command)
        ran = subprocess.run(
            [str(Path(sys.executable).with_name("dg")), *rest],
            cwd=project,
            env={"PATH": str(Path(sys.executable).parent), "PYTHONPATH": str(project), "CAUSAL_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
    assert (project / "causal_assets/defs/studies/my_question/defs.yaml").exists()


EXAMPLES = [path for path in (PROJECT / "causal_assets").rglob("*.py") if ">>>" in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_in_docstrings_are_true(path: Path):
    module = import_module(".".join(path.relative_to(PROJECT).with_suffix("").parts))
    assert doctest.testmod(module).failed == 0


def test_links_of_the_documentation_lead_somewhere():
    for page in (PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
