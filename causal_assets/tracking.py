"""Each estimate as an MLflow run: parameters, metrics and the protocol and data it stands on."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from causal_assets.home import Home
from causal_assets.protocol import hash_of
from causal_assets.types import Estimate, Role

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# What the tracking database takes no metric's name with.
UNFIT = re.compile(r"[^\w\-. /]")
METRICS = ("value", "std_error", "low", "high", "p_value", "n_treated", "n_control", "control_mean")


def log_estimates(
    home: Home,
    study: str,
    design: str,
    protocol: str,
    findings: Sequence[tuple[Role, Estimate]],
    plots: dict[str, str],
) -> str | None:
    """Log the primary estimate of a study as one run, all others as its metrics; returns the run id.

    A run is identified by the hash of what it says: the same estimates under the same protocol are logged once.
    ``plots`` maps file names to SVG text. Nothing to log (no primary estimate) gives None.
    """
    primary = next((estimate for role, estimate in findings if role is Role.PRIMARY), None)
    if primary is None:
        return None
    client = client_of(home)
    import mlflow

    experiment = experiment_of(client, home, study)
    version = hash_of([protocol, [[role, repr(estimate)] for role, estimate in findings]])
    if known := finished(client, experiment, version):
        return known.info.run_id
    with mlflow.start_run(experiment_id=experiment, run_name=f"{study}-{protocol[:8]}") as run:
        mlflow.set_tags({"data_version": version, "protocol": protocol, "design": design})
        mlflow.log_params({"outcome": primary.outcome, "estimand": primary.estimand, "method": primary.method})
        mlflow.log_metrics({name: given for name in METRICS if (given := getattr(primary, name)) is not None})
        mlflow.log_metrics(
            {
                UNFIT.sub("_", f"{role}.{estimate.outcome}.{estimate.estimand}.{end}"): getattr(estimate, end)
                for role, estimate in findings
                if role in (Role.SECONDARY, Role.GUARDRAIL, Role.OVER_TIME, Role.NEGATIVE_CONTROL)
                for end in ("value", "low", "high")
            }
        )
        for name, svg in plots.items():
            mlflow.log_text(svg, name)
    return run.info.run_id


def client_of(home: Home) -> "MlflowClient":
    """A client of the home's tracking database, which is this process's from now on."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{database(home.mlflow)}")
    return mlflow.MlflowClient()


def experiment_of(client: "MlflowClient", home: Home, study: str) -> str:
    """Number of the study's experiment, made if need be."""
    if found := client.get_experiment_by_name(study):
        return found.experiment_id
    return client.create_experiment(study, artifact_location=(home.mlflow / "artifacts" / study).as_uri())


def finished(client: "MlflowClient", experiment: str, version: str) -> "Run | None":
    """The run that logged this data version; a killed one stays unfinished and is none, so its successor logs again."""
    same = f"tags.data_version = '{version}' and attributes.status = 'FINISHED'"
    return next(iter(client.search_runs([experiment], same, max_results=1)), None)


def database(folder: Path) -> Path:
    """The tracking database, made under another name first: MLflow cannot go on from one that is half made."""
    import mlflow

    folder.mkdir(parents=True, exist_ok=True)
    database, part = folder / "mlflow.db", folder / "mlflow.part"
    if not database.exists():
        part.unlink(missing_ok=True)
        mlflow.MlflowClient(tracking_uri=f"sqlite:///{part}").search_experiments()  # the first question makes it
        part.replace(database)
    return database
