import numpy as np
import pytest

from causal_assets.diagnostics.power import power
from causal_assets.types import Status


def test_a_study_that_cannot_see_a_plausible_effect_is_for_review(estimated):
    found = power(estimated(28, 11.4), plausible=3.0)
    assert found.status is Status.REVIEW
    assert found.value == pytest.approx(2.8016 * 11.4, rel=1e-4)
    assert power(estimated(0, 1.0), plausible=3.0).status is Status.PASS


def test_an_effect_of_the_detectable_size_is_detected_four_times_in_five(estimated):
    detectable = power(estimated(0, 1.0), plausible=3.0).value
    draws = np.random.default_rng(0).normal(detectable, 1.0, size=20_000)
    assert np.mean(np.abs(draws) > 1.959964) == pytest.approx(0.8, abs=0.01)


def test_the_estimate_itself_does_not_matter(estimated):
    assert power(estimated(50, 2.0), 3.0).value == power(estimated(-1, 2.0), 3.0).value


def test_a_plausible_effect_that_is_not_positive_is_refused(estimated):
    with pytest.raises(ValueError, match="expected a positive effect, got 0"):
        power(estimated(1, 1), plausible=0)
