"""Models by version: logged once, scored as fitted, promoted by rule, taken back by one command, or refused."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest

from causal_assets import registry
from causal_assets.home import Home
from causal_assets.ledger import BrokenChainError, Kind, Ledger
from causal_assets.registry import (
    CHALLENGER,
    CorruptModelError,
    MissingModelError,
    OtherProtocolError,
    Ruling,
    demote,
    history,
    load,
    log_challenger,
    promote,
    publish,
    rollback,
    ruling,
)
from causal_assets.targeting import scoring
from causal_assets.targeting.policy_value import policy_gain
from causal_assets.tracking import client_of, database
from causal_assets.types import Decision, Estimate, Verdict
from causal_assets.warehouse.engine import Warehouse
from tests.targeting.tiny import model, units

STUDY, PROTOCOL, OTHER = "winback", "a" * 64, "b" * 64
SHIP = Decision(verdict=Verdict.SHIP, grade="A")
HOLD = Decision(verdict=Verdict.HOLD, grade="A")
EXAMPLE = {name: column[:5] for name, column in units().items()}
# Models that differ, without a fit each.
FIRST, SECOND, THIRD = model(), replace(model(), level=0.9), replace(model(), level=0.8)


class Killed(BaseException):
    """What ends a call at once, as a signal would."""


def gain(low: float, *, level: float = 0.90) -> Estimate:
    """A gain of 1 above its lower end."""
    return Estimate(
        outcome="profit", estimand="policy value", method="doubly robust", value=low + 1.0, std_error=0.6, low=low,
        high=low + 2.0, p_value=None, level=level, n_treated=600, n_control=400, control_mean=2.0,
    )  # fmt: skip


def log(home: Home, fitted: Any = FIRST, *, study: str = STUDY, protocol: str = PROTOCOL, **other: Any) -> int:
    said: dict[str, Any] = {
        "cohort_version": "c" * 16,
        "metrics": {"qini": 0.12, "CATE, 90%": 1.5},
        "params": {"winner": fitted.choice.winner, "seed": 1},
        "plots": {"qini.svg": "<svg/>"},
        "card": "# Who it is for",
    }
    return log_challenger(home, study, protocol=protocol, model=fitted, example=EXAMPLE, **{**said, **other})


def champion(home: Home, version: int, over: int | None, low: float = 0.5) -> Ruling:
    return promote(home, STUDY, version, protocol=PROTOCOL, decision=SHIP, gain=gain(low), over=over)


def aliases(home: Home) -> dict[str, int]:
    return {alias: int(of) for alias, of in client_of(home).get_registered_model(STUDY).aliases.items()}


def versions(home: Home) -> list[int]:
    return sorted(int(found.version) for found in client_of(home).search_model_versions(f"name = '{STUDY}'"))


def finished_runs(home: Home) -> int:
    client = client_of(home)
    experiments = [found.experiment_id for found in client.search_experiments()]
    return len(client.search_runs(experiments, "attributes.status = 'FINISHED'"))


def model_file(home: Home, version: int) -> Path:
    uri = client_of(home).get_model_version_download_uri(STUDY, str(version))
    (file,) = Path(uri.removeprefix("file://")).glob("data/*.pickle")
    return file


def ledger(home: Home) -> Ledger:
    return Ledger(path=str(home.ledger))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracking database without anything in it; making one takes seconds."""
    return database(tmp_path_factory.mktemp("empty") / "mlflow")


@pytest.fixture
def home(empty: Path, tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.mlflow.mkdir(parents=True)
    shutil.copy(empty, made.mlflow)
    return made


@pytest.fixture(scope="module")
def three(empty: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    made = Home(tmp_path_factory.mktemp("three"))
    made.mlflow.mkdir(parents=True)
    shutil.copy(empty, made.mlflow)
    assert [log(made, fitted) for fitted in (FIRST, SECOND, THIRD)] == [1, 2, 3]
    return made


@pytest.fixture
def exposed(logged: Home, three: Home) -> Iterator[Home]:
    """The same, with its files put back afterwards."""
    files, kept = three.mlflow / "artifacts", logged.root / "kept"
    shutil.copytree(files, kept)
    yield logged
    shutil.rmtree(files)
    shutil.copytree(kept, files)


@pytest.fixture
def logged(three: Home, tmp_path: Path) -> Home:
    """A home with three versions and no champion; their files are shared and only to be read."""
    made = Home(tmp_path / "logged")
    made.mlflow.mkdir(parents=True)
    shutil.copy(three.mlflow / "mlflow.db", made.mlflow)
    return made


# --- Logging ---


def test_the_logged_model_scores_as_the_fitted_one_and_says_what_it_takes_and_gives(three: Home) -> None:
    client_of(three)
    served = mlflow.pyfunc.load_model(f"models:/{STUDY}/1")
    frame = pd.DataFrame(units())
    found, scored = served.predict(frame), FIRST.score(units())
    for k, arm in enumerate(("email", "call")):
        for end, numbers in (("uplift", scored.effect), ("low", scored.low), ("high", scored.high)):
            np.testing.assert_allclose(found[f"{end}_{arm}"], numbers[:, k], rtol=0, atol=1e-12)
    for k, arm in enumerate(("control", "email", "call")):
        np.testing.assert_allclose(found[f"expected_{arm}"], scored.expected[:, k], rtol=0, atol=1e-12)
    assert (found["treatment"] == np.array(["control", "email", "call"])[scored.chosen]).all()
    assert (found["segment"] == scoring.segment(scored, FIRST.cut)).all()
    signature, meta = served.metadata.signature, served.metadata
    assert [(one.name, one.type.name) for one in signature.inputs] == [
        ("recency", "double"), ("orders", "long"), ("channel", "string")
    ]  # fmt: skip
    assert signature.outputs.input_names() == list(found)
    example = meta.load_input_example()
    pd.testing.assert_frame_equal(served.predict(example), found.head(5), check_dtype=False)


@pytest.mark.parametrize(
    ("columns", "error", "said"),
    [
        ({"orders": None}, mlflow.MlflowException, r"Model is missing inputs \['orders'\]"),
        ({"orders": "many"}, mlflow.MlflowException, "column orders. Can not safely convert str to int64"),
        ({"orders": 0.5}, mlflow.MlflowException, "column orders. Can not safely convert float64 to int64"),
        ({"channel": 7}, mlflow.MlflowException, "column channel. Can not safely convert int64"),
        ({"recency": np.nan}, ValueError, "features: recency: 5 values are empty, NaN or infinite"),
        ({"channel": "fax"}, ValueError, r"features: channel: \['fax'\] not seen when the model was made; known"),
    ],
)
def test_what_the_logged_model_cannot_score_is_refused_by_column(
    three: Home, columns: dict[str, Any], error: type[Exception], said: str
) -> None:
    client_of(three)
    served = mlflow.pyfunc.load_model(f"models:/{STUDY}/1")
    frame = pd.DataFrame(EXAMPLE).assign(**columns)
    with pytest.raises(error, match=said):
        served.predict(frame.drop(columns=[name for name, given in columns.items() if given is None]))


def test_a_run_holds_what_was_said_and_nothing_is_inferred_about_its_environment(three: Home) -> None:
    client = client_of(three)
    version = client.get_model_version(STUDY, "1")
    run = client.get_run(version.run_id)
    assert run.data.metrics == {"qini": 0.12, "CATE_ 90_": 1.5}
    assert run.data.params == {"winner": "s", "seed": "1"}
    assert {name: run.data.tags[name] for name in ("protocol", "cohort")} == {"protocol": PROTOCOL, "cohort": "c" * 16}
    assert version.tags["sha256"] == model_file(three, 1).stem == run.data.tags["sha256"]
    assert {found.path for found in client.list_artifacts(version.run_id)} == {"qini.svg", "model_card.md"}
    needed = (model_file(three, 1).parent.parent / "requirements.txt").read_text(encoding="utf-8").split()
    assert [line.partition("==")[0] for line in needed] == ["mlflow", *registry.LIBRARIES]


def test_the_same_again_adds_nothing_and_another_model_data_or_metric_adds_a_version(logged: Home) -> None:
    before = finished_runs(logged)
    assert aliases(logged) == {CHALLENGER: 3}
    assert log(logged, FIRST) == 1
    assert log(logged, FIRST, card="# Other words", plots={}) == 1
    assert (versions(logged), finished_runs(logged), aliases(logged)) == ([1, 2, 3], before, {CHALLENGER: 1})
    others = ({"protocol": OTHER}, {"cohort_version": "d" * 16}, {"metrics": {"qini": 0.13}}, {"params": {}})
    assert [log(logged, FIRST, **other) for other in others] == [4, 5, 6, 7]
    assert log(logged, FIRST, study="another") == 1


@pytest.mark.parametrize("step", ["log_model", "create_registered_model", "create_model_version", "set_alias"])
def test_killed_half_way_the_next_call_leaves_one_version_with_one_finished_run(
    home: Home, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    of, name = (mlflow.pyfunc, step) if step == "log_model" else (mlflow.MlflowClient, step)
    name = "set_registered_model_alias" if step == "set_alias" else name

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(of, name, killed)
        log(home)
    assert log(home) == 1
    assert (versions(home), finished_runs(home), aliases(home)) == ([1], 1, {CHALLENGER: 1})
    assert load(home, STUDY, CHALLENGER).version == 1


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"metrics": {"qini": float("nan")}}, "metrics: expected finite numbers, got {'qini': nan}"),
        ({"example": {"recency": [0.0], "orders": [1.0]}}, r"features: \['channel'\] are missing"),
    ],
)
def test_a_metric_that_is_no_number_or_an_example_that_cannot_be_scored_is_not_logged(
    home: Home, other: dict[str, Any], said: str
) -> None:
    given = {"cohort_version": "c", "metrics": {}, "params": {}, "plots": {}, "card": "", "example": EXAMPLE} | other
    with pytest.raises(ValueError, match=said):
        log_challenger(home, STUDY, protocol=PROTOCOL, model=FIRST, **given)
    assert finished_runs(home) == 0


# --- The rule ---


@pytest.mark.parametrize("over", [None, 4])
@pytest.mark.parametrize("decision", [SHIP, HOLD, Decision(verdict=Verdict.BLOCKED, grade="D")])
@pytest.mark.parametrize("low", [-1.0, 0.0, 0.1, 0.3, 0.5])
@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_promoted_is_what_the_evidence_allows_and_whose_gain_clears_the_margin(
    over: int | None, decision: Decision, low: float, margin: float
) -> None:
    found = ruling(decision, gain(low), over, margin)
    clears = low > (0.0 if over is None else margin)  # against no champion it is the mandate's rule, without a margin
    assert found.promote == (decision is SHIP and clears)
    assert f"at least {low:.4g}" in found.reason and found.reason.endswith(".")


def test_the_reason_is_a_sentence_with_its_numbers() -> None:
    assert ruling(SHIP, gain(0.5), 2, 0.25).reason == (
        "The evidence allows action; over version 2 it gains 1.5 a unit on 1000 fresh units, at least 0.5 by a "
        "one-sided 95% bound, and above 0.25 is needed."
    )
    assert ruling(HOLD, gain(0.5), None).reason.startswith(
        "The evidence does not allow action (hold, grade A); over the best simple policy it gains 1.5 a unit"
    )
    assert ruling(SHIP, gain(-0.5), 2).reason.startswith("Not shown to be better: over version 2 it gains 0.5")


@pytest.mark.parametrize(("better", "worth"), [(0.0, 0.0), (0.3, 0.0), (0.3, 0.3)])
def test_a_challenger_that_earns_no_more_than_the_margin_is_promoted_once_in_twenty_and_a_better_one_nearly_always(
    better: float, worth: float
) -> None:
    """Each policy treats half of the units, a quarter is treated by the challenger alone, and they alone respond."""
    rng, draws, n = np.random.default_rng(7), 1_000, 400
    promoted = 0
    for _ in range(draws):
        group = rng.integers(0, 4, n)
        champions, challengers = np.isin(group, (0, 1)).astype(int), np.isin(group, (1, 2)).astype(int)
        without = rng.normal(size=n)
        potential = np.column_stack([without, without + np.where(group == 2, 4 * better, 0.0) + rng.normal(size=n)])
        found = policy_gain(potential, challengers, champions, [0.0], value=1.0, outcome="profit")
        promoted += ruling(SHIP, found, 1, worth).promote
    if better > worth:
        assert promoted / draws > 0.95
    else:
        assert abs(promoted / draws - 0.05) <= 3 * np.sqrt(0.05 * 0.95 / draws)


def test_a_challenger_that_does_the_same_as_the_champion_is_not_promoted() -> None:
    potential, same = np.random.default_rng(7).normal(size=(400, 2)), np.arange(400) % 2
    assert not ruling(SHIP, policy_gain(potential, same, same, [0.0], value=1.0, outcome="profit"), 1).promote


def test_an_interval_of_another_level_or_a_margin_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"gain: level must be 0\.9, .*; got 0\.95"):
        ruling(SHIP, gain(0.5, level=0.95), None)
    for margin in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="margin: expected a finite number from 0, got"):
            ruling(SHIP, gain(0.5), 1, margin)


# --- Champions ---


def test_a_promotion_moves_the_alias_and_is_in_the_ledger_with_all_that_it_rests_on(logged: Home) -> None:
    assert champion(logged, 1, None).promote
    found = champion(logged, 3, 1, low=0.25)
    assert found.promote
    assert aliases(logged) == {"champion": 3}
    first, second = ledger(logged).entries(STUDY)  # reading proves the chain
    assert (first.kind, first.protocol, first.payload["previous"]) == (Kind.PROMOTED, PROTOCOL, None)
    assert second.payload == {
        "version": 3,
        "model": model_file(logged, 3).stem,
        "previous": 1,
        "reason": found.reason,
        "rule": "the decision allows action, and the gain's one-sided 95% lower end is above the margin",
        "gain": {**vars(gain(0.25)), "pieces": []},
    }
    served = load(logged, STUDY)
    assert (served.version, served.sha256, served.protocol, served.cohort) == (
        3, model_file(logged, 3).stem, PROTOCOL, "c" * 16
    )  # fmt: skip
    assert served.model.level == THIRD.level


def test_what_is_not_promoted_changes_nothing(logged: Home) -> None:
    champion(logged, 1, None)
    assert not champion(logged, 2, 1, low=-0.1).promote
    assert not promote(logged, STUDY, 2, protocol=PROTOCOL, decision=HOLD, gain=gain(0.5), over=1).promote
    assert champion(logged, 1, None) == Ruling(False, "Version 1 is the champion already.")
    assert log(logged, FIRST) == 1
    assert len(ledger(logged).entries()) == 1
    assert aliases(logged) == {"champion": 1, CHALLENGER: 3}  # what is champion does not challenge itself


def test_a_gain_over_another_than_the_champion_is_refused(logged: Home) -> None:
    for version, over in ((2, 1), (2, 3)):
        with pytest.raises(ValueError, match=f"over: the champion is None, the gain is over {over}"):
            champion(logged, version, over)
    champion(logged, 1, None)
    with pytest.raises(ValueError, match="over: the champion is 1, the gain is over None"):
        champion(logged, 2, None)


@pytest.mark.parametrize("after", ["load", "promote", "demote", "rollback"])
def test_killed_between_ledger_and_alias_the_ledger_holds_and_the_next_call_puts_the_alias_right(
    logged: Home, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    champion(logged, 1, None)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(mlflow.MlflowClient, "set_registered_model_alias", killed)
        champion(logged, 3, 1)
    assert aliases(logged) == {"champion": 1, CHALLENGER: 3}
    calls: dict[str, Callable[[], Any]] = {
        "load": lambda: load(logged, STUDY),
        "promote": lambda: champion(logged, 3, 1),
        "demote": lambda: demote(logged, STUDY, "Complaints."),
        "rollback": lambda: rollback(logged, STUDY, "Complaints."),
    }
    calls[after]()
    due = {"load": {"champion": 3}, "promote": {"champion": 3}, "demote": {CHALLENGER: 3}, "rollback": {"champion": 1}}
    assert aliases(logged) == due[after] | ({CHALLENGER: 3} if after == "rollback" else {})
    assert len(ledger(logged).entries()) == (2 if after in ("load", "promote") else 3)


def test_a_demotion_leaves_no_champion_and_cannot_be_undone_by_a_rerun(logged: Home) -> None:
    with pytest.raises(MissingModelError, match="winback: no version is champion now"):
        demote(logged, STUDY, "Nobody.")
    champion(logged, 1, None)
    demote(logged, STUDY, "Complaints.")
    assert aliases(logged) == {CHALLENGER: 3}
    with pytest.raises(MissingModelError, match="winback: no version is champion now"):
        load(logged, STUDY)
    assert champion(logged, 1, None) == Ruling(False, "Version 1 was demoted (entry 2 of the ledger).")
    assert champion(logged, 2, None).promote
    assert [entry.kind for entry in ledger(logged).entries()] == [Kind.PROMOTED, Kind.DEMOTED, Kind.PROMOTED]


def test_a_rollback_restores_the_champion_before_and_a_rerun_does_not_promote_again(logged: Home) -> None:
    for version, over in ((1, None), (2, 1), (3, 2)):
        assert champion(logged, version, over).promote
    assert rollback(logged, STUDY, "Complaints.") == 2
    assert load(logged, STUDY).model.level == SECOND.level
    assert aliases(logged) == {"champion": 2}
    assert champion(logged, 3, 2) == Ruling(False, "Version 3 was rolled back (entry 4 of the ledger).")
    assert rollback(logged, STUDY, "More complaints.") == 1
    with pytest.raises(MissingModelError, match="winback: no champion to go back to"):
        rollback(logged, STUDY, "Still more.")
    assert rollback(logged, STUDY, "It was the weather.", to=3) == 3
    assert rollback(logged, STUDY, "Said twice.", to=3) == 3
    last = ledger(logged).entries()[-1]
    assert (last.kind, last.payload["previous"], last.payload["reason"]) == (Kind.ROLLED_BACK, 1, "It was the weather.")
    assert load(logged, STUDY).version == 3
    with pytest.raises(MissingModelError, match="no champion to go back to: 9 never was"):
        rollback(logged, STUDY, "A slip.", to=9)


def test_a_demoted_champion_comes_back_by_a_rollback(logged: Home) -> None:
    champion(logged, 1, None)
    demote(logged, STUDY, "A slip.")
    assert rollback(logged, STUDY, "It was a slip.") == 1
    assert load(logged, STUDY).version == 1


# --- Broken, lost, of another study ---


def test_a_model_of_another_protocol_is_neither_served_nor_promoted(logged: Home) -> None:
    champion(logged, 1, None)
    assert load(logged, STUDY, protocol=PROTOCOL).version == 1
    said = "winback: version 1 was trained under protocol aaaaaaaaaaaa, not bbbbbbbbbbbb"
    with pytest.raises(OtherProtocolError, match=said):
        load(logged, STUDY, protocol=OTHER)
    with pytest.raises(OtherProtocolError, match="version 2 was trained under"):
        promote(logged, STUDY, 2, protocol=OTHER, decision=SHIP, gain=gain(0.5), over=1)
    assert load(logged, STUDY).version == 1


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)


def _exchange(file: Path) -> None:
    file.unlink()
    scoring.write(THIRD, file.parent)


def _nothing_reads_it(file: Path) -> None:
    (file.parent.parent / "MLmodel").write_text("flavors: {", encoding="utf-8")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_flip, "was changed after it was written"),
        (_exchange, "cannot be read"),
        (Path.unlink, "cannot be read"),
        (lambda file: shutil.rmtree(file.parent.parent), "winback: version 1 cannot be read"),
        (_nothing_reads_it, "winback: version 1 cannot be read"),
    ],
)
def test_a_corrupt_or_missing_file_is_refused_by_load_promote_and_rollback(
    exposed: Home, harm: Callable[[Path], Any], said: str
) -> None:
    champion(exposed, 1, None)
    champion(exposed, 2, 1)
    before = ledger(exposed).entries()
    harm(model_file(exposed, 1))
    assert load(exposed, STUDY).version == 2
    with pytest.raises(CorruptModelError, match=said):
        rollback(exposed, STUDY, "Complaints.")
    with pytest.raises(CorruptModelError, match=said):
        champion(exposed, 1, 2)
    assert (ledger(exposed).entries(), aliases(exposed)) == (before, {"champion": 2, CHALLENGER: 3})
    ledger(exposed).append(Kind.ROLLED_BACK, STUDY, PROTOCOL, {**before[0].payload, "previous": 2})
    with pytest.raises(CorruptModelError, match=said):
        load(exposed, STUDY)


def test_a_registry_that_was_made_to_say_otherwise_is_found_out_by_the_ledger(exposed: Home) -> None:
    champion(exposed, 1, None)
    file = model_file(exposed, 1)
    other, sha256 = scoring.write(THIRD, file.parent)
    meta = file.parent.parent / "MLmodel"
    meta.write_text(meta.read_text(encoding="utf-8").replace(file.stem, other.stem), encoding="utf-8")
    with pytest.raises(CorruptModelError, match="version 1 holds another model than was registered"):
        load(exposed, STUDY)
    client_of(exposed).set_model_version_tag(STUDY, "1", "sha256", sha256)
    with pytest.raises(CorruptModelError, match=f"is model {sha256[:12]} in the registry, but .* was promoted"):
        load(exposed, STUDY)
    with pytest.raises(CorruptModelError, match="version 1 is not the model that was promoted"):
        rollback(exposed, STUDY, "Complaints.", to=1)


def test_a_registry_that_lost_its_versions_serves_nothing_and_the_champion_can_be_demoted(
    logged: Home, empty: Path
) -> None:
    champion(logged, 1, None)
    shutil.copy(empty, logged.mlflow)
    with pytest.raises(MissingModelError, match="winback: the registry has no version 1"):
        load(logged, STUDY)
    with pytest.raises(MissingModelError, match="winback: no version is challenger now"):
        load(logged, STUDY, CHALLENGER)
    assert log(logged, SECOND) == 1  # a number that was another model's
    with pytest.raises(CorruptModelError, match="was promoted"):
        load(logged, STUDY)
    demote(logged, STUDY, "Lost.")
    with pytest.raises(MissingModelError):
        load(logged, STUDY)


def test_a_ledger_that_was_edited_serves_no_champion(logged: Home) -> None:
    import sqlite3

    champion(logged, 1, None)
    with sqlite3.connect(logged.ledger) as connection:
        connection.execute("UPDATE entries SET payload = replace(payload, '\"version\": 1', '\"version\": 2')")
    with pytest.raises(BrokenChainError):
        load(logged, STUDY)


# --- What is told ---


def test_the_table_of_champions_says_what_the_ledger_says_however_often_it_is_written(
    logged: Home, tmp_path: Path
) -> None:
    warehouse = Warehouse(path=str(tmp_path / "warehouse.duckdb"))
    publish(warehouse, ledger(logged), STUDY)
    assert warehouse.rows("SELECT * FROM results.champions") == []
    champion(logged, 1, None)
    ledger(logged).append(Kind.OUTCOMES_READ, STUDY, PROTOCOL)
    champion(logged, 3, 1)
    rollback(logged, STUDY, "Complaints.")
    demote(logged, STUDY, "More complaints.")
    for _ in range(2):
        publish(warehouse, ledger(logged), STUDY)
    found = warehouse.rows("SELECT * FROM results.champions ORDER BY rowid")
    assert [(row["entry"], row["event"], row["version"], row["previous"]) for row in found] == [
        (1, "promoted", 1, None), (3, "promoted", 3, 1), (4, "rolled back", 1, 3), (5, "demoted", None, 1)
    ]  # fmt: skip
    assert [row["at"].isoformat() for row in found] == [
        row["at"].removesuffix("+00:00") for row in history(ledger(logged), STUDY)
    ]
    numbers = ("gain", "low", "high", "level", "earned")
    assert [tuple(row[name] for name in numbers) for row in found[1:3]] == [(1.5, 0.5, 2.5, 0.9, 2.0), (None,) * 5]
    assert [row["protocol"] for row in found] == [PROTOCOL] * 3 + [None]
    assert [row["model"] for row in found] == [model_file(logged, v).stem for v in (1, 3, 1)] + [None]
    assert (found[2]["reason"], found[2]["rule"]) == ("Complaints.", None)
    assert warehouse.rows("SELECT * FROM results.champions WHERE study <> ?", [STUDY]) == []


def test_one_command_rolls_back_and_shows_who_was_champion(
    logged: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(*arguments: str) -> tuple[int, list[str]]:
        monkeypatch.setattr("sys.argv", ["registry", *arguments])
        return registry.main(), capsys.readouterr().out.splitlines()

    monkeypatch.setenv("CAUSAL_HOME", str(logged.root))
    assert command("history", STUDY) == (0, [])
    champion(logged, 1, None)
    assert command("rollback", STUDY) == (1, ["winback: no champion to go back to"])
    champion(logged, 2, 1)
    code, lines = command("rollback", STUDY, "--reason", "Complaints.")
    assert code == 0
    assert [line[21:] for line in lines] == [
        f"promoted       - -> 1  {ledger(logged).entries()[0].payload['reason']}",
        f"promoted       1 -> 2  {ledger(logged).entries()[1].payload['reason']}",
        "rolled back    2 -> 1  Complaints.",
    ]
    assert load(logged, STUDY).version == 1
    assert command("rollback", STUDY, "--to", "2")[0] == 0
    assert load(logged, STUDY).version == 2
    code, lines = command("demote", STUDY)
    assert (code, lines[-1][21:]) == (0, "demoted        2 -> -  By hand.")
    assert command("demote", STUDY) == (1, ["winback: no version is champion now"])
