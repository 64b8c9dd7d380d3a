"""What holds for every design: its template is a study, and each of its fields belongs to a stage."""

import json

import pytest
import yaml

from causal_assets.designs.catalogue import every_design, study_of
from causal_assets.designs.study import Study
from causal_assets.home import PROJECT
from causal_assets.memo.facts import Assumption
from causal_assets.protocol import WORDS

DESIGNS = every_design()


def _scaffolded(design: type[Study]) -> Study:
    template = PROJECT / "causal_assets" / "templates" / f"{design.__name__}.yaml"
    return design.resolve_from_dict(yaml.safe_load(template.read_text(encoding="utf-8"))["attributes"])


@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.__name__)
def test_the_template_of_a_design_is_a_study(design: type[Study]) -> None:
    assert _scaffolded(design).primary.role == "primary"


@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.__name__)
def test_every_field_but_the_words_belongs_to_a_stage(design: type[Study]) -> None:
    read = [name for names in _scaffolded(design).stage_fields.values() for name in names]
    assert set(design.model_fields) - WORDS == set(read)


@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.__name__)
def test_a_design_says_in_words_why_its_answer_is_an_effect_and_what_it_assumes(design: type[Study]) -> None:
    assert design.identification.words
    assert design.identification.assumptions
    assert len(set(design.checks)) == len(design.checks)


@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.__name__)
def test_a_study_is_the_same_when_read_back_from_its_registered_protocol(design: type[Study]) -> None:
    study = _scaffolded(design)
    again = study_of(design.kind(), json.loads(json.dumps(study.protocol_document)))
    assert type(again) is design
    assert again.protocol_hash == study.protocol_hash


def test_a_protocol_of_a_design_or_of_fields_that_are_gone_is_refused() -> None:
    study = _scaffolded(DESIGNS[0])
    with pytest.raises(LookupError, match="no design is called 'astrology'; there are"):
        study_of("astrology", study.protocol_document)
    fewer = {name: value for name, value in study.protocol_document.items() if name != "level"}
    with pytest.raises(LookupError, match=r"has other fields now than when this was registered: \['level'\]"):
        study_of(study.kind(), fewer)
    with pytest.raises(LookupError, match="reads this protocol as another one now"):
        study_of(study.kind(), study.protocol_document | {"design": "another"})


@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.__name__)
def test_every_assumption_is_tied_to_checks_of_its_design_or_untestable(design: type[Study]) -> None:
    for assumption in design.identification.assumptions:
        assert set(assumption.ties) <= set(design.checks), assumption.words
        assert assumption.ties or assumption.untestable
    ledger = _scaffolded(design).assumptions
    assert json.loads(json.dumps(ledger)) == ledger
    assert not any("{" in str(entry["words"]) + str(entry["untestable"]) for entry in ledger)


def test_an_assumption_is_either_tied_or_untestable() -> None:
    with pytest.raises(ValueError, match="one of both"):
        Assumption(words="All is well.")
    with pytest.raises(ValueError, match="one of both"):
        Assumption(words="All is well.", checks=("srm",), untestable="nobody looked.")
