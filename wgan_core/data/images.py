"""Any table of images in the Hugging Face layout: Parquet with a column `image` of encoded files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wgan_core.data.dataset import Dataset, Split
from wgan_core.data.decode import Reference, decode_rows
from wgan_core.data.limits import Memory
from wgan_core.data.splits import (
    SPLITS,
    Rows,
    allot,
    check_rows,
    data_files,
    located,
    read_table,
    sound,
    split_names,
    table_schema,
)
from wgan_core.errors import UserError, listed, shortened


def load_images(path: str | Path) -> Dataset:
    """The images of a Parquet file, or of all Parquet files in a folder and below: uint8 (N, C, H, W), C 1 or 3.

    A table has a column `image`, a struct with `bytes` (an encoded PNG, JPEG, WebP, BMP or GIF) as Hugging Face
    `datasets` writes it, and may have an integer column `label`. Files whose names begin with `train`,
    `validation` or `test` are those splits, and a held-out split that is not there is taken from
    `train`, a tenth of it. Otherwise all rows are shuffled (a constant seed) and split 80/10/10. With
    labels it is a tenth of each class, rounded down: a class of fewer than ten images is in training alone.

    Raises `UserError` for a path that leads nowhere, a file that is not Parquet, a table without images, a row
    that cannot be decoded, images of different sizes or modes, too few rows, and more data than
    `wgan_core.data.limits` lets in.
    """
    given = located(path)
    reference = Reference()
    parts: dict[str, list[Split]] = {}
    files = data_files(given)
    memory = Memory(files, given)
    with sound(given):
        for name, file in split_names(files):
            parts.setdefault(name, []).append(read_images(file, reference, memory))
    # Popped, so that the images are in memory twice at most.
    found = {name: joined(parts.pop(name), given) for name in list(parts)}
    strata = next(found[name].labels for name in ("all", "train") if name in found)
    chosen = allot({name: len(split) for name, split in found.items()}, strata)
    check_rows({name: len(rows) for name, (_, rows) in chosen.items()}, given, "images")
    splits = {name: taken(found[part], rows) for name, (part, rows) in chosen.items()}
    # The prefix keeps a file called mnist.parquet apart from MNIST itself, which has metrics of its own.
    train, validation, test = (splits[name] for name in SPLITS)
    return Dataset.of(f"images:{given.stem}", train, validation, test)


def read_images(file: Path, reference: Reference, memory: Memory) -> Split:
    """Read and decode the rows of one Parquet file."""
    schema = table_schema(file)
    if "image" not in schema.names:
        raise UserError(
            f"{file} must have a column 'image'; its columns are {listed(schema.names) or 'none'}; "
            "rename the column that holds the images"
        )
    for name in ("image", "label"):
        if schema.names.count(name) > 1:
            raise UserError(f"each column of {file} must have a name of its own; {name!r} is there twice: rename one")
    kind = schema.field("image").type
    if not holds_files(kind):
        raise UserError(
            f"the column 'image' of {file} must be a struct with a field 'bytes' of binary; it is "
            f"{shortened(str(kind))}; write the table with Hugging Face datasets, or as {{'bytes': <encoded file>, "
            "'path': None}"
        )
    table = read_table(file, memory, [name for name in ("image.bytes", "label") if name.split(".")[0] in schema.names])
    images = decode_rows(pc.struct_field(table.column("image"), "bytes"), file, reference, memory)
    labels = read_labels(table, file)
    memory.give(table.nbytes)
    return Split(images, labels)


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
    """Return the classes of the rows, if there are any."""
    if "label" not in table.column_names:
        return None
    column = table.column("label")
    if not pa.types.is_integer(column.type) or column.null_count:
        raise UserError(
            f"the column 'label' of {file} must be integers without gaps; it is {shortened(str(column.type))} with "
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


def taken(split: Split, rows: Rows) -> Split:
    return Split(split.values[rows], None if split.labels is None else split.labels[rows])
