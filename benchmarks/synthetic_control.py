"""Synthetic control with placebo inference on 200 geos x 120 days: fits per second against pysyncon.

    python -m benchmarks.synthetic_control [--rounds 5] [--peer-fits 20]

Both fit geos in turn as if treated, all others as donors, outcomes of 100 days matched with equal importance; ours all
at once, the peer one by one, each in a process of its own, interleaved. Printed, and written to
``docs/benchmarks/synthetic_control.md``: ratios of fits per second (minimum, median, maximum), peak memory, and the
largest difference of a weight on the peer's fits. Growth is our time with ten times the fits and ten times the days.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

GEOS, DAYS, PRE = 200, 120, 100
FITS = 1_000
SEED = 20_261_122
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


def pysyncon(fits: int) -> list[list[float]]:
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
        model.fit(X0=donors, X1=before[geo], Z0=donors, Z1=before[geo], custom_V=importance)
        found.append(np.insert(np.asarray(model.W, dtype=float), geo, 0.0).tolist())
    return found


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
    runs: dict[str, list[dict]] = {"ours": [], "pysyncon": []}
    for _ in range(rounds):
        runs["ours"].append(timed("ours", FITS, DAYS))
        runs["pysyncon"].append(timed("pysyncon", peer_fits, DAYS))
    ratios = [a["rate"] / b["rate"] for a, b in zip(runs["ours"], runs["pysyncon"], strict=True)]
    mine, theirs = (np.array(runs[way][0]["weights"])[: min(20, peer_fits)] for way in runs)
    more, longer = timed("ours", 10 * FITS, DAYS), timed("ours", FITS, 10 * DAYS)
    base = statistics.median(run["seconds"] for run in runs["ours"])
    return [
        f"{GEOS} geos x {DAYS} days, {PRE} of them matched; {FITS:,} fits of ours, {peer_fits} of the peer; "
        f"{rounds} rounds; {datetime.now(UTC):%Y-%m-%d}",
        "",
        "| way | fits per second, median | ours / it: min | median | max | peak MB |",
        "|---|---|---|---|---|---|",
        *(
            f"| {way} | {statistics.median(r['rate'] for r in runs[way]):,.1f} "
            + (
                "| 1 | 1 | 1 "
                if way == "ours"
                else f"| {min(ratios):.0f} | {statistics.median(ratios):.0f} | {max(ratios):.0f} "
            )
            + f"| {max(r['peak'] for r in runs[way]):.0f} |"
            for way in runs
        ),
        "",
        f"Largest difference of a weight: {np.abs(mine - theirs).max():.1e}. Ten times the fits take "
        f"{more['seconds'] / base:.1f} times as long, ten times the days {longer['seconds'] / base:.1f} times.",
    ]


def main() -> None:
    """Time both ways in turn, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer-fits", type=int, default=20)
    parser.add_argument("--way", choices=("ours", "pysyncon"), help=argparse.SUPPRESS)
    parser.add_argument("--fits", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--days", type=int, default=DAYS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        run = (lambda n: ours(n, given.days)) if given.way == "ours" else pysyncon
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
