"""A population's filter: one condition over known columns, or an error that says why."""

import pytest

from causal_assets.warehouse.engine import identifier, scratch
from causal_assets.warehouse.queries.filters import filter_columns, parse_filter

COLUMNS = ["region", "age", "consent", "spend_28_0"]


@pytest.mark.parametrize(
    "text",
    [
        "region = 'north'",
        "region <> 'it''s' AND NOT age >= 18",
        "(region IN ('north', 'south') OR age BETWEEN 18 AND 65) AND spend_28_0 > 0",
        "region IS NULL OR region IS NOT NULL",
        "NOT region LIKE 'n%'",
        "age > -1 AND age + 1 < 2 * 3 - spend_28_0",
        "consent IS TRUE",
        "NOT consent = true",
        "region = 'a; DROP TABLE t -- /* no comment */'",
    ],
)
def test_a_condition_over_known_columns_is_accepted_and_runs(text: str) -> None:
    with scratch() as connection:
        connection.execute("CREATE TABLE t (region VARCHAR, age INTEGER, consent BOOLEAN, spend_28_0 DOUBLE)")
        connection.execute("INSERT INTO t VALUES ('north', 30, true, 1.0), (NULL, NULL, NULL, NULL)")
        plain = connection.execute(f"SELECT * FROM t WHERE {text}").fetchall()
        assert connection.execute(f"SELECT * FROM t WHERE {parse_filter(text, COLUMNS)}").fetchall() == plain


@pytest.mark.parametrize(
    "text",
    [
        "age > (SELECT 1)",
        "age IN (SELECT 1)",
        "EXISTS (SELECT 1)",
        "region IN (FROM read_csv('/etc/passwd'))",
        "region = read_text('/etc/passwd')",
        "getenv('HOME') = region",
        "region = current_setting('x')",
        "age > random()",
        "CASE WHEN age > 1 THEN true END",
        "age > 1 UNION SELECT 1",
        "age[1] = 1",
        "region = $1",
        "region = ?",
        "age::BOOLEAN = true",
        "* = 1",
        "COLUMNS('.*') = 1",
        "SELECT 1",
        "DROP TABLE t",
        "ATTACH 'x'",
        "COPY t TO 'x'",
        "age = 1 AS x",
        "lambda x: x",
        "age > sum(age) OVER ()",
        "region = {'a': 1}",
    ],
)
def test_anything_but_comparisons_of_columns_with_values_is_refused(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"^population: .* is (not allowed in a filter|no SQL expression|not a condition)"
    ):
        parse_filter(text, COLUMNS)


@pytest.mark.parametrize(
    "text", ["age > 1; DROP TABLE t", "; DROP TABLE t", ";", "", "   ", "age >", "(age > 1", "'open"]
)
def test_more_or_less_than_one_expression_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^population: "):
        parse_filter(text, COLUMNS)


@pytest.mark.parametrize(
    "text", ["age > 1 -- AND region = 'x'", "age > 1 /* ; DROP TABLE t */", "age /**/ > 1", "age > 1;"]
)
def test_a_comment_or_a_last_semicolon_hides_nothing_and_does_not_reach_the_engine(text: str) -> None:
    assert parse_filter(text, COLUMNS) == "age > 1"


@pytest.mark.parametrize("text", ["age", "1", "'north'", "age + 1", "-age", "NULL", "age, region", "(age)", "(1)"])
def test_a_plain_value_is_no_condition(text: str) -> None:
    with pytest.raises(ValueError, match=r"^population: "):
        parse_filter(text, COLUMNS)


@pytest.mark.parametrize("text", ["t.age > 1", "marts.unit_days.age > 1", '"age""x" > 1', "rowid > 1", "income > 1"])
def test_an_unknown_column_is_refused_with_the_names_allowed(text: str) -> None:
    with pytest.raises(ValueError, match=r"population: unknown column .*allowed are \['age', 'consent', 'region'"):
        parse_filter(text, COLUMNS)


def test_a_filters_columns_are_listed_once_each() -> None:
    assert filter_columns("region = 'a' OR region = 'b' AND age > 1") == ["age", "region"]
    assert filter_columns(None) == []


def test_a_strange_name_stays_quoted() -> None:
    name = 'x" OR 1 = 1 --'
    assert parse_filter(f"{identifier(name)} = 1", [name]) == f"{identifier(name)} = 1"


def test_a_filter_that_does_not_parse_is_refused_wherever_it_is_read() -> None:
    for read in (filter_columns, lambda text: parse_filter(text, COLUMNS)):
        with pytest.raises(ValueError, match=r"^population: 'age >' is no SQL expression: "):
            read("age >")
