"""Synthetic control with placebo inference on 200 geos x 120 days: fits per second against pysyncon.

    python -m benchmarks.synthetic_control [--rounds 5] [--peer-fits 20]

Both fit geos in turn as if treated, all others as donors, outcomes of 100 days matched with equal importance; ours all
at once, the peer one by one, each in a process of its own, interleaved. Printed, and written to
``docs/benchmarks/synthetic_control.md``: ratios of fits per second (minimum, median, maximum), peak memory, and how far
each is from the optimum, which is proven by its first-order conditions. The peer stops by default where its objective
moves by less than 1e-6; it also runs with the tightest stop that it heeds. Growth is our time with ten times the fits
and ten times the days.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

GEOS, DAYS, PRE = 200, 120, 100
FITS = 1_000
SEED = 20_261_122
TIGHT = 1e-12
OUT = Path(__file__).parents[1] / "docs" / "benchmarks" / "synthetic_control.md"
Floats = NDArray[np.float64]


def world(days: int = DAYS) -> Floats:
    """Outcomes (geos, days): four shared random walks, loadings of a skewed distribution, noise."""
    rng = np.random.default_rng(SEED)
    walks = rng.normal(size=(4, days)).cumsum(axis=1)
    return 100 + rng.gamma(2.0, size=(GEOS, 4)) @ walks + rng.normal(size=(GEOS, days))


def ours(fits: int, days: int = DAYS) -> list[list[float]]:
    """Weights of the first fits; each geo is fitted ``fits / GEOS`` times, as a placebo study would."""
    from causal_assets.estimators.synthetic_control import Method, centred, donor_weights

    y = world(days)
    z = centred(y, np.ones(GEOS, dtype=bool), days, demeaned=False)[:, : days - DAYS + PRE]
    targets = np.resize(np.arange(GEOS), fits)
    weights = donor_weights(z, z[targets], Method(), allowed=np.arange(GEOS) != targets[:, None])
    return weights[:20].tolist()


def pysyncon(fits: int, stop: float | None = None) -> list[list[float]]:
    """The peer's weights of the first geos, importance given: its outer search would only slow it."""
    import pandas as pd
    from pysyncon import Synth

    before = pd.DataFrame(world()[:, :PRE].T, columns=range(GEOS))
    # it divides each row by its standard deviation; importance undoes that, to match the same distances, in the scale
    # on which its optimiser comes closest to the optimum
    importance = (before.var(axis=1) / before.var(axis=1).mean()).to_numpy()
    found = []
    for geo in range(fits):
        donors = before.drop(columns=geo)
        model = Synth()
        if stop is not None:  # fit() passes no options on to its optimiser
            options = {"maxiter": 1000, "ftol": stop}
            model.w_optimize = partial(model.w_optimize, qp_options=options)  # ty: ignore[invalid-assignment]
        model.fit(X0=donors, X1=before[geo], Z0=donors, Z1=before[geo], custom_V=importance)
        found.append(np.insert(np.asarray(model.W, dtype=float), geo, 0.0).tolist())
    return found


WAYS = {"ours": ours, "pysyncon": pysyncon, f"pysyncon, stop at {TIGHT:g}": partial(pysyncon, stop=TIGHT)}


def optimum(series: Floats, own: int, held: NDArray[np.bool_]) -> Floats:
    """Weights (n,) on the simplex that match the series (n, t) of unit ``own`` best, given their support.

    Raises:
        ArithmeticError: the first-order conditions, which are sufficient, fail: the support is not the optimum's.
    """
    gaps = series - series[own]
    first, *others = gaps[held]
    free = np.linalg.lstsq((np.array(others) - first).T, -first, rcond=None)[0]
    weights = np.zeros(len(gaps))
    weights[held] = [1 - free.sum(), *free]
    slope = np.delete(gaps, own, axis=0) @ (weights @ gaps)
    if weights.min() < 0 or slope.min() < np.square(weights @ gaps).sum() * (1 - 1e-9):
        raise ArithmeticError(f"not the optimum: least weight {weights.min():.3g}, least slope {slope.min():.9g}")
    return weights


def distances(found: list[list[float]], proven: list[Floats]) -> tuple[float, float]:
    """Largest difference of a weight from the optimum's, and largest excess of the squared gap over the least one."""
    before = world()[:, :PRE]
    gaps = [before - target for target in before]
    loss = [[np.square(w @ g).sum() for w, g in zip(way, gaps, strict=False)] for way in (found, proven)]
    off = max(np.abs(np.asarray(w) - best).max() for w, best in zip(found, proven, strict=False))
    return float(off), max(mine / least - 1 for mine, least in zip(*loss, strict=False))


def timed(way: str, fits: int, days: int) -> dict:
    """One run in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.synthetic_control",
        "--way",
        way,
        "--fits",
        str(fits),
        "--days",
        str(days),
    ]
    return json.loads(subprocess.check_output(command, text=True))


def report(rounds: int, peer_fits: int) -> list[str]:
    """Interleaved runs as a Markdown table."""
    runs: dict[str, list[dict]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, ran in runs.items():
            ran.append(timed(way, FITS if way == "ours" else peer_fits, DAYS))
    more, longer = timed("ours", 10 * FITS, DAYS), timed("ours", FITS, 10 * DAYS)
    base = statistics.median(run["seconds"] for run in runs["ours"])
    before = world()[:, :PRE]
    proven = [optimum(before, geo, np.array(w) > 0) for geo, w in enumerate(runs["ours"][0]["weights"])]
    lines = [
        f"{GEOS} geos x {DAYS} days, {PRE} of them matched; {FITS:,} fits of ours, {peer_fits} of the peer; "
        f"{rounds} rounds; {datetime.now(UTC):%Y-%m-%d}",
        "",
        "| way | fits per second, median | ours / it: min | median | max | peak MB | weight off the optimum "
        "| squared gap above the least |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for way, ran in runs.items():
        ratios = [a["rate"] / b["rate"] for a, b in zip(runs["ours"], ran, strict=True)]
        shown = " | ".join(f"{f(ratios):.0f}" for f in (min, statistics.median, max))
        rate, peak = statistics.median(r["rate"] for r in ran), max(r["peak"] for r in ran)
        off, excess = distances(ran[0]["weights"], proven)
        lines.append(f"| {way} | {rate:,.1f} | {shown} | {peak:.0f} | {off:.1e} | {100 * excess:.1e}% |")
    return [
        *lines,
        "",
        "Distances are the largest over the first 20 geos (the peer's fits, if fewer), from the optimum that the "
        "first-order conditions prove. "
        f"Ten times the fits take {more['seconds'] / base:.1f} times as long, ten times the days "
        f"{longer['seconds'] / base:.1f} times.",
    ]


def main() -> None:
    """Time both ways in turn, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer-fits", type=int, default=20)
    parser.add_argument("--way", choices=tuple(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--fits", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--days", type=int, default=DAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        run = partial(ours, days=given.days) if given.way == "ours" else WAYS[given.way]
        run(1)  # imports are no fits
        began = time.perf_counter()
        weights = run(given.fits)
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"seconds": seconds, "rate": given.fits / seconds, "peak": peak, "weights": weights}))
        return
    lines = report(given.rounds, given.peer_fits)
    print("\n".join(lines))
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text("# Synthetic control\n\n" + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
