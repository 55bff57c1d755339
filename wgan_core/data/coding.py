"""Conversion of table columns to the numbers that a network sees, and back.

A table row is a sample (D,). A numeric column has one standardised entry. A categorical column has one one-hot entry
for each of its values. A row of sequences is a sample (C, L), with one numeric column for each channel.

Shapes: N rows.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wgan_core.errors import UserError, quoted

if TYPE_CHECKING:
    from torch import Tensor

Value = str | int | float | bool

# From 2^53 on, float64 does not distinguish all whole numbers.
MOST_WHOLE = 2.0**53
# Most bytes of a coding as JSON. It is part of sweep.json and of each checkpoint's JSON, which have at most 16 MiB.
MOST_TEXT = 12 << 20
# Most runs of a generator's softmax. `torch.export` takes a tenth of a second for each.
MOST_RUNS = 1_000


@dataclass(frozen=True)
class Column:
    """One column of a table, or one channel of sequences.

    Attributes:
        mean, sd: Mean and standard deviation of a numeric column in the training split, in its own units; sd > 0.
        whole: Whether the numbers are whole. If so, `Coding.decode` rounds them.
        values: All categories in order; empty for a numeric column.
    """

    name: str
    mean: float = 0.0
    sd: float = 1.0
    whole: bool = False
    values: tuple[Value, ...] = ()

    @property
    def typical(self) -> str:
        """The mean, to a hundredth of the standard deviation: a value to show as an example."""
        return f"{round(self.mean, max(0, -math.floor(math.log10(self.sd / 100)))):.15g}"

    @property
    def width(self) -> int:
        """Number of entries that the column takes in a sample."""
        return max(1, len(self.values))

    def check_kept(self, numbers: NDArray[np.float64], entries: NDArray[np.float32], remedy: str) -> None:
        """Raise `UserError` unless the entries are finite and whole numbers can be recovered from them exactly.

        Args:
            numbers: Numbers of this column in its own units, of any shape.
            entries: The standardised numbers, of the same shape.
            remedy: Advice on leaving out the column, for the error message.
        """
        finite = np.isfinite(entries)
        if not finite.all():
            raise UserError(
                f"a value must be within float32 once it is standardised; of {quoted(self.name)}, "
                f"{numbers[~finite][0]:g} is not, beside a spread of {self.sd:g}: drop its row, or {remedy}"
            )
        if not self.whole:
            return
        lost = np.rint(entries.astype(np.float64) * self.sd + self.mean) != numbers
        lost |= np.abs(numbers) >= MOST_WHOLE
        if lost.any():
            raise UserError(
                "whole numbers must be below 2^53, and so few apart that float32 keeps them, about 2^23 from their "
                f"mean; of {quoted(self.name)}, {numbers[lost][0]:.0f} is not, beside a mean of {self.mean:g}: write "
                f"it as floating-point numbers or in a larger unit, or {remedy}"
            )


@dataclass(frozen=True)
class Coding:
    """The columns of a sample, in order.

    Attributes:
        label: Name of the column that holds the class, or "". `columns` contains it only if `positive` is None.
        positive: The label's value if all rows are of one class, else None.
    """

    columns: tuple[Column, ...]
    label: str = ""
    positive: Value | None = None

    @property
    def width(self) -> int:
        """Number of entries of a table's sample, D."""
        return sum(column.width for column in self.columns)

    def check(self, sample_shape: tuple[int, ...]) -> None:
        """Raise `UserError` unless the columns fit samples of this shape, and are as a table or sequences have them."""
        sequences = len(sample_shape) == 2 and len(self.columns) == sample_shape[0] and not self.blocks
        if not sequences and sample_shape != (self.width,):
            raise UserError(
                f"a coding of {len(self.columns)} columns is of samples of shape ({self.width},), or of sequences with "
                f"as many channels; given the sample_shape {sample_shape}: take that of the data set"
            )

        for column in self.columns:
            if not (math.isfinite(column.mean) and 0 < column.sd < math.inf and _alike(column.values)):
                raise UserError(
                    "a column must have a finite mean and spread, or categories of one kind: text, numbers, or true "
                    f"and false; {quoted(column.name)} has others: take the coding of a data set"
                )
        if self.positive is not None and not _alike((self.positive,)):
            raise UserError("the class of all rows must be text, a number, or true or false: take that of a data set")
        if len(self.runs) > MOST_RUNS:
            raise UserError(
                f"columns of categories must form at most {MOST_RUNS:,} runs, in which all have the same number of "
                f"values; they form {len(self.runs):,}: order the columns of the data by their number of values"
            )

    @property
    def blocks(self) -> list[slice]:
        """Slice of each categorical column's entries in a sample."""
        return [where for column, where in self.placed() if column.values]

    @property
    def runs(self) -> list[tuple[slice, int]]:
        """Slice of each run of neighbouring categorical columns of equal width, and that width."""
        found: list[tuple[slice, int]] = []
        for block in self.blocks:
            width = block.stop - block.start
            start = block.start
            if found and found[-1][1] == width and found[-1][0].stop == start:
                start = found.pop()[0].start
            found.append((slice(start, block.stop), width))
        return found

    def as_stored(self, samples: Tensor) -> Tensor:
        """Return samples (N, ...) as they are after rows are written to a file and encoded again.

        Categorical entries become one-hot, and whole numbers are rounded.
        """
        from torch.nn.functional import one_hot

        stored = samples.clone()
        for column, where in self.placed():
            part = stored[:, where]
            if column.values:
                part.copy_(one_hot(part.argmax(1), len(column.values)))
            elif column.whole:
                # Round in float64: beside a large mean, float32 cannot represent single units.
                whole = part.double().mul_(column.sd).add_(column.mean).round_()
                part.copy_(whole.sub_(column.mean).div_(column.sd))
        return stored

    def decode(self, samples: Tensor) -> dict[str, list[Any]]:
        """Return the columns of samples (N, ...) by name: N values in their own units, or N lists of L numbers."""
        samples = samples.detach().cpu().double()
        found: dict[str, list[Any]] = {}
        for column, where in self.placed():
            part = samples[:, where]
            if column.values:
                found[column.name] = [column.values[index] for index in part.argmax(1).tolist()]
                continue
            numbers = (part * column.sd + column.mean).squeeze(1)
            if column.whole:  # int64 would give other numbers for those out of its range
                numbers = numbers.round().clamp(-MOST_WHOLE, MOST_WHOLE).long()
            found[column.name] = numbers.tolist()
        if self.positive is not None:
            found[self.label] = [self.positive] * len(samples)
        return found

    def placed(self) -> Iterator[tuple[Column, slice]]:
        """Yield each column with the slice of its entries in a sample."""
        start = 0
        for column in self.columns:
            yield column, slice(start, start + column.width)
            start += column.width

    def check_size(self, name: str) -> None:
        """Raise `UserError` if the names and categories of the data `name` are too long to be kept with each trial."""
        size = len(json.dumps(self.as_json()))
        if size > MOST_TEXT:
            longest = max(self.columns, key=lambda column: len(json.dumps([column.name, column.values])))
            raise UserError(
                f"the names and categories of all columns must take at most {MOST_TEXT:,} bytes as JSON; those of "
                f"{name} take {size:,}, most of them in {quoted(longest.name)}: leave that column out, or shorten its "
                "values"
            )

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Coding:
        columns = tuple(
            Column(
                name=str(column["name"]),
                mean=float(column["mean"]),
                sd=float(column["sd"]),
                whole=bool(column["whole"]),
                values=tuple(column["values"]),
            )
            for column in values["columns"]
        )
        return cls(columns, str(values["label"]), values["positive"])


def _alike(values: tuple[Value, ...]) -> bool:
    """Return whether all categories are of one type that a table has."""
    return {type(value) for value in values} in (set(), {str}, {int}, {float}, {bool})
