import base64
import re
from dataclasses import replace
from math import inf
from xml.etree import ElementTree

import pytest

from causal_assets.memo import plots
from causal_assets.types import Role


def drawings(facts):
    yield (
        "over time",
        lambda: plots.effect_over_time(
            [(e.outcome, e) for role, e in facts.others if role is Role.OVER_TIME], money=True
        ),
    )
    yield "spectrum", lambda: plots.spectrum((facts.primary, *facts.alternatives), money=True)
    yield "balance", lambda: plots.balance(facts.balance)
    yield "overlap", lambda: plots.overlap(*facts.propensity)


def test_every_plot_is_small_self_contained_and_the_same_each_time(unidentified):
    for name, draw in drawings(unidentified):
        first, second = plots.svg(draw()), plots.svg(draw())
        assert first == second, name
        assert len(first) < 40_000, name
        assert ElementTree.fromstring(first).tag.endswith("svg"), name
        addresses = set(re.findall(r"https?://[^\"' ]+", first))
        assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}, name


def test_the_spectrum_prints_every_method_with_its_number(unidentified):
    drawn = plots.svg(plots.spectrum((unidentified.primary, *unidentified.alternatives), money=True))
    for text in ("ATO, AIPW", "+$30.10", "naive, difference in means", "+$276", "−$11.20"):
        assert text in drawn


@pytest.mark.parametrize("ends", [(-inf, inf), (-inf, 3.0), (1.0, inf)])
def test_an_unbounded_interval_can_be_drawn(shipped, ends):
    wide = replace(shipped.primary, low=ends[0], high=ends[1])
    for figure in (plots.spectrum([wide, shipped.primary]), plots.effect_over_time([("week 1", wide)])):
        assert "nan" not in plots.svg(figure)


def test_a_single_exact_zero_can_be_drawn(shipped):
    still = replace(shipped.primary, value=0.0, low=0.0, high=0.0)
    assert "<svg" in plots.svg(plots.spectrum([still]))


def test_the_balance_plot_takes_rows_that_were_never_adjusted(shipped):
    drawn = plots.svg(plots.balance(shipped.balance))
    assert "observed" in drawn
    assert "after adjustment" not in drawn


def test_a_plot_becomes_one_markdown_image(shipped):
    text = plots.png_markdown(plots.balance(shipped.balance), "balance")
    encoded = re.fullmatch(r"!\[balance\]\(data:image/png;base64,([A-Za-z0-9+/=]+)\)", text)
    assert encoded
    assert base64.b64decode(encoded[1]).startswith(b"\x89PNG")
