"""The effect in each part of the units, as the protocol names the parts: corrected for their number, and pooled."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import dagster as dg
import numpy as np

from causal_assets.estimators.multiplicity import bonferroni
from causal_assets.estimators.pooling import partial_pooling
from causal_assets.types import Diagnostic, Estimate, Role
from causal_assets.warehouse.results import Finding

MOST_LEVELS = 20
# An arm of fewer units in a part has no interval worth the name.
FEWEST = 50
# What partial pooling needs to learn how much parts differ.
FEWEST_TO_POOL = 4
POOLED = ", pooled"

Parts = Mapping[str, Mapping[str, Estimate]]  # by column, by its values


def require_few(study: str, column: str, levels: Sequence[str]) -> None:
    """Make sure that a column has values that name parts.

    Raises:
        dagster.Failure: more than 20.
    """
    if len(levels) > MOST_LEVELS:
        raise dg.Failure(
            f"{study}: subgroups: {column!r} has {len(levels)} values; allowed are {MOST_LEVELS}: group them (derived)"
        )


def large_enough(n_control: int, n_treated: int) -> bool:
    """Whether a part has an interval."""
    return min(n_control, n_treated) >= FEWEST


def findings(parts: Parts, *, level: float) -> list[Finding]:
    """Every part's effect with intervals that all hold at once (Bonferroni), and drawn to the column's mean (pooled).

    Pooled effects need four parts; they are posteriors, without p-values.
    """
    family = [
        replace(effect, outcome=f"{effect.outcome}, {column}={value}")
        for column, effects in parts.items()
        for value, effect in effects.items()
    ]
    found = bonferroni(family, level=level) if family else []
    for column, effects in parts.items():
        if len(effects) >= FEWEST_TO_POOL:
            found += partial_pooling(
                [e.value for e in effects.values()],
                [e.spread for e in effects.values()],
                outcomes=[f"{e.outcome}, {column}={value}{POOLED}" for value, e in effects.items()],
                level=level,
                n_treated=[e.n_treated for e in effects.values()],
                n_control=[e.n_control for e in effects.values()],
            )
    return [(Role.SUBGROUP, estimate) for estimate in found]


def differences(found: Sequence[Finding]) -> list[Diagnostic]:
    """The check of whether parts differ by more than chance; nothing without two parts of one column."""
    from causal_assets.diagnostics.subgroups import subgroups
    from causal_assets.estimators.pooling import random_effects

    by_column: dict[str, list[Estimate]] = {}
    for role, estimate in found:
        if role is Role.SUBGROUP and not estimate.outcome.endswith(POOLED):
            column = estimate.outcome.partition(", ")[2].partition("=")[0]
            by_column.setdefault(column, []).append(estimate)
    tested = {
        column: random_effects([e.value for e in parts], np.array([e.spread for e in parts]), outcome=column).q_p_value
        for column, parts in by_column.items()
        if len(parts) > 1
    }
    clear = [e for parts in by_column.values() for e in parts if not e.covers(0.0)]
    return [subgroups(tested, clear, sum(map(len, by_column.values())))] if tested else []
