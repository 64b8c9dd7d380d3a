"""Plots that belong to one design, drawn as the memo's others are: see ``plots``. Arrays in, a Figure out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causal_assets.memo import words
from causal_assets.memo.plots import CONTROL, GREY, TREATED, WIDTH, bars_of, money_ticks
from causal_assets.types import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from causal_assets.estimators.bacon import Comparison

Floats = NDArray[np.float64]

PANEL = 2.1  # inches a panel is high where several share an axis
LETTERS = 34  # of periods' labels that fit side by side
NICE = (1, 2, 5, 10, 20, 25, 50, 100, 200, 500, 1000)  # steps between numbers as labels
LIGHT = "#e5e7eb"
BAND = 0.18  # opacity of an interval that is an area
MOST_BARS = 12  # more donors than this cannot be read


@dataclass(frozen=True)
class Axis:
    """What a number is: the outcome's name, whose it is, and whether it is money."""

    outcome: str
    unit: str
    money: bool = False

    @property
    def label(self) -> str:
        """The outcome, with what it is counted in and for whom."""
        return f"{words.name(self.outcome)} per {self.unit}"

    def draw(self, axes: Axes, text: str) -> None:
        """Name the vertical axis above it, where it is read first, and write money as money."""
        axes.set_title(text, loc="left", fontsize=10)
        if self.money:
            axes.yaxis.set_major_formatter(money_ticks)


def _panels(*heights: float, share: bool = True) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, sum(heights)), layout="constrained")
    found = figure.subplots(len(heights), sharex=share, height_ratios=heights, squeeze=False)[:, 0]
    for axes in found:
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0)
        axes.grid(axis="y", color=LIGHT)
        axes.set_axisbelow(True)
    return figure, list(found)


def _legend(figure: Figure, columns: int) -> None:
    figure.legend(loc="outside lower left", ncols=columns, frameon=False, fontsize=9, handletextpad=0.5)


def _periods(axes: Axes, periods: Sequence[Any], name: str) -> None:
    """Label positions 0, 1, ... with as many of the periods as fit, the first among them."""
    labels = [str(period).removesuffix(" 00:00:00") for period in periods]
    fitting = max(LETTERS // (max(map(len, labels)) + 2), 1)
    least = -(-len(labels) // fitting)
    numbers = all(isinstance(period, int | float) for period in periods)
    step = next((nice for nice in NICE if nice >= least), least) if numbers else least
    axes.set_xticks(range(0, len(labels), step), labels[::step])
    axes.set_xlabel(words.name(name))


def _begins(axes: Axes, pre: int, *, label: bool = False) -> None:
    """Mark where treatment begins: between the last period without and the first with it."""
    axes.axvline(pre - 0.5, color=GREY, linewidth=1, linestyle=":", label="treatment begins" if label else None)


# --- difference-in-differences ----------------------------------------------------------------------------------------


def event_study(times: Mapping[int, Estimate], reference: int, what: Axis) -> Figure:
    """Effects by periods since adoption, their simultaneous intervals, and the period that all are measured against."""
    figure, (axes,) = _panels(3.2)
    places = sorted(times)
    values, down, up = bars_of([times[k] for k in places])
    axes.axhline(0, color=GREY, linewidth=1)
    axes.axvline(-0.5, color=GREY, linewidth=1, linestyle=":")
    axes.plot([reference], [0], "o", color=GREY, mfc="white", markersize=6, label="reference, 0 by definition")
    for own, color, shape, label in ((False, CONTROL, "s", "before adoption"), (True, TREATED, "o", "after adoption")):
        at = [k for k, place in enumerate(places) if (place >= 0) == own]
        if at:
            bars = [[down[k] for k in at], [up[k] for k in at]]
            axes.errorbar(
                [places[k] for k in at], [values[k] for k in at], yerr=bars, fmt=shape, color=color, markersize=5,
                linewidth=1.5, label=label,
            )  # fmt: skip
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel("periods since adoption")
    level = words.level(next(iter(times.values())).level)
    what.draw(axes, f"effect on {what.label}, {level} for all periods together")
    _legend(figure, 2)
    return figure


def bacon(pairs: Sequence[Comparison], periods: int, what: Axis) -> Figure:
    """Every comparison of two adoption dates in the two-way estimate: its own estimate against its weight, by kind."""
    figure, (axes,) = _panels(3.4)
    axes.axhline(0, color=GREY, linewidth=1)
    kinds = (
        ("with the never treated", "o", TREATED, [p for p in pairs if p.control == periods]),
        ("with the not yet treated", "^", GREY, [p for p in pairs if not p.forbidden and p.control < periods]),
        ("with the already treated", "x", CONTROL, [p for p in pairs if p.forbidden]),
    )
    for name, shape, color, chosen in kinds:
        if chosen:
            share = words.percent(sum(p.weight for p in chosen)).removeprefix("+")
            axes.plot([p.weight for p in chosen], [p.value for p in chosen], shape, color=color, markersize=6,
                      label=f"{name}: {share} of the weight")  # fmt: skip
    total = sum(p.weight * p.value for p in pairs)
    axes.axhline(total, color=TREATED, linewidth=1, linestyle="--", label="their weighted mean, the two-way estimate")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(lambda x, _: f"{100 * x:g}%")
    axes.set_xlabel("weight of the comparison")
    what.draw(axes, f"effect on {what.label}, by comparison")
    _legend(figure, 1)
    return figure


# --- regression discontinuity -----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Side:
    """One side of a cutoff: means ``y`` of bins centred at ``x``, and a fitted curve through ``at`` (m,)."""

    name: str
    treated: bool
    x: Floats
    y: Floats
    at: Floats
    curve: Floats


def bins(x: Floats, y: Floats, edges: Floats) -> tuple[Floats, Floats]:
    """Mean ``x`` and ``y`` (n,) of the rows in each bin between ``edges``, bins without rows left out."""
    inside = (x >= edges[0]) & (x <= edges[-1])
    code = np.clip(np.searchsorted(edges, x[inside], side="right") - 1, 0, edges.size - 2)
    size = np.bincount(code, minlength=edges.size - 1)
    full = size > 0
    sums = (np.bincount(code, values[inside], edges.size - 1)[full] for values in (x, y))
    mean_x, mean_y = (total / size[full] for total in sums)
    return mean_x, mean_y


def discontinuity(sides: Sequence[Side], cutoff: float, running: str, what: Axis, *, shape: str) -> Figure:
    """Binned means and the local fits on both sides of the cutoff; ``shape`` says what was fitted.

    The fits are those of the outcome alone, without covariates and without the correction for bias.
    """
    figure, (axes,) = _panels(3.4)
    axes.axvline(cutoff, color=GREY, linewidth=1, linestyle=":")
    for side in sides:
        color, marker = (TREATED, "o") if side.treated else (CONTROL, "s")
        axes.plot(side.x, side.y, marker, color=color, mfc="white", markersize=4, linestyle="none")
        axes.plot(side.at, side.curve, color=color, linewidth=2.5, label=side.name)
        axes.plot([], [], marker, color=color, mfc="white", markersize=4, label="mean of a bin")
    axes.set_xlabel(f"{words.name(running)}\n(fits: {shape})")
    what.draw(axes, what.label)
    _legend(figure, 2)
    return figure


def over_bandwidths(
    widths: Sequence[float], estimates: Sequence[Estimate], own: float, running: str, what: Axis
) -> Figure:
    """The jump at each bandwidth with its interval, the study's ``own`` filled."""
    figure, (axes,) = _panels(2.8)
    axes.axhline(0, color=GREY, linewidth=1)
    values, down, up = bars_of(estimates)
    for k, width in enumerate(widths):
        chosen = width == own
        color = TREATED if chosen else GREY
        axes.errorbar(
            width, values[k], yerr=[[down[k]], [up[k]]], fmt="o", color=color, mfc=color if chosen else "white",
            markersize=6, linewidth=2, label="the study's own" if chosen else None,
        )  # fmt: skip
    axes.set_xlim(left=0)
    axes.set_xlabel(f"bandwidth, in {words.name(running)}")
    what.draw(axes, f"effect on {what.label} at the cutoff, {words.level(estimates[0].level)} intervals")
    _legend(figure, 1)
    return figure


# --- synthetic control ------------------------------------------------------------------------------------------------


def synthetic(treated: Floats, gaps: Floats, periods: Sequence[Any], pre: int, what: Axis, *, time: str) -> Figure:
    """The treated beside their weighted donors (t,), and the gap between them; treatment begins with period ``pre``."""
    figure, (paths, gap) = _panels(PANEL, PANEL - 0.3)
    when = np.arange(len(periods))
    paths.plot(when, treated, color=TREATED, linewidth=2, label="treated")
    paths.plot(when, treated - gaps, color=CONTROL, linewidth=2, linestyle="--", label="weighted donors")
    what.draw(paths, what.label)
    gap.axhline(0, color=GREY, linewidth=1)
    gap.plot(when, gaps, color=TREATED, linewidth=1.5)
    mean = float(gaps[pre:].mean())
    gap.plot(when[[pre, -1]], [mean, mean], color=TREATED, linewidth=1, linestyle=":", label="mean gap, the effect")
    what.draw(gap, "treated less weighted donors")
    for axes in (paths, gap):
        _begins(axes, pre, label=axes is paths)
    _periods(gap, periods, time)
    _legend(figure, 2)
    return figure


def donor_weights(weights: Mapping[str, float]) -> Figure:
    """The heaviest donors' weights as bars, largest on top; how many more there are is said."""
    ranked = sorted(weights.items(), key=lambda item: -abs(item[1]))
    kept, rest = ranked[:MOST_BARS], ranked[MOST_BARS:]
    figure, (axes,) = _panels(0.9 + 0.26 * len(kept))
    axes.grid(visible=False)
    axes.axvline(0, color=GREY, linewidth=1)
    places = range(len(kept))
    colors = [TREATED if weight >= 0 else CONTROL for _, weight in kept]
    drawn = axes.barh(places, [weight for _, weight in kept], color=colors, height=0.7)
    axes.bar_label(drawn, [words.percent(weight).removeprefix("+") for _, weight in kept], padding=3, fontsize=9)
    axes.set_yticks(places, [name for name, _ in kept], fontsize=9)
    axes.set_ylim(len(kept) - 0.4, -0.6)
    axes.margins(x=0.15)
    axes.xaxis.set_major_formatter(lambda x, _: f"{100 * x:g}%".replace("-", words.MINUS))
    more = (
        f"; {len(rest)} more have {words.percent(sum(w for _, w in rest)).removeprefix('+')} together" if rest else ""
    )
    axes.set_xlabel(f"weight of the donor{more}")
    return figure


# --- interrupted time series ------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Course:
    """A posterior by period: ``value``, ``low`` and ``high`` (h,)."""

    value: Floats
    low: Floats
    high: Floats


def interrupted(
    observed: Floats, effect: Course, summed: Course, periods: Sequence[Any], what: Axis, *, time: str, level: float
) -> Figure:
    """Observed against forecast without the intervention, the effect by period, and its sum since the intervention."""
    figure, (paths, each, total) = _panels(PANEL, PANEL - 0.3, PANEL - 0.3)
    when, start = np.arange(observed.size), observed.size - effect.value.size
    after = when[start:]
    paths.plot(when, observed, color=TREATED, linewidth=1.5, label="observed")
    without = Course(*(observed[start:] - part for part in (effect.value, effect.high, effect.low)))
    paths.plot(after, without.value, color=CONTROL, linewidth=1.5, linestyle="--", label="forecast without it")
    for axes, course, color in ((paths, without, CONTROL), (each, effect, TREATED), (total, summed, TREATED)):
        label = f"{words.level(level)} interval" if axes is paths else None
        axes.fill_between(after, course.low, course.high, color=color, alpha=BAND, linewidth=0, label=label)
        _begins(axes, start, label=axes is paths)
    for axes, course, text in ((each, effect, f"effect per {what.unit}"), (total, summed, "effect, summed")):
        axes.axhline(0, color=GREY, linewidth=1)
        axes.plot(after, course.value, color=TREATED, linewidth=1.5)
        what.draw(axes, text)
    what.draw(paths, what.label)
    _periods(total, periods, time)
    _legend(figure, 2)
    return figure


def specification_curve(primary: Estimate, specifications: Sequence[Estimate], *, money: bool = False) -> Figure:
    """Every specification by size with its interval, those clear of zero filled; the study's own answer as a line."""
    figure, (axes,) = _panels(3.0)
    ordered = sorted(specifications, key=lambda estimate: estimate.value)
    values, down, up = bars_of(ordered)
    places = np.arange(len(ordered))
    clear = np.array([not estimate.covers(0.0) for estimate in ordered])
    axes.axhline(0, color=GREY, linewidth=1)
    axes.axhline(primary.value, color=TREATED, linestyle="--", linewidth=1, label="the study's answer")
    axes.errorbar(places, values, yerr=[down, up], fmt="none", ecolor=GREY, linewidth=1)
    for chosen, face, label in ((clear, TREATED, "clear of zero"), (~clear, "white", "not clear")):
        if chosen.any():
            drawn = np.array(values)[chosen]
            axes.plot(places[chosen], drawn, "o", color=TREATED, mfc=face, markersize=5, label=label)
    axes.set_xticks([])
    axes.set_xlabel(f"{len(ordered)} specifications, by size")
    if money:
        axes.yaxis.set_major_formatter(money_ticks)
    figure.legend(loc="outside upper right", ncols=3, frameon=False, fontsize=9, handletextpad=0.2)
    return figure
