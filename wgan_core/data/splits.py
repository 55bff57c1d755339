"""Tables as files: which files belong to which split, how they are read, and how rows are held out."""

from __future__ import annotations

import csv as python_csv
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv, parquet

from wgan_core.data.limits import COLUMNS, Memory
from wgan_core.data.parquet_size import chunks, decoded_bytes
from wgan_core.errors import UserError, one_line, quoted, shortened

SPLITS = ("train", "validation", "test")
SPLIT_SEED = 20_171_107
# A distance between sets needs a spread on both sides.
LEAST_ROWS = 2
HELD_OUT_SHARE = 10  # one row in ten for each held-out split
KINDS = {".parquet": "Parquet", ".csv": "CSV"}
# The first line of a CSV file may have so many characters, and a name in it as many.
HEADER_LENGTH = 1 << 24

Rows = NDArray[np.int64]


def located(path: str | Path, suffixes: Sequence[str] = (".parquet",)) -> Path:
    """The path with `~` written out. Raises `UserError` for an empty one, and for `~` where there is no home."""
    if path == "":  # which would be the current folder
        raise UserError(
            f"--data must name a {_kinds(suffixes)} file or a folder of them; it is empty; leave it out or give a path"
        )
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"'~' in --data must stand for a home folder; in {str(path)!r} it stands for none; write the path in full"
        ) from error


def data_files(given: Path, suffixes: Sequence[str] = (".parquet",), names: Sequence[str] = ()) -> list[Path]:
    """The file itself, or all files of these suffixes in a folder and below, sorted.

    names: what --data may be instead of a path.

    Raises `UserError` for a path that leads nowhere or cannot be read, and for a folder without such files.
    """
    try:
        is_file, exists = given.is_file(), given.exists()
    except OSError as error:
        raise UserError(f"--data must be a path that can be read; {error}; check the path and its rights") from error
    if is_file:
        return [given]
    if exists and not given.is_dir():
        raise UserError(
            f"--data must be a regular file or a folder; {given} is a device, a pipe or a socket: copy what it gives "
            "into a file"
        )
    if not exists:
        named = f", or one of {', '.join(names)}" if names else ""
        raise UserError(
            f"--data must be a {_kinds(suffixes)} file or a folder of them{named}; {given} does not exist; "
            "check the path"
        )
    try:
        found = sorted(file for suffix in suffixes for file in given.rglob(f"*{suffix}") if not file.is_dir())
        odd = [file for file in found if not file.is_file()]
    except OSError as error:
        raise UserError(f"--data must be a path that can be read; {error}; check the path and its rights") from error
    if odd:  # reading a pipe would wait for ever
        raise UserError(
            f"a data folder must hold regular files, or links to them; {odd[0]} is none: move it to another folder"
        )
    if found:
        return found
    wanted = " or ".join(f"*{suffix}" for suffix in suffixes)
    raise UserError(f"a data folder must hold {wanted} files; {given} holds none; name another folder or a file")


def _kinds(suffixes: Sequence[str]) -> str:
    return " or ".join(KINDS[suffix] for suffix in suffixes)


def split_names(files: Sequence[Path]) -> list[tuple[str, Path]]:
    """Each file with the split that it belongs to; `all` where names say nothing or there is one file.

    Raises `UserError` where some names say it and others do not, and where none says `train`.
    """
    if len(files) == 1:
        return [("all", files[0])]
    named = [(re.match(rf"({'|'.join(SPLITS)})(?![a-z])", file.name), file) for file in files]
    if not any(match for match, _ in named):
        return [("all", file) for file in files]
    if stray := [file for match, file in named if match is None]:
        raise UserError(
            f"file names in a data folder must all begin with {', '.join(SPLITS)}, or none may; "
            f"{stray[0].name} does not and others do; rename or move it"
        )
    found = [(match[1], file) for match, file in named if match is not None]
    there = sorted({name for name, _ in found})
    if "train" not in there:
        raise UserError(
            f"the files in {files[0].parent} must include a train split; there is {', '.join(there)}; "
            f"add train*{files[0].suffix}"
        )
    return found


def read_table(file: Path, memory: Memory | None = None, columns: Collection[str] | None = None) -> pa.Table:
    """Read a file whose name ends in .csv as CSV in UTF-8, any other as Parquet.

    The first line of CSV has the names of the columns. Its cells that are not UTF-8 are binary.

    Args:
        file: its path.
        memory: the account of the data set that it belongs to; None: one of its own. What the table takes stays taken.
        columns: dotted paths of the columns to read of a Parquet file; None: all.

    Raises:
        UserError: The file is neither, has too many columns, names that are not UTF-8, or more data than fits.
    """
    memory = Memory([file], file) if memory is None else memory
    return _read_csv(file, memory) if file.suffix == ".csv" else _read_parquet(file, memory, columns)


def table_schema(file: Path) -> pa.Schema:
    """Return the columns of a Parquet file. Raises `UserError` if it is none."""
    with _whole_parquet(file):
        chunks(file)
        return parquet.read_schema(file)


def _read_csv(file: Path, memory: Memory) -> pa.Table:
    # Only a cell that is empty and not quoted is a gap: "NA" may be a value.
    options = csv.ConvertOptions(null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False)
    try:
        _check_header(file)
        size = file.stat().st_size
        memory.take(size, f"the text of {file}")
        table = csv.read_csv(file, convert_options=options)
        _ = table.column_names  # decoded here
    except UnicodeDecodeError as error:
        raise UserError(f"a CSV file must be UTF-8; the first line of {file} is not: save it as UTF-8") from error
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file} must be a whole CSV file; {_said(error)}; copy or fetch it again") from error
    memory.give(size)
    memory.take(table.nbytes, f"the columns of {file}")
    return table


def _check_header(file: Path) -> None:
    """Raise `UserError` for more columns than may be. pyarrow would take kilobytes for each."""
    with file.open("r", encoding="latin-1", newline="") as text:
        first = text.readline(HEADER_LENGTH)
        text.seek(0)
        limit = python_csv.field_size_limit(HEADER_LENGTH)
        try:
            count = len(next(python_csv.reader(_lines(text)), []))
        except python_csv.Error:  # left to pyarrow, which knows other faults
            count = 0
        finally:
            python_csv.field_size_limit(limit)
    # pyarrow may see quotation marks in other places.
    count = max(count, first.count(",") + 1)
    if count > COLUMNS:
        raise UserError(
            f"a table must have at most {COLUMNS:,} columns; {file} has {count:,}: drop some, or write rows as columns"
        )


def _lines(text: TextIO) -> Iterator[str]:
    """Yield the lines at the start of a text, `HEADER_LENGTH` characters at most."""
    left = HEADER_LENGTH
    while left and (line := text.readline(left)):
        left -= len(line)
        yield line


def _read_parquet(file: Path, memory: Memory, columns: Collection[str] | None) -> pa.Table:
    with _whole_parquet(file):
        read = [each for each in chunks(file) if columns is None or _is_part(each.leaf.path, columns)]
        sizes = decoded_bytes(file, read)
        bound = sum(sizes.values())
        if sizes:
            most = max(sizes, key=sizes.__getitem__)
            memory.take(bound, f"the columns of {file}, most of it {quoted(most)}")
        with parquet.ParquetFile(file) as opened:
            table = opened.read(None if columns is None else list(columns))
        # pyarrow does not check, as it reads, that the places in a dictionary are there.
        for field, column in zip(table.schema, table.columns, strict=True):
            column.validate(full=pa.types.is_dictionary(field.type))
    memory.give(bound)
    memory.take(table.nbytes, f"the columns of {file}")
    return table


def _is_part(path: str, columns: Collection[str]) -> bool:
    """Return whether a dotted path is one of the columns or lies below one."""
    return any(path == column or path.startswith(f"{column}.") for column in columns)


@contextmanager
def _whole_parquet(file: Path) -> Iterator[None]:
    """Turn what reading a Parquet file raises into a `UserError`."""
    try:
        yield
    except UserError:
        raise
    # MemoryError: a size in a broken file that no machine has. UnicodeDecodeError: a name that is not UTF-8.
    except (pa.ArrowException, OSError, MemoryError, ValueError, OverflowError) as error:
        # pyarrow writes a missing list of fixed size, and cannot read it.
        fixed = "lists to be of size" in str(error)
        without = " without missing lists of a fixed size" if fixed else ""
        remedy = "fill them in, write lists of any size, or" if fixed else "copy or"
        raise UserError(
            f"{file} must be a whole Parquet file{without}; {_said(error)}; {remedy} fetch it again"
        ) from error


@contextmanager
def sound(given: Path | str) -> Iterator[None]:
    """Turn what pyarrow and Python raise on the content of damaged files into a `UserError`."""
    try:
        yield
    except (pa.ArrowException, MemoryError, OverflowError, UnicodeDecodeError) as error:
        raise UserError(f"data must be whole and sound; of {given}: {_said(error)}; copy or fetch it again") from error


def _said(error: BaseException) -> str:
    """Return what another library says, which may quote a file's content at length."""
    return shortened(one_line(error))


def allot(rows: Mapping[str, int], strata: NDArray[np.int64] | None = None) -> dict[str, tuple[str, Rows]]:
    """For each of `SPLITS` the part that it is taken from and which of that part's rows it has, in order.

    rows: how many rows each part has that was found: splits, or `all`. A held-out split that was not found is a tenth
    of `train`, or of `all`, shuffled with a constant seed. strata: a class (N,) for each row of that one, of each of
    which a tenth is held out, rounded down: a class of fewer than ten rows is in training alone.
    """
    source = next(name for name in ("all", "train") if name in rows)
    missing = [name for name in SPLITS[1:] if name not in rows]
    if not missing:
        return {name: (name, np.arange(rows[name])) for name in SPLITS}
    order = np.random.Generator(np.random.PCG64(SPLIT_SEED)).permutation(rows[source])
    # By place in `order`: the rank of the split, the last for train.
    classes = np.zeros_like(order) if strata is None else strata[order]
    # Not class by class: there may be as many as rows.
    together = np.argsort(classes, kind="stable")
    _, starts, counts = np.unique(classes[together], return_index=True, return_counts=True)
    within, shares = np.arange(len(order)) - starts.repeat(counts), (counts // HELD_OUT_SHARE).repeat(counts)
    held_out = np.empty(rows[source], np.int64)
    held_out[together] = np.minimum(within // np.maximum(shares, 1), len(missing))
    held_out[together[shares == 0]] = len(missing)
    drawn = {name: (source, order[held_out == rank]) for rank, name in enumerate([*missing, "train"])}
    return {name: drawn.get(name) or (name, np.arange(rows[name])) for name in SPLITS}


def check_rows(rows: Mapping[str, int], given: Path | str, what: str = "rows") -> None:
    """Raises `UserError` unless each split, with so many rows, has enough of them; what: what they are."""
    for name, count in rows.items():
        if count < LEAST_ROWS:
            raise UserError(
                f"each split must have at least {LEAST_ROWS} {what}; {name} of {given} has {count} of "
                f"{sum(rows.values())} rows; give at least {LEAST_ROWS * HELD_OUT_SHARE} rows, in classes of "
                f"{HELD_OUT_SHARE} or more if they have a label, or files for each split"
            )
