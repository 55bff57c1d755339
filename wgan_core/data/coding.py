"""Conversion of table columns to the numbers that a network sees, and back.

A table row is a sample (D,). A numeric column has one standardised entry. A column with point masses, or with missing
values, has one-hot entries beside it. A categorical column has one one-hot entry for each of its values. A constant
column has no entry. A row of sequences is a sample (C, L), with one numeric column for each channel.

Shapes: N rows.
"""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wgan_core.data.forms import PLAIN, Form
from wgan_core.errors import UserError, quoted

if TYPE_CHECKING:
    from torch import Tensor

Value = str | int | float | bool

# From 2^53 on, float64 does not distinguish all whole numbers.
MOST_WHOLE = 2.0**53
# Most bytes of a coding as JSON. It is part of sweep.json and of each checkpoint's JSON, which have at most 16 MiB.
MOST_TEXT = 12 << 20
# Scores that differ by less are the same in float32.
SAME_SCORE = 1e-6
# Least standard deviation. Below, float64 has subnormal numbers, which lose digits.
LEAST_SD = sys.float_info.min
# Most knots of a column, which are all its values if they repeat. Most masses: eight, and a missing value.
MOST_KNOTS, MOST_MASSES = 512, 9
# Largest normal score. A rank among 10^15 rows has one below 8.
MOST_SCORE = 10.0
# Most decimal places that are kept. float64 has about so many digits.
MOST_PLACES = 15
# Most runs of a generator's softmax. `torch.export` takes a tenth of a second for each.
MOST_RUNS = 1_000


@dataclass(frozen=True)
class Column:
    """One column of a table, or one channel of sequences.

    Attributes:
        mean, sd: Mean and standard deviation of a numeric column in the training split, in its own units; sd > 0.
        whole: Whether the numbers are whole. If so, `Coding.decode` rounds them.
        values: All categories in order, of which one may be None for a missing value; empty for a numeric column.
        masses: Values of a numeric column that many rows share, and None if values are missing. A one-hot code of
            1 + M entries follows the number: the first entry stands for any other value, the rest for the M masses.
        knots: Increasing numbers of the column, (K,), if its numbers are coded by their ranks; else empty.
        scores: The normal score of each knot, increasing, (K,). A number between two knots is interpolated.
        repeats: Whether only knots are decoded, because the column has few values that repeat.
        places: Number of decimal places of the numbers, to which they are rounded; None if they are not rounded.
        form: The form in which the numbers are written, such as dates.
    """

    name: str
    mean: float = 0.0
    sd: float = 1.0
    whole: bool = False
    values: tuple[Value | None, ...] = ()
    masses: tuple[float | None, ...] = ()
    knots: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    repeats: bool = False
    places: int | None = None
    form: Form = PLAIN

    @property
    def typical(self) -> str:
        """The mean, to a hundredth of the standard deviation: a value to show as an example."""
        return f"{round(self.mean, max(0, 2 - math.floor(math.log10(self.sd)))):.15g}"

    @property
    def is_number(self) -> bool:
        return not self.values

    @property
    def width(self) -> int:
        """Number of entries that the column takes in a sample."""
        if self.values:
            return len(self.values) if len(self.values) > 1 else 0
        return 2 + len(self.masses) if self.masses else 1

    @property
    def one_hot(self) -> slice:
        """The one-hot entries among the column's entries; empty if there are none."""
        return slice(0 if self.values else 1, self.width)

    def entries(self, numbers: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return the entries (N, width) of a numeric column, for its numbers (N,). NaN is a missing value."""
        found = np.zeros((len(numbers), self.width), np.float32)
        place = np.zeros(len(numbers), np.int64)
        for index, mass in enumerate(self.masses):
            place[np.isnan(numbers) if mass is None else numbers == mass] = index + 1
        if self.masses:
            found[np.arange(len(numbers)), 1 + place] = 1
        with np.errstate(over="ignore", invalid="ignore"):  # `check_kept` refuses infinite entries
            found[:, 0] = np.where(place == 0, self._scored(numbers), 0)
        return found

    def _scored(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.knots:
            return np.interp(numbers, self.knots, self.scores)
        return (numbers - self.mean) / self.sd

    def numbers(self, entries: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the numbers (N,) that the entries (N, width) of a numeric column stand for. NaN is a missing value."""
        found = self._read(entries[:, 0])
        if self.whole or self.places is not None:
            # Rounding may leave the range by half of the last place.
            with np.errstate(over="ignore"):
                rounded = found.round(0 if self.whole else self.places or 0)
            found = np.where(np.isinf(rounded), found, rounded)  # numbers near 1e308 have no decimal places
        if self.knots:
            found = found.clip(self.knots[0], self.knots[-1])
        found = self.form.rounded(found)
        if self.masses:
            held = np.array([math.nan, *(math.nan if mass is None else mass for mass in self.masses)])
            place = entries[:, self.one_hot].argmax(1)
            found = np.where(place == 0, found, held[place])
        return found

    def _read(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        if not self.knots:
            with np.errstate(over="ignore"):  # a generator's scores may be of any size
                return scores * self.sd + self.mean
        if self.repeats:
            between = (np.array(self.scores[1:]) + self.scores[:-1]) / 2
            return np.array(self.knots)[np.searchsorted(between, scores)]
        found = np.interp(scores, self.scores, self.knots)
        # float32 moves a score a little. A number on a knot stays there.
        above = np.searchsorted(self.scores, scores).clip(1, len(self.scores) - 1)
        for place in (above - 1, above):
            near = np.abs(np.array(self.scores)[place] - scores) < SAME_SCORE
            found = np.where(near, np.array(self.knots)[place], found)
        return found

    @property
    def is_rounded(self) -> bool:
        """True if the entries of generated numbers change when the numbers are written and read again."""
        return self.whole or self.places is not None or bool(self.knots or self.masses)

    def written(self, numbers: NDArray[np.float64], as_read: bool = False) -> list[Any]:
        """Return numbers (N,) as the values that a file has: whole, rounded, in the column's form; None if missing.

        If `as_read`, dates and the like stay numbers.
        """
        missing = np.isnan(numbers)
        kept = np.where(missing, 0, numbers)
        # int64 would give other numbers for those out of its range.
        found = (kept.clip(-MOST_WHOLE, MOST_WHOLE).astype(np.int64) if self.whole else kept).tolist()
        if not as_read:
            found = self.form.write(found, self.places or 0)
        return [None if gap else value for gap, value in zip(missing.tolist(), found, strict=True)]

    def categories_as_written(self) -> list[Any]:
        """Return the categories of a column of dates and the like as the values that a file has."""
        numbers = [None if value is None else float(value) for value in self.values]
        return [None if number is None else self.form.write([number], self.places or 0)[0] for number in numbers]

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Column:
        form = values.get("form") or {}
        places = values.get("places")
        return cls(
            name=str(values["name"]),
            mean=float(values["mean"]),
            sd=float(values["sd"]),
            whole=bool(values["whole"]),
            values=tuple(values["values"]),
            masses=tuple(None if each is None else float(each) for each in values.get("masses", ())),
            knots=tuple(map(float, values.get("knots", ()))),
            scores=tuple(map(float, values.get("scores", ()))),
            repeats=bool(values.get("repeats", False)),
            places=None if places is None else min(max(int(places), 0), MOST_PLACES),
            form=Form(
                str(form.get("kind", "")),
                str(form.get("prefix", "")),
                str(form.get("suffix", "")),
                bool(form.get("grouped", False)),
                str(form.get("decimal", ".")),
                bool(form.get("padded", True)),
            ),
        )

    def check(self) -> None:
        """Raise `UserError` unless the column is as one that `fitting` makes."""
        spread = math.isfinite(self.mean) and LEAST_SD <= self.sd < math.inf
        finite = all(math.isfinite(value) for value in self.values if isinstance(value, float))
        if not (spread and finite and _alike(self.values) and len(set(self.values)) == len(self.values)):
            raise UserError(
                "a column must have a finite mean and spread, or categories of one kind that differ: text, finite "
                f"numbers, or true and false; {quoted(self.name)} has others: take the coding of a data set"
            )
        if not self._has_ranks():
            raise UserError(
                f"ranks must have finite, increasing knots and scores, two to {MOST_KNOTS} of each, and at most "
                f"{MOST_MASSES} masses that differ; those of {quoted(self.name)} have not: take the coding of a data "
                "set"
            )
        self.form.check(self.name)
        if self.form.kind and not all(type(value) in (int, float) for value in self.values if value is not None):
            raise UserError(
                f"categories that are written as {self.form.said}s must be numbers; {quoted(self.name)} has others: "
                "take the coding of a data set"
            )

    def _has_ranks(self) -> bool:
        """Return whether masses are finite and differ, and knots and scores are finite, increasing and as many."""
        few = len(self.knots) <= MOST_KNOTS and len(self.masses) <= MOST_MASSES  # before each is looked at
        if not few or len(self.knots) != len(self.scores) or len(self.knots) == 1:
            return False
        rising = all(all(one < other for one, other in pairwise(each)) for each in (self.knots, self.scores))
        finite = all(math.isfinite(each) for each in (*self.knots, *self.masses) if each is not None)
        near = all(abs(score) <= MOST_SCORE for score in self.scores)
        wide = not self.knots or math.isfinite(self.knots[-1] - self.knots[0])  # else interpolation gives NaN
        return rising and finite and near and wide and len(set(self.masses)) == len(self.masses)

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
        known = ~np.isnan(numbers)
        numbers, entries = numbers[known], entries[known]
        lost = np.abs(numbers) >= MOST_WHOLE
        if not self.knots:  # ranks keep the order of numbers, and no last digit
            lost |= np.rint(entries.astype(np.float64) * self.sd + self.mean) != numbers
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
            column.check()
        self.check_names()
        if self.positive is not None and not _alike((self.positive,)):
            raise UserError("the class of all rows must be text, a number, or true or false: take that of a data set")
        if len(self.runs) > MOST_RUNS:
            raise UserError(
                f"columns of categories must form at most {MOST_RUNS:,} runs, in which all have the same number of "
                f"values; they form {len(self.runs):,}: order the columns of the data by their number of values"
            )

    def check_names(self, others: Coding | None = None) -> None:
        """Raise `UserError` if two columns, of this coding or of `others` beside it, have the same name."""
        columns = (*self.columns, *(others.columns if others else ()))
        names = Counter(column.name for column in columns)
        names.update([self.label] if self.positive is not None else [])
        name, count = max(names.items(), key=lambda each: each[1], default=("", 0))
        if count > 1:
            raise UserError(
                f"each column of a coding must have a name of its own; {quoted(name)} is there twice: take the coding "
                "of a data set"
            )

    @property
    def blocks(self) -> list[slice]:
        """Slice of each one-hot code in a sample: of categories, and of point masses."""
        return [
            slice(where.start + column.one_hot.start, where.stop)
            for column, where in self.placed()
            if column.width > column.one_hot.start
        ]

    @property
    def runs(self) -> list[tuple[slice, int]]:
        """Slice of each run of neighbouring one-hot codes of equal width, and that width."""
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

        One-hot codes become exact, and numbers are rounded. The number beside a point mass or a missing value is 0.
        """
        from torch import from_numpy
        from torch.nn.functional import one_hot

        stored = samples.clone()
        for column, where in self.placed():
            part = stored[:, where]
            if column.values:
                part.copy_(one_hot(part.argmax(1), len(column.values)) if column.width else part)
            elif column.is_rounded:
                # Round in float64: beside a large mean, float32 cannot represent single units.
                given = part.double().cpu().numpy()
                numbers = column.numbers(given.swapaxes(1, -1).reshape(-1, column.width))
                coded = column.entries(numbers).reshape(given.swapaxes(1, -1).shape).swapaxes(1, -1)
                part.copy_(from_numpy(np.ascontiguousarray(coded)))
        return stored

    def decode(self, samples: Tensor, as_read: bool = False) -> dict[str, list[Any]]:
        """Return the columns of samples (N, ...) by name: N values in their own units, or N lists of L numbers.

        Args:
            samples: Generated or real samples.
            as_read: Whether to leave dates and the like as the numbers that they are coded by.
        """
        samples = samples.detach().cpu().double()
        found: dict[str, list[Any]] = {}
        for column, where in self.placed():
            part = samples[:, where]
            if column.values:
                chosen = part.argmax(1).tolist() if column.width else [0] * len(samples)
                values = list(column.values) if as_read or not column.form.kind else column.categories_as_written()
                found[column.name] = [values[index] for index in chosen]
                continue
            given = part.numpy()
            sequence = given.ndim == 3
            numbers = column.numbers(given.swapaxes(1, -1).reshape(-1, column.width))
            written = column.written(numbers, as_read)
            length = given.shape[-1]
            found[column.name] = (
                [written[start : start + length] for start in range(0, len(written), length)] if sequence else written
            )
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
        columns = tuple(map(Column.from_json, values["columns"]))
        return cls(columns, str(values["label"]), values["positive"])


def _alike(values: tuple[Value | None, ...]) -> bool:
    """Return whether all categories are of one type that a table has, except None for a missing value."""
    return {type(value) for value in values if value is not None} in (set(), {str}, {int}, {float}, {bool})
