"""The memo's plots, also shown in the Dagster UI: one function per plot, returning a Figure, and two exporters.

Everything is drawn to be read at the width of a phone, and by shape as well as by colour.
"""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Sequence
from itertools import pairwise, takewhile
from math import isfinite
from typing import TYPE_CHECKING

from causal_assets.memo import words
from causal_assets.types import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 4.8  # inches; at 10 points still legible when a phone scales it to its own width
TREATED, CONTROL, GREY = "#0b5cad", "#b3541e", "#6b7280"  # blue and rust: apart for every common colour blindness
BALANCED = 0.1  # |SMD| below this is commonly called balanced: Austin (2009), Statistics in Medicine 28(25)
LABEL = 34  # characters of a method's name that fit beside its number


def _axes(height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    return figure, axes


def bars_of(estimates: Sequence[Estimate]) -> tuple[list[float], list[float], list[float]]:
    """Values, distances down and up; an infinite end is drawn to just beyond the widest finite one."""
    finite = [x for e in estimates for x in (e.low, e.value, e.high, 0.0) if isfinite(x)]
    pad = 0.15 * (max(finite) - min(finite)) or 1.0
    bottom, top = min(finite) - pad, max(finite) + pad
    values = [e.value for e in estimates]
    return values, [e.value - max(e.low, bottom) for e in estimates], [min(e.high, top) - e.value for e in estimates]


def money_ticks(x: float, _: float) -> str:
    """An amount on an axis, whole dollars without cents."""
    return words.number(x, money=True).removesuffix(".00")


def effect_over_time(
    points: Sequence[tuple[str, Estimate]], *, axis: str = "effect per unit", money: bool = False
) -> Figure:
    """Estimates with their intervals in the order given, one per labelled window; words all labels share are cut."""
    figure, axes = _axes(3.0)
    values, down, up = bars_of([estimate for _, estimate in points])
    places = range(len(points))
    axes.axhline(0, color=GREY, linewidth=1)
    axes.errorbar(places, values, yerr=[down, up], fmt="o", color=TREATED, markersize=6, linewidth=2)
    axes.set_xticks(places, words.split_names([words.name(label) for label, _ in points])[1])
    axes.set_xlim(-0.5, len(points) - 0.5)
    axes.set_title(axis, loc="left", fontsize=10)
    if money:
        axes.yaxis.set_major_formatter(money_ticks)
    axes.grid(axis="y", color="#e5e7eb")
    axes.set_axisbelow(True)
    return figure


def spectrum(estimates: Sequence[Estimate], *, axis: str = "effect per unit", money: bool = False) -> Figure:
    """One outcome by several methods, the study's own first (filled), its alternatives below (open)."""
    figure, axes = _axes(0.7 + 0.55 * len(estimates))
    show = words.shower(money=money, sign=True)
    values, down, up = bars_of(estimates)
    axes.axvline(0, color=GREY, linewidth=1)
    for place, estimate in enumerate(estimates):
        own = place == 0
        color = TREATED if own else GREY
        bar = [[down[place]], [up[place]]]
        face = color if own else "white"
        axes.errorbar(values[place], place, xerr=bar, fmt="o", color=color, mfc=face, markersize=7, linewidth=2)
        label = textwrap.shorten(_beside(method(estimates[0]), method(estimate)), LABEL, placeholder=" …")
        weight = "bold" if own else "normal"
        ends = words.interval(estimate.low, estimate.high, show)
        for x, side, text in ((0, "left", label), (1, "right", f"{show(estimate.value)}  [{ends}]")):
            drawn = axes.text(x, place - 0.3, text, transform=axes.get_yaxis_transform(), ha=side, weight=weight)
            drawn.set(fontsize=9, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})
    axes.set_ylim(len(estimates) - 0.5, -0.8)
    axes.set_yticks([])
    axes.set_xlabel(axis)
    if money:
        axes.xaxis.set_major_formatter(money_ticks)
    return figure


def _beside(own: str, other: str) -> str:
    """What tells another method from the study's own: long names that begin alike differ at their ends."""
    shared = len([*takewhile(lambda pair: pair[0] == pair[1], zip(own.split(), other.split(), strict=False))])
    rest = other.split()[shared:]
    return f"… {' '.join(rest)}" if rest and len(other) > LABEL else other


def method(estimate: Estimate) -> str:
    """A method's name after its estimand, which tells two uses of one method apart even where the name is cut short."""
    return f"{estimate.estimand}, {words.name(estimate.method)}"


def balance(rows: Sequence[tuple[str, float, float | None]]) -> Figure:
    """Love plot: standardised mean differences per covariate, largest first, before (open) and after (filled)."""
    rows = sorted(rows, key=lambda row: abs(row[1]))
    figure, axes = _axes(1.1 + 0.26 * len(rows))
    places = range(len(rows))
    after = [(place, value) for place, (_, _, value) in enumerate(rows) if value is not None]
    axes.axvline(0, color=GREY, linewidth=1)
    axes.axvspan(-BALANCED, BALANCED, color="#e5e7eb", zorder=0, label=f"within {BALANCED}")
    axes.plot([x for _, x, _ in rows], places, "o", color=CONTROL, mfc="white", label="before" if after else "observed")
    if after:
        axes.plot([x for _, x in after], [place for place, _ in after], "o", color=TREATED, label="after adjustment")
    axes.set_yticks(places, [words.covariate(name) for name, _, _ in rows], fontsize=9)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_xlabel("standardised mean difference")
    axes.set_xlim(min(-2 * BALANCED, *axes.get_xlim()), max(2 * BALANCED, *axes.get_xlim()))
    axes.locator_params(axis="x", nbins=5)
    figure.legend(loc="outside upper right", ncols=3, frameon=False, fontsize=9, handletextpad=0.2)
    return figure


def overlap(edges: Sequence[float], treated: Sequence[int], control: Sequence[int]) -> Figure:
    """Units per bin of the probability of treatment: treated upwards, control downwards."""
    figure, axes = _axes(3.0)
    widths = [right - left for left, right in pairwise(edges)]
    down = [-n for n in control]
    axes.bar(edges[:-1], treated, widths, align="edge", color=TREATED, edgecolor="white", label="treated (up)")
    axes.bar(edges[:-1], down, widths, align="edge", color=CONTROL, edgecolor="white", label="control (down)")
    axes.axhline(0, color=GREY, linewidth=1)
    axes.set_xlabel("estimated probability of treatment")
    axes.set_ylabel("units")
    axes.yaxis.set_major_formatter(lambda y, _: f"{abs(y):,.0f}")
    figure.legend(loc="outside upper right", ncols=2, frameon=False, fontsize=9)
    return figure


def svg(figure: Figure) -> str:
    """The figure as one ``<svg>`` element: the same figure gives the same text, with no date and no address."""
    import matplotlib as mpl

    buffer = io.StringIO()
    silent = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context({"svg.hashsalt": "memo", "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", metadata=silent)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def png_markdown(figure: Figure, alt: str) -> str:
    """The figure as one Markdown image, as the Dagster UI shows metadata."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120, metadata={"Software": None})
    return f"![{alt}](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})"
