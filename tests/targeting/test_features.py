"""The same columns give the same numbers at fitting and at scoring, or a named error."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from causal_assets.targeting.features import MOST_KINDS, UNKNOWN, Features, text
from causal_assets.targeting.scoring import columns_of, frame_of

ROWS = {
    "recency": np.array([3.0, 1.0, 2.0, 5.0]),
    "orders": np.array([0, 2, 1, 4]),
    "channel": np.array(["shop", "app", "web", "app"]),
}
FEATURES = Features.of(ROWS, ["recency", "orders"], ["channel"])


def test_numbers_stay_and_every_kind_but_the_first_is_a_column_of_its_own():
    assert FEATURES.names == ("recency", "orders", "channel=shop", "channel=web")
    assert FEATURES.columns == ("recency", "orders", "channel")
    expected = [[3, 0, 1, 0], [1, 2, 0, 0], [2, 1, 0, 1], [5, 4, 0, 0]]
    np.testing.assert_array_equal(FEATURES.matrix(ROWS), expected)


@pytest.mark.parametrize("given", [
    ROWS | {"other": np.full(4, np.nan)},
    dict(reversed(ROWS.items())),
    ROWS | {"channel": ROWS["channel"].astype(object), "orders": ROWS["orders"].astype(np.float32)},
    ROWS | {"orders": np.array([Decimal(k) for k in (0, 2, 1, 4)])},
    pd.DataFrame(ROWS),
    columns_of(FEATURES, pd.DataFrame(ROWS)),
    frame_of(FEATURES, ROWS),
])  # fmt: skip
def test_the_matrix_at_scoring_is_that_of_fitting_however_the_columns_come(given):
    np.testing.assert_array_equal(FEATURES.matrix(given), FEATURES.matrix(ROWS))


def test_rows_to_be_scored_need_not_hold_every_kind():
    one = {name: column[1:2] for name, column in ROWS.items()}
    np.testing.assert_array_equal(FEATURES.matrix(one), [[1, 2, 0, 0]])
    assert FEATURES.matrix({name: column[:0] for name, column in ROWS.items()}).shape == (0, 4)


def masked(values):
    return np.ma.array(values, mask=[False, True, False])


@pytest.mark.parametrize("given", [
    masked(np.array(["web", "xxx", "app"])),  # of three letters, shorter than the word for it
    masked(np.array(["web", "xxx", "app"], dtype=object)),
    masked(np.array(["web", None, "app"], dtype=object)),
    np.array(["web", None, "app"], dtype=object),
    np.array(["web", np.nan, "app"], dtype=object),
    pd.Series(["web", None, "app"]),
])  # fmt: skip
def test_a_text_without_a_value_is_a_kind_of_its_own_at_its_full_length(given):
    assert text("channel", given).tolist() == ["web", UNKNOWN, "app"]
    rows = {"channel": given}
    features = Features.of(rows, [], ["channel"])
    assert features.kinds == {"channel": ("app", UNKNOWN, "web")}
    np.testing.assert_array_equal(features.matrix(rows), [[0, 1], [1, 0], [0, 0]])
    np.testing.assert_array_equal(features.matrix(frame_of(features, rows)), features.matrix(rows))


@pytest.mark.parametrize(("column", "given", "message"), [
    ("channel", np.array(["shop", "fax", "web", "app"]), r"channel: \['fax'\] not seen .* known \['app', 'shop'"),
    ("channel", np.array(["shop", None, "web", "app"], dtype=object), r"channel: \['unknown'\] not seen"),
    ("channel", np.arange(4), "channel holds what is no text, such as"),
    ("channel", np.array(["shop", 3, "web", "app"], dtype=object), r"channel holds what is no text, such as \[3\]"),
    ("channel", pd.Series(["shop", pd.NA, "web", "app"], dtype=object), "channel holds what is no text"),
    ("orders", np.array([0, 2, np.nan, 4]), "orders: 1 values are empty, NaN or infinite"),
    ("orders", np.array([0, 2, np.inf, -np.inf]), "orders: 2 values are empty, NaN or infinite"),
    ("orders", np.ma.array([0, 2, 1, 4], mask=[0, 1, 1, 0]), "orders: 2 values are empty, NaN or infinite"),
    ("orders", np.array([0, None, 1, 4], dtype=object), "orders: 1 values are empty, NaN or infinite"),
    ("orders", np.array([0, 2, "4", 1], dtype=object), r"orders holds what is no number, such as \['4'\]"),
    ("orders", np.array(["0", "2", "1", "4"]), r"orders holds what is no number, such as \['0'\]"),
    ("orders", np.array(["2026-01-01"] * 4, dtype="M8[D]"), "orders holds what is no number, such as"),
    ("orders", np.array([{}, 1, 2, 3], dtype=object), "orders holds what is no number"),
])  # fmt: skip
def test_what_a_model_cannot_read_is_refused_by_column_at_fitting_and_at_scoring(column, given, message):
    with pytest.raises(ValueError, match=message):
        FEATURES.matrix(ROWS | {column: given})
    if "not seen" not in message:
        with pytest.raises(ValueError, match=message):
            Features.of(ROWS | {column: given}, ["recency", "orders"], ["channel"])


def test_a_missing_column_is_named_at_fitting_and_at_scoring():
    rows = {"recency": ROWS["recency"]}
    with pytest.raises(
        ValueError, match=r"\['orders', 'channel'\] are missing; needed are \['recency', 'orders', 'channel'\]"
    ):
        FEATURES.matrix(rows)
    with pytest.raises(ValueError, match=r"\['channel'\] are missing"):
        Features.of(rows, ["recency"], ["channel"])


@pytest.mark.parametrize(("numbers", "texts", "message"), [
    ([], [], "covariates, attributes: a model of who responds needs at least one"),
    (["recency", "same"], [], r"\['same'\] are the same in all rows"),
    (["recency"], ["alone"], r"\['alone'\] are the same in all rows"),
    ([], ["alone"], r"\['alone'\] are the same in all rows"),
])  # fmt: skip
def test_features_that_tell_nobody_apart_are_refused(numbers, texts, message):
    rows = ROWS | {"same": np.ones(4), "alone": np.array(["x"] * 4)}
    with pytest.raises(ValueError, match=message):
        Features.of(rows, numbers, texts)


def test_a_text_of_too_many_kinds_is_a_name():
    names = np.array([f"name {k:03}" for k in range(MOST_KINDS + 1)])
    with pytest.raises(ValueError, match=r"\{'name': 51\} kinds; allowed are 50"):
        Features.of({"name": names}, [], ["name"])
    assert len(Features.of({"name": names[1:]}, [], ["name"]).names) == MOST_KINDS - 1
