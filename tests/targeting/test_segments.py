import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linprog
from scipy.stats import binomtest

from causal_assets.estimators.inference import Refusal
from causal_assets.targeting.segments import (
    SEGMENTS,
    Segment,
    Stratum,
    segment_effects,
    segments,
    strata,
    tighter_sides,
)

SEEDS = 400
# Shares of persuaded, always, never and deterred units by group; in none of these is it close which side is tighter.
WORLD = np.array([[0.35, 0.55, 0.05, 0.05], [0.05, 0.15, 0.45, 0.35], [0.3, 0.15, 0.5, 0.05]])
ORDER = (Stratum.PERSUADED, Stratum.ALWAYS, Stratum.NEVER, Stratum.DETERRED)


def test_each_interval_and_baseline_has_its_segment():
    low, high = [0.1, -0.2, -0.2, -0.5, 0.0], [0.3, 0.2, 0.2, -0.1, 0.4]
    found = segments(low, high, [0.9, 0.5, 0.49, 0.9, 0.1], cut=0.5)
    assert [SEGMENTS[s] for s in found] == [
        Segment.PERSUADABLE, Segment.SURE_THING, Segment.LOST_CAUSE, Segment.DO_NOT_DISTURB, Segment.LOST_CAUSE,
    ]  # fmt: skip


@given(arrays(np.float64, (3, 12), elements=st.floats(-1, 1)), st.floats(-1, 1))
def test_each_unit_has_one_segment_that_mirrors_with_its_effect(ends, cut):
    low, high = np.sort(ends[:2], axis=0)
    found, mirrored = segments(low, high, ends[2], cut=cut), segments(-high, -low, ends[2], cut=cut)
    assert set(found.tolist()) <= set(range(4))
    persuadable, disturbed = SEGMENTS.index(Segment.PERSUADABLE), SEGMENTS.index(Segment.DO_NOT_DISTURB)
    np.testing.assert_array_equal(found == persuadable, mirrored == disturbed)
    np.testing.assert_array_equal((found == persuadable) | (found == disturbed), (low > 0) | (high < 0))


@pytest.mark.parametrize("effects", [(0.8, 0.1, 0.0, -0.6), (0.0, 0.0, 0.0, 0.0)])
def test_the_realised_effects_of_all_four_are_covered_at_once(effects):
    covered, first = 0, []
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        segment = rng.choice(4, 400, p=[0.1, 0.3, 0.5, 0.1])
        found = segment_effects(segment, np.array(effects)[segment] + rng.normal(0, 2, 400), outcome="visit")
        covered += all(f.effect.covers(truth) for f, truth in zip(found, effects, strict=True))
        first.append(found[0].effect.value)
        assert sum(f.share for f in found) == pytest.approx(1.0)
    assert binomtest(covered, SEEDS, 0.95, alternative="less").pvalue > 0.05
    assert abs(np.mean(first) - effects[0]) <= 3 * np.std(first) / np.sqrt(SEEDS)


def test_a_segments_effect_is_its_mean_score_and_few_units_have_none():
    segment = np.repeat([0, 1, 2], [8, 7, 4])
    psi = np.arange(19.0) ** 2
    found = segment_effects(segment, psi, outcome="visit", level=0.9)
    assert [f.units for f in found] == [8, 7, 4, 0]
    assert [f.effect is None for f in found] == [False, False, True, True]
    assert found[0].effect.value == pytest.approx(psi[:8].mean())
    assert found[0].effect.std_error == pytest.approx(psi[:8].std(ddof=1) / np.sqrt(8))
    order = np.random.default_rng(0).permutation(19)
    moved = segment_effects(segment[order], psi[order], outcome="visit", level=0.9)
    assert moved[1].effect.low == pytest.approx(found[1].effect.low, rel=1e-10)
    copied = segment_effects(
        np.repeat(segment, 2), np.repeat(psi, 2), outcome="visit", level=0.9, cluster=np.repeat(np.arange(19), 2)
    )
    assert copied[1].effect.low == pytest.approx(found[1].effect.low, rel=1e-10)


def _margins(world):
    """P(Y0 = 1) and P(Y1 = 1) by group."""
    return np.column_stack([world[:, 1] + world[:, 3], world[:, 0] + world[:, 1]])


def _exact(potential, group):
    sides = tighter_sides(potential, group)
    return {f.stratum: f for f in strata(np.zeros(len(group)), potential, group, sides)}


def test_the_bounds_by_hand_are_sharp():
    # With treatment 70% act in one half and 20% in the other; without it 40% and 50%.
    group = np.repeat(["a", "b"], 50)
    found = _exact(np.repeat([[0.4, 0.7], [0.5, 0.2]], 50, axis=0), group)
    by_hand = {
        Stratum.PERSUADED: ((0.3 + 0.0) / 2, (0.6 + 0.2) / 2),
        Stratum.ALWAYS: ((0.1 + 0.0) / 2, (0.4 + 0.2) / 2),
        Stratum.NEVER: ((0.0 + 0.3) / 2, (0.3 + 0.5) / 2),
        Stratum.DETERRED: ((0.0 + 0.3) / 2, (0.3 + 0.5) / 2),
    }
    for stratum, bounds in by_hand.items():
        assert (found[stratum].lower, found[stratum].upper) == pytest.approx(bounds)


def test_the_bounds_are_the_extremes_of_all_tables_with_the_same_margins():
    rng = np.random.default_rng(1)
    for _ in range(40):
        without, treated = rng.random(2)
        found = _exact(np.tile([without, treated], (10, 1)), np.zeros(10))
        margins = [[1, 1, 0, 0], [0, 1, 0, 1], [1, 1, 1, 1]]
        for k, stratum in enumerate(ORDER):
            ends = [
                s * linprog(s * np.eye(4)[k], A_eq=margins, b_eq=[treated, without, 1], bounds=(0, 1)).fun
                for s in (1, -1)
            ]
            assert (found[stratum].lower, found[stratum].upper) == pytest.approx(ends, abs=1e-9)


def _draw(rng, world, n):
    """Outcomes, scores and groups of an experiment in which units have strata."""
    group = rng.integers(0, len(world), n)
    kind = (world.cumsum(axis=1)[group] < rng.random(n)[:, None]).sum(axis=1)
    both = np.column_stack([np.isin(kind, (1, 3)), np.isin(kind, (0, 1))]).astype(float)
    d = rng.integers(0, 2, n)
    y = both[np.arange(n), d]
    guess = np.full((n, 2), 0.4)
    psi = guess.copy()
    psi[np.arange(n), d] += 2 * (y - 0.4)
    return y, psi, group


@pytest.mark.parametrize(
    "world",
    [
        WORLD,
        np.array([[0.3, 0.3, 0.4, 0.0], [0.1, 0.4, 0.5, 0.0]]),  # nobody is deterred: shares are at their bounds
        np.array([[0.0, 0.4, 0.6, 0.0], [0.0, 0.5, 0.5, 0.0]]),  # nothing happens: the placebo twin
    ],
)
def test_bounds_hold_the_planted_strata_all_at_once(world):
    truth, covered = world.mean(axis=0), 0
    for seed in range(300):
        found = _bounds(seed, world)
        covered += all(found[s].low <= share <= found[s].high for s, share in zip(ORDER, truth, strict=True))
    assert binomtest(covered, 300, 0.95, alternative="less").pvalue > 0.05


def _bounds(seed, world, n=1_500):
    rng = np.random.default_rng(seed)
    _, earlier, groups = _draw(rng, world, n)
    y, psi, group = _draw(rng, world, n)
    return {s.stratum: s for s in strata(y, psi, group, tighter_sides(earlier, groups))}


def test_the_bounds_are_estimated_without_bias():
    exact = _exact(np.repeat(_margins(WORLD), 10, axis=0), np.repeat(np.arange(3), 10))
    found = [_bounds(seed, WORLD) for seed in range(300)]
    for end in ("lower", "upper"):
        drawn = np.array([[getattr(f[s], end) for s in ORDER] for f in found])
        truth = np.array([getattr(exact[s], end) for s in ORDER])
        assert (np.abs(drawn.mean(axis=0) - truth) <= 3 * drawn.std(axis=0) / np.sqrt(300)).all()


def test_sides_chosen_on_the_same_units_would_claim_strata_that_are_not_there():
    world = np.tile([0.0, 0.4, 0.6, 0.0], (60, 1))
    honest, naive = 0, 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        _, earlier, groups = _draw(rng, world, 1_800)
        y, psi, group = _draw(rng, world, 1_800)
        honest += strata(y, psi, group, tighter_sides(earlier, groups))[0].low > 0
        naive += strata(y, psi, group, tighter_sides(psi, group))[0].low > 0
    assert binomtest(honest, 60, 0.05, alternative="greater").pvalue > 0.05
    assert naive == 60


def test_row_order_and_copies_of_units_change_no_bound():
    rng = np.random.default_rng(2)
    y, psi, group = _draw(rng, WORLD, 600)
    sides = tighter_sides(psi, group)
    base, order = strata(y, psi, group, sides), rng.permutation(600)
    moved = strata(y[order], psi[order], group[order], sides)
    copied = strata(*(np.repeat(v, 2, axis=0) for v in (y, psi, group)), sides, cluster=np.repeat(np.arange(600), 2))
    for one in (moved, copied):
        np.testing.assert_allclose([(s.low, s.high) for s in one], [(s.low, s.high) for s in base], atol=1e-10)


def test_what_makes_no_sense_is_refused_by_name():
    rng = np.random.default_rng(3)
    y, psi, group = _draw(rng, WORLD, 60)
    sides = tighter_sides(psi, group)
    with pytest.raises(Refusal, match="y: strata are defined for an outcome that happens or not"):
        strata(10 * y, psi, group, sides)
    with pytest.raises(ValueError, match=r"sides: groups \[9\] were not among those"):
        strata(y, psi, np.where(np.arange(60) < 5, 9, group), sides)
    with pytest.raises(ValueError, match=r"group: \[9\] have one unit, a group needs 2"):
        strata(y, psi, np.where(np.arange(60) < 1, 9, group), sides)
    with pytest.raises(ValueError, match=r"potential, group: expected shapes \(n, 2\) and \(n,\)"):
        tighter_sides(np.column_stack([psi, psi]), group)
    with pytest.raises(ValueError, match="y: expected 60 outcomes without NaN"):
        strata(np.where(y == 1, np.nan, y), psi, group, sides)
    with pytest.raises(ValueError, match="level: expected a number strictly between 0 and 1"):
        strata(y, psi, group, sides, level=1.0)
    with pytest.raises(ValueError, match="needs at least 5"):
        strata(y[:4], psi[:4], np.zeros(4), tighter_sides(psi[:4], np.zeros(4)))
    with pytest.raises(ValueError, match="low, high: 1 intervals have their ends in the wrong order"):
        segments([1.0], [0.0], [0.5], cut=0.5)
    with pytest.raises(ValueError, match="without: 1 entries are NaN"):
        segments([0.0], [1.0], [np.nan], cut=0.5)
    with pytest.raises(ValueError, match="cut: expected a finite number"):
        segments([0.0], [1.0], [0.5], cut=np.nan)
    with pytest.raises(ValueError, match=r"low, high, without: expected shape \(n,\) each"):
        segments([0.0, 1.0], [1.0], [0.5], cut=0.5)
    with pytest.raises(ValueError, match=r"segment: expected 0 to 3, got \[0, 4\]"):
        segment_effects([0, 4], [1.0, 2.0], outcome="y")
    with pytest.raises(ValueError, match="psi: 1 scores are NaN or infinite"):
        segment_effects([0, 1], [1.0, np.inf], outcome="y")
