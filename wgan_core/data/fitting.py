"""Codings of a table's columns, computed from its training rows.

The coding "standard" subtracts a column's mean and divides by its standard deviation. The coding "ranks" replaces a
number by the normal score of its rank, so that each column is about normal whatever its distribution. Values that many
rows share, such as zeros, become point masses: entries of a one-hot code beside the number.

Shapes: N rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

from wgan_core.data.coding import LEAST_SD, MOST_KNOTS, MOST_RUNS, Coding, Column, Value
from wgan_core.data.columns import ColumnReading
from wgan_core.data.limits import CATEGORIES
from wgan_core.errors import UserError, as_argument, quoted

CodingName = Literal["ranks", "standard"]
CODINGS: tuple[CodingName, ...] = ("ranks", "standard")
# A value is a point mass if it has this share of the rows, and so many times the rows of a usual value.
MASS_SHARE, MASS_TIMES = 0.05, 5
# Most masses of a column.
MASSES = 8
# Most knots of a column, and of all columns together, because each checkpoint's JSON has them all.
KNOTS, ALL_KNOTS, LEAST_KNOTS = 129, 100_000, 17
# Most values of a column that repeat, and the rows that each must have on average.
REPEATED, ROWS_EACH = MOST_KNOTS, 5
# Decimal places of a score. Neighbouring ranks of a million rows differ by more.
SCORE_PLACES = 7

Numbers = NDArray[np.float64]


class Label(NamedTuple):
    """The column that tells classes apart, or "", and its value if all rows are of one class."""

    name: str = ""
    positive: Value | None = None


def fit(
    splits: Mapping[str, pa.Table],
    readings: Mapping[str, ColumnReading],
    label: Label = Label(),  # noqa: B008 - a tuple
    coding: CodingName = "standard",
    standard: Sequence[str] = (),
) -> Coding:
    """Compute the coding of a table's columns.

    Statistics come from the training rows. Categories come from all rows, so that none is unknown.

    Args:
        splits: The rows of each split, as `tables.interpreted` gives them. `train` is one of the splits.
        readings: The readings of the columns, by name.
        label: The column of the class.
        coding: The coding of numbers.
        standard: Columns that are coded by mean and standard deviation in any case.

    Raises:
        UserError: All columns are constant, or a column varies too much for float64.
    """
    names, by_spread = splits["train"].column_names, {*standard}
    numeric = [name for name in names if readings[name].role == "number" and name not in by_spread]
    knots = min(KNOTS, ALL_KNOTS // max(len(numeric), 1))
    ranked = set(numeric) if coding == "ranks" and knots >= LEAST_KNOTS else set()
    # Each column with masses is a run of its own, and a coding has few runs.
    masses = MASSES if len(numeric) <= MOST_RUNS // 2 else 0
    columns = []
    for name in names:
        whole = pa.chunked_array(
            [chunk for rows in splits.values() for chunk in rows[name].chunks], readings[name].values.type
        )
        if readings[name].role == "number" and pc.count_distinct(whole).as_py() + bool(whole.null_count) > 1:
            most = knots if name in ranked else 0
            columns.append(_number(readings[name], splits["train"][name], whole, most, masses))
        else:
            columns.append(_categories(readings[name], whole, label))
    found = Coding(tuple(columns), label.name, label.positive)
    if not found.width:
        raise UserError(
            f"a table must have a column whose values differ; all {len(names)} columns are constant: add some, or drop "
            "fewer"
        )
    return found


def _categories(reading: ColumnReading, whole: pa.ChunkedArray, label: Label) -> Column:
    values = in_order(distinct(whole, reading.name, label.name)[1])
    return Column(reading.name, values=values, places=reading.places, form=reading.form)


def in_order(values: Sequence[Any]) -> tuple[Value | None, ...]:
    """Return categories sorted, with None for a missing value at the end."""
    there = sorted(value for value in values if value is not None)
    return (*there, *([None] if len(there) < len(values) else []))


def _number(
    reading: ColumnReading, train: pa.ChunkedArray, whole: pa.ChunkedArray, knots: int, most_masses: int
) -> Column:
    """Code a column of numbers.

    Args:
        reading: The column.
        train: Its training rows.
        whole: All of its rows.
        knots: Most knots of ranks; 0 for a coding by mean and standard deviation.
        most_masses: Most point masses of ranks, beside missing values.
    """
    numbers = numbers_of(train)
    numbers = numbers[~np.isnan(numbers)]
    if len(np.unique(numbers)) < 2:  # the training rows have too few values to tell the column's spread
        numbers = numbers_of(whole)
        numbers = numbers[~np.isnan(numbers)]
    masses: list[float | None] = [None] if whole.null_count else []
    written: dict[str, Any] = {
        "whole": types.is_integer(whole.type), "places": reading.places, "form": reading.form,
    }  # fmt: skip
    if knots:
        values, counts = np.unique(numbers, return_counts=True)
        common = np.argsort(-counts, kind="stable")[:most_masses]
        common = common[counts[common] >= max(MASS_SHARE * len(train), MASS_TIMES * np.median(counts))]
        masses = [*values[np.sort(common)].tolist(), *masses]
        numbers = numbers[~np.isin(numbers, values[common])]
    if masses and numbers.min() == numbers.max():  # each row of a class has one value, or none
        return Column(reading.name, float(numbers[0]), masses=tuple(masses), **written)
    mean, sd = _spread(reading.name, numbers)
    if knots:
        found, scores, repeats = ranked(numbers, knots)
        return Column(reading.name, masses=tuple(masses), knots=found, scores=scores, repeats=repeats, **written)
    return Column(reading.name, mean, sd, masses=tuple(masses), **written)


def _spread(name: str, numbers: Numbers) -> tuple[float, float]:
    """Return mean and standard deviation. Raise `UserError` if float64 cannot hold them."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        mean, sd = float(numbers.mean()), float(numbers.std())
    if not (np.isfinite(mean) and LEAST_SD <= sd < np.inf):
        raise UserError(
            f"the spread of a column must be a number of double precision; that of {quoted(name)}, {numbers.min()} to "
            f"{numbers.max()}, is not: change its unit, or leave it out by --drop {as_argument([name])}"
        )
    return mean, sd


def ranked(numbers: Numbers, most: int) -> tuple[tuple[float, ...], tuple[float, ...], bool]:
    """Return knots of the numbers' distribution, the normal score of each, and whether the knots are all the values.

    The score of a value is the normal quantile of its middle rank, divided by the number of rows.

    Args:
        numbers: At least two different numbers, (N,).
        most: Most knots of a column whose values do not repeat.
    """
    normal = NormalDist()
    values, counts = np.unique(numbers, return_counts=True)
    ranks = (np.cumsum(counts) - counts / 2) / len(numbers)
    repeats = len(values) <= min(REPEATED, len(numbers) // ROWS_EACH)
    if not repeats and len(values) > most:
        first, last = (normal.inv_cdf(float(ranks[place])) for place in (0, -1))
        wanted = [normal.cdf(each) for each in np.linspace(first, last, most).tolist()]
        chosen = np.unique([0, *np.searchsorted(ranks, wanted[1:-1]), len(values) - 1])
        values, ranks = values[chosen], ranks[chosen]
    scores = [round(normal.inv_cdf(float(rank)), SCORE_PLACES) for rank in ranks]
    return tuple(values.tolist()), tuple(scores), repeats


def numbers_of(column: pa.ChunkedArray) -> Numbers:
    """Return a column's numbers in float64, with NaN for a missing value."""
    # The unsafe cast rounds whole numbers above 2^53; `Column.check_kept` refuses them.
    found: Numbers = column.cast(pa.float64(), safe=False).to_numpy()
    return found


def distinct(column: pa.ChunkedArray, name: str, label: str = "") -> tuple[NDArray[np.int64], list[Any]]:
    """Number the distinct values of a column of categories.

    Args:
        column: The column.
        name: Its name, for the error message.
        label: The name of the column that holds the class, or "".

    Returns:
        The index of each row's value, (N,), and the distinct values in the order of their first appearance.

    Raises:
        UserError: The column has more than `CATEGORIES` values.
    """
    given = types.is_dictionary(column.type)
    # Arrow makes one dictionary for all chunks, with the values in the order of their first appearance.
    chunks = (column.unify_dictionaries() if given else column.dictionary_encode("encode")).chunks
    entries = chunks[0].dictionary if chunks else pa.array([], pa.null())
    if given:
        entries = pa.concat_arrays([entries, pa.nulls(1, entries.type)])
    indices = (chunk.indices.fill_null(len(entries) - 1) if given else chunk.indices for chunk in chunks)
    codes = np.concatenate([np.empty(0, np.int64), *(each.to_numpy(False) for each in indices)], dtype=np.int64)
    if given:  # a dictionary has values that no row of a split has
        used, first, codes = np.unique(codes, return_index=True, return_inverse=True)
        order = np.argsort(first)
        codes, entries = np.argsort(order)[codes], entries.take(pa.array(used[order]))
    # One more than too many, as Arrow tells 0.0 from -0.0. A value takes ten times the memory in Python.
    found = entries.slice(0, CATEGORIES + 2).to_pylist()
    # Merge values that are equal in Python and not in Arrow, such as 0.0 and -0.0.
    places: dict[Any, int] = {}
    merged = np.array([places.setdefault(value, len(places)) for value in found], dtype=np.int64)
    if len(places) > CATEGORIES:
        raise UserError(
            f"a column of categories must have at most {CATEGORIES:,} values, each of which is an input of the "
            f"networks; {quoted(name)} has {len(entries):,}, as a column of names or numbers of rows has: "
            f"{leave_out(name, label)}"
        )
    return (codes if len(places) == len(found) else merged[codes]), list(places)


def leave_out(name: str, label: str | None = None) -> str:
    """Return the advice on leaving out a column in an error message. The label needs more than `--drop`."""
    if name == label:
        return f"name another --label, or give --drop {as_argument([name])} in place of --label and --positive-class"
    return f"leave the column out by --drop {as_argument([name])}"


def encode(rows: pa.Table, coding: Coding, where: str) -> NDArray[np.float32]:
    """Encode rows as samples (N, D).

    Args:
        rows: A table with the coding's columns, in any order, as `tables.interpreted` gives them.
        coding: The coding of the columns.
        where: The words for the rows in an error message.

    Raises:
        UserError: A category is not in the coding.
    """
    samples = np.zeros((len(rows), coding.width), np.float32)
    for column, at in coding.placed():
        if column.is_number:
            samples[:, at] = column.entries(numbers_of(rows[column.name]))
        elif column.width:
            places = _places(rows[column.name], column, coding.label, where)
            samples[np.arange(len(rows)), at.start + places] = 1
    return samples


def _places(column: pa.ChunkedArray, known: Column, label: str, where: str) -> NDArray[np.int64]:
    """Return the index of each row's category among the known ones, (N,). Raise `UserError` for an unknown one."""
    index = {value: position for position, value in enumerate(known.values)}
    codes, values = distinct(column, known.name, label)
    unseen = next((value for value in values if value not in index), None)
    if unseen is not None or (None in values and None not in index):
        raise UserError(
            f"each category must be known; of {quoted(known.name)}, {where} has "
            f"{quoted(unseen) if isinstance(unseen, str) else repr(unseen)}, which is not: "
            f"{leave_out(known.name, label)}"
        )
    return np.array([index[value] for value in values], dtype=np.int64)[codes]
