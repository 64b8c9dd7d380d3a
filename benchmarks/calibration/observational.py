"""Adjusted comparisons and instruments."""

from typing import Any

import numpy as np
from scipy.special import expit

from benchmarks.calibration import Case, Columns, Fault, Rng
from causal_assets.designs.adjusted_comparison import AdjustedComparison
from causal_assets.designs.instrumental_variable import InstrumentalVariable

CUSTOMERS, EFFECT = 1_000, 0.5
INVITED = 2_000
ONE_OUTCOME = {"outcomes": [{"name": "spend", "role": "primary"}]}

COMPARISON: dict[str, Any] = {
    "columns": {"treatment": "app", "unit_id": "customer", "before": "spend_before"},
    "outcomes": [{"name": "spend", "role": "primary"}, {"name": "fuel", "role": "negative_control"}],
    "covariates": ["visits", "age"],
}
INSTRUMENT: dict[str, Any] = {
    "columns": {"instruments": ["invited"], "treatment": "app"},
    "outcomes": [{"name": "spend", "role": "primary"}, {"name": "fuel", "role": "negative_control"}],
    "covariates": ["age", "visits"],
}


def adopters(
    rng: Rng, *, effect: float = EFFECT, hidden: float = 0.0, crowded: float = 0.0, mediated: float = 0.0
) -> Columns:
    """Visits drive the app and spending. What else drives spending is a third of the rest of it, and most of fuel's.

    Broken: something unseen drives the app, spending and fuel; visits all but decide who has the app; visits are
    recorded after the app has moved them.
    """
    n = CUSTOMERS
    visits, age, unseen = rng.normal(size=(3, n))
    app = rng.random(n) < expit((0.5 + crowded) * visits - 0.3 + hidden * unseen)
    return {
        "customer": np.arange(n),
        "app": app * 1,
        "visits": visits + mediated * app,
        "age": age,
        "spend_before": visits + 0.5 * age + rng.normal(size=n),
        "spend": visits + 0.5 * age + effect * app + unseen + 1.5 * rng.normal(size=n),
        "fuel": visits + unseen + 0.5 * rng.normal(size=n),
    }


def null_adopters(rng: Rng) -> Columns:
    """As ``adopters``, without an effect."""
    return adopters(rng, effect=0.0)


def invited(rng: Rng, *, excluded: float = 0.0, weaker: float = 0.0, defiers: float = 0.0) -> Columns:
    """An invitation makes half of the customers use the app; the keen use it anyway, and spend more.

    Broken: the invitation itself moves spending, and fuel half as much; it moves fewer; it keeps away from the app this
    share of the older half, on whom the app works twice as well.
    """
    n = INVITED
    z, keen, age, visits = rng.random(n) < 0.5, *rng.normal(size=(3, n))
    kind, old = rng.random(n), age > 0
    complies = kind < 0.5 - weaker
    uses = np.where(complies, z, keen > 0)
    defies = old & (rng.random(n) < defiers)
    uses = np.where(defies, ~z, uses)
    spend = EFFECT * uses * np.where(defies, 3.0, 1.0) + keen + 0.3 * age + rng.normal(size=n) + excluded * z
    return {
        "invited": z * 1, "app": uses * 1, "age": age, "visits": visits, "spend": spend,
        "fuel": 0.5 * rng.normal(size=n) + excluded * z,
    }  # fmt: skip


def cases() -> list[Case]:
    """What nobody assigned."""
    return [
        Case("adjusted comparison", AdjustedComparison, COMPARISON, adopters, EFFECT, (
            Fault("hidden confounding, with a negative control", "hidden", 0.145, ("negative_control",)),
            Fault("hidden confounding, without any", "hidden", 0.145, ("negative_control",), fields=ONE_OUTCOME),
            Fault("visits all but decide", "crowded", 4.0, ("overlap",), strengths=(1.0,)),
            Fault("a covariate is read after treatment", "mediated", 0.13, ()),
        )),
        Case("adjusted comparison, no effect", AdjustedComparison, COMPARISON, null_adopters, 0.0),
        Case("instrument", InstrumentalVariable, INSTRUMENT, invited, EFFECT, (
            Fault("the instrument moves the outcome itself", "excluded", 0.0622, ("negative_control",)),
            Fault("it keeps old customers away", "defiers", 0.5, ("monotonicity",), strengths=(1.0,)),
            Fault("without controls, it moves the outcome by two SD", "excluded", 3.0, ("instrument_validity",),
                  strengths=(1.0,), fields=ONE_OUTCOME | {"covariates": []}),
            Fault("the instrument moves one in fifty", "weaker", 0.48, ("first_stage",), strengths=(1.0,)),
        )),
    ]  # fmt: skip
