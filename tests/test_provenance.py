"""Who registers, and from which state of the repository."""

import subprocess
from pathlib import Path

import pytest

from causal_assets.provenance import AUTHOR, provenance


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but those a test makes."""
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.setenv("USER", "somebody")
    monkeypatch.delenv(AUTHOR, raising=False)


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def file(quiet: None, tmp_path: Path) -> Path:
    """A study's file, committed."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    git(folder, "config", "user.name", "A. Uthor")
    git(folder, "config", "user.email", "a@example.org")
    (folder / "defs.yaml").write_text("level: 0.95\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "A study")
    return folder / "defs.yaml"


def test_a_committed_file_is_told_with_its_author_and_commit(file: Path) -> None:
    commit = git(file.parent, "rev-parse", "HEAD")
    assert provenance(file) == {"author": "A. Uthor <a@example.org>", "commit": commit, "uncommitted": False}


def test_a_file_that_differs_from_the_commit_or_is_not_in_it_is_told_as_such(file: Path) -> None:
    file.write_text("level: 0.9\n")
    (file.parent / "new.yaml").write_text("")
    assert provenance(file)["uncommitted"] is True
    assert provenance(file.parent / "new.yaml")["uncommitted"] is True


def test_the_environment_overrides_the_author(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(AUTHOR, "the committee")
    assert provenance(file)["author"] == "the committee"


def test_without_a_repository_a_setting_or_a_folder_the_user_is_the_author(quiet: None, tmp_path: Path) -> None:
    for missing in (tmp_path / "defs.yaml", tmp_path / "nowhere" / "defs.yaml"):
        assert provenance(missing) == {"author": "somebody", "commit": None, "uncommitted": None}


def test_without_git_nothing_fails(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert provenance(file) == {"author": "somebody", "commit": None, "uncommitted": None}
