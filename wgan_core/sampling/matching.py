"""Rows of a trained generator that have asked-for values.

The rows are drawn as always, and those that match are kept. So they follow the generator's own distribution, given the
values. Nothing is trained or adapted.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wgan_core.data.coding import Coding, Column
from wgan_core.errors import UserError, listed, quoted, shortened
from wgan_core.sampling.generator import AT_ONCE, drawer
from wgan_core.training.checkpoint import Checkpoint

BETWEEN = ".."
"""Sign between the ends of a range, as in 30..40."""

# Most draws of a call, and most for each row that is asked for. A row that is rarer is not found.
MOST_DRAWS, DRAWS_EACH = 1_000_000, 1_000
# Standard deviations by which chance may have made the matches too few when the search is given up early.
CHANCE = 5.0
# Names that an error shows beside a wrong one, and the characters of each that are compared.
NEAR, COMPARED = 3, 80

Matches = Callable[[NDArray[np.float64]], NDArray[np.bool_]]


@dataclass(frozen=True)
class RowFilter:
    """A test of generated rows for asked-for values.

    Attributes:
        tests: The slice of a column's entries in a sample, and a test of these entries, for each asked-for column.
        said: The asked-for values, for messages.
    """

    tests: tuple[tuple[slice, Matches], ...]
    said: str

    @classmethod
    def of(cls, coding: Coding, where: Mapping[str, Any]) -> RowFilter:
        """Return the test for values by column.

        Args:
            coding: The columns of a table.
            where: A value is a category, a number, a date or the like, or text as a file writes it. A range is text
                such as 30..40, or a pair; both ends belong to it, and either may be left out. Empty text, or None,
                stands for a missing value.

        Raises:
            UserError: There is no such column, category or missing value, or a number is none.
        """
        known = {column.name: (column, place) for column, place in coding.placed()}
        if coding.positive is not None:
            known[coding.label] = Column(coding.label, values=(coding.positive,)), slice(0, 0)
        tests = []
        for name, value in where.items():
            if name not in known:
                raise UserError(
                    f"--where must name columns that the generator learnt; given {quoted(name)}; {_near(name, known)}: "
                    "name one of those"
                )
            column, place = known[name]
            tests.append((place, _matches(column, value)))
        return cls(tuple(tests), ", ".join(f"{shortened(name, 80)}={_shown(value)}" for name, value in where.items()))

    def __call__(self, samples: Tensor) -> Tensor:
        """Return for each sample (N, D) whether its row matches, (N,)."""
        kept = np.ones(len(samples), bool)
        for place, matches in self.tests:
            kept &= matches(samples[:, place].cpu().double().numpy())
        return torch.from_numpy(kept)


def matching_samples(
    checkpoint: Checkpoint, rows: RowFilter, count: int, seed: int, told: Callable[[int, int], None] | None = None
) -> Tensor:
    """Return the first `count` samples (count, D) of the averaged generator whose rows match.

    The same seed gives the same rows, and a larger count gives the same rows and more. At most `MOST_DRAWS` rows are
    drawn, or `DRAWS_EACH` for each asked-for row if that is more.

    Args:
        checkpoint: A generator that takes neither classes nor conditions.
        rows: The test of rows.
        count: Number of rows.
        seed: Seed of the generator's noise.
        told: Called after each batch with the numbers of rows that were drawn and found.

    Raises:
        UserError: The rows that match are too rare, or samples do not fit in memory.
    """
    draw = drawer(checkpoint, max(count, AT_ONCE), seed)
    most = max(MOST_DRAWS, DRAWS_EACH * count)
    found: list[Tensor] = []
    drawn = matched = 0
    while matched < count:
        samples = draw(AT_ONCE)
        found.append(samples[rows(samples)])
        drawn, matched = drawn + AT_ONCE, matched + len(found[-1])
        if told is not None:
            told(drawn, min(matched, count))
        # So many matches are likely at most if all draws are made.
        likely = (matched + CHANCE * math.sqrt(matched + CHANCE)) * most / drawn
        if matched < count and (drawn >= most or likely < count):
            fewer = f"ask for at most {matched:,} rows, " if matched else ""
            raise UserError(
                f"rows that match must not be too rare; {matched:,} of {drawn:,} that were drawn match {rows.said}, "
                f"too few for {count:,} among {most:,} draws: {fewer}widen a range, or leave a column out of --where"
            )
    return torch.cat(found)[:count]


def _near(name: str, known: Mapping[str, object]) -> str:
    """Return words for the known names that are nearest to one that is unknown."""
    short = {each[:COMPARED].casefold(): each for each in known}
    near = [short[each] for each in get_close_matches(name[:COMPARED].casefold(), short, NEAR, cutoff=0.5)]
    return f"the nearest known ones are {listed(near)}" if near else f"known ones are {listed(known)}"


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return BETWEEN.join("" if each is None else shortened(str(each), 80) for each in value)
    return "" if value is None else shortened(str(value), 80)


def _matches(column: Column, value: Any) -> Matches:
    """Return a test of the entries (N, width) of a column for a value or a range."""
    if column.values:
        chosen = np.array(_categories(column, value))
        return lambda entries: (
            np.isin(entries.argmax(1), chosen) if column.width else np.full(len(entries), len(chosen) > 0)
        )
    if value is None or value == "":
        if None not in column.masses:
            raise UserError(
                f"--where asks for missing values of columns that have some; {quoted(column.name)} had none in "
                "training: give a number or a range"
            )
        return lambda entries: np.isnan(column.numbers(entries))
    low, high = _ends(column, value)

    def within(entries: NDArray[np.float64]) -> NDArray[np.bool_]:
        numbers = column.numbers(entries)
        return np.asarray((numbers >= low) & (numbers <= high))

    return within


def _categories(column: Column, value: Any) -> list[int]:
    """Return the places of the categories that a value or a range names. Raise `UserError` if there are none."""
    texts = [_as_text(each) for each in (column.categories_as_written() if column.form.kind else column.values)]
    given = _as_text(value)
    if any(isinstance(each, bool) for each in column.values):
        given = given.lower()
    found = [place for place, text in enumerate(texts) if text == given and not isinstance(value, tuple)]
    numbers = [math.nan if each is None else each for each in column.values if not isinstance(each, str | bool)]
    if not found and given and len(numbers) == len(texts):
        low, high = _ends(column, value)
        found = [place for place, each in enumerate(numbers) if low <= each <= high]
    if not found:
        what = f"{given[:COMPARED]!r}" if given else "a missing value"
        raise UserError(
            f"--where must name values that columns had in training; given {what} for {quoted(column.name)}; "
            f"{_near(given, dict.fromkeys(texts))}: name one of those"
        )
    return found


def _as_text(value: Any) -> str:
    """Return a value as a file writes it."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)


def _ends(column: Column, value: Any) -> tuple[float, float]:
    """Return both ends of a range of numbers. Those of one number are equal."""
    ends = value
    if isinstance(value, str) and BETWEEN in value:
        ends = tuple(end.strip() for end in value.split(BETWEEN, 1))
    if not isinstance(ends, tuple):
        ends = (ends, ends)
    low, high = 1.0, 0.0
    with suppress(ValueError, TypeError, OverflowError):
        low, high = (
            bound if each is None or each == "" else _number(column, each)
            for each, bound in zip(ends, (-math.inf, math.inf), strict=True)
        )
    if not low <= high:
        form = column.form.said or "number"
        middle = column.knots[len(column.knots) // 2] if column.knots else column.mean
        example = column.form.write([middle], column.places or 0)[0] if column.form.kind else f"{middle:.4g}"
        raise UserError(
            f"--where must give {quoted(column.name)} a {form}, or a range with the lower end first; given "
            f"{_shown(value)!r}: write {shortened(str(example), 80)}, or {shortened(str(example), 80)}{BETWEEN}"
        )
    return low, high


def _number(column: Column, value: Any) -> float:
    """Return the number that a value stands for in the units of a column. Raise `ValueError` if it is none."""
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        found = float(value)
    elif isinstance(value, datetime.timedelta):
        found = value.total_seconds()
    else:
        found = column.form.read(str(value))
    if math.isnan(found):
        raise ValueError
    return found
