"""Does each protected group get its part of what targeting does?"""

from collections.abc import Mapping

from causal_assets.diagnostics.grading import diagnostic
from causal_assets.types import Diagnostic, Status

# From worst to best.
ORDER = (Status.FAIL, Status.REVIEW, Status.PASS)


def fairness(
    statuses: Mapping[str, Status], ratios: Mapping[str, tuple[float, float, float] | None], *, at_least: float
) -> Diagnostic:
    """The group that comes off worst: its benefit per unit over that of all others, against the protocol's rule.

    ``ratios`` are (value, low, high) by group, None where the others have no benefit; ``statuses`` compare their
    intervals with ``at_least``. Value is the worst group's ratio, 0 if it has none.

    Raises:
        ValueError: no group, or groups that differ.
    """
    if not ratios or statuses.keys() != ratios.keys():
        raise ValueError(f"ratios: expected the same groups as in statuses, got {sorted(ratios)}, {sorted(statuses)}")
    worst = min(ratios, key=lambda group: (ORDER.index(statuses[group]), (ratios[group] or (0.0,))[0]))
    told = "; ".join(f"{group} {_said(ratio)}" for group, ratio in ratios.items())
    return diagnostic(
        "fairness",
        (statuses[worst], at_least),
        (ratios[worst] or (0.0,))[0],
        f"Benefit per unit over that of all other units, at least {at_least:g} by the protocol: {told}.",
        f"Look at the price of giving {worst} more, or collect more of its units to know its ratio.",
    )


def _said(ratio: tuple[float, float, float] | None) -> str:
    return "unknown, for the others have none" if ratio is None else f"{ratio[0]:.2f} [{ratio[1]:.2f}, {ratio[2]:.2f}]"
