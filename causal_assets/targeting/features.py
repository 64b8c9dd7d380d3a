"""From columns as they are stored to the numbers that a model reads, the same at fitting and at scoring."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
            ValueError: no feature at all, a text of more than ``MOST_KINDS`` kinds, or a feature that is the same in
                all rows.
        """
        if not (numbers or texts):
            raise ValueError("covariates, attributes: a model of who responds needs at least one")
        kinds = {name: tuple(np.unique(_text(columns[name])).tolist()) for name in texts}
        if many := {name: len(found) for name, found in kinds.items() if len(found) > MOST_KINDS}:
            raise ValueError(f"attributes: {many} kinds; allowed are {MOST_KINDS}, group them or name a number")
        found = cls(tuple(numbers), kinds)
        x = found.matrix(columns)
        constant = [name for name, column in zip(found.names, x.T, strict=True) if column.min() == column.max()]
        if constant:
            raise ValueError(f"covariates, attributes: {constant} are the same in all rows and tell nobody apart")
        return found

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
            ValueError: a missing column, a number that is none, NaN or infinite, or a kind not seen at fitting; names
                the column, what was given and what is allowed.
        """
        if missing := [name for name in self.columns if name not in columns]:
            raise ValueError(f"features: {missing} are missing; needed are {list(self.columns)}")
        found = [_number(name, columns[name]) for name in self.numbers]
        for name, kinds in self.kinds.items():
            given = _text(columns[name])
            if unseen := sorted(set(np.unique(given).tolist()) - set(kinds)):
                raise ValueError(
                    f"features: {name}: {unseen[:5]} not seen when the model was made; known {list(kinds)}"
                )
            found += [(given == kind).astype(np.float64) for kind in kinds[1:]]
        return np.stack(found, axis=1)


def _number(name: str, given: Any) -> Floats:
    try:
        column = np.asarray(np.ma.filled(given, np.nan), dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"features: {name} holds what is no number, such as {np.asarray(given).flat[0]!r}") from None
    if not np.isfinite(column).all():
        raise ValueError(f"features: {name}: {int((~np.isfinite(column)).sum())} values are empty, NaN or infinite")
    return column


def _text(given: Any) -> NDArray[Any]:
    # As objects: filled as fixed-width text, the word would be cut to the longest of the other values.
    values = np.ma.asarray(given).astype(object)
    empty = np.ma.getmaskarray(values) | np.array([value is None for value in values.data], dtype=bool)
    return np.where(empty, UNKNOWN, values.data).astype(str)
