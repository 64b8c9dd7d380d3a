"""One pass over a table of units for a whole scorecard, as SQL text."""

from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement

from causal_assets.warehouse.engine import identifier, literal

# Parts of an arm whose sums are kept apart.
PARTS = 8


def scorecard_moments(
    table: str, metrics: Mapping[str, Sequence[str]], *, arm: str = "treated", row: str = "rowid"
) -> str:
    """n, names, means and covariances (upper triangle, row by row) of each metric's columns, by arm and part of it.

    ``metrics`` maps each outcome to its covariates. Only covariances within a metric are computed, so the work grows
    with their number and not with its square: three per metric with one covariate. Covariances are the engine's
    one-pass stable ones; ``covar_samp(y, y)`` is a third cheaper than ``var_samp(y)``. Each row updates a running mean
    and waits for the last update of it, so that a third of the time is saved by keeping ``PARTS`` of them in turn: an
    arm's moments are its parts', by ``Moments.merge``. ``row`` is an integer column that tells the rows of a part apart
    (a view has no ``rowid``).

    Raises:
        ValueError: no metric.
    """
    if not metrics:
        raise ValueError("metrics: expected at least one")
    rows = ",\n        ".join(
        f"{{metric: {literal(metric)}, names: [{', '.join(literal(column) for column in columns)}], "
        f"means: [{', '.join(f'avg({identifier(column)})' for column in columns)}], covariances: ["
        + ", ".join(
            f"coalesce(covar_samp({identifier(a)}, {identifier(b)}), 0)"
            for a, b in combinations_with_replacement(columns, 2)
        )
        + "]}"
        for metric, columns in ((metric, [metric, *covariates]) for metric, covariates in metrics.items())
    )
    return f"""
SELECT found.metric, treated, part, n, found.names, found.means, found.covariances
FROM (
    SELECT {identifier(arm)} AS treated, {identifier(row)} % {PARTS} AS part, count(*) AS n, unnest([
        {rows}
    ]) AS found
    FROM {table} GROUP BY {identifier(arm)}, {identifier(row)} % {PARTS}
)
ORDER BY found.metric, treated, part"""
