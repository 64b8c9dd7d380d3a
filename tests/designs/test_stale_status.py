"""What the UI shows as stale: after a change of a protocol the stages that read it and what follows, else nothing."""

from collections.abc import Iterator

import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.loader import LoadingContextForTest

from causal_assets.home import Home
from tests.designs.shop import definitions, house, trial, trial_shop
from tests.designs.tables import tracking_database
from tests.house import House, failures, live_in

RULE = {"decision": {"value_per_outcome": 2.0, "cost_per_unit": 0.1}}


def shown_stale(lived_in: House) -> set[str]:
    """Assets that the UI does not show as fresh, asked as its server asks."""
    graph = lived_in.definitions.resolve_asset_graph()
    resolver = CachingStaleStatusResolver(lived_in.instance, graph, LoadingContextForTest(lived_in.instance))
    keys = [key for key in graph.executable_asset_keys if not graph.get(key).is_partitioned]
    return {key.to_user_string() for key in keys if resolver.get_status(key) is not StaleStatus.FRESH}


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A trial run to its memo, by an instance that remembers it."""
    with live_in(tmp_path_factory.mktemp("fresh")) as root:
        home = Home(root)
        home.mlflow.mkdir()
        (home.mlflow / "mlflow.db").write_bytes(tracking_database().read_bytes())
        built = house(home, page=trial())
        trial_shop().write(built.warehouse)
        result = built.run()
        assert result.success, failures(result)
        yield built


def changed(lived_in: House, **fields: object) -> House:
    """The same home and instance after an edit of the YAML."""
    return House(lived_in.home, definitions(lived_in.home, page=trial(**fields)), lived_in.instance)


def test_where_nothing_was_changed_nothing_is_stale(lived_in: House) -> None:
    assert shown_stale(lived_in) == set()
    assert shown_stale(changed(lived_in)) == set(), "definitions loaded anew from the same YAML"


@pytest.mark.parametrize(
    ("fields", "stages"),
    [
        (RULE, {"registration", "decision", "mandate", "memo"}),
        ({"question": "Is the new page better?"}, {"registration", "memo"}),
        ({"plausible_effect": 4.0}, {"registration", "evidence", "decision", "mandate", "memo"}),
        ({"level": 0.9}, {"registration", "estimate", "evidence", "decision", "mandate", "memo"}),
        (
            {"enrolled_to": "2026-03-08"},
            {"registration", "cohort", "outcomes", "estimate", "evidence", "decision", "mandate", "memo"},
        ),
    ],
)
def test_a_changed_field_makes_its_registration_stale_the_stages_that_read_it_and_what_follows(
    lived_in: House, fields: dict[str, object], stages: set[str]
) -> None:
    assert shown_stale(changed(lived_in, **fields)) == {f"page/{stage}" for stage in stages}


def test_a_new_rule_that_was_registered_and_applied_reran_nothing_else_and_leaves_nothing_stale(
    lived_in: House,
) -> None:
    """Last in this file: it goes on from the home that all its tests share."""
    anew = changed(lived_in, **RULE)
    assert anew.run(["page", "registration"]).success
    assert shown_stale(anew) == {"page/decision", "page/mandate", "page/memo"}
    result = anew.run(["page", "decision"], ["page", "mandate"], ["page", "memo"], ["studies", "published"])
    assert result.success, failures(result)
    # The rule came after outcomes were read and does not act: the mandate of before is the old rule's, and shows so.
    assert shown_stale(anew) == {"page/mandate"}
