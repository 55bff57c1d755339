"""Data files: their splits, their reading, and the rows that are held out."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wgan_core.data.copies import Rows, part_slices
from wgan_core.data.csv_file import CSV_SUFFIXES, is_csv, read_csv, typed
from wgan_core.data.limits import Memory
from wgan_core.data.parquet_file import BadParquet, parquet_schema, read_parquet
from wgan_core.errors import UserError, listed, one_line, shortened

SPLITS = ("train", "validation", "test")
# Folders may have other names of splits too, as data sets of the Hugging Face Hub have them.
_NAMES = {name: name for name in SPLITS} | {
    "training": "train",
    **dict.fromkeys(("valid", "val", "dev"), "validation"),
    **dict.fromkeys(("testing", "eval", "evaluation"), "test"),
}
_ANY_SPLIT = "|".join(sorted(_NAMES, key=len, reverse=True))
_IN_NAME = re.compile(rf"({'|'.join(SPLITS)})(?![a-z])")
_AS_FOLDER = re.compile(rf"(?:partial-|split=)?({_ANY_SPLIT})", re.IGNORECASE)
# First characters of names that are no data: of hidden files, of Spark's marks, and of Office's and Windows' own files.
SKIPPED = (".", "_", "~", "$")
SPLIT_SEED = 20_171_107
# A distance between two sets needs at least two samples in each.
LEAST_ROWS = 2
HELD_OUT_SHARE = 10  # one row in ten for each held-out split
# Fewest rows of a category that must be in training. A single row may be held out, and is then refused.
LEAST_CATEGORY = 2
KINDS = {".parquet": "Parquet", ".csv": "CSV"}


def find_files(
    path: str | Path, suffixes: Sequence[str] = (".parquet",), names: Sequence[str] = ()
) -> tuple[Path, list[tuple[str, Path]], Memory]:
    """Find the files of a data set.

    Args:
        path: The path of a file or folder, as the user gave it.
        suffixes: The endings of the file names to find in a folder and below, small or capital; `.csv` stands for
            all of `CSV_SUFFIXES`.
        names: Values that --data accepts instead of a path, for the error message.

    Returns:
        The path; the files, sorted, each with its split as `_split_names` finds it; and the memory account of the data.

    Raises:
        UserError: The path does not exist, has no such files, or their names fit no splits.
    """
    given = _located(path, suffixes)
    files = _data_files(given, suffixes, names)
    return given, _split_names(given, files), Memory(files, given)


def _located(path: str | Path, suffixes: Sequence[str]) -> Path:
    """Expand `~` in a path. Raise `UserError` if the path is empty or the user has no home folder."""
    if path == "":  # Path("") would be the current folder
        raise UserError(
            f"--data must name a {_kinds(suffixes)} file or a folder of them; it is empty; leave it out or give a path"
        )
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"'~' in --data must stand for a home folder; in {str(path)!r} it stands for none; write the path in full"
        ) from error


def _data_files(given: Path, suffixes: Sequence[str], names: Sequence[str]) -> list[Path]:
    """Return the file itself, or all data files in a folder and below, sorted.

    Raises:
        UserError: The path does not exist, cannot be read, or is neither a regular file nor a folder. Or the folder
            has no such files, or has one that is not a regular file.
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
        ending = sorted(file for file in given.rglob("*") if _ending(file, suffixes))
        found = [file for file in ending if not _is_hidden(file.relative_to(given)) and not file.is_dir()]
        odd = [file for file in found if not file.is_file()]
    except (OSError, RecursionError) as error:
        raise UserError(f"--data must be a path that can be read; {error}; check the path and its rights") from error
    if odd:  # reading a pipe could block forever
        raise UserError(
            f"a data folder must hold regular files, or links to them; {odd[0]} is none: move it to another folder"
        )
    if found:
        return found
    wanted = " or ".join(f"*{suffix}" for suffix in suffixes)
    skipped = f" but hidden ones, whose names begin with one of {' '.join(SKIPPED)}" if ending else ""
    raise UserError(
        f"a data folder must hold {wanted} files; {given} holds none{skipped}; name another folder or a file"
    )


def _is_hidden(path: Path) -> bool:
    """Return whether a path below a data folder is hidden, or lies in a hidden folder.

    Jupyter, macOS, Spark, Office and others leave copies and marks beside data, in hidden files and folders. A copy in
    two splits would make held-out rows known to training. The rule is that of pyarrow and Spark, and has `~` and `$`
    besides. A name such as `_year=2026` is one of Hive's partitions, and so is not hidden.
    """
    return any(part.startswith(SKIPPED) and not (part[0] == "_" and "=" in part) for part in path.parts)


def _ending(file: Path, suffixes: Iterable[str]) -> str:
    """Return which of these suffixes a file name ends in, in small letters; "" for none."""
    endings = (each for suffix in suffixes for each in (CSV_SUFFIXES if suffix == ".csv" else (suffix,)))
    return next(filter(file.name.lower().endswith, endings), "")


def _kinds(suffixes: Sequence[str]) -> str:
    return " or ".join(KINDS[suffix] for suffix in suffixes)


def _split_names(given: Path, files: Sequence[Path]) -> list[tuple[str, Path]]:
    """Pair each file with its split, or with `all` for a single file or if no name says a split.

    The name of the file begins with the split, as in `train-00000.parquet`. Or a folder below `given` is named so, as
    in `train/0000.parquet`, or in `default/partial-train/0000.parquet` of the Hugging Face Hub.

    Raises:
        UserError: Only some files have a split, or none is of `train`. A file's name and folder say different splits.
            Or several folders have splits of their own.
    """
    if len(files) == 1:
        return [("all", files[0])]
    named = [(_split_of(file.relative_to(given)), file) for file in files]
    if all(split != "train" for split, _ in named):  # folders `val` and `dev` may mean something else
        named = [(_split_of(file.relative_to(given), dict(zip(SPLITS, SPLITS, strict=True))), file) for file in files]
    if not any(split for split, _ in named):
        return [("all", file) for file in files]
    if stray := [file for split, file in named if not split]:
        raise UserError(
            f"file names in a data folder must all begin with {', '.join(SPLITS)} or lie in folders of these names, or "
            f"none may; {stray[0].name} does not and others do; rename or move it"
        )
    there = sorted({split for split, _ in named})
    if "train" not in there:
        raise UserError(
            f"the files in {given} must include a train split; there is {', '.join(there)}; "
            f"add train*{_ending(files[0], KINDS)}"
        )
    places = {place for file in files if (place := _above_split(file.relative_to(given))) is not None}
    if len(places) > 1:
        raise UserError(
            f"the folders of the splits must lie in one folder; those of {given} lie in "
            f"{listed(map(str, sorted(places)))}: give --data one of these"
        )
    return named


def _split_of(path: Path, names: Mapping[str, str] = _NAMES) -> str:
    """Return the split that a file's name or folder says, or an empty text. The path is relative to the data folder."""
    if (found := _IN_NAME.match(path.name)) and not any(part in SPLITS for part in path.parts[:-1]):
        return found[1]  # A folder `dev` or `eval` may mean something else.
    words = [found[1].lower() for part in path.parts[:-1] if (found := _AS_FOLDER.fullmatch(part))]
    if found := _IN_NAME.match(path.name):
        words.append(found[1])
    said = sorted({names[word] for word in words if word in names})
    if len(said) > 1:
        raise UserError(
            f"the name and the folders of a data file must say one split; {path} says {' and '.join(said)}: rename or "
            "move it"
        )
    return said[0] if said else ""


def _above_split(path: Path) -> Path | None:
    """Return the folder in which a folder of a split lies, or None if the path has no folder of a split."""
    folders = path.parts[:-1]
    first = next((at for at, part in enumerate(folders) if _AS_FOLDER.fullmatch(part)), None)
    return None if first is None else Path(*folders[:first])


def read_table(file: Path, memory: Memory | None = None, columns: Collection[str] | None = None) -> pa.Table:
    """Read a file as CSV if its name ends as those of CSV files do, and as Parquet otherwise.

    A CSV column whose cells are all numbers, or all true and false, has such a type. Others are text.

    Args:
        file: The path of the file.
        memory: The memory account of the data set; None opens one for this file. The table's bytes stay taken.
        columns: Dotted paths of the columns to read from a Parquet file; None reads all.

    Raises:
        UserError: The file is damaged, of another format, or exceeds the memory account. Or it has too many columns.
    """
    memory = Memory([file], file) if memory is None else memory
    return _read_csv(file, memory) if is_csv(file) else _read_parquet(file, memory, columns)


def table_schema(file: Path) -> pa.Schema:
    """Return the schema of a Parquet file. Raise `UserError` if the file is not whole Parquet."""
    with _whole_parquet(file):
        return parquet_schema(file)


def _read_csv(file: Path, memory: Memory) -> pa.Table:
    found = read_csv(file, memory)
    table = typed(found)
    memory.take(table.nbytes, f"the columns of {file}")
    memory.give(found.table.nbytes)
    return table


def _read_parquet(file: Path, memory: Memory, columns: Collection[str] | None) -> pa.Table:
    most = memory.for_table()
    with _whole_parquet(file):
        try:
            table = read_parquet(file, columns, most)
        except MemoryError as error:
            raise memory.exceeded(most, f"the columns of {file}") from error
    memory.take(table.nbytes, f"the columns of {file}")
    return table


@contextmanager
def _whole_parquet(file: Path) -> Iterator[None]:
    """Convert exceptions from reading a Parquet file to `UserError`."""
    try:
        yield
    except UserError:
        raise
    except (OSError, MemoryError, ValueError) as error:
        # pyarrow can write a missing list of fixed size, but cannot read it.
        fixed = "lists to be of size" in str(error)
        without = " without missing lists of a fixed size" if fixed else ""
        remedy = "fill them in, write lists of any size, or" if fixed else "copy or"
        raise UserError(
            f"{file} must be a whole Parquet file{without}; {_said(error)}; {remedy} fetch it again"
        ) from error


@contextmanager
def sound(given: Path | str) -> Iterator[None]:
    """Convert exceptions of pyarrow and Python about damaged content to `UserError`."""
    try:
        yield
    except (pa.ArrowException, MemoryError, OverflowError, UnicodeDecodeError) as error:
        raise UserError(f"data must be whole and sound; of {given}: {_said(error)}; copy or fetch it again") from error


def _said(error: BaseException) -> str:
    """Return another library's error message, shortened because it may quote a file's content."""
    return shortened(str(error) if isinstance(error, BadParquet) else one_line(error))


def allot(
    rows: Mapping[str, int],
    strata: NDArray[np.int64] | None = None,
    first: Rows | None = None,
    categories: Iterable[NDArray[np.int64]] = (),
) -> dict[str, tuple[str, Rows]]:
    """Assign rows to splits.

    A held-out split that is not in `rows` is a tenth of `train` or of `all`, rounded down, shuffled with a constant
    seed. Copies of one row go to one split, so a split may be larger or smaller by the copies of a row. A row with more
    copies than a tenth of a split, and than most rows have, goes to training with them.

    Args:
        rows: The number of rows of each part that was found. Parts are splits, or `all`.
        strata: The class of each row of `train` or `all`, (N,). If given, a tenth of each class is held out, rounded
            down. A class of fewer than ten rows is then in training only.
        first: The index of the first copy of each row of all parts, one part after the other; None without copies.
        categories: The category of each row of `train` or `all`, (N,), for each column of categories. A category of two
            rows or more is in training.

    Returns:
        For each of `SPLITS`, the part that its rows come from, and their indices in that part, in order.
    """
    source = next(name for name in ("all", "train") if name in rows)
    missing = [name for name in SPLITS[1:] if name not in rows]
    if not missing:
        return {name: (name, np.arange(rows[name])) for name in SPLITS}
    order = np.random.Generator(np.random.PCG64(SPLIT_SEED)).permutation(rows[source])
    first = np.arange(len(order)) if first is None else _first_in(first[part_slices(rows)[source]])
    held_out = _held_out(order, np.zeros_like(order) if strata is None else strata, first, len(missing))
    for codes in [*categories, *([] if strata is None else [strata])]:
        _, row, code, counts = np.unique(codes, return_index=True, return_inverse=True, return_counts=True)
        counts[code[held_out == len(missing)]] = 0
        held_out[np.isin(first, first[row[counts >= LEAST_CATEGORY]])] = len(missing)
    drawn = {name: (source, order[held_out[order] == rank]) for rank, name in enumerate([*missing, "train"])}
    return {name: drawn.get(name) or (name, np.arange(rows[name])) for name in SPLITS}


def allot_in_time(rows: Mapping[str, int], gap: int) -> dict[str, tuple[str, Rows]]:
    """Assign windows of recordings, in order of time, to splits.

    A held-out split that is not in `rows` is a tenth of `train` or of `all`, rounded down: the last windows are the
    test split, those before it the validation split. `gap` windows between two splits are in none.

    Returns:
        For each of `SPLITS`, the part that its windows come from, and their indices in that part.
    """
    source = next(name for name in ("all", "train") if name in rows)
    missing = [name for name in SPLITS[1:] if name not in rows]
    share = rows[source] // HELD_OUT_SHARE
    learned = max(rows[source] - len(missing) * (share + gap), 0)
    drawn = {"train": (source, np.arange(learned))}
    for rank, name in enumerate(missing):
        start = learned + gap + rank * (share + gap)
        drawn[name] = (source, np.arange(start, min(start + share, rows[source])))
    return {name: drawn.get(name) or (name, np.arange(rows[name])) for name in SPLITS}


def _first_in(copies: Rows) -> Rows:
    """Return the index of the first row with the same number, for each row."""
    _, index, inverse = np.unique(copies, return_index=True, return_inverse=True)
    return index[inverse]


def _held_out(order: Rows, strata: Rows, first: Rows, splits: int) -> Rows:
    """Return the index of each row's held-out split, (N,), or `splits` for training."""
    # A row's class is that of its first copy. One sort replaces a loop over classes, as there may be as many as rows.
    _, classes = np.unique(strata[first], return_inverse=True)
    counts = np.bincount(classes)
    shares = (counts // HELD_OUT_SHARE)[classes]
    copies = np.bincount(first, minlength=len(first))[first]
    many = copies > np.maximum(shares // HELD_OUT_SHARE, np.median(copies) if len(copies) else 1)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    together = np.lexsort((place[first], many, classes))
    place[together] = np.arange(len(order)) - (np.cumsum(counts) - counts).repeat(counts)
    # The first copy decides for all. Without copies, each row decides for itself.
    found = np.minimum(place[first] // np.maximum(shares, 1), splits)
    found[many | (shares == 0)] = splits
    return found


def check_rows(rows: Mapping[str, int], given: Path | str, what: str = "rows", notice: str = "") -> None:
    """Raise `UserError` unless each split has at least `LEAST_ROWS` rows.

    Args:
        rows: The number of rows by split.
        given: The path or name of the data, for the error message.
        what: The noun for the rows, for the error message.
        notice: The notice about copies, which may be why a split has no rows.
    """
    for name, count in rows.items():
        if count < LEAST_ROWS:
            why = f"; {notice}" if notice else ""
            raise UserError(
                f"each split must have at least {LEAST_ROWS} {what}; {name} of {given} has {count} of "
                f"{sum(rows.values())} rows{why}; give at least {LEAST_ROWS * HELD_OUT_SHARE} rows, in classes of "
                f"{HELD_OUT_SHARE} or more if they have a label, or files for each split"
            )
