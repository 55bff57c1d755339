"""Memory that reading a Parquet file takes, computed from its headers.

pyarrow allocates as much memory as a file's page headers state, without a limit. It also crashes on a schema of 10,000
nested groups. So this module reads the footer and the page headers first. Both use Thrift's compact protocol:
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from wgan_core.data.limits import COLUMNS

MAGIC = b"PAR1"
DEPTH = 32
"""Most nested groups in a schema. A list of lists takes five."""

EXTENSION = b"ARROW:extension:name"
# Most nested structs and lists in a header, as in Thrift.
NESTED = 64
# Bytes to read for a page header, tried in order. Its statistics may be as long as two values.
WINDOWS = (1 << 12, 1 << 16, 1 << 20, 1 << 24)
# A dictionary with more bytes or values is not scanned.
DICTIONARY_BYTES, DICTIONARY_VALUES = 1 << 28, 1 << 21
# If the bound without a scan is at most this, scanning the dictionary is not worth the time.
SMALL_BYTES = 1 << 16

BOOLEANS, BYTE, WHOLE, LONG, NUMBERS, DOUBLE, BINARY, LISTS, MAP, STRUCT = (
    (1, 2), 3, 5, 6, (4, 5, 6), 7, 8, (9, 10), 11, 12,
)  # fmt: skip
# For each type of page with values: the field of its header, and the field of the encoding in that header.
HEADERS, DICTIONARY = {0: (5, 2), 2: (7, 2), 3: (8, 4)}, 2
# Fields to read, with their types: of an element of the schema, of a column chunk's metadata, and of a note.
ELEMENT_FIELDS = {1: WHOLE, 2: WHOLE, 3: WHOLE, 4: BINARY, 5: WHOLE}
CHUNK_FIELDS = {4: WHOLE, 5: LONG, 7: LONG, 9: LONG, 11: LONG}
NOTE_FIELDS = {1: BINARY, 2: BINARY}
# Fields that HEADERS names, of the header of values in a page.
HEAD_FIELDS = {1: WHOLE, 2: WHOLE, 4: WHOLE}
BYTE_ARRAY, REPEATED = 6, 2
CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
DICTIONARY_ENCODINGS, PREFIX_ENCODING = (2, 8), 7
# Most column chunks of a file. A file of a million rows has some hundred. Each takes about 1 kB of memory here.
MOST_CHUNKS = 200_000
MOST_LETTERS = 1 << 24


class Compact:
    """A reader of Thrift's compact protocol. Its methods raise `ValueError` for malformed data."""

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def byte(self) -> int:
        if self.at >= len(self._data):
            raise ValueError("a header is cut short")
        self.at += 1
        return self._data[self.at - 1]

    def count(self) -> int:
        """Read an unsigned number of at most 64 bits."""
        found = shift = 0
        while True:
            part = self.byte()
            found |= (part & 127) << shift
            if part < 128:
                return found
            shift += 7
            if shift > 63:
                raise ValueError("a number in a header has more than 64 bits")

    def number(self) -> int:
        found = self.count()
        return (found >> 1) ^ -(found & 1)

    def binary(self) -> bytes:
        end = self.count() + self.at
        if end > len(self._data):
            raise ValueError("a header is cut short")
        found, self.at = self._data[self.at : end], end
        return found

    def list(self) -> tuple[int, int]:
        """Read the head of a list: the number of its items, and their type."""
        head = self.byte()
        return (self.count() if head >> 4 == 15 else head >> 4), head & 15

    def structs(self) -> int:
        """Read the head of a list of structs, and return the number of structs."""
        items, kind = self.list()
        if items and kind != STRUCT:
            raise ValueError("a header has a list of the wrong kind")
        return items

    def fields(self) -> Iterator[tuple[int, int]]:
        """Yield the number and type of each field of a struct. The caller must read or skip the field's value."""
        last = 0
        while head := self.byte():
            last = last + (head >> 4) if head >> 4 else self.number()
            yield last, head & 15

    def struct(self, wanted: Mapping[int, int], depth: int = 0) -> dict[int, Any]:
        """Read a struct: return its `wanted` numbers and bytes by field, and skip fields of other numbers or types."""
        found: dict[int, Any] = {}
        for number, kind in self.fields():
            if wanted.get(number) != kind:
                self.skip(kind, depth)
            else:
                found[number] = self.binary() if kind == BINARY else self.number()
        return found

    def skip(self, kind: int, depth: int = 0, in_list: bool = False) -> None:
        if depth > NESTED:
            raise ValueError("a header is nested too deeply")
        if kind in NUMBERS:
            self.count()
        elif kind == BINARY:
            self.binary()
        elif kind == STRUCT:
            for _, field in self.fields():
                self.skip(field, depth + 1)
        elif kind in LISTS:
            items, item = self.list()
            for _ in range(items):
                self.skip(item, depth + 1, in_list=True)
        elif kind == MAP:
            if items := self.count():
                kinds = self.byte()
                for _ in range(items):
                    self.skip(kinds >> 4, depth + 1, in_list=True)
                    self.skip(kinds & 15, depth + 1, in_list=True)
        elif kind == DOUBLE:
            for _ in range(8):
                self.byte()
        elif kind == BYTE or (kind in BOOLEANS and in_list):
            self.byte()
        elif kind not in BOOLEANS:
            raise ValueError(f"a header has a field of the unknown kind {kind}")


@dataclass(frozen=True)
class Leaf:
    """A column of plain values.

    Attributes:
        path: The dotted path in the schema.
        kind: The physical type, by its number in the format.
        length: The bytes of a fixed-length value.
        lists: The number of lists around a value.
    """

    path: str
    kind: int
    length: int
    lists: int


@dataclass(frozen=True)
class Chunk:
    """One column of one row group, as the footer describes it.

    Attributes:
        leaf: The column.
        start, end: The bytes of the file between which its pages lie.
        codec: The compression, by its number in the format.
        values: The number of values, gaps included.
        rows: The number of rows of the row group.
    """

    leaf: Leaf
    start: int
    end: int
    codec: int
    values: int
    rows: int


def chunks(file: Path) -> list[Chunk]:
    """Return the column chunks that the footer of a Parquet file lists.

    pyarrow does not parse the footer here, because some footers crash it. Files with extension types are refused:
    pyarrow would construct each type with the code registered for it. Ray registers such code, and Ray before 2.55
    unpickles bytes from the file.

    Raises:
        ValueError: The footer is broken, or pyarrow could not open the file safely.
    """
    with file.open("rb") as opened:
        size = opened.seek(0, 2)
        opened.seek(max(0, size - 8))
        tail = opened.read(8)
        length = int.from_bytes(tail[:4], "little")
        if size < 12 or tail[4:] != MAGIC or length > size - 12:
            raise ValueError("it has no footer of Parquet at its end")
        opened.seek(size - 8 - length)
        reader = Compact(opened.read(length))
    leaves: list[Leaf] = []
    groups: list[tuple[int, list[dict[int, int]]]] = []
    for number, kind in reader.fields():
        if (number, kind) == (2, LISTS[0]):
            leaves = _leaves(reader)
        elif (number, kind) == (4, LISTS[0]):
            count = reader.structs()
            if count * max(1, len(leaves)) > MOST_CHUNKS:  # their description alone would fill memory
                raise ValueError(
                    f"it has {count:,} row groups of {len(leaves):,} columns, more than {MOST_CHUNKS:,} in all"
                )
            groups = [_group(reader, len(leaves)) for _ in range(count)]
        elif (number, kind) == (5, LISTS[0]):
            _check_notes(reader)
        else:
            reader.skip(kind)
    found = []
    for rows, columns in groups:
        if len(columns) != len(leaves):
            raise ValueError("a row group has other columns than the schema")
        found += [_chunk(column, leaf, rows) for column, leaf in zip(columns, leaves, strict=True)]
    if sum(chunk.end - chunk.start for chunk in found) > size:
        raise ValueError("its columns share bytes of the file")  # reading shared bytes repeatedly could take very long
    return found


def _chunk(column: Mapping[int, int], leaf: Leaf, rows: int) -> Chunk:
    codec, values, length, start, dictionary = (column.get(number, 0) for number in (4, 5, 7, 9, 11))
    if 0 < dictionary < start:
        start = dictionary
    if min(start, length, values, rows) < 0:
        raise ValueError("a column has a negative size")
    return Chunk(leaf, start, start + length, codec, values, rows)


def _group(reader: Compact, leaves: int) -> tuple[int, list[dict[int, int]]]:
    """Return the number of rows of a row group, and the `CHUNK_FIELDS` of each of its columns."""
    rows, columns = 0, []
    for number, kind in reader.fields():
        if (number, kind) == (1, LISTS[0]):
            if (there := reader.structs()) != leaves:
                raise ValueError("a row group has other columns than the schema")
            columns = [_column(reader) for _ in range(there)]
        elif (number, kind) == (3, LONG):
            rows = reader.number()
        else:
            reader.skip(kind)
    return rows, columns


def _column(reader: Compact) -> dict[int, int]:
    found: dict[int, int] = {}
    for number, kind in reader.fields():
        if (number, kind) == (3, STRUCT):
            found |= reader.struct(CHUNK_FIELDS)
        else:
            reader.skip(kind)
    return found


def _leaves(reader: Compact) -> list[Leaf]:
    """Return the columns of a schema, which lists each element before its children.

    Raises:
        ValueError: The schema has too many columns or levels.
    """
    above: list[tuple[int, str, int]] = []  # for each enclosing group: children to come, its path, its lists
    leaves: list[Leaf] = []
    letters = 0
    for place in range(reader.structs()):
        element = reader.struct(ELEMENT_FIELDS)
        name, children = element.get(4, b"").decode("utf-8", "replace"), element.get(5, 0)
        while above and above[-1][0] == 0:
            above.pop()
        path, lists = name, int(element.get(3) == REPEATED)
        if above:
            left, prefix, around = above[-1]
            above[-1] = left - 1, prefix, around
            path, lists = (f"{prefix}.{name}" if prefix else name), lists + around
        if children > 0:
            above.append((children, "" if place == 0 else path, lists))
        elif place:
            leaves.append(Leaf(path, element.get(1, -1), element.get(2, 0), lists))
            letters += len(path)
        if len(above) > DEPTH:
            raise ValueError(f"its columns are nested in more than {DEPTH} levels")
        if letters > MOST_LETTERS:  # the columns of a group each repeat its name
            raise ValueError(f"the names of its columns have more than {MOST_LETTERS:,} characters")
        if len(leaves) > COLUMNS:
            raise ValueError(f"it has more than {COLUMNS:,} columns")
    return leaves


def _check_notes(reader: Compact) -> None:
    """Raise `ValueError` if the Arrow schema in the footer's key-value metadata has extension types."""
    for _ in range(reader.structs()):
        note = reader.struct(NOTE_FIELDS)
        if note.get(1) == b"ARROW:schema":
            try:
                schema = base64.b64decode(note.get(2, b""), validate=True)
            except binascii.Error as error:
                raise ValueError("its Arrow schema is no base64") from error
            if EXTENSION in schema:
                raise ValueError("it has columns of extension types, which are not read")


@dataclass(frozen=True)
class Page:
    """A page, as its header describes it.

    Attributes:
        offset: The byte of the file at which the page's content begins.
        stored, size: The bytes of the content in the file, and after decompression.
        values: The number of values, gaps included.
        encoding: The encoding of the values, by its number in the format.
        dictionary: Whether the page is a dictionary.
    """

    offset: int
    stored: int
    size: int
    values: int
    encoding: int
    dictionary: bool


def pages(file: BinaryIO, start: int, end: int) -> Iterator[Page]:
    """Yield the pages between two bytes of the file. Raise `ValueError` for a broken header."""
    while start < end:
        page = _page(file, start)
        yield page
        start = page.offset + page.stored


def _page(file: BinaryIO, start: int) -> Page:
    for window in WINDOWS:
        file.seek(start)
        data = file.read(window)
        try:
            return _parsed(Compact(data), start)
        except ValueError:
            if len(data) < window or window == WINDOWS[-1]:
                raise
    raise AssertionError


def _parsed(reader: Compact, start: int) -> Page:
    own: dict[int, int] = {}
    heads: dict[int, dict[int, int]] = {}
    for number, kind in reader.fields():
        if kind == WHOLE:
            own[number] = reader.number()
        elif kind == STRUCT:
            heads.setdefault(number, {}).update(reader.struct(HEAD_FIELDS, depth=1))
        else:
            reader.skip(kind)
    kind, size, stored = (own.get(number, -1) for number in (1, 2, 3))
    number, encoded = HEADERS.get(kind, (0, 0))
    head = heads.get(number, {})
    page = Page(start + reader.at, stored, size, head.get(1, 0), head.get(encoded, 0), kind == DICTIONARY)
    if min(kind, size, stored, page.values) < 0:
        raise ValueError("a page has no size")
    return page


def decoded_bytes(file: Path, read: Sequence[Chunk]) -> dict[str, int]:
    """Return an upper bound of the memory that each column takes while pyarrow reads it.

    Args:
        file: The path of a Parquet file.
        read: The column chunks to read.

    Returns:
        Bytes by dotted path.

    Raises:
        ValueError: The header of a page is broken.
    """
    found: dict[str, int] = {}
    with file.open("rb") as content:
        for chunk in read:
            found[chunk.leaf.path] = found.get(chunk.leaf.path, 0) + _chunk_bytes(content, chunk)
    return found


def _chunk_bytes(file: BinaryIO, chunk: Chunk) -> int:
    # If a chunk has no values, pyarrow neither reads nor writes pages for it.
    found = list(pages(file, chunk.start, chunk.end)) if chunk.values else []
    values = max(chunk.values, chunk.rows, sum(page.values for page in found if not page.dictionary))
    # Beside a value, pyarrow stores its offset or view, and its place in each list. It allocates for all rows at once.
    each = 16 * (1 + chunk.leaf.lists)
    if chunk.leaf.kind != BYTE_ARRAY:
        each += max(16, chunk.leaf.length)
    total = values * each + max((page.size for page in found), default=0)
    total += sum(page.size + 16 * page.values for page in found if page.dictionary)
    if chunk.leaf.kind == BYTE_ARRAY:
        repeated = sum(page.values for page in found if page.encoding in DICTIONARY_ENCODINGS and not page.dictionary)
        for page in found:
            if not page.dictionary and page.encoding not in DICTIONARY_ENCODINGS:
                # Each value may repeat the start of the previous value.
                total += page.size * (page.values if page.encoding == PREFIX_ENCODING else 1)
        total += repeated * max((_longest(file, page, chunk, repeated) for page in found if page.dictionary), default=0)
    return total


def _longest(file: BinaryIO, page: Page, chunk: Chunk, repeated: int) -> int:
    """Return an upper bound of the length, in bytes, of a dictionary's values.

    The bound is the longest value if scanning the dictionary is possible and worthwhile, else the page's size.
    """
    if page.size * repeated <= SMALL_BYTES or page.size > DICTIONARY_BYTES or page.values > DICTIONARY_VALUES:
        return page.size
    file.seek(page.offset)
    content = file.read(page.stored)
    try:
        if chunk.codec:
            content = pa.decompress(content, page.size, CODECS[chunk.codec], asbytes=True)
        longest = at = 0
        for _ in range(page.values):
            (length,) = struct.unpack_from("<I", content, at)
            longest, at = max(longest, length), at + 4 + length
    except (pa.ArrowException, OSError, KeyError, ValueError, struct.error):
        return page.size
    return longest
