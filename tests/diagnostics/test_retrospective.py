from datetime import datetime, timedelta

from causal_assets.diagnostics.retrospective import retrospective
from causal_assets.types import Status

FIRST_OUTCOME = datetime(2017, 5, 8)


def test_a_study_written_after_its_outcomes_is_for_review_and_says_what_that_means():
    found = retrospective(FIRST_OUTCOME + timedelta(days=1_000), FIRST_OUTCOME)
    assert (found.status, found.value) == (Status.REVIEW, 1_000)
    assert "1,000 days after its first outcome: its choices could have been made knowing the answer" in found.message


def test_a_study_written_before_its_outcomes_passes():
    assert retrospective(FIRST_OUTCOME - timedelta(days=3), FIRST_OUTCOME).status is Status.PASS
    assert retrospective(FIRST_OUTCOME, FIRST_OUTCOME).status is Status.PASS
