"""From columns as they are stored to the numbers that a model reads, the same at fitting and at scoring."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from causal_assets.estimators.inference import Floats

# What an attribute without a value counts as: a kind of its own.
UNKNOWN = "unknown"
# A text of more values than this is a name, not a kind.
MOST_KINDS = 50


@dataclass(frozen=True)
class Features:
    """Numeric columns by name, and the kinds of each text column; a kind becomes a column of 0 and 1."""

    numbers: tuple[str, ...]
    kinds: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, columns: Mapping[str, Any], numbers: Sequence[str], texts: Sequence[str]) -> "Features":
        """Learn the kinds of the text columns from the rows at hand.

        Raises:
            ValueError: no feature at all, a text of more than ``MOST_KINDS`` kinds, a feature that is the same in
                all rows, or what ``matrix`` refuses.
        """
        if not (numbers or texts):
            raise ValueError("covariates, attributes: a model of who responds needs at least one")
        _require((*numbers, *texts), columns)
        kinds = {name: tuple(np.unique(text(name, columns[name])).tolist()) for name in texts}
        if many := {name: len(found) for name, found in kinds.items() if len(found) > MOST_KINDS}:
            raise ValueError(f"attributes: {many} kinds; allowed are {MOST_KINDS}, group them or name a number")
        values = {name: _number(name, columns[name]) for name in numbers}
        constant = [name for name, column in values.items() if column.min() == column.max()]
        constant += [name for name, found in kinds.items() if len(found) == 1]
        if constant:
            raise ValueError(f"covariates, attributes: {constant} are the same in all rows and tell nobody apart")
        return cls(tuple(numbers), kinds)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that a row to be scored must have."""
        return (*self.numbers, *self.kinds)

    @property
    def names(self) -> tuple[str, ...]:
        """The matrix's columns: numbers as they are, then ``column=kind`` for each kind but a text's first."""
        return (*self.numbers, *(f"{name}={kind}" for name, kinds in self.kinds.items() for kind in kinds[1:]))

    def matrix(self, columns: Mapping[str, Any]) -> Floats:
        """Rows (n, p) as numbers; other columns are not looked at.

        Raises:
            ValueError: a missing column, a number that is none, empty, NaN or infinite, a text that is none, or a kind
                not seen at fitting; names the column, what was given and what is allowed.
        """
        _require(self.columns, columns)
        found = [_number(name, columns[name]) for name in self.numbers]
        for name, kinds in self.kinds.items():
            given = text(name, columns[name])
            if unseen := sorted(set(np.unique(given).tolist()) - set(kinds)):
                raise ValueError(
                    f"features: {name}: {unseen[:5]} not seen when the model was made; known {list(kinds)}"
                )
            found += [(given == kind).astype(np.float64) for kind in kinds[1:]]
        return np.stack(found, axis=1)


def _require(needed: Sequence[str], columns: Mapping[str, Any]) -> None:
    if missing := [name for name in needed if name not in columns]:
        raise ValueError(f"features: {missing} are missing; needed are {list(needed)}")


def _number(name: str, given: Any) -> Floats:
    values = np.ma.asarray(given)
    # Text that looks like a number would be read as one, and a date as its nanoseconds.
    wrong = [value for value in values.compressed() if isinstance(value, str)] if values.dtype.kind == "O" else []
    if wrong or values.dtype.kind not in "biufO":
        raise ValueError(f"features: {name} holds what is no number, such as {(wrong or values.data.tolist())[:1]}")
    try:
        column = np.ma.filled(values.astype(np.float64), np.nan)
    except (TypeError, ValueError) as error:
        raise ValueError(f"features: {name} holds what is no number: {error}") from None
    if not np.isfinite(column).all():
        raise ValueError(f"features: {name}: {int((~np.isfinite(column)).sum())} values are empty, NaN or infinite")
    return column


def text(name: str, given: Any) -> NDArray[np.str_]:
    """A column (n,) of texts; what is masked, None or pandas' NaN is ``UNKNOWN``.

    Raises:
        ValueError: something else that is no text.
    """
    masked = np.ma.asarray(given)
    values, empty = np.ma.getdata(masked), np.ma.getmaskarray(masked)
    if values.dtype.kind == "O":
        missing = [value is None or (isinstance(value, float) and isnan(value)) for value in values]
        empty = empty | np.array(missing, dtype=bool)
        if wrong := [value for value in values[~empty] if not isinstance(value, str)]:
            raise ValueError(f"features: {name} holds what is no text, such as {wrong[:1]}")
        values = values.astype(str)
    elif values.dtype.kind != "U":
        raise ValueError(f"features: {name} holds what is no text, such as {values[:1].tolist()}")
    # Not ``filled``, which cuts the word to the longest of the other values.
    return np.where(empty, UNKNOWN, values)
