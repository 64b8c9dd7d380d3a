"""The causal graph of a study, drawn: causes to the left of what they cause."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from causal_assets.estimators.causal_graph import TREATMENT, CausalGraph
from causal_assets.memo import words
from causal_assets.memo.plots import CONTROL, GREY, TREATED, WIDTH

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHARACTERS = 62  # of labels that fit side by side
STEP = 0.68  # inches from one name to the next below it: a mark and three lines
MARKERS = {  # kind: shape, face, edge; apart without colour, too
    TREATMENT: ("s", TREATED, TREATED),
    "outcome": ("D", CONTROL, CONTROL),
    "adjusted for": ("o", GREY, GREY),
    "not recorded": ("^", "white", GREY),
}


def causal_graph(graph: CausalGraph) -> Figure:
    """Treatment and outcome on the lowest line, the rest above in columns by topological generation."""
    from matplotlib.figure import Figure

    place = _places(graph)
    columns = 1 + max(column for column, _ in place.values())
    heights = [height for _, height in place.values()]
    figure = Figure(figsize=(WIDTH, 0.9 + STEP * (max(heights) - min(heights))), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    for cause, effect in graph.edges:
        style = {"arrowstyle": "-|>", "color": GREY, "linewidth": 0.9, "shrinkA": 7, "shrinkB": 7}
        axes.annotate("", xy=place[effect], xytext=place[cause], arrowprops=style)
    for kind, (shape, face, edge) in MARKERS.items():
        if names := [name for name in place if _kind(graph, name) == kind]:
            x, y = zip(*(place[name] for name in names), strict=True)
            axes.plot(x, y, shape, mfc=face, mec=edge, mew=1.4, markersize=9, linestyle="none", label=kind)
    for name, at in place.items():
        label = f"({words.name(name)})" if name in graph.unobserved else words.covariate(name)
        lines = "\n".join(textwrap.wrap(label, max(9, CHARACTERS // columns)))
        drawn = axes.annotate(lines, at, (0, -7), textcoords="offset points", ha="center", va="top", fontsize=8)
        drawn.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.3, "alpha": 0.8})
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(min(heights) - 0.6, max(heights) + 0.2)
    figure.legend(loc="outside upper left", ncols=4, frameon=False, fontsize=8, handletextpad=0.1, columnspacing=1)
    return figure


def _places(graph: CausalGraph) -> dict[str, tuple[int, float]]:
    """Column and height of each name; every other column is raised by half a step, so that arrows may pass below."""
    import networkx as nx

    place: dict[str, tuple[int, float]] = {}
    for column, names in enumerate(nx.topological_generations(graph.network)):
        above = sorted(set(names) - {TREATMENT, graph.outcome})
        middle = (len(above) - 1) / 2 + 0.5 * (column % 2)
        place |= dict.fromkeys(names, (column, 0.0))
        place |= {name: (column, middle - row) for row, name in enumerate(above)}
    lowest = min(height for _, height in place.values()) - 1
    return place | {name: (place[name][0], lowest) for name in (TREATMENT, graph.outcome)}


def _kind(graph: CausalGraph, name: str) -> str:
    if name in graph.unobserved:
        return "not recorded"
    return {TREATMENT: TREATMENT, graph.outcome: "outcome"}.get(name, "adjusted for")
