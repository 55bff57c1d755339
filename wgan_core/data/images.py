"""Tables of images in the Hugging Face layout: Parquet with a column `image` of encoded files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wgan_core.data.coding import Coding, Column
from wgan_core.data.copies import Rows, copies_notice, first_equal
from wgan_core.data.csv_file import is_csv
from wgan_core.data.dataset import Dataset, Split
from wgan_core.data.decode import Reference, decode_rows
from wgan_core.data.limits import Memory
from wgan_core.data.splits import KINDS, allot, check_rows, find_files, read_table, sound, table_schema
from wgan_core.errors import UserError, listed, shortened

REMEDY = "leave it out of --condition"


def load_images(path: str | Path, condition: Sequence[str] = ()) -> Dataset:
    """Load the images of a Parquet file or folder, uint8 (N, C, H, W), C 1 or 3.

    The column `image` is a struct as Hugging Face `datasets` writes it. Its field `bytes` holds an encoded PNG, JPEG,
    WebP, BMP or GIF. EXIF orientation is applied. Palettes are resolved to RGB, and alpha is drawn over white. A table
    may have an integer column `label`.

    Files whose names begin with `train`, `validation` or `test` form these splits. A held-out split without files is a
    tenth of `train`. Otherwise all rows are shuffled with a constant seed and split 80/10/10. If there are labels, a
    tenth of each class is held out, rounded down. A class of fewer than ten images is then in training only. Equal
    images go to one split, unless the files divide them.

    Args:
        path: A Parquet file, or a folder with Parquet files in it or below.
        condition: Numeric columns that are conditions, float32 (N, K), in place of the label. They are standardised by
            the mean and standard deviation of the training split.

    Raises:
        UserError: The path does not exist, a file is not Parquet, or the data exceeds `wgan_core.data.limits`. A table
            has no images, an image cannot be decoded, or images differ in size or mode. A split has too few rows. A
            condition is no column of numbers, has gaps, or is constant in training.
    """
    condition = tuple(dict.fromkeys(condition))
    given, files, memory = find_files(path)
    reference = Reference()
    parts: dict[str, list[Split]] = {}
    with sound(given):
        for name, file in files:
            parts.setdefault(name, []).append(read_images(file, reference, memory, condition))
    # `pop` frees the parts of a split once they are joined, so the images are in memory at most twice.
    found = {name: joined(parts.pop(name), given) for name in list(parts)}
    strata = None if condition else next(found[name].labels for name in ("all", "train") if name in found)
    counts = {name: len(split) for name, split in found.items()}
    first = first_equal(row for split in found.values() for row in split.values)
    # If all images are one, every held-out image is a copy. The notice says so.
    chosen = allot(counts, strata, first if first.any() else None)
    notice = "; ".join(filter(None, (reference.notice(), copies_notice(counts, chosen, first, "images"))))
    check_rows({name: len(rows) for name, (_, rows) in chosen.items()}, given, "images", notice)
    splits = [taken(found[part], rows) for part, rows in chosen.values()]
    coding = standardised(splits, condition) if condition else None
    # The prefix distinguishes a file named mnist.parquet from MNIST itself, which has metrics of its own.
    train, validation, test = splits
    return replace(Dataset.of(f"images:{given.stem}", train, validation, test, notice=notice), conditions=coding)


def has_images(path: str | Path, names: Sequence[str] = ()) -> bool:
    """Return whether a file, or the first data file of a folder, has a column `image` of encoded files.

    Args:
        path: A Parquet or CSV file, or a folder of such files.
        names: Values that --data accepts instead of a path, for the error message.

    Raises:
        UserError: There is no such file, or it is not Parquet.
    """
    _, files, _ = find_files(path, tuple(KINDS), names)
    file = files[0][1]
    schema = pa.schema([]) if is_csv(file) else table_schema(file)
    return schema.names.count("image") == 1 and holds_files(schema.field("image").type)


def standardised(splits: list[Split], names: Sequence[str]) -> Coding:
    """Standardise the conditions (N, K) of the splits, of which the first is for training. Return their columns."""
    given = splits[0].labels
    assert given is not None
    with np.errstate(over="ignore", invalid="ignore"):
        columns = tuple(map(Column, names, given.mean(0).tolist(), given.std(0).tolist()))
    for column, numbers in zip(columns, given.T, strict=True):
        if numbers.min() == numbers.max() or not 0 < column.sd < np.inf:
            raise UserError(
                f"a condition must vary in the training split; {column.name!r} is {numbers[0]:g} there, with a spread "
                f"of {column.sd:g}: {REMEDY}"
            )
    for index, split in enumerate(splits):
        assert split.labels is not None
        entries = np.empty(split.labels.shape, np.float32)
        for at, column in enumerate(columns):
            with np.errstate(over="ignore"):
                entries[:, at] = (split.labels[:, at] - column.mean) / column.sd
            column.check_kept(split.labels[:, at], entries[:, at], REMEDY)
        splits[index] = Split(split.values, entries)
    return Coding(columns)


def read_images(file: Path, reference: Reference, memory: Memory, condition: Sequence[str] = ()) -> Split:
    """Read and decode the rows of one Parquet file. The labels are the classes, or conditions (N, K) in their units."""
    schema = table_schema(file)
    if "image" not in schema.names:
        raise UserError(
            f"{file} must have a column 'image'; its columns are {listed(schema.names) or 'none'}; "
            "rename the column that holds the images"
        )
    for name in dict.fromkeys(("image", "label", *condition)):
        if schema.names.count(name) > 1:
            raise UserError(f"each column of {file} must have a name of its own; {name!r} is there twice: rename one")
    kind = schema.field("image").type
    if not holds_files(kind):
        raise UserError(
            f"the column 'image' of {file} must be a struct with a field 'bytes' of binary; it is "
            f"{shortened(str(kind))}; write the table with Hugging Face datasets, or as {{'bytes': <encoded file>, "
            "'path': None}"
        )
    check_conditions(schema, condition, file)
    wanted = ["image.bytes", *(condition or (name for name in ("label",) if name in schema.names))]
    table = read_table(file, memory, wanted)
    images = decode_rows(pc.struct_field(table.column("image"), "bytes"), file, reference, memory)
    labels = read_conditions(table, condition, file) if condition else read_labels(table, file)
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


def check_conditions(schema: pa.Schema, condition: Sequence[str], file: Path) -> None:
    """Raise `UserError` unless all conditions are columns of numbers."""
    for name in condition:
        if name not in schema.names:
            raise UserError(
                f"--condition must name columns of {file}, which has {listed(schema.names)}; given {name!r}: check the "
                "name"
            )
        kind = schema.field(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
            raise UserError(
                f"--condition must name columns of numbers; {name!r} is {shortened(str(kind))}: write it as "
                f"numbers, or {REMEDY}"
            )


def read_conditions(table: pa.Table, condition: Sequence[str], file: Path) -> NDArray[np.float64]:
    """Return the conditions of each row, (N, K), in their own units."""
    columns = [table.column(name).cast(pa.float64(), safe=False).to_numpy() for name in condition]
    given: NDArray[np.float64] = np.column_stack(columns)
    if not np.isfinite(given).all():
        row, at = np.argwhere(~np.isfinite(given))[0]
        raise UserError(
            f"a condition must have a finite number in each row; row {row} of {file} has none in {condition[at]!r}: "
            "fill or drop the row"
        )
    return given


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
