"""Designs over time: difference-in-differences, synthetic control, interrupted time series."""

from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.calibration import Case, Columns, Fault, Rng
from benchmarks.coverage.synthetic_control import autoregressive
from causal_assets.designs.difference_in_differences import DifferenceInDifferences
from causal_assets.designs.interrupted_time_series import InterruptedTimeSeries
from causal_assets.designs.synthetic_control import SyntheticControl

STORES, MONTHS, ADOPTION = 120, 16, 12
DONORS, BEFORE, AFTER = 20, 80, 8
DAYS, STARTS = 130, 100
EFFECT, SALES_EFFECT = 0.5, 2.0  # drifts half as large as noise before adoption would pass for 0.5 in stores

TRENDS: dict[str, Any] = {
    "columns": {"unit_id": "store", "period": "month", "first_treated": "introduced"},
    "outcomes": [{"name": "revenue", "role": "primary"}],
}
DONATED: dict[str, Any] = {
    "columns": {"unit_id": "city", "period": "week"},
    "treated": ["c00"],
    "start": BEFORE,
    "outcomes": [{"name": "revenue", "role": "primary"}],
}
SERIES: dict[str, Any] = {
    "columns": {"time": "day", "controls": ["elsewhere"]},
    "starts": str(STARTS),
    "outcomes": [{"name": "sales", "role": "primary"}],
}


def stores(
    rng: Rng,
    *,
    dates: tuple[int, ...] = (ADOPTION,),
    effect: float = SALES_EFFECT,
    drift: float = 0.0,
    announced: float = 0.0,
    dip: float = 0.0,
    spillover: float = 0.0,
) -> Columns:
    """Half of the stores adopt; each has its own level and noise that persists.

    Broken: adopters drift away by this much a month; they react in the month before; they adopt after a bad month,
    which the outcome recovers from; what they gain the others lose.
    """
    first = np.where(np.arange(STORES) < STORES // 2, rng.choice(dates, STORES), 0)
    month = np.arange(MONTHS)
    ever, on = (first > 0)[:, None], (first > 0)[:, None] & (month >= first[:, None])
    noise = autoregressive(rng, (STORES, MONTHS), 0.4)
    last = ever & (month == first[:, None] - 1)
    y = 2 * rng.normal(size=(STORES, 1)) + 0.1 * month + noise + effect * on
    y = y + drift * month * ever + (announced - dip) * last - spillover * (~ever & (month >= min(dates)))
    return {
        "store": np.arange(STORES).repeat(MONTHS),
        "month": np.tile(month, STORES),
        "introduced": first.repeat(MONTHS),
        "revenue": y.ravel(),
    }


def staggered(rng: Rng, *, drift: float = 0.0) -> Columns:
    """As ``stores``, with three dates."""
    return stores(rng, dates=(10, 11, 12), drift=drift)


def null_stores(rng: Rng) -> Columns:
    """As ``stores``, without an effect."""
    return stores(rng, effect=0.0)


def cities(rng: Rng, *, drift: float = 0.0, announced: float = 0.0, shock: float = 0.0, apart: float = 0.0) -> Columns:
    """Two factors move all cities, one of which is treated; noise persists a little.

    Broken: the treated city drifts away from half of the time before on; it reacts in the four weeks before; its twin
    among the donors has a shock of its own when the treatment starts; it lies far above all others.
    """
    n, weeks = DONORS + 1, BEFORE + AFTER
    loadings = rng.uniform(0.0, 2.0, size=(n, 2))
    loadings[0] = 1.0
    y = 10 + loadings @ autoregressive(rng, (2, weeks), 0.8) + 0.5 * autoregressive(rng, (n, weeks), 0.3)
    week = np.arange(weeks)
    if shock:
        y[1] = y[0] + 0.5 * rng.normal(size=weeks) - shock * (week >= BEFORE)
    y[0] += EFFECT * (week >= BEFORE) + drift * np.maximum(week - BEFORE / 2, 0) + apart
    y[0] += announced * ((week >= BEFORE - 4) & (week < BEFORE))
    return {
        "city": np.char.add("c", np.char.zfill(np.arange(n).astype(str), 2)).repeat(weeks),
        "week": np.tile(week, n),
        "revenue": y.ravel(),
    }


def days(rng: Rng, *, own: float = 0.0, level: float = 0.0, drift: float = 0.0, together: float = 0.0) -> Columns:
    """A control moves sales one to one.

    Broken: a step of sales twenty days before; the control has a trend of its own; something else starts on the day.
    """
    day = np.arange(DAYS)
    common = 0.5 * rng.normal(size=DAYS).cumsum()
    elsewhere = 50 + common + drift * day
    sales = 10 + common + rng.normal(size=DAYS) + 0.1 * rng.normal(size=DAYS).cumsum()
    sales = sales + (EFFECT + together) * (day >= STARTS) + level * (day >= STARTS - 20) + own * day
    return {"day": day, "elsewhere": elsewhere, "sales": sales}


def cases() -> list[Case]:
    """What changed at a date."""
    did = (
        Fault("adopters drift away", "drift", 0.076, ("parallel_trends", "placebo_in_time")),
        Fault("adopters react a month before", "announced", 0.19, ("parallel_trends", "anticipation"), seen_at=4.0),
        Fault("stores adopt after a bad month", "dip", 0.19, ("parallel_trends", "anticipation"), seen_at=4.0),
        Fault("what adopters gain the others lose", "spillover", 0.19, ()),
    )
    later = (replace(did[0], per_error=0.055),)
    return [
        Case("difference-in-differences, one date", DifferenceInDifferences, TRENDS, stores, SALES_EFFECT, did),
        Case("difference-in-differences, staggered", DifferenceInDifferences, TRENDS, staggered, SALES_EFFECT, later),
        Case("difference-in-differences, no effect", DifferenceInDifferences, TRENDS, null_stores, 0.0),
        Case("synthetic control", SyntheticControl, DONATED, cities, EFFECT, (
            Fault("the treated city drifts away", "drift", 0.045, ("placebo_in_time", "anticipation")),
            Fault("it reacts four weeks before", "announced", 2.0, ("anticipation",), strengths=(1.0,)),
            Fault("a donor that is its twin has a shock", "shock", 0.5, ("donors",)),
            Fault("it lies far above all donors", "apart", 20.0, ("pre_fit", "hull"), strengths=(1.0,)),
        )),
        Case("interrupted time series", InterruptedTimeSeries, SERIES, days, EFFECT, (
            Fault("sales had a step before", "level", 5.0, ("level_break", "placebo_split"), strengths=(1.0,)),
            Fault("the control drifts", "drift", 0.1, ("residual_drift", "placebo_split")),
            Fault("something else starts that day", "together", 0.6, ()),
        )),
    ]  # fmt: skip
