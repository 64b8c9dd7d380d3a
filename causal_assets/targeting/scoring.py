"""A frozen model as MLflow's ``python_function``: a frame of features in, one row of answers per unit out."""

import hashlib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causal_assets.targeting.features import UNKNOWN, Features, text
from causal_assets.targeting.model import Scored, UpliftModel
from causal_assets.targeting.segments import SEGMENTS, segments

if TYPE_CHECKING:
    from pandas import DataFrame

# What the answers call the arm without treatment.
CONTROL = "control"
SUFFIX = ".pickle"


class CorruptModelError(Exception):
    """A stored model is not, or no longer, the one that was stored."""


@dataclass(frozen=True, eq=False)
class Scorer:
    """A model that scores frames, and the SHA-256 of the bytes it was read from."""

    model: UpliftModel
    sha256: str

    def predict(self, frame: "DataFrame") -> "DataFrame":
        """One row per row of ``frame``, in its order and with its index; see ``answers`` for the columns.

        Raises:
            ValueError: see ``Features.matrix``.
        """
        from pandas import DataFrame

        scored = self.model.score(columns_of(self.model.features, frame))
        return DataFrame(answers(self.model, scored), index=frame.index)

    def get_raw_model(self) -> "Scorer":
        """Itself: MLflow hides what it has loaded behind this name."""
        return self


def answers(model: UpliftModel, scored: Scored) -> dict[str, NDArray[Any]]:
    """Columns (n,) by name: for each treatment ``uplift_``, ``low_`` and ``high_``, for each arm ``expected_``, and
    ``segment`` and ``treatment``.

    Effects and expected outcomes are in units of outcome; an interval is that of the mean effect of units with the same
    prediction, at ``model.level``. The potential outcomes are predicted by arm, before calibration: their difference is
    not the uplift. ``treatment`` is what the model's rule gives, or ``control``.
    """
    names = model.treatments.names
    arms = np.array([CONTROL, *names])
    ends = {"uplift": scored.effect, "low": scored.low, "high": scored.high}
    return {
        **{f"{end}_{name}": found[:, k] for k, name in enumerate(names) for end, found in ends.items()},
        **{f"expected_{arm}": scored.expected[:, k] for k, arm in enumerate(arms)},
        "segment": segment(scored, model.cut),
        "treatment": arms[scored.chosen],
    }


def segment(scored: Scored, cut: float) -> NDArray[np.str_]:
    """The segment's name (n,) of each unit, by the interval of its best treatment's effect; see ``segments``."""
    rows, best = np.arange(len(scored.effect)), scored.effect.argmax(axis=1)
    place = segments(scored.low[rows, best], scored.high[rows, best], scored.expected[:, 0], cut=cut)
    return np.array([name.value for name in SEGMENTS])[place]


def frame_of(features: Features, columns: Mapping[str, Any]) -> "DataFrame":
    """The features' columns as a frame, such as ``Scorer.predict`` reads; whole numbers stay whole.

    Raises:
        ValueError: see ``Features.matrix``.
    """
    from pandas import DataFrame

    features.matrix(columns)  # says by name what is wrong with them
    numbers = {name: np.ma.getdata(columns[name]) for name in features.numbers}
    return DataFrame(numbers | {name: text(name, columns[name]) for name in features.kinds})


def columns_of(features: Features, frame: "DataFrame") -> dict[str, Any]:
    """The frame's columns as ``Features.matrix`` takes them: what pandas holds for a missing text is a kind."""
    found = {name: frame[name] for name in features.numbers if name in frame}
    return found | {name: frame[name].fillna(UNKNOWN).to_numpy(str) for name in features.kinds if name in frame}


def write(model: UpliftModel, folder: Path) -> tuple[Path, str]:
    """Write a model into ``folder``; returns the file, named by the SHA-256 of its bytes, and that.

    Left out are the nuisances of the rows it was learned from: scoring needs none of them, and they are of persons.
    """
    rows = model.choice.nuisances
    nuisances = replace(rows, expected=rows.expected[:0], propensity=rows.propensity[:0])
    bare = replace(model, choice=replace(model.choice, nuisances=nuisances))
    # Twice, so that the bytes are the same whether the model comes from a fit or from a file: reading merges strings.
    content = pickle.dumps(pickle.loads(pickle.dumps(bare, protocol=5)), protocol=5)
    sha256 = hashlib.sha256(content).hexdigest()
    (file := folder / f"{sha256}{SUFFIX}").write_bytes(content)
    return file, sha256


def read(file: Path) -> Scorer:
    """The model in a file that ``write`` made; nothing of it is unpickled before its bytes are known to be those.

    Raises:
        CorruptModelError: the file is missing, is not what was written, or another version of the code wrote it.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CorruptModelError(f"{file}: cannot be read ({error.strerror})") from error
    from matplotlib import rc_context

    sha256 = hashlib.sha256(content).hexdigest()
    if file.name != f"{sha256}{SUFFIX}":
        raise CorruptModelError(f"{file}: was changed after it was written, its SHA-256 is now {sha256}")
    try:
        with rc_context():  # causalml, where the model is one of its, restyles every plot as it is loaded
            model = pickle.loads(content)
    except (AttributeError, ImportError, TypeError) as error:
        raise CorruptModelError(f"{file}: was written by another version of the code ({error})") from error
    return Scorer(model, sha256)


def _load_pyfunc(path: str) -> Scorer:
    """What MLflow calls to load the model."""
    return read(Path(path))
