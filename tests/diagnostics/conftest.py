from collections.abc import Callable

import pytest

from causal_assets.types import Estimate


@pytest.fixture
def estimated() -> Callable[..., Estimate]:
    """An Estimate from its value and standard error, by the normal distribution."""
    from scipy.stats import norm

    def build(value: float, std_error: float, outcome: str = "spend") -> Estimate:
        half = 1.959964 * std_error
        return Estimate(
            outcome=outcome,
            estimand="ATO",
            method="planted",
            value=value,
            std_error=std_error,
            low=value - half,
            high=value + half,
            p_value=float(2 * norm.sf(abs(value) / std_error)),
            level=0.95,
            n_treated=100,
            n_control=100,
            control_mean=300.0,
        )

    return build
