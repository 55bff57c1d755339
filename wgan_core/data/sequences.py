"""Sequences of numbers, all of one length, from Parquet files.

Each list column is a channel, or one column of lists of lists holds all channels. Each channel is standardised by the
training split, like a numeric column of a table.

Shapes: N sequences, C channels, L steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wgan_core.data.coding import LEAST_SD, Coding, Column
from wgan_core.data.copies import Rows, copies_notice, first_equal, without_chance
from wgan_core.data.dataset import Dataset, Split
from wgan_core.data.limits import COLUMNS, Memory
from wgan_core.data.splits import SPLITS, allot, allot_in_time, check_rows, find_files, read_table, sound, table_schema
from wgan_core.errors import UserError, listed, quoted, shortened

Numbers = NDArray[np.float64]

NUMBER_BYTES = 48
"""Most bytes that a number takes while splits are made and standardised: six float64 arrays hold it at once."""

WINDOW_TRIES, WINDOW_SAMPLE = 100, 64
"""Most steps at which whole windows are compared, and the number of windows of the first comparison.

Without these bounds, long sequences of zeros could take hours.
"""


def load_sequences(path: str | Path, columns: Sequence[str] | None = None) -> Dataset:
    """Load the sequences of a Parquet file or folder, float32 (N, C, L), standardised.

    Each channel is standardised by its mean and standard deviation over the training split. Splits are made as in
    `wgan_core.data.images`, without labels. Equal sequences go to one split, unless chance explains that they are
    equal. If the sequences are windows of recordings that overlap, the splits follow each other in time, with a gap of
    one window.

    Args:
        path: A Parquet file, or a folder with Parquet files in it or below.
        columns: The columns to read, in order: list columns with a channel each, or one column of lists of C lists.
            None reads all columns of lists of numbers and leaves out the others.

    Raises:
        UserError: The path does not exist, a file is not Parquet, or the data exceeds `wgan_core.data.limits`. A
            column does not hold lists of finite numbers without gaps. Sequences differ in length. A channel is
            constant, or float32 cannot represent its numbers. A split has too few rows.
    """
    given, named, memory = find_files(path)
    reader = _Reader(columns, memory)
    found: dict[str, list[_Channels]] = {}
    with sound(given):
        for name, file in named:
            found.setdefault(name, []).append(reader.read(file))
    together = {name: np.concatenate([part.values for part in parts]) for name, parts in found.items()}
    counts = {name: len(rows) for name, rows in together.items()}
    chosen, notice, overlapping = _allotted(counts, np.concatenate([*together.values()]))
    check_rows({name: len(rows) for name, (_, rows) in chosen.items()}, given, "sequences", notice)
    splits = {name: together[part][rows] for name, (part, rows) in chosen.items()}
    files = [part for parts in found.values() for part in parts]
    whole = [all(flags) for flags in zip(*(part.whole for part in files), strict=True)]
    built = standardised(f"sequences:{given.stem}", splits, files[0].names, whole)
    return replace(built, notice=notice, overlapping=overlapping)


def _allotted(counts: Mapping[str, int], values: Numbers) -> tuple[dict[str, tuple[str, Rows]], str, bool]:
    """Assign the sequences of all parts to splits. Return the notice too, and whether the sequences overlap."""
    if shift := shift_of_windows(values):
        gap = 2 * values.shape[2] // shift
        chosen = allot_in_time(counts, gap)
        said = f"the sequences are windows that overlap, {shift} steps apart"
        if {*SPLITS} - {*counts}:
            said += f"; splits follow each other in time, and {gap:,} windows between two splits are left out"
        return chosen, said, True
    rows = values.reshape(len(values), -1)
    first = without_chance(first_equal(rows), rows.T[:COLUMNS])
    chosen = allot(counts, first=first)
    return chosen, copies_notice(counts, chosen, first, "sequences"), False


def shift_of_windows(values: Numbers) -> int:
    """Return by how many steps a window follows the one before; 0 if the sequences (N, C, L) are not such windows.

    Sequences are windows of recordings if more than half of them begin within the one before, all at the same step.
    They must share two steps or more.
    """
    count, _, length = values.shape
    tries = WINDOW_TRIES
    for shift in range(1, min(length - 1, COLUMNS)):
        # Compare a single step of all sequences first, then some sequences, then all. So most data takes little time.
        pairs = np.flatnonzero((values[:-1, :, shift] == values[1:, :, 0]).all(1))
        if 2 * len(pairs) <= count:
            continue
        some = pairs[:: max(1, len(pairs) // WINDOW_SAMPLE)]
        if 2 * _count_overlaps(values, some, shift) > len(some) and 2 * _count_overlaps(values, pairs, shift) > count:
            return shift
        tries -= 1
        if not tries:
            break
    return 0


def _count_overlaps(values: Numbers, pairs: NDArray[np.intp], shift: int) -> int:
    """Count the sequences whose steps from `shift` on vary, and are the first steps of the next sequence."""
    shared = values[pairs + 1, :, : values.shape[2] - shift]
    same = (values[pairs, :, shift:] == shared).all((1, 2)) & (shared != shared[:, :1, :1]).any((1, 2))
    return int(np.count_nonzero(same))


def standardised(name: str, splits: Mapping[str, Numbers], channels: Sequence[str], whole: Sequence[bool]) -> Dataset:
    """Build a standardised data set from sequences.

    Args:
        name: The name of the data set.
        splits: Sequences (N, C, L) in their own units, for each of `SPLITS`.
        channels: The names of the C channels.
        whole: Whether each channel holds whole numbers only.

    Raises:
        UserError: A channel is constant in training, its spread overflows float64, or `Column.check_kept` refuses it.
    """
    train = splits["train"]
    with np.errstate(over="ignore", invalid="ignore"):
        mean, sd = train.mean(axis=(0, 2)), train.std(axis=(0, 2))
    for index, channel in enumerate(channels):
        least, most = train[:, index].min(), train[:, index].max()
        if least == most:
            raise UserError(
                f"each channel must vary in the training split; {quoted(channel)} of {name} is {least:g} throughout: "
                "leave it out"
            )
        if not LEAST_SD <= sd[index] < np.inf:
            raise UserError(
                f"the numbers of a channel must have a finite spread; those of {quoted(channel)} of {name} are "
                f"{least:g} to {most:g}: choose another unit"
            )
    with np.errstate(over="ignore"):  # `Column.check_kept` refuses infinite entries
        values = {
            split: ((splits[split] - mean[:, None]) / sd[:, None]).astype(np.float32, order="C") for split in SPLITS
        }
    described = zip(channels, mean.tolist(), sd.tolist(), whole, strict=True)
    coding = Coding(tuple(Column(*each) for each in described))
    for split in SPLITS:
        for index, column in enumerate(coding.columns):
            column.check_kept(splits[split][:, index], values[split][:, index], "leave the channel out")
    ready = {split: Split(values[split], None) for split in SPLITS}
    return Dataset.of(name, ready["train"], ready["validation"], ready["test"], coding)


class _Alike:
    """A count that all rows must share, and the row where it was first seen."""

    def __init__(self, what: str) -> None:
        self._what, self._count, self._where = what, -1, ""

    def check(self, counts: NDArray[np.int64], each: int, at: str) -> int:
        """Return the count that all rows share.

        Args:
            counts: (M,).
            each: The number of counts of one row.
            at: The column and its file, for the error message.

        Raises:
            UserError: A count differs from the first one, or the count is zero.
        """
        if self._count < 0:
            self._count, self._where = int(counts[0]), f"row 0 of {at}"
        for index in np.flatnonzero(counts != self._count)[:1]:
            raise UserError(
                f"all sequences must have as many {self._what}; row {index // each} of {at} has {counts[index]}, "
                f"{self._where} has {self._count}: cut or pad them"
            )
        if not self._count:
            raise UserError(f"a sequence must have {self._what}; {self._where} is empty: leave that column out")
        return self._count


@dataclass(frozen=True)
class _Channels:
    """Channels of one file.

    Attributes:
        values: (N, C, L), in their own units.
        names: The names of the channels. A column x of lists of lists gives x[0], x[1], and so on.
        whole: Whether each channel has an integer type.
    """

    values: Numbers
    names: tuple[str, ...]
    whole: tuple[bool, ...]


class _Reader:
    """A reader of files that must share the columns and the shape of the first file."""

    def __init__(self, columns: Sequence[str] | None, memory: Memory) -> None:
        self._columns, self._memory = columns, memory
        self._channels, self._steps = _Alike("channels"), _Alike("steps")

    def read(self, file: Path) -> _Channels:
        self._columns = columns = _chosen(table_schema(file), file, self._columns)
        table = read_table(file, self._memory, columns)
        if not len(table):
            raise UserError(f"each file must have at least one row; {file} has none: leave it out")
        kinds = [table.schema.field(name).type for name in columns]
        whole = tuple(pa.types.is_integer(_leaf(kind)) for kind in kinds)
        arrays = [self._values(table.column(name), f"column {quoted(name)} of {file}") for name in columns]
        self._memory.give(table.nbytes)
        if _depth(kinds[0]) > 1:
            (values,) = arrays
            places = range(values.shape[1])
            return _Channels(values, tuple(f"{columns[0]}[{index}]" for index in places), whole * len(places))
        return _Channels(np.concatenate(arrays, axis=1), tuple(columns), whole)

    def _values(self, column: pa.ChunkedArray, at: str) -> Numbers:
        """Return one column as (N, C, L). C is 1 unless its lists hold lists."""
        rows, channels = len(column), 1
        _refuse(column, 1, at, "is missing")
        if _depth(column.type) > 1:
            channels = self._channels.check(_lengths(column), 1, at)
            if channels > COLUMNS:
                raise UserError(
                    f"a sequence must have at most {COLUMNS:,} channels; those of {at} have {channels:,}: write each "
                    "channel as a list"
                )
            column = pc.list_flatten(column)
            _refuse(column, channels, at, "has a channel that is missing")
        steps = self._steps.check(_lengths(column), channels, at)
        self._memory.take(NUMBER_BYTES * rows * channels * steps, f"{rows:,} rows of {channels} x {steps:,} numbers")
        numbers = pc.list_flatten(column)
        _refuse(numbers, channels * steps, at, "has a step that is missing")
        values = numbers.cast(pa.float64(), safe=False).to_numpy()
        _refuse_at(np.flatnonzero(~np.isfinite(values)), channels * steps, at, "has a step that is no finite number")
        return values.reshape(-1, channels, steps)


def _refuse(column: pa.ChunkedArray, each: int, at: str, what: str) -> None:
    """Raise `UserError` if a column with `each` entries per row has gaps."""
    if column.null_count:
        _refuse_at(np.flatnonzero(column.is_null()), each, at, what)


def _refuse_at(found: NDArray[np.intp], each: int, at: str, what: str) -> None:
    """Raise `UserError` with the row of the first entry in `found`, if any, at `each` entries per row."""
    if len(found):
        raise UserError(
            f"a sequence must be numbers without gaps; row {found[0] // each} of {at} {what}: fill it in or drop the "
            "row"
        )


def _lengths(column: pa.ChunkedArray) -> NDArray[np.int64]:
    return pc.list_value_length(column).to_numpy().astype(np.int64)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _leaf(kind: pa.DataType) -> pa.DataType:
    """Return the item type of the innermost lists."""
    return _leaf(kind.value_type) if _is_list(kind) else kind


def _depth(kind: pa.DataType) -> int:
    """Return the number of nested list levels."""
    return 1 + _depth(kind.value_type) if _is_list(kind) else 0


def _holds_numbers(kind: pa.DataType) -> bool:
    leaf = _leaf(kind)
    return pa.types.is_integer(leaf) or pa.types.is_floating(leaf) or pa.types.is_decimal(leaf)


def _chosen(schema: pa.Schema, file: Path, asked: Sequence[str] | None) -> tuple[str, ...]:
    """Return the columns to read. Raise `UserError` if a requested column does not fit, or if no column does."""
    there = listed(f"{shortened(field.name, 40)} ({field.type})" for field in schema) or "none"
    if asked is None:
        fitting = [field for field in schema if _depth(field.type) in (1, 2) and _holds_numbers(field.type)]
        asked = [field.name for field in fitting]
    if not asked:
        raise UserError(
            f"{file} must have a column of lists of numbers; its columns are {there}: write each sequence as a list"
        )
    for name in asked:
        index = schema.get_field_index(name)  # -1 if no column, or more than one, has the name
        kind = schema.field(index).type if index >= 0 else pa.null()
        if _depth(kind) not in (1, 2) or not _holds_numbers(kind):
            raise UserError(
                f"each of --columns must be a column of lists of numbers; given {quoted(name)}, and the columns of "
                f"{file} are {there}: name others"
            )
    nested = [name for name in asked if _depth(schema.field(name).type) > 1]
    if len(set(asked)) < len(asked) or (nested and len(asked) > 1):
        raise UserError(
            "the channels must be columns of lists, each once, or one column of lists of lists; given "
            f"{listed(asked)} of {file}: choose with --columns"
        )
    return tuple(asked)
