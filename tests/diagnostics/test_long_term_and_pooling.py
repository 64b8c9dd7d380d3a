import numpy as np
import pytest

from causal_assets.diagnostics.exposure_positivity import exposure_positivity
from causal_assets.diagnostics.heterogeneity import heterogeneity
from causal_assets.diagnostics.surrogacy import surrogacy, surrogate_support
from causal_assets.estimators.joint import t_estimate
from causal_assets.types import Status


def _missed(value):
    return t_estimate(
        outcome="y",
        estimand="e",
        method="m",
        value=value,
        variance=1.0,
        df=np.inf,
        level=0.95,
        n_treated=9,
        n_control=9,
    )


def test_without_a_back_test_surrogacy_is_never_passed_however_much_the_index_explains():
    assert surrogacy(0.99, None).status is Status.REVIEW


def test_a_back_test_decides_surrogacy():
    statuses = [surrogacy(0.5, _missed(z)).status for z in (0.5, 2.5, -4.0)]
    assert statuses == [Status.PASS, Status.REVIEW, Status.FAIL]
    assert "misses +2.5" in surrogacy(0.5, _missed(2.5)).message.replace("surrogates miss", "surrogates misses")


def test_units_unlike_the_history_are_for_review_and_a_majority_of_them_fails():
    statuses = [surrogate_support(outside, 100).status for outside in (1, 10, 60)]
    assert statuses == [Status.PASS, Status.REVIEW, Status.FAIL]


def test_studies_that_differ_are_for_review_with_what_the_next_may_bring():
    apart = heterogeneity(studies=5, q_p_value=0.01, i2=0.8, predicted_low=-1.0, predicted_high=3.0)
    assert apart.status is Status.REVIEW and "either sign" in apart.message
    alike = heterogeneity(studies=5, q_p_value=0.6, i2=0.0, predicted_low=1.0, predicted_high=3.0)
    assert alike.status is Status.PASS and "same sign" in alike.message


def test_an_impossible_exposure_fails_and_a_rare_one_is_for_review():
    common = np.full(10, 0.3)
    statuses = [
        exposure_positivity(np.stack([common, np.r_[common[1:], rare]]), ("none", "neighbour")).status
        for rare in (0.2, 0.005, 0.0)
    ]
    assert statuses == [Status.PASS, Status.REVIEW, Status.FAIL]


def test_bad_numbers_are_refused_by_name():
    with pytest.raises(ValueError, match="explained: expected a share"):
        surrogacy(1.2, None)
    with pytest.raises(ValueError, match="outside: expected 0 <= part"):
        surrogate_support(5, 4)
    with pytest.raises(ValueError, match="i2: expected 0 to 1"):
        heterogeneity(studies=2, q_p_value=0.5, i2=2.0, predicted_low=0, predicted_high=1)
    with pytest.raises(ValueError, match="probability: expected shape"):
        exposure_positivity([0.1, 0.2], ("a", "b"))
    with pytest.raises(ValueError, match="probability: expected 0 to 1"):
        exposure_positivity([1.1, 0.2], ("a",))
