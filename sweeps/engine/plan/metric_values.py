"""Rules for metrics that somebody else may have written: their names, their number, and their values."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from wgan_core.errors import quoted

METRIC_NAME = re.compile(r"[\w\-.:/ ]{1,250}", re.ASCII)
MOST_METRICS = 1_000
"""Most metrics of one record, and most names of metrics of one sweep. MLflow accepts no more per request."""


def checked_metrics(values: Mapping[str, object]) -> dict[str, float]:
    """Return metrics by name, as numbers. Raise `ValueError` or `TypeError` for values that no sweep writes."""
    check_count(values)
    return {checked_name(name): checked_number(value) for name, value in values.items()}


def check_count(values: Collection[object]) -> None:
    """Raise `ValueError` for more than `MOST_METRICS` values."""
    if len(values) > MOST_METRICS:
        raise ValueError(f"it has {len(values)} values, and {MOST_METRICS} are the most")


def checked_name(name: str) -> str:
    """Return the name. Raise `ValueError` if it is not 1 to 250 ASCII letters, digits, spaces and `_ - . : /`."""
    if not METRIC_NAME.fullmatch(name):
        raise ValueError(f"{quoted(name)} is no name of a metric")
    return name


def checked_number(value: object) -> float:
    """Return a number, which JSON may hold as a text such as "nan". Raise `ValueError` or `TypeError` for others."""
    if not isinstance(value, int | float | str) or isinstance(value, bool):
        raise TypeError(f"{type(value).__name__} is no number")
    return float(value)
