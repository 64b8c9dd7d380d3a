"""The page a decision-maker reads: one self-contained HTML file per study."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from causal_assets.memo import consequences, graph_plot, plots, sentences, words
from causal_assets.memo.facts import MemoFacts, Reading
from causal_assets.types import GAIN, Role, Status

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MemoFacts", "render"]


class Picture(NamedTuple):
    """A plot as a data address, and its content in words for who cannot see it."""

    address: str
    alt: str


def render(facts: MemoFacts) -> str:
    """The memo as HTML text: no script, nothing loaded from elsewhere, the same facts give the same bytes."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    house = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    design, assumptions = sentences.design(facts)
    page = house.get_template("memo.html.j2").render(
        facts=facts,
        words=words,
        sentences=sentences,
        gain=GAIN,
        effect="Difference" if facts.reading is Reading.NOT_AN_EFFECT else "Effect",
        rows=[sentences.row(facts, role, estimate) for role, estimate in facts.outcomes],
        design=design,
        weighed=consequences.benefits_and_harms(facts),
        costs=consequences.costs(facts),
        changes=consequences.what_would_change(facts),
        assumptions=assumptions,
        findings={status: [d for d in facts.diagnostics if d.status is status] for status in Status},
        over_time=_over_time(facts),
        spectrum=_spectrum(facts),
        balance=_balance(facts),
        overlap=_overlap(facts),
        drawn=_drawn(facts),
        pictures={title: _picture(figure, title) for title, figure in facts.figures.items()},
    )
    return words.english(page, facts.unit)


def _picture(figure: "Figure", alt: str) -> Picture:
    """An image, not inline SVG: its ids and styles stay its own, and nothing in the page escapes escaping."""
    encoded = base64.b64encode(plots.svg(figure).encode()).decode()
    return Picture(f"data:image/svg+xml;base64,{encoded}", alt)


def _axis(facts: MemoFacts, outcome: str) -> str:
    what = "difference in" if facts.reading is Reading.NOT_AN_EFFECT else "effect on"
    return f"{what} {outcome}, per {facts.unit}"


def _over_time(facts: MemoFacts) -> Picture | None:
    estimates = [e for role, e in facts.others if role is Role.OVER_TIME]
    if not estimates:
        return None
    shared, labels = words.split_names([words.name(e.outcome) for e in estimates])
    points = list(zip(labels, estimates, strict=True))
    money = estimates[0].outcome in facts.currency_outcomes
    figure = plots.effect_over_time(points, axis=_axis(facts, shared or "the outcome"), money=money)
    return _picture(figure, "; ".join(f"{label}: {sentences.described(e, money)}" for label, e in points))


def _spectrum(facts: MemoFacts) -> Picture | None:
    if facts.primary is None or not facts.alternatives:
        return None
    estimates = (facts.primary, *facts.alternatives)
    money = facts.primary.outcome in facts.currency_outcomes
    figure = plots.spectrum(estimates, axis=_axis(facts, words.name(facts.primary.outcome)), money=money)
    return _picture(figure, "; ".join(f"{plots.method(e)}: {sentences.described(e, money)}" for e in estimates))


def _balance(facts: MemoFacts) -> Picture | None:
    if not facts.balance:
        return None
    final = [(name, before if after is None else after) for name, before, after in facts.balance]
    name, worst = max(final, key=lambda row: abs(row[1]))
    alt = f"Balance of {len(final)} covariates. Largest remaining difference: {worst:.2f}, {words.covariate(name)}."
    return _picture(plots.balance(facts.balance), alt)


def _drawn(facts: MemoFacts) -> Picture | None:
    if facts.causal_graph is None:
        return None
    edges = "; ".join(f"{cause} causes {effect}" for cause, effect in facts.causal_graph.edges)
    return _picture(graph_plot.causal_graph(facts.causal_graph), f"Causal graph: {edges}.")


def _overlap(facts: MemoFacts) -> Picture | None:
    if facts.propensity is None:
        return None
    edges, treated, control = facts.propensity
    shared = sum(t + c for t, c in zip(treated, control, strict=True) if t and c)
    alt = f"Probability of treatment by arm. {shared:,} of {sum(treated) + sum(control):,} units share a bin with both."
    return _picture(plots.overlap(edges, treated, control), alt)
