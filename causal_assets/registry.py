"""Uplift models by version: who challenges, who is champion, since when and why.

MLflow keeps the models; the ledger says who was champion when. A champion's alias in MLflow follows the ledger: a call
killed between the two leaves it behind, and the next one that reads or changes the champion puts it right.

``python -m causal_assets.registry history|rollback|demote <study>``.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version as installed
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal_assets.home import Home
from causal_assets.ledger import Entry, Kind, Ledger
from causal_assets.protocol import hash_of
from causal_assets.targeting import scoring
from causal_assets.targeting.model import UpliftModel
from causal_assets.targeting.scoring import CorruptModelError
from causal_assets.tracking import UNFIT, client_of, experiment_of, finished
from causal_assets.types import Decision, Estimate
from causal_assets.warehouse import results
from causal_assets.warehouse.engine import Warehouse

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature
    from pandas import DataFrame

CHAMPION, CHALLENGER = "champion", "challenger"
CHANGES = (Kind.PROMOTED, Kind.DEMOTED, Kind.ROLLED_BACK)
# A two-sided interval at this level has the one-sided 95% bound as its lower end.
LEVEL = 0.90
RULE = "the decision allows action, and the gain's one-sided 95% lower end is above the margin"
# What a model's file needs besides this package, which is no package of an index: naming it would invite a stranger's.
LIBRARIES = ("numpy", "pandas", "scikit-learn", "lightgbm", "causalml", "econml")

# MLflow's name for a kind of numbers; anything else is text.
TYPES = {"f": "double", "i": "long", "u": "long", "b": "boolean"}


class MissingModelError(Exception):
    """There is no such model, or the registry has lost it."""


class OtherProtocolError(Exception):
    """A model was trained under another protocol than the one asked for."""


@dataclass(frozen=True, kw_only=True)
class Champion:
    """A version as the ledger knows it."""

    version: int
    sha256: str
    protocol: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Served:
    """A model that may score, and what its scores are to be marked with."""

    version: int
    sha256: str
    protocol: str
    cohort: str
    model: UpliftModel


@dataclass(frozen=True)
class Ruling:
    """Whether a challenger becomes champion, and why, as a sentence."""

    promote: bool
    reason: str


def ruling(decision: Decision, gain: Estimate, over: int | None, margin: float = 0.0) -> Ruling:
    """The rule of promotion.

    The study's decision allows action, and the challenger's ``gain`` in policy value per unit, on units of a randomised
    fold that nothing else was decided on, has its one-sided 95% lower end above ``margin``. It is the gain over the
    champion, version ``over``; where there is none (None) over the best simple policy, and the margin is 0.

    Raises:
        ValueError: the gain's interval is not two-sided at ``LEVEL``, or the margin is no finite number from 0.
    """
    if gain.level != LEVEL:
        raise ValueError(f"gain: level must be {LEVEL}, so that its lower end is one-sided at 95%; got {gain.level}")
    if not (isfinite(margin) and margin >= 0):
        raise ValueError(f"margin: expected a finite number from 0, got {margin}")
    needed = 0.0 if over is None else margin
    rival = "the best simple policy" if over is None else f"version {over}"
    units = gain.n_treated + gain.n_control
    found = f"over {rival} it gains {gain.value:.4g} a unit on {units} fresh units, at least {gain.low:.4g} by a "
    found += f"one-sided 95% bound, and above {needed:g} is needed"
    if not decision.allows_action:
        return Ruling(
            False, f"The evidence does not allow action ({decision.verdict}, grade {decision.grade}); {found}."
        )
    if gain.low > needed:
        return Ruling(True, f"The evidence allows action; {found}.")
    return Ruling(False, f"Not shown to be better: {found}.")


def log_challenger(
    home: Home,
    study: str,
    *,
    protocol: str,
    cohort_version: str,
    model: UpliftModel,
    example: Mapping[str, Any],
    metrics: Mapping[str, float],
    params: Mapping[str, Any],
    plots: Mapping[str, str],
    card: str,
) -> int:
    """Log a model as one run, register it as a version of the study's model and let it challenge; returns the version.

    ``example`` holds the features of a few units by column, ``plots`` SVG text by file name, ``card`` Markdown. A
    version is identified by protocol, cohort, model, parameters and metrics: the same again adds nothing.

    Raises:
        ValueError: a metric that is NaN or infinite, or an example that the model cannot score.
    """
    if unfit := {name: value for name, value in metrics.items() if not isfinite(value)}:
        raise ValueError(f"metrics: expected finite numbers, got {unfit}")
    numbers = {UNFIT.sub("_", name): float(value) for name, value in metrics.items()}
    settings = {name: str(value) for name, value in params.items()}
    frame = scoring.frame_of(model.features, example)
    client = client_of(home)
    experiment = experiment_of(client, home, study)
    with tempfile.TemporaryDirectory() as folder:
        file, sha256 = scoring.write(model, Path(folder))
        tags = {"protocol": protocol, "cohort": cohort_version, "sha256": sha256}
        tags["data_version"] = hash_of([tags, settings, numbers])
        if known := finished(client, experiment, tags["data_version"]):
            run = known.info.run_id
        else:
            texts = {**plots, "model_card.md": card}
            run = _log(experiment, f"{study}-model-{protocol[:8]}", tags, settings, numbers, texts, file, frame)
    version = _registered(client, study, run, tags)
    champion = champion_of(_changes(home, study))
    if champion is None or champion.version != version:
        client.set_registered_model_alias(study, CHALLENGER, str(version))
    return version


def load(home: Home, study: str, alias: str = CHAMPION, protocol: str | None = None) -> Served:
    """The model under an alias, its file's hash held against the registry's and, for a champion, the ledger's.

    Raises:
        MissingModelError: nobody has the alias, or the registry has lost the version.
        CorruptModelError: its file is missing or is not the one that was registered, or promoted.
        OtherProtocolError: it was trained under another protocol than ``protocol``.
        BrokenChainError: an entry of the ledger was changed.
    """
    client = client_of(home)
    champion = champion_of(_changes(home, study))
    holder = champion.version if champion else None
    if alias != CHAMPION:
        holder = _aliases(client, study).get(alias)
    if holder is None:
        raise MissingModelError(f"{study}: no version is {alias} now")
    served = _opened(client, study, holder, protocol)
    if champion and alias == CHAMPION and served.sha256 != champion.sha256:
        raise CorruptModelError(
            f"{study}: version {holder} is model {served.sha256[:12]} in the registry, but {champion.sha256[:12]} was "
            "promoted"
        )
    _follow(client, study, champion)
    return served


def promote(
    home: Home,
    study: str,
    version: int,
    *,
    protocol: str,
    decision: Decision,
    gain: Estimate,
    over: int | None,
    margin: float = 0.0,
) -> Ruling:
    """Make a version champion if ``ruling`` says so; ``over`` is the champion that the gain is over, None for none.

    A version that was taken back is not promoted again: ``rollback`` to it if that was a mistake.

    Raises:
        ValueError: the champion is another one than ``over``; see ``ruling``.
        MissingModelError, CorruptModelError, OtherProtocolError: see ``load``.
    """
    client, changes = client_of(home), _changes(home, study)
    champion = champion_of(changes)
    _follow(client, study, champion)
    if champion and champion.version == version:
        return Ruling(False, f"Version {version} is the champion already.")
    if (champion.version if champion else None) != over:
        raise ValueError(f"over: the champion is {champion.version if champion else None}, the gain is over {over}")
    if taken_back := _taken_back(changes, version):
        return Ruling(False, f"Version {version} was {taken_back.kind} (entry {taken_back.seq} of the ledger).")
    found = ruling(decision, gain, over, margin)
    if found.promote:
        served = _opened(client, study, version, protocol)
        _change(client, home, study, Kind.PROMOTED, champion, served, found.reason, rule=RULE, gain=asdict(gain))
    return found


def demote(home: Home, study: str, reason: str) -> None:
    """Take the title from the champion; nobody has it then.

    Raises:
        MissingModelError: there is no champion.
    """
    champion = champion_of(_changes(home, study))
    if champion is None:
        raise MissingModelError(f"{study}: no version is {CHAMPION} now")
    _change(client_of(home), home, study, Kind.DEMOTED, champion, None, reason)


def rollback(home: Home, study: str, reason: str, to: int | None = None) -> int:
    """Make an earlier champion champion again, the one before the current one unless ``to`` says which; returns it.

    Raises:
        MissingModelError: there was none before, or ``to`` never was champion; or see ``load``.
        CorruptModelError: see ``load``.
    """
    client, changes = client_of(home), _changes(home, study)
    champion = champion_of(changes)
    version = _before(changes) if to is None else to
    known = {e.payload["version"]: e.payload["model"] for e in changes if e.kind is Kind.PROMOTED}
    if version is None or version not in known:
        raise MissingModelError(f"{study}: no champion to go back to{'' if to is None else f': {to} never was'}")
    served = _opened(client, study, version, None)
    if served.sha256 != known[version]:
        raise CorruptModelError(f"{study}: version {version} is not the model that was promoted")
    if champion is None or champion.version != version:
        _change(client, home, study, Kind.ROLLED_BACK, champion, served, reason)
    else:
        _follow(client, study, champion)
    return version


def champion_of(changes: Sequence[Entry]) -> Champion | None:
    """The champion after these changes."""
    if not changes or changes[-1].payload["version"] is None:
        return None
    last = changes[-1]
    return Champion(version=last.payload["version"], sha256=last.payload["model"], protocol=last.protocol)


def history(ledger: Ledger, study: str) -> list[dict[str, Any]]:
    """Every change of champion, oldest first, as rows of ``results.champions``."""
    rows = []
    for entry in ledger.entries(study):
        if entry.kind not in CHANGES:
            continue
        said, gain = entry.payload, entry.payload.get("gain") or {}
        rows.append(
            {
                "entry": entry.seq,
                "at": entry.at,
                "event": entry.kind.value,
                "version": said["version"],
                "model": said["model"],
                "protocol": entry.protocol if said["version"] is not None else None,
                "previous": said["previous"],
                "gain": gain.get("value"),
                **{name: gain.get(name) for name in ("low", "high", "level")},
                "earned": gain.get("control_mean"),
                "rule": said.get("rule"),
                "reason": said["reason"],
            }
        )
    return rows


def publish(warehouse: Warehouse, ledger: Ledger, study: str) -> None:
    """Write the study's changes of champion from the ledger to ``results.champions``."""
    results.write_champions(warehouse, study, history(ledger, study))


def _log(
    experiment: str,
    name: str,
    tags: dict[str, str],
    params: dict[str, str],
    metrics: dict[str, float],
    texts: Mapping[str, str],
    file: Path,
    frame: "DataFrame",
) -> str:
    """Log all this as one run with the model in ``file``; returns the run's number."""
    import mlflow

    with mlflow.start_run(experiment_id=experiment, run_name=name) as run:
        mlflow.set_tags(tags)
        mlflow.log_params(params)
        mlflow.log_metrics(metrics)
        for path, text in texts.items():
            mlflow.log_text(text, path)
        mlflow.pyfunc.log_model(
            name="model",
            loader_module=scoring.__name__,
            data_path=str(file),
            signature=_signature(frame, scoring.read(file).predict(frame)),
            input_example=frame,
            pip_requirements=[f"{library}=={installed(library)}" for library in LIBRARIES],
        )
    return run.info.run_id


def _signature(taken: "DataFrame", given: "DataFrame") -> "ModelSignature":
    """Of such frames; MLflow takes no whole numbers for doubles nor the reverse, so the types are the warehouse's."""
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, Schema

    inputs, outputs = (
        Schema([ColSpec(TYPES.get(column.dtype.kind, "string"), str(name)) for name, column in frame.items()])
        for frame in (taken, given)
    )
    return ModelSignature(inputs=inputs, outputs=outputs)


def _registered(client: "MlflowClient", study: str, run: str, tags: Mapping[str, str]) -> int:
    """The version that a run's model is, registered if need be."""
    if known := client.search_model_versions(f"run_id = '{run}'"):
        return int(known[0].version)
    if not client.search_registered_models(f"name = '{study}'"):
        client.create_registered_model(study)
    outputs = client.get_run(run).outputs
    assert outputs is not None
    (model,) = outputs.model_outputs
    source = f"models:/{model.model_id}"
    return int(client.create_model_version(study, source, run, tags=dict(tags), model_id=model.model_id).version)


def _opened(client: "MlflowClient", study: str, version: int, protocol: str | None) -> Served:
    """A version of the study's model, its file held against the hash in the registry.

    Raises:
        MissingModelError, CorruptModelError, OtherProtocolError: see ``load``.
    """
    import mlflow

    try:
        tags = client.get_model_version(study, str(version)).tags
    except mlflow.MlflowException as error:
        raise MissingModelError(f"{study}: the registry has no version {version}") from error
    if protocol not in (None, tags["protocol"]):
        raise OtherProtocolError(
            f"{study}: version {version} was trained under protocol {tags['protocol'][:12]}, not {protocol[:12]}"
        )
    try:
        scorer = mlflow.pyfunc.load_model(f"models:/{study}/{version}").get_raw_model()
    except CorruptModelError:
        raise
    except Exception as error:
        raise CorruptModelError(f"{study}: version {version} cannot be read ({error})") from error
    if scorer.sha256 != tags["sha256"]:
        raise CorruptModelError(f"{study}: version {version} holds another model than was registered")
    return Served(
        version=version, sha256=scorer.sha256, protocol=tags["protocol"], cohort=tags["cohort"], model=scorer.model
    )


def _changes(home: Home, study: str) -> list[Entry]:
    return [entry for entry in Ledger(path=str(home.ledger)).entries(study) if entry.kind in CHANGES]


def _change(
    client: "MlflowClient",
    home: Home,
    study: str,
    kind: Kind,
    before: Champion | None,
    after: Served | None,
    reason: str,
    **more: Any,
) -> None:
    """Write a change of champion to the ledger, and let the aliases follow."""
    said = {
        "version": after.version if after else None,
        "model": after.sha256 if after else None,
        "previous": before.version if before else None,
        "reason": reason,
        **more,
    }
    of = after or before
    assert of is not None
    entry = Ledger(path=str(home.ledger)).append(kind, study, of.protocol, said)
    _follow(client, study, champion_of([entry]))


def _before(changes: Sequence[Entry]) -> int | None:
    """Who was champion before the current one was promoted, or before the last one was demoted."""
    if not changes:
        return None
    last = changes[-1]
    if last.kind is Kind.DEMOTED:
        return last.payload["previous"]
    current = last.payload["version"]
    return [e.payload["previous"] for e in changes if e.kind is Kind.PROMOTED and e.payload["version"] == current][-1]


def _taken_back(changes: Sequence[Entry], version: int) -> Entry | None:
    """The entry that took the title from a version by hand, unless it has had it again since."""
    own = [e for e in changes if version in (e.payload["version"], e.payload["previous"])]
    if not own or own[-1].payload["version"] == version or own[-1].kind is Kind.PROMOTED:
        return None
    return own[-1]


def _aliases(client: "MlflowClient", study: str) -> dict[str, int]:
    found = client.search_registered_models(f"name = '{study}'")
    return {alias: int(version) for model in found for alias, version in model.aliases.items()}


def _follow(client: "MlflowClient", study: str, champion: Champion | None) -> None:
    """Make the aliases say what the ledger says.

    Raises:
        MissingModelError: the registry has lost the champion.
    """
    import mlflow

    aliases, due = _aliases(client, study), champion.version if champion else None
    if due is None:
        if CHAMPION in aliases:
            client.delete_registered_model_alias(study, CHAMPION)
        return
    if aliases.get(CHAMPION) != due:
        try:
            client.set_registered_model_alias(study, CHAMPION, str(due))
        except mlflow.MlflowException as error:
            raise MissingModelError(
                f"{study}: version {due} is champion by the ledger, but the registry lost it; roll back or demote"
            ) from error
    if aliases.get(CHALLENGER) == due:
        client.delete_registered_model_alias(study, CHALLENGER)


def main() -> int:
    """Show or change who is champion; the exit code is 0 if that was done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("history", "rollback", "demote"))
    parser.add_argument("study", help="the study's folder")
    parser.add_argument("--reason", default="By hand.", help="why, for the ledger")
    parser.add_argument("--to", type=int, help="roll back to this version, not to the one before")
    given, home = parser.parse_args(), Home.current()
    try:
        if given.what == "rollback":
            rollback(home, given.study, given.reason, given.to)
        elif given.what == "demote":
            demote(home, given.study, given.reason)
    except (MissingModelError, CorruptModelError) as error:
        print(error)
        return 1
    for row in history(Ledger(path=str(home.ledger)), given.study):
        change = f"{row['previous'] or '-'} -> {row['version'] or '-'}"
        print(f"{row['at'][:19]}  {row['event']:<11}  {change:>8}  {row['reason']}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
