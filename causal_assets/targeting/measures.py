"""What a score of a model is: a number with its interval, or a curve over the units ranked with its band."""

from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import ArrayLike

from causal_assets.estimators.inference import Floats

# Below this many units (of each arm) a ranking cannot be judged: its top tenth holds twenty.
FEWEST_UNITS = 200


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number that judges a model, with a two-sided interval and the one-sided test that it is above 0.

    Interval and ``p_value`` invert one test: ``low > 0`` exactly when ``p_value < (1 - level) / 2``.
    """

    name: str
    definition: str
    value: float
    std_error: float
    low: float
    high: float
    p_value: float
    level: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """A curve over the ``share`` (K,) of units ranked, best first; ``low`` and ``high`` (K,) hold all of it at once."""

    definition: str
    share: Floats
    value: Floats
    std_error: Floats
    low: Floats
    high: Floats
    level: float


def measured(name: str, definition: str, value: float, std_error: float, *, level: float, df: float = inf) -> Measure:
    """The Measure by one t test, normal by default. Without error it must be 0, as a ranking without order is.

    Raises:
        ValueError: a level outside (0, 1), a number that is not finite, or a value other than 0 without error.
    """
    from scipy.special import stdtr, stdtrit

    required_level(level)
    value, std_error = float(value), float(std_error)
    if not np.isfinite(value) or not 0 <= std_error < inf or (std_error == 0 and value != 0):
        raise ValueError(f"{name}: expected a finite value and a positive error, got {value} and {std_error}")
    half = float(stdtrit(df, (1 + level) / 2)) * std_error
    return Measure(
        name=name,
        definition=definition,
        value=value,
        std_error=std_error,
        low=value - half,
        high=value + half,
        p_value=float(stdtr(df, -value / std_error)) if std_error > 0 else 1.0,
        level=level,
    )


def banded(definition: str, share: Floats, value: Floats, draws: Floats, *, level: float) -> Curve:
    """The Curve of ``value`` (K,) with the uniform band of its bootstrap ``draws`` (draws, K).

    The band is value +- c standard errors, c the quantile of the draws' largest |t| over the curve.

    Source: Montiel Olea & Plagborg-Moller (2019), Simultaneous confidence bands, J. Appl. Econometrics 34(1).
    """
    moved = draws - draws.mean(axis=0)
    std_error = draws.std(axis=0, ddof=1)
    random = std_error > 0
    largest = np.abs(moved[:, random] / std_error[random]).max(axis=1, initial=0.0)
    half = float(np.quantile(largest, level)) * std_error
    return Curve(
        definition=definition,
        share=share,
        value=value,
        std_error=std_error,
        low=value - half,
        high=value + half,
        level=level,
    )


def required_level(level: float) -> None:
    """Refuse a level that is none.

    Raises:
        ValueError: a level outside (0, 1).
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level: must lie strictly between 0 and 1, got {level}")


def vectors(**given: ArrayLike) -> list[Floats]:
    """The arrays named, each (n,), as floats.

    Raises:
        ValueError: another shape, lengths that differ, a NaN or infinite entry.
    """
    found = {name: np.asarray(values, dtype=np.float64) for name, values in given.items()}
    shapes = {name: values.shape for name, values in found.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 for shape in shapes.values()):
        raise ValueError(f"{', '.join(found)}: expected vectors of one length, got shapes {list(shapes.values())}")
    for name, values in found.items():
        if wrong := int((~np.isfinite(values)).sum()):
            raise ValueError(f"{name}: {wrong} entries are NaN or infinite")
    return list(found.values())
