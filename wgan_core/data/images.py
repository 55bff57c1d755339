"""Any table of images in the Hugging Face layout: Parquet with a column `image` of encoded files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from wgan_core.data.dataset import Dataset, Split
from wgan_core.data.decode import Reference, decode_rows
from wgan_core.errors import UserError

SPLITS = ("train", "validation", "test")
SPLIT_SEED = 20_171_107
# A distance between sets needs a spread on both sides.
LEAST_ROWS = 2
HELD_OUT_SHARE = 10  # one row in ten for each held-out split


def load_images(path: str | Path) -> Dataset:
    """The images of a Parquet file, or of all Parquet files in a folder and below: uint8 (N, C, H, W), C 1 or 3.

    A table has a column `image`, a struct with `bytes` (an encoded PNG, JPEG, ...) as Hugging Face
    `datasets` writes it, and may have an integer column `label`. Files whose names begin with `train`,
    `validation` or `test` are those splits, and a held-out split that is not there is taken from
    `train`, a tenth of it. Otherwise all rows are shuffled (a constant seed) and split 80/10/10.

    Raises `UserError` for a path that leads nowhere, a file that is not Parquet, a table without images, a row
    that cannot be decoded, images of different sizes or modes, and too few rows.
    """
    given = located(path)
    files = parquet_files(given)
    reference = Reference()
    parts: dict[str, list[Split]] = {}
    for name, file in split_names(files):
        parts.setdefault(name, []).append(read_table(file, reference))
    splits = complete({name: joined(found, given) for name, found in parts.items()}, given)
    # The prefix keeps a file called mnist.parquet apart from MNIST itself, which has metrics of its own.
    return Dataset.of(f"images:{given.stem}", **splits)


def located(path: str | Path) -> Path:
    """The path with `~` written out."""
    if path == "":  # which would be the current folder
        raise UserError("--data must name a Parquet file or a folder of them; it is empty; leave it out or give a path")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"'~' in --data must stand for a home folder; in {str(path)!r} it stands for none; write the path in full"
        ) from error


def parquet_files(given: Path) -> list[Path]:
    try:
        is_file, exists = given.is_file(), given.exists()
    except OSError as error:
        raise UserError(f"--data must be a path that can be read; {error}; check the path and its rights") from error
    if is_file:
        return [given]
    if not exists:
        raise UserError(f"--data must be a Parquet file or a folder of them; {given} does not exist; check the path")
    if files := sorted(given.rglob("*.parquet")):
        return files
    raise UserError(f"a data folder must hold *.parquet files; {given} holds none; name another folder or a file")


def split_names(files: list[Path]) -> list[tuple[str, Path]]:
    """Each file with the split that it belongs to; `all` where names say nothing or there is one file."""
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
    return [(match[1], file) for match, file in named if match is not None]


def read_table(file: Path, reference: Reference) -> Split:
    """The decoded rows of one Parquet file."""
    try:
        table = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{file} must be a whole Parquet file; {reason}; copy or fetch it again") from error
    if "image" not in table.column_names:
        raise UserError(
            f"{file} must have a column 'image'; its columns are {', '.join(table.column_names) or 'none'}; "
            "rename the column that holds the images"
        )
    column = table.column("image")
    if not holds_files(column.type):
        raise UserError(
            f"the column 'image' of {file} must be a struct with a field 'bytes' of binary; it is {column.type}; "
            "write the table with Hugging Face datasets, or as {'bytes': <encoded file>, 'path': None}"
        )
    images = decode_rows(pc.struct_field(column, "bytes"), file, reference)
    return Split(images, read_labels(table, file))


def holds_files(kind: pa.DataType) -> bool:
    """Whether a column of this type is a struct with a field `bytes` that holds bytes."""
    index = kind.get_field_index("bytes") if pa.types.is_struct(kind) else -1
    if index < 0:
        return False
    held = kind.field(index).type
    # Null is the type of a field that is empty in every row: `decode` says what to do about those.
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    return any(is_kind(held) for is_kind in (*kinds, pa.types.is_null))


def read_labels(table: pa.Table, file: Path) -> NDArray[np.int64] | None:
    if "label" not in table.column_names:
        return None
    column = table.column("label")
    if not pa.types.is_integer(column.type) or column.null_count:
        raise UserError(
            f"the column 'label' of {file} must be integers without gaps; it is {column.type} with "
            f"{column.null_count} missing; number the classes, or drop the column"
        )
    labels: NDArray[np.int64] = column.to_numpy().astype(np.int64)
    return labels


def joined(parts: list[Split], given: Path) -> Split:
    """The splits of several files as one."""
    if len(parts) == 1:
        return parts[0]
    labels = [part.labels for part in parts if part.labels is not None]
    if labels and len(labels) != len(parts):
        raise UserError(
            f"either all files of a split in {given} or none must have a column 'label'; some do; add or drop it"
        )
    return Split(np.concatenate([part.values for part in parts]), np.concatenate(labels) if labels else None)


def complete(found: dict[str, Split], given: Path) -> dict[str, Split]:
    """All three splits, those that are not there drawn from `train`, or from `all`."""
    source = found.get("all", found.get("train"))
    if source is None:
        raise UserError(
            f"the files in {given} must include a train split; there is {', '.join(found)}; add train*.parquet"
        )
    missing = [name for name in SPLITS[1:] if name not in found]
    shuffled = np.random.Generator(np.random.PCG64(SPLIT_SEED)).permutation(len(source))
    order = shuffled if missing else np.arange(len(source))
    share = len(source) // HELD_OUT_SHARE
    for rank, name in enumerate(missing):
        found[name] = taken(source, order[rank * share : (rank + 1) * share])
    found["train"] = taken(source, order[len(missing) * share :])
    for name in SPLITS:
        if len(found[name]) < LEAST_ROWS:
            raise UserError(
                f"each split must have at least {LEAST_ROWS} images; {name} of {given} has {len(found[name])} "
                f"of {len(source)} rows; give at least {LEAST_ROWS * HELD_OUT_SHARE} rows, or files for each split"
            )
    return {name: found[name] for name in SPLITS}


def taken(split: Split, rows: NDArray[np.int64]) -> Split:
    return Split(split.values[rows], None if split.labels is None else split.labels[rows])
