"""Who responds more, on real experiments: the search against a reference T-learner, and what the study path claims.

    PUBLISHED=<folder> python -m benchmarks.uplift_quality [--jobs 2] [--halves 20] [--studies 20]

``$PUBLISHED`` names the folder of published data: Hillstrom's e-mails (three arms, 64,000 customers) and the direct
marketing campaign of R's package Information (20,000 customers). Two questions, on fixed splits:

1. The model that ``targeting.choice`` keeps, chosen inside the learning half, against a T-learner, by Qini on the half
   held out. Halves overlap between splits, so the error of the mean difference is Nadeau and Bengio's (2003, Inference
   for the generalization error, Machine Learning 52): variance (1/J + n_test/n_train) s^2.
2. How often ``targeting.model.fit`` claims heterogeneity, over splits into a study's folds, and what the policy earns
   over treating everybody where treating costs nothing.

Written to ``docs/benchmarks/uplift_quality.md``.
"""

import argparse
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from math import sqrt
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from causal_assets.designs.targeted import SHARES
from causal_assets.estimators.cluster_robust import FEWEST_CLUSTERS
from causal_assets.estimators.inference import Floats
from causal_assets.targeting.choice import Budget, choose
from causal_assets.targeting.features import Features
from causal_assets.targeting.model import POLICY, Limits, Treatments, fit
from causal_assets.targeting.nuisances import Arms, Sample, potential_scores
from causal_assets.targeting.policy_value import policy_gain
from causal_assets.targeting.ranking import area, uplift_curve

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "uplift_quality.md"
# Share of the learning half on which candidates are compared: as a study's second fold to its first.
SELECTING = SHARES[1] / (SHARES[0] + SHARES[1])
# Processor seconds of a search; on 67 features they leave out the forest.
BUDGET = Budget(seconds=30)
WOMENS, MENS = "Womens E-Mail", "Mens E-Mail"
LOGISTIC, BOOSTED = "logistic, standardised, C = 1", "histogram-boosted trees, scikit-learn's defaults"
PREPARED = ("recency", "history", "mens", "womens", "newbie", "zip_code", "channel")
STUDIED = [(mail, outcome) for mail in (MENS, WOMENS) for outcome in ("visit", "conversion", "spend")]


@dataclass(frozen=True, eq=False)
class Experiment:
    """Rows of a randomised experiment of one treatment: features by name and as numbers (n, p), arm and outcome."""

    names: list[str]
    x: Floats
    arm: Arms
    y: Floats


def hillstrom(mail: str, outcome: str) -> Experiment:
    """Customers of one e-mail and of the control."""
    import pandas as pd

    frame = pd.read_parquet(Path(os.environ["PUBLISHED"]) / "hillstrom" / "hillstrom.parquet")
    frame = frame[frame["segment"].isin([mail, "No E-Mail"])]
    x = pd.get_dummies(frame[list(PREPARED)], drop_first=True)
    arm = (frame["segment"] == mail).to_numpy(np.intp)
    return Experiment(list(x.columns), x.to_numpy(np.float64), arm, frame[outcome].to_numpy(np.float64))


def campaign(part: str) -> Experiment:
    """Customers of one part (train, valid) of the direct marketing campaign."""
    import pandas as pd

    frame = pd.read_parquet(Path(os.environ["PUBLISHED"]) / "information_marketing" / f"{part}.parquet")
    x = pd.get_dummies(frame.drop(columns=["TREATMENT", "PURCHASE", "UNIQUE_ID"]), drop_first=True)
    arm, y = frame["TREATMENT"].to_numpy(np.intp), frame["PURCHASE"].to_numpy(np.float64)
    return Experiment(list(x.columns), x.to_numpy(np.float64), arm, y)


def both_parts() -> Experiment:
    """The campaign's customers, 10,000 of each part."""
    train, valid = campaign("train"), campaign("valid")
    return Experiment(
        train.names, np.vstack([train.x, valid.x]), np.append(train.arm, valid.arm), np.append(train.y, valid.y)
    )


def reference(kind: str, data: Experiment, learned: Any, x: Floats) -> Floats:
    """Effects (m,) at ``x`` by a T-learner of one classifier per arm, from the rows ``learned`` (n,)."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(data.x[learned])
    chance = []
    for arm in (1, 0):
        own = learned & (data.arm == arm)
        model = LogisticRegression() if kind == LOGISTIC else HistGradientBoostingClassifier(random_state=0)
        model.fit(scaler.transform(data.x[own]), data.y[own])
        chance.append(model.predict_proba(scaler.transform(x))[:, 1])
    return chance[0] - chance[1]


def searched(data: Experiment, learned: Any, x: Floats, seed: int) -> tuple[str, Floats]:
    """The winner of our search on the rows ``learned`` (n,), and its effects (m,) at ``x``."""
    sample = Sample.of(data.x[learned], data.arm[learned], data.y[learned])
    selecting = np.random.default_rng([seed, 1]).random(len(sample.y)) < SELECTING
    found = choose(sample, selecting, randomised=True, budget=BUDGET, seed=seed)
    return found.winner, found.effects(x)[:, 0]


def qini(score: Floats, data: Experiment, held: Any) -> float:
    """Qini on the rows ``held`` (n,); the same score for all ranks nobody, which is 0."""
    return float(area(uplift_curve(score, data.y[held], data.arm[held]))[1][0])


def half(data: Experiment, kind: str, seed: int) -> tuple[str, float, float]:
    """One split in halves: our winner, its Qini, and the reference's."""
    held = np.random.default_rng(seed).random(len(data.y)) < 0.5
    winner, own = searched(data, ~held, data.x[held], seed)
    return winner, qini(own, data, held), qini(reference(kind, data, ~held, data.x[held]), data, held)


def study(mail: str, outcome: str, seed: int) -> dict[str, Any]:
    """One split into a study's folds: the winner, the claim and its test, and the policy against treating everybody."""
    data = hillstrom(mail, outcome)
    sample = Sample.of(data.x, data.arm, data.y)
    fold = np.random.default_rng(seed).choice(len(SHARES), size=len(data.y), p=np.array(SHARES) / 100)
    model = fit(
        sample, fold, Features(tuple(data.names), {}), Treatments(names=(mail,), cost=(0.0,), capacity=(np.inf,)),
        value=1.0, limits=Limits(), randomised=True, budget=BUDGET, level=0.9, seed=seed,
    )  # fmt: skip
    own = sample.where(fold == POLICY)
    scored = model.score_matrix(own.x)
    potential = potential_scores(own, scored.expected, scored.propensity)
    everybody = np.ones(len(own.y), dtype=np.intp)
    gain = (0.0, 0.0, 0.0)
    if (scored.chosen != everybody).sum() >= FEWEST_CLUSTERS:  # else the policy is to treat everybody, but for a few
        found = policy_gain(potential, scored.chosen, everybody, [0.0], value=1.0, outcome=outcome, level=0.9)
        gain = (found.value, found.low, found.high)
    (tested,) = model.tested
    return {
        "winner": model.choice.winner, "responds": model.responds[0], "p": tested.p_value, "value": tested.value,
        "low": tested.low, "high": tested.high, "gain": gain[0], "gain_low": gain[1], "gain_high": gain[2],
    }  # fmt: skip


def main() -> None:
    """Run all splits, print the page and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--halves", type=int, default=20)
    parser.add_argument("--studies", type=int, default=20)
    given = parser.parse_args()
    women, market = hillstrom(WOMENS, "visit"), both_parts()
    compared = (("Hillstrom, women's e-mail, visit", women, LOGISTIC), ("Information, purchase", market, BOOSTED))
    with ProcessPoolExecutor(given.jobs) as pool:
        halves = {
            (name, kind): [pool.submit(half, data, kind, seed) for seed in range(given.halves)]
            for name, data, kind in compared
        }
        studies = {which: [pool.submit(study, *which, seed) for seed in range(given.studies)] for which in STUDIED}
        table = page(
            {key: [one.result() for one in runs] for key, runs in halves.items()},
            {key: [one.result() for one in runs] for key, runs in studies.items()},
        )
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(table, encoding="utf-8")
    print(table)


def page(halves: dict[tuple[str, str], list[Any]], studies: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    """The whole of the page."""
    lines = [
        "# Who responds more, on real experiments",
        "",
        f"Written by `python -m benchmarks.uplift_quality` on {datetime.now(UTC):%Y-%m-%d}, from published data named "
        "by `$PUBLISHED`.",
        "",
        "## Against a reference T-learner",
        "",
        f"The same {len(next(iter(halves.values())))} random halves for both; ours is what the default search keeps in "
        f"{BUDGET.seconds:.0f} processor seconds, chosen on {SELECTING:.0%} of the learning half. Qini on the half "
        "held out, mean over splits. The error of the paired difference is Nadeau and Bengio's; not below: it is not "
        "negative, or by less than the one-sided 95% error.",
        "",
        "| data | reference | its Qini | ours | difference | error | verdict | splits won | winners |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_compared(name, kind, runs) for (name, kind), runs in halves.items()]
    return "\n".join([*lines, "", *_published(), *_claims(studies)])


def _compared(name: str, kind: str, runs: Sequence[tuple[str, float, float]]) -> str:
    from scipy.stats import t

    winners, ours, theirs = zip(*runs, strict=True)
    away = np.array(ours) - np.array(theirs)
    error = sqrt((1 / len(away) + 1) * away.var(ddof=1))  # as many rows are held out as are learned from
    below = away.mean() + t.ppf(0.95, len(away) - 1) * error < 0
    counts = ", ".join(f"{winner} {times}" for winner, times in Counter(winners).most_common())
    return (
        f"| {name} | {kind} | {np.mean(theirs):.5f} | {np.mean(ours):.5f} | {away.mean():+.5f} | {error:.5f} | "
        f"{'below' if below else 'not below'} | {(away >= 0).sum()} of {len(away)} | {counts} |"
    )


def _published() -> list[str]:
    """The campaign's own two parts: its published references are of models learned on the one, valued on the other."""
    train, valid = campaign("train"), campaign("valid")
    rows, held = np.ones(len(train.y), dtype=bool), np.ones(len(valid.y), dtype=bool)
    boosted, logistic = (qini(reference(kind, train, rows, valid.x), valid, held) for kind in (BOOSTED, LOGISTIC))
    winner, effects = searched(train, rows, valid.x, 0)
    return [
        "Of the published references for the campaign (learned on its train part, valued on its valid part) the "
        f"boosted T-learner is the best, 0.0274 (logistic 0.0221, forest 0.0258), and so it is the one above. Here: "
        f"{boosted:.4f} (logistic {logistic:.4f}); ours, {winner}, {qini(effects, valid, held):.4f}.",
        "",
    ]


def _claims(studies: dict[tuple[str, str], list[dict[str, Any]]]) -> list[str]:
    shares = "/".join(map(str, SHARES))
    lines = [
        "## What a study claims",
        "",
        f"{len(next(iter(studies.values())))} random splits into folds of {shares}% (learn, select, test, policy). "
        "RATE is the Qini-weighted one on the test fold, whose one-sided test at 5% is the claim; value and ends (90%) "
        "are medians over splits. The policy treats who gains at zero cost; its gain over treating "
        "everybody is per unit of the policy fold, medians of value and ends (90%), and beats it where the lower end "
        "is above zero.",
        "",
        "| e-mail | outcome | claims | median p | RATE | from | to | gain over treating all | from | to | beats it | "
        "winners |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (mail, outcome), runs in studies.items():
        mid = {key: median(run[key] for run in runs) for key in runs[0] if key not in ("winner", "responds")}
        counts = ", ".join(f"{name} {times}" for name, times in Counter(run["winner"] for run in runs).most_common())
        beats = sum(run["gain_low"] > 0 for run in runs)
        lines.append(
            f"| {mail} | {outcome} | {sum(run['responds'] for run in runs)} of {len(runs)} | {mid['p']:.3f} | "
            f"{mid['value']:.4f} | {mid['low']:.4f} | {mid['high']:.4f} | {mid['gain']:+.4f} | "
            f"{mid['gain_low']:+.4f} | {mid['gain_high']:+.4f} | {beats} | {counts} |"
        )
    return [*lines, ""]


if __name__ == "__main__":
    main()
