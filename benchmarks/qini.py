"""Qini and AUUC with bootstrap errors: ours against causalml and scikit-uplift, in one run.

    python -m benchmarks.qini [--peers PYTHON] [--rounds 5]

``--peers`` is an interpreter with scikit-uplift, which has rows only then. Every way has a process of its own, in turn;
times are the CPU time of the second of two calls, imports and data outside. Peers resample ten times, and a thousand
draws are extrapolated from that. Printed and written to ``docs/benchmarks/qini.md``: the ratio of each peer's time to
ours (minimum, median, maximum), peak memory, our number on each peer's definition beside its own, how our time grows,
and, where ``$PUBLISHED`` names the folder of published data, the Qini of a reference model on Hillstrom's e-mails.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "qini.md"
SIZES = (2_000_000, 200_000)
DRAWS, PEER_DRAWS = 1_000, 10
OURS = "ours: Qini, AUUC, uplift at 10/20/30%, band"
CAUSALML = ("causalml qini_score", "causalml auuc_score")
SKLIFT = "scikit-uplift qini_auc_score"
SPLITS = 10


def data(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A model's score, visits and arms: a tenth are controls, one in ten visits, the effect rises with the score."""
    rng = np.random.default_rng(0)
    rank = rng.random(n)
    d = rng.random(n) < 0.9
    return rank, (rng.random(n) < 0.1 + 0.04 * d * rank).astype(np.int64), d


def run(way: str, n: int) -> dict[str, Any]:
    """CPU seconds of the point and of the point with draws, each the second of two calls; values and peak memory."""
    score, y, d = data(n)
    point, bootstrap = _ways(way, score, y, d)
    seconds = {}
    for name, call in (("point", point), ("drawn", bootstrap)):
        for _ in range(2):
            began = time.process_time()
            value = call()
            seconds[name] = time.process_time() - began
        if name == "point":
            found = value
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    values = _definitions(score, y, d) if way == OURS else {way: float(found)}
    if way != OURS:
        each = (seconds["drawn"] - seconds["point"]) / PEER_DRAWS
        seconds["drawn"] = seconds["point"] + DRAWS * each
    return {**seconds, "values": values, "peak": peak}


def _ways(way: str, score: np.ndarray, y: np.ndarray, d: np.ndarray) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The call that gives the point, and that which gives it with an error."""
    if way == OURS:
        from causal_assets.targeting.ranking import area, ranking_scores, uplift_curve

        return lambda: area(uplift_curve(score, y, d)), lambda: ranking_scores(score, y, d, seed=0, draws=DRAWS)
    if way in CAUSALML:
        import pandas as pd
        from causalml.metrics import auuc_score, qini_score

        frame = pd.DataFrame({"model": score, "y": y, "w": d.astype(int)})
        of = {"causalml qini_score": qini_score, "causalml auuc_score": auuc_score}[way]
        return lambda: of(frame)["model"], lambda: of(frame, return_ci=True, n_bootstrap=PEER_DRAWS, random_state=0)
    from sklift.metrics import qini_auc_score  # ty: ignore[import-not-found]: in the peers' interpreter only

    arm, rng = d.astype(int), np.random.default_rng(0)

    def resampled() -> float:
        """It has no error of its own: what a user writes."""
        for _ in range(PEER_DRAWS):
            i = rng.integers(len(y), size=len(y))
            qini_auc_score(y[i], score[i], arm[i])
        return qini_auc_score(y, score, arm)

    return lambda: qini_auc_score(y, score, arm), resampled


def _definitions(score: np.ndarray, y: np.ndarray, d: np.ndarray) -> dict[str, float]:
    """Each peer's number, from our sums over the units ranked."""
    from causal_assets.targeting.ranking import area, uplift_curve

    curve, n = uplift_curve(score, y, d), len(y)
    both = curve.treated[0] * curve.control[0] > 0
    lift = curve.treated_sum[0, both] / curve.treated[0, both] - curve.control_sum[0, both] / curve.control[0, both]
    rank = np.arange(n + 1)
    gain = rank * np.interp(rank, np.append(0, n * curve.share[0, both]), np.append(0, lift))

    def above_line(ranking: np.ndarray) -> float:
        """scikit-uplift's area: before the first control its curve is the outcomes of the treated."""
        sums = uplift_curve(ranking, y, d)
        early = sums.treated_sum[0] + y.mean() * sums.treated[0]
        g = np.where(sums.control[0] > 0, sums.gain[0] * sums.treated[0, -1], early)
        return float(np.trapezoid(g, sums.share[0]) - g[-1] / 2)

    return {
        "causalml qini_score": float(area(curve)[1][0] / abs(curve.gain[0, -1])) * n / (n + 1),
        "causalml auuc_score": float(gain.mean() / abs(gain[-1])),
        SKLIFT: above_line(score) / above_line(y * np.where(d, 1, -1)),
    }


def hillstrom() -> tuple[str, np.ndarray]:
    """Qini, uplift at 30% and at 10% of the reference model on the women's e-mail, a row per random half held out."""
    import pandas as pd
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    from causal_assets.targeting.ranking import area, uplift_curve

    frame = pd.read_parquet(Path(os.environ["PUBLISHED"]) / "hillstrom" / "hillstrom.parquet")
    frame = frame[frame["segment"].isin(["Womens E-Mail", "No E-Mail"])]
    d, y = (frame["segment"] == "Womens E-Mail").to_numpy(), frame["visit"].to_numpy()
    names = ["recency", "history", "mens", "womens", "newbie", "zip_code", "channel"]
    x = pd.get_dummies(frame[names], drop_first=True).to_numpy(dtype=np.float64)
    found = []
    for seed in range(SPLITS):
        held = np.random.default_rng(seed).random(len(y)) < 0.5
        scaler = StandardScaler().fit(x[~held])
        arms = [LogisticRegression().fit(scaler.transform(x[~held & a]), y[~held & a]) for a in (d, ~d)]
        treated, control = (model.predict_proba(scaler.transform(x[held]))[:, 1] for model in arms)
        curve = uplift_curve(treated - control, y[held], d[held])
        found.append([float(area(curve)[1][0]), *curve.uplift([0.3, 0.1])[0]])
    return "T-learner, logistic, standardised, C = 1", np.array(found)


def child(python: str, way: str, n: int) -> dict[str, Any]:
    """One way in a process of its own, on one thread."""
    command = [python, "-W", "ignore", "-m", "benchmarks.qini", "--way", way, "--units", str(n)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return json.loads(subprocess.check_output(command, text=True, env=environment).splitlines()[-1])


def main() -> None:
    """Time all ways in turn, print the page and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--units", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.way:
        print(json.dumps(run(given.way, given.units)))
        return
    ways = [(OURS, n, sys.executable) for n in SIZES]
    ways += [(way, SIZES[0], sys.executable) for way in CAUSALML]
    ways += [(SKLIFT, SIZES[0], given.peers)] if given.peers else []
    ran: dict[tuple[str, int], list[dict[str, Any]]] = {(way, n): [] for way, n, _ in ways}
    for _ in range(given.rounds):
        for way, n, python in ways:
            ran[way, n].append(child(python, way, n))
    table = page(ran, given.rounds)
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(table, encoding="utf-8")
    print(table)


def page(ran: dict[tuple[str, int], list[dict[str, Any]]], rounds: int) -> str:
    """The whole of the page."""
    lines = [
        "# Qini, AUUC and their errors",
        "",
        f"Written by `python -m benchmarks.qini` on {datetime.now(UTC):%Y-%m-%d}: a score without ties, a tenth of the "
        f"units controls, one in ten visits; {rounds} interleaved rounds on one thread; CPU seconds, since the machine "
        f"is shared. Ours draws {DRAWS:,} times; a peer's time is extrapolated to as many from {PEER_DRAWS} draws. "
        "causalml draws halves of the units; scikit-uplift has no errors and is called on resampled units. Ratios are "
        "peers' times with draws over ours at the same size, which gives all of our numbers.",
        "",
        "| way | units | time / ours: min | median | max | CPU seconds: with draws | value only | peak MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for (way, n), runs in ran.items():
        ratios = [other["drawn"] / own["drawn"] for other, own in zip(runs, ran[OURS, n], strict=True)]
        shown = " | ".join(f"{f(ratios):.1f}" for f in (min, statistics.median, max))
        peak = max(r["peak"] for r in runs)
        lines.append(
            f"| {way} | {n:,} | {shown} | {_median(runs, 'drawn'):.2f} | {_median(runs, 'point'):.2f} | {peak:.0f} |"
        )
    grown = _median(ran[OURS, SIZES[0]], "drawn") / _median(ran[OURS, SIZES[1]], "drawn")
    lines += [
        "",
        f"Ten times the units take us {grown:.1f}x: the draws cost the same at any size.",
        "",
        "The same number on each peer's definition, from our sums over the units ranked:",
        "",
        "| definition | theirs | ours | difference |",
        "|---|---|---|---|",
    ]
    ours = ran[OURS, SIZES[0]][0]["values"]
    for (way, _), runs in ran.items():
        if way != OURS:
            theirs = runs[0]["values"][way]
            lines.append(f"| {way} | {theirs:.10f} | {ours[way]:.10f} | {ours[way] - theirs:+.1e} |")
    return "\n".join([*lines, "", *_reference()])


def _reference() -> list[str]:
    """The reference model's scores beside those found before, or that there are no data."""
    if "PUBLISHED" not in os.environ:
        return ["Hillstrom's women's e-mail: data not at hand (`$PUBLISHED`).", ""]
    model, found = hillstrom()
    lines = [
        f"Hillstrom's women's e-mail, visits, {SPLITS} random halves held out; {model}. Reference: another program, "
        "splits of its own.",
        "",
        "| number | reference | ours, mean over splits | sd over splits |",
        "|---|---|---|---|",
    ]
    named = (("Qini", "0.00735 (sd 0.00115)"), ("uplift at 30%", "0.0680"), ("uplift at 10%", "0.0675"))
    for (name, reference), column in zip(named, found.T, strict=True):
        lines.append(f"| {name} | {reference} | {column.mean():.5f} | {column.std(ddof=1):.5f} |")
    return [*lines, ""]


def _median(runs: list[dict[str, Any]], name: str) -> float:
    return statistics.median(r[name] for r in runs)


if __name__ == "__main__":
    main()
