"""Generated samples as table rows, and files of such rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from pyarrow import csv, parquet, types
from torch import Tensor

from wgan_core.data.coding import Coding
from wgan_core.data.folder import write_file
from wgan_core.errors import UserError, one_line

WRITERS: Mapping[str, Callable[[pa.Table, pa.BufferOutputStream], None]] = {
    ".parquet": parquet.write_table,
    ".csv": csv.write_csv,
}


def rows_of(
    samples: Tensor, coding: Coding, given: Mapping[str, Sequence[Any]] | None = None, as_read: bool = False
) -> pa.Table:
    """Convert samples (N, ...) to a table of N rows, with columns in the coding's order and the data's own units.

    Whole numbers are int64, other numbers double, and categories have the type of their values. Dates, times and
    amounts have the form that the data has. A missing value is null. Sequences are lists. If all rows are of one class,
    their label is the last column. The columns `given`, such as conditions, follow.

    Args:
        samples: The samples.
        coding: The columns of the samples.
        given: More columns.
        as_read: Whether dates and the like stay the numbers that they are coded by.

    Raises:
        UserError: A sample is not finite, or the coding's names and categories are those of no table.
    """
    if not bool(torch.isfinite(samples).all()):
        raise UserError("samples must be finite numbers to be rows; these are not: take another checkpoint")
    try:
        return pa.table({**coding.decode(samples, as_read), **(given or {})})
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        raise UserError(
            f"the columns of rows must be as a table has them; {one_line(error)}: take another checkpoint"
        ) from error


def check_rows_file(path: Path) -> None:
    """Raise `UserError` unless the file name ends in a suffix of `WRITERS`."""
    if path.suffix not in WRITERS:
        raise UserError(
            f"--out must end in {' or '.join(WRITERS)}, as these samples are rows; given {str(path)!r}: "
            "give --out rows.parquet, for example"
        )


def write_rows(rows: pa.Table, path: Path) -> None:
    """Write rows as Parquet or CSV, by the suffix of the file name.

    Raises:
        UserError: The suffix is another, the rows hold lists that CSV cannot, or the file cannot be written.
    """
    check_rows_file(path)
    lists = [field.name for field in rows.schema if types.is_list(field.type)]
    if lists and path.suffix == ".csv":
        raise UserError(
            f"CSV has no lists, and {lists[0]!r} is a column of sequences; given {path}: "
            f"give --out {path.with_suffix('.parquet').name}"
        )
    content = pa.BufferOutputStream()
    WRITERS[path.suffix](rows, content)
    write_file(path, content.getvalue().to_pybytes())
