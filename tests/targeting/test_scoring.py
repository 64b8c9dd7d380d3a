"""A stored model scores as the fitted one, or is refused."""

import hashlib
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from causal_assets.targeting.model import Scored
from causal_assets.targeting.scoring import CorruptModelError, Scorer, frame_of, read, segment, write
from tests.targeting.tiny import model, units


def stored(folder: Path, content: bytes, sha256: str | None = None) -> Path:
    file = folder / f"{sha256 or hashlib.sha256(content).hexdigest()}.pickle"
    file.write_bytes(content)
    return file


def touch(path: str) -> None:
    Path(path).touch()


class Trap:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return touch, (str(self.mark),)


def test_a_row_holds_every_answer_about_its_unit_and_the_planted_effects_are_among_them():
    frame = frame_of(model().features, units()).sample(frac=1.0, random_state=3)
    found, scored = Scorer(model(), "").predict(frame), model().score(units())
    assert found.index.equals(frame.index)
    assert list(found) == [
        "uplift_email", "low_email", "high_email", "uplift_call", "low_call", "high_call",
        "expected_control", "expected_email", "expected_call", "segment", "treatment",
    ]  # fmt: skip
    found = found.sort_index()
    for k, arm in enumerate(("email", "call")):
        for end, numbers in (("uplift", scored.effect), ("low", scored.low), ("high", scored.high)):
            np.testing.assert_array_equal(found[f"{end}_{arm}"], numbers[:, k])
    for k, arm in enumerate(("control", "email", "call")):
        np.testing.assert_array_equal(found[f"expected_{arm}"], scored.expected[:, k])
    assert (found["treatment"] == np.array(["control", "email", "call"])[scored.chosen]).all()
    moved = units()["recency"] > 0
    assert found["uplift_email"][moved].mean() == pytest.approx(3.0, abs=0.4)
    assert found["uplift_email"][~moved].mean() == pytest.approx(0.0, abs=0.4)
    assert (found["treatment"] == np.where(moved, "email", "control")).mean() > 0.9
    assert (found["segment"] == "persuadables")[moved].mean() > 0.9


def test_segments_follow_from_the_best_treatments_interval_and_the_outcome_without_any():
    effect = np.array([[2.0, 1.0], [1.0, 2.0], [-2.0, -1.0], [0.0, -1.0], [0.0, -1.0], [-2.0, 0.1]])
    half = np.array([[1.0, 9.0], [9.0, 1.0], [0.5, 0.5], [1.0, 0.1], [1.0, 0.1], [0.1, 1.0]])
    expected = np.array([0.0, 9.0, 0.0, 9.0, 5.0, 0.0])[:, None] + np.zeros(3)
    scored = Scored(
        raw=effect, effect=effect, low=effect - half, high=effect + half, expected=expected, propensity=expected,
        chosen=np.zeros(6, dtype=np.intp),
    )  # fmt: skip
    assert segment(scored, 5.0).tolist() == [
        "persuadables", "persuadables", "do-not-disturbs", "sure things", "sure things", "lost causes"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"recency": None}, r"\['recency'\] are missing; needed are \['recency', 'orders', 'channel'\]"),
        ({"orders": ["many"] * 3}, "orders holds what is no number"),
        ({"orders": [1.0, np.nan, np.inf]}, "orders: 2 values are empty, NaN or infinite"),
        ({"orders": pd.array([1, None, 2], dtype="Int64")}, "orders"),
        ({"channel": ["app", "fax", "web"]}, r"channel: \['fax'\] not seen when the model was made"),
        ({"channel": ["app", None, "web"]}, r"channel: \['unknown'\] not seen"),
        ({"channel": ["app", np.nan, "web"]}, r"channel: \['unknown'\] not seen"),
    ],
)
def test_what_cannot_be_scored_is_refused_by_column(columns: dict, said: str):
    frame = pd.DataFrame({"recency": [0.1, 0.2, 0.3], "orders": [1, 2, 3], "channel": ["app", "shop", "web"]} | columns)
    with pytest.raises(ValueError, match=said):
        Scorer(model(), "").predict(frame.drop(columns=[name for name, given in columns.items() if given is None]))


def test_what_was_missing_at_fitting_is_a_kind_of_its_own_in_a_frame_too():
    features = replace(model().features, kinds={"channel": ("app", "unknown", "web")})
    same = replace(model(), features=features)
    frame = pd.DataFrame({"recency": [0.1] * 3, "orders": [1] * 3, "channel": ["app", None, "unknown"]})
    found = Scorer(same, "").predict(frame)
    assert found.loc[1].equals(found.loc[2])


def test_a_model_read_scores_to_the_last_bit_as_the_one_written_and_holds_no_rows_of_persons(tmp_path: Path):
    file, sha256 = write(model(), tmp_path)
    found = read(file)
    assert found.sha256 == sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    before, after = model().score(units()), found.model.score(units())
    for name in ("raw", "effect", "low", "high", "expected", "propensity", "chosen"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    assert len(model().choice.nuisances.expected) > 0
    assert len(found.model.choice.nuisances.expected) == len(found.model.choice.nuisances.propensity) == 0


def test_a_model_fitted_and_the_same_one_read_from_a_file_are_written_alike(tmp_path: Path):
    fitted, content = model(), write(model(), tmp_path)
    assert write(read(content[0]).model, tmp_path) == content
    assert write(pickle.loads(pickle.dumps(fitted)), tmp_path) == content
    assert write(replace(fitted, level=0.9), tmp_path)[1] != content[1]


def test_a_file_changed_by_one_bit_cut_short_or_lost_is_refused(tmp_path: Path):
    file, sha256 = write(model(), tmp_path)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    for changed in (bytes(content), file.read_bytes()[:-1], b""):
        with pytest.raises(CorruptModelError, match="was changed after it was written"):
            read(stored(tmp_path, changed, sha256))
    file.unlink()
    with pytest.raises(CorruptModelError, match="cannot be read"):
        read(file)


def test_nothing_of_a_changed_file_is_unpickled(tmp_path: Path):
    mark = tmp_path / "mark"
    trap = pickle.dumps(Trap(mark))
    with pytest.raises(CorruptModelError):
        read(stored(tmp_path, trap, "0" * 64))
    assert not mark.exists()
    read(stored(tmp_path, trap))
    assert mark.exists()  # the trap works


def test_a_file_of_another_version_of_the_code_is_refused(tmp_path: Path):
    content = pickle.dumps(model(), protocol=0).replace(b"UpliftModel", b"UpliftMaker")
    with pytest.raises(CorruptModelError, match="another version of the code"):
        read(stored(tmp_path, content))


STYLE = """
import sys, matplotlib
from pathlib import Path
from causal_assets.targeting.scoring import read
before = dict(matplotlib.rcParams)
read(Path(sys.argv[1]))
assert "causalml" in sys.modules
changed = [key for key in before if matplotlib.rcParams[key] != before[key]]
assert not changed, changed
"""


def test_reading_a_model_of_a_library_that_restyles_plots_leaves_them_alone(tmp_path):
    file, _ = write(model(), tmp_path)
    run = subprocess.run([sys.executable, "-c", STYLE, str(file)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
