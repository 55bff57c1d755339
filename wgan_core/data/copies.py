"""Equal rows of a data set: which of them are copies, and the sentence that says how many there are.

Equal images are copies. Equal rows of a table, and equal sequences, are copies if chance cannot explain that they are
equal. A row of three categories has many equals by chance. A row with two numbers of four decimals has none.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Rows = NDArray[np.int64]

# A number is rare if at most one row in so many holds it, or at most so many rows.
RARE_SHARE, RARE_ROWS = 100, 10
# Copies must have so many times more numbers to choose from than there are rows.
ROOM = 10
# Smallest step of a column, as a share of its range. Two values that are nearer differ by rounding.
LEAST_STEP = 1e-9


def first_equal(rows: Iterable[NDArray[Any]]) -> Rows:
    """Return the index of the first equal row for each row, (N,).

    A digest of 32 bytes stands for each row.
    """
    found: dict[bytes, int] = {}
    digests = (hashlib.sha256(np.ascontiguousarray(row).data).digest() for row in rows)
    return np.array([found.setdefault(digest, index) for index, digest in enumerate(digests)], np.int64)


def first_equal_row(table: pa.Table) -> Rows:
    """Return the index of the first equal row for each row of a table, (N,)."""
    if not len(table):
        return np.arange(0)
    numbers = pa.array(np.arange(len(table)))
    names = [str(index) for index in range(table.num_columns)]
    keyed = table.rename_columns(names).unify_dictionaries().append_column("row", numbers)
    groups = keyed.group_by(names, use_threads=False).aggregate([("row", "list")])["row_list"].combine_chunks()
    rows, ends = groups.flatten().to_numpy(), groups.offsets.to_numpy()
    first = np.empty(len(table), np.int64)
    first[rows] = np.minimum.reduceat(rows, ends[:-1]).repeat(np.diff(ends))
    return first


def without_chance(first: Rows, numbers: Iterable[NDArray[np.float64]]) -> Rows:
    """Return `first` with each row on its own that may equal others by chance.

    Only rare numbers of a row are evidence. Each could have been as many others as its column has room for, from the
    least to the greatest in its finest step. Equal rows are copies if these choices, multiplied, are at least `ROOM`
    times the number of rows. So categories, whole numbers of few values, and a number that many rows share are no
    evidence.

    Args:
        first: The index of the first equal row, (N,).
        numbers: The columns of numbers, (N,) each.
    """
    count = len(first)
    several = np.bincount(first, minlength=count)[first] > 1
    enough, room = math.log(ROOM * max(count, 1)), np.zeros(count)
    for column in numbers if several.any() else ():
        values, place, held = np.unique(column, return_inverse=True, return_counts=True)
        with np.errstate(over="ignore", invalid="ignore"):
            steps = np.diff(values) / (values[-1] - values[0])
        steps = steps[steps > LEAST_STEP]
        if steps.size:
            rare = held <= max(count // RARE_SHARE, RARE_ROWS)
            room += np.where(rare, math.log(1 + 1 / steps.min()), 0)[place]
        if (room[several] >= enough).all():
            break
    return np.where(room >= enough, first, np.arange(count))


def copies_notice(rows: Mapping[str, int], chosen: Mapping[str, tuple[str, Rows]], first: Rows, what: str) -> str:
    """Return the sentence about the copies in a data set; "" if there are none.

    Args:
        rows: The number of rows of each part that was found.
        chosen: For each split, the part that its rows come from, and their indices in that part.
        first: The index of the first copy of each row of all parts, one part after the other.
        what: The noun for the rows.
    """
    copies = np.count_nonzero(first != np.arange(len(first)))
    if not copies:
        return ""
    parts = part_slices(rows)
    splits = {name: first[parts[part]][index] for name, (part, index) in chosen.items()}
    apart = 0
    for name in ("validation", "test"):
        others = np.concatenate([each for other, each in splits.items() if other != name])
        apart += int(np.isin(splits[name], others).sum())
    where = f"{apart:,} that are held out have a copy in another split" if apart else "copies stay in one split"
    return f"{copies:,} of {len(first):,} {what} are copies of others; {where}"


def part_slices(rows: Mapping[str, int]) -> dict[str, slice]:
    """Return the place of each part in an array of the rows of all parts, one part after the other."""
    ends = np.cumsum([0, *rows.values()]).tolist()
    return {name: slice(*place) for name, place in zip(rows, itertools.pairwise(ends), strict=True)}
