"""What every test stands on: a home of its own, never the repository's, and one manifest for all workers."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.house import live_in


@pytest.fixture(scope="session", autouse=True)
def home_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keeps whatever a test forgets to place out of the repository's home."""
    with live_in(tmp_path_factory.mktemp("home")) as root:
        yield root


@pytest.fixture(scope="session")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dbt manifest; parsed once if a model is newer, by one worker while the others wait."""
    from causal_assets.defs.warehouse.transforms import dbt_project

    shared = tmp_path_factory.getbasetemp().parent  # the same for all workers of a run
    with FileLock(shared / "manifest.lock"):
        return dbt_project().manifest_path


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long test of killed runs starts first: one worker is busy with it while the other runs the fast ones."""
    items.sort(key=lambda item: item.path.name != "test_kill.py")


def pytest_collection_finish() -> None:
    """What is loaded by now stays: the garbage collector need not walk through it again in every test."""
    gc.freeze()
