"""What one unit, and what the tails, do to a difference in means: from moments, by grouped queries."""

from collections.abc import Sequence

from causal_assets.designs.randomized import read_arms
from causal_assets.protocol import Rule
from causal_assets.types import Diagnostic, Estimate
from causal_assets.warehouse.engine import Warehouse, literal
from causal_assets.warehouse.queries.moments import arm_moments

TAIL = 0.999  # one unit in a thousand on each side: what a bound on spending, or on a robot, would catch


def influence(
    warehouse: Warehouse, relation: str, covariates: Sequence[str], rule: Rule, *, outcome: str, level: float
) -> list[Diagnostic]:
    """The check of outliers for the rows of ``relation``: ``unit``, ``treated``, ``_y`` and the covariates.

    One pass over the rows finds the unit left out; nothing else of a row leaves the engine. Arms of fewer units than
    the adjustment needs without one of them are not checked.
    """
    from causal_assets.diagnostics.outlier_influence import outlier_influence
    from causal_assets.estimators.randomized import difference_in_means

    def effect(rows: str) -> Estimate | None:
        arms = {arm: moments for arm, (moments, _) in read_arms(warehouse, f"({arm_moments(rows, columns)})").items()}
        enough = len(arms) == len((False, True)) and min(arm.n for arm in arms.values()) >= len(covariates) + 2
        if not enough or not any(arm.cov[0, 0] for arm in arms.values()):
            return None
        return difference_in_means(arms[False], arms[True], outcome=outcome, level=level)

    columns = ["_y", *covariates]
    far = "abs(_y - avg(_y) OVER (PARTITION BY treated))"
    (tails,) = warehouse.rows(
        f"SELECT quantile_disc(_y, {1 - TAIL!r}) AS low, quantile_disc(_y, {TAIL!r}) AS high FROM {relation}"
    )
    (largest,) = warehouse.rows(
        f"SELECT CAST(unit AS VARCHAR) AS unit, _y FROM (SELECT unit, _y, {far} AS far FROM {relation}) "
        "ORDER BY far DESC, unit LIMIT 1",
        repeatable=True,
    )
    whole = effect(relation)
    if whole is None:
        return []
    return [
        outlier_influence(
            whole,
            without=effect(f"(FROM {relation} WHERE CAST(unit AS VARCHAR) <> {literal(largest['unit'])})"),
            capped=effect(
                f"(SELECT * REPLACE (least(greatest(_y, {tails['low']!r}), {tails['high']!r}) AS _y) FROM {relation})"
            ),
            needed=rule.needed,
            largest=largest["_y"],
            quantile=TAIL,
        )
    ]
