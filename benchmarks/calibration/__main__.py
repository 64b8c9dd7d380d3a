"""Runs every case, healthy and broken, and writes the dated tables: ``make calibrate`` (or some families by name)."""

import pkgutil
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from math import sqrt
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

import benchmarks.calibration as calibration
from benchmarks.calibration import FAULTY_SETS, Case, Fault, Found, found
from causal_assets.types import Status

TABLE = Path(__file__).parents[2] / "docs" / "calibration.md"
HEALTHY, EACH, BROKEN = "Healthy studies", "Each check in healthy studies", "Broken studies"
SEED = 20_261_128
WORKERS = 2
# A bar is missed only where chance explains it in fewer than one of a thousand.
REJECTED = 0.001
# Of healthy studies at most these shares fail in any check, or have any check to look at; and in any one check.
STUDY_FAIL, STUDY_REVIEW = 0.05, 0.20
CHECK_FAIL, CHECK_REVIEW = 0.01, 0.05
# A fault is seen in this share of studies where it biases the estimate by ``seen_at`` standard errors.
DETECTED = 0.8


@dataclass(frozen=True)
class Healthy:
    """Shares of healthy studies with a FAIL, and with a REVIEW or FAIL, in any check and in each."""

    case: str
    sets: int
    fail: float
    review: float
    by_check: Mapping[str, tuple[float, float]]
    faults: tuple[str, ...]

    def rows(self) -> dict[str, list[str]]:
        """By table, the study's line and a line for each check."""
        said = "; ".join(self.faults) or "passes"
        shares = f"{_share(self.fail, self.sets)} | {_share(self.review, self.sets)}"
        whole = f"| {self.case} | {self.sets} | {shares} | {said} | {datetime.now(UTC):%Y-%m-%d} |"
        each = [
            f"| {self.case} | {name} | {_share(fail, self.sets)} | {_share(review, self.sets)} |"
            for name, (fail, review) in sorted(self.by_check.items())
        ]
        return {HEALTHY: [whole], EACH: each}


@dataclass(frozen=True)
class Broken:
    """What studies with one fault found at each strength: bias in standard errors, shares flagged and failed."""

    case: str
    fault: Fault
    bias: tuple[float, ...]
    flagged: tuple[float, ...]
    failed: tuple[float, ...]
    grades: str  # all that were given at the largest strength
    others: str  # the other check that fires most often at the largest strength
    faults: tuple[str, ...]

    def rows(self) -> dict[str, list[str]]:
        """The fault's line."""
        curve = " | ".join(
            f"{bias:.1f}: {100 * flagged:.0f} ({100 * failed:.0f})"
            for bias, flagged, failed in zip(self.bias, self.flagged, self.failed, strict=True)
        )
        curve += " |" * (len(calibration.STRENGTHS) - len(self.bias))
        said = "; ".join(self.faults) or ("passes" if self.fault.seen_by else "not to be seen")
        name = f"{self.fault.name}{'*' * (self.fault.seen_at > 2)}"
        line = (
            f"| {self.case} | {name} | {', '.join(self.fault.seen_by) or 'nothing can'} | {curve} "
            f"| {self.grades} | {self.others} | {said} | {datetime.now(UTC):%Y-%m-%d} |"
        )
        return {BROKEN: [line]}


def families() -> list[str]:
    """Modules of this package that hold cases."""
    return sorted(m.name for m in pkgutil.iter_modules(calibration.__path__) if not m.name.startswith("_"))


def cases(family: str) -> list[Case]:
    """The cases of one family."""
    return import_module(f"benchmarks.calibration.{family}").cases()


def _rng(*names: str) -> np.random.Generator:
    # The seed depends on the names, not on the place, so that a new cell leaves the others as they were.
    return np.random.default_rng(np.random.SeedSequence([SEED, *"/".join(names).encode()]))


def _share(share: float, sets: int) -> str:
    return f"{100 * share:.1f} ({100 * sqrt(share * (1 - share) / sets):.1f})"


def _exceeds(hits: int, sets: int, bar: float) -> bool:
    return bool(binomtest(hits, sets, bar, alternative="greater").pvalue < REJECTED)


def _shares(studies: Sequence[Found], names: Sequence[str], *statuses: Status) -> float:
    return float(np.mean([any(study.status.get(name) in statuses for name in names) for study in studies]))


def healthy(family: str, index: int) -> Healthy:
    """Run a case's healthy studies and hold them to the bars of a whole study and of each check."""
    case = cases(family)[index]
    rng = _rng(case.name)
    studies = found(case, {}, case.sets, partial(case.draw, rng))
    names = sorted({name for study in studies for name in study.status})
    by_check = {
        name: (_shares(studies, [name], Status.FAIL), _shares(studies, [name], Status.FAIL, Status.REVIEW))
        for name in names
    }
    fail, review = _shares(studies, names, Status.FAIL), _shares(studies, names, Status.FAIL, Status.REVIEW)
    n = len(studies)
    bars = [("a study", fail, review, STUDY_FAIL, STUDY_REVIEW)]
    bars += [(name, *rates, CHECK_FAIL, CHECK_REVIEW) for name, rates in by_check.items()]
    faults = []
    for what, failed, reviewed, most_failed, most_reviewed in bars:
        if _exceeds(round(failed * n), n, most_failed):
            faults.append(f"{what} fails too often")
        if _exceeds(round(reviewed * n), n, most_reviewed):
            faults.append(f"{what} asks for review too often")
    return Healthy(case.name, n, fail, review, by_check, tuple(faults))


def broken(family: str, index: int, which: int) -> Broken:
    """Run a case with one of its faults at every strength; the checks named must see it at two standard errors."""
    case = cases(family)[index]
    fault = case.faults[which]
    bias, flagged, failed, faults = [], [], [], []
    studies: list[Found] = []
    for strength in fault.strengths:
        rng = _rng(case.name, fault.name, str(strength))
        size = {fault.argument: strength * fault.per_error}
        studies = found(case, fault.fields, FAULTY_SETS, partial(case.draw, rng, **size))
        known = {name for study in studies for name in study.status} | set(case.design.checks)
        if unknown := set(fault.seen_by) - known:
            raise ValueError(f"{case.name}, {fault.name}: {case.design.__name__} has no check {sorted(unknown)}")
        errors = [(study.primary.value - case.truth) / study.primary.spread for study in studies]
        bias.append(abs(float(np.mean([error for error in errors if np.isfinite(error)]))))
        flagged.append(_shares(studies, fault.seen_by, Status.FAIL, Status.REVIEW))
        failed.append(_shares(studies, fault.seen_by, Status.FAIL))
        at = strength == fault.seen_at or not fault.biases
        if at and fault.seen_by and _exceeds(round((1 - flagged[-1]) * len(studies)), len(studies), 1 - DETECTED):
            faults.append("not seen")
        if at and fault.biases and not 0.7 * strength < bias[-1] < 1.4 * strength:
            faults.append(f"per_error is off: {bias[-1]:.2f} errors instead of {strength:g}")
    fired = Counter(n for s in studies for n, status in s.status.items() if status is not Status.PASS)
    others = [(n, k) for n, k in fired.most_common() if n not in fault.seen_by]
    return Broken(
        case.name, fault, tuple(bias), tuple(flagged), tuple(failed),
        grades="".join(sorted({study.grade for study in studies})),
        others=f"{others[0][0]} {100 * others[0][1] / len(studies):.0f}" if others else "",
        faults=tuple(faults),
    )  # fmt: skip


def page(rows: Mapping[str, Sequence[str]]) -> str:
    """The whole of ``docs/calibration.md``, from the rows of its three tables."""
    strengths = [f"bias {strength:g}" for strength in calibration.STRENGTHS]
    return "\n".join([
        "# Calibration of the checks",
        "",
        f"Written by `make calibrate`, seed {SEED}. Every row is of whole studies, run from a table to their evidence. "
        "Numbers are percent; in brackets, in the first two tables, the Monte-Carlo error.",
        "",
        f"## {HEALTHY}",
        "",
        f"At most {100 * STUDY_FAIL:g}% of healthy studies may have a FAIL and {100 * STUDY_REVIEW:g}% anything but "
        f"PASS; for any one check it is {100 * CHECK_FAIL:g}% and {100 * CHECK_REVIEW:g}%. A bar is missed where a "
        "binomial test rejects it at 0.1%.",
        "",
        "| case | studies | any FAIL | any REVIEW or FAIL | verdict | run on |",
        "|---|---|---|---|---|---|",
        *rows[HEALTHY],
        "",
        f"## {EACH}",
        "",
        "| case | check | FAIL | REVIEW or FAIL |",
        "|---|---|---|---|",
        *rows[EACH],
        "",
        f"## {BROKEN}",
        "",
        f"Each fault at sizes that bias the estimate by half, one, two and four of its standard errors, {FAULTY_SETS} "
        "studies each. A cell holds the bias measured, then the share of studies in which one of the named checks is "
        f"REVIEW or FAIL, in brackets FAIL. At two errors it must be {100 * DETECTED:g}% or more (by a binomial test "
        "at 0.1%); at four (*) where estimate and check hang on the same few noisy periods, so that no test that "
        "seldom alarms can see two. Faults that are no bias have one size. Grades, and the other check that fires "
        "most, are those at the largest size.",
        "",
        f"| case | fault | seen by | {' | '.join(strengths)} | grades | also fires | verdict | run on |",
        "|---|---|---|" + "---|" * len(strengths) + "---|---|---|---|",
        *rows[BROKEN],
        "",
    ])  # fmt: skip


def written() -> dict[str, list[str]]:
    """The rows of each table as it is."""
    rows: dict[str, list[str]] = {HEALTHY: [], EACH: [], BROKEN: []}
    if TABLE.exists():
        for section in TABLE.read_text(encoding="utf-8").split("\n## ")[1:]:
            title, *lines = section.splitlines()
            rows[title] = [line for line in lines if line.startswith("| ") and not line.startswith("| case |")]
    return rows


def main() -> None:
    """Run the families named, or all, one after another; the tables hold each as soon as it is done."""
    missed: list[str] = []
    with ProcessPoolExecutor(WORKERS) as pool:
        for family in sys.argv[1:] or families():
            began = time.perf_counter()
            every = list(enumerate(cases(family)))
            well = [pool.submit(healthy, family, index) for index, _ in every]
            ill = [pool.submit(broken, family, i, which) for i, case in every for which in range(len(case.faults))]
            found: list[Healthy | Broken] = [one.result() for one in (*well, *ill)]
            new: dict[str, list[str]] = {HEALTHY: [], EACH: [], BROKEN: []}
            for one in found:
                for title, lines in one.rows().items():
                    new[title] += lines
            names = {case.name for _, case in every}
            for title, lines in written().items():
                new[title] += [line for line in lines if line.split(" | ")[0].removeprefix("| ") not in names]
                new[title].sort(key=lambda line: line.split(" | ")[0])
            TABLE.write_text(page(new), encoding="utf-8")
            print(f"{family}: {time.perf_counter() - began:.0f} s", flush=True)
            missed += [f"{one.case}: {'; '.join(one.faults)}" for one in found if one.faults]
    if missed:
        sys.exit("\n".join([f"{len(missed)} rows miss a bar:", *missed]))


if __name__ == "__main__":
    main()
