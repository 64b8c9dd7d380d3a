"""The demo's own landing files: a world whose true effects are known."""

from dataclasses import replace

import dagster as dg
from pydantic import Field

from causal_assets.home import Home
from causal_assets.sources.planted_world import PlantedWorld
from causal_assets.warehouse.engine import scratch

DEMO_CUSTOMERS = 100_000  # enough to see an 8% effect clearly, small enough for a two-minute demo
DEMO_SEED = 2026
# The world's parameters that can break a study, besides broken rows of the logs.
FAULTS = ("lost_assignments", "crossed_assignments", "favoured_buyers", "hidden_interest", "malformed")


class PlantedWorldConfig(dg.Config):
    """Size and seed of the world."""

    customers: int = Field(default=DEMO_CUSTOMERS, ge=1_000, description="How many customers the world has.")
    seed: int = Field(default=DEMO_SEED, description="Same seed, same bytes.")
    faults: dict[str, float] = Field(
        default={}, description=f"Parameters that break a study, to see it being noticed: {', '.join(FAULTS)}."
    )


@dg.asset(key=["landing", "planted_world"], group_name="landing", kinds={"parquet", "csv", "json"})
def planted_world(config: PlantedWorldConfig) -> dg.MaterializeResult:
    """Landing files of a made-up shop: its logs are as messy as real ones, its true effects are written down."""
    folder = Home.current().landing / "planted_world"
    if unknown := sorted(config.faults.keys() - set(FAULTS)):
        raise dg.Failure(f"landing/planted_world: faults: got {unknown}, allowed: {', '.join(FAULTS)}")
    world = replace(PlantedWorld(customers=config.customers, seed=config.seed), **config.faults)
    with scratch() as connection:
        rows = world.write(folder, connection)
    faults = "".join(f"-{name}={size}" for name, size in sorted(config.faults.items()))
    version = dg.DataVersion(f"{config.customers}-{config.seed}{faults}")
    return dg.MaterializeResult(
        data_version=version,
        metadata={**{f"rows of {table}": count for table, count in rows.items()}, "folder": str(folder)},
    )
