"""The memo as JSON: valid under the committed schema, complete, the same bytes for the same facts."""

import json
from dataclasses import replace
from math import inf, nan

import pytest
from jsonschema import Draft202012Validator

from causal_assets.designs.catalogue import every_design
from causal_assets.estimators.causal_graph import CausalGraph
from causal_assets.home import PROJECT
from causal_assets.memo.document import schema, to_json

COMMITTED = json.loads((PROJECT / "docs" / "memo.schema.json").read_text(encoding="utf-8"))
VALID = Draft202012Validator(COMMITTED)


def test_the_schema_is_a_schema_and_refuses_what_it_does_not_name(shipped):
    Draft202012Validator.check_schema(json.loads(schema()))
    plain = json.loads(to_json(shipped))
    assert not VALID.is_valid(plain | {"surprise": 1})
    assert not VALID.is_valid(plain | {"cost_per_unit": "NaN"})
    assert not VALID.is_valid({name: value for name, value in plain.items() if name != "verdict"})


def test_memos_of_all_kinds_and_designs_are_valid_and_the_same_facts_give_the_same_bytes(
    shipped, unidentified, running
):
    graph = CausalGraph.read(["(taste) -> before, y", "before -> treatment -> y"], "y", ["before"])
    told = [shipped, unidentified, running, replace(unidentified, causal_graph=graph)]
    told += [replace(shipped, design=one.design, identification=one.identification) for one in every_design()]
    for facts in told:
        VALID.validate(json.loads(to_json(facts)))
        assert to_json(facts) == to_json(replace(facts))


def test_the_numbers_are_those_of_the_facts(unidentified):
    plain = json.loads(to_json(unidentified))
    primary = plain["effects"][0]
    assert (primary["role"], primary["value"], primary["low"]) == (
        "primary",
        unidentified.primary.value,
        unidentified.primary.low,
    )
    assert len(plain["effects"]) == len(unidentified.outcomes) + len(unidentified.alternatives)
    assert [check["name"] for check in plain["checks"]] == [check.name for check in unidentified.diagnostics]
    assert plain["profit"] == {"value": 6.5, "low": 0.95, "high": 12.1}
    assert (plain["benefits"], plain["harms"]) == ([], [])  # nothing that is not identified is either
    assert plain["verdict"] == "not identified"
    (bracket,) = [t for a in plain["assumptions"] for t in a["sensitivity"] if t["check"] == "bracket"]
    assert bracket["status"] == "FAIL"


def test_no_infinity_is_written_as_a_number_and_what_is_not_known_is_null(shipped):
    primary = replace(shipped.primary, low=-inf, high=inf, p_value=None, std_error=None)
    text = to_json(replace(shipped, primary=primary, profit=(0.5, -inf, inf)))
    found = json.loads(text, parse_constant=pytest.fail)
    effect = found["effects"][0]
    assert (effect["low"], effect["high"], effect["p_value"], effect["std_error"]) == (
        "-Infinity",
        "Infinity",
        None,
        None,
    )
    VALID.validate(found)


def test_a_number_that_is_none_is_refused(shipped):
    with pytest.raises(ValueError, match="may not be NaN"):
        to_json(replace(shipped, balance=(("before", nan, None),)))


def test_a_causal_graph_is_written_with_what_is_enough_under_it(unidentified):
    graph = CausalGraph.read(["(taste) -> before, y", "before -> treatment -> y"], "y", ["before"])
    assert json.loads(to_json(replace(unidentified, causal_graph=graph)))["causal_graph"] == {
        "edges": [["taste", "before"], ["taste", "y"], ["before", "treatment"], ["treatment", "y"]],
        "unobserved": ["taste"],
        "adjustment_sets": [["before"]],
    }
