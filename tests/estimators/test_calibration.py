from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from causal_assets.estimators.calibration import SystematicError, calibrated, fit_systematic_error
from causal_assets.types import Estimate


def _estimate(value, std_error):
    half = 1.96 * std_error
    return Estimate(
        outcome="y", estimand="ATO", method="m", value=value, std_error=std_error, low=value - half, high=value + half,
        p_value=0.5, level=0.95, n_treated=9, n_control=9, control_mean=3.0, relative=0.1,
    )  # fmt: skip


def _controls(rng, number, mean, sd, std_error=1.0):
    errors = std_error * rng.uniform(0.5, 1.5, number)
    return [_estimate(float(b), float(s)) for b, s in zip(rng.normal(mean, np.hypot(sd, errors)), errors, strict=True)]


def test_the_published_p_value_of_sertraline_and_bleeding_is_reproduced():
    # OHDSI EmpiricalCalibration, README and vignette: null (0.7920, 0.2835), log RR 0.7326235 (0.07371708), p 0.8390598
    null = SystematicError(mean=0.7920, sd=0.2835, mean_error=0.05, controls=46)
    found = calibrated(_estimate(0.7326235, 0.07371708), null, plug_in=True)
    assert found.p_value == pytest.approx(0.8390598, abs=5e-4)  # the null is printed to four digits
    # tests/testthat: the calibrated estimate is -0.0593
    assert found.value == pytest.approx(-0.0593, abs=1e-4)


def test_without_systematic_error_the_plug_in_is_the_plain_test():
    found = calibrated(
        _estimate(0.2, 0.1), SystematicError(mean=0.0, sd=0.0, mean_error=0.0, controls=30), plug_in=True
    )
    assert found.p_value == pytest.approx(0.045500264, abs=1e-9)  # the package's own test of null (0, 0)
    assert (found.low, found.high) == pytest.approx((0.2 - 0.1959964, 0.2 + 0.1959964), abs=1e-6)


def test_mean_and_spread_of_the_systematic_error_are_recovered():
    rng = np.random.default_rng(0)
    fits = [fit_systematic_error(_controls(rng, 50, 0.5, 1.0)) for _ in range(200)]
    assert np.mean([fit.mean for fit in fits]) == pytest.approx(0.5, abs=0.05)
    assert np.mean([fit.sd for fit in fits]) == pytest.approx(1.0, abs=0.07)  # maximum likelihood leans down by 1 / 2m
    assert np.mean([fit.mean_error for fit in fits]) == pytest.approx(np.std([fit.mean for fit in fits]), rel=0.1)


def test_the_fit_is_the_maximum_of_the_likelihood():
    from scipy.stats import norm

    controls = _controls(np.random.default_rng(1), 30, 0.5, 1.0)
    b, s = (np.array([getattr(c, name) for c in controls]) for name in ("value", "std_error"))
    fit = fit_systematic_error(controls)

    def likelihood(mean, sd):
        return norm.logpdf(b, mean, np.hypot(sd, s)).sum()

    best = likelihood(fit.mean, fit.sd)
    for step in (-1e-3, 1e-3):
        assert best > likelihood(fit.mean + step, fit.sd)
        assert best > likelihood(fit.mean, fit.sd + step)


@pytest.mark.parametrize("number", [5, 10, 30])
@pytest.mark.parametrize("sd", [0.0, 1.0, 3.0])
def test_calibrated_intervals_cover_where_plain_ones_do_not(number, sd):
    rng, sets, covered, plain = np.random.default_rng(2), 200, 0, 0
    for _ in range(sets):
        fit = fit_systematic_error(_controls(rng, number, 2.0, sd))
        raw = _estimate(float(rng.normal(2.0 + 0.7, np.hypot(sd, 1.0))), 1.0)
        found = calibrated(raw, fit)
        covered += found.covers(0.7)
        plain += raw.covers(0.7)
    assert binomtest(covered, sets, 0.94, alternative="less").pvalue > 0.05
    assert plain < 0.75 * sets


def test_the_published_plug_in_is_too_short_for_few_controls():
    rng, sets = np.random.default_rng(3), 400
    covered = 0
    for _ in range(sets):
        fit = fit_systematic_error(_controls(rng, 5, 0.0, 3.0))
        covered += calibrated(_estimate(float(rng.normal(0, np.hypot(3, 1))), 1.0), fit, plug_in=True).covers(0.0)
    assert binomtest(covered, sets, 0.90, alternative="less").pvalue < 0.001


@pytest.mark.parametrize("plug_in", [False, True])
def test_zero_is_in_the_interval_exactly_when_p_exceeds_alpha(plug_in):
    fit = fit_systematic_error(_controls(np.random.default_rng(4), 20, 0.5, 0.5))
    for value in np.linspace(-5, 5, 101):
        found = calibrated(_estimate(float(value), 1.0), fit, plug_in=plug_in)
        assert found.covers(0.0) == (found.p_value > 0.05)


def test_units_and_order_of_the_controls_do_not_matter():
    controls = _controls(np.random.default_rng(5), 20, 0.5, 1.0)
    base, other = fit_systematic_error(controls), fit_systematic_error(controls[::-1])
    assert (other.mean, other.sd) == pytest.approx((base.mean, base.sd), rel=1e-6)
    hundredfold = fit_systematic_error([replace(c, value=100 * c.value, std_error=100 * c.spread, low=-1e9, high=1e9)
                                        for c in controls])  # fmt: skip
    assert (hundredfold.mean, hundredfold.sd) == pytest.approx((100 * base.mean, 100 * base.sd), rel=1e-6)
    flipped = fit_systematic_error([replace(c, value=-c.value, low=-1e9, high=1e9) for c in controls])
    assert (flipped.mean, flipped.sd) == pytest.approx((-base.mean, base.sd), rel=1e-6)


def test_what_the_calibrated_estimate_no_longer_knows_is_left_out():
    fit = fit_systematic_error(_controls(np.random.default_rng(6), 20, 0.5, 1.0))
    found = calibrated(_estimate(1.0, 1.0), fit)
    assert (found.control_mean, found.relative, found.relative_low) == (None, None, None)
    assert found.method == "m, calibrated on 20 negative controls"


def test_controls_that_cannot_calibrate_are_refused():
    with pytest.raises(ValueError, match="negative_controls: expected at least 5, got 4"):
        fit_systematic_error(_controls(np.random.default_rng(0), 4, 0, 1))
    without = [replace(_estimate(1.0, 1.0), std_error=None)] * 5
    with pytest.raises(ValueError, match="negative_controls: y has no positive standard error"):
        fit_systematic_error(without)
    with pytest.raises(ValueError, match="estimate: y/m has no standard error to calibrate"):
        calibrated(without[0], SystematicError(mean=0.0, sd=1.0, mean_error=0.1, controls=9))
