"""Hand-made marts of a small shop whose one effect is known, and the studies that ask for it."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import dagster as dg
import numpy as np
import pyarrow as pa

from causal_assets.designs.observational import ObservationalStudy
from causal_assets.designs.portfolio import portfolio
from causal_assets.designs.randomized import RandomizedExperiment
from causal_assets.designs.study import Study
from causal_assets.home import Home
from causal_assets.ledger import Ledger
from causal_assets.warehouse.engine import Warehouse
from tests.house import House

TRUTH = 2.0  # dollars per treated unit in 14 days, the same for everyone
START = date(2026, 3, 1)
WINDOW = 14
MATURE = date(2026, 4, 30)  # every window has passed long before

MARTS = """
CREATE SCHEMA marts; CREATE SCHEMA raw;
CREATE TABLE marts.unit_days (source VARCHAR, unit_id VARCHAR, day DATE, metric VARCHAR, value DOUBLE, events BIGINT);
CREATE TABLE marts.assignments (source VARCHAR, program VARCHAR, unit_id VARCHAR, arm VARCHAR, assigned_at TIMESTAMP);
CREATE TABLE marts.unit_attributes (
    source VARCHAR, unit_id VARCHAR, attribute VARCHAR, value VARCHAR, known_at TIMESTAMP);
CREATE TABLE marts.coverage (source VARCHAR, first_day DATE, last_day DATE);
CREATE TABLE marts.data_loss (source VARCHAR, stage VARCHAR, table_name VARCHAR, reason VARCHAR, "rows" BIGINT);
CREATE TABLE marts.planted_truth (study VARCHAR, outcome VARCHAR, estimand VARCHAR, segment VARCHAR, value DOUBLE);
CREATE TABLE raw.quarantine (source VARCHAR, reason VARCHAR);
CREATE TABLE raw.deliveries (source VARCHAR, rows_in BIGINT, duplicates BIGINT);
"""
TRIAL: dict[str, Any] = {
    "question": "Does the new page raise revenue?",
    "intervention": "the new page",
    "source": "shop",
    "unit": "customer",
    "program": "page",
    "arms": {"control": "old", "treatment": "new", "share": 0.5},
    "enrolled_from": "2026-03-01",
    "enrolled_to": "2026-03-07",
    "outcomes": [
        {"name": "revenue_14d", "metric": "revenue", "days": WINDOW, "role": "primary", "money": True},
        {
            "name": "complaints_14d",
            "metric": "complaints",
            "days": WINDOW,
            "role": "guardrail",
            "harm": "increase",
            "margin": 0.2,
        },
    ],
    "covariates": [{"metric": "revenue", "windows": [[-7, 0], [-14, -7]]}],
    "plausible_effect": 3.0,
    "decision": {"value_per_outcome": 1.0, "cost_per_unit": 0.1},
}
MAILING: dict[str, Any] = {
    "question": "Did the mailing raise revenue?",
    "intervention": "a mailing to good customers",
    "source": "shop",
    "unit": "customer",
    "program": "mailing",
    "arms": {"control": "not mailed", "treatment": "mailed"},
    "time_zero": "2026-03-01",
    "active_metric": "revenue",
    "outcomes": [{"name": "revenue_14d", "metric": "revenue", "days": WINDOW, "role": "primary", "money": True}],
    "covariates": [{"metric": "revenue", "windows": [[-7, 0], [-14, -7]]}],
    "plausible_effect": 3.0,
    "decision": {"value_per_outcome": 1.0},
}


@dataclass(frozen=True)
class Shop:
    """Customers with two weeks of history, a programme, and the two weeks after it.

    ``chosen`` says how treatment was given: by chance with probability ``share``, or to those who bought before.
    """

    program: str
    treatment: str
    control: str | None
    effect: float = TRUTH
    share: float = 0.5
    chosen: bool = False
    last_day: date = MATURE
    units: int = 1_000
    seed: int = 7

    def write(self, warehouse: Warehouse) -> None:
        """Replace the marts by this shop's."""
        rng = np.random.default_rng(self.seed)
        habit = rng.gamma(4.0, 1.0, self.units)
        history = habit[:, None] + rng.normal(0, 0.5, (self.units, 2)).clip(-1, 1)
        propensity = 1 / (1 + np.exp(-(history.mean(axis=1) - 4))) if self.chosen else np.full(self.units, self.share)
        treated = rng.random(self.units) < propensity
        after = 3 + history.mean(axis=1) + rng.normal(0, 1, self.units) + self.effect * treated
        # Everyone is mailed on one day; enrolment in a trial lasts a week.
        begun = np.zeros(self.units, dtype=int) if self.chosen else np.arange(self.units) % 7
        days = {-10: history[:, 0], -3: history[:, 1], 0: after / 4, 9: after / 2, 13: after / 4}
        purchases = [
            (unit, begun[unit] + day, "revenue", x[unit]) for day, x in days.items() for unit in range(self.units)
        ]
        complaints = [
            (unit, begun[unit] + 5, "complaints", 1.0) for unit in np.flatnonzero(rng.random(self.units) < 0.05)
        ]
        purchases = [row for row in purchases + complaints if START + timedelta(days=int(row[1])) <= self.last_day]
        arms = np.where(treated, self.treatment, self.control or "")
        with warehouse.transaction() as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS marts CASCADE; DROP SCHEMA IF EXISTS raw CASCADE; {MARTS}")
            unit, day, metric, value = (list(column) for column in zip(*purchases, strict=True))
            connection.register("d", pa.table({"unit": unit, "day": day, "metric": metric, "value": value}))
            connection.execute(
                "INSERT INTO marts.unit_days SELECT 'shop', 'u' || unit, ? + day::INTEGER, metric, value, 1 FROM d",
                [START],
            )
            connection.register("a", pa.table({"unit": np.arange(self.units), "day": begun, "arm": arms}))
            connection.execute(
                "INSERT INTO marts.assignments SELECT 'shop', ?, 'u' || unit, arm, ? + day::INTEGER + TIME '12:00' "
                "FROM a WHERE arm <> ''",
                [self.program, START],
            )
            connection.execute("INSERT INTO marts.coverage VALUES ('shop', '2026-01-01', ?)", [self.last_day])
            connection.execute("INSERT INTO raw.deliveries VALUES ('shop', 10000, 0)")


def trial_shop(**given: Any) -> Shop:
    """A shop whose new page is given by chance."""
    return Shop(program="page", treatment="new", control="old", **given)


def mailing_shop(**given: Any) -> Shop:
    """A shop that mails those who bought much."""
    return Shop(program="mailing", treatment="mailed", control=None, chosen=True, **given)


def trial(**changed: Any) -> RandomizedExperiment:
    """The trial as its YAML would state it, with the fields given changed."""
    return RandomizedExperiment.resolve_from_dict(TRIAL | changed)


def mailing(**changed: Any) -> ObservationalStudy:
    """The observational study as its YAML would state it, with the fields given changed."""
    return ObservationalStudy.resolve_from_dict(MAILING | changed)


def definitions(home: Home, **studies: Study) -> dg.Definitions:
    """Studies by folder name with what spans them, and nothing before them: the marts are there already."""
    context = dg.ComponentTree.for_test().load_context
    loaded = [study.build_defs(context.for_path(home.root / "studies" / name)) for name, study in studies.items()]
    resources = {"warehouse": Warehouse(path=str(home.warehouse)), "ledger": Ledger(path=str(home.ledger))}
    merged = dg.Definitions.merge(*loaded, dg.Definitions(resources=resources, executor=dg.in_process_executor))
    return dg.Definitions.merge(merged, portfolio(merged))


def house(home: Home, **studies: Study) -> House:
    """A house of these studies with an instance of its own."""
    return House(home, definitions(home, **studies), dg.DagsterInstance.ephemeral())
