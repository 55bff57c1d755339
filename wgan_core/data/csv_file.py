"""Reading of CSV files as text: their encoding, separator and decimal sign are recognised from their content.

The files may come from strangers. So a compressed file may grow only so much, and each part of the text takes its bytes
from the memory account. Types are not inferred here.
"""

from __future__ import annotations

import codecs
import csv as python_csv
import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from wgan_core.data.limits import COLUMNS, Memory, size_text
from wgan_core.errors import UserError, one_line, quoted, shortened

CSV_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
"""Endings of CSV files in a folder, in small letters. A `.txt` file is read as CSV only if it is named itself."""

# Most characters of a CSV header, and of one column name in it.
HEADER_LENGTH = 1 << 24
# Most arrays that pyarrow makes of a CSV file, one for each column of each block, and bytes of a usual block. An array
# takes a kilobyte even if it is empty.
CSV_ARRAYS, CSV_BLOCK, LARGEST_BLOCK = 1 << 18, 1 << 20, 1 << 30
# Most bytes of text from a compressed file: `GZIP_FREE`, and `GZIP_GROWTH` times the compressed bytes read so far.
# Tables of text and numbers compress less than 100 times, zeros 1,000 times.
GZIP_FREE, GZIP_GROWTH = 1 << 26, 100
GZIP_MAGIC = b"\x1f\x8b"
STEP = 1 << 20  # bytes to decompress or decode at a time
# Bytes and rows at the beginning of a file from which the separator is recognised.
SNIFFED_BYTES, SNIFFED_ROWS = 1 << 18, 1000
SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a vertical bar"}
# The unit separator of ASCII stands for none. No text that people write has it.
NONE = "\x1f"
# Bytes of memory for a cell besides its text: its offset and its flag.
CELL_BYTES = 5
# Bytes of memory for each piece of a text while spaces are removed.
PIECE_BYTES = 150
# Columns, and cells of a column, from which the decimal sign is recognised.
SNIFFED_COLUMNS, SNIFFED_CELLS, LONGEST_NUMBER = 1000, 100, 60
# Share of a column's cells that must be numbers, so that the column tells the decimal sign.
NUMBERS = 0.5

# What stands between the quotes of a cell.
_QUOTED = rb'[^"]*+(?:""[^"]*+)*+'
WIDE_SPACES = (
    "\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
_LINE_END = re.compile(rb"\r\n|\r|\n")
_CONTROL = bytes({*range(32)} - {*b"\t\n\v\f\r"})
_MOST_CONTROL = 0.01  # share of control characters in text
_CP1252 = "".join(bytes([code]).decode("cp1252", "ignore") or chr(code) for code in range(256))
# The beginnings of other files, as bytes and as text, and what they look like.
_MAGIC = {
    b"%PDF-": "a PDF document",
    b"PK\x03\x04": "a ZIP archive or an Excel workbook",
    b"PK\x05\x06": "a ZIP archive",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"PAR1": "a Parquet file",
    b"ARROW1": "an Arrow file",
    b"SQLite format 3": "an SQLite database",
    b"\x89HDF": "an HDF5 file",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"\x28\xb5\x2f\xfd": "a Zstandard archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"RDX": "R's saved data",
    GZIP_MAGIC: "a gzip file that was compressed twice",
    b"version https://git-lfs": "a pointer of Git LFS, without the file itself",
}
_MARKUP = {
    "an HTML page": re.compile(r"<(!doctype\s+html|html|head|body|table)\b", re.IGNORECASE),
    "XML": re.compile(r"<(\?xml|!doctype|!--|[a-z][\w:.-]*(\s[^<>]*)?>)", re.IGNORECASE),
    "JSON": re.compile(r'\{\s*("[^"]*"\s*:|\}\s*$)|\[\s*([\[{"]|\]\s*$)'),
    "an ARFF file": re.compile(r"(?:%[^\n]*+\n\s*+)*+@relation\b", re.IGNORECASE),
}
_SIGN, _UNIT = r"[€$£¥]?\s?[+-]?\s?[€$£¥]?\s?", r"(e[+-]?\d+)?\s?[€$£¥%]?"
_WITH_COMMA = re.compile(rf"{_SIGN}(\d{{1,3}}([.\s'’]\d{{3}})+|\d*),\d+{_UNIT}", re.IGNORECASE)
_WITH_POINT = re.compile(rf"{_SIGN}(\d{{1,3}}([,\s'’]\d{{3}})+|\d*)\.\d+{_UNIT}", re.IGNORECASE)
_WHOLE = re.compile(rf"{_SIGN}(\d{{1,3}}([.,\s'’]\d{{3}})+|\d+){_UNIT}", re.IGNORECASE)
_THOUSANDS = re.compile(rf"{_SIGN}[1-9]\d{{0,2}}([.,]\d{{3}})+{_UNIT}", re.IGNORECASE)


@dataclass(frozen=True)
class CsvTable:
    """A CSV file's cells as text.

    Attributes:
        table: The columns, all of type string. A cell is without quotes and surrounding spaces. An empty cell is null.
        separator: The separator of cells; "" if the file has one column.
        decimal: The decimal sign, "." or ",".
        encoding: UTF-8, UTF-16 or Windows-1252.
    """

    table: pa.Table
    separator: str
    decimal: str
    encoding: str


def is_csv(file: Path) -> bool:
    """Return whether a file is read as CSV, by its name."""
    return file.name.lower().endswith((*CSV_SUFFIXES, ".txt", ".txt.gz"))


def read_csv(file: Path, memory: Memory) -> CsvTable:
    """Read a CSV file. Its first line holds the names of the columns.

    If each row has one cell more than the header, the first column holds row names, as R writes them. Its name is "".
    Columns at the end without name and cells are left out.

    Args:
        file: The path of the file. It may be compressed by gzip, whatever its name.
        memory: The memory account of the data set. The table's bytes stay taken.

    Raises:
        UserError: The file is empty, damaged, has no rows, or is no table. A row has another number of cells than the
            header. Or the file exceeds the memory account or has too many columns.
    """
    content, encoding = _as_utf8(file, _content(file, memory), memory)
    if _is_blank(content, 0):
        raise UserError(f"{file} must be a whole CSV file; it is empty: copy or fetch it again")
    _refuse_markup(file, content)
    separator, rows = _sniffed(file, content)
    content = _without_spaces_before_quotes(content, separator, memory)
    header, start = _header(file, content, separator)
    names = _all_names(header, rows)
    if len(names) > COLUMNS:
        raise _too_wide(file, len(names))
    if _is_blank(content, start):
        raise UserError(f"{file} must have rows below its header; it has none: add rows, or take another file")
    cells = content.count(separator.encode()) + content.count(b"\n") + content.count(b"\r") + len(names)
    bound = len(content) + CELL_BYTES * cells
    memory.take(bound, f"the columns of {file}")
    table = _parsed(file, content, start, separator, len(names))
    memory.give(bound + len(content))
    has_commas = separator != "," and b"," in content
    if _has_spaces(content, start, separator, len(table)):
        table = _trimmed(table)
    del content
    table = table.rename_columns(names)
    while table.num_columns > 1 and not table.column_names[-1] and table.column(-1).null_count == len(table):
        table = table.remove_column(table.num_columns - 1)
    memory.take(table.nbytes, f"the columns of {file}")
    decimal = "," if has_commas and _is_decimal_comma(table, separator) else "."
    return CsvTable(table, "" if separator == NONE else separator, decimal, encoding)


def typed(found: CsvTable) -> pa.Table:
    """Convert the columns that are all integers, all numbers, or all true and false, and leave the others as text.

    Codes with leading zeros stay text. A column without any cell gets the type null.
    """
    columns = [_typed(column, found.decimal) for column in found.table.columns]
    return pa.Table.from_arrays(columns, found.table.column_names)


def _typed(column: pa.ChunkedArray, decimal: str) -> pa.ChunkedArray:
    if column.null_count == len(column):
        return pa.chunked_array([pa.nulls(len(column))])
    if pc.any(pc.match_substring_regex(column, r"^[+-]?0\d")).as_py():
        return column
    plain = column
    if decimal == ",":
        plain = pc.replace_substring(pc.replace_substring_regex(column, r"[.\s'’](\d{3})\b", r"\1"), ",", ".")
    for kind in (pa.int64(), pa.float64(), pa.bool_()):
        with suppress(pa.ArrowInvalid):
            return plain.cast(kind)
    return column


def _bad(file: Path, found: str, remedy: str = "copy or fetch it again") -> UserError:
    return UserError(f"{file} must be a whole CSV file; {found}: {remedy}")


# Bytes


def _content(file: Path, memory: Memory) -> bytes | bytearray:
    """Return the bytes of a file, decompressed, and take them from the account."""
    try:
        str(file).encode()
        with file.open("rb") as opened:
            magic = opened.read(len(GZIP_MAGIC))
            opened.seek(0)
            if magic == GZIP_MAGIC:
                return _decompressed(file, memory)
            size = file.stat().st_size
            memory.take(size, f"the text of {file}")
            return opened.read(size)
    except UnicodeEncodeError as error:
        raise UserError(f"the path of a data file must be UTF-8; {quoted(str(file))} is not: rename it") from error
    except (OSError, EOFError, zlib.error) as error:
        raise _bad(file, shortened(one_line(error))) from error


def _decompressed(file: Path, memory: Memory) -> bytearray:
    """Return the text of a file that gzip compressed. Raise `UserError` as soon as it grows too much."""
    found = bytearray()
    with file.open("rb") as source, gzip.GzipFile(fileobj=source) as text:
        while part := text.read(STEP):
            memory.take(len(part), f"the text of {file}")
            found += part
            if len(found) > GZIP_FREE + GZIP_GROWTH * source.tell():
                raise UserError(
                    f"a compressed CSV file must hold at most {size_text(GZIP_FREE)} and {GZIP_GROWTH} times its bytes "
                    f"of text; {file} holds more: decompress it if you trust its source"
                )
    return found


def _as_utf8(file: Path, content: bytes | bytearray, memory: Memory) -> tuple[bytes | bytearray, str]:
    """Return a text in UTF-8 without byte order mark, and the name of its encoding. The account follows."""
    for magic, name in _MAGIC.items():
        if content.startswith(magic):
            raise _no_table(file, name)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding, decoder = "UTF-16", codecs.getincrementaldecoder("utf-16")()
        found = _recoded(file, content, decoder, memory)
    elif content.startswith(codecs.BOM_UTF8):
        encoding, found = "UTF-8", content[len(codecs.BOM_UTF8) :]
        memory.give(len(content) - len(found))
        if not _is_utf8(found):
            raise _bad(file, "its byte order mark says UTF-8, and other bytes are not UTF-8")
    elif _is_utf8(content):
        encoding, found = "UTF-8", content
    else:
        encoding, found = "Windows-1252", content
    if b"\0" in found:
        raise _no_table(file, "binary data or UTF-16 without a byte order mark, as it has NUL bytes")
    head = found[:SNIFFED_BYTES]
    if len(head) - len(head.translate(None, _CONTROL)) > _MOST_CONTROL * len(head):
        raise _no_table(file, "binary data")
    return (_recoded(file, found, _Cp1252(), memory) if encoding == "Windows-1252" else found), encoding


class _Cp1252(codecs.IncrementalDecoder):
    """A decoder of Windows-1252 that decodes its five unassigned bytes to control characters, as browsers do."""

    def decode(self, part: bytes, final: bool = False) -> str:  # type: ignore[override]
        return codecs.charmap_decode(part, "strict", _CP1252)[0]


def _recoded(
    file: Path, content: bytes | bytearray, decoder: codecs.IncrementalDecoder, memory: Memory
) -> bytes | bytearray:
    """Return a text in UTF-8, which takes up to three times the bytes."""
    most = 3 * len(content)
    memory.take(most, f"the text of {file}")
    found = bytearray()
    try:
        for start in range(0, len(content), STEP):
            found += decoder.decode(bytes(content[start : start + STEP])).encode()
        found += decoder.decode(b"", True).encode()
    except UnicodeError as error:
        raise _bad(file, f"its byte order mark says UTF-16, and {shortened(one_line(error))}") from error
    memory.give(most + len(content) - len(found))
    return found


def _is_utf8(content: bytes | bytearray) -> bool:
    """Return whether bytes are UTF-8. Arrow checks them without a copy."""
    ends = pa.py_buffer(np.array([0, len(content)], np.int64))
    try:
        pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, ends, pa.py_buffer(content)]).cast(
            pa.large_string()
        )
    except pa.ArrowInvalid:
        return False
    return True


def _is_blank(content: bytes | bytearray, start: int) -> bool:
    return re.compile(rb"\S").search(content, start) is None


def _refuse_markup(file: Path, content: bytes | bytearray) -> None:
    head = bytes(content[:SNIFFED_BYTES]).decode(errors="replace").lstrip()
    for name, beginning in _MARKUP.items():
        if beginning.match(head):
            raise _no_table(file, name)


def _no_table(file: Path, name: str) -> UserError:
    return _bad(file, f"it looks like {name}", "save the table as CSV, or name another file")


# Separators and header


class _Lines:
    """The first lines of a text, with their line ends.

    Attributes:
        end: The place behind the last line that was read.
        left: How many lines may still be read.
    """

    def __init__(self, content: bytes | bytearray, stop: int) -> None:
        self._content, self._stop, self.end, self.left = content, stop, 0, COLUMNS

    def __iter__(self) -> Iterator[str]:
        while self.end < self._stop and self.left:
            self.left -= 1
            start, found = self.end, _LINE_END.search(self._content, self.end, self._stop)
            self.end = found.end() if found else self._stop
            yield self._content[start : self.end].decode(errors="replace")


@contextmanager
def _long_cells() -> Iterator[None]:
    """Let Python's reader accept cells as long as a header."""
    limit = python_csv.field_size_limit(HEADER_LENGTH)
    try:
        yield
    finally:
        python_csv.field_size_limit(limit)


def _records(lines: _Lines, separator: str) -> Iterator[list[str]]:
    """Yield the rows of lines, without blank ones."""
    for row in python_csv.reader(iter(lines), delimiter=separator, skipinitialspace=True):
        if len(row) > 1 or any(map(str.strip, row)):
            yield row


def _sniffed(file: Path, content: bytes | bytearray) -> tuple[str, list[list[str]]]:
    """Return the separator, or `NONE`, and the rows from which it was recognised. The first is the header."""
    lines = _Lines(content, min(len(content), 2 * HEADER_LENGTH))
    header = next((line for line in lines if line.strip()), "")
    if len(header) > HEADER_LENGTH:
        raise _too_long(file)
    counts = {separator: header.count(separator) for separator in SEPARATORS}
    if max(counts.values()) >= COLUMNS:
        raise _too_wide(file, max(counts.values()) + 1)
    next(iter(lines), "")
    stop = min(max(lines.end, SNIFFED_BYTES), len(content))
    found = {NONE: _rows(content, NONE, stop)}
    for separator in SEPARATORS:
        if separator.encode() in content[:stop]:
            found[separator] = _rows(content, separator, stop)
    separator = _separator(found)
    return separator, found[separator]


def _rows(content: bytes | bytearray, separator: str, stop: int) -> list[list[str]]:
    """Return the first rows of a text that end before `stop`. The header may be cut."""
    with _long_cells():
        try:
            rows = list(islice(_records(_Lines(content, stop), separator), SNIFFED_ROWS))
        except python_csv.Error:  # a cell is too long
            return []
    return rows[:-1] if stop < len(content) and 1 < len(rows) < SNIFFED_ROWS else rows


def _separator(found: dict[str, list[list[str]]]) -> str:
    """Choose the separator whose rows are most alike, and `NONE` if no separator divides header or rows."""
    divided = {separator: rows for separator, rows in found.items() if separator != NONE and rows}
    fit = {separator: _fit(rows, separator) for separator, rows in divided.items() if len(rows[0]) > 1}
    if fit and max(fit.values()) > 0:
        return max(fit, key=fit.__getitem__)
    if fit:  # no row is as long as the header, and the error must say so
        return max(fit, key=lambda separator: len(divided[separator][0]))
    for separator, rows in divided.items():
        lengths = {len(row) for row in rows[1:]}
        # The header has one name. So either rows have names too, or numbers have decimal commas.
        if len(lengths) == 1 and lengths != {1} and not (separator == "," and _are_numbers(found[NONE][1:])):
            return separator
    return NONE


def _fit(rows: Sequence[Sequence[str]], separator: str) -> float:
    """Return the share of rows that fit the header, times the share of cells that hold no other separator."""
    header, usual = rows[0], _usual_length(rows)
    if len(rows) > 1 and usual not in (len(header), len(_all_names(header, rows))):
        return 0.0
    cells = [cell for row in (rows[1:] or rows)[:SNIFFED_CELLS] for cell in row[:SNIFFED_CELLS]]
    others = "".join(SEPARATORS).replace(separator, "")
    clean = sum(_WITH_COMMA.fullmatch(cell.strip()) is not None or not set(others) & set(cell) for cell in cells)
    return clean / len(cells) * (sum(len(row) == usual for row in rows[1:]) + 1) / len(rows)


def _usual_length(rows: Sequence[Sequence[str]]) -> int:
    """Return the number of cells that most rows below the header have."""
    return Counter(map(len, rows[1:] or rows)).most_common(1)[0][0]


def _are_numbers(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether rows of one cell are numbers with a comma, and no row names 1, 2, 3 and so on with numbers."""
    cells = [row[0].strip() for row in rows]
    if [cell.partition(",")[0] for cell in cells] == [str(row + 1) for row in range(len(cells))] and len(cells) > 1:
        return False
    return all(map(_WITH_COMMA.fullmatch, cells)) or all(map(_WHOLE.fullmatch, cells))


def _all_names(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the names of all columns, of which the header may lack the first or the last, or have one more."""
    # A regular expression for the spaces around a line end would take time in the square of their number.
    names = [" ".join(filter(None, map(str.strip, re.split(r"[\r\n]", name)))) for name in header]
    if len(rows) < 2:
        return names
    usual = _usual_length(rows)
    if usual == len(names) + 1:
        full = [row for row in rows[1:] if len(row) == usual]
        if not any(row[-1].strip() for row in full):  # a separator ends each line
            return [*names, ""]
        if len({row[0] for row in full}) == len(full):  # R's names of rows differ
            return ["", *names]
    if usual == len(names) - 1 and not names[-1]:
        return names[:-1]
    return names


def _header(file: Path, content: bytes | bytearray, separator: str) -> tuple[list[str], int]:
    """Return the first row, and where the next one begins."""
    lines = _Lines(content, min(len(content), HEADER_LENGTH))
    with _long_cells():
        try:
            found = next(_records(lines, separator), [])
        except python_csv.Error as error:
            raise _too_long(file) from error
    if not lines.left or lines.end == HEADER_LENGTH < len(content):
        raise _too_long(file)
    if not found:
        raise _bad(file, "it has no names of columns", "write them into its first line")
    return found, lines.end


def _too_long(file: Path) -> UserError:
    return _bad(
        file,
        f"its header has no end within {HEADER_LENGTH:,} bytes and {COLUMNS:,} lines",
        "check its quotes and line ends, or shorten it",
    )


def _too_wide(file: Path, count: int) -> UserError:
    return UserError(
        f"a table must have at most {COLUMNS:,} columns; {file} has {count:,}: drop some, or write rows as columns"
    )


# Rows


def _without_spaces_before_quotes(content: bytes | bytearray, separator: str, memory: Memory) -> bytes | bytearray:
    """Remove spaces between a separator and a quote, because pyarrow heeds quotes only at the beginning of a cell."""
    if b' "' not in content:
        return content
    bound = len(content) + PIECE_BYTES * content.count(b' "')
    memory.take(bound, "its text without spaces before quotes")
    # A quoted cell is matched as a whole, so that what it holds stays. The pattern begins with a character, because the
    # search is slow otherwise.
    start = rb'[ "](?<![^' + _ends(separator) + rb'][ "])(?:(?<=")|(?<= ) *+")'
    found = re.sub(start + b"(" + _QUOTED + b'")', rb'"\1', content)
    memory.give(bound + len(content) - len(found))
    return found


def _parsed(file: Path, content: bytes | bytearray, start: int, separator: str, columns: int) -> pa.Table:
    """Return the rows below the header, with columns named 0, 1, 2 and so on."""
    size = len(content) - start
    block = max(CSV_BLOCK, min(size * columns // CSV_ARRAYS, LARGEST_BLOCK))
    checked = False
    while True:
        bad: list[csv.InvalidRow] = []
        try:
            table = _arrow_table(content, start, separator, columns, block, bad)
            break
        except pa.ArrowException as error:
            _check_quotes(file, content, separator)
            if bad:
                raise _bad_row(file, bad[0], separator) from error
            # A row is longer than a block.
            if "straddling" not in str(error) or block >= min(size, LARGEST_BLOCK):
                raise _bad(file, shortened(one_line(error))) from error
            block, checked = min(16 * block, LARGEST_BLOCK), True
    lines = max(content.count(b"\n", start), content.count(b"\r", start))
    quotes = content.count(b'"')
    if not checked and quotes and (quotes % 2 or lines > len(table)):
        _check_quotes(file, content, separator)
    return table


def _arrow_table(
    content: bytes | bytearray, start: int, separator: str, columns: int, block: int, bad: list[csv.InvalidRow]
) -> pa.Table:
    """Read a text by pyarrow, and append the first row of another length to `bad`."""

    def other_length(row: csv.InvalidRow) -> str:
        if not row.text.strip():
            return "skip"
        bad.append(row)
        return "error"

    names = list(map(str, range(columns)))
    return csv.read_csv(
        pa.BufferReader(pa.py_buffer(content).slice(start)),
        csv.ReadOptions(use_threads=False, block_size=block, column_names=names),  # threads do not count rows
        csv.ParseOptions(delimiter=separator, newlines_in_values=True, invalid_row_handler=other_length),
        csv.ConvertOptions(
            check_utf8=False,
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],
            strings_can_be_null=True,
        ),
    )


def _bad_row(file: Path, row: csv.InvalidRow, separator: str) -> UserError:
    return UserError(
        f"{file} must be a whole CSV file with {_cells(row.expected_columns)} in each row; row {row.number:,} below "
        f"the header, {quoted(row.text)}, has {_cells(row.actual_columns)}: mend it, or quote cells that hold "
        f"{SEPARATORS.get(separator, 'a control character')}"
    )


def _cells(count: int) -> str:
    return f"{count:,} cell{'s' if count != 1 else ''}"


def _ends(separator: str) -> bytes:
    """Return the characters between cells, for a pattern."""
    return rb"\r\n" + re.escape(separator.encode())


def _check_quotes(file: Path, content: bytes | bytearray, separator: str) -> None:
    """Raise `UserError` if a quote has no partner, so that a cell holds the lines below it."""
    ends = _ends(separator)
    cell = rb'"(?<![^' + ends + rb']")' + _QUOTED + rb'(?:"(?=[ ' + ends + rb"]|\Z)|(\Z|" + rb'"))'
    for found in re.finditer(cell, content):
        odd = found[1]
        if odd is not None and (not odd or _LINE_END.search(found[0])):
            text = found[0][:1000].decode(errors="replace")
            line = len(_LINE_END.findall(content, 0, found.start())) + 1
            raise _bad(
                file, f"the quote at the beginning of {quoted(text)} in line {line:,} has no partner", "close it"
            )


def _has_spaces(content: bytes | bytearray, start: int, separator: str, rows: int) -> bool:
    """Return whether cells may have spaces or line breaks at their ends."""
    if max(content.count(b"\n", start), content.count(b"\r", start)) > rows or content.endswith(b" "):
        return True
    # The search for a single byte is much quicker than for two.
    spaces = [each for each in (b" ", b"\t", b"\v", b"\f") if each != separator.encode() and each in content]
    edges = [each for each in (separator.encode(), b'"', b"\n", b"\r") if each in content]
    if any(space + edge in content or edge + space in content for space in spaces for edge in edges):
        return True
    return not content.isascii() and any(each.encode() in content for each in WIDE_SPACES)


def _trimmed(table: pa.Table) -> pa.Table:
    """Return a table of texts without surrounding spaces. Empty texts become null."""
    columns = []
    for column in map(pc.utf8_trim_whitespace, table.columns):
        empty = pc.equal(column, "")
        columns.append(pc.if_else(empty, pa.scalar(None, pa.string()), column) if pc.any(empty).as_py() else column)
    return pa.Table.from_arrays(columns, table.column_names)


def _is_decimal_comma(table: pa.Table, separator: str) -> bool:
    """Return whether more columns have numbers such as 6,5 than such as 6.5."""
    commas = points = 0
    unsure = False
    for column in table.columns[:: max(1, table.num_columns // SNIFFED_COLUMNS)]:
        cells = [text for text in column.slice(0, SNIFFED_CELLS).drop_null().to_pylist() if len(text) < LONGEST_NUMBER]
        for sign in ",.":
            held = pc.indices_nonzero(pc.fill_null(pc.match_substring(column, sign), False))
            cells += column.take(held[:SNIFFED_CELLS]).to_pylist()
        with_comma = [cell for cell in cells if _WITH_COMMA.fullmatch(cell)]
        with_point = [cell for cell in cells if _WITH_POINT.fullmatch(cell)]
        whole = sum(_WHOLE.fullmatch(cell) is not None for cell in cells)
        if len({*with_comma, *with_point}) and len(with_comma) + len(with_point) + whole < NUMBERS * len(cells):
            continue
        # 1,234 may also be a thousand. 0,234 and 1,23 are decimals for sure.
        sure = sum(_THOUSANDS.fullmatch(cell) is None for cell in with_comma)
        unsure |= bool(with_comma)
        commas += sure > 0
        points += not sure and any(_THOUSANDS.fullmatch(cell) is None for cell in with_point)
    return commas > points or (commas == points and unsure and (commas > 0 or separator == ";"))
