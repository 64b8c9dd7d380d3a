"""Who registers a study, and from which state of the repository; asked of git, where there is one."""

import os
import subprocess
from pathlib import Path
from typing import Any

AUTHOR = "CAUSAL_AUTHOR"


def provenance(file: Path) -> dict[str, Any]:
    """``author``, ``commit`` and ``uncommitted`` (whether the file differs from that commit); None where unknown.

    The author is ``$CAUSAL_AUTHOR``, else who git says, else ``$USER``.
    """
    folder = file.parent
    name, email = _git(folder, "config", "user.name"), _git(folder, "config", "user.email")
    told = " ".join([*([name] if name else []), *([f"<{email}>"] if email else [])])
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    changed = _git(folder, "--no-optional-locks", "status", "--porcelain", "--ignored", "--", file.name)
    return {
        "author": os.environ.get(AUTHOR) or told or os.environ.get("USER"),
        "commit": commit,
        "uncommitted": bool(changed) if commit else None,
    }


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says, or None where it says nothing: no git, no repository, no such setting."""
    try:
        done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
