"""Front door: loads everything under ``defs/`` and states once what holds for all of it."""

from pathlib import Path

import dagster as dg

from causal_assets.designs.portfolio import portfolio
from causal_assets.home import Home
from causal_assets.ledger import Ledger
from causal_assets.warehouse.engine import Warehouse


@dg.definitions
def defs() -> dg.Definitions:
    """All assets, checks, jobs and schedules; runs stay in one process, since a study's steps are short."""
    home = Home.current()
    loaded = dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
    resources = {"warehouse": Warehouse(path=str(home.warehouse)), "ledger": Ledger(path=str(home.ledger))}
    shared = dg.Definitions(resources=resources, executor=dg.in_process_executor)
    studies = dg.Definitions.merge(loaded, shared)
    return dg.Definitions.merge(studies, portfolio(studies))
