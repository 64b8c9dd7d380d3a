"""Plots of an uplift study: who is ranked first, whether predictions come true, and what a budget buys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from causal_assets.memo.design_plots import BAND, LIGHT
from causal_assets.memo.plots import GREY, TREATED, WIDTH, money_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from causal_assets.targeting.allocation import FrontierPoint
    from causal_assets.targeting.calibration import SortedGroups
    from causal_assets.targeting.measures import Curve

PANEL = 2.6  # inches a treatment's panel is high


def uplift_curves(curves: Mapping[str, Curve], *, money: bool) -> Figure:
    """Gain per unit against the share treated, best first, with its band; the straight line is to treat at random."""
    figure, panels = _stacked(curves, "share of units treated, the most responsive first")
    for axes, (arm, curve) in zip(panels, curves.items(), strict=True):
        _titled(axes, f"gain per unit from {arm}", money)
        axes.plot([0, 1], [0, curve.value[-1]], color=GREY, linewidth=1, linestyle="--", label="at random")
        axes.fill_between(curve.share, curve.low, curve.high, color=TREATED, alpha=BAND, linewidth=0)
        axes.plot(curve.share, curve.value, color=TREATED, label="by the model")
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:.0%}")
    panels[0].legend(frameon=False, fontsize=9, loc="best")
    return figure


def calibration(groups: Mapping[str, SortedGroups], *, money: bool) -> Figure:
    """Realised effect with its interval against the predicted one, by tenth; on the line predictions come true."""
    figure, panels = _stacked(groups, "predicted effect")
    for axes, (arm, found) in zip(panels, groups.items(), strict=True):
        _titled(axes, f"realised effect of {arm}", money)
        x, y, low, high = (
            np.array([getattr(group, name) for group in found.groups])
            for name in ("predicted", "realised", "low", "high")
        )
        ends = [min(x.min(), 0.0), max(x.max(), 0.0)]
        axes.plot(ends, ends, color=GREY, linewidth=1, linestyle="--")
        axes.axhline(0, color=GREY, linewidth=1)
        axes.errorbar(x, y, yerr=[y - low, high - y], fmt="o", color=TREATED, markersize=4, elinewidth=1.2)
        if money:
            axes.xaxis.set_major_formatter(money_ticks)
    return figure


def profit_against_spend(points: Sequence[FrontierPoint], budget: float | None) -> Figure:
    """Predicted profit against spend; the slope is what one more dollar brings."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, PANEL), layout="constrained")
    axes = figure.subplots()
    _plain(axes)
    _titled(axes, "predicted profit of the campaign", True)
    spend, profit = ([0.0, *(getattr(point, name) for point in points)] for name in ("spend", "profit"))
    profit[0] = min(profit[0], points[0].profit) if points[0].spend == 0 else profit[0]
    axes.plot(spend, profit, color=TREATED, marker="o", markersize=4)
    if budget is not None:
        axes.axvline(budget, color=GREY, linewidth=1, linestyle="--")
        axes.annotate("budget", (budget, 0), xytext=(4, 4), textcoords="offset points", color=GREY, fontsize=9)
    axes.set_xlabel("spend")
    axes.xaxis.set_major_formatter(money_ticks)
    return figure


def _stacked(of: Mapping[str, object], x: str) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, PANEL * len(of)), layout="constrained")
    panels = list(figure.subplots(len(of), squeeze=False)[:, 0])
    for axes in panels:
        _plain(axes)
    panels[-1].set_xlabel(x)
    return figure, panels


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    axes.grid(axis="y", color=LIGHT)


def _titled(axes: Axes, text: str, money: bool) -> None:
    axes.set_title(text, loc="left", fontsize=10)
    if money:
        axes.yaxis.set_major_formatter(money_ticks)
