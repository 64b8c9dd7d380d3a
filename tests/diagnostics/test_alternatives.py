from causal_assets.diagnostics.alternatives import alternatives
from causal_assets.types import Status


def test_an_alternative_without_an_answer_asks_for_a_look_and_says_why():
    assert alternatives({}).status is Status.PASS
    told = alternatives({"two-way": "cluster: 4 treated clusters", "staggered": "no control"})
    assert (told.status, told.value) == (Status.REVIEW, 2)
    assert "two-way: cluster: 4 treated clusters; staggered: no control" in told.message
