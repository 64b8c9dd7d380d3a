"""Checks that all adjusted designs share: how alike the arms are spread, and what a hidden cause would have to be."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from causal_assets.designs.randomized import read_arms
from causal_assets.estimators import sensitivity
from causal_assets.estimators.inference import Floats, Refusal
from causal_assets.types import Diagnostic, Estimate, Status
from causal_assets.warehouse.engine import Warehouse, identifier
from causal_assets.warehouse.queries.moments import arm_moments


def spread(names: Sequence[str], x: Floats, treated: NDArray[np.bool_], weight: Floats) -> list[Diagnostic]:
    """The check of variances, where a covariate has more than two values."""
    from causal_assets.diagnostics.variance_ratio import variance_ratio
    from causal_assets.estimators.balance import variance_ratios

    before, after = (variance_ratios(x, treated, w) for w in (np.ones(len(treated)), weight))
    ratios = {n: (float(b), float(a)) for n, b, a in zip(names, before, after, strict=True) if not np.isnan(a)}
    return [variance_ratio(ratios)] if ratios else []


def hidden_causes(
    warehouse: Warehouse,
    relation: str,
    groups: Mapping[str, Sequence[str]],
    primary: Estimate,
    *,
    named: str | None,
    within: str | None = None,
) -> list[Diagnostic]:
    """Robustness value beside a benchmark, and E-value, of the primary outcome in ``relation`` (``treated``, columns).

    ``groups`` are the columns of each covariate; the benchmark is the one ``named``, else the strongest is told of and
    nothing graded. ``within`` is a
    column inside whose values units are compared. One grouped query; no rows.
    """
    from causal_assets.diagnostics.e_value import e_value
    from causal_assets.diagnostics.robustness_value import robustness_value

    fitted, sd, binary = _regression(warehouse, relation, groups, primary.outcome, within)
    if isinstance(fitted, str):
        return [Diagnostic(
            name="robustness_value", status=Status.REVIEW, value=0.0, threshold=1.0,
            message=f"How strong a hidden cause must be cannot be told: {fitted}.",
            next_step="Look at overlap: the covariates say who was treated.",
        )]  # fmt: skip
    times = {name: sensitivity.times_needed(fitted, strength) for name, strength in fitted.benchmarks.items()}
    benchmark = named or min(times, key=lambda name: times[name])
    beside = robustness_value(
        primary,
        fitted.value,
        needed=sensitivity.robustness_value(fitted.t, fitted.df),
        needed_of_end=sensitivity.robustness_value(fitted.t, fitted.df, alpha=1 - primary.level),
        benchmark=benchmark,
        times=times[benchmark],
        named=named is not None,
    )
    ratio = _as_ratio(primary) if binary else None
    ratio = ratio or sensitivity.ratio_of_difference(primary.value, 1.96 * primary.spread, sd)
    return [beside, e_value(*sensitivity.e_value(*ratio))]


def _regression(
    warehouse: Warehouse, relation: str, groups: Mapping[str, Sequence[str]], outcome: str, within: str | None
) -> tuple[sensitivity.Linear | str, float, bool]:
    """The regression, or why there is none; the outcome's standard deviation, and whether it is 0 or 1."""
    names = [name for columns in groups.values() for name in columns]
    read = {"_y": identifier(outcome), "_d": "CAST(treated AS DOUBLE)", **{name: identifier(name) for name in names}}
    centred = f" - avg({{0}}) OVER (PARTITION BY {within})" if within else ""
    columns = ", ".join(f"{sql}{centred.format(sql)} AS {identifier(name)}" for name, sql in read.items())
    known = f"(FROM {relation} WHERE {identifier(outcome)} IS NOT NULL)"
    pooled = f"(SELECT true AS treated, {columns} FROM {known})"
    moments = read_arms(warehouse, f"({arm_moments(pooled, list(read))})")[True][0]
    (told,) = warehouse.rows(
        f"SELECT bool_and({identifier(outcome)} IN (0, 1)) AS binary, stddev_samp({identifier(outcome)}) AS sd, "
        f"{f'count(DISTINCT {within}) - 1' if within else '0'} AS absorbed FROM {known}"
    )
    places = {name: [2 + names.index(column) for column in columns] for name, columns in groups.items()}
    try:
        fitted = sensitivity.linear(moments, places, absorbed=told["absorbed"])
    except Refusal as reason:
        return str(reason), told["sd"], told["binary"]
    return fitted, told["sd"], told["binary"]


def _as_ratio(estimate: Estimate) -> tuple[float, float, float] | None:
    """The risk ratio with its ends; None where the control mean cannot be told from zero."""
    value, low, high = estimate.relative, estimate.relative_low, estimate.relative_high
    return None if value is None or low is None or high is None else (1 + value, max(0.0, 1 + low), 1 + high)
