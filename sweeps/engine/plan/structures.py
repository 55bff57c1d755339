"""The structures that the trials of a space may have."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping

from sweeps.engine.plan.settings import is_setting
from sweeps.engine.plan.space import Space, text_of
from wgan_core.config import Structure
from wgan_core.errors import UserError

MOST_STRUCTURES = 64
"""Most combinations that are all checked before a sweep starts. Of more, each value is checked by itself."""


def structures(space: Space, structure: Structure) -> list[Structure]:
    """Return the structures of a space: all combinations of settings, or each value by itself if they are too many.

    Ranges count with both ends.

    Args:
        space: The space.
        structure: The structure with the settings that are not searched.

    Raises:
        UserError: A combination cannot be built.
    """
    return [space.structure(structure, point) for point in _points(space)]


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
    ends = {name: bounds.ends for name, bounds in space.ranges.items() if is_setting(name)}
    if math.prod(map(len, ends.values())) <= MOST_STRUCTURES:
        yield from (dict(zip(ends, values, strict=True)) for values in itertools.product(*ends.values()))
    else:
        yield from ({name: value} for name, values in ends.items() for value in values)
