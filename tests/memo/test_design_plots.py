"""Plots of the designs: the same each time, small, and drawn from the numbers they are given."""

import numpy as np
import pytest

from causal_assets.estimators.bacon import Comparison
from causal_assets.estimators.discontinuity import local_curve, robust_discontinuity
from causal_assets.memo import design_plots, plots
from causal_assets.types import Estimate

WHAT = design_plots.Axis("revenue", "store", money=True)


def estimate(value, **fields):
    given = {"outcome": "revenue", "estimand": "ATT", "method": "m", "value": value, "std_error": 1.0, "low": value - 2}
    given |= {"high": value + 2, "p_value": 0.5, "level": 0.95, "n_treated": 9, "n_control": 9, "control_mean": None}
    return Estimate(**(given | fields))


def drawings():
    times = {when: estimate(float(when > 0)) for when in (-3, -2, 0, 1, 2)}
    pairs = [Comparison(2, 5, 0.5, 1.0, False), Comparison(3, 2, 0.3, -1.0, True), Comparison(2, 3, 0.2, 2.0, False)]
    x = np.linspace(0.5, 9.5, 10)
    sides = [
        design_plots.Side("< 10", False, x, x, x[[0, -1]], x[[0, -1]]),
        design_plots.Side(">= 10", True, x + 10, x + 12, x[[0, -1]] + 10, x[[0, -1]] + 12),
    ]
    gaps, path = np.where(np.arange(40) < 30, 0.0, 3.0), np.sin(np.arange(40.0))
    days = (np.datetime64("2026-01-01") + np.arange(40)).tolist()
    course = design_plots.Course(gaps[30:], gaps[30:] - 1, gaps[30:] + 1)
    yield "event study", design_plots.event_study(times, -1, WHAT)
    yield "bacon", design_plots.bacon(pairs, 5, WHAT)
    yield "discontinuity", design_plots.discontinuity(sides, 10.0, "score", WHAT, shape="straight lines")
    yield "bandwidths", design_plots.over_bandwidths([1.0, 2.0], [estimate(1.0), estimate(2.0)], 2.0, "score", WHAT)
    yield "synthetic", design_plots.synthetic(path + gaps, gaps, list(range(40)), 30, WHAT, time="week")
    yield "donors", design_plots.donor_weights({f"city {k}": 0.05 for k in range(20)})
    yield "interrupted", design_plots.interrupted(path, course, course, days, WHAT, time="day", level=0.95)


def test_every_plot_is_small_and_the_same_each_time():
    for (name, first), (_, second) in zip(drawings(), drawings(), strict=True):
        text = plots.svg(first)
        assert text == plots.svg(second), name
        assert len(text) < 40_000, name
        assert "nan" not in text, name


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("event study", ("periods since adoption", "effect on revenue per store", "reference, 0 by definition")),
        ("bacon", ("with the already treated: 30% of the weight", "weight of the comparison")),
        ("discontinuity", ("score", "fits: straight lines", "&gt;= 10")),
        ("bandwidths", ("bandwidth, in score", "95% intervals")),
        ("synthetic", ("treated less weighted donors", "week", "treatment begins")),
        ("donors", ("weight of the donor; 8 more have 40% together",)),
        ("interrupted", ("effect, summed", "2026-01-01", "95% interval")),
    ],
)
def test_axes_and_legends_say_what_is_drawn(name, texts):
    drawn = plots.svg(dict(drawings())[name])
    for text in texts:
        assert text in drawn


def test_the_dashed_line_of_the_comparisons_is_their_weighted_mean():
    axes = dict(drawings())["bacon"].axes[0]
    (line,) = (line for line in axes.lines if "two-way estimate" in line.get_label())
    assert line.get_ydata()[0] == pytest.approx(0.5 * 1 + 0.3 * -1 + 0.2 * 2)


def test_an_infinite_interval_is_drawn_to_the_edge():
    wide = {0: estimate(1.0, low=-np.inf, high=np.inf), 1: estimate(2.0)}
    assert "nan" not in plots.svg(design_plots.event_study(wide, -1, WHAT))


def test_bins_hold_every_row_between_their_edges_once():
    rng = np.random.default_rng(0)
    x, edges = rng.uniform(0, 10, 500), np.linspace(0, 10, 11)
    mean_x, mean_y = design_plots.bins(np.append(x, [10.0, 11.0]), np.append(2 * x, [20.0, 0.0]), edges)
    assert mean_x.size == 10
    np.testing.assert_allclose(mean_y, 2 * mean_x)
    assert design_plots.bins(np.array([0.5, 9.5]), np.ones(2), edges)[0].tolist() == [0.5, 9.5]


@pytest.mark.parametrize("order", [1, 2])
def test_the_curves_meet_the_cutoff_at_the_conventional_jump(order):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, 800)
    y = x**2 + 0.7 * (x >= 0) + rng.normal(0, 0.2, 800)
    main = robust_discontinuity(y, x, outcome="y", bandwidth=0.4, order=order)
    left, right = (local_curve(y[side], x[side], [0.0], bandwidth=0.4, order=order)[0] for side in (x < 0, x >= 0))
    assert right - left == pytest.approx(main.conventional.value, rel=1e-9)
    with pytest.raises(ValueError, match="distinct values within the bandwidth"):
        local_curve(y, x, [0.0], bandwidth=1e-6, order=order)
