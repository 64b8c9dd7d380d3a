"""How strong would a hidden cause have to be, beside a named covariate, to explain the answer away?"""

from causal_assets.diagnostics.grading import below, diagnostic
from causal_assets.types import Diagnostic, Estimate

AS_STRONG = 1.0  # a cause no stronger than the covariate named would do: such a cause is easily imagined


def robustness_value(
    primary: Estimate,
    linear: float,
    *,
    needed: float,
    needed_of_end: float,
    benchmark: str,
    times: float,
    named: bool = True,
) -> Diagnostic:
    """How many ``times`` as strong as ``benchmark`` a hidden cause must be to bring the effect to zero.

    ``linear`` is the regression's estimate, of which all this is said; ``needed`` and ``needed_of_end`` are the
    robustness values of the point and of its interval's end. They are functions of the estimate and so have no power
    against any fault: REVIEW at worst, and only where the protocol ``named`` the benchmark and there is an effect to
    explain away. The strongest covariate of any study may well be one that no hidden cause could match. A cause that is
    really there is not seen by this.

    Source: Cinelli & Hazlett (2020), Making sense of sensitivity, JRSS B 82(1).
    """
    clear = not primary.covers(0.0)
    said = (
        f"A hidden cause {times:.1f} times as strong as {benchmark} would be needed to bring the effect to zero"
        if clear
        else f"The interval holds zero, so there is nothing to explain away; the point would be gone with a hidden "
        f"cause {times:.1f} times as strong as {benchmark}"
    )
    return diagnostic(
        "robustness_value",
        below(times, review=AS_STRONG if clear and named else 0.0),
        times,
        f"{said}: one that explains {needed:.1%} of what is left of both treatment and outcome ({needed_of_end:.1%} "
        f"for the interval's end), by linear regression, which says {linear:+.4g}. Whether there is one: cannot know.",
        f"Ask what drove the treatment besides {benchmark}; find it and adjust for it, name a negative control, or "
        "randomise.",
    )
