"""Kinds of data: a class each, which owns the pictures of samples, their export and a generator's usual output.

`kind_of` is the only place that tells the kind by the shape of a sample. All other code asks the kind.
"""

from __future__ import annotations

from wgan_core.data.coding import Coding
from wgan_core.kinds.arrays import Arrays
from wgan_core.kinds.images import Images, is_image
from wgan_core.kinds.kind import Kind
from wgan_core.kinds.points import Points
from wgan_core.kinds.sequences import Sequences
from wgan_core.kinds.tables import Table

__all__ = ["Arrays", "Images", "Kind", "Points", "Sequences", "Table", "kind_of"]


def kind_of(sample_shape: tuple[int, ...], coding: Coding | None = None) -> Kind:
    """Return the kind of data of a data set or structure.

    Args:
        sample_shape: Shape of one sample.
        coding: The columns of tables or sequences; None for other data.
    """
    match sample_shape:
        case shape if is_image(shape):
            return Images(sample_shape, coding)
        case (_,) if coding is not None:
            return Table(sample_shape, coding)
        case (2,):
            return Points(sample_shape, coding)
        case (_, _):
            return Sequences(sample_shape, coding)
        case _:
            return Arrays(sample_shape, coding)
