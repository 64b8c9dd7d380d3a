"""What was lost on the way from delivery to mart, as SQL text."""

from causal_assets.warehouse.engine import literal

# What is wrong with a quarantined row, without the value: reasons read "field: problem: value".
PROBLEM = "regexp_extract(reason, '^[^:]*(: [^:]*)?')"


def lost_rows(source: str) -> str:
    """Rows of a source that were quarantined or set aside, by reason; a version that was restated is no loss."""
    where = f"source = {literal(source)}"
    return f"""
SELECT 'quarantined: ' || {PROBLEM} AS reason, count(*) AS n FROM raw.quarantine WHERE {where} GROUP BY ALL
UNION ALL BY NAME
SELECT 'set aside: ' || reason AS reason, CAST(sum("rows") AS BIGINT) AS n FROM marts.data_loss
WHERE {where} AND reason <> 'superseded' GROUP BY ALL
ORDER BY n DESC, reason"""


def delivered_rows(source: str) -> str:
    """Rows of a source that came in, exact duplicates left out."""
    return (
        f"SELECT coalesce(CAST(sum(rows_in - duplicates) AS BIGINT), 0) FROM raw.deliveries "
        f"WHERE source = {literal(source)}"
    )
