"""Loading: each file once, whole or not at all, and every delivered row in one of three places."""

import csv
import io
import json
import tempfile
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from causal_assets.sources.contract import TableContract
from causal_assets.sources.landing import Delivery, RawTable, find_deliveries, load, replay
from causal_assets.warehouse.engine import Warehouse

EVENTS: dict[str, dict[str, object]] = {
    "id": {"type": "text"},
    "kind": {"type": "text", "allowed": ["visit", "purchase"]},
    "amount": {"type": "number", "required": False, "minimum": 0},
    "units": {"type": "integer", "required": False},
    "at": {"type": "timestamp"},
}
SUFFIX = {"csv": "csv", "lines": "jsonl"}
GOOD = {"id": "a", "kind": "visit", "amount": 1.5, "units": 2, "at": "2026-03-01T10:00:00"}


def table(columns: dict[str, dict[str, object]] = EVENTS, key: tuple[str, ...] = ("id",)) -> RawTable:
    contract = {"grain": "one row per event", "columns": columns, "key": list(key)}
    return RawTable("shop", "events", TableContract.model_validate(contract))


def row(**given: Any) -> dict[str, Any]:
    return GOOD | given


class Shop:
    """A landing folder and the warehouse it is loaded into."""

    def __init__(self, root: Path):
        self.folder = root / "landing"
        self.folder.mkdir()
        self.warehouse = Warehouse(path=str(root / "w.duckdb"))

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def lines(self, name: str, *rows: dict[str, Any]) -> Path:
        return self.write(name, "".join(json.dumps(row) + "\n" for row in rows))

    def csv(self, name: str, *rows: dict[str, Any], end: str = "\n") -> Path:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator=end)
        writer.writeheader()
        writer.writerows(rows)
        return self.write(name, text.getvalue())

    def parquet(self, name: str, columns: dict[str, Any]) -> Path:
        path = self.write(name, b"")
        pq.write_table(pa.table(columns), path)
        return path

    def load(self, raw: RawTable | None = None) -> int:
        raw = raw or table()
        return load(self.warehouse, raw, find_deliveries(self.folder, raw.name))

    def replay(self, raw: RawTable | None = None) -> int:
        return replay(self.warehouse, raw or table())

    def accepted(self, columns: str = "*", raw: RawTable | None = None) -> list[dict[str, Any]]:
        return self.warehouse.rows(f"SELECT {columns} FROM {(raw or table()).table} ORDER BY ALL")

    def ids(self) -> list[str]:
        return [row["id"] for row in self.accepted("id")]

    def quarantine(self) -> list[dict[str, Any]]:
        return self.warehouse.rows("SELECT * FROM raw.quarantine ORDER BY file, row_number")

    def reasons(self) -> list[str]:
        return [row["reason"] for row in self.quarantine()]

    def state(self) -> tuple[Any, ...]:
        """Everything but the clock's readings."""
        books = self.warehouse.rows("SELECT * EXCLUDE (loaded_at) FROM raw.deliveries ORDER BY file")
        held = self.warehouse.rows("SELECT * EXCLUDE (quarantined_at) FROM raw.quarantine ORDER BY file, row_number")
        return self.accepted("* EXCLUDE (_loaded_at)"), held, books

    def books(self, raw: RawTable | None = None) -> tuple[int, int, int, int]:
        """Rows in, accepted, quarantined, duplicate, after checking the books against the tables, file by file."""
        raw = raw or table()
        files = self.warehouse.rows(f"""
            SELECT
                file, rows_in, accepted, quarantined, duplicates,
                (SELECT count(*) FROM {raw.table} WHERE _file = file) AS there,
                (SELECT count(*) FROM raw.quarantine AS q WHERE q.file = d.file AND {raw.where}) AS held
            FROM raw.deliveries AS d WHERE {raw.where}""")
        for book in files:
            assert book["accepted"] == book["there"], book
            assert book["quarantined"] == book["held"], book
            assert book["rows_in"] == book["accepted"] + book["quarantined"] + book["duplicates"], book
        assert len(self.accepted("_file", raw)) == sum(book["there"] for book in files)
        totals = [sum(book[name] for book in files) for name in ("rows_in", "accepted", "quarantined", "duplicates")]
        return totals[0], totals[1], totals[2], totals[3]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


# What is delivered is loaded, once


def test_files_of_one_table_may_come_in_three_formats_and_give_the_same_rows(shop: Shop) -> None:
    shop.csv("events/1.csv", row(id="csv"))
    shop.lines("events/2.jsonl", row(id="lines"))
    shop.parquet(
        "events/3.parquet",
        {"id": ["parquet"], "kind": ["visit"], "amount": [1.5], "units": [2], "at": [datetime(2026, 3, 1, 10)]},
    )
    shop.load()
    assert shop.ids() == ["csv", "lines", "parquet"]
    assert len({tuple(row.values()) for row in shop.accepted('kind, amount, units, "at", _extra')}) == 1
    assert shop.books() == (3, 3, 0, 0)


def test_every_row_carries_its_file_and_load_time(shop: Shop) -> None:
    shop.lines("events/1.jsonl", row(id="a"))
    shop.lines("events/2.jsonl", row(id="b"))
    shop.load()
    rows = shop.accepted("id, _file, _loaded_at")
    assert [row["_file"] for row in rows] == ["events/1.jsonl", "events/2.jsonl"]
    now = shop.warehouse.scalar("SELECT now()::TIMESTAMP")
    assert all(timedelta(0) <= now - row["_loaded_at"] < timedelta(minutes=1) for row in rows)


def test_loading_again_changes_nothing(shop: Shop) -> None:
    shop.lines("events.jsonl", row(), row(kind="flight"), row())
    assert shop.load() == 1
    before = shop.state()
    assert shop.load() == 0
    assert shop.state() == before


def test_the_same_content_under_another_name_is_left_alone(shop: Shop) -> None:
    path = shop.lines("events/1.jsonl", row())
    shop.load()
    shop.write("events/2.jsonl", path.read_bytes())
    assert shop.load() == 0
    assert shop.books() == (1, 1, 0, 0)


def test_a_known_name_with_new_content_replaces_its_rows(shop: Shop) -> None:
    shop.lines("events/1.jsonl", row(id="old"), row(id="broken", kind="flight"))
    shop.lines("events/2.jsonl", row(id="other"))
    shop.load()
    shop.lines("events/1.jsonl", row(id="new"))
    assert shop.load() == 1
    assert shop.ids() == ["new", "other"]
    assert shop.books() == (2, 2, 0, 0)


def test_a_file_that_takes_the_content_of_another_loses_its_own_rows(shop: Shop) -> None:
    one = shop.lines("events/1.jsonl", row(id="one"))
    shop.lines("events/2.jsonl", row(id="two"))
    shop.load()
    shop.write("events/2.jsonl", one.read_bytes())
    shop.load()
    assert shop.ids() == ["one"]
    assert shop.books() == (1, 1, 0, 0)


def test_two_files_that_swap_their_content_lose_no_row(shop: Shop) -> None:
    one, two = shop.lines("events/1.jsonl", row(id="one")), shop.lines("events/2.jsonl", row(id="two"))
    shop.load()
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    shop.load()
    assert [(r["id"], r["_file"]) for r in shop.accepted("id, _file")] == [
        ("one", "events/2.jsonl"),
        ("two", "events/1.jsonl"),
    ]


def test_a_record_that_a_replaced_file_no_longer_holds_is_taken_from_the_file_that_repeated_it(shop: Shop) -> None:
    shop.lines("events/1.jsonl", row(id="shared"), row(id="contested"))
    shop.lines("events/2.jsonl", row(id="shared"), row(id="contested", units=9))
    shop.load()
    assert shop.books() == (4, 2, 1, 1)
    shop.lines("events/1.jsonl", row(id="new"))
    shop.load()
    assert shop.ids() == ["contested", "new", "shared"]
    assert shop.books() == (3, 3, 0, 0)


def test_an_incremental_load_equals_a_load_of_everything_at_once(tmp_path: Path) -> None:
    shops = []
    for name in ("steps", "once"):
        (tmp_path / name).mkdir()
        shops.append(Shop(tmp_path / name))
    steps, once = shops
    for i in range(4):
        for shop in shops:
            shop.lines(f"events/{i}.jsonl", row(id=str(i)), row(id=str(i // 2)), row(id=str(i), kind=None))
        steps.load()
    once.load()
    assert steps.state() == once.state()


def test_a_file_that_is_gone_keeps_its_rows(shop: Shop) -> None:
    path = shop.lines("events/1.jsonl", row(id="archived"))
    shop.load()
    path.unlink()
    shop.lines("events/2.jsonl", row(id="new"))
    shop.load()
    assert shop.ids() == ["archived", "new"]


def test_an_error_in_a_file_keeps_the_files_before_it_and_nothing_of_that_one(shop: Shop) -> None:
    shop.lines("events/1.jsonl", row(id="one"))
    shop.write("events/2.parquet", "this is no parquet file")
    shop.lines("events/3.jsonl", row(id="three"))
    with pytest.raises(duckdb.Error, match=r"events/2\.parquet"):
        shop.load()
    assert shop.ids() == ["one"]
    (shop.folder / "events/2.parquet").unlink()
    shop.lines("events/2.jsonl", row(id="two"))
    assert shop.load() == 2
    assert shop.ids() == ["one", "three", "two"]


def test_a_replacement_that_fails_keeps_the_rows_it_was_to_replace(shop: Shop) -> None:
    shop.parquet("events/1.parquet", {"id": ["a"], "kind": ["visit"], "at": [datetime(2026, 3, 1)]})
    shop.load()
    before = shop.state()
    shop.write("events/1.parquet", "half a file")
    with pytest.raises(duckdb.Error):
        shop.load()
    assert shop.state() == before


def test_a_csv_file_with_two_kinds_of_line_ends_is_an_error_that_names_it_and_loads_nothing(shop: Shop) -> None:
    shop.write("events.csv", "id,kind,at\na,visit,2026-03-01\r\nb,visit,2026-03-01\n")
    with pytest.raises(duckdb.Error, match=r"events\.csv"):
        shop.load()
    assert shop.ids() == []


def test_a_table_without_files_is_an_error_that_says_what_was_looked_for(shop: Shop) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"no events\.\* and no events/\* with one of \.parquet, \.csv, \.jsonl"
    ):
        shop.load()


def test_a_table_whose_name_begins_like_anothers_reads_its_own_files_only(shop: Shop) -> None:
    shop.lines("events.jsonl", row(id="new"))
    shop.lines("events_old.jsonl", row(id="old"))
    shop.lines("events_old/more.jsonl", row(id="older"))
    old = RawTable("shop", "events_old", table().contract)
    shop.load()
    shop.load(old)
    assert shop.ids() == ["new"]
    assert [row["id"] for row in shop.accepted("id", old)] == ["old", "older"]
    assert (shop.books(), shop.books(old)) == ((1, 1, 0, 0), (2, 2, 0, 0))


# What the contract does not know


def test_a_new_column_is_accepted_kept_and_reported_in_every_format(shop: Shop) -> None:
    shop.lines("events/1.jsonl", row(id="a", tier="gold", deep={"x": [1, None]}))
    shop.csv("events/2.csv", row(id="b", tier="gold"))
    shop.parquet("events/3.parquet", {"id": ["c"], "kind": ["visit"], "at": [datetime(2026, 3, 1)], "tier": ["gold"]})
    shop.load()
    kept = [json.loads(row["_extra"]) for row in shop.accepted("id, _extra")]
    assert kept == [{"tier": "gold", "deep": {"x": [1, None]}}, {"tier": "gold"}, {"tier": "gold"}]
    new = shop.warehouse.rows("SELECT new_columns FROM raw.deliveries ORDER BY file")
    assert [row["new_columns"] for row in new] == [["deep", "tier"], ["tier"], ["tier"]]


@pytest.mark.parametrize("name", ["_extra", "_row", "_unknown", "_original", 'a"b', "a\\b", "a.b", "ünï", "ID", "*"])
def test_a_new_column_may_have_any_name(shop: Shop, name: str) -> None:
    shop.lines("events/1.jsonl", row(id="a") | {name: "kept"})
    shop.csv("events/2.csv", row(id="b") | {name: "kept"})
    shop.load()
    assert shop.ids() == ["a", "b"]
    assert all("kept" in json.loads(row["_extra"]).values() for row in shop.accepted("_extra"))


def test_the_order_of_columns_and_a_byte_order_mark_and_windows_line_ends_do_not_matter(shop: Shop) -> None:
    shop.csv("events/1.csv", dict(reversed(row(id="a").items())), end="\r\n")
    shop.write("events/2.csv", b"\xef\xbb\xbf" + shop.csv("x.csv", row(id="b"), end="\r\n").read_bytes())
    shop.write("events/3.jsonl", b"\xef\xbb\xbf" + json.dumps(row(id="c")).encode() + b"\r\n\r\n")
    shop.load()
    assert shop.ids() == ["a", "b", "c"]
    assert shop.books() == (3, 3, 0, 0)


def test_quotes_commas_and_line_ends_inside_a_csv_field_belong_to_it(shop: Shop) -> None:
    text = 'say "hi",\nthen\r\nleave'
    shop.csv("events.csv", row(id=text))
    shop.load()
    assert shop.ids() == [text]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("events.csv", ""),
        ("events.csv", "\n\n"),
        ("events.csv", "id,kind,at\n"),
        ("events.csv", "id,kind,at"),
        ("events.jsonl", ""),
        ("events.jsonl", "\n\n"),
    ],
)
def test_an_empty_file_or_a_header_alone_is_loaded_as_no_rows(shop: Shop, name: str, content: str) -> None:
    shop.write(name, content)
    assert shop.load() == 1
    assert shop.books() == (0, 0, 0, 0)
    assert shop.load() == 0


def test_a_header_given_twice_keeps_the_second_column_as_a_new_one(shop: Shop) -> None:
    shop.write("events.csv", "id,kind,at,id,\na,visit,2026-03-01,b,c\n")
    shop.load()
    assert shop.ids() == ["a"]
    assert json.loads(shop.accepted("_extra")[0]["_extra"]) == {"id_3": "b", "column4": "c"}


# What breaks the contract


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": None}, "id: missing"),
        ({"kind": "flight"}, "kind: not allowed: flight"),
        ({"amount": -1}, "amount: below 0: -1"),
        ({"amount": "much"}, "amount: no number: much"),
        ({"amount": "NaN"}, "amount: no number: NaN"),
        ({"units": "12.5"}, "units: no integer: 12.5"),
        ({"at": "noon"}, "at: no timestamp: noon"),
    ],
)
@pytest.mark.parametrize("form", ["csv", "lines"])
def test_a_broken_row_waits_in_quarantine_with_reason_and_original(
    shop: Shop, form: str, change: dict[str, Any], reason: str
) -> None:
    write = {"csv": shop.csv, "lines": shop.lines}[form]
    write(f"events.{SUFFIX[form]}", row(note="kept"), row(id="b", note="kept") | change)
    shop.load()
    (held,) = shop.quarantine()
    assert (held["reason"], held["row_number"], held["file"]) == (reason, 2, f"events.{SUFFIX[form]}")
    original = json.loads(held["original"])
    for name, value in {"note": "kept", **change}.items():
        assert original[name] == value or original[name] == str(value)  # a CSV file is all text
    assert shop.books() == (2, 1, 1, 0)


@pytest.mark.parametrize(
    "line",
    [
        '{"id": "b", ',
        "plain text",
        "[1, 2]",
        '"text"',
        "   ",
        '{"id": "b", "id": "c"}',
        '{"id": "b", "x": 1, "x": 2}',
        b'{"id": "\xff"}',
    ],
)
def test_a_line_that_is_no_json_object_waits_in_quarantine_and_stops_no_other(shop: Shop, line: str | bytes) -> None:
    line = line.encode() if isinstance(line, str) else line
    shop.write("events.jsonl", json.dumps(row()).encode() + b"\n" + line + b"\n" + json.dumps(row(id="z")).encode())
    shop.load()
    assert shop.ids() == ["a", "z"]
    assert [reason.partition(":")[0] for reason in shop.reasons()] == ["unreadable line"]
    kept = json.loads(shop.quarantine()[0]["original"])["_unreadable"]
    assert kept == line.decode(errors="replace").replace("\ufffd", "?")
    assert shop.books() == (3, 2, 1, 0)


@pytest.mark.parametrize(
    "line", ["b", "b,visit,2026-03-01,1,2", 'b,"visit"x,2026-03-01', "# a comment", b"b,\xff,2026-03-01"]
)
def test_a_csv_line_that_does_not_fit_its_header_waits_in_quarantine_and_stops_no_other(
    shop: Shop, line: str | bytes
) -> None:
    line = line.encode() if isinstance(line, str) else line
    shop.write("events.csv", b"id,kind,at\na,visit,2026-03-01\n" + line + b"\nz,visit,2026-03-01\n")
    shop.load()
    assert shop.ids() == ["a", "z"]
    assert shop.reasons()[0].startswith("unreadable line: ")
    assert shop.reasons()[0].endswith(": line 3")
    kept = json.loads(shop.quarantine()[0]["original"])["_unreadable"]
    assert kept == line.decode(errors="replace").replace("\ufffd", "?")
    assert shop.books() == (3, 2, 1, 0)


def test_a_quote_that_never_closes_takes_what_follows_into_quarantine_with_it(shop: Shop) -> None:
    shop.write("events.csv", 'id,kind,at\na,visit,2026-03-01\nb,"visit,2026-03-01\nc,visit,2026-03-01\n')
    shop.load()
    assert shop.ids() == ["a"]
    assert "c,visit" in json.loads(shop.quarantine()[0]["original"])["_unreadable"]
    assert shop.books() == (2, 1, 1, 0)


def test_of_a_line_beyond_the_engines_limit_the_beginning_is_kept(shop: Shop) -> None:
    line = '{"id": "' + "b" * 3_000_000
    shop.write("events.jsonl", f"{line}\n{json.dumps(row())}\n")
    shop.load()
    kept = json.loads(shop.quarantine()[0]["original"])["_unreadable"]
    assert shop.reasons() == ["unreadable line: LINE SIZE OVER MAXIMUM: line 1"]
    assert line.startswith(kept)
    assert len(kept) >= 1_000
    assert shop.books() == (2, 1, 1, 0)


def test_integers_beyond_the_precision_of_a_double_arrive_exactly(shop: Shop) -> None:
    big = 2**53 + 1
    shop.lines("events/1.jsonl", row(id="a", units=big))
    shop.csv("events/2.csv", row(id="b", units=big))
    shop.parquet("events/3.parquet", {"id": ["c"], "kind": ["visit"], "units": [big], "at": [datetime(2026, 3, 1)]})
    shop.load()
    assert [row["units"] for row in shop.accepted("units")] == [big] * 3


def test_offsets_are_converted_and_naive_times_are_utc(shop: Shop) -> None:
    shop.lines("events.jsonl", row(id="a", at="2026-03-01T10:00:00+05:30"), row(id="b", at="2026-03-01 10:00:00"))
    shop.load()
    assert [row["at"] for row in shop.accepted('id, "at"')] == [datetime(2026, 3, 1, 4, 30), datetime(2026, 3, 1, 10)]


def test_a_changed_type_sends_the_whole_file_to_quarantine_and_is_reported(shop: Shop) -> None:
    at = [datetime(2026, 3, 1)] * 2
    shop.parquet("events/1.parquet", {"id": ["a", "b"], "kind": ["visit"] * 2, "amount": [1.0, 2.0], "at": at})
    shop.parquet("events/2.parquet", {"id": ["c", "d"], "kind": ["visit"] * 2, "amount": ["1,50", None], "at": at})
    shop.load()
    assert shop.ids() == ["a", "b"]
    assert shop.reasons() == ["amount: type changed: number to VARCHAR"] * 2
    assert [json.loads(held["original"])["amount"] for held in shop.quarantine()] == ["1,50", None]
    changed = shop.warehouse.rows("SELECT changed_columns FROM raw.deliveries ORDER BY file")
    assert [row["changed_columns"] for row in changed] == [[], ["amount"]]
    assert shop.books() == (4, 2, 2, 0)


def test_a_parquet_file_of_texts_alone_does_not_pass_for_untyped_text(shop: Shop) -> None:
    columns: dict[str, dict[str, object]] = {"id": {"type": "text"}, "amount": {"type": "number"}}
    shop.parquet("events.parquet", {"id": ["a"], "amount": ["1.5"]})
    shop.load(table(columns))
    assert shop.reasons() == ["amount: type changed: number to VARCHAR"]


@pytest.mark.parametrize("value", [["x", "y"], {"x": 1}])
def test_a_column_that_became_nested_is_a_changed_type(shop: Shop, value: Any) -> None:
    shop.parquet("events.parquet", {"id": [value], "kind": ["visit"], "at": [datetime(2026, 3, 1)]})
    shop.load()
    assert shop.reasons()[0].startswith("id: type changed: text to ")
    assert json.loads(shop.quarantine()[0]["original"])["id"] == value


def test_a_column_without_any_value_has_no_type_that_could_have_changed(shop: Shop) -> None:
    shop.parquet(
        "events.parquet",
        {"id": ["a"], "kind": ["visit"], "amount": pa.nulls(1), "units": pa.nulls(1, pa.string())}
        | {"at": [datetime(2026, 3, 1)]},
    )
    shop.load()
    assert shop.books() == (1, 1, 0, 0)


def test_a_text_in_a_number_of_a_csv_file_breaks_its_row_only(shop: Shop) -> None:
    shop.csv("events.csv", row(id="a"), row(id="b", amount="n/a"), row(id="c"))
    shop.load()
    assert shop.ids() == ["a", "c"]
    assert shop.books() == (3, 2, 1, 0)


# Repeats


def test_an_exact_repeat_is_dropped_and_counted_within_a_file_and_across_files(shop: Shop) -> None:
    shop.lines("events/1.jsonl", row(), row(), row(id="b", amount=None), row(id="b", amount=None))
    shop.csv("events/2.csv", row(), row(id="c"))
    shop.load()
    assert shop.ids() == ["a", "b", "c"]
    assert shop.books() == (6, 3, 0, 3)


@pytest.mark.parametrize("form", ["csv", "lines"])
def test_a_key_repeated_with_other_content_waits_in_quarantine_as_it_was_delivered(shop: Shop, form: str) -> None:
    write = {"csv": shop.csv, "lines": shop.lines}[form]
    write(f"events.{SUFFIX[form]}", row(note=""), row(at="2026-03-01T12:00:00+02:00", units=3, note="kept"))
    shop.load()
    assert shop.reasons() == ["key: repeated with other content: a"]
    original = json.loads(shop.quarantine()[0]["original"])
    assert original["at"] == "2026-03-01T12:00:00+02:00"
    assert original["note"] == "kept"
    assert shop.books() == (2, 1, 1, 0)


def test_a_broken_row_does_not_claim_its_key(shop: Shop) -> None:
    shop.lines("events.jsonl", row(kind="flight"), row())
    shop.load()
    assert shop.ids() == ["a"]
    assert shop.books() == (2, 1, 1, 0)


def test_without_a_key_no_row_is_a_repeat(shop: Shop) -> None:
    shop.lines("events.jsonl", row(), row())
    shop.load(table(key=()))
    assert shop.books(table(key=())) == (2, 2, 0, 0)


# Replay


def edit(shop: Shop, reason: str, original: dict[str, Any]) -> None:
    with shop.warehouse.connect() as connection:
        connection.execute(
            "UPDATE raw.quarantine SET original = ? WHERE starts_with(reason, ?)", [json.dumps(original), reason]
        )


def test_an_edited_original_is_accepted_by_a_replay_and_another_replay_changes_nothing(shop: Shop) -> None:
    shop.lines("events.jsonl", row(id="a"), row(id="b", kind="flight"), row(id="c", at="noon"))
    shop.load()
    assert shop.replay() == 0
    edit(shop, "kind", row(id="b", note="mended"))
    assert shop.replay() == 1
    assert shop.ids() == ["a", "b"]
    assert [row["_extra"] for row in shop.accepted("id, _extra")] == [None, '{"note":"mended"}']
    assert shop.books() == (3, 2, 1, 0)
    before = shop.state()
    assert shop.replay() == 0
    assert shop.state() == before


def test_unreadable_lines_mended_together_with_broken_rows_are_told_apart(shop: Shop) -> None:
    shop.write("events.csv", "id,kind,at\na,visit,2026-03-01\nb\nc,flight,2026-03-01\nd,visit,2026-03-01\n")
    shop.load()
    numbers = [held["row_number"] for held in shop.quarantine()]
    assert len(set(numbers)) == 2
    edit(shop, "unreadable", row(id="a", at="2026-03-01"))
    edit(shop, "kind", row(id="c"))
    shop.replay()
    assert shop.ids() == ["a", "c", "d"]
    assert shop.reasons() == ["key: repeated with other content: a"]
    assert shop.books() == (4, 3, 1, 0)


def test_a_changed_contract_lets_a_replay_accept_what_it_now_allows(shop: Shop) -> None:
    shop.csv("events.csv", row(id="a"), row(id="b", kind="flight"), row(id="c", amount=-1))
    shop.load()
    wider = table(EVENTS | {"kind": {"type": "text", "allowed": ["visit", "purchase", "flight"]}})
    assert shop.load(wider) == 0
    assert shop.replay(wider) == 1
    assert shop.ids() == ["a", "b"]
    assert shop.books() == (3, 2, 1, 0)


def test_a_replay_that_meets_a_record_loaded_meanwhile_counts_a_duplicate(shop: Shop) -> None:
    shop.lines("events/1.jsonl", row(id="a", kind="flight"))
    shop.lines("events/2.jsonl", row(id="a"))
    shop.load()
    edit(shop, "kind", row(id="a"))
    assert shop.replay() == 0
    assert shop.books() == (2, 1, 0, 1)


def test_a_replay_clears_a_changed_type_because_it_judges_value_by_value(shop: Shop) -> None:
    at = [datetime(2026, 3, 1)] * 2
    shop.parquet("events.parquet", {"id": ["a", "b"], "kind": ["visit"] * 2, "amount": ["1.5", "1,5"], "at": at})
    shop.load()
    assert shop.replay() == 1
    assert shop.reasons() == ["amount: no number: 1,5"]
    assert shop.warehouse.scalar("SELECT changed_columns FROM raw.deliveries") == []
    assert shop.books() == (2, 1, 1, 0)


def test_a_contract_that_declares_a_new_column_loads_everything_again_in_its_shape(shop: Shop) -> None:
    shop.lines("events/1.jsonl", row(id="a", tier="gold"))
    shop.csv("events/2.csv", row(id="b"))
    shop.load()
    declared = table(EVENTS | {"tier": {"type": "text", "required": False}})
    with pytest.raises(ValueError, match=r"has columns .* declared are .*tier.*; load first"):
        shop.replay(declared)
    assert shop.load(declared) == 2
    assert [(r["id"], r["tier"], r["_extra"]) for r in shop.accepted("id, tier, _extra")] == [
        ("a", "gold", None),
        ("b", None, None),
    ]
    assert shop.books(declared) == (2, 2, 0, 0)


def test_a_changed_column_is_refused_while_a_file_loaded_before_is_gone(shop: Shop) -> None:
    shop.lines("events/1.jsonl", row(id="a"))
    shop.lines("events/2.jsonl", row(id="b"))
    shop.load()
    (shop.folder / "events/1.jsonl").unlink()
    before = shop.state()
    with pytest.raises(FileNotFoundError, match=r"raw\..*events.*'events/1\.jsonl'.*are gone"):
        shop.load(table(EVENTS | {"units": {"type": "number", "required": False}}))
    assert shop.state() == before


# Whatever is delivered, the books balance and nothing vanishes

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=12)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "kind": st.sampled_from(["visit", "purchase", "flight", "", None]) | TEXTS,
    "amount": st.sampled_from(["1.5", "-2", "nan", "inf", "1e999", "much", "", None]) | st.floats(allow_nan=False),
    "units": st.sampled_from(["3", "12.5", str(2**53 + 1), str(2**70), "x", "", None]) | st.integers(),
    "at": st.sampled_from(["2026-03-01", "2026-03-01T10:00:00+02:00", "noon", "infinity", "", None]) | TEXTS,
    "new": TEXTS,
}
# Few ids, so that keys repeat with the same and with other content; a row in three is whole.
IDS = st.integers(0, 6).map(lambda i: f"id-{i}")
MESSY = st.fixed_dictionaries({"id": IDS}, optional=VALUES) | IDS.map(lambda i: row(id=i))
JSON_LINES = st.lists(
    MESSY.map(lambda r: json.dumps(r, ensure_ascii=False))
    | MESSY.map(lambda r: json.dumps(r)[:-2])
    | TEXTS.map(lambda text: "id-broken " + text.replace("\n", " ").replace("\ufeff", "")),
    max_size=12,
)
PROPERTY = settings(max_examples=15, deadline=None, derandomize=True, database=None)


def check_files(files: dict[str, tuple[bytes, int, set[str]]]) -> None:
    """Load files given as content, number of rows, ids; then load again and replay twice."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        shop = Shop(Path(folder))
        stack.enter_context(shop.warehouse.connect())  # held open, so that the many small operations are fast
        distinct = {content: (rows, ids) for content, rows, ids in files.values()}
        for name, (content, _, _) in files.items():
            shop.write(name, content)
        shop.load()
        assert shop.books()[0] == sum(rows for rows, _ in distinct.values())
        seen = " ".join(shop.ids() + [held["original"] for held in shop.quarantine()])
        assert {i for _, ids in distinct.values() for i in ids if i not in seen} == set()
        assert len(set(shop.ids())) == len(shop.ids())
        shop.load()
        shop.replay()
        before = shop.state()
        shop.books()
        assert shop.replay() == 0
        assert shop.load() == 0
        assert shop.state() == before


@PROPERTY
@given(st.lists(JSON_LINES, min_size=1, max_size=3), st.sampled_from(["\n", "\r\n"]))
def test_rows_in_are_accepted_quarantined_or_duplicates_for_any_json_lines(files: list[list[str]], end: str) -> None:
    check_files(
        {
            f"events/{i}.jsonl": (
                "".join(line + end for line in lines).encode(),
                len(lines),
                {f"id-{k}" for k in [*range(7), "broken"] for line in lines if f"id-{k}" in line},
            )
            for i, lines in enumerate(files)
        }
    )


CSV_ROWS = st.lists(MESSY.map(lambda r: [r.get(name) for name in ("id", *VALUES)]), max_size=10)
WIDTHS = st.lists(st.integers(-3, 3), min_size=10, max_size=10)


@PROPERTY
@given(
    st.lists(st.tuples(CSV_ROWS, WIDTHS), min_size=1, max_size=3),
    st.permutations(["id", *VALUES]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_rows_in_are_accepted_quarantined_or_duplicates_for_any_csv(
    files: list[tuple[list[list[Any]], list[int]]], header: list[str], end: str, mark: bool
) -> None:
    order = [["id", *VALUES].index(name) for name in header]
    written = {}
    for i, (rows, widths) in enumerate(files):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator=end, quoting=csv.QUOTE_ALL)
        writer.writerow(header)
        ids = set()
        for values, width in zip(rows, widths, strict=False):
            ordered = [values[k] for k in order]
            ordered = ordered[:width] if width < 0 else ordered + ["more"] * max(0, width - 1)
            ids |= {values[0]} & set(ordered)
            writer.writerow(ordered)
        content = ("\ufeff" * mark + text.getvalue()).encode()
        written[f"events/{i}.csv"] = (content, len(rows), ids)
    check_files(written)


PARQUET_TYPES: dict[str, list[pa.DataType]] = {
    "kind": [pa.string()],
    "amount": [pa.float64(), pa.string(), pa.int32(), pa.decimal128(21, 2)],
    "units": [pa.int64(), pa.uint64(), pa.float64(), pa.string()],
    "at": [pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.date32(), pa.string()],
}


@st.composite
def parquet_files(draw: st.DrawFn) -> tuple[bytes, int, set[str]]:
    count = draw(st.integers(0, 8))
    columns: dict[str, pa.Array] = {"id": pa.array([draw(IDS) for _ in range(count)], pa.string())}
    for name, types in PARQUET_TYPES.items():
        kind = draw(st.sampled_from(types))
        small = st.none() | st.integers(0, 3)
        values = [draw(small) for _ in range(count)]
        if pa.types.is_string(kind):
            values = [None if value is None else ["visit", "purchase", "x", "1"][value] for value in values]
        columns[name] = pa.array(values).cast(kind) if pa.types.is_decimal(kind) else pa.array(values, kind)
    if draw(st.booleans()):
        del columns[draw(st.sampled_from(sorted(PARQUET_TYPES)))]
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue(), count, set(columns["id"].to_pylist())


@PROPERTY
@given(st.lists(parquet_files(), min_size=1, max_size=3))
def test_rows_in_are_accepted_quarantined_or_duplicates_for_any_parquet(
    files: list[tuple[bytes, int, set[str]]],
) -> None:
    check_files({f"events/{i}.parquet": file for i, file in enumerate(files)})


def test_a_delivery_is_a_name_a_hash_and_a_way_to_read_it(shop: Shop) -> None:
    path = shop.lines("events.jsonl", row())
    (delivery,) = find_deliveries(shop.folder, "events")
    assert isinstance(delivery, Delivery)
    assert (delivery.file, delivery.format, len(delivery.content_hash)) == ("events.jsonl", ".jsonl", 64)
    assert str(path) in delivery.relation
