import pytest

from causal_assets.diagnostics.specificity import specificity
from causal_assets.types import Status


def test_an_effect_spread_like_spend_is_for_review(estimated):
    found = specificity(estimated(10.8, 4.6), estimated(28.2, 11.4), 0.33)
    assert found.status is Status.REVIEW
    assert "38% of the effect and 33% of the spend" in found.message


def test_an_effect_on_the_targeted_products_passes(estimated):
    assert specificity(estimated(25.0, 4.6), estimated(28.2, 11.4), 0.33).status is Status.PASS


def test_a_share_outside_zero_and_one_and_a_zero_total_are_refused(estimated):
    with pytest.raises(ValueError, match="a share strictly between 0 and 1"):
        specificity(estimated(1, 1), estimated(1, 1), 1.2)
    with pytest.raises(ValueError, match="exactly zero"):
        specificity(estimated(1, 1), estimated(0, 1), 0.3)


def test_where_the_total_falls_targeted_products_that_stand_still_are_not_specific(estimated):
    assert specificity(estimated(0.0, 1.0), estimated(-20.0, 4.0), 0.3).status is Status.REVIEW
    assert specificity(estimated(-18.0, 1.0), estimated(-20.0, 4.0), 0.3).status is Status.PASS
