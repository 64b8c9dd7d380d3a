"""Under the causal graph that the study draws: are its covariates the right ones, and do the data refuse the graph?"""

from collections.abc import Mapping, Sequence

from causal_assets.diagnostics.grading import above, below, diagnostic
from causal_assets.types import Diagnostic, Status

# Adjusted for their number: one true graph in a hundred is asked about.
REVIEW_P = 0.01


def causal_graph(
    descendants: Sequence[str],
    open_paths: Sequence[str],
    opened: Sequence[str],
    sets: Sequence[Sequence[str]],
    tested: Mapping[str, tuple[float, float]],
) -> Diagnostic:
    """The first four are the fields of ``estimators.causal_graph.Adjustment``.

    ``tested`` has the partial correlation and the p-value of each independence that the graph implies. An adjusted
    descendant of the treatment is FAIL: the graph itself says that it is wrong. A path left open, or an independence
    that the data refuse, is REVIEW: the value is the number of paths, or else the smallest p-value times their number.
    """
    if descendants:
        names = ", ".join(descendants)
        return diagnostic(
            "causal_graph",
            above(float(len(descendants)), review=0.0, fail=0.0),
            len(descendants),
            f"The graph says that the treatment changes {names}, which the study adjusts for: that takes part of the "
            "effect out of it, or lets bias in.",
            f"Take {names} out of the covariates, or read as of before the treatment.",
        )
    enough = " or ".join(_listed(names) for names in sets)
    if open_paths:
        return diagnostic(
            "causal_graph",
            above(float(len(open_paths)), review=0.0),
            len(open_paths),
            f"With all covariates known, the graph leaves {open_paths[0]} open"
            + (f" and {len(open_paths) - 1} more" if open_paths[1:] else "")
            + (f"; adjusting for {', '.join(opened)} opens it" if opened else "")
            + f". {f'Enough would be {enough}' if sets else 'No set of observed covariates closes every way'}.",
            f"Adjust for {f'{_listed(sets[0])} only' if sets[0] else 'none of them'}."
            if sets
            else "Record what is missing, or randomise.",
        )
    told = f"Under the graph drawn, the covariates are enough (so would be {enough})."
    if not tested:
        return diagnostic(
            "causal_graph", (Status.PASS, 0.0), 0.0, f"{told} It implies nothing to test.", "Nothing to do."
        )
    statement, (correlation, p) = min(tested.items(), key=lambda item: item[1][1])
    adjusted = min(1.0, p * len(tested))
    return diagnostic(
        "causal_graph",
        below(adjusted, review=REVIEW_P),
        adjusted,
        f"{told} It implies that {statement} are independent: their partial correlation is {correlation:+.3f} "
        f"(p = {adjusted:.2g} for the furthest off of {len(tested)}).",
        "Something that the graph leaves out connects them: draw it, and read again what must be adjusted for.",
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "nothing"
