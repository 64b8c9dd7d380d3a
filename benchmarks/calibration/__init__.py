"""Do checks stay silent in healthy studies, and speak in broken ones? Whole studies by the hundred.

A family is a module with a function ``cases() -> list[Case]``: a design on a healthy world, and that world's faults.
``python -m benchmarks.calibration`` runs them all and writes ``docs/calibration.md``. Every check that a study's
evidence holds is counted, whatever its name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from causal_assets.decision import grade
from causal_assets.designs.study import Study
from causal_assets.designs.table import TableStudy
from causal_assets.types import Estimate, Registration, Standing, Status
from causal_assets.warehouse import results
from causal_assets.warehouse.engine import Warehouse

Columns = Mapping[str, Any]
Rng = np.random.Generator

STRENGTHS = (0.5, 1.0, 2.0, 4.0)
HEALTHY_SETS, FAULTY_SETS = 200, 40
NAME = "study"
REGISTERED = "2026-01-01T00:00:00+00:00"
# Fields of every protocol: outcomes begin after registration, and the effects looked for are large.
COMMON: dict[str, Any] = {
    "question": "What did it change?",
    "intervention": "the intervention",
    "unit": "unit",
    "begins_on": "2099-01-01",
    "plausible_effect": 1e3,
    "decision": {"value_per_outcome": 1.0},
}


@dataclass(frozen=True)
class Fault:
    """One thing broken in a world: the argument of its ``draw`` that breaks it.

    ``per_error`` is the argument's value that moves the estimate by one of its standard errors; the runs measure
    whether it does. A fault whose size is not a bias (a weak instrument, whose set stays right) has one strength, 1.
    ``seen_by`` are the checks that are to see it, from ``seen_at`` errors on; none where nothing in the data can.
    ``fields`` change the protocol.
    """

    name: str
    argument: str
    per_error: float
    seen_by: tuple[str, ...]
    strengths: tuple[float, ...] = STRENGTHS
    seen_at: float = 2.0
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def biases(self) -> bool:
        """Whether its strength is counted in standard errors of bias."""
        return self.strengths == STRENGTHS


@dataclass(frozen=True)
class Case:
    """A design on one world: ``draw(rng)`` is a healthy table whose effect is ``truth``."""

    name: str
    design: type[TableStudy]
    fields: Mapping[str, Any]
    draw: Callable[..., Columns]
    truth: float
    faults: tuple[Fault, ...] = ()
    sets: int = HEALTHY_SETS


@dataclass(frozen=True)
class Found:
    """What one study found."""

    primary: Estimate
    status: Mapping[str, Status]
    grade: str


def found(case: Case, fields: Mapping[str, Any], sets: int, tables: Callable[[], Columns]) -> list[Found]:
    """Run ``sets`` studies of the case's design, each on a table of its own: cohort, outcomes, estimates, evidence."""
    study = case.design.resolve_from_dict({**COMMON, **case.fields, **fields, "table": "given.rows"})
    return [_of_table(study, registered(study), tables()) for _ in range(sets)]


def registered(study: Study) -> Registration:
    """The registration of a study, before its outcomes, and never changed since."""
    return Registration(
        version=1,
        protocol=study.protocol_hash,
        registered_at=REGISTERED,
        settled_at=REGISTERED,
        outcomes_begin=study.begins(),
        standing=Standing.CONFIRMATORY,
        author=None,
        commit=None,
        uncommitted=None,
        assumptions=(),
        deviations=(),
    )


def _of_table(study: TableStudy, version: Registration, columns: Columns) -> Found:
    warehouse = Warehouse(path=f":memory:{NAME}")  # lives as long as the connection that is held
    table = pa.table({name: np.asarray(values) for name, values in columns.items()})
    with warehouse.connect() as connection:
        connection.execute("SET threads = 1")
        connection.register("_given", table)
        connection.execute("CREATE SCHEMA given; CREATE TABLE given.rows AS FROM _given")
        study.write_cohort(warehouse, NAME, "defs.yaml")
        study.write_outcomes(warehouse, NAME)
        findings = study.estimates(warehouse, NAME)
        evidence = study.evidence(warehouse, NAME, findings, version)
    primary = results.primary(findings)
    assert primary is not None
    return Found(
        primary, {check.name: check.status for check in evidence}, grade(evidence, randomised=study.randomised)[0]
    )
