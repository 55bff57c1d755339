"""Pictures of samples: image grids, scatter plots, line plots of sequences and histograms of table columns."""

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
# Most samples in a picture: as many images or rows as can be told apart, and more for plots and histograms.
IMAGES, POINTS = 64, 2_000


def samples_in_picture(sample_shape: tuple[int, ...], coding: Coding | None = None) -> int:
    """Return the number of generated samples that fill a picture.

    Args:
        sample_shape: The shape of one sample.
        coding: The columns of tables or sequences; None for other data.
    """
    if len(sample_shape) == SEQUENCE_AXES:
        return sequences_in_picture(sample_shape[0])
    return IMAGES if coding is None and sample_shape != PLANE else POINTS


def samples_png(samples: Tensor, real: Tensor, columns: int | None = None, coding: Coding | None = None) -> bytes:
    """Draw generated samples as a PNG that suits their shape.

    - Images (N, 1 or 3, H, W) in [-1, 1] form a grid.
    - Table rows (N, D) with a coding become histograms of their columns.
    - Points (N, 2) are drawn over real points.
    - Sequences (N, C, L) are lines beside real sequences.
    - Other samples are rows of grey beside real rows.

    The axes depend on the real data only.

    Args:
        samples: Generated samples (N, ...), as the generator returns them.
        real: Real samples (M, ...), as the data set stores them.
        columns: Images or sequences beside each other; None chooses.
        coding: The columns of tables or sequences; None for other data.
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
