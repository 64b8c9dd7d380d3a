"""How strong would a hidden cause have to be, as a risk ratio, to explain the answer away?"""

from causal_assets.diagnostics.grading import below, diagnostic
from causal_assets.types import Diagnostic


def e_value(of_estimate: float, of_end: float) -> Diagnostic:
    """The E-values of the estimate and of its interval's end nearer to no effect; told, never graded.

    Every small effect has a small one, true or not: graded, it would only ask for large effects.

    Source: VanderWeele & Ding (2017), Sensitivity analysis in observational research, Annals of Internal Medicine
    167(4).
    """
    return diagnostic(
        "e_value",
        below(of_end, review=1.0),  # none is smaller
        of_end,
        f"A hidden cause must go with both treatment and outcome by a risk ratio of {of_estimate:.2f} each, beyond the "
        f"covariates, to explain the estimate away, and of {of_end:.2f} to move its interval to no effect.",
        "Nothing to do.",
    )
