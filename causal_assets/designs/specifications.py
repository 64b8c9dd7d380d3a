"""Choices that could have been made otherwise, each an estimate of its own: at most 48."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Self

import dagster as dg
from pydantic import Field, model_validator

from causal_assets.estimators.moments import Moments
from causal_assets.protocol import Finite
from causal_assets.types import Estimate, Role
from causal_assets.warehouse.results import Finding

MOST = 48


class Specifications(dg.Model, dg.Resolvable):
    """Other choices that the protocol holds to be as good as its own; every combination of them is estimated.

    ``covariates`` are sets of them, ``methods`` as the study's own, ``trims`` propensities kept away from 0 and 1,
    ``fractions`` shares of the units, drawn by chance. What is not given is as the study has it.
    """

    covariates: Annotated[list[list[str]], Field(default_factory=list)]
    methods: Annotated[list[str], Field(default_factory=list)]
    trims: Annotated[list[Annotated[Finite, Field(ge=0, lt=0.5)]], Field(default_factory=list)]
    fractions: Annotated[list[Annotated[Finite, Field(gt=0, le=1)]], Field(default_factory=list)]

    @model_validator(mode="after")
    def _are_some_and_not_too_many(self) -> Self:
        given = [len(choices) for choices in (self.covariates, self.methods, self.trims, self.fractions) if choices]
        total = 1
        for choices in given:
            total *= choices
        if not given or total > MOST or not all(self.covariates):
            raise ValueError(f"specifications: expected 1 to {MOST} combinations of non-empty choices, got {total}")
        return self


def covariate_sets(groups: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
    """Places of columns by the words for them: all covariates, none, each alone, each left out; ``groups`` go together.

    Where chance assigned the arms every set is as good, for none was moved by the treatment.
    """
    every = [column for columns in groups.values() for column in columns]
    sets = {"all covariates": every, "no covariate": []}
    if len(groups) > 1:
        sets |= {f"{name} alone": list(columns) for name, columns in groups.items()}
    if len(groups) > 2:  # of two, each left out is the other alone
        sets |= {f"without {name}": [c for c in every if c not in groups[name]] for name in groups}
    return dict(list(sets.items())[:MOST])


def of_moments(
    control: Moments,
    treated: Moments,
    places: Mapping[str, Sequence[int]],
    *,
    outcome: str,
    level: float,
    cap: str = "",
) -> list[Finding]:
    """Differences in means adjusted for the covariates at ``places`` of the moments, the outcome first; no new read."""
    from causal_assets.estimators.randomized import difference_in_means

    found = []
    for words, columns in places.items():
        chosen = [0, *columns]
        effect = difference_in_means(control.select(chosen), treated.select(chosen), outcome=outcome, level=level)
        found.append((Role.SPECIFICATION, replace(effect, method=f"{words}{cap}")))
    return found


def of(findings: Sequence[Finding]) -> list[Estimate]:
    """The specifications among the findings."""
    return [estimate for role, estimate in findings if role is Role.SPECIFICATION]
