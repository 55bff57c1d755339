"""Samples as pictures: images in a grid, points over real ones, sequences as lines, tables column by column."""

from __future__ import annotations

import torch
from torch import Tensor

from wgan_core.data.coding import Coding
from wgan_core.data.dataset import to_model
from wgan_core.pictures.canvas import BLUE, GREY, SIDE, png, spread
from wgan_core.pictures.columns import spreads
from wgan_core.pictures.images import grid_png, is_image
from wgan_core.pictures.lines import lines, sequences_in_picture
from wgan_core.pictures.points import scatter
from wgan_core.pictures.stripes import stripes

__all__ = ["BLUE", "GREY", "SIDE", "grid_png", "is_image", "lines", "samples_in_picture", "samples_png", "scatter"]

PLANE = (2,)
SEQUENCE_AXES = 2
REAL_ROWS = 4_000
# What a picture shows of each side: as many images or rows as can be told apart, and a cloud of points.
IMAGES, POINTS = 64, 2_000


def samples_in_picture(sample_shape: tuple[int, ...], coding: Coding | None = None) -> int:
    """How many samples of this shape make a picture; coding: how they are rows of a table or sequences, if they are."""
    if len(sample_shape) == SEQUENCE_AXES:
        return sequences_in_picture(sample_shape[0])
    return IMAGES if coding is None and sample_shape != PLANE else POINTS


def samples_png(samples: Tensor, real: Tensor, columns: int | None = None, coding: Coding | None = None) -> bytes:
    """A PNG of generated samples (N, ...) as suits their shape; real: the data (M, ...) that they are to be like.

    Images (N, 1 or 3, H, W) in [-1, 1] stand in a grid, as `grid_png` has it. On axes that depend on the real data
    only: rows of a table (N, D), if their coding is given, as the spread of each column; points (N, 2) over real
    points; and sequences (N, C, L) as lines beside real ones. Anything else is rows of grey beside real rows.
    """
    shape = tuple(samples.shape[1:])
    if is_image(shape):
        return grid_png(samples, columns)
    of_axes = shape == PLANE or len(shape) == SEQUENCE_AXES or coding is not None
    known = to_model(spread(real, REAL_ROWS if of_axes else len(samples)).cpu(), torch.float32)
    if coding is not None and len(shape) == 1:
        return png(spreads(samples, known, coding))
    if shape == PLANE:
        return png(scatter(samples, known))
    return png(lines(samples, known, columns) if len(shape) == SEQUENCE_AXES else stripes(samples, known))
