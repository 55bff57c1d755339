"""Checks of a pair's options and samples. Options have the types of JSON. Each check raises `UserError` if it fails."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeGuard, TypeVar

from wgan_core.config import Structure
from wgan_core.errors import UserError

T = TypeVar("T")

SIDES = (28, 32, 64)


def width(value: object, usual: int, name: str = "width") -> int:
    """Return a number of units or channels."""
    if not _is_size(value):
        raise _refused(name, "a whole number > 0", value, usual)
    return value


def widths(value: object, usual: Sequence[int]) -> list[int]:
    """Return the number of units of each hidden layer."""
    if not isinstance(value, list | tuple) or not value or not all(_is_size(each) for each in value):
        raise _refused("widths", "one or more whole numbers > 0", value, list(usual))
    return list(value)


def flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _refused(name, "true or false", value, False)
    return value


def choice(name: str, value: object, known: Mapping[str, T], usual: str) -> T:
    """Return the value that has this name among `known`."""
    if not isinstance(value, str) or value not in known:
        raise _refused(name, f"one of {', '.join(known)}", value, usual)
    return known[value]


def initial_sd(value: object, usual: float) -> float | None:
    """Return the standard deviation of initial weights, or None for torch's own draws."""
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < math.inf:
        raise _refused("initial_sd", "a number > 0, or null for torch's own draws", value, usual)
    return float(value)


def square_image(structure: Structure, name: str) -> tuple[int, int]:
    """Return the channels and the side in pixels of samples, for a pair that takes square images of `SIDES`."""
    shape = structure.sample_shape
    if len(shape) != 3 or shape[1] != shape[2] or shape[1] not in SIDES:
        sides = ", ".join(map(str, SIDES))
        raise UserError(
            f"the {name} networks take square images whose side is one of {sides} pixels; given samples of shape "
            f"{shape}: resize them, or take --networks conv (sides that are multiples of 4) or mlp (any shape)"
        )
    return shape[0], shape[1]


def _is_size(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _refused(name: str, invariant: str, given: object, usual: object) -> UserError:
    return UserError(f"{name} must be {invariant}; given {given!r}: set {name} to {usual!r}, for example")
