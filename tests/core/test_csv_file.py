"""CSV files as text: habits of programs that write them, random dialects, and hostile content."""

from __future__ import annotations

import csv as python_csv
import gzip
import io
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.core.refusal import refused
from wgan_core.data.csv_file import CsvTable, is_csv, read_csv
from wgan_core.data.limits import Memory
from wgan_core.errors import UserError

Columns = dict[str, list[str | None]]


def written(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(folder: Path, content: str | bytes, name: str = "t.csv") -> CsvTable:
    path = written(folder, content, name)
    return read_csv(path, Memory([path], path))


def said(folder: Path, content: str | bytes, *parts: str) -> str:
    return refused(lambda: read(folder, content), *parts)


HABITS: dict[str, tuple[str, str, str, Columns]] = {
    "commas": ("a,b\n1,x\n2,y\n", ",", ".", {"a": ["1", "2"], "b": ["x", "y"]}),
    "tabs": ("a\tb\n1\tx y\n", "\t", ".", {"a": ["1"], "b": ["x y"]}),
    "bars": ("a|b\n1|x,y\n", "|", ".", {"a": ["1"], "b": ["x,y"]}),
    "semicolons, decimal points": ("a;b\n7.5;1\n", ";", ".", {"a": ["7.5"], "b": ["1"]}),
    "decimal commas": ("a;b\r\n6,5;10,3\r\n7;8,1\r\n", ";", ",", {"a": ["6,5", "7"], "b": ["10,3", "8,1"]}),
    "decimal commas in all columns": ("a,x;b,y\n1,5;2,5\n", ";", ",", {"a,x": ["1,5"], "b,y": ["2,5"]}),
    "thousands": ("a\tb\n1.234,56\tx\n", "\t", ",", {"a": ["1.234,56"], "b": ["x"]}),
    "money": ("a;b\n€ 6,50;3,5 %\n", ";", ",", {"a": ["€ 6,50"], "b": ["3,5 %"]}),
    "English thousands": ("a\tb\n1,234\t6.5\n", "\t", ".", {"a": ["1,234"], "b": ["6.5"]}),
    "commas in texts": ("a;b\nx,y;6.5\n", ";", ".", {"a": ["x,y"], "b": ["6.5"]}),
    "one column": ("a\n1\n2\n", "", ".", {"a": ["1", "2"]}),
    "one column, decimal commas": ("a\n6,5\n7,25\n", "", ",", {"a": ["6,5", "7,25"]}),
    "one column of text": ("text\nshort\nlong, with commas, and more\n", "", ".",
                           {"text": ["short", "long, with commas, and more"]}),
    "quotes": ('"a ""b""",c\n"x, y","say ""hi"""\n', ",", ".", {'a "b"': ["x, y"], "c": ['say "hi"']}),
    "inches": ("a,b\n5\" pipe,6'2\"\n", ",", ".", {"a": ['5" pipe'], "b": ["6'2\""]}),
    "spaces": ("age, work ,c\n30, Private ,x\n", ",", ".", {"age": ["30"], "work": ["Private"], "c": ["x"]}),
    "spaces before quotes": ('a, "b, c"\n1,  "x, ""y"""\n "2" ,z\n', ",", ".",
                             {"a": ["1", "2"], "b, c": ['x, "y"', "z"]}),
    "wide spaces": ("a,b\n\xa01,\u3000x\n", ",", ".", {"a": ["1"], "b": ["x"]}),
    "gaps": ('a,b\n,""\n"  ", \n1,2\n', ",", ".", {"a": [None, None, "1"], "b": [None, None, "2"]}),
    "blank lines": ("\n \na,b\n\n1,2\n   \n3,4\n\n", ",", ".", {"a": ["1", "3"], "b": ["2", "4"]}),
    "line breaks": ('"height\r\n (cm)","a  b"\n"x\ny",1\n', ",", ".", {"height (cm)": ["x\ny"], "a  b": ["1"]}),
    "CRLF": ("a,b\r\n1,2\r\n3,4", ",", ".", {"a": ["1", "3"], "b": ["2", "4"]}),
    "CR": ("a,b\r1,2\r3,4\r", ",", ".", {"a": ["1", "3"], "b": ["2", "4"]}),
    "row numbers of pandas": (",b\n0,2\n1,4\n", ",", ".", {"": ["0", "1"], "b": ["2", "4"]}),
    "row names of R": ('"b","c"\n"x",1,2\n"y",3,4\n', ",", ".", {"": ["x", "y"], "b": ["1", "3"], "c": ["2", "4"]}),
    "row names of R, one column": ('"b"\n"1",6.5\n"2",7\n', ",", ".", {"": ["1", "2"], "b": ["6.5", "7"]}),
    "separators at line ends": ("a,b,\n1,2,\n3,4,\n", ",", ".", {"a": ["1", "3"], "b": ["2", "4"]}),
    "separators at row ends": ("a,b\n1,2,\n3,4,\n", ",", ".", {"a": ["1", "3"], "b": ["2", "4"]}),
    "separator at the header's end": ("a,b,\n1,2\n3,4\n", ",", ".", {"a": ["1", "3"], "b": ["2", "4"]}),
    "several separators at line ends": ("a;b;;\n1;;;\n", ";", ".", {"a": ["1"], "b": [None]}),
    "a name that is missing": ("a,b,\n1,2,\n3,4,x\n", ",", ".", {"a": ["1", "3"], "b": ["2", "4"], "": [None, "x"]}),
    "less than": ("a,b\n<=50K,1\n", ",", ".", {"a": ["<=50K"], "b": ["1"]}),
}  # fmt: skip


@pytest.mark.parametrize("habit", HABITS)
def test_habits_of_programs(habit: str, tmp_path: Path) -> None:
    content, separator, decimal, columns = HABITS[habit]
    found = read(tmp_path, content)
    assert found.table.column_names == list(columns)
    assert found.table.to_pydict() == columns
    assert {str(kind) for kind in found.table.schema.types} == {"string"}
    assert (found.separator, found.decimal, found.encoding) == (separator, decimal, "UTF-8")


def test_names_that_are_there_twice_stay(tmp_path: Path) -> None:
    found = read(tmp_path, "a,b,a\n1,2,3\n").table
    assert found.column_names == ["a", "b", "a"]
    assert found.column(2).to_pylist() == ["3"]


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b""])
def test_encodings(mark: bytes, tmp_path: Path) -> None:
    codec = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}.get(mark, "utf-8")
    rows = "größe;ort\n6,5;Köln\n7,5;\U0001f600\n" * 2
    found = read(tmp_path, mark + rows.encode(codec))
    assert found.table.column_names == ["größe", "ort"]
    assert found.table["ort"].to_pylist()[:2] == ["Köln", "\U0001f600"]
    assert found.encoding == ("UTF-16" if "16" in codec else "UTF-8")


def test_other_bytes_are_windows_1252(tmp_path: Path) -> None:
    found = read(tmp_path, b"pr\xe4mie,ort\n\x805,K\xf6ln\n1,\x81\n")
    assert found.encoding == "Windows-1252"
    assert found.table.to_pydict() == {"prämie": ["€5", "1"], "ort": ["Köln", "\x81"]}
    late = read(tmp_path, b"a,b\n" + b"1,2\n" * 200_000 + b"3,\xe9\n")
    assert (late.encoding, late.table["b"][-1].as_py()) == ("Windows-1252", "é")
    said(tmp_path, b"\xef\xbb\xbfa,b\n1,\xe9\n", "its byte order mark says UTF-8")
    said(tmp_path, b"\xff\xfea\0,\0b\0\n\0\x00\xd8", "its byte order mark says UTF-16")


@pytest.mark.parametrize("name", ["T.CSV", "t.tsv", "t.csv.gz", "t.TSV.GZ", "t.txt", "t.csv"])
def test_names_and_compression(name: str, tmp_path: Path) -> None:
    """Compression is told by the content: browsers decompress files and keep their names."""
    assert is_csv(Path(name))
    for content in (b"a\tb\n1\t2\n", gzip.compress(b"a\tb\n") + gzip.compress(b"1\t2\n")):
        assert read(tmp_path, content, name).table.to_pydict() == {"a": ["1"], "b": ["2"]}


def test_files_of_other_kinds_are_not_csv() -> None:
    assert not any(map(is_csv, map(Path, ["t.parquet", "csv", "t.csv.zip", "t.gz"])))


# Random dialects

CELLS = st.text(st.sampled_from("ab 1.,;|\t\"'\n\\éß漢"), max_size=6).map(str.strip)
NAMES = st.text(st.sampled_from("abé ,;|\"'"), min_size=1, max_size=5).map(str.strip)


@st.composite
def tables(draw: st.DrawFn) -> list[list[str]]:
    width = draw(st.integers(2, 5))
    names = [f"{name}{at}" for at, name in enumerate(draw(st.lists(NAMES, min_size=width, max_size=width)))]
    return [names, *draw(st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=2, max_size=8))]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=tables(),
    separator=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    all_quoted=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    zipped=st.booleans(),
)
def test_random_dialects_are_read_back(
    rows: list[list[str]], separator: str, end: str, all_quoted: bool, encoding: str, zipped: bool, tmp_path: Path
) -> None:
    text = io.StringIO(newline="")
    quoting = python_csv.QUOTE_ALL if all_quoted else python_csv.QUOTE_MINIMAL
    if not all_quoted:
        # Other separators without quotes may divide cells as evenly. Then nobody can know. And Python 3.11 quotes only
        # line breaks of the kind that ends its lines.
        odd = str.maketrans("", "", ",;|\t".replace(separator, "") + ("\n" if end == "\r" else ""))
        rows = [[cell.translate(odd).strip() for cell in row] for row in rows]
    python_csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting).writerows(rows)
    content = text.getvalue().encode(encoding)
    found = read(tmp_path, gzip.compress(content) if zipped else content)
    assert found.separator == separator
    assert found.table.column_names == rows[0]
    wanted = [[cell or None for cell in column] for column in zip(*rows[1:], strict=True)]
    assert [column.to_pylist() for column in found.table.columns] == wanted


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.one_of(st.binary(max_size=200), st.text("a1,;\"\n\r \t'", max_size=60).map(str.encode)))
def test_any_bytes_are_read_or_refused_in_a_line(content: bytes, tmp_path: Path) -> None:
    path, said = written(tmp_path, content), ""
    try:
        assert len(read_csv(path, Memory([path], path)).table)
    except UserError as error:
        said = str(error)
    assert said.isprintable()


# Refusals


@pytest.mark.parametrize(
    ("content", "columns", "rows"), [("% " * 40 + "\na\nb\n", 1, 2), ("%\n" * 125_000, 1, 124_999)]
)
def test_comments_are_searched_in_linear_time(content: str, columns: int, rows: int, tmp_path: Path) -> None:
    """A search for `@relation` after comments once took 2^n steps for n of them."""
    found = read(tmp_path, content).table
    assert (found.num_columns, found.num_rows) == (columns, rows)


def test_names_are_trimmed_in_linear_time(tmp_path: Path) -> None:
    """A million spaces once took the square of their number."""
    found = read(tmp_path, '"a' + " " * 1_000_000 + 'b",c\n' + "1,2\n" * 50).table
    assert [len(name) for name in found.column_names] == [1_000_002, 1]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("", ["it is empty"]),
        ("\n \n", ["it is empty"]),
        ("a,b\n", ["must have rows below its header"]),
        ("a,b\n1,2\n\n3\n", ["with 2 cells in each row", "row 2 below the header, '3', has 1 cell:"]),
        ("a,b\n1,2\n1,2,3\n4\n", ["row 2 below the header, '1,2,3', has 3 cells", "a comma"]),
        ("a;b\n1;2\n  \n1;2;3\n", ["row 3 below the header", "a semicolon"]),
        ("a\n1,2,x\n4,5,y\n", ["with 1 cell in each row", "row 1 below the header"]),
        ("a,b\nx,1,2\nx,3,4\n", ["row 1 below the header"]),  # names of rows would differ
        ("a,b\n1,2\n" + "1,2\n" * 500_000 + "3\n", ["row 500,002 below the header, '3', has 1 cell"]),
        ("<!DOCTYPE html>\n<html>", ["looks like an HTML page"]),
        ("\n<table><tr>", ["looks like an HTML page"]),
        ('<?xml version="1.0"?>\n<a/>', ["looks like XML"]),
        ('{"a": 1}\n{"a": 2}\n', ["looks like JSON"]),
        ('[\n {"a": 1},\n {"a": 2}]', ["looks like JSON"]),
        ("% notes\n%\n\n@RELATION iris\n", ["looks like an ARFF file"]),
        ("version https://git-lfs.github.com/spec/v1\n", ["Git LFS"]),
        (b"%PDF-1.4\n\x00", ["looks like a PDF document"]),
        (b"PK\x03\x04\x14\x00", ["an Excel workbook"]),
        (b"PAR1\x15\x04", ["a Parquet file"]),
        (gzip.compress(gzip.compress(b"a\n1\n", mtime=0), mtime=0), ["compressed twice"]),
        (gzip.compress(b"a,b\n1,2\n" * 99, mtime=0)[:-12], ["EOFError"]),
        (b"a,b\n1,\0\n", ["binary data", "NUL"]),
        (b"a,b\n" + b"1,2\n" * 99_999 + b"3,\0\n", ["binary data", "NUL"]),
        ("a,b\n1,2\n".encode("utf-16-le"), ["UTF-16 without a byte order mark"]),
        ("a,b\n1,2\n" + "\x1b" * 500, ["binary data"]),
    ],
)  # fmt: skip
def test_files_that_are_no_tables_are_refused(content: str | bytes, parts: list[str], tmp_path: Path) -> None:
    said(tmp_path, content, "must ", *parts)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('a,b\n1,2\n3,"4\n5,6\n', 3),
        ('a,b\n1,2\n"3,4\n5,6\n', 3),
        ('a,b\n1,"x\n2,y\n3,"z"\n', 2),
        ('a,b\n3,"', 2),
        ('a\n"' + "x\n" * 600_000, 2),  # longer than a block
    ],
)
def test_a_quote_without_partner_is_named(content: str, line: int, tmp_path: Path) -> None:
    said(tmp_path, content, f"in line {line} has no partner: close it")


def test_a_quote_without_partner_in_the_header(tmp_path: Path) -> None:
    said(tmp_path, 'a,"b\n' + "1,2\n" * 5_000_000, "its header has no end within 16,777,216 bytes")


def test_rows_longer_than_a_block_are_read(tmp_path: Path) -> None:
    found = read(tmp_path, "a,b\n" + "".join(f"{row},{'z' * 1_500_000}\n" for row in range(3))).table
    assert found["a"].to_pylist() == ["0", "1", "2"]
    assert len(found["b"][2].as_py()) == 1_500_000


def test_too_many_columns(tmp_path: Path) -> None:
    for separator in ",;\t|":
        row = separator.join(["1"] * 70_000) + "\n"
        said(tmp_path, row * 3, "at most 65,536 columns", "has 70,000")


def test_a_header_without_end(tmp_path: Path) -> None:
    for content in (b"a" * 100_000_000, gzip.compress(b"ab" * 30_000_000, 1)):
        began = time.process_time()
        said(tmp_path, content, "its header has no end within 16,777,216 bytes")
        assert time.process_time() - began < 5


@pytest.mark.parametrize("unit", [b"\0" * 1000, b"0,0\n" * 250, b"a,b,"])
def test_a_gzip_bomb_takes_little_memory(unit: bytes, tmp_path: Path) -> None:
    """It is refused once 100 times its bytes are there, long before the 1 GiB that each data set may take."""
    part = gzip.compress(unit * (20_000_000 // len(unit)))
    path = written(tmp_path, part * 20)
    tracemalloc.start()
    try:
        began = time.process_time()
        refused(lambda: read_csv(path, Memory([path], path)), "at most 64 MiB and 100 times its bytes", "decompress it")
        assert time.process_time() - began < 5
        assert tracemalloc.get_traced_memory()[1] < 200 << 20
    finally:
        tracemalloc.stop()


def test_the_account_bounds_the_text_and_the_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for content, most in ((gzip.compress(b"a,b\n" + b"1,2\n" * 9_000), 20_000), (b"a,b\n" + b",\n" * 9_000, 60_000)):
        path = written(tmp_path, content)
        monkeypatch.setattr("psutil.virtual_memory", lambda most=most: type("Free", (), {"available": 2 * most}))
        refused(lambda path=path: read_csv(path, Memory([path], path)), "half of the memory that is available")


@pytest.mark.parametrize("content", ["a,b\n1,2\n", 'a, "b"\n1, "2"\n', b"\xef\xbb\xbfa,b\n1,2\n", b"a,b\n1,\xe9\n"])
def test_only_the_columns_stay_taken(content: str | bytes, tmp_path: Path) -> None:
    path = written(tmp_path, content)
    memory = Memory([path], path)
    found = read_csv(path, memory)
    assert memory._taken == found.table.nbytes


def test_a_large_table_is_read_at_once(tmp_path: Path) -> None:
    """100,000 rows take 0.2 s on a slow core; the bound for a fifth of them leaves room for a busy one."""
    rows = [",".join(f"{(row * at) % 997}.{at}" for at in range(1, 21)) for row in range(20_000)]
    path = written(tmp_path, "\n".join([",".join(f"c{at}" for at in range(20)), *rows]))
    read_csv(path, Memory([path], path))
    began = time.process_time()
    assert read_csv(path, Memory([path], path)).table.shape == (20_000, 20)
    assert time.process_time() - began < 0.5
