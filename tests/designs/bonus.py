"""The two-stage study of the planted world's referral bonus."""

from pathlib import Path
from typing import Any

from causal_assets.designs.spillover import SpilloverExperiment
from causal_assets.types import Estimate
from tests.designs.direct import find

BONUS: dict[str, Any] = {
    "question": "What does the bonus bring, and to whom?",
    "intervention": "a bonus for referring a friend",
    "unit": "customer",
    "derived": {
        "offer": "CASE WHEN arm = 'bonus' THEN 'bonus' ELSE 'none' END",
        "saturation": "CASE WHEN arm = 'control_area' THEN 0 ELSE 0.5 END",
    },
    "columns": {"unit_id": "unit_id", "arm": "offer", "cluster": "neighbourhood", "saturation": "saturation"},
    "arms": {"control": "none", "treatment": "bonus"},
    "saturation": 0.5,
    "weigh": "units",
    "outcomes": [{"name": "referrals_28d", "role": "primary"}],
    "plausible_effect": 0.05,
    "decision": {"value_per_outcome": 10.0, "cost_per_unit": 0.1},
}


def bonus_effects(folder: Path, table: dict[str, Any]) -> dict[str, Estimate]:
    """What the study finds by estimand; ``table`` has unit_id, neighbourhood, arm and referrals_28d per customer."""
    return {estimate.estimand: estimate for _, estimate in find(folder, SpilloverExperiment, BONUS, table).findings}
