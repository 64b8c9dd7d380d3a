"""One study run to its memo, for tests of what happens to it afterwards: each gets a copy of its home."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from causal_assets.home import Home
from tests.designs.shop import house, trial, trial_shop
from tests.designs.tables import tracking_database
from tests.house import failures, live_in


@pytest.fixture(scope="session")
def decided_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a trial called page that shipped with a mandate."""
    with live_in(tmp_path_factory.mktemp("decided")) as root:
        home = Home(root)
        home.mlflow.mkdir()
        shutil.copy(tracking_database(), home.mlflow)
        built = house(home, page=trial())
        trial_shop().write(built.warehouse)
        result = built.run()
        assert result.success, failures(result)
        return root


@pytest.fixture
def decided(decided_once: Path, tmp_path: Path) -> Iterator[Home]:
    """A copy of that home, to live in."""
    shutil.copytree(decided_once, tmp_path, dirs_exist_ok=True)
    with live_in(tmp_path) as root:
        yield Home(root)
