"""Runs every coverage cell and writes the dated table: ``make coverage`` (or some families: ``... randomized rdd``)."""

import pkgutil
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from math import sqrt
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

import benchmarks.coverage as coverage
from benchmarks.coverage import LARGEST_BIAS, MOST_REFUSED, REJECTED, SE_RATIO, Cell

TABLE = Path(__file__).parents[2] / "docs" / "coverage.md"
SEED = 20_261_122
WORKERS = 2


@dataclass(frozen=True)
class Result:
    """What one cell showed."""

    family: str
    name: str
    band: tuple[float, float]
    coverage: float
    kept: int
    refused: float
    bias: float
    se_ratio: float | None
    seconds: float
    faults: tuple[str, ...]

    def row(self) -> str:
        """The cell as a line of the table."""
        low, high = self.band
        error = sqrt(self.coverage * (1 - self.coverage) / max(self.kept, 1))
        ratio = "" if self.se_ratio is None else f"{self.se_ratio:.3f}"
        return (
            f"| {self.family} | {self.name} | {self.kept} | {100 * self.coverage:.1f} ({100 * error:.1f}) "
            f"| {100 * low:.0f}-{100 * high:.0f} | {self.bias:+.3f} | {ratio} | {100 * self.refused:.1f} "
            f"| {'; '.join(self.faults) or 'passes'} | {datetime.now(UTC):%Y-%m-%d} |"
        )


def families() -> list[str]:
    """Modules of this package that hold cells."""
    return sorted(m.name for m in pkgutil.iter_modules(coverage.__path__) if not m.name.startswith("_"))


def cells(family: str) -> list[Cell]:
    """The cells of one family."""
    return import_module(f"benchmarks.coverage.{family}").cells()


def judged(family: str, index: int) -> Result:
    """Simulate one cell and hold it to its bars."""
    cell = cells(family)[index]
    began = time.perf_counter()
    # The seed depends on the cell's name, not on its place, so that a new cell leaves the others as they were.
    seed = np.random.SeedSequence([SEED, *f"{cell.family}/{cell.name}".encode()])
    draws = cell.simulate(np.random.default_rng(seed), cell.sets)
    inside = (draws.low <= draws.truth) & (draws.truth <= draws.high) if draws.covered is None else draws.covered
    kept, hits = inside.size, int(inside.sum())
    error = draws.value - draws.truth
    spread = float(error.std())
    bias = float(error.mean() / spread)
    ratio = None if draws.std_error is None else float(draws.std_error.mean() / spread)
    refused = draws.refused / (draws.refused + kept)
    low, high = cell.band
    faults = []
    if binomtest(hits, kept, low, alternative="less").pvalue < REJECTED:
        faults.append("covers too little")
    if high < 1 and binomtest(hits, kept, high, alternative="greater").pvalue < REJECTED:
        faults.append("covers too much")
    # An unbiased mean of this many errors strays by its own Monte-Carlo error: three of them are allowed on top.
    if cell.unbiased and abs(bias) > LARGEST_BIAS + 3 / sqrt(kept):
        faults.append("biased")
    if cell.honest and ratio is not None and not SE_RATIO[0] <= ratio <= SE_RATIO[1]:
        faults.append("dishonest error")
    if refused > MOST_REFUSED:
        faults.append("refuses healthy data")
    seconds = time.perf_counter() - began
    return Result(cell.family, cell.name, cell.band, hits / kept, kept, refused, bias, ratio, seconds, tuple(faults))


def page(rows: Sequence[str]) -> str:
    """The whole of ``docs/coverage.md``."""
    head = [
        "# Coverage",
        "",
        f"Written by `make coverage`, seed {SEED}. Intervals at 95%. In brackets the Monte-Carlo error. A cell passes "
        "unless a binomial test rejects its band at 0.1%, its bias exceeds 0.1 empirical standard deviations (by more "
        "than three Monte-Carlo errors), its mean reported error is outside 0.93-1.07 empirical standard deviations, "
        "or more than 5% of healthy data sets are refused; coverage counts what was not refused. An empty cell is a "
        "bar that does not apply to the method.",
        "",
        "| family | cell | data sets | coverage % | promised | bias / SD | error / SD | refused % | verdict | run on |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *rows, ""])


def others(families_run: set[str]) -> list[str]:
    """Rows of the table as it is that belong to no family just run."""
    if not TABLE.exists():
        return []
    rows = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]
    return [row for row in rows if row.split(" | ")[0].removeprefix("| ") not in families_run]


def main() -> None:
    """Run the families named, or all, one after another; the table holds each as soon as it is done."""
    faulty: list[str] = []
    with ProcessPoolExecutor(WORKERS) as pool:
        for family in sys.argv[1:] or families():
            indices = range(len(cells(family)))
            results = []
            for result in pool.map(judged, [family] * len(indices), indices):
                print(f"{result.row()} {result.seconds:.0f} s", flush=True)
                results.append(result)
            rows = [*others({result.family for result in results}), *(result.row() for result in results)]
            TABLE.write_text(page(sorted(rows, key=lambda row: row.split(" | ")[0])), encoding="utf-8")
            faulty += [f"{one.family}/{one.name}" for one in results if one.faults]
    if faulty:
        sys.exit(f"{len(faulty)} cells fail: {', '.join(faulty)}")


if __name__ == "__main__":
    main()
