"""A decision replayed from its hash: the same numbers and the same memo, or the first difference by name."""

import shutil
from pathlib import Path

import pytest

from causal_assets import replay as command
from causal_assets.home import Home
from causal_assets.ledger import Entry, Kind, Ledger
from causal_assets.replay import decision_of, replay
from tests.designs.shop import house, trial, trial_shop
from tests.designs.tables import tracking_database
from tests.house import contents


def decision(home: Home) -> Entry:
    found = Ledger(path=str(home.ledger)).last("page", Kind.DECIDED)
    assert found is not None
    return found


def apart(folder: Path) -> Home:
    """A home to replay in; empty but for a tracking database, which takes seconds to make."""
    home = Home(folder)
    home.mlflow.mkdir(parents=True)
    shutil.copy(tracking_database(), home.mlflow)
    return home


def test_a_decision_replays_twice_with_the_same_numbers_and_the_same_memo_and_touches_nothing(
    decided: Home,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    before = {path: path.read_bytes() for path in decided.root.rglob("*") if path.is_file()}
    homes = [apart(tmp_path_factory.mktemp("replay")) for _ in range(2)]
    for into, given in zip(homes, (decision(decided).hash, trial().protocol_hash[:12]), strict=True):
        assert replay(decided, given, into) is None
    told = [[(home.memos / f"page.{kind}").read_bytes() for kind in ("html", "json")] for home in (decided, *homes)]
    assert told[0] == told[1] == told[2]
    tables = [contents(house(home, page=trial()).warehouse)["results.estimates"] for home in (decided, *homes)]
    assert tables[0] == tables[1] == tables[2]
    assert {path: path.read_bytes() for path in decided.root.rglob("*") if path.is_file()} == before


def test_an_older_decision_is_replayed_from_its_own_protocol_and_other_data_are_named(
    decided: Home,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    first = decision(decided)
    changed = house(decided, page=trial(decision={"value_per_outcome": 1.0, "cost_per_unit": 0.0}))
    assert changed.run(*(["page", stage] for stage in ("registration", "decision", "memo"))).success
    assert decision(decided).protocol != first.protocol
    assert replay(decided, first.hash, apart(tmp_path_factory.mktemp("older"))) is None

    trial_shop(effect=1.0).write(changed.warehouse)
    said = replay(decided, first.hash, apart(tmp_path_factory.mktemp("other")))
    assert said is not None and said.startswith("outcomes: page.outcomes was "), said
    assert said.endswith(" now: other data")


def test_a_hash_that_no_decision_has_is_refused(decided: Home) -> None:
    entries = Ledger(path=str(decided.ledger)).entries()
    for given in ("beef", ""):
        with pytest.raises(LookupError, match="the ledger knows no decision"):
            decision_of(entries, given)


@pytest.mark.parametrize(("difference", "code", "said"), [(None, 0, "equal: "), ("cohort: other", 1, "cohort: other")])
def test_the_command_says_equal_or_the_difference(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], difference: str | None, code: int, said: str
) -> None:
    monkeypatch.setattr("sys.argv", ["replay", "a1b2"])
    monkeypatch.setattr(command, "replay", lambda home, given, into: difference)
    assert command.main() == code
    assert capsys.readouterr().out.startswith(said)
