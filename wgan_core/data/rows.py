"""Generated samples as rows of the table that they are to be like, and their files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import torch
from pyarrow import csv, parquet, types
from torch import Tensor

from wgan_core.data.coding import Coding
from wgan_core.errors import UserError, one_line

WRITERS: Mapping[str, Callable[[pa.Table, Path], None]] = {".parquet": parquet.write_table, ".csv": csv.write_csv}


def rows_of(samples: Tensor, coding: Coding) -> pa.Table:
    """Samples (N, ...) as a table of N rows, its columns in the coding's order and the data's own units.

    Whole numbers are int64, others double, categories of the type of their values; sequences are lists. The label of
    rows of one class comes last. Raises `UserError` for samples that are not finite.
    """
    if not bool(torch.isfinite(samples).all()):
        raise UserError("samples must be finite numbers to be rows; these are not: take another checkpoint")
    return pa.table(coding.decode(samples))


def check_rows_file(path: Path) -> None:
    """Raises `UserError` unless the name says in which form to write rows."""
    if path.suffix not in WRITERS:
        raise UserError(
            f"--out must end in {' or '.join(WRITERS)}, as these samples are rows; given {str(path)!r}: "
            "give --out rows.parquet, for example"
        )


def write_rows(rows: pa.Table, path: Path) -> None:
    """Write rows as Parquet or CSV, as the name says.

    Raises `UserError` for another suffix, for lists in CSV, and for a file that cannot be written.
    """
    check_rows_file(path)
    lists = [field.name for field in rows.schema if types.is_list(field.type)]
    if lists and path.suffix == ".csv":
        raise UserError(
            f"CSV has no lists, and {lists[0]!r} is a column of sequences; given {path}: "
            f"give --out {path.with_suffix('.parquet').name}"
        )
    try:
        WRITERS[path.suffix](rows, path)
    except OSError as error:
        raise UserError(
            f"--out must be a file that can be written; {one_line(error)}: name one in a folder that is there and yours"
        ) from error
