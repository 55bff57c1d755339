"""Tables of numbers, dates and categories, from Parquet files, CSV files or scikit-learn.

Shapes: N rows, D entries of a sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from wgan_core.data.coding import Coding, Value
from wgan_core.data.columns import ColumnReading, read_column
from wgan_core.data.copies import Rows, copies_notice, first_equal_row, without_chance
from wgan_core.data.csv_file import CsvTable, is_csv, read_csv
from wgan_core.data.dataset import Dataset, Split
from wgan_core.data.fitting import CODINGS, CodingName, Label, distinct, encode, fit, in_order, leave_out, numbers_of
from wgan_core.data.limits import COLUMNS, Memory
from wgan_core.data.splits import allot, check_rows, find_files, read_table, sound
from wgan_core.errors import UserError, as_argument, listed, one_line, quoted, shortened

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".parquet", ".csv")
# Names for the tables of scikit-learn, and the column name of each table's target.
BUNDLED = {"breast-cancer": "diagnosis", "wine": "cultivar", "iris": "species", "diabetes": "progression"}
# Most columns or values that an error message lists.
SHOWN = 10


@dataclass(frozen=True)
class Table:
    """A table as it was read.

    Attributes:
        name: The name of the data set.
        origin: The path or name of the source, for error messages.
        parts: The rows of each split, or of `all` if the source names no splits.
        memory: The memory account of the files; None for a table of scikit-learn.
        typed: Whether the source tells text from numbers, as Parquet does and CSV does not.
        decimal: The decimal sign of numbers in text.
        written: Words for how the source is written, such as its separator, if that is unusual.
    """

    name: str
    origin: str
    parts: Mapping[str, pa.Table]
    memory: Memory | None = None
    typed: bool = True
    decimal: str = "."
    written: str = ""

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return next(iter(self.parts.values())).column_names


@dataclass(frozen=True)
class Asked:
    """A request for a table. The fields are arguments of `load_table`."""

    label: str | None = None
    positive: str | None = None
    categorical: Sequence[str] = ()
    numeric: Sequence[str] = ()
    drop: Sequence[str] = ()
    drop_text: bool = False
    condition: Sequence[str] = ()
    coding: CodingName = "ranks"

    def check(self, table: Table) -> None:
        """Raise `UserError` unless all names are columns of the table, and the options agree with each other."""
        label = [] if self.label is None else [self.label]
        options = {
            "--label": label,
            "--categorical": self.categorical,
            "--numeric": self.numeric,
            "--drop": self.drop,
            "--condition": self.condition,
        }
        known = {*table.columns}
        for option, names in options.items():
            for name in names:
                if name not in known:
                    raise UserError(
                        f"{option} must name columns of {table.origin}, which has {listed(table.columns, SHOWN)}; "
                        f"given {name!r}: check the name"
                    )
        if self.coding not in CODINGS:
            raise UserError(f"--coding must be {' or '.join(CODINGS)}; given {self.coding!r}: take one of those")
        if self.label is not None and self.label in self.drop:
            raise UserError(f"the label must stay in the table; --drop has {label[0]!r} too: name it in one of the two")
        dropped = {*self.drop}
        for name in self.condition:
            if name in dropped:
                raise UserError(
                    f"a condition must stay in the table; --drop has {name!r} too: name it in one of the two"
                )
        both = sorted({*self.categorical, *label} & {*self.numeric, *self.condition})
        if both:
            raise UserError(
                f"a column must be one of numbers or of categories; {quoted(both[0])} is named as both: name it once"
            )
        if not known - dropped:
            raise UserError(f"a table must have columns; --drop leaves {table.origin} none: drop fewer")

    def kinds(self) -> dict[str, str]:
        """Return the kinds of columns that the user asks for, by name, as `read_column` takes them."""
        numbers = dict.fromkeys((*self.numeric, *self.condition), "numbers")
        categorical = [*self.categorical, *([] if self.label is None else [self.label])]
        return {**numbers, **dict.fromkeys(categorical, "categories")}


@dataclass(frozen=True)
class Interpreted:
    """A table whose columns have been read.

    Attributes:
        table: The rows that are learnt, with columns of types that `ColumnReading.values` lists.
        readings: The readings of all columns, in the file's order.
    """

    table: Table
    readings: Sequence[ColumnReading]

    @cached_property
    def by_name(self) -> Mapping[str, ColumnReading]:
        return {each.name: each for each in self.readings}

    @property
    def notice(self) -> str:
        """The sentence about columns that are not learnt; "" if there are none."""
        told = [f"{quoted(each.name)} ({each.said})" for each in self.readings if each.role == "left out"]
        constant = [quoted(each.name) for each in self.readings if each.role == "constant"]
        said = [f"left out: {listed(told, SHOWN)}"] if told else []
        said += [f"constant, and written back: {listed(constant, SHOWN)}"] if constant else []
        return "; ".join(said)


def load_table(
    path_or_name: str | Path | pd.DataFrame,
    label: str | None = None,
    positive: str | None = None,
    categorical: Sequence[str] = (),
    drop: Sequence[str] = (),
    condition: Sequence[str] = (),
    numeric: Sequence[str] = (),
    drop_text: bool = False,
    coding: CodingName = "ranks",
) -> Dataset:
    """Load a table, with its rows as samples, float32 (N, D).

    `columns` describes how the type of a column is found, `fitting` how its values are coded, and `split_rows` the
    splits. Missing values are coded, so that generated rows have missing values too.

    Args:
        path_or_name: A name of `BUNDLED`, or a Parquet or CSV file, or a folder of such files, or a frame of pandas.
            The index of a frame is left out.
        label: The column that holds the class of each row.
        positive: A value of `label`, as text. If given, the rows of other classes and the label column are removed
            after the splits are made.
        categorical: Columns to treat as categorical whatever their type.
        drop: Columns to leave out.
        condition: Numeric columns that are conditions, float32 (N, K), and no part of the samples. They are
            standardised, and no value may be missing.
        numeric: Columns of numbers that would be read as categories or identifiers.
        drop_text: Whether to leave out columns of free text, which are refused otherwise.
        coding: The coding of numbers: "ranks", or "standard" for mean and standard deviation.

    Raises:
        UserError: The files cannot be read, lack a named column or value, or exceed `wgan_core.data.limits`. A column
            is nested, free text, or mixes numbers with other text. The label or a condition has missing values. Whole
            numbers are too large for float32. A split has too few rows.
    """
    if positive is not None and label is None:
        raise UserError(
            f"--positive-class needs --label, the column that it is a value of; given {positive!r} alone: name the "
            "column by --label too, or leave both out to learn all rows"
        )
    asked = Asked(label, positive, categorical, numeric, drop, drop_text, condition, coding)
    path = path_or_name if isinstance(path_or_name, (str, Path)) else "frame"
    with sound(path):
        table = read(path_or_name) if isinstance(path_or_name, (str, Path)) else _of_frame(path_or_name)
        whole = _loaded(interpreted(table, asked), asked)
    return _conditioned(whole, condition) if condition else whole


def _conditioned(whole: Dataset, condition: Sequence[str]) -> Dataset:
    """Move columns of numbers from the samples of a table to their conditions, in the order of the names."""
    assert whole.coding is not None
    placed = {column.name: (column, at.start) for column, at in whole.coding.placed()}
    columns, places = zip(*(placed[name] for name in dict.fromkeys(condition)), strict=True)
    others = np.setdiff1d(np.arange(whole.coding.width), places)
    train, validation, test = (
        Split(*(np.ascontiguousarray(split.values[:, at]) for at in (others, places)))
        for split in (whole.train, whole.validation, whole.test)
    )
    apart = {*condition}
    left = tuple(column for column in whole.coding.columns if column.name not in apart)
    coding = replace(whole.coding, columns=left)
    return replace(Dataset.of(whole.name, train, validation, test, coding, whole.notice), conditions=Coding(columns))


@dataclass(frozen=True)
class Coded:
    """The splits of an interpreted table, and the coding of its columns.

    Attributes:
        splits: The rows of each split.
        coding: The coding of the columns.
        copies: The sentence about rows that are copies; "" if there are none.
    """

    splits: Mapping[str, pa.Table]
    coding: Coding
    copies: str


def coded(found: Interpreted, asked: Asked) -> Coded:
    """Split an interpreted table, and fit the coding. Raise `UserError` for too few rows or too much memory."""
    table = found.table
    if table.memory is not None:
        # The splits are copies. Indices, classes, copies and splits take up to sixteen 8-byte numbers a row.
        copied = sum(part.nbytes + 128 * len(part) for part in table.parts.values())
        table.memory.take(copied, f"the splits of {table.origin}")
    splits, copies = _split(found, asked.label)
    check_rows({name: len(rows) for name, rows in splits.items()}, table.origin, notice=copies)
    coding = fit(splits, found.by_name, Label(asked.label or ""), asked.coding, asked.condition)
    _check_width(table, coding)
    return Coded(splits, coding, copies)


def _loaded(found: Interpreted, asked: Asked) -> Dataset:
    table, label, positive = found.table, asked.label, asked.positive
    if positive is not None and table.columns == [label]:
        raise UserError(
            f"rows of one class must have columns besides {label!r}; {table.origin} has none left: add some, or drop "
            "fewer"
        )
    known = coded(found, asked)
    splits, coding = known.splits, known.coding
    notice = "; ".join(filter(None, (found.notice, known.copies)))
    value = None if label is None or positive is None else _value(splits["train"][label], label, positive)
    if label is None or value is None:
        return _dataset(table.name, splits, coding, notice)
    # Classifiers will train on these rows together with the other classes, so check the rows of all classes.
    _dataset(table.name, splits, coding)
    only = {name: of_class(rows, label, value) for name, rows in splits.items()}
    check_rows({name: len(rows) for name, rows in only.items()}, table.origin, f"rows whose {label} is {positive}")
    coding = fit(only, found.by_name, Label(label, value), asked.coding, asked.condition)
    return _dataset(f"{table.name} {label}={positive}", only, coding, notice)


def read_columns(table: Table, asked: Asked) -> list[ColumnReading]:
    """Find the types of a table's columns, without those of `--drop`.

    Raises:
        UserError: The table lacks a named column.
    """
    asked.check(table)
    whole = pa.concat_tables(table.parts.values())
    kinds, dropped = asked.kinds(), {*asked.drop}
    readings = [
        read_column(name, column, kinds.get(name, ""), table.decimal, table.typed)
        for name, column in zip(whole.column_names, whole.columns, strict=True)
        if name not in dropped
    ]
    if asked.drop_text:
        readings = [
            replace(each, role="left out", remedy="") if each.is_free and each.name != asked.label else each
            for each in readings
        ]
    return readings


def interpreted(table: Table, asked: Asked, readings: Sequence[ColumnReading] | None = None) -> Interpreted:
    """Find the types of a table's columns, and convert their values.

    Args:
        table: The table.
        asked: What the user asks of it.
        readings: The result of `read_columns`, if it is known.

    Raises:
        UserError: A named column is missing, or columns cannot be learnt. The message names all of these columns.
    """
    readings = read_columns(table, asked) if readings is None else readings
    conditions = {*asked.condition}
    for each in readings:
        _check_condition(each, asked, table) if each.name in conditions else None
    _check_refused(table, [each for each in readings if each.role == "refused"], asked)
    for each in readings:
        _check_label(each, asked, table) if each.name == asked.label else None
    kept = [each for each in readings if each.role != "left out"]
    if not {each.name for each in kept} - conditions:
        raise UserError(
            f"a table must have columns to learn; {table.origin} has only {listed(map(_described, readings))}: name "
            "columns of numbers by --numeric, or drop fewer"
        )
    learnt = pa.table({each.name: each.values for each in kept})
    parts, start = {}, 0
    for part, rows in table.parts.items():
        parts[part] = learnt.slice(start, len(rows))
        start += len(rows)
    return Interpreted(replace(table, parts=parts), readings)


def _described(reading: ColumnReading) -> str:
    return f"{quoted(reading.name)} ({reading.said})"


def _check_refused(table: Table, refused: Sequence[ColumnReading], asked: Asked) -> None:
    if not refused:
        return
    told = listed((f"{quoted(each.name)} is {each.said}, {each.remedy}" for each in refused), SHOWN)
    if asked.label in {each.name for each in refused}:
        remedy = leave_out(asked.label or "", asked.label)
    else:
        remedy = f"leave out by --drop {as_argument([*asked.drop, *(each.name for each in refused)])}"
    raise UserError(
        f"each column must be numbers, dates, true and false, or categories; of {table.origin}, {told}: or {remedy}"
    )


def _check_label(reading: ColumnReading, asked: Asked, table: Table) -> None:
    label = reading.name
    if reading.role == "constant":
        raise UserError(
            f"a label must have more than one value; {quoted(label)} is {reading.said}: {leave_out(label, label)}"
        )
    if reading.form.kind or pa.types.is_floating(reading.values.type):
        raise UserError(
            f"--label must name a column of whole numbers, text or true and false; {quoted(label)} is read as "
            f"{reading.said}: name another, or number the classes"
        )
    _check_gaps(reading, table, leave_out(label, label))


def _check_condition(reading: ColumnReading, asked: Asked, table: Table) -> None:
    if reading.role != "number" or reading.form.kind:
        raise UserError(
            f"--condition must name columns of numbers; {quoted(reading.name)} is read as {reading.said}: "
            "number its values, or leave it out of --condition"
        )
    _check_gaps(reading, table, "leave it out of --condition")


def _check_gaps(reading: ColumnReading, table: Table, remedy: str) -> None:
    row = pc.index(reading.values.is_null(), True).as_py()
    if row >= 0:
        raise UserError(
            f"a label or condition must have a value in each row; row {row} of {table.origin} has none in "
            f"{quoted(reading.name)}: fill or drop the rows, or {remedy}"
        )


def read(path_or_name: str | Path) -> Table:
    """Read a table of `BUNDLED`, or Parquet or CSV files. Raise `UserError` if there is no table."""
    if path_or_name in BUNDLED:
        name = str(path_or_name)
        return Table(f"table:{name}", name, {"all": _bundled(name)})
    given, files, memory = find_files(path_or_name, SUFFIXES, list(BUNDLED))
    typed, decimals, written, found = not any(is_csv(file) for _, file in files), set(), set(), []
    for part, file in files:
        if is_csv(file):
            text = read_csv(file, memory)
            decimals.add(text.decimal)
            written.add(_written(text))
            found.append((part, file, text.table))
        else:
            found.append((part, file, read_table(file, memory)))
    _, first, header = found[0]
    twice = [name for name, count in Counter(header.column_names).items() if count > 1]
    if twice:
        raise UserError(
            f"each column of {first} must have a name of its own; {quoted(twice[0])} is there twice: rename one"
        )
    for _, file, each in found:
        if sorted(each.column_names) != sorted(header.column_names):
            odd = sorted({*each.column_names} ^ {*header.column_names}) or ["one that is there twice"]
            raise UserError(
                f"all files in {given} must have the same columns; {file.name} and {first.name} differ by "
                f"{quoted(odd[0])}: add or drop it"
            )
    try:  # concatenation gives a column one type; another file may have another
        whole = pa.concat_tables(
            [each.select(header.column_names) for _, _, each in found], promote_options="permissive"
        )
    except pa.ArrowException as error:
        raise UserError(
            f"a column must have one type in all files of {given}; {shortened(one_line(error))}: convert or drop it"
        ) from error
    parts: dict[str, list[pa.Table]] = {}
    start = 0
    for part, _, each in found:
        parts.setdefault(part, []).append(whole.slice(start, len(each)))
        start += len(each)
    together = {part: pa.concat_tables(each) for part, each in parts.items()}
    name = Path(given.stem).stem if given.suffix.lower() == ".gz" else given.stem
    decimal = "," if "," in decimals else "."
    return Table(f"table:{name}", str(given), together, memory, typed, decimal, "; ".join(sorted({*written} - {""})))


def _written(text: CsvTable) -> str:
    """Return words for a CSV file's separator, decimal sign and encoding, where they are unusual."""
    said = ["separated by tabs" if text.separator == "\t" else f"separated by {text.separator!r}"]
    said = said if text.separator not in ("", ",") else []
    said += ["decimal commas"] if text.decimal == "," else []
    said += [text.encoding] if text.encoding != "UTF-8" else []
    return ", ".join(said)


def _of_frame(frame: pd.DataFrame) -> Table:
    """Convert a frame of pandas, without its index."""
    names = [str(each) for each in frame.columns]
    if len({*names}) < len(names):
        raise UserError("each column of a frame must have a name of its own; two are the same: rename one")
    try:
        rows = pa.Table.from_pandas(frame.set_axis(names, axis=1), preserve_index=False).replace_schema_metadata(None)
    except (pa.ArrowException, TypeError) as error:
        raise UserError(f"a column of a frame must have one type; {shortened(one_line(error))}: convert it") from error
    return Table("table:frame", "the frame", {"all": rows})


def _bundled(name: str) -> pa.Table:
    from sklearn import datasets  # imported here, as it takes a second and other tables do not need it

    options = {"scaled": False} if name == "diabetes" else {}
    found = getattr(datasets, f"load_{name.replace('-', '_')}")(**options)
    columns = {each: _number_column(found.data[:, index]) for index, each in enumerate(found.feature_names)}
    target = _number_column(found.target)
    if "target_names" in found:
        target = pa.DictionaryArray.from_arrays(pa.array(found.target), [str(each) for each in found.target_names])
    return pa.table({**columns, BUNDLED[name]: target})


def _number_column(values: NDArray[Any]) -> pa.Array:
    """Build a column, of int64 if all values are whole: scikit-learn stores those as floats too."""
    return pa.array(values.astype(np.int64) if np.array_equal(values, np.rint(values)) else values)


def split_rows(found: Interpreted, label: str | None = None) -> dict[str, pa.Table]:
    """Return the rows of the three splits of an interpreted table.

    Files whose names begin with `train`, `validation` or `test` form these splits. A held-out split without files is a
    tenth of `train`. If no file name names a split, each held-out split is a tenth of all rows. Held-out rows are
    drawn with a constant seed. If `label` is given, a tenth of each class is held out, rounded down.

    Equal rows go to one split, unless the files divide them or chance explains that they are equal. If a category has
    two rows or more, the training split has at least one of them, unless the files decide otherwise.
    """
    return _split(found, label)[0]


def _split(found: Interpreted, label: str | None) -> tuple[dict[str, pa.Table], str]:
    """Return the result of `split_rows`, and the notice about copies."""
    parts = found.table.parts
    source = next(parts[part] for part in ("all", "train") if part in parts)
    strata = None if label is None else _classes(source[label], label)
    roles = {name: found.by_name[name].role for name in source.column_names}
    categories = [name for name, role in roles.items() if role == "categories" and name != label]
    if label is None:  # with a label, only the rows of one class may be used, which have fewer categories
        for name in categories:
            distinct(source[name], name)  # refuses too many before memory is taken for each row
    numbers = [name for name, role in roles.items() if role == "number"]
    codes = (first_equal_row(source.select([name])) for name in categories)
    counts, first = {part: len(rows) for part, rows in parts.items()}, _copies(parts, numbers)
    chosen = allot(counts, strata, first, codes)
    notice = "" if first is None else copies_notice(counts, chosen, first, "rows")
    return {split: parts[part].take(pa.array(rows)) for split, (part, rows) in chosen.items()}, notice


def _copies(parts: Mapping[str, pa.Table], numbers: Sequence[str]) -> Rows | None:
    """Return the index of the first copy of each row of all parts, (N,); None without columns of numbers."""
    if not numbers:
        return None
    whole = pa.concat_tables(parts.values())
    # A missing value is no evidence of a copy: it counts as the number that most rows share.
    filled = (whole[name].fill_null(pc.mode(whole[name])[0]["mode"]) for name in numbers)
    return without_chance(first_equal_row(whole), map(numbers_of, filled))


def _classes(column: pa.ChunkedArray, label: str) -> NDArray[np.int64]:
    """Return the index of each row's value among the sorted values, (N,)."""
    codes, values = distinct(column, label, label)
    number = {value: index for index, value in enumerate(in_order(values))}
    return np.array([number[value] for value in values], dtype=np.int64)[codes]


def _value(column: pa.ChunkedArray, label: str, text: str) -> Value:
    """Return the label's value that is written as `text`. Raise `UserError` if the column lacks it."""
    known = {as_text(value): value for value in sorted(distinct(column, label, label)[1])}
    if text not in known:
        raise UserError(
            f"--positive-class must be a value that {label!r} has in the training split: {listed(known, SHOWN)}; "
            f"given {text!r}: name one of those"
        )
    return known[text]


def as_text(value: Value) -> str:
    """Return a value as text the way files write it: `true`, not `True`."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def of_class(rows: pa.Table, label: str, value: Value) -> pa.Table:
    """Return the rows of one class, without the label column."""
    codes, values = distinct(rows[label], label, label)
    # If no row is of the class, -1 matches no row.
    return rows.filter(pa.array(codes == (values.index(value) if value in values else -1))).drop_columns(label)


def _check_width(table: Table, coding: Coding) -> None:
    """Take memory for the samples. Raise `UserError` for too many entries of a row, or for too much memory."""
    widest = max(coding.columns, key=lambda column: column.width)
    if coding.width > COLUMNS:
        raise UserError(
            f"a row must have at most {COLUMNS:,} entries, one for each number and each value of a column of "
            f"categories; of {table.origin} it has {coding.width:,}, {widest.width:,} of them of "
            f"{quoted(widest.name)}: {leave_out(widest.name, coding.label)}"
        )
    if table.memory is not None:
        rows = sum(len(part) for part in table.parts.values())
        what = f"{rows:,} rows of {coding.width:,} entries each, {widest.width:,} of them of {quoted(widest.name)}"
        # Beside float32 entries, 32 bytes a row: numeric columns are converted in float64, one at a time.
        count = rows * (4 * coding.width + 32)
        table.memory.take(count, what, leave_out(widest.name, coding.label) if widest.width > 1 else "")


def _dataset(name: str, splits: Mapping[str, pa.Table], coding: Coding, notice: str = "") -> Dataset:
    coded = {}
    for split, rows in splits.items():
        samples = encode(rows, coding, f"the {split} split")
        for column, at in coding.placed():
            if column.is_number:
                remedy = leave_out(column.name, coding.label)
                column.check_kept(numbers_of(rows[column.name]), samples[:, at.start], remedy)
        coded[split] = Split(samples, None)
    return Dataset.of(name, coded["train"], coded["validation"], coded["test"], coding, notice)
