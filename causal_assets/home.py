"""Where this instance keeps its state: one git-ignored folder, moved as a whole by ``CAUSAL_HOME``."""

import os
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Home:
    """Paths of one instance; nothing here touches the disk."""

    root: Path

    @classmethod
    def current(cls) -> "Home":
        """The home of this process: ``$CAUSAL_HOME``, else ``home/`` beside the package."""
        return cls(Path(os.environ.get("CAUSAL_HOME", PROJECT / "home")).resolve())

    @property
    def warehouse(self) -> Path:
        """The one DuckDB file that the pipeline writes."""
        return self.root / "warehouse.duckdb"

    @property
    def published(self) -> Path:
        """The copy of the results that readers open."""
        return self.root / "published.duckdb"

    @property
    def ledger(self) -> Path:
        """The append-only record of registrations, reads, decisions, mandates and champions."""
        return self.root / "ledger.sqlite"

    @property
    def landing(self) -> Path:
        """Where sources drop their files, one folder each."""
        return self.root / "landing"

    @property
    def memos(self) -> Path:
        """One HTML page per study."""
        return self.root / "memos"

    @property
    def models(self) -> Path:
        """The model that each uplift study stands on, one folder each."""
        return self.root / "models"

    @property
    def mlflow(self) -> Path:
        """Tracking database, registry and artifacts."""
        return self.root / "mlflow"
