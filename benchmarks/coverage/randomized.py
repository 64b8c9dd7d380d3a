"""Cells of the randomised experiment's metrics and analyses."""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.linear_model import LinearRegression

from benchmarks.coverage import Cell, Draws, Floats
from causal_assets.estimators.bounds import lee_bounds, lee_bounds_clustered, manski_bounds, manski_bounds_clustered
from causal_assets.estimators.capped import difference_in_capped_means, pooled_cap
from causal_assets.estimators.cluster_randomized import Clusters, difference_of_cluster_randomized
from causal_assets.estimators.cupac import expected_outcome
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.multiplicity import bonferroni, holm
from causal_assets.estimators.proportions import Events, difference_in_proportions
from causal_assets.estimators.quantiles import difference_in_quantiles
from causal_assets.estimators.randomized import difference_in_means, regression_adjusted
from causal_assets.estimators.ratios import difference_in_ratios
from causal_assets.estimators.stratified import poststratified
from causal_assets.estimators.triggered import diluted
from causal_assets.types import Estimate

Rng = np.random.Generator
# One data set: its estimate, None where the method refused, and the truth about it.
World = Callable[[Rng], tuple[Estimate | None, float]]

AT_LEAST = (0.93, 1.0)


def _sets(world: World, rng: Rng, sets: int) -> Draws:
    drawn = [world(rng) for _ in range(sets)]
    return Draws.of([estimate for estimate, _ in drawn], np.array([truth for _, truth in drawn]))


def _relative(world: World, rng: Rng, sets: int) -> Draws:
    """The relative interval of a world that returns the relative truth."""
    kept, refused = [], 0
    for _ in range(sets):
        estimate, truth = world(rng)
        if estimate is None or estimate.relative is None:
            refused += 1
            continue
        kept.append((estimate.relative, estimate.relative_low, estimate.relative_high, truth))
    value, low, high, truths = np.array(kept, dtype=np.float64).T
    return Draws(value=value, low=low, high=high, truth=truths, refused=refused)


def _arms(rows: Floats, d: Floats) -> tuple[Moments, Moments]:
    return Moments.of(rows[d == 0]), Moments.of(rows[d == 1])


def _assigned(rng: Rng, n: int, share: float) -> Floats:
    return (rng.permutation(n) < share * n).astype(np.float64)


def _means(rng: Rng, *, n: int, share: float, covariates: int, effect: float, relative: bool) -> tuple[Estimate, float]:
    """Right-skewed outcome that covariates explain by half; the effect grows with the first."""
    d, x = _assigned(rng, n, share), rng.normal(size=(n, 2))
    y = 10 + x @ [1.5, 0.5] + rng.gamma(2.0, 1.0, n) + d * effect * (1 + 0.5 * x[:, 0])
    rows = np.column_stack([y, x])[:, : 1 + covariates]
    return difference_in_means(*_arms(rows, d), outcome="y"), effect / 12 if relative else effect


def _hc2(rng: Rng) -> tuple[Estimate, float]:
    d, x = _assigned(rng, 150, 0.3), rng.exponential(size=150)
    y = 2 * x + (0.3 + x) * rng.normal(size=150) + d * (0.5 + x - 1)
    return regression_adjusted(y, d, x[:, None], outcome="y"), 0.5


def _cupac(rng: Rng) -> tuple[Estimate, float]:
    d, x = _assigned(rng, 500, 0.5), rng.normal(size=(500, 2))
    y = np.abs(2 * x[:, 0]) + x[:, 1] + 0.2 * d + rng.normal(size=500)
    features = np.column_stack([x, x**2])
    expected = expected_outcome(features, y, np.arange(500), model=LinearRegression(), seed=int(rng.integers(2**31)))
    return difference_in_means(*_arms(np.column_stack([y, expected]), d), outcome="y"), 0.2


def _proportions(
    rng: Rng, *, rates: tuple[float, float], sizes: tuple[int, int], relative: bool
) -> tuple[Estimate | None, float]:
    arms = [Events(int(rng.binomial(n, p)), n) for n, p in zip(sizes, rates, strict=True)]
    truth = rates[1] / rates[0] - 1 if relative else rates[1] - rates[0]
    try:
        return difference_in_proportions(arms[0], arms[1], outcome="y"), truth
    except ValueError:
        return None, truth


def _ratio(rng: Rng, *, n: int, share: float, columns: int, relative: bool) -> tuple[Estimate, float]:
    """Spend per basket: heavy users buy more often and spend more per basket."""
    d, habit = _assigned(rng, n, share), rng.gamma(2.0, 1.0, n)
    baskets = 1 + rng.poisson(habit)
    spend = baskets * (5 + 2 * habit + 0.4 * d) + np.sqrt(baskets) * rng.normal(0, 2, n)
    control = 5 + 2 * (2 + 6) / 3  # sum of baskets x habit over sum of baskets: (E h + E h^2) / (1 + E h)
    rows = np.column_stack([spend, baskets, habit])[:, :columns]
    return difference_in_ratios(*_arms(rows, d), outcome="y"), 0.4 / control if relative else 0.4


def _capped_mean(cap: float, shift: float) -> float:
    """E min(b e^(shift + 2 z), cap) where a twentieth buys."""
    z = (np.log(cap) - shift) / 2
    return 0.05 * float(np.exp(shift + 2) * norm.cdf(z - 2) + cap * norm.sf(z))


def _capped(rng: Rng, *, quantile: float | None) -> tuple[Estimate, float]:
    """Revenue of 5% buyers with a tail of log-sd 2, 95:5 with 5,000 treated."""
    d = np.repeat([0.0, 1.0], [95_000, 5_000])
    y, buyers = np.zeros(d.size), rng.random(d.size) < 0.05
    y[buyers] = np.exp(2 * rng.normal(size=int(buyers.sum())) + 0.1 * d[buyers])
    cap = 20.0 if quantile is None else pooled_cap(y, quantile)
    result = difference_in_capped_means(y, d, cap=cap if quantile is None else None, quantile=quantile, outcome="y")
    return result, _capped_mean(cap, 0.1) - _capped_mean(cap, 0.0)


def _quantile(
    rng: Rng, *, sizes: tuple[int, int], quantile: float, effect: float, relative: bool
) -> tuple[Estimate, float]:
    control, treated = np.exp(rng.normal(size=sizes[0])), np.exp(rng.normal(effect, 1, sizes[1]))
    truth = np.expm1(effect) * (1 if relative else np.exp(norm.ppf(quantile)))
    return difference_in_quantiles(control, treated, quantile, outcome="y"), float(truth)


def _clustered_quantile(rng: Rng) -> tuple[Estimate, float]:
    arms = []
    for units in (300, 200):
        unit = np.repeat(np.arange(units), 1 + rng.poisson(9, units))
        arms.append((np.exp(rng.normal(size=units)[unit] + rng.normal(size=unit.size)), unit))
    (c, c_unit), (t, t_unit) = arms
    return difference_in_quantiles(c, t, 0.75, control_unit=c_unit, treated_unit=t_unit, outcome="y"), 0.0


def _clustered(rng: Rng, *, clusters: int, treated: int, equal: bool) -> tuple[Estimate, float]:
    size = np.full(clusters, 20) if equal else 1 + rng.poisson(rng.gamma(1.5, 20 / 1.5, clusters))
    cluster = np.repeat(np.arange(clusters), size)
    d = (rng.permutation(clusters) < treated)[cluster]
    y = rng.normal(0, 0.1**0.5, clusters)[cluster] + rng.normal(0, 0.9**0.5, cluster.size) + 0.3 * d
    return difference_of_cluster_randomized(*Clusters.arms(y, d, cluster), outcome="y"), 0.3


def _strata(rng: Rng, *, treated: tuple[float, ...]) -> tuple[Estimate, float]:
    stratum = rng.choice(3, 900, p=[0.5, 0.3, 0.2])
    d = rng.random(900) < np.array(treated)[stratum]
    y = np.array([0.0, 3.0, 8.0])[stratum] + d * np.array([0.0, 0.5, 1.0])[stratum] + rng.normal(size=900)
    arms = {str(s): _arms(y[stratum == s], d[stratum == s]) for s in range(3)}
    return poststratified(arms, outcome="y"), 0.35


def _lee(rng: Rng) -> tuple[Estimate, float]:
    """Outcomes seen only because of treatment are the highest: the effect on the always observed is the lower bound."""
    n, arms = 1_500, []
    for arm in (0, 1):
        z = rng.normal(size=n)
        arms.append(z[z < norm.ppf(0.6 + 0.2 * arm)] + 0.5 * arm)
    return lee_bounds(*arms, n_control=n, n_treated=n, outcome="y").estimate, 0.5


def _manski(rng: Rng) -> tuple[Estimate, float]:
    """Missing are bad outcomes of the treated and good ones of the controls: the effect is the lower bound."""
    y = rng.binomial(1, 0.4, 1_000), rng.binomial(1, 0.5, 1_000)
    kept = [arm[(arm == good) | (rng.random(1_000) < 0.8)] for good, arm in enumerate(y)]
    arms = Moments.of(kept[0]), Moments.of(kept[1])
    bounds = manski_bounds(*arms, n_control=1_000, n_treated=1_000, lowest=0, highest=1, outcome="y")
    return bounds.estimate, 0.1


def _stores(rng: Rng) -> tuple[Floats, NDArray[np.intp], NDArray[np.intp]]:
    """Forty stores of very unequal size, half of them treated; three tenths of a normal score's variance between."""
    cluster = np.repeat(np.arange(40), 1 + rng.poisson(rng.gamma(1.5, 20 / 1.5, 40)))
    d = (rng.permutation(40) % 2)[cluster]
    return 0.3**0.5 * rng.normal(size=40)[cluster] + 0.7**0.5 * rng.normal(size=cluster.size), d, cluster


def _lee_of_stores(rng: Rng) -> tuple[Estimate, float]:
    z, d, cluster = _stores(rng)
    return lee_bounds_clustered(z + 0.5 * d, d, z < norm.ppf(0.6 + 0.2 * d), cluster, outcome="y").estimate, 0.5


def _manski_of_stores(rng: Rng) -> tuple[Estimate, float]:
    z, d, cluster = _stores(rng)
    y = (z < norm.ppf(0.4 + 0.1 * d)) * 1.0
    seen = (y == d) | (rng.random(y.size) < 0.8)
    return manski_bounds_clustered(y, d, seen, cluster, lowest=0, highest=1, outcome="y").estimate, 0.1


def _diluted(rng: Rng, *, effect: float, relative: bool) -> tuple[Estimate, float]:
    n = 5_000
    triggers, d = rng.random(n) < 0.1, rng.random(n) < 0.5
    y = 5 + 2 * triggers + rng.normal(size=n) + effect * (triggers & d)
    control, treated = (Moments.of(y[triggers & arm]) for arm in (~d, d))
    result = diluted(control, treated, all_control=Moments.of(y[~d]), n_all_treated=int(d.sum()), outcome="y")
    return result, 0.1 * effect / 5.2 if relative else 0.1 * effect


def _family(adjust: Callable[..., list[Estimate]], effects: tuple[float, ...], rng: Rng, sets: int) -> Draws:
    """Whether all intervals of three arms against one control hold their effects; the first arm's value is shown."""
    first, covered = [], []
    for _ in range(sets):
        control, *arms = (Moments.of(rng.normal(shift, 1, 200)) for shift in (0.0, *effects))
        family = [
            partial(lambda level, c, t: difference_in_means(c, t, outcome="y", level=level), c=control, t=t)
            for t in arms
        ]
        adjusted = adjust(family)
        covered.append(all(e.covers(truth) for e, truth in zip(adjusted, effects, strict=True)))
        first.append(adjusted[0])
    value, low, high = (np.array([getattr(e, name) for e in first]) for name in ("value", "low", "high"))
    return Draws(value=value, low=low, high=high, truth=effects[0], covered=np.array(covered))


def cells() -> list[Cell]:
    """Every cell of the family."""

    def cell(name: str, world: World, *, relative: bool = False, **options) -> Cell:
        draw = _relative if relative else _sets
        return Cell("randomized", name, partial(draw, world), **options)

    found = []
    for share, covariates in ((0.5, 0), (0.1, 0), (0.5, 2), (0.1, 2)):
        for relative in (False, True):
            world = partial(_means, n=4_000, share=share, covariates=covariates, effect=0.2, relative=relative)
            scale = ", relative (Fieller)" if relative else ""
            found.append(cell(f"mean, {share:.0%} treated, {covariates} covariates{scale}", world, relative=relative))
    found += [
        cell("mean, HC2, 150 units, noise grows with the covariate", _hc2, band=AT_LEAST),
        cell("mean, CUPAC", _cupac),
    ]
    for rates, sizes in (
        ((0.3, 0.36), (500, 400)),
        ((0.01, 0.01), (19_000, 1_000)),
        ((0.01, 0.013), (47_500, 2_500)),
        ((0.01, 0.01), (190_000, 10_000)),
    ):
        for relative in (False, True):
            name = f"proportions {rates[0]:g} and {rates[1]:g}, {sizes[0]:,} and {sizes[1]:,} units"
            world = partial(_proportions, rates=rates, sizes=sizes, relative=relative)
            found.append(
                cell(name + ", ratio" * relative, world, relative=relative, band=AT_LEAST, unbiased=not relative)
            )
    for share, columns, relative in ((0.5, 2, False), (0.5, 3, False), (0.2, 2, False), (0.5, 2, True)):
        world = partial(_ratio, n=4_000, share=share, columns=columns, relative=relative)
        name = f"ratio of means, {share:.0%} treated" + ", adjusted" * (columns > 2) + ", relative (Fieller)" * relative
        found.append(cell(name, world, relative=relative))
    found += [
        cell("capped mean, 5% buyers, 95:5, cap in the study", partial(_capped, quantile=None)),
        cell("capped mean, 5% buyers, 95:5, cap at the pooled 99.5%", partial(_capped, quantile=0.995)),
    ]
    for sizes, quantile, relative in (
        ((1_000, 1_000), 0.5, False),
        ((1_000, 1_000), 0.5, True),
        ((2_000, 1_000), 0.9, False),
        ((4_000, 2_000), 0.99, False),
        ((60, 40), 0.5, False),
    ):
        world = partial(_quantile, sizes=sizes, quantile=quantile, effect=0.2, relative=relative)
        name = f"{quantile:g} quantile, {sizes[0]:,} and {sizes[1]:,} units" + ", ratio" * relative
        found.append(cell(name, world, relative=relative, honest=sizes[1] >= 1_000))
    found.append(cell("0.75 quantile of rows, 300 and 200 units of about 10 rows", _clustered_quantile))
    for clusters, treated, equal in (
        (20, 10, True),
        (20, 10, False),
        (20, 5, False),
        (60, 30, False),
        (200, 100, False),
    ):
        world = partial(_clustered, clusters=clusters, treated=treated, equal=equal)
        name = f"{treated} of {clusters} clusters treated, {'equal' if equal else 'unequal'} sizes"
        # With few degrees of freedom the root of an unbiased variance is too small; the t quantile makes up for it.
        found.append(cell(name, world, band=AT_LEAST, honest=treated >= 10))
    found += [
        cell("post-stratified, half treated everywhere", partial(_strata, treated=(0.5, 0.5, 0.5))),
        cell("post-stratified, shares by stratum", partial(_strata, treated=(0.8, 0.5, 0.1))),
        # The middle of the bounds is not an estimate of the effect: neither bias nor error are promised.
        cell("Lee bounds, effect at the lower bound", _lee, unbiased=False, honest=False),
        cell("Manski bounds, effect at the lower bound", _manski, unbiased=False, honest=False),
        cell("Lee bounds, 20 of 40 unequal clusters", _lee_of_stores, band=AT_LEAST, unbiased=False, honest=False),
        cell(
            "Manski bounds, 20 of 40 unequal clusters", _manski_of_stores, band=AT_LEAST, unbiased=False, honest=False
        ),
    ]
    for effect, relative in ((0.0, False), (0.5, False), (5.0, False), (0.5, True)):
        name = f"triggered (10%), diluted, effect {effect:g}" + ", relative (Fieller)" * relative
        found.append(cell(name, partial(_diluted, effect=effect, relative=relative), relative=relative))
    for adjust in (bonferroni, holm):
        for effects in ((0.0, 0.0, 0.0), (0.3, 0.0, 0.0), (0.25, 0.25, 0.25)):
            name = f"all of three arms at once, {adjust.__name__}, effects {effects}"
            found.append(Cell("randomized", name, partial(_family, adjust, effects), band=(0.94, 1.0), honest=False))
    return found
