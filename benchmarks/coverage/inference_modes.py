"""Coverage of the ways to infer from a randomised experiment: sequential, group sequential, replayed, Bayesian ..."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from benchmarks.coverage import Cell, Draws, Floats
from causal_assets.estimators.bayes import Beta, normal_posterior, proportions_posterior
from causal_assets.estimators.cluster_randomized import Clusters, difference_of_cluster_randomized
from causal_assets.estimators.group_sequential import Spending, at_look, boundaries
from causal_assets.estimators.interaction import two_experiments
from causal_assets.estimators.moments import Moments
from causal_assets.estimators.randomization import randomization_test
from causal_assets.estimators.randomized import difference_in_means
from causal_assets.estimators.sequential import confidence_sequence, critical_value
from causal_assets.estimators.switchback import block_means, switchback, switchback_test
from causal_assets.types import Estimate

FAMILY = "inference modes"
Outcomes = Callable[[np.random.Generator, tuple[int, ...]], Floats]
LOOKS, BATCH = 28, 100
DRAWS = 199
EFFECT = 0.2


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return rng.normal(size=shape)


def _skewed(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    return rng.exponential(size=shape)


def _sparse(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """One in five buys; baskets are lognormal."""
    return (rng.random(shape) < 0.2) * rng.lognormal(0.0, 0.7, shape)


def _looks(outcomes: Outcomes, rng: np.random.Generator, sets: int, looks: int) -> tuple[Floats, Floats]:
    """Difference in means and its error (sets, looks), each look with 100 more units in either arm."""
    arms = []
    for effect in (0.0, EFFECT):
        y = outcomes(rng, (sets, looks, BATCH)) + effect
        n = BATCH * np.arange(1, looks + 1)
        total, square = y.sum(axis=-1).cumsum(axis=1), (y**2).sum(axis=-1).cumsum(axis=1)
        arms.append((total / n, (square - total**2 / n) / (n - 1) / n))
    (m0, v0), (m1, v1) = arms
    return m1 - m0, np.sqrt(v0 + v1)


def _ever(value: Floats, error: Floats, critical: Floats) -> Draws:
    """The last look's interval; covered if no look's interval misses the effect."""
    half = error * critical
    return Draws(
        value=value[:, -1],
        low=value[:, -1] - half[:, -1],
        high=value[:, -1] + half[:, -1],
        truth=EFFECT,
        std_error=error[:, -1],
        covered=np.all(np.abs(value - EFFECT) <= half, axis=1),
    )


def _sequence(outcomes: Outcomes, rng: np.random.Generator, sets: int) -> Draws:
    n = 2 * BATCH * np.arange(1, LOOKS + 1)
    return _ever(*_looks(outcomes, rng, sets, LOOKS), critical_value(n, planned_n=int(n[-1]), level=0.95))


def _half_way(spending: Spending, look: Estimate, number: int) -> Estimate:
    return at_look(look, [0.5, 1.0][:number], spending=spending)


def _group(outcomes: Outcomes, spending: Spending, rng: np.random.Generator, sets: int) -> Draws:
    fractions = np.arange(1, 6) / 5
    return _ever(*_looks(outcomes, rng, sets, 5), boundaries(fractions.tolist(), alpha=0.05, spending=spending))


def _stores(rng: np.random.Generator, effect: float, clusters: int) -> list[Clusters]:
    """Both arms' stores, of about 20 customers each but of very unequal size, with a tenth of the variance between."""
    arms = []
    for shift in (0.0, effect):
        size = 1 + rng.poisson(rng.gamma(1.5, 20 / 1.5, clusters)).astype(np.float64)
        between, within = rng.normal(size=(2, clusters)) * np.sqrt([[0.1], [0.9]])
        arms.append(Clusters(size, size * (shift + between) + np.sqrt(size) * within))
    return arms


def _stores_looked_at(
    conclude: Callable[[Estimate, int], Estimate], batch: int, looks: int, rng: np.random.Generator, sets: int
) -> Draws:
    """Each look with ``batch`` more stores in either arm; covered if no look's interval misses the effect."""
    last, covered = [], []
    for _ in range(sets):
        arms = _stores(rng, EFFECT, batch * looks)
        every = []
        for k in range(1, looks + 1):
            so_far = (Clusters(arm.size[: k * batch], arm.total[: k * batch]) for arm in arms)
            every.append(conclude(difference_of_cluster_randomized(*so_far, outcome="y"), k))
        last.append(every[-1])
        covered.append(all(look.covers(EFFECT) for look in every))
    return replace(Draws.of(last, EFFECT), covered=np.array(covered))


def _each(one: Callable[[np.random.Generator], Estimate], truth: float, rng: np.random.Generator, sets: int) -> Draws:
    return Draws.of((one(rng) for _ in range(sets)), truth)


def _complete(rng: np.random.Generator) -> Estimate:
    d = rng.permutation(40) < 14
    return randomization_test(
        rng.laplace(size=40) + EFFECT * d, d, np.arange(40), outcome="y", draws=DRAWS, seed=int(rng.integers(2**31))
    )


def _heterogeneous(rng: np.random.Generator) -> Estimate:
    d = rng.permutation(200) < 40
    y = rng.normal(size=200) * np.where(d, 3.0, 1.0) + EFFECT * d
    return randomization_test(y, d, np.arange(200), outcome="y", draws=DRAWS, seed=int(rng.integers(2**31)))


def _clustered(rng: np.random.Generator) -> Estimate:
    """Twelve stores of each arm, of 2 to 30 customers."""
    unit = np.repeat(np.arange(24), rng.integers(2, 31, 24))
    d = (rng.permutation(24) < 12)[unit]
    y = 0.5 * rng.normal(size=24)[unit] + rng.normal(size=unit.size) + EFFECT * d
    return randomization_test(y, d, unit, outcome="y", draws=DRAWS, seed=int(rng.integers(2**31)))


def _pairs(rng: np.random.Generator) -> Estimate:
    """Twenty-four pairs of geos."""
    pair = np.repeat(np.arange(24), 2)
    d = rng.permuted(np.tile([0, 1], (24, 1)), axis=1).ravel()
    y = 3 * rng.normal(size=24)[pair] + rng.normal(size=48) + EFFECT * d
    return randomization_test(
        y, d, np.arange(48), stratum=pair, outcome="y", draws=DRAWS, seed=int(rng.integers(2**31))
    )


def _bayes_mean(rng: np.random.Generator, sets: int) -> Draws:
    truth = rng.normal(0.1, 0.15, sets)
    found = []
    for effect in truth:
        arms = [Moments.of(_skewed(rng, (1_000,)) + shift) for shift in (0.0, effect)]
        look = difference_in_means(*arms, outcome="y")
        found.append(normal_posterior(look, prior_mean=0.1, prior_sd=0.15).estimate)
    return Draws.of(found, truth)


def _bayes_stores(rng: np.random.Generator, sets: int) -> Draws:
    truth = rng.normal(0.1, 0.3, sets)
    looks = (difference_of_cluster_randomized(*_stores(rng, effect, 10), outcome="y") for effect in truth)
    return Draws.of([normal_posterior(look, prior_mean=0.1, prior_sd=0.3).estimate for look in looks], truth)


def _bayes_shares(rng: np.random.Generator, sets: int) -> Draws:
    """Conversion of about 2%, with two events expected in the smaller arm: no normal approximation holds."""
    priors = Beta(2, 98), Beta(2.5, 97.5)
    share = np.stack([rng.beta(prior.a, prior.b, sets) for prior in priors])
    events = rng.binomial([[500], [100]], share)
    found = [
        proportions_posterior(
            control_events=int(c),
            control_n=500,
            treated_events=int(t),
            treated_n=100,
            control_prior=priors[0],
            treated_prior=priors[1],
            outcome="visit",
        ).estimate
        for c, t in events.T
    ]
    return Draws.of(found, share[1] - share[0])


def _switched(rng: np.random.Generator, carry_over: float) -> tuple[Floats, ...]:
    """Five regions, 12 blocks of 6 periods, noise autocorrelated by 0.6; the arm before lingers for two periods."""
    units, blocks, length = 5, 12, 6
    arms = rng.permuted(np.tile(np.arange(blocks) % 2, (units, 1)), axis=1).astype(np.float64)
    before = np.concatenate([arms[:, :1], arms[:, :-1]], axis=1)
    d = np.repeat(arms, length, axis=1)
    weight = carry_over * (np.arange(blocks * length) % length < 2)
    noise = rng.normal(size=(units, blocks * length))
    for t in range(1, blocks * length):
        noise[:, t] += 0.6 * noise[:, t - 1]
    y = noise + np.arange(units)[:, None] + (1 - weight) * d + weight * np.repeat(before, length, axis=1)
    unit, period = np.indices(y.shape).astype(np.float64)
    return y.ravel(), d.ravel(), unit.ravel(), period.ravel(), (period // length).ravel()


def _switchback(rng: np.random.Generator) -> Estimate:
    return switchback(block_means(*_switched(rng, 0.7), burn_in=2), outcome="y")


def _switchback_replayed(rng: np.random.Generator) -> Estimate:
    blocks = block_means(*_switched(rng, 0.7), burn_in=2)
    return switchback_test(blocks, outcome="y", draws=DRAWS, seed=int(rng.integers(2**31)))


def _interaction(rng: np.random.Generator) -> Estimate:
    a, b = rng.permutation(4_000) % 2 == 0, rng.permutation(4_000) % 4 == 0
    y = _sparse(rng, (4_000,)) + 0.1 * a + 0.1 * b + EFFECT * a * b
    cells = [[Moments.of(y[(a == i) & (b == j)]) for j in (False, True)] for i in (False, True)]
    return two_experiments(cells, outcome="y").interaction


def cells() -> list[Cell]:
    """All cells of the family; a sequence promises only that it ever misses in at most 5% of paths."""
    worlds = {"normal": _normal, "exponential": _skewed, "sparse revenue": _sparse}
    sequences = [
        Cell(FAMILY, f"confidence sequence, 28 looks, {name}", partial(_sequence, y), band=(0.95, 1.0))
        for name, y in worlds.items()
    ]
    rules: dict[str, Spending] = {"O'Brien-Fleming": "obrien_fleming", "Pocock": "pocock"}
    groups = [
        Cell(FAMILY, f"group sequential, {rule}, 5 looks, {name}", partial(_group, y, spending))
        for rule, spending in rules.items()
        for name, y in worlds.items()
    ]
    sequences.append(
        Cell(
            FAMILY,
            "confidence sequence, 10 looks, 60 more stores an arm at each",
            partial(_stores_looked_at, lambda look, _: confidence_sequence(look, planned_n=1_200), 60, 10),
            band=(0.95, 1.0),
        )
    )
    # With few clusters the root of an unbiased variance is too small; the t quantile makes up for it.
    groups += [
        Cell(
            FAMILY,
            f"group sequential, {rule}, 2 looks, at 10 and 20 unequal stores an arm",
            partial(_stores_looked_at, partial(_half_way, spending), 10, 2),
            band=(0.93, 1.0),
            honest=False,
        )
        for rule, spending in rules.items()
    ]
    single = {
        "replayed: complete, 14 of 40, Laplace": _complete,
        "replayed: effects that differ, 40 of 200": _heterogeneous,
        "replayed: 24 clusters of unequal size": _clustered,
        "replayed: 24 pairs": _pairs,
        "interaction of two experiments, sparse revenue": _interaction,
    }
    switched = {"switchback with burn-in": _switchback, "switchback, replayed": _switchback_replayed}
    return [
        *sequences,
        *groups,
        *(Cell(FAMILY, name, partial(_each, one, EFFECT)) for name, one in single.items()),
        *(Cell(FAMILY, name, partial(_each, one, 1.0)) for name, one in switched.items()),
        Cell(FAMILY, "Bayesian mean, truth from the prior", _bayes_mean, unbiased=False, honest=False),
        Cell(
            FAMILY,
            "Bayesian mean, 10 unequal stores an arm, truth from the prior",
            _bayes_stores,
            unbiased=False,
            honest=False,
            band=(0.93, 1.0),
        ),
        Cell(FAMILY, "Bayesian proportion of 2%, truth from the prior", _bayes_shares, unbiased=False, honest=False),
    ]
