import numpy as np
import pytest

from causal_assets.targeting.measures import banded, measured


@pytest.mark.parametrize("df", [5.0, np.inf])
def test_the_lower_end_is_above_zero_exactly_when_the_one_sided_test_rejects(df):
    for value in np.linspace(-1, 4, 101):
        for level in (0.9, 0.95):
            found = measured("gain", "", value, 1.0, level=level, df=df)
            assert (found.low > 0) == (found.p_value < (1 - level) / 2)
            assert found.high - found.value == pytest.approx(found.value - found.low)


def test_a_normal_interval_is_the_textbooks():
    found = measured("gain", "", 2.0, 1.0, level=0.95)
    assert (found.low, found.high) == pytest.approx((0.040036, 3.959964), abs=1e-6)
    assert found.p_value == pytest.approx(0.022750, abs=1e-6)


@pytest.mark.parametrize(("value", "error"), [(np.nan, 1.0), (1.0, np.nan), (1.0, 0.0), (1.0, -1.0), (np.inf, 1.0)])
def test_a_number_without_an_error_of_its_own_is_refused(value, error):
    with pytest.raises(ValueError, match="gain: expected a finite value and a positive error"):
        measured("gain", "", value, error, level=0.95)


def test_a_band_holds_nineteen_of_twenty_new_curves_and_is_wider_than_an_interval():
    rng = np.random.default_rng(0)
    paths = rng.normal(size=(4_000, 30)).cumsum(axis=1) * np.append(0, np.ones(29))  # the first point is certain
    band = banded("path", np.arange(30.0), np.zeros(30), paths[:2_000], level=0.95)
    inside = ((band.low <= paths[2_000:]) & (paths[2_000:] <= band.high)).all(axis=1).mean()
    assert inside == pytest.approx(0.95, abs=0.02)
    assert (band.high[1:] > 2.2 * band.std_error[1:]).all()
    assert band.low[0] == band.high[0] == 0
