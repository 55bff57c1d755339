"""Tables of numbers and categories, from Parquet files, CSV files or scikit-learn.

Shapes: N rows, D entries of a sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

from wgan_core.data.coding import Coding, Column, Value
from wgan_core.data.copies import Rows, copies_notice, first_equal_row, without_chance
from wgan_core.data.dataset import Dataset, Split
from wgan_core.data.limits import CATEGORIES, COLUMNS, Memory
from wgan_core.data.splits import allot, check_rows, find_files, read_table, sound
from wgan_core.errors import UserError, listed, one_line, quoted, shortened

SUFFIXES = (".parquet", ".csv")
# Names for the tables of scikit-learn, and the column name of each table's target.
BUNDLED = {"breast-cancer": "diagnosis", "wine": "cultivar", "iris": "species", "diabetes": "progression"}
# Most columns or values that an error message lists.
SHOWN = 10
# Types for which pyarrow lacks functions that this module needs, and types that hold the same values.
PLAIN = {pa.string_view(): pa.string(), pa.float16(): pa.float32()}


@dataclass(frozen=True)
class Table:
    """A table as it was read.

    Attributes:
        name: The name of the data set.
        origin: The path or name of the source, for error messages.
        parts: The rows of each split, or of `all` if the source names no splits.
        memory: The memory account of the files; None for a table of scikit-learn.
    """

    name: str
    origin: str
    parts: Mapping[str, pa.Table]
    memory: Memory | None = None

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in order."""
        return next(iter(self.parts.values())).column_names

    def kind(self, name: str) -> pa.DataType:
        """Return the type of a column, which is the same in all parts."""
        return next(iter(self.parts.values())).schema.field(name).type


def load_table(
    path_or_name: str | Path,
    label: str | None = None,
    positive: str | None = None,
    categorical: Sequence[str] = (),
    drop: Sequence[str] = (),
    condition: Sequence[str] = (),
) -> Dataset:
    """Load a table, with its rows as samples, float32 (N, D).

    Numeric columns are standardised by the mean and standard deviation of the training split. Boolean, dictionary,
    `categorical` and `label` columns are one-hot, with sorted values. `split_rows` describes the splits.

    Args:
        path_or_name: A name of `BUNDLED`, or a Parquet or CSV file, or a folder of such files.
        label: The column that holds the class of each row.
        positive: A value of `label`, as text. If given, the rows of other classes and the label column are removed
            after the splits are made.
        categorical: Columns to treat as categorical whatever their type.
        drop: Columns to leave out.
        condition: Numeric columns that are conditions, float32 (N, K), and no part of the samples. They are
            standardised as the others are.

    Raises:
        UserError: The files cannot be read, lack a named column or value, or exceed `wgan_core.data.limits`. A column
            is nested, a date, text that is not categorical, incomplete, or constant in training. A held-out category
            is not in training. Whole numbers are too large for float32. A split has too few rows.
    """
    if positive is not None and label is None:
        raise UserError(
            f"--positive-class needs --label, the column that it is a value of; given {positive!r} alone: name the "
            "column by --label too, or leave both out to learn all rows"
        )
    with sound(path_or_name):
        table = read(path_or_name)
        if condition:
            _check_condition(table, condition, {*categorical, *([label] if label is not None else [])}, drop)
        whole = _loaded(table, label, positive, categorical, drop)
    return _conditioned(whole, condition) if condition else whole


def _check_condition(table: Table, condition: Sequence[str], named: Collection[str], drop: Collection[str]) -> None:
    """Raise `UserError` unless all conditions are numeric columns of the table, and another column is left."""
    _check_names(table, {"--condition": condition})
    for name in condition:
        if name in drop:
            raise UserError(f"a condition must stay in the table; --drop has {name!r} too: name it in one of the two")
        kind = table.kind(name)
        if name in named or not _is_numeric(kind):
            said = "one of categories" if name in named or _is_category(kind) else shortened(str(kind))
            raise UserError(
                f"--condition must name columns of numbers; {name!r} is {said}: number its values, or leave it out of "
                "--condition"
            )
    if {*condition} >= {*table.columns} - {*drop}:
        raise UserError(
            f"--condition must leave a column to generate; of {table.origin} it leaves none: name fewer, or drop fewer"
        )


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
    left = tuple(column for column in whole.coding.columns if column not in columns)
    coding = replace(whole.coding, columns=left)
    return replace(Dataset.of(whole.name, train, validation, test, coding, whole.notice), conditions=Coding(columns))


def _loaded(
    table: Table, label: str | None, positive: str | None, categorical: Sequence[str], drop: Sequence[str]
) -> Dataset:
    _check_names(table, {"--label": [label] if label else [], "--categorical": categorical, "--drop": drop})
    if label is not None and label in drop:
        raise UserError(f"the label must stay in the table; --drop has {label!r} too: name it in one of the two")
    left = _left(table, drop)
    if positive is not None and left == [label]:
        raise UserError(
            f"rows of one class must have columns besides {label!r}; {table.origin} has none left: add some, or drop "
            "fewer"
        )
    named = {*categorical, *([label] if label is not None else [])}
    for name in left:
        _check_gaps(table, name, label)
    for name in left:
        _check_kind(table.kind(name), name, name in named, label)
    if table.memory is not None:
        # The splits are copies. Indices, classes, copies and splits take up to sixteen 8-byte numbers a row.
        copied = sum(part.nbytes + 128 * len(part) for part in table.parts.values())
        table.memory.take(copied, f"the splits of {table.origin}")
    splits, notice = _split(table, label, drop, named)
    check_rows({name: len(rows) for name, rows in splits.items()}, table.origin, notice=notice)
    value = None if label is None or positive is None else _value(splits["train"][label], label, positive)
    coding = fit(splits["train"], named, label or "")
    _check_width(table, coding)
    if label is None or value is None:
        return _dataset(table.name, splits, coding, notice)
    # Classifiers will train on these rows together with the other classes, so check the rows of all classes.
    _dataset(table.name, splits, coding)
    only = {name: of_class(rows, label, value) for name, rows in splits.items()}
    check_rows({name: len(rows) for name, rows in only.items()}, table.origin, f"rows whose {label} is {positive}")
    coding = fit(only["train"], named, label, value)
    return _dataset(f"{table.name} {label}={positive}", only, coding, notice)


def read(path_or_name: str | Path) -> Table:
    """Read a table of `BUNDLED`, or Parquet or CSV files. Raise `UserError` if there is no table."""
    if path_or_name in BUNDLED:
        name = str(path_or_name)
        return Table(f"table:{name}", name, {"all": _bundled(name)})
    given, files, memory = find_files(path_or_name, SUFFIXES, list(BUNDLED))
    found = [(part, file, _plain(read_table(file, memory))) for part, file in files]
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
    try:  # concatenation gives a column one type; pyarrow may infer another for each CSV file
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
    return Table(f"table:{given.stem}", str(given), together, memory)


def _plain(table: pa.Table) -> pa.Table:
    """Replace the column types that `PLAIN` lists."""
    for index, field in enumerate(table.schema):
        if field.type in PLAIN:
            table = table.set_column(index, field.name, table.column(index).cast(PLAIN[field.type]))
    return table


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


def _check_names(table: Table, named: Mapping[str, Sequence[str]]) -> None:
    for option, names in named.items():
        for name in names:
            if name not in table.columns:
                raise UserError(
                    f"{option} must name columns of {table.origin}, which has {listed(table.columns, SHOWN)}; given "
                    f"{name!r}: check the name"
                )


def _left(table: Table, drop: Sequence[str]) -> list[str]:
    """Return the columns that remain without `drop`. Raise `UserError` if none does."""
    left = [name for name in table.columns if name not in drop]
    if not left:
        raise UserError(f"a table must have columns; --drop leaves {table.origin} none: drop fewer")
    return left


def split_rows(
    table: Table, label: str | None = None, drop: Sequence[str] = (), categorical: Collection[str] = ()
) -> dict[str, pa.Table]:
    """Return the rows of the three splits as they were read, without the columns `drop`.

    Files whose names begin with `train`, `validation` or `test` form these splits. A held-out split without files is a
    tenth of `train`. If no file name names a split, each held-out split is a tenth of all rows. Held-out rows are
    drawn with a constant seed. If `label` is given, a tenth of each class is held out, rounded down.

    Equal rows go to one split, unless the files divide them or chance explains that they are equal. If a category has
    two rows or more, the training split has at least one of them, unless the files decide otherwise.

    Args:
        table: A table that `load_table` accepts.
        label: The column that holds the class of each row.
        drop: Columns to leave out.
        categorical: Columns to treat as categorical whatever their type.

    Raises:
        UserError: The label's type cannot hold classes, or no column remains.
    """
    return _split(table, label, drop, categorical)[0]


def _split(
    table: Table, label: str | None, drop: Sequence[str], categorical: Collection[str]
) -> tuple[dict[str, pa.Table], str]:
    """Return the result of `split_rows`, and the notice about copies."""
    left = _left(table, drop)
    parts = {part: rows.select(left) for part, rows in table.parts.items()}
    source = next(parts[part] for part in ("all", "train") if part in parts)
    strata = None
    if label is not None:
        _check_label(source[label].type, label)
        strata = _classes(source[label], label)
    is_category = {name: name in categorical or _is_category(table.kind(name)) for name in left}
    if label is None:  # with a label, only the rows of one class may be used, which have fewer categories
        for name in filter(is_category.__getitem__, left):
            distinct(source[name], name, "")  # refuses too many before memory is taken for each row
    numbers = [name for name in left if not is_category[name] and name != label and _is_numeric(table.kind(name))]
    codes = (first_equal_row(source.select([name])) for name in left if is_category[name] and name != label)
    counts, first = {part: len(rows) for part, rows in parts.items()}, _copies(parts, numbers)
    chosen = allot(counts, strata, first, codes)
    notice = "" if first is None else copies_notice(counts, chosen, first, "rows")
    return {split: parts[part].take(pa.array(rows)) for split, (part, rows) in chosen.items()}, notice


def _copies(parts: Mapping[str, pa.Table], numbers: Sequence[str]) -> Rows | None:
    """Return the index of the first copy of each row of all parts, (N,); None without columns of numbers."""
    if not numbers:
        return None
    whole = pa.concat_tables(parts.values())
    return without_chance(first_equal_row(whole), (_numbers(whole[name]) for name in numbers))


def _leave_out(name: str, label: str | None) -> str:
    """Return the advice on leaving out a column in an error message. The label needs more than `--drop`."""
    if name == label:
        return f"name another --label, or give --drop {quoted(name)} in place of --label and --positive-class"
    return f"leave the column out by --drop {quoted(name)}"


def _check_gaps(table: Table, name: str, label: str | None) -> None:
    for part, rows in table.parts.items():
        column = rows[name]
        gaps = column.is_null(nan_is_null=True)
        if types.is_floating(column.type):
            gaps = pc.or_(gaps, pc.fill_null(pc.is_inf(column), False))
        row = pc.index(gaps, True).as_py()
        if row >= 0:
            found, where = column[row].as_py(), "" if part == "all" else f"{part} of "
            raise UserError(
                f"the column {quoted(name)} must have a finite value in each row; row {row} of {where}{table.origin} "
                f"has {'none' if found is None else found}: fill or drop the rows, or {_leave_out(name, label)}"
            )


def _check_label(kind: pa.DataType, label: str) -> None:
    kind = _held(kind)
    if not (_is_text(kind) or types.is_integer(kind) or types.is_boolean(kind)):
        raise UserError(
            f"--label must name a column of whole numbers, text or true and false; {label!r} is {kind}: name another, "
            "or number the classes"
        )


def distinct(column: pa.ChunkedArray, name: str, label: str) -> tuple[NDArray[np.int64], list[Any]]:
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
    codes = np.concatenate(
        [np.empty(0, np.int64), *(chunk.indices.to_numpy(False) for chunk in chunks)], dtype=np.int64
    )
    if given:  # a dictionary from a file has any order, and values that no row has
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
            f"{_leave_out(name, label)}"
        )
    return (codes if len(places) == len(found) else merged[codes]), list(places)


def _classes(column: pa.ChunkedArray, label: str) -> NDArray[np.int64]:
    """Return the index of each row's value among the sorted values, (N,)."""
    codes, values = distinct(column, label, label)
    number = {value: index for index, value in enumerate(sorted(values))}
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


def _check_kind(kind: pa.DataType, name: str, categorical: bool, label: str | None) -> None:
    """Raise `UserError` unless a column of this type can be encoded.

    `categorical` tells whether the user named the column as categorical or as the label.
    """
    held, remedy, named = _held(kind), _leave_out(name, label), quoted(name)
    said = shortened(str(kind))
    if types.is_null(held):  # each row is a gap, which `_check_gaps` refuses
        return
    if _is_binary(held):
        raise UserError(
            f"text must be UTF-8; {named} is {shortened(str(held))}, as text in another encoding is read: save the "
            f"file as UTF-8, or {remedy}"
        )
    if categorical or _is_category(kind):
        if not (_is_text(held) or _is_number(held) or types.is_boolean(held)):
            raise UserError(
                f"categories must be text, numbers, or true and false; {named} is {shortened(str(held))}: write them "
                f"as text, or {remedy}"
            )
    elif _is_text(kind):
        raise UserError(
            f"a column of text must be one of categories; {named} is {said}: --categorical {named} makes its values "
            f"such, --drop {named} leaves it out"
        )
    elif not _is_numeric(kind):
        raise UserError(
            f"a column must be numbers, true and false, or categories; {named} is {said}: write it as a number, or "
            f"{remedy}"
        )


def fit(train: pa.Table, categorical: set[str], label: str = "", positive: Value | None = None) -> Coding:
    """Compute the coding of a table's columns from its training rows.

    Args:
        train: N rows, with types that `load_table` accepts.
        categorical: Columns to treat as categorical whatever their type.
        label: The column that holds the class, or "".
        positive: The label's value if all rows are of one class.

    Raises:
        UserError: A column is constant, varies too much for float64, or has more than `CATEGORIES` categories.
    """
    where = _training(label, positive)
    columns = tuple(_column(name, train[name], name in categorical, label, where) for name in train.column_names)
    return Coding(columns, label, positive)


def _training(label: str, positive: Value | None) -> str:
    """Return the words for the training rows in an error message: the whole split, or the rows of one class."""
    if positive is None:
        return "the training split"
    return f"the rows of the training split whose {label!r} is {as_text(positive)}"


def _column(name: str, column: pa.ChunkedArray, categorical: bool, label: str, where: str) -> Column:
    if categorical or _is_category(column.type):
        values = tuple(sorted(distinct(column, name, label)[1]))
        if len(values) == 1:
            raise _constant(name, values[0], label, where)
        return Column(name, values=values)
    lowest, highest = pc.min_max(column).as_py().values()
    if lowest == highest:
        raise _constant(name, lowest, label, where)
    numbers = _numbers(column)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        mean, sd = float(numbers.mean()), float(numbers.std())
    if not (np.isfinite(mean) and 0 < sd < np.inf):
        raise UserError(
            f"the spread of a column must be a number of double precision; that of {quoted(name)}, {lowest} to "
            f"{highest}, is not: change its unit, or leave it out by --drop {quoted(name)}"
        )
    return Column(name, mean, sd, whole=types.is_integer(column.type))


def _constant(name: str, value: object, label: str, where: str) -> UserError:
    return UserError(
        f"a column must have more than one value in {where}; {quoted(name)} is always {shortened(str(value))} there: "
        f"{_leave_out(name, label)}"
    )


def _held(kind: pa.DataType) -> pa.DataType:
    """Return the type of a column's values, also inside a dictionary type."""
    return kind.value_type if types.is_dictionary(kind) else kind


def _is_number(kind: pa.DataType) -> bool:
    return types.is_integer(kind) or types.is_floating(kind)


def _is_numeric(kind: pa.DataType) -> bool:
    """Return whether a column of this type is numeric unless the user names it as categorical."""
    return _is_number(kind) or types.is_decimal(kind)


def _is_text(kind: pa.DataType) -> bool:
    return types.is_string(kind) or types.is_large_string(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)


def _is_category(kind: pa.DataType) -> bool:
    """Return whether a column of this type is categorical even if the user did not name it."""
    return types.is_boolean(kind) or types.is_dictionary(kind)


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    # The unsafe cast rounds whole numbers above 2^53; `Column.check_kept` refuses them.
    return column.cast(pa.float64(), safe=False).to_numpy()


def encode(rows: pa.Table, coding: Coding, where: str) -> NDArray[np.float32]:
    """Encode rows as samples (N, D).

    Args:
        rows: A table with the coding's columns, in any order.
        coding: The coding of the columns.
        where: The words for the rows in an error message.

    Raises:
        UserError: A category is not in the coding.
    """
    samples = np.zeros((len(rows), coding.width), np.float32)
    with np.errstate(over="ignore"):  # `Column.check_kept` refuses infinite entries
        for column, at in coding.placed():
            if column.values:
                places = _places(rows[column.name], column, coding, where)
                samples[np.arange(len(rows)), at.start + places] = 1
            else:
                samples[:, at.start] = (_numbers(rows[column.name]) - column.mean) / column.sd
    return samples


def _places(column: pa.ChunkedArray, known: Column, coding: Coding, where: str) -> NDArray[np.int64]:
    """Return the index of each row's category among the known ones, (N,). Raise `UserError` for an unknown one."""
    index = {value: position for position, value in enumerate(known.values)}
    codes, values = distinct(column, known.name, coding.label)
    unseen = next((value for value in values if value not in index), None)
    if unseen is not None:
        raise UserError(
            f"each category must be in {_training(coding.label, coding.positive)}; of {quoted(known.name)}, "
            f"{where} has {quoted(unseen) if isinstance(unseen, str) else repr(unseen)}, which is not: drop those rows "
            f"or put some into training, or {_leave_out(known.name, coding.label)}"
        )
    return np.array([index[value] for value in values], dtype=np.int64)[codes]


def _check_width(table: Table, coding: Coding) -> None:
    """Take memory for the samples. Raise `UserError` for too many entries of a row, or for too much memory."""
    widest = max(coding.columns, key=lambda column: column.width)
    if coding.width > COLUMNS:
        raise UserError(
            f"a row must have at most {COLUMNS:,} entries, one for each number and each value of a column of "
            f"categories; of {table.origin} it has {coding.width:,}, {widest.width:,} of them of "
            f"{quoted(widest.name)}: {_leave_out(widest.name, coding.label)}"
        )
    if table.memory is not None:
        rows = sum(len(part) for part in table.parts.values())
        what = f"{rows:,} rows of {coding.width:,} entries each, {widest.width:,} of them of {quoted(widest.name)}"
        # Beside float32 entries, 32 bytes a row: numeric columns are converted in float64, one at a time.
        count = rows * (4 * coding.width + 32)
        table.memory.take(count, what, _leave_out(widest.name, coding.label) if widest.width > 1 else "")


def _dataset(name: str, splits: Mapping[str, pa.Table], coding: Coding, notice: str = "") -> Dataset:
    coded = {}
    for split, rows in splits.items():
        samples = encode(rows, coding, f"the {split} split")
        for column, at in coding.placed():
            if not column.values:
                remedy = _leave_out(column.name, coding.label)
                column.check_kept(_numbers(rows[column.name]), samples[:, at.start], remedy)
        coded[split] = Split(samples, None)
    return Dataset.of(name, coded["train"], coded["validation"], coded["test"], coding, notice)
