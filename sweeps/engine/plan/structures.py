"""The structures that the trials of a space may have."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

from sweeps.engine.plan.settings import is_setting
from sweeps.engine.plan.space import Space, text_of
from wgan_core.config import Structure
from wgan_core.errors import UserError

MOST_STRUCTURES = 64
"""Most combinations that are all checked before a sweep starts. Of more, each value is checked by itself."""


def structures(space: Space, structure: Structure) -> list[Structure]:
    """Return the structures of a space: all combinations of settings.

    If these are more than `MOST_STRUCTURES`, return one for each value, and one with the largest values together.
    Ranges count with both ends.

    Args:
        space: The space.
        structure: The structure with the settings that are not searched.

    Raises:
        UserError: A combination cannot be built.
    """
    found = [space.structure(structure, point) for point in _points(space)]
    if is_checked_whole(space):
        return found
    from wgan_core.training.footprint import footprint

    # Add the largest value of each name, together. If these do not go together, a smaller combination does.
    greatest: dict[str, tuple[int, float | str]] = {}
    for point, each in zip(_points(space), found, strict=True):
        ((name, value),) = point.items()
        greatest[name] = max(greatest.get(name, (-1, value)), (footprint(each), value), key=lambda size: size[0])
    with suppress(UserError):
        together = space.structure(structure, {name: value for name, (_, value) in greatest.items()})
        footprint(together)
        found.append(together)
    return found


def is_checked_whole(space: Space) -> bool:
    """Return whether a space has so few combinations of settings that all are checked."""
    return math.prod(map(len, _settings(space).values())) <= MOST_STRUCTURES


def check_structures(space: Space, structure: Structure, check: Callable[[Structure], None]) -> None:
    """Raise `UserError` with the settings that are searched if `check` raises it for a structure of the space."""
    for point in _points(space):
        try:
            found = space.structure(structure, point)
            if found.full_batch and found.batch_size != structure.batch_size:
                raise UserError("batch_size must be searched without full batches: set full_batch to false")
            check(found)
        except UserError as error:
            if not point:
                raise
            settings = " ".join(f"{name}={text_of(value)}" for name, value in point.items())
            raise UserError(f"all values that are searched must go together; {settings} do not: {error}") from error


def _points(space: Space) -> Iterator[Mapping[str, float | str]]:
    ends = _settings(space)
    if is_checked_whole(space):
        yield from (dict(zip(ends, values, strict=True)) for values in itertools.product(*ends.values()))
    else:
        yield from ({name: value} for name, values in ends.items() for value in values)


def _settings(space: Space) -> dict[str, tuple[float | str, ...]]:
    """Return the values of each setting that a space searches; of a range, both ends."""
    return {name: bounds.ends for name, bounds in space.ranges.items() if is_setting(name)}
