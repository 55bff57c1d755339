"""Tables of images in the Hugging Face layout: Parquet with a column `image` of encoded files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wgan_core.data.copies import Rows, copies_notice, first_equal
from wgan_core.data.dataset import Dataset, Split
from wgan_core.data.decode import Reference, decode_rows
from wgan_core.data.limits import Memory
from wgan_core.data.splits import allot, check_rows, find_files, read_table, sound, table_schema
from wgan_core.errors import UserError, listed, shortened


def load_images(path: str | Path) -> Dataset:
    """Load the images of a Parquet file or folder, uint8 (N, C, H, W), C 1 or 3.

    The column `image` is a struct as Hugging Face `datasets` writes it. Its field `bytes` holds an encoded PNG, JPEG,
    WebP, BMP or GIF. A table may have an integer column `label`.

    Files whose names begin with `train`, `validation` or `test` form these splits. A held-out split without files is a
    tenth of `train`. Otherwise all rows are shuffled with a constant seed and split 80/10/10. If there are labels, a
    tenth of each class is held out, rounded down. A class of fewer than ten images is then in training only. Equal
    images go to one split, unless the files divide them.

    Args:
        path: A Parquet file, or a folder with Parquet files in it or below.

    Raises:
        UserError: The path does not exist, a file is not Parquet, or the data exceeds `wgan_core.data.limits`. A table
            has no images, an image cannot be decoded, or images differ in size or mode. A split has too few rows.
    """
    given, files, memory = find_files(path)
    reference = Reference()
    parts: dict[str, list[Split]] = {}
    with sound(given):
        for name, file in files:
            parts.setdefault(name, []).append(read_images(file, reference, memory))
    # `pop` frees the parts of a split once they are joined, so the images are in memory at most twice.
    found = {name: joined(parts.pop(name), given) for name in list(parts)}
    strata = next(found[name].labels for name in ("all", "train") if name in found)
    counts = {name: len(split) for name, split in found.items()}
    first = first_equal(row for split in found.values() for row in split.values)
    chosen = allot(counts, strata, first)
    notice = copies_notice(counts, chosen, first, "images")
    check_rows({name: len(rows) for name, (_, rows) in chosen.items()}, given, "images", notice)
    train, validation, test = (taken(found[part], rows) for part, rows in chosen.values())
    # The prefix distinguishes a file named mnist.parquet from MNIST itself, which has metrics of its own.
    return Dataset.of(f"images:{given.stem}", train, validation, test, notice=notice)


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
    """Return whether a column of this type is a struct with a field `bytes` of binary (or of no values)."""
    index = kind.get_field_index("bytes") if pa.types.is_struct(kind) else -1
    if index < 0:
        return False
    held = kind.field(index).type
    # A field that is empty in every row has type null. `decode_rows` then reports the missing bytes.
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view, pa.types.is_fixed_size_binary)
    return any(is_kind(held) for is_kind in (*kinds, pa.types.is_null))


def read_labels(table: pa.Table, file: Path) -> NDArray[np.int64] | None:
    """Return the class of each row, (N,), or None if there is no column `label`."""
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
    """Concatenate the splits of several files."""
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
