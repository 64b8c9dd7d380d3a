"""Published tables that a case needs as one: treated and controls that were published apart.

The case reads ``$CAUSAL_HOME/joined/<name>.parquet``, which ``deliver`` writes from the published files.
"""

from pathlib import Path

import duckdb

# Name of the joined table, and the published files whose rows it holds, which have the same columns.
JOINED = {"nsw_cps": ("lalonde/nsw_dehejia_wahba", "lalonde/cps1_controls")}


def deliver(published: Path, folder: Path) -> None:
    """Write the joined tables whose parts are at hand into ``folder``; their columns are matched by name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, files in JOINED.items():
        parts = [published / f"{file}.parquet" for file in files]
        if all(part.exists() for part in parts):
            duckdb.read_parquet([str(part) for part in parts], union_by_name=True).write_parquet(
                str(folder / f"{name}.parquet")
            )
