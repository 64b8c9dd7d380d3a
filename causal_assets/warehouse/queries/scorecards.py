"""One pass over a table of units for a whole scorecard, as SQL text."""

from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement

from causal_assets.warehouse.engine import identifier, literal


def scorecard_moments(table: str, metrics: Mapping[str, Sequence[str]], *, arm: str = "treated") -> str:
    """One row per metric and arm: n, names, means and covariances (upper triangle, row by row) of its columns.

    ``metrics`` maps each outcome to its covariates. Only covariances within a metric are computed, so the work grows
    with their number and not with its square: three per metric with one covariate. Covariances are the engine's
    one-pass stable ones; ``covar_samp(y, y)`` is a third cheaper than ``var_samp(y)``.

    Raises:
        ValueError: no metric.
    """
    if not metrics:
        raise ValueError("metrics: expected at least one")
    rows = ",\n        ".join(
        f"{{metric: {literal(metric)}, names: [{', '.join(literal(column) for column in columns)}], "
        f"means: [{', '.join(f'avg({identifier(column)})' for column in columns)}], covariances: ["
        + ", ".join(
            f"covar_samp({identifier(a)}, {identifier(b)})" for a, b in combinations_with_replacement(columns, 2)
        )
        + "]}"
        for metric, columns in ((metric, [metric, *covariates]) for metric, covariates in metrics.items())
    )
    return f"""
SELECT found.metric, treated, n, found.names, found.means, found.covariances
FROM (
    SELECT {identifier(arm)} AS treated, count(*) AS n, unnest([
        {rows}
    ]) AS found
    FROM {table} GROUP BY ALL
)
ORDER BY found.metric, treated"""
