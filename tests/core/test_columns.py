"""Types of columns are found as a person would say them, and generated rows have the form of the data."""

from __future__ import annotations

import datetime
import json
import math
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wgan_core.data.coding import Coding, Column
from wgan_core.data.columns import ColumnReading, read_column
from wgan_core.data.fitting import ranked
from wgan_core.data.forms import DATES, STAMPS, TIMES, Form
from wgan_core.data.rows import rows_of, write_rows
from wgan_core.data.tables import Asked, interpreted, load_table, read, split_rows
from wgan_core.errors import UserError

ROWS = 400
RNG = np.random.Generator(np.random.PCG64(11))
DAYS = [datetime.date(2020, 1, 1) + datetime.timedelta(days=int(day)) for day in RNG.integers(0, 2_000, ROWS)]
TIMES_OF_DAY = [datetime.datetime(2026, 11, 30, int(h), int(m)) for h, m in RNG.integers(0, 24, (ROWS, 2))]
CENTS = RNG.integers(100, 10**7, ROWS) / 100


def read_text(cells: list[str | None], name: str = "x", **how: Any) -> ColumnReading:
    return read_column(name, pa.chunked_array([pa.array(cells, pa.string())]), typed=False, **how)


def cycle(*values: str) -> list[str]:
    return [values[row % len(values)] for row in range(ROWS)]


TEXTS: list[tuple[str, list[str], str, str]] = [
    ("whole", [str(each) for each in RNG.integers(-50, 9_999, ROWS)], "number", "whole numbers"),
    ("decimal", [f"{each:.2f}" for each in CENTS], "number", "numbers of 2 decimal places"),
    ("exponent", [f"{each:.3e}" for each in CENTS], "number", "numbers"),
    ("plus", [f"+{each}" for each in RNG.integers(1, 9_999, ROWS)], "number", "whole numbers"),
    ("few", cycle("1", "2", "3"), "categories", "whole numbers, few values"),
    ("codes", cycle("02134", "94105", "10001"), "categories", "categories"),
    ("many codes", [f"{each:05}" for each in range(100)] * 4, "categories", "categories"),
    ("spellings", cycle("1.0", "1.00", "2"), "categories", "categories"),
    ("truth", cycle("true", "false"), "categories", "true and false"),
    ("money", [f"${each:,.2f}" for each in CENTS], "number", "amounts"),
    ("euros", [f"{each:.2f} €" for each in CENTS], "number", "amounts"),
    ("debts", [f"-$ {each:.2f}".replace("$ ", "$") for each in CENTS], "number", "amounts"),
    ("percent", [f"{each % 100:.1f}%" for each in CENTS], "number", "percentages"),
    ("thousands", [f"{each:,}" for each in RNG.integers(1_000, 10**7, ROWS)], "number", "amounts"),
    ("day", [each.isoformat() for each in DAYS], "number", "dates"),
    ("german day", [each.strftime("%d.%m.%Y") for each in DAYS], "number", "dates"),
    ("american day", [each.strftime("%m/%d/%Y") for each in DAYS], "number", "dates"),
    ("british day", [each.strftime("%d/%m/%Y") for each in DAYS], "number", "dates"),
    ("named month", [each.strftime("%d-%b-%Y") for each in DAYS], "number", "dates"),
    ("stamp", [f"{each} 10:20:30" for each in DAYS], "number", "time stamps"),
    ("clock", [each.strftime("%H:%M") for each in TIMES_OF_DAY], "number", "times of day"),
    ("town", cycle("Ulm", "Aachen"), "categories", "categories"),
    ("id", [str(each) for each in RNG.permutation(ROWS)], "left out", "identifier: whole numbers that all differ"),
    ("", [str(each) for each in range(ROWS)], "left out", "identifier: whole numbers that all differ"),
    ("name", [f"Person {row}" for row in range(ROWS)], "left out", "identifier: names that all differ"),
    ("comment", [f"a text of many words about the case {row}" for row in range(ROWS)], "refused", "free text"),
    ("mistake", [*map(str, range(ROWS - 1)), "twelve"], "refused", "numbers, but 'twelve' in row 399"),
    ("part numbers", [*map(str, range(ROWS - 1)), "207a"], "left out", "identifier"),
    ("one", ["7"] * ROWS, "constant", "always 7"),
    ("ID", [str(each) for each in RNG.permutation(ROWS)], "left out", "identifier"),
    ("Unnamed: 0", [str(each) for each in range(ROWS)], "left out", "identifier"),
    ("CUSTOMER_ID", [str(each) for each in range(ROWS)], "left out", "identifier"),
    ("age bands", cycle("1-3", "4-6", "7-9", "10-12"), "categories", "categories"),
    ("scores", cycle("2:1", "0:0", "1:3"), "categories", "categories"),
    ("versions", cycle("1.2.3", "1.10.2"), "categories", "categories"),
    ("short years", [each.strftime("%m/%d/%y") for each in DAYS], "number", "dates"),
    ("below", [*["<0.5"] * (ROWS // 8), *map(str, range(ROWS - ROWS // 8))], "refused", "numbers, but '<0.5' in row 0"),
    ("agent", [*map(str, range(ROWS - 1)), "007"], "refused", "numbers, but '007' in row 399"),
    ("too large", [*map(str, range(ROWS - 1)), "1e400"], "refused", "numbers, but '1e400' in row 399"),
    ("cities", [f"City {row % 220}" for row in range(ROWS)], "categories", "categories"),
]


@pytest.mark.parametrize(("name", "cells", "role", "said"), TEXTS, ids=[name or "unnamed" for name, *_ in TEXTS])
def test_text_of_csv_is_read_as_a_person_would(name: str, cells: list[str], role: str, said: str) -> None:
    found = read_text(list(cells), name)
    assert (found.role, found.said[: len(said)]) == (role, said)
    assert found.missing == 0


@pytest.mark.parametrize("gap", ["", "NA", "?", "nan", "NULL", "-", ".", "n/a"])
def test_words_for_a_missing_number_are_no_category(gap: str) -> None:
    cells = [gap if row % 8 == 0 else str(row * 3) for row in range(ROWS)]
    found = read_text(list(cells))
    assert (found.role, found.said, found.missing) == ("number", "whole numbers", ROWS // 8)


def test_namibia_is_a_country_where_countries_are_and_else_missing() -> None:
    assert read_text([*cycle("NA", "DE", "FR")]).missing == 0
    assert read_text([*cycle("NA", "Germany", "France")]).missing == -(-ROWS // 3)


def test_numbers_that_are_none_cannot_be_asked_for() -> None:
    found = read_text([*cycle("a", "b")], kind="numbers")
    assert (found.role, found.remedy) == ("refused", "take it out of --numeric")


def test_whole_numbers_beyond_2_to_the_53_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [2**60 + 7 * row for row in range(ROWS)]}), tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"below 2\^53"):
        load_table(tmp_path / "t.parquet")


def test_a_thousand_columns_of_zeros_are_coded(tmp_path: Path) -> None:
    columns = {f"c{each}": np.where(RNG.random(ROWS) < 0.5, 0, RNG.random(ROWS)) for each in range(1_100)}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    coding = load_table(tmp_path / "t.parquet").coding
    assert coding is not None
    coding.check((coding.width,))


@pytest.mark.parametrize("pattern", ["%H:%M", "%Y-%m", "%m/%d/%Y %H:%M"])
def test_a_metric_sees_numbers_as_coarse_as_they_are_written(pattern: str) -> None:
    stamps = [datetime.datetime(2021, 1 + row % 12, 1, row % 24, row % 60) for row in range(ROWS)]
    read = read_text([each.strftime(pattern) for each in stamps], kind="numbers")
    knots, scores, repeats = ranked(read.values.to_numpy().astype(np.float64), 129)
    coding = Coding((Column("x", knots=knots, scores=scores, repeats=repeats, whole=True, places=0, form=read.form),))
    samples = torch.randn(200, 1, generator=torch.Generator().manual_seed(0))
    stored = coding.as_stored(samples)
    assert coding.decode(stored) == coding.decode(samples)
    again = read_text(coding.decode(samples)["x"], kind="numbers").values.to_numpy().astype(np.float64)
    np.testing.assert_array_equal(coding.columns[0].numbers(stored.double().numpy()), again)


def test_what_a_user_says_of_a_column_holds() -> None:
    whole = [str(row) for row in range(ROWS)]
    assert read_text([*whole], "id", kind="numbers").role == "number"
    assert read_text([*cycle("1", "2")], kind="numbers").role == "number"
    assert read_text([*whole], kind="categories").role == "categories"


def typed(values: Any, kind: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, kind)])


@pytest.mark.parametrize(
    ("values", "kind", "said"),
    [
        (DAYS, None, "dates"),
        (TIMES_OF_DAY, pa.timestamp("ns"), "time stamps"),
        (TIMES_OF_DAY, pa.timestamp("us", "Europe/Berlin"), "time stamps"),
        ([each.time() for each in TIMES_OF_DAY], None, "times of day"),
        ([datetime.timedelta(seconds=row * 7) for row in range(ROWS)], None, "durations"),
        ([Decimal(row) / 100 for row in range(ROWS)], pa.decimal128(9, 2), "numbers of 2 decimal places"),
        (CENTS, pa.float32(), "numbers"),
        (CENTS, None, "numbers of 2 decimal places"),
        (range(ROWS), pa.uint64(), "whole numbers"),
        (cycle("a", "b"), pa.large_string(), "categories"),
        (cycle("a", "b"), pa.string_view(), "categories"),
        ([f"{each:.2f}" for each in CENTS], None, "numbers of 2 decimal places"),
    ],
    ids=str,
)
def test_types_of_parquet(values: Any, kind: pa.DataType | None, said: str) -> None:
    assert read_column("x", typed(values, kind)).said.startswith(said)


def table_of(path: Path) -> tuple[Path, dict[str, Any]]:
    """A table of all that columns hold, of which a fifth is missing in half of the columns."""
    columns: dict[str, Any] = {
        "price": [f"${each:,.2f}" for each in CENTS],
        "share": [f"{each % 100:.1f} %" for each in CENTS],
        "day": DAYS,
        "visit": TIMES_OF_DAY,
        "clock": [each.time() for each in TIMES_OF_DAY],
        "german": [each.strftime("%d.%m.%Y") for each in DAYS],
        "month": [datetime.date(2020, 1 + row % 3, 1) for row in range(ROWS)],
        "fee": cycle("$1.50", "$2.50", "$30.75"),
        "fare": cycle("1.5", "2.25", "3.75"),
        "tax": ["$1.50"] * ROWS,
        "few days": [each.strftime("%d.%m.%Y") for each in DAYS[:3]] * (ROWS // 3) + ["01.02.2021"] * (ROWS % 3),
        "halves": [row % 3 + 0.5 for row in range(ROWS)],
        "whole": RNG.integers(0, 1000, ROWS).tolist(),
        "hours": [0 if row % 2 else int(row) for row in range(ROWS)],
        "tenths": (RNG.integers(0, 1000, ROWS) / 10).tolist(),
        "town": cycle("Ulm", "Aachen", "Köln"),
        "smoker": [bool(row % 2) for row in range(ROWS)],
        "one": ["x"] * ROWS,
    }
    for shift, name in enumerate(list(columns)[:-1:2]):
        columns[name] = [None if (row + shift) % 5 == 0 else value for row, value in enumerate(columns[name])]
    pq.write_table(pa.table(columns), path)
    return path, columns


@pytest.mark.parametrize("coding", ["ranks", "standard"])
@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
def test_real_rows_come_back_as_the_file_has_them(name: str, coding: Any, tmp_path: Path) -> None:
    """With their types, forms and gaps; from CSV as from Parquet."""
    path, columns = table_of(tmp_path / "first.parquet")
    if name == "t.csv":
        write_rows(pq.read_table(path), tmp_path / name)
        path = tmp_path / name
        columns["fare"] = [None if each is None else float(each) for each in columns["fare"]]  # CSV has no types
    dataset = load_table(path, coding=coding)
    assert dataset.coding is not None
    found = rows_of(torch.from_numpy(dataset.train.values), dataset.coding)
    assert found.column_names == list(columns)
    table, asked = read(path), Asked(numeric=["row"], coding=coding)
    numbered = {part: rows.append_column("row", pa.array(range(ROWS))) for part, rows in table.parts.items()}
    order = split_rows(interpreted(type(table)(table.name, "", numbered), asked))["train"]["row"].to_pylist()
    for column in columns:
        assert found[column].to_pylist() == [columns[column][row] for row in order], column


@pytest.mark.parametrize("coding", ["ranks", "standard"])
def test_generated_rows_keep_range_places_and_gaps(coding: Any, tmp_path: Path) -> None:
    path, columns = table_of(tmp_path / "t.parquet")
    dataset = load_table(path, coding=coding)
    assert dataset.coding is not None
    samples = 3 * torch.randn(500, dataset.coding.width, generator=torch.Generator().manual_seed(0))
    rows = rows_of(samples, dataset.coding)
    stored = dataset.coding.as_stored(samples)
    assert rows.equals(rows_of(stored, dataset.coding))
    assert torch.equal(stored, dataset.coding.as_stored(stored))
    assert all(round(each, 1) == each for each in rows["tenths"].to_pylist() if each is not None)
    assert {type(each) for each in rows["whole"].to_pylist() if each is not None} == {int}
    for name in columns:
        assert (rows[name].null_count > 0) == (None in columns[name]), name
    if coding == "ranks":
        for name in ("whole", "hours", "tenths", "day", "visit"):
            there = [each for each in columns[name] if each is not None]
            made = [each for each in rows[name].to_pylist() if each is not None]
            assert min(there) <= min(made) <= max(made) <= max(there), name
        assert rows["hours"].to_pylist().count(0) > 50
    for file in ("out.csv", "out.parquet"):
        write_rows(rows, tmp_path / file)
    again = pq.read_table(tmp_path / "out.parquet")
    assert again.equals(rows)
    assert len(interpreted(read(tmp_path / "out.csv"), Asked(coding=coding)).table.columns) == len(columns)


def test_a_coding_is_kept_in_json_and_older_ones_are_read(tmp_path: Path) -> None:
    coding = load_table(table_of(tmp_path / "t.parquet")[0]).coding
    assert coding is not None
    assert Coding.from_json(json.loads(json.dumps(coding.as_json()))) == coding
    coding.check((coding.width,))
    old = {
        "columns": [{"name": "a", "mean": 1.0, "sd": 2.0, "whole": False, "values": []}],
        "label": "",
        "positive": None,
    }
    assert Coding.from_json(old).columns == (Column("a", 1.0, 2.0),)


@pytest.mark.parametrize(
    "column",
    [
        Column("x", knots=(1.0,), scores=(0.0,)),
        Column("x", knots=(1.0, 1.0), scores=(0.0, 1.0)),
        Column("x", knots=(1.0, 2.0), scores=(0.0, math.nan)),
        Column("x", knots=(1.0, 2.0), scores=(0.0,)),
        Column("x", masses=(1.0, 1.0)),
        Column("x", masses=(math.inf,)),
        Column("x", form=Form("%9999999d")),
        Column("x", form=Form("text", "x" * 9)),
    ],
    ids=str,
)
def test_a_coding_that_no_data_gives_is_refused(column: Column) -> None:
    """A checkpoint may come from a stranger."""
    with pytest.raises(UserError, match="take the coding of a data set"):
        Coding((column,)).check((column.width,))


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=2, max_size=129).filter(lambda each: len(set(each)) > 1))
@settings(max_examples=60, deadline=None)
def test_ranks_come_back_and_rise(numbers: list[float]) -> None:
    given_numbers = np.array(numbers, np.float64)
    knots, scores, repeats = ranked(given_numbers, 129)
    column = Column("x", knots=knots, scores=scores, repeats=repeats)
    column.check()
    entries = column.entries(given_numbers)
    np.testing.assert_array_equal(column.numbers(entries.astype(np.float64)), given_numbers)
    order = np.argsort(given_numbers, kind="stable")
    assert (np.diff(entries[order, 0]) >= 0).all()
    assert knots[0] == given_numbers.min()
    assert knots[-1] == given_numbers.max()


def test_ranks_of_any_distribution_are_about_normal() -> None:
    for numbers in (RNG.lognormal(0, 2, 20_000), RNG.exponential(1, 20_000), RNG.normal(5, 2, 20_000) ** 3):
        knots, scores, repeats = ranked(numbers, 129)
        entries = Column("x", knots=knots, scores=scores, repeats=repeats).entries(numbers)[:, 0]
        assert abs(entries.mean()) < 0.02
        assert abs(entries.std() - 1) < 0.03
        assert abs((entries**3).mean()) < 0.1


@pytest.mark.parametrize("pattern", [*DATES, *STAMPS, *TIMES])
def test_every_form_of_dates_is_written_as_it_is_read(pattern: str) -> None:
    # The 25th says which part is the day.
    stamps = [datetime.datetime(2021, 1 + row % 12, 1 + row % 25, row % 24, row % 60) for row in range(ROWS)]
    cells = [each.strftime(pattern) for each in stamps]
    found = read_text([*cells], kind="numbers")
    assert found.role in ("number", "categories")
    assert found.form.kind
    written = found.form.write(found.values.to_pylist(), 0)
    assert [each if isinstance(each, str) else each.strftime(pattern) for each in written] == cells


@pytest.mark.parametrize(
    "form",
    ["{m}/{d}/{y}", "{d}.{m}.{y}", "{y}-{m}-{d}", "{m}/{d}/{y} {h}:{s:02}", "{y}-{m}-{d} {h}:{s:02}:00", "{h}:{s:02}"],
)
def test_dates_without_leading_zeros_are_written_without_them(form: str) -> None:
    """Also after the coding's way through JSON."""
    cells = [
        form.format(y=2021 - row % 3, m=1 + row % 12, d=1 + row % 25, h=row % 24, s=row % 60) for row in range(ROWS)
    ]
    found = read_text([*cells], kind="numbers")
    assert found.form.write(found.values.to_pylist(), 0) == cells
    column = Column("x", places=0, form=found.form)
    assert Column.from_json(json.loads(json.dumps(asdict(column)))) == column


def test_a_column_s_text_repeated_in_every_row_takes_no_memory() -> None:
    """A dictionary holds a long text once, and so do its readers."""
    long = "x" * 1_000_000
    column = pa.DictionaryArray.from_arrays(pa.array(np.arange(3_000) % 2, pa.int32()), [long, f"{long}y"])
    found = read_column("x", pa.chunked_array([column]))
    assert found.role == "categories"
    assert found.values.nbytes < 3_000_000
