"""Tracking survives what a killed run leaves behind."""

from pathlib import Path

from causal_assets.home import Home
from causal_assets.tracking import log_estimates
from causal_assets.types import Estimate, Role

EFFECT = Estimate(
    outcome="spend", estimand="ATE", method="difference in means", value=1.0, std_error=0.5, low=0.0, high=2.0,
    p_value=0.05, level=0.95, n_treated=10, n_control=10, control_mean=5.0,
)  # fmt: skip


def test_a_half_made_tracking_database_is_made_again_and_the_same_estimate_is_logged_once(tmp_path: Path):
    home = Home(tmp_path)
    home.mlflow.mkdir()
    (home.mlflow / "mlflow.part").write_bytes(b"half of a database")
    logged = [
        log_estimates(home, "study", "randomised experiment", "hash", [(Role.PRIMARY, EFFECT)], {"plot.svg": "<svg/>"})
        for _ in range(2)
    ]
    assert logged[0] is not None
    assert logged[0] == logged[1]
    assert not (home.mlflow / "mlflow.part").exists()
