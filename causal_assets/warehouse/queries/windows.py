"""Sums of the additive mart over windows relative to each unit's day of assignment, as SQL text."""

from collections.abc import Sequence
from dataclasses import dataclass

from causal_assets.protocol import Covariate, Outcome
from causal_assets.warehouse.engine import identifier, literal

# The column of a primary outcome over a window of the same length that ends with assignment.
BEFORE = "primary_before"
# The column of exposures before assignment.
EXPOSED_BEFORE = "exposed_before"
# Far enough to reach the first day of any data; a window without a start means all days before its end.
EVER = 36_500


# Fixed point adds exactly, so that a sum does not depend on which thread adds first; twelve decimals lose nothing that
# a float of a metric's size holds.
FIXED = "DECIMAL(38, 12)"


def exact_sum(value: str, inside: str = "") -> str:
    """SQL sum of a metric's values that is the same on every run."""
    return f"CAST(sum(CAST({value} AS {FIXED})) {inside} AS DOUBLE)"


@dataclass(frozen=True)
class Window:
    """One column: a metric over the days [start, end) after assignment (negative: before)."""

    name: str
    metric: str
    start: int
    end: int
    statistic: str = "sum"
    transform: str = "none"

    def column(self, assigned_on: str) -> str:
        """SQL aggregate over the joined days of one unit; a unit without events has a defined value, zero if a sum."""
        inside = (
            f"FILTER (WHERE d.metric = {literal(self.metric)} AND d.day >= {assigned_on} + {self.start} "
            f"AND d.day < {assigned_on} + {self.end})"
        )
        if self.statistic == "sum":
            value = f"coalesce({exact_sum('d.value', inside)}, 0)"
        elif self.statistic == "recency":
            value = f"CAST(coalesce(min({assigned_on} - d.day) {inside}, {-self.start}) AS DOUBLE)"
        else:
            value = f"CAST(coalesce(max({assigned_on} - d.day) {inside}, 0) AS DOUBLE)"
        if self.transform == "log1p":  # of the size, with its sign kept, so that a net refund is no error
            value = f"sign({value}) * ln(1 + abs({value}))"
        return f"{value} AS {identifier(self.name)}"


def covariate_windows(covariates: Sequence[Covariate]) -> list[Window]:
    """The windows of a study's covariates, all before assignment."""
    return [
        Window(
            name,
            covariate.metric,
            -EVER if start is None else start,
            end or 0,
            covariate.statistic,
            covariate.transform,
        )
        for covariate in covariates
        for name, (start, end) in zip(covariate.names(), covariate.windows, strict=True)
    ]


def outcome_windows(outcomes: Sequence[Outcome]) -> list[Window]:
    """The windows of a study's outcomes, the day of assignment included."""
    return [Window(outcome.name, outcome.metric, 0, outcome.days) for outcome in outcomes]


def course_windows(primary: Outcome) -> list[Window]:
    """The primary outcome's window cut into weeks, or into four-week parts where it is long."""
    step = 7 if primary.days <= 35 else 28
    weeks = step // 7

    def name(part: int) -> str:
        first = part * weeks + 1
        return f"{primary.metric}_week_{first}" if weeks == 1 else f"{primary.metric}_weeks_{first}_{first + weeks - 1}"

    return [Window(name(k), primary.metric, k * step, (k + 1) * step) for k in range(primary.days // step)]


def window_sums(units: str, source: str, windows: Sequence[Window]) -> str:
    """One row per unit of ``units`` (unit_id, assigned_on) with one column per window.

    A left join from the units: who did nothing stays in, with zero.
    """
    columns = ",\n    ".join(window.column("u.assigned_on") for window in windows)
    metrics = ", ".join(literal(metric) for metric in sorted({window.metric for window in windows}))
    first = min(window.start for window in windows)
    last = max(window.end for window in windows)
    return f"""
SELECT
    u.unit_id,
    {columns}
FROM {units} AS u
LEFT JOIN marts.unit_days AS d
    ON d.unit_id = u.unit_id AND d.source = {literal(source)} AND d.metric IN ({metrics})
    AND d.day >= u.assigned_on + {first} AND d.day < u.assigned_on + {last}
GROUP BY u.unit_id"""
