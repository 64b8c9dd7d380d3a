"""How strong would an unseen cause of mediator and outcome have to be to make the indirect effect?"""

from causal_assets.diagnostics.grading import below, diagnostic
from causal_assets.types import Diagnostic


def mediation_sensitivity(rho: float, covariates: float | None) -> Diagnostic:
    """Size of the error correlation ``rho`` at which the indirect effect is zero, beside the covariates' own.

    ``covariates`` is the correlation that the adjusted covariates would make were they left out, None where there are
    none. REVIEW at most: rho says how fragile the effect is, not whether such a cause exists, and no data can.

    Source: Imai, Keele & Yamamoto (2010), Stat. Science 25(1), sec. 5; the yardstick is ours.

    Raises:
        ValueError: a correlation outside [-1, 1].
    """
    for name, value in (("rho", rho), ("covariates", covariates or 0.0)):
        if not -1 <= value <= 1:
            raise ValueError(f"{name}: expected a correlation, got {value}")
    known = (
        "no covariate was adjusted for"
        if covariates is None
        else (f"leaving out the covariates that were adjusted for would make one of {covariates:+.2f}")
    )
    return diagnostic(
        "mediation_sensitivity",
        below(abs(rho), review=1.0 if covariates is None else abs(covariates)),
        abs(rho),
        f"The indirect effect is zero if unseen causes correlate mediator and outcome by {rho:+.2f}; {known}.",
        "Measure more of what moves mediator and outcome before the treatment, or randomise the mediator too.",
    )
