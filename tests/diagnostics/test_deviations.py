from dataclasses import replace

from causal_assets.diagnostics.deviations import MOST_NAMED, deviations
from causal_assets.types import Deviation, Status

LATE = Deviation(field="level", before=1, after=2, registered_at="2026-01-01", after_outcomes=True, matters=True)


def test_a_change_of_what_is_read_after_outcomes_were_seen_wants_review_and_is_named():
    found = deviations([LATE, replace(LATE, field="decision.cost_per_unit"), LATE])
    assert (found.status, found.value) == (Status.REVIEW, 2)
    assert "level, decision.cost_per_unit." in found.message


def test_changes_before_outcomes_and_changes_of_words_pass():
    for harmless in ([], [replace(LATE, after_outcomes=False)], [replace(LATE, matters=False)]):
        assert deviations(harmless).status is Status.PASS


def test_a_long_list_is_cut():
    found = deviations([replace(LATE, field=f"f{i}") for i in range(MOST_NAMED + 1)])
    assert found.message.endswith("f4 and others.")
