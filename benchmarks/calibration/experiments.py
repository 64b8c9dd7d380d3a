"""Randomised designs: an experiment on customers, ghost ads, a switchback."""

from typing import Any

import numpy as np

from benchmarks.calibration import Case, Columns, Fault, Rng
from causal_assets.designs.experiment import Experiment
from causal_assets.designs.ghost_ads import GhostAds
from causal_assets.designs.switchback import Switchback

CUSTOMERS, EFFECT = 4_000, 0.2
LOST = 0.006  # outcomes that go missing by chance, below what the data-loss check asks about
REGIONS, HOURS, BLOCK = 8, 240, 6

EXPERIMENT: dict[str, Any] = {
    "columns": {"arm": "arm", "unit_id": "customer"},
    "arms": {"control": "old", "treatment": "new"},
    "outcomes": [{"name": "revenue", "role": "primary"}, {"name": "fuel", "role": "negative_control"}],
    "covariates": ["before", "visits"],
}
GHOST_ADS: dict[str, Any] = {
    "columns": {"arm": "arm", "predicted": "would_serve", "exposed": "saw"},
    "arms": {"control": "holdout", "treatment": "campaign"},
    "outcomes": [{"name": "spend", "role": "primary"}],
    "covariates": ["before"],
}
SWITCHBACK: dict[str, Any] = {
    "columns": {"unit_id": "region", "period": "hour", "arm": "rule"},
    "arms": {"control": "off", "treatment": "on"},
    "block_length": BLOCK,
    "burn_in": 2,
    "outcomes": [{"name": "rides", "role": "primary"}, {"name": "sun", "role": "negative_control"}],
}


def customers(
    rng: Rng,
    *,
    redirect: float = 0.0,
    chosen: float = 0.0,
    late: float = 0.0,
    attrition: float = 0.0,
    spillover: float = 0.0,
) -> Columns:
    """``habit`` drives past and outcome, ``mood`` the outcome alone.

    Broken: a redirect loses this share of the treated, in a slightly better mood; habit shifts the chance of treatment;
    the past is recorded so late that the treatment moves it; treated of good mood leave without an outcome; the
    controls get this share of the effect.
    """
    n = CUSTOMERS
    habit, mood, visits = rng.normal(size=(3, n))
    treated = rng.random(n) < 0.5 + chosen * np.tanh(habit)
    before = habit + 0.5 * rng.normal(size=n) + late * treated
    effect = EFFECT * np.where(treated, 1.0, spillover)
    revenue = 10 + habit + mood + 0.3 * visits + effect + rng.normal(size=n)
    revenue[(rng.random(n) < LOST) | (treated & (mood > 0.7) & (rng.random(n) < attrition))] = np.nan
    kept = ~(treated & (mood > -0.5) & (rng.random(n) < redirect))
    return {
        "customer": np.arange(n)[kept],
        "arm": np.where(treated, "new", "old")[kept],
        "before": before[kept],
        "visits": visits[kept],
        "revenue": revenue[kept],
        "fuel": (visits + rng.normal(size=n))[kept],
    }


def users(rng: Rng, *, peeking: float = 0.0, redirect: float = 0.0) -> Columns:
    """A third would be served and are richer by half a standard deviation; 80% of them see the ad when treated.

    Broken: the log adds this share of the other, poorer users in the treated arm alone; or treated users who would be
    served are lost from the table.
    """
    n = CUSTOMERS
    treated, before = rng.random(n) < 0.5, rng.normal(size=n)
    served = rng.random(n) < 1 / 3
    predicted = served | (treated & (rng.random(n) < peeking))
    saw = treated & served & (rng.random(n) < 0.8)
    spend = before + 0.5 * served + 0.3 * saw + rng.normal(size=n)
    kept = ~(treated & served & (spend > 2.0) & (rng.random(n) < redirect))
    columns = {
        "arm": np.where(treated, "campaign", "holdout"), "would_serve": predicted, "saw": saw * 1,
        "before": before, "spend": spend,
    }  # fmt: skip
    return {name: values[kept] for name, values in columns.items()}


def hours(rng: Rng, *, weather: float = 0.0, carry_over: float = 0.0, jammed: float = 0.0) -> Columns:
    """Regions switched in blocks of six hours; weather drives the sun alone and rides among much else.

    Broken: the rule is switched on when the weather is good; it works on in the hours after the burn-in; the switch
    jams at on for this share of blocks, those of good weather.
    """
    shape = (REGIONS, HOURS // BLOCK)
    sky = rng.normal(size=shape)
    on = (rng.random(shape) < 0.5 + weather * np.tanh(sky)) | ((sky > 0) & (rng.random(shape) < jammed))
    before = np.roll(on, 1, axis=1)
    before[:, 0] = False
    late = np.arange(BLOCK) >= 2
    rides = 0.3 * on[..., None] + 0.7 * sky[..., None] + 2 * rng.normal(size=(*shape, BLOCK))
    rides = rides + carry_over * (before & ~on)[..., None] * late
    sun = sky[..., None] + 0.5 * rng.normal(size=(*shape, BLOCK))
    return {
        "region": np.arange(REGIONS).repeat(HOURS),
        "hour": np.tile(np.arange(HOURS), REGIONS),
        "rule": np.where(on, "on", "off").repeat(BLOCK, axis=1).ravel(),
        "rides": rides.ravel(),
        "sun": sun.ravel(),
    }


def cases() -> list[Case]:
    """What chance assigned, and how that breaks."""
    return [
        Case("experiment", Experiment, EXPERIMENT, customers, EFFECT, (
            Fault("a redirect loses treated customers", "redirect", 0.118, ("srm",)),
            Fault("assignment follows the past", "chosen", 0.102, ("balance",)),
            Fault("a covariate is read after treatment", "late", 0.0585, ("balance",)),
            Fault("treated customers leave before the outcome", "attrition", 0.1434, ("attrition", "srm_analysed")),
            Fault("controls get part of the treatment", "spillover", 0.2346, ()),
        )),
        Case("ghost ads", GhostAds, GHOST_ADS, users, 0.3, (
            Fault("the log sees the arm", "peeking", 0.06, ("prediction",)),
            Fault("a redirect loses treated users", "redirect", 0.25, ("srm", "prediction")),
        )),
        Case("switchback", Switchback, SWITCHBACK, hours, 0.3, (
            Fault("switched on in good weather", "weather", 0.085, ("negative_control",)),
            Fault("the switch jams at on", "jammed", 0.27, ("srm", "negative_control")),
            Fault("it works on after the burn-in", "carry_over", 0.269, ()),
        )),
    ]  # fmt: skip
