"""Tables as files: which files belong to which split, how they are read, and how rows are held out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv, parquet

from wgan_core.errors import UserError, one_line

SPLITS = ("train", "validation", "test")
SPLIT_SEED = 20_171_107
# A distance between sets needs a spread on both sides.
LEAST_ROWS = 2
HELD_OUT_SHARE = 10  # one row in ten for each held-out split
KINDS = {".parquet": "Parquet", ".csv": "CSV"}

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
    if not exists:
        named = f", or one of {', '.join(names)}" if names else ""
        raise UserError(
            f"--data must be a {_kinds(suffixes)} file or a folder of them{named}; {given} does not exist; "
            "check the path"
        )
    if files := sorted(file for suffix in suffixes for file in given.rglob(f"*{suffix}")):
        return files
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


def read_table(file: Path) -> pa.Table:
    """A file whose name ends in .csv as CSV in UTF-8, its first line the names of the columns; any other as Parquet.

    Cells that are not UTF-8 are binary. Raises `UserError` for a file that is neither, and for other names of columns.
    """
    return _read_csv(file) if file.suffix == ".csv" else _read_parquet(file)


def _read_csv(file: Path) -> pa.Table:
    # Only a cell that is empty and not quoted is a gap: "NA" may be a value.
    options = csv.ConvertOptions(null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False)
    try:
        table = csv.read_csv(file, convert_options=options)
        _ = table.column_names  # decoded here
    except UnicodeDecodeError as error:
        raise UserError(f"a CSV file must be UTF-8; the first line of {file} is not: save it as UTF-8") from error
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{file} must be a whole CSV file; {one_line(error)}; copy or fetch it again") from error
    return table


def _read_parquet(file: Path) -> pa.Table:
    fixed = False
    try:
        fixed = any("fixed_size_list" in str(field.type) for field in parquet.read_schema(file))
        return parquet.read_table(file)
    except (pa.ArrowException, OSError) as error:
        # pyarrow writes a missing list of fixed size, and cannot read it.
        without = " without missing lists of a fixed size" if fixed else ""
        remedy = "fill them in, write lists of any size, or" if fixed else "copy or"
        raise UserError(
            f"{file} must be a whole Parquet file{without}; {one_line(error)}; {remedy} fetch it again"
        ) from error


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
    held_out = np.full(rows[source], len(missing))  # by place in `order`: the rank of the split, the last for train
    classes = np.zeros_like(order) if strata is None else strata[order]
    for each in np.unique(classes):
        (places,) = np.nonzero(classes == each)
        share = len(places) // HELD_OUT_SHARE
        held_out[places[: len(missing) * share]] = np.arange(len(missing)).repeat(share)
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
