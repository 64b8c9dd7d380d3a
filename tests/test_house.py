"""The plan of the house, held by a test: who may import whom, and where engines and orchestration may be named."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from causal_assets.home import PROJECT

ROOT = PROJECT / "causal_assets"
ENGINES = {"dagster", "dagster_dbt", "mlflow", "dbt", "duckdb"}
# Arrows run one way; a room that is not here may not be imported by another.
MAY_IMPORT = {
    "types": set(),
    "home": set(),
    "ledger": set(),
    "provenance": set(),
    "history": {"types", "ledger", "protocol"},
    "estimators": {"types"},
    "diagnostics": {"types"},
    "targeting": {"types", "estimators"},
    "memo": {"types", "estimators", "targeting"},
    "protocol": {"types"},
    "component": {"home"},
    "decision": {"types", "protocol"},
    "tracking": {"types", "home", "protocol"},
    "warehouse": {"types", "protocol", "ledger"},
    "sources": {"home", "component", "warehouse"},
    "designs": {
        "types", "home", "ledger", "history", "provenance", "protocol", "component", "decision", "tracking",
        "warehouse", "estimators", "diagnostics", "memo", "targeting", "registry",
    },
    "defs": {"home", "sources", "warehouse", "designs"},
    "definitions": {"home", "ledger", "warehouse", "designs"},
    "registry": {"types", "home", "ledger", "protocol", "tracking", "warehouse", "targeting"},
    "replay": {"home", "ledger", "designs", "warehouse"},
    "demo": {"types", "home", "warehouse", "defs", "definitions"},
}  # fmt: skip
STATISTICS = {"types", "estimators", "diagnostics", "targeting", "memo"}
MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            if node.module == "causal_assets":
                yield from (f"causal_assets.{alias.name}" for alias in node.names)
            else:
                yield node.module or ""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_imports_only_the_rooms_below_it(path: Path):
    ours = {name.split(".")[1] for name in imported(path) if name.startswith("causal_assets.")}
    assert ours - {room(path)} <= MAY_IMPORT[room(path)]


@pytest.mark.parametrize("path", [p for p in MODULES if room(p) in STATISTICS], ids=lambda path: path.name)
def test_statistics_know_nothing_of_orchestration_or_engines(path: Path):
    assert not {name.split(".")[0] for name in imported(path)} & ENGINES
