"""Types of a table's columns: which hold numbers, dates, amounts, categories, identifiers or free text.

`read_column` decides for one column. Its rules, in order:

1. A column without values, or of one value, is constant.
2. Text whose values are all numbers, amounts or dates is read as such. Codes with leading zeros stay text.
3. A column of numbers has at most `FEW` values, each in ten rows on average: categories. Otherwise: numbers.
4. A column of whole numbers without a name, or named as identifiers are, is left out if all values differ.
5. Text is categories if at most half of its values differ, or, for text of a few words, fewer than nine in ten.
   Otherwise, text of a few words is an identifier, and left out; longer text is free text, and refused.
6. A column of text in which most cells are numbers, and which rule 5 would leave out or refuse, has mistakes: it is
   refused with the first of them.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import types

from wgan_core.data.coding import MOST_PLACES
from wgan_core.data.forms import (
    DATES,
    DAY_S,
    LEAST_DAY,
    MOST_DAY,
    MOST_SECONDS,
    PLAIN,
    STAMPS,
    TIMES,
    TYPED,
    Form,
    expression,
)  # fmt: skip
from wgan_core.data.limits import CATEGORIES
from wgan_core.errors import as_argument, quoted, shortened

MISSING = "missing in all rows"
Role = Literal["number", "categories", "constant", "left out", "refused"]

# Cells of text that stand for a missing value. Beside numbers and dates, those of `MARKS` do too.
GAPS = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "?")
MARKS = (".", "-", "--", "*", "None", "none", "NONE", "na", "Na", "missing", "Missing", "unknown", "Unknown")
# Most values of a column of numbers that are categories, and the rows that each must have on average.
FEW, ROWS_EACH = 20, 10
# Share of distinct values, among all, above which text is no category; the second is for text of a few words.
DISTINCT_SHARE, ID_SHARE = 0.5, 0.9
# Free text has more words a value, or more characters, than an identifier.
ID_WORDS, ID_LETTERS = 4, 40
# Names of columns that number or name rows. All their values differ.
ID_NAME = re.compile(
    r"(?i:|unnamed: 0|index|level_0|row\W?names?|row|rowid|id|uuid|guid|.*[_. ]id)|.*[a-z]I[Dd]", re.ASCII
)
INDEX_NAME = re.compile(r"__index_level_\d+__")
# Share of numbers among the values of a column above which its other values are mistakes.
MOSTLY = 0.9
# Values that a pattern of dates is tried on first.
TRIED = 64
# Most decimal places that are looked for, and the rows in which they are looked for first.
PLACES, LOOKED_AT = 8, 1_000

# Patterns whose texts are written as dates and time stamps of a typed file.
TYPED_PATTERNS = {"%Y-%m-%d": "date", "%Y-%m-%d %H:%M:%S": "stamp"}

_DIGITS = r"(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?"
_PLAIN = rf"^[+-]?{_DIGITS}$"
_WHOLE = r"^[+-]?\d{1,18}$"
_CODE = r"^[+-]?0\d"
_AMOUNT = (
    r"^(?P<sign>[+-]?)(?P<prefix>[$€£¥₹]|[A-Z]{{0,3}}[$]|(?:USD|EUR|GBP|CHF|JPY) ?)?(?P<inner>[+-]?)"
    r"(?P<number>\d{{1,3}}(?:{group}\d{{3}})+(?:{point}\d*)?|\d+(?:{point}\d*)?|{point}\d+)"
    r"(?P<suffix> ?(?:%|€|[$]|£|USD|EUR|GBP|CHF|kr))?$"
)


@dataclass(frozen=True)
class ColumnReading:
    """One column as it was read.

    Attributes:
        name: The column's name.
        role: What the column is to a GAN. A column that is "left out" or "refused" has no values.
        said: Words for what the column holds, and why it is left out or refused.
        values: The rows' values: int64 or double for numbers, any of bool, int64, double and dictionary for categories;
            null where a value is missing. Text is a dictionary, as a file may repeat long text at no cost.
        missing: Number of missing values.
        distinct: Number of distinct values.
        places: Number of decimal places of numbers; None if more than `PLACES` would be needed.
        form: The form in which the file writes the numbers.
        remedy: What to do about a column that is refused.
        is_free: Whether the column is free text.
    """

    name: str
    role: Role
    said: str
    values: pa.ChunkedArray
    missing: int = 0
    distinct: int = 0
    places: int | None = None
    form: Form = PLAIN
    remedy: str = ""
    is_free: bool = False


def read_column(
    name: str, column: pa.ChunkedArray, kind: str = "", decimal: str = ".", typed: bool = True
) -> ColumnReading:
    """Find the type of a column.

    Args:
        name: The column's name.
        column: Its values, of all splits.
        kind: "categories" or "numbers" if the user says so, or "" to find out.
        decimal: The decimal sign of numbers in text.
        typed: Whether the file tells text from numbers, as Parquet does and CSV does not.

    Returns:
        The column with its role. A role of "refused" has the reason in `said`.
    """
    if INDEX_NAME.fullmatch(name) and not kind:
        return ColumnReading(name, "left out", "index of a frame of pandas", column)
    held = column.type.value_type if types.is_dictionary(column.type) else column.type
    is_text = types.is_string(held) or types.is_large_string(held) or types.is_string_view(held)
    if types.is_dictionary(column.type):
        kind = kind or "categories"
        if not is_text and not isinstance(held, pa.DictionaryType):
            column = column.cast(held)
    if types.is_null(held) or column.null_count == len(column):
        return ColumnReading(
            name, "constant", MISSING, pa.chunked_array([pa.nulls(len(column), pa.string())]), len(column)
        )
    if is_text:
        found = _of_text(name, column, kind, decimal, typed)
    elif types.is_boolean(held):
        found = ColumnReading(name, "categories", "true and false", column)
    elif types.is_integer(held) or types.is_floating(held) or types.is_decimal(held):
        found = _of_numbers(name, column)
    elif types.is_temporal(held) and not types.is_interval(held):
        found = _of_times(name, column)
    else:
        said = "text that is not UTF-8" if "binary" in str(held) else f"of type {shortened(str(held))}"
        remedy = "save the file as UTF-8" if "binary" in str(held) else "write it as numbers or text"
        return ColumnReading(name, "refused", said, column, remedy=remedy)
    if found.role in ("refused", "left out"):
        return found
    return _counted(found, kind)


def _counted(found: ColumnReading, kind: str) -> ColumnReading:
    """Count a column's values, and apply the rules on constants, identifiers and few values."""
    values, rows = found.values, len(found.values)
    missing, distinct = values.null_count, _distinct(values)
    found = replace(found, missing=missing, distinct=distinct)
    if distinct == 0:
        return replace(found, role="constant", said=MISSING)
    if distinct == 1 and not missing:
        return replace(found, role="constant", said=f"always {shortened(str(values[0].as_py()))}")
    is_id = distinct == rows and not kind and found.role == "number" and types.is_integer(values.type)
    if is_id and not found.form.kind and ID_NAME.fullmatch(found.name.strip()):
        return replace(found, role="left out", said="identifier: whole numbers that all differ")
    if found.role == "number" and not kind and distinct <= min(FEW, rows // ROWS_EACH):
        return replace(found, role="categories", said=f"{found.said}, few values")
    if found.role == "number" and distinct == 1:
        return replace(found, role="categories", said=f"{found.said}, one value or missing")
    if found.role == "number" and kind == "categories":
        return replace(found, role="categories")
    if found.role == "categories" and distinct > CATEGORIES:
        return replace(
            found,
            role="refused",
            said=f"categories of {distinct:,} values, more than {CATEGORIES:,}",
            remedy="group them",
        )
    return found


def _distinct(values: pa.ChunkedArray) -> int:
    """Return the number of distinct values, without null."""
    if types.is_dictionary(values.type):
        values = pa.chunked_array([chunk.indices for chunk in values.unify_dictionaries().chunks])
    found: int = pc.count_distinct(values, mode="only_valid").as_py()
    return found


def _of_numbers(name: str, column: pa.ChunkedArray) -> ColumnReading:
    held = column.type
    if types.is_integer(held):
        if held == pa.uint64() and (pc.max(column).as_py() or 0) >= 2**63:
            return ColumnReading(name, "number", "whole numbers", _float(column), places=0)
        return ColumnReading(name, "number", "whole numbers", column.cast(pa.int64()), places=0)
    # A decimal of more digits than float64 has says nothing of the decimal places that the numbers need.
    scale = held.scale if types.is_decimal(held) and 0 <= held.scale <= MOST_PLACES else None
    values = _float(column)
    infinite = pc.index(pc.is_inf(values), True).as_py()
    if infinite >= 0:
        said = f"numbers, but {values[infinite].as_py()} in row {infinite}"
        return ColumnReading(name, "refused", said, column, remedy="fill or drop the row")
    return _decimal(name, values, scale)


def _float(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert to float64, with null for NaN. Numbers above 2^53 are rounded."""
    values = column.cast(pa.float32() if column.type == pa.float16() else pa.float64(), safe=False).cast(pa.float64())
    return pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)


def _decimal(name: str, values: pa.ChunkedArray, places: int | None) -> ColumnReading:
    found = _places(values.drop_null().to_numpy()) if places is None else places
    said = (
        "numbers"
        if found is None
        else "numbers without decimal places"
        if not found
        else f"numbers of {found} decimal place{'s' * (found > 1)}"
    )
    return ColumnReading(name, "number", said, values, places=found)


def _places(numbers: NDArray[np.float64]) -> int | None:
    """Return the number of decimal places that all numbers need; None if more than `PLACES`."""
    found = 0
    for part in (numbers[:LOOKED_AT], numbers):
        with np.errstate(over="ignore"):  # rounding multiplies numbers near 1e308
            while found <= PLACES and not (np.round(part, found) == part).all():
                found += 1
    return found if found <= PLACES else None


def _of_times(name: str, column: pa.ChunkedArray) -> ColumnReading:
    held = column.type
    if types.is_date(held):
        days = column.cast(pa.int32() if types.is_date32(held) else pa.int64()).cast(pa.int64())
        days = days if types.is_date32(held) else pc.divide(days, 1000 * DAY_S)
        if _are_outside(days, LEAST_DAY, MOST_DAY):
            return _out_of_range(name, column, "dates outside of the years 1 to 9999")
        return ColumnReading(name, "number", "dates", days, places=0, form=Form("date"))
    each_second = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[held.unit]
    if types.is_duration(held):
        if _are_outside(column.cast(pa.int64()), -MOST_SECONDS * each_second, MOST_SECONDS * each_second):
            return _out_of_range(name, column, f"durations above {MOST_SECONDS:g} seconds")
        numbers, form = column.cast(pa.duration("us"), safe=False).cast(pa.int64()), "duration"
    elif types.is_time(held):
        numbers, form = column.cast(pa.time64("us"), safe=False).cast(pa.int64()), "time"
    else:
        day = DAY_S * each_second
        if _are_outside(column.cast(pa.int64()), LEAST_DAY * day, MOST_DAY * day):
            return _out_of_range(name, column, "time stamps outside of the years 1 to 9999")
        form = "stamp" if held.tz is None else "instant"
        numbers = column.cast(pa.timestamp("us", held.tz), safe=False).cast(pa.int64())
    return _seconds(name, numbers, form)


def _are_outside(values: pa.ChunkedArray, least: float, most: float) -> bool:
    """Return whether a value is below `least` or above `most`. At least one value must be there."""
    found = pc.min_max(values).as_py()
    return not least <= found["min"] <= found["max"] <= most


def _out_of_range(name: str, column: pa.ChunkedArray, said: str) -> ColumnReading:
    return ColumnReading(name, "refused", said, column, remedy="mend those rows")


def _seconds(name: str, microseconds: pa.ChunkedArray, form: str) -> ColumnReading:
    said = f"{Form(form).said}s" if form not in ("time", *TIMES) else "times of day"
    exact = pc.equal(pc.multiply(pc.divide(microseconds, 1_000_000), 1_000_000), microseconds)
    if pc.all(exact).as_py():
        return ColumnReading(name, "number", said, pc.divide(microseconds, 1_000_000), places=0, form=Form(form))
    return ColumnReading(
        name, "number", said, pc.divide(microseconds.cast(pa.float64(), safe=False), 1e6), places=6, form=Form(form)
    )


def _of_text(name: str, column: pa.ChunkedArray, kind: str, decimal: str, typed: bool) -> ColumnReading:
    whole = column.unify_dictionaries() if types.is_dictionary(column.type) else column.dictionary_encode()
    indices = pa.chunked_array([chunk.indices for chunk in whole.chunks]).combine_chunks()
    encoded = pa.DictionaryArray.from_arrays(indices, whole.chunk(0).dictionary.cast(pa.large_string()))
    entries = pc.utf8_trim_whitespace(encoded.dictionary)
    known = _without(entries, GAPS)
    if kind != "categories" or not typed:
        numbers = _without(known, MARKS)
        if numbers.null_count < len(numbers):
            read = _numbers_of(numbers, decimal, typed, kind)
            if read is not None:
                values, said, places, form = read
                few = not kind and pc.count_distinct(values).as_py() <= min(FEW, len(column) // ROWS_EACH)
                # Few texts of dates or amounts stay as the file has them. Numbers such as 1.0 and 1.00 are codes.
                if few and (form.kind not in ("", *TYPED) or _same_numbers(numbers, values)):
                    kept = _words(name, _texts(numbers, encoded))
                    return replace(kept, said=f"{said}, few values") if form.kind else kept
                return ColumnReading(name, "number", said, _spread(values, encoded), places=places, form=form)
        mistake = _mistake(name, encoded, numbers, MOSTLY) if not kind and not typed else None
        if mistake is not None:
            return mistake
        if kind == "numbers":
            found = _mistake(name, encoded, numbers, 0) or ColumnReading(name, "refused", "text", column)
            return replace(found, remedy="take it out of --numeric")
        if not typed and set(known.drop_null().slice(0, 3).to_pylist()) <= {"true", "false"}:
            truth = pc.if_else(pc.is_null(known), pa.scalar(None, pa.bool_()), pc.equal(known, "true"))
            return ColumnReading(name, "categories", "true and false", _spread(truth, encoded))
    country = _are_country_codes(known)
    texts = _without(entries, [each for each in GAPS if each != "NA"]) if country else known
    values = _texts(texts, encoded)
    if kind == "categories":
        return ColumnReading(name, "categories", "categories", values)
    found = _words(name, values)
    if not typed and (found.role != "categories" or found.distinct > DISTINCT_SHARE * len(values)):
        return _mistake(name, encoded, numbers, DISTINCT_SHARE) or found
    return found


def _same_numbers(entries: pa.Array, values: pa.Array) -> bool:
    """Return whether two different entries of text are the same number."""
    return bool(pc.count_distinct(entries).as_py() > pc.count_distinct(values).as_py())


def _words(name: str, values: pa.ChunkedArray) -> ColumnReading:
    """Tell categories of text from identifiers and free text."""
    missing, distinct = values.null_count, _distinct(values)
    there = len(values) - missing
    found = ColumnReading(name, "categories", "categories", values, missing, distinct)
    if distinct <= max(DISTINCT_SHARE * there, 2):
        return found if distinct > 1 or missing else replace(found, role="constant")
    entries = values.chunk(0).dictionary
    words = pc.mean(pc.add(pc.count_substring_regex(entries, r"\S\s+"), 1)).as_py()
    letters = pc.mean(pc.utf8_length(entries)).as_py()
    if words <= ID_WORDS and letters <= ID_LETTERS and distinct < ID_SHARE * there:
        return found
    if words <= ID_WORDS and letters <= ID_LETTERS:
        share = "that all differ" if distinct == there else f"of which {distinct:,} of {there:,} differ"
        return replace(found, role="left out", said=f"identifier: names {share}")
    return replace(
        found,
        role="refused",
        said=f"free text of {letters:.0f} letters a cell",
        remedy="give --drop-text",
        is_free=True,
    )


def _without(entries: pa.Array, gaps: Collection[str]) -> pa.Array:
    """Replace entries of text that stand for missing values by null."""
    is_gap = pc.is_in(entries, pa.array(list(gaps), entries.type))
    return pc.if_else(is_gap, pa.scalar(None, entries.type), entries)


def _texts(entries: pa.Array, encoded: pa.DictionaryArray) -> pa.ChunkedArray:
    """Return the text of each row as a dictionary, for the texts of the dictionary's entries."""
    merged = entries.dictionary_encode()  # entries that differ by spaces alone are one
    return pa.chunked_array([pa.DictionaryArray.from_arrays(merged.indices.take(encoded.indices), merged.dictionary)])


def _spread(entries: pa.Array, encoded: pa.DictionaryArray) -> pa.ChunkedArray:
    """Return the value of each row, for the values of the dictionary's entries."""
    return pa.chunked_array([entries.take(encoded.indices)])


def _are_country_codes(known: pa.Array) -> bool:
    """Return whether all values are two capital letters, so that NA is Namibia."""
    there = known.drop_null()
    return len(there) > 0 and bool(pc.all(pc.match_substring_regex(there, "^[A-Z]{2}$")).as_py())


def _all_match(there: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(there, pattern)).as_py())


Found = tuple[pa.Array, str, int | None, Form]


def _numbers_of(entries: pa.Array, decimal: str, typed: bool, kind: str) -> Found | None:
    """Return the numbers that entries of text stand for, with their words, places and form; None if they are none."""
    there = entries.drop_null()
    plain = _plain(entries, there, decimal, typed)
    if kind == "categories":  # of text, unless they are numbers or dates without other spellings
        exact = plain or _dates(entries, there)
        return None if exact is None or exact[3].kind not in ("", *TYPED) or _same_numbers(there, exact[0]) else exact
    return plain or _amounts(entries, there, decimal) or _dates(entries, there)


def _plain(entries: pa.Array, there: pa.Array, decimal: str, typed: bool) -> Found | None:
    if decimal == ",":
        there, entries = (
            (pc.replace_substring(each, ",", ".") for each in (there, entries))
            if _all_match(there, r"^[^.]*$")
            else (there, entries)
        )
    if not _all_match(there, _PLAIN) or pc.any(pc.match_substring_regex(there, _CODE)).as_py():
        return None
    plain = pc.replace_substring_regex(entries, r"^\+", "")
    # A file that tells text from numbers has text here, so text is what rows are written as.
    form = Form("text") if typed else Form()
    if _all_match(there, _WHOLE):
        return plain.cast(pa.int64()), "whole numbers", 0, form
    values = plain.cast(pa.float64())
    if pc.any(pc.match_substring_regex(there, "[eE]")).as_py():
        places = _places(values.drop_null().to_numpy())
    else:
        fraction = pc.replace_substring_regex(there, r"^[^.]*\.?", "")
        places = min(pc.max(pc.utf8_length(fraction)).as_py(), 15)
    if pc.any(pc.is_inf(values)).as_py() or (typed and places is None):
        return None
    column = _decimal("", pa.chunked_array([values]), places)
    return values, column.said, places, form


def _amounts(entries: pa.Array, there: pa.Array, decimal: str) -> Found | None:
    """Read money, percentages and numbers with separated thousands."""
    point, group = (r"\.", ",") if decimal == "." else (",", r"\.")
    pattern = _AMOUNT.format(group=group, point=point)
    if not _all_match(there, pattern):
        return None
    parts = pc.extract_regex(entries, pattern)
    prefix, suffix, number = (pc.struct_field(parts, name) for name in ("prefix", "suffix", "number"))
    affixes = [pc.unique(each.filter(pc.is_valid(entries))) for each in (prefix, suffix)]
    if max(map(len, affixes)) > 1:
        return None
    before, after = (each[0].as_py() for each in affixes)
    grouped = bool(pc.any(pc.match_substring(number, "," if group == "," else ".")).as_py())
    if not (before or after or grouped):
        return None
    digits = pc.replace_substring(number, "," if group == "," else ".", "")
    digits = digits if decimal == "." else pc.replace_substring(digits, ",", ".")
    places = min(pc.max(pc.utf8_length(pc.replace_substring_regex(digits, r"^[^.]*\.?", ""))).as_py(), 15)
    minus = pc.or_(*(pc.equal(pc.struct_field(parts, name), "-") for name in ("sign", "inner")))
    values = digits.cast(pa.float64())
    values = pc.if_else(pc.fill_null(minus, False), pc.negate(values), values)
    form = Form("text", before, after, grouped, decimal)
    return values, "percentages" if "%" in after else "amounts", places, form


def _dates(entries: pa.Array, there: pa.Array) -> Found | None:
    """Read dates, time stamps and times of day, all in one pattern."""
    sample = there.slice(0, TRIED)
    if not _all_match(sample, r"\d.*[-/.: ,]|[-/.: ,].*\d"):
        return None
    for pattern in sorted(_fitting(sample), key=lambda each: not _as_written(sample, each)):
        stamps = pc.strptime(entries, pattern, "s", error_is_null=True)
        if stamps.null_count == entries.null_count and _all_match(there, expression(pattern)):
            seconds = stamps.cast(pa.int64())
            padded = _all_match(there, expression(pattern, padded=True))
            form = Form(TYPED_PATTERNS.get(pattern, pattern) if padded else pattern, padded=padded)
            if pattern in DATES:
                return pc.divide(seconds, DAY_S), "dates", 0, form
            if pattern in TIMES:
                day = pc.subtract(seconds, pc.multiply(pc.divide(seconds, DAY_S), DAY_S))
                day = pc.if_else(pc.less(day, 0), pc.add(day, DAY_S), day)
                return day, "times of day", 0, form
            return seconds, "time stamps", 0, form
    return _iso(entries, there)


def _fitting(sample: pa.Array) -> list[str]:
    """Return the patterns of dates and times that all texts have."""
    patterns = [each for each in (*DATES, *STAMPS, *TIMES) if _all_match(sample, expression(each))]
    return [each for each in patterns if not pc.strptime(sample, each, "s", error_is_null=True).null_count]


def _as_written(sample: pa.Array, pattern: str) -> bool:
    """Return whether a pattern writes texts as they are, for example with full names of months."""
    return bool(pc.strftime(pc.strptime(sample, pattern, "s"), pattern).equals(sample.cast(pa.string())))


def _iso(entries: pa.Array, there: pa.Array) -> Found | None:
    """Read time stamps and times of day of ISO 8601, with fractions of seconds or time zones."""
    nothing = pa.scalar("", entries.type)
    for form, zone, before in (("stamp", None, ""), ("instant", "UTC", ""), ("time", None, "1970-01-01 ")):
        day = pa.scalar(before, entries.type)
        sample, texts = (pc.binary_join_element_wise(day, each, nothing) for each in (there.slice(0, TRIED), entries))
        try:
            sample.cast(pa.timestamp("us", zone))
            stamps = texts.cast(pa.timestamp("us", zone)).cast(pa.int64())
        except pa.ArrowException:
            continue
        column = _seconds("", pa.chunked_array([stamps]), form)
        return column.values.combine_chunks(), column.said, column.places, column.form
    return None


def _mistake(name: str, encoded: pa.DictionaryArray, entries: pa.Array, share: float) -> ColumnReading | None:
    """Return the refusal of a column in which more than this share of the cells, but not all, are numbers.

    Codes, such as 007 and 207a, are no numbers. A column of codes is no mistake, and then the result is None.
    """
    finite = pc.match_substring_regex(entries, r"^[^eE]*([eE][+-]?\d{1,2})?$")
    fits = pc.and_(pc.match_substring_regex(entries, _PLAIN), finite)
    fits = pc.and_not(fits, pc.match_substring_regex(entries, _CODE))
    there, odd = entries.drop_null(), entries.filter(pc.invert(fits)).drop_null()
    letters = odd.filter(pc.invert(pc.match_substring_regex(odd, _PLAIN)))
    of_one_length = pc.count_distinct(pc.utf8_length(there)).as_py() == 1
    if (len(letters) and _all_match(letters, r"^\w*\d\w*$")) or (not len(letters) and of_one_length):
        return None
    rows = _spread(fits, encoded)
    count = len(rows) - rows.null_count
    numbers = pc.sum(rows).as_py() or 0
    if numbers <= share * count or numbers == count:
        return None
    if pc.sum(fits).as_py() <= FEW:
        return None
    row = pc.index(rows, False).as_py()
    found = encoded.dictionary[encoded.indices[row].as_py()].as_py()
    said = f"numbers, but {quoted(shortened(str(found)))} in row {row}"
    remedy = f"mend such cells, or give --categorical {as_argument([name])}"
    return ColumnReading(name, "refused", said, _spread(entries, encoded), remedy=remedy)
