"""Coverage of the designs without randomisation, each against the truth of the population that it names."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
from scipy.special import expit

from benchmarks.coverage import Cell, Draws, Floats
from causal_assets.estimators.calibration import calibrated, fit_systematic_error
from causal_assets.estimators.double_ml import partially_linear
from causal_assets.estimators.matching import match, matched_effect
from causal_assets.estimators.overlap import Estimand, effect, fit_nuisances
from causal_assets.estimators.propensity import fit_logit
from causal_assets.estimators.target_trials import sequential_effect
from causal_assets.estimators.weighting import standardized_effect, stratified_effect, weighted_effect
from causal_assets.types import Estimate

FAMILY = "observational"
UNITS = 1_500
# Learners are slow: fewer units, and for boosting as many data sets as its bar asks for.
FEW_UNITS = 500
BOOSTED_SETS = 200
# With 500 units boosting leaves a bias of a whole standard deviation in the interactive model; with 2,000 a tenth.
BOOSTED_UNITS = 2_000
CONTROLS = 10
SLOPE = np.array([0.6, 0.4])
INTERCEPT = -0.7
# Matching counts used controls by neighbours, boosting has 200 data sets: their promise is a floor.
FLOOR = (0.93, 1.0)

World = tuple[Floats, np.ndarray, Floats, np.ndarray]
Method = Callable[[World], Estimate | None]


@cache
def truth(estimand: str) -> float:
    """Average of 1 + x0 over the estimand's population, by quadrature over the logit."""
    nodes, mass = np.polynomial.hermite_e.hermegauss(80)
    spread = float(np.linalg.norm(SLOPE))
    e = expit(spread * nodes + INTERCEPT)
    density = mass * {"ATE": np.ones_like(e), "ATT": e, "ATO": e * (1 - e)}[estimand]
    return float(1 + (SLOPE[0] / spread) * (density @ nodes) / density.sum())


def world(rng: np.random.Generator, n: int) -> World:
    """Treatment is likelier where outcome and effect are large."""
    x = rng.normal(size=(n, 2))
    d = rng.random(n) < expit(x @ SLOPE + INTERCEPT)
    return x, d, x @ [2.0, 1.0] + rng.normal(size=n) + d * (1 + x[:, 0]), np.arange(n)


def jagged(rng: np.random.Generator, n: int) -> World:
    """No effect; treatment and outcome follow the same curve."""
    x = rng.normal(size=(n, 3))
    bump = np.sin(2 * x[:, 0])
    return x, rng.random(n) < 0.5 + 0.3 * bump, 2 * bump + rng.normal(size=n), np.arange(n)


def _simulated(
    draw: Callable[[np.random.Generator, int], World],
    n: int,
    method: Method,
    planted: float,
    rng: np.random.Generator,
    sets: int,
) -> Draws:
    return Draws.of((_or_refused(method, draw(rng, n)) for _ in range(sets)), planted)


def _or_refused(method: Method, given: World) -> Estimate | None:
    try:
        return method(given)
    except ValueError:
        return None


# Methods are plain functions of a world, options bound by partial: cells travel between processes.
def _weighted(w: World, *, estimand: Estimand) -> Estimate:
    return weighted_effect(fit_logit(w[0], w[1]), *w[1:], estimand=estimand, outcome="y")


def _stratified(w: World, *, estimand: Estimand) -> Estimate:
    return stratified_effect(fit_logit(w[0], w[1]), *w[1:], estimand=estimand, outcome="y", x=w[0])


def _standardized(w: World, *, estimand: Estimand) -> Estimate:
    return standardized_effect(*w, estimand=estimand, outcome="y")


def _augmented(w: World, *, estimand: Estimand, **options: Any) -> Estimate:
    return effect(fit_nuisances(*w, repeats=1, seed=1, **options), *w[1:], estimand=estimand, outcome="y")


def _partially_linear(w: World, **options: Any) -> Estimate:
    return partially_linear(*w, outcome="y", repeats=1, seed=1, **options)


def _matched(w: World, *, ratio: int) -> Estimate:
    score = fit_logit(w[0], w[1])
    pairs = match(score, w[1], ratio=ratio, replacement=True, caliper=None)
    return matched_effect(pairs, score, *w[1:3], outcome="y")


def _pairs(rng: np.random.Generator, sets: int) -> Draws:
    """Without replacement the population is the matched; its effect is averaged over data sets."""
    found, planted = [], []
    for _ in range(sets):
        x, d, y, unit = world(rng, UNITS)
        score = fit_logit(x, d)
        matches = match(score, d, unit)
        found.append(matched_effect(matches, score, d, y, outcome="y", x=x))
        planted.append(1 + x[matches.treated, 0].mean())
    return Draws.of(found, float(np.mean(planted)))


def _trials(rng: np.random.Generator, sets: int) -> Draws:
    """Two mailings of those who spend much lately; spending has a part of its own in each unit."""
    return Draws.of((sequential_effect(*_campaign(rng), estimand="ATO", outcome="y", folds=2, repeats=1, seed=1).pooled
                     for _ in range(sets)), 1.0)  # fmt: skip


def _campaign(rng: np.random.Generator) -> tuple[Floats, np.ndarray, Floats, np.ndarray, np.ndarray]:
    own, mailed, rows = 1.5 * rng.normal(size=FEW_UNITS), np.zeros(FEW_UNITS, dtype=bool), []
    for trial in range(2):
        now, at_risk = rng.normal(size=FEW_UNITS), np.flatnonzero(~mailed)
        d = rng.random(FEW_UNITS) < expit(now - 1)
        y = own + now + d + rng.normal(size=FEW_UNITS)
        rows.append((now[at_risk, None], d[at_risk], y[at_risk], at_risk, np.full(at_risk.size, trial)))
        mailed |= d
    x, d, y, unit, trial = (np.concatenate(column) for column in zip(*rows, strict=True))
    return x, d, y, unit, trial


def _calibration(rng: np.random.Generator, sets: int) -> Draws:
    """An estimate with systematic error N(2, 1) besides its own of 0.5, and ten negative controls with the same."""

    def one(value: float) -> Estimate:
        return Estimate(
            outcome="y", estimand="ATO", method="m", value=value, std_error=0.5, low=value - 1, high=value + 1,
            p_value=0.5, level=0.95, n_treated=1, n_control=1, control_mean=None,
        )  # fmt: skip

    errors = rng.normal(2.0, np.hypot(1.0, 0.5), size=(sets, CONTROLS + 1))
    fits: Sequence[Estimate] = [
        calibrated(one(float(row[0])), fit_systematic_error([one(float(b)) for b in row[1:]])) for row in errors
    ]
    return Draws.of(fits, 0.0)


def cells() -> list[Cell]:
    """Every method at moderate overlap; boosting on a curve; errors of few negative controls."""

    def cell(name: str, method: Method, estimand: str, n: int = UNITS, **bars) -> Cell:
        return Cell(
            FAMILY, f"{name}, {estimand}, n={n}", partial(_simulated, world, n, method, truth(estimand)), **bars
        )

    plain = [
        *(cell("weighting, estimated logit", partial(_weighted, estimand=e), e) for e in ("ATE", "ATT", "ATO")),
        *(cell("5 strata, regression within", partial(_stratified, estimand=e), e) for e in ("ATE", "ATT")),
        *(cell("g-formula", partial(_standardized, estimand=e), e) for e in ("ATE", "ATT")),
        *(cell("cross-fitted AIPW", partial(_augmented, estimand=e, folds=2), e) for e in ("ATE", "ATT", "ATO")),
        cell("partially linear", partial(_partially_linear, folds=2), "ATO"),
        *(cell(f"matching 1:{k} with replacement", partial(_matched, ratio=k), "ATT", band=FLOOR) for k in (1, 3)),
    ]
    boosting = {
        "partially linear, boosted": partial(_partially_linear, learner="boosting", folds=5),
        "interactive, boosted": partial(_augmented, estimand="ATE", propensity="boosting", outcome="boosting", folds=5),
    }
    return [
        *plain,
        Cell(FAMILY, f"matching 1:1 without replacement, ATT of the matched, n={UNITS}", _pairs, band=FLOOR),
        # Learners shrink: at this size a third of a standard deviation is left and shown; their promise is coverage.
        *(
            Cell(FAMILY, f"{name}, curved, no effect, n={BOOSTED_UNITS}",
                 partial(_simulated, jagged, BOOSTED_UNITS, method, 0.0),
                 band=FLOOR, unbiased=False, honest=False, sets=BOOSTED_SETS)
            for name, method in boosting.items()
        ),
        Cell(FAMILY, f"two target trials, ATO, {FEW_UNITS} units", _trials),
        # t with 9 degrees of freedom for an error that is in part known: longer than needed by design.
        Cell(FAMILY, f"calibration on {CONTROLS} negative controls", _calibration, band=FLOOR, honest=False),
    ]  # fmt: skip
