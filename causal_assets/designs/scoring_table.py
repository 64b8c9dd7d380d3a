"""A model's answers for more units than memory holds: out of the warehouse batch by batch, and back into it."""

import pyarrow as pa

from causal_assets.targeting import scoring
from causal_assets.targeting.model import UpliftModel
from causal_assets.warehouse.engine import Warehouse

# Rows scored at a time: so many that a call costs little beside its rows, so few that they fit whatever their features.
BATCH = 100_000


def write_scores(
    warehouse: Warehouse, model: UpliftModel, select: str, table: str, *, key: str, batch: int = BATCH
) -> int:
    """Make ``schema.table`` the answers for the rows of the query ``select``; returns how many there are.

    The query has the model's features and the column ``key``, which names a row; the table has that column and those of
    ``targeting.scoring.answers``. It is replaced in one transaction: whoever reads meanwhile sees the old one, and
    whatever fails leaves it. In memory are ``batch`` rows and what the engine holds.

    Raises:
        ValueError: a query without rows or without the key, a row without a key; see ``Features.matrix``.
    """
    schema, _, _ = table.rpartition(".")
    count = 0
    # A cursor is a second connection: one streams the rows, the other writes the answers.
    with warehouse.transaction() as connection, connection.cursor() as reading:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        for rows in reading.execute(select).to_arrow_reader(batch):
            connection.register("answers", _answers(model, rows, key))
            into = f"INSERT INTO {table}" if count else f"CREATE OR REPLACE TABLE {table} AS"
            connection.execute(f"{into} FROM answers")
            connection.unregister("answers")
            count += len(rows)
        if not count:
            raise ValueError("select: gives no rows to score")
    return count


def _answers(model: UpliftModel, rows: pa.RecordBatch, key: str) -> pa.Table:
    if key not in rows.schema.names:
        raise ValueError(f"key: {key!r} is no column of the query; it has {rows.schema.names}")
    if empty := rows[key].null_count:
        raise ValueError(f"key: {key!r} is empty in {empty} rows; each needs one")
    columns = {
        name: rows[name].to_numpy(zero_copy_only=False) for name in model.features.columns if name in rows.schema.names
    }
    return pa.table({key: rows[key]} | scoring.answers(model, model.score(columns)))
