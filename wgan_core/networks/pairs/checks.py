"""Checks of a pair's options and samples. Options have the types of JSON. Each check raises `UserError` if it fails."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar, cast

from wgan_core.config import Structure, is_whole, require
from wgan_core.errors import UserError

T = TypeVar("T")

SIDES = (28, 32, 64)


def width(value: object, usual: int, name: str = "width") -> int:
    """Return a number of units or channels."""
    require(_is_size(value), name, "a whole number > 0", value, usual)
    return cast("int", value)


def widths(value: object, usual: Sequence[int]) -> list[int]:
    """Return the number of units of each hidden layer."""
    given = value if isinstance(value, list | tuple) else []
    holds = bool(given) and all(map(_is_size, given))
    require(holds, "widths", "one or more whole numbers > 0", value, list(usual))
    return list(given)


def flag(name: str, value: object) -> bool:
    require(isinstance(value, bool), name, "true or false", value, False)
    return bool(value)


def choice(name: str, value: object, known: Mapping[str, T], usual: str) -> T:
    """Return the value that has this name among `known`."""
    require(isinstance(value, str) and value in known, name, f"one of {', '.join(known)}", value, usual)
    return known[cast("str", value)]


def initial_sd(value: object, usual: float) -> float | None:
    """Return the standard deviation of initial weights, or None for torch's own draws."""
    if value is None:
        return None
    holds = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
    require(holds, "initial_sd", "a number > 0, or null for torch's own draws", value, usual)
    return float(cast("float", value))


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


def _is_size(value: object) -> bool:
    return is_whole(value) and value > 0
