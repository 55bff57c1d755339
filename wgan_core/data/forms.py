"""Forms in which files write numbers: dates, times, money and percentages. Each is read to numbers, and written back.

A date is the number of days since 1970-01-01. A time stamp is the number of seconds since then, and a time of day the
number of seconds since midnight.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wgan_core.errors import UserError, quoted

DAY_S = 86_400
# Patterns of dates and time stamps as text, in the order in which they are tried. A day that could be a month is one.
DATES = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%m-%d-%Y", "%d-%m-%Y", "%d-%b-%Y",
    "%d %b %Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%Y-%m", "%b %Y", "%d.%m.%y", "%m/%d/%y", "%d/%m/%y", "%d-%b-%y",
)  # fmt: skip
STAMPS = tuple(
    f"{date}{between}{time}"
    for date in ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y")
    for between in (" ", "T")
    for time in ("%H:%M:%S", "%H:%M")
)
TIMES = ("%H:%M:%S", "%H:%M")
MONTHS = ("%Y-%m", "%b %Y")
# The digits or letters of each part of a pattern. Without leading zeros, 1-3 is no month, and 2:1 no time of day.
_PARTS = {
    "Y": r"[12]\d{3}", "y": r"\d{2}", "m": r"\d{1,2}", "d": r"\d{1,2}", "b": "[A-Za-z]{3}", "B": "[A-Za-z]+",
    "H": r"\d{1,2}", "M": r"\d{2}", "S": r"\d{2}",
}  # fmt: skip
# Kinds of values of a typed file, beside text by a pattern.
TYPED = ("date", "stamp", "instant", "time", "duration")
# Days and seconds that Python's dates can hold, from 0001-01-01 to 9999-12-31.
LEAST_DAY, MOST_DAY = -719_162, 2_932_896
# Most seconds of a duration: as microseconds, they are below 2^63.
MOST_SECONDS = 9e12
# Most characters before or after an amount, such as a currency.
MOST_AFFIX = 8


@dataclass(frozen=True)
class Form:
    """The form of a column's numbers in a file. The default is a plain number.

    Attributes:
        kind: One of `TYPED`, one of the patterns `DATES`, `STAMPS` or `TIMES`, "text" for amounts, or "".
        prefix, suffix: Text before and after an amount, such as `$` or ` %`.
        grouped: Whether an amount separates its thousands.
        decimal: The decimal sign of an amount. The other one of `.` and `,` separates thousands.
        padded: Whether months, days and hours below 10 begin with 0 where a pattern has digits for them.
    """

    kind: str = ""
    prefix: str = ""
    suffix: str = ""
    grouped: bool = False
    decimal: str = "."
    padded: bool = True

    @property
    def said(self) -> str:
        """Word for the values, for people."""
        if self.kind in ("date", *DATES):
            return "date"
        if self.kind in ("stamp", "instant", *STAMPS):
            return "time stamp"
        if self.kind in ("time", *TIMES):
            return "time of day"
        return {"duration": "duration", "text": "amount"}.get(self.kind, "")

    def check(self, name: str) -> None:
        """Raise `UserError` unless this is a form that the package has. `name` is the column."""
        known = ("", "text", *TYPED, *DATES, *STAMPS, *TIMES)
        if (
            self.kind not in known
            or max(len(self.prefix), len(self.suffix)) > MOST_AFFIX
            or self.decimal not in (".", ",")
        ):
            raise UserError(
                f"the values of a column must have a form that this package writes; {quoted(name)} has another: take "
                "the coding of a data set"
            )

    def write(self, numbers: Sequence[float], places: int) -> list[Any]:
        """Return numbers in this form. Amounts have so many decimal places."""
        if not self.kind:
            return list(numbers)
        return [self._written(number, places) for number in numbers]

    def read(self, text: str) -> float:
        """Return the number that a text in this form stands for. A date or time may also be written as ISO 8601 has it.

        Raises:
            ValueError: The text has another form.
        """
        text = text.strip()
        if self.kind in ("", "duration"):
            return float(text)
        if self.kind == "text":
            sign = -1 if text.startswith("-") else 1
            bare = text.lstrip("+-").removeprefix(self.prefix).removesuffix(self.suffix).strip()
            if self.decimal == ",":
                bare = bare.translate({ord(","): ".", ord("."): ","})
            return sign * float(bare.replace(",", ""))
        if self.kind in ("time", *TIMES):
            try:
                time = datetime.datetime.strptime(text, self.kind).time()
            except ValueError:
                time = datetime.time.fromisoformat(text)
            return (time.hour * 60 + time.minute) * 60 + time.second
        try:
            stamp = datetime.datetime.strptime(text, self.kind)
        except ValueError:
            stamp = datetime.datetime.fromisoformat(text)
        if stamp.tzinfo is not None:
            stamp = stamp.astimezone(datetime.UTC).replace(tzinfo=None)
        seconds = (stamp - datetime.datetime(1970, 1, 1)).total_seconds()
        return seconds // DAY_S if self.kind in ("date", *DATES) else seconds

    def rounded(self, numbers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return numbers (N,) as they are after they are written and read: to the minute, or the first of the month."""
        if "%H:%M" in self.kind and "%S" not in self.kind:
            return (numbers / 60).round() * 60
        if self.kind in MONTHS:
            there = np.isfinite(numbers)
            days = np.where(there, numbers, 0).clip(LEAST_DAY, MOST_DAY).astype("datetime64[D]")
            return np.where(there, days.astype("datetime64[M]").astype("datetime64[D]").astype(np.float64), numbers)
        return numbers

    def _written(self, number: float, places: int) -> Any:
        if self.kind == "text":
            text = f"{number:,.{places}f}" if self.grouped else f"{number:.{places}f}"
            if self.decimal == ",":
                text = text.translate({ord(","): ".", ord("."): ","})
            sign = "-" if text.startswith("-") else ""
            return f"{sign}{self.prefix}{text.removeprefix('-')}{self.suffix}"
        number = min(max(number, -MOST_SECONDS), MOST_SECONDS)  # a generator's number may be infinite
        if self.kind == "duration":
            return datetime.timedelta(seconds=number)
        if self.kind in ("time", *TIMES):
            time = _midnight(number % DAY_S).time()
            return time if self.kind == "time" else self._text(_midnight(number % DAY_S))
        days = self.kind in ("date", *DATES)
        seconds = (round(number) * DAY_S) if days else number
        stamp = _midnight(min(max(seconds, LEAST_DAY * DAY_S), (MOST_DAY + 1) * DAY_S - 1))
        if self.kind == "date":
            return stamp.date()
        if self.kind == "instant":
            return stamp.replace(tzinfo=datetime.UTC)
        return stamp if self.kind == "stamp" else self._text(stamp)

    def _text(self, stamp: datetime.datetime) -> str:
        """Return a date or time as text by the pattern."""
        pattern = self.kind
        if not self.padded:
            for part, number in (("%m", stamp.month), ("%d", stamp.day), ("%H", stamp.hour)):
                pattern = pattern.replace(part, str(number))
        return stamp.strftime(pattern)


PLAIN = Form()
"""A number as it is."""


def expression(pattern: str, padded: bool = False) -> str:
    """Return the regular expression of the texts of a pattern of dates or times, or of those with padded numbers."""
    of_part = {name: r"\d{2}" if padded and digits == r"\d{1,2}" else digits for name, digits in _PARTS.items()}
    parts = (
        of_part[part[0]] + re.escape(part[1:]) if index else re.escape(part)
        for index, part in enumerate(pattern.split("%"))
    )
    return f"^{''.join(parts)}$"


def _midnight(seconds: float) -> datetime.datetime:
    """Return the time that is so many seconds after the midnight that began 1970."""
    return datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
