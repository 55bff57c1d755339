"""Samples as pictures: images in a grid, points over real points, rows of any other kind beside real rows."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from wgan_core.data.dataset import to_model, to_pixels
from wgan_core.errors import UserError

GAP = 2
PLANE = (2,)
SIDE = 400
REAL_POINTS = 4_000
# What a picture shows of each side: as many images or rows as can be told apart, and a cloud of points.
IMAGES, POINTS = 64, 2_000
MARGIN = 0.08  # of the real data's range, on each side of it
WHITE, GREY, FRAME, BLUE = (255, 255, 255), (205, 205, 205), (120, 120, 120), (0, 90, 200)

Pixels = NDArray[np.uint8]


def samples_in_picture(sample_shape: tuple[int, ...]) -> int:
    """How many samples of this shape make a picture."""
    return POINTS if sample_shape == PLANE else IMAGES


def samples_png(samples: Tensor, real: Tensor, columns: int | None = None) -> bytes:
    """A PNG of generated samples (N, ...) as suits their shape; real: the data (M, ...) that they are to be like.

    Images (N, 1 or 3, H, W) in [-1, 1] stand in a grid, as `grid_png` has it; points (N, 2) over real points, on axes
    that depend on the real data only; anything else as rows of grey beside real rows.
    """
    shape = tuple(samples.shape[1:])
    if is_image(shape):
        return grid_png(samples, columns)
    real = to_model(spread(real, REAL_POINTS if shape == PLANE else len(samples)).cpu(), torch.float32)
    return png(scatter(samples, real) if shape == PLANE else stripes(samples, real))


def is_image(shape: tuple[int, ...]) -> bool:
    """Whether samples of this shape are images, grey or colour."""
    return len(shape) == 3 and shape[0] in (1, 3)


def spread(values: Tensor, count: int) -> Tensor:
    """At most so many of the values (M, ...), evenly spread, as they may be sorted."""
    count = min(count, len(values))
    return values[torch.arange(count, device=values.device) * len(values) // count]


def png(pixels: Pixels) -> bytes:
    """Pixels (H, W) or (H, W, 3) as a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


# Images


def grid_png(samples: Tensor, columns: int | None = None) -> bytes:
    """A PNG of images (N, C, H, W) in [-1, 1], C 1 or 3, row by row; as near to a square as N allows.

    Raises `UserError` for samples that are not images.
    """
    if not is_image(tuple(samples.shape[1:])):
        raise UserError(f"a picture needs samples of shape (N, 1 or 3, height, width); given {tuple(samples.shape)}")
    count, channels, height, width = samples.shape
    columns = columns or math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    canvas = np.zeros((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels), dtype=np.uint8)
    for index, pixels in enumerate(to_pixels(samples).permute(0, 2, 3, 1).cpu().numpy()):
        top, left = index // columns * (height + GAP), index % columns * (width + GAP)
        canvas[top : top + height, left : left + width] = pixels
    return png(canvas.squeeze(2) if channels == 1 else canvas)


# Points


@dataclass(frozen=True)
class Axes:
    """Where a point lies in a square picture: least and greatest value on each axis, (2,)."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    side: int

    @classmethod
    def around(cls, real: NDArray[np.float64], side: int) -> Axes:
        """Axes that hold all real points (M, 2), with a margin."""
        low, high = real.min(axis=0), real.max(axis=0)
        margin = MARGIN * np.where(high > low, high - low, 1.0)
        return cls(low - margin, high + margin, side)

    def pixels(self, points: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row and column, (N,) each, of points (N, 2); the second axis points up, what lies outside is on the edge."""
        found = points[np.isfinite(points).all(axis=1)]
        share = np.clip((found - self.low) / (self.high - self.low), 0.0, 1.0)
        column, height = np.rint(share * (self.side - 3)).astype(np.int64).T + 1
        return self.side - 1 - height, column


def scatter(samples: Tensor, real: Tensor, side: int = SIDE) -> Pixels:
    """Pixels (side, side, 3) of generated points (N, 2), blue, over real ones (M, 2), grey.

    The axes are the range of the real points; a generated point outside is drawn on the edge, one that is not finite
    not at all. The range stands in the corners.
    """
    known = real.detach().cpu().double().numpy()
    axes = Axes.around(known, side)
    canvas = np.full((side, side, 3), WHITE, dtype=np.uint8)
    for points, colour in ((known, GREY), (samples.detach().cpu().double().numpy(), BLUE)):
        row, column = axes.pixels(points)
        for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
            canvas[np.minimum(row + down, side - 1), np.minimum(column + right, side - 1)] = colour
    return framed(canvas, axes)


def framed(canvas: Pixels, axes: Axes) -> Pixels:
    """The canvas with a frame and, in the lower left and upper right corner, the point that is there."""
    image = Image.fromarray(canvas)
    drawing, last = ImageDraw.Draw(image), axes.side - 1
    drawing.rectangle((0, 0, last, last), outline=FRAME)
    drawing.text((5, last - 16), point_text(axes.low), fill=FRAME)
    upper = point_text(axes.high)
    drawing.text((last - 5 - drawing.textlength(upper), 4), upper, fill=FRAME)
    return np.asarray(image)


def point_text(point: NDArray[np.float64]) -> str:
    return f"({point[0]:.3g}, {point[1]:.3g})"


# Anything else


def stripes(samples: Tensor, real: Tensor) -> Pixels:
    """Pixels (H, W) of rows in grey, a sample a row: generated ones (N, ...) on the left, real ones (M, ...) beside.

    Each column goes from black at the least to white at the greatest real value in it.
    """
    known = real.flatten(1).float().numpy()
    low, high = known.min(axis=0), known.max(axis=0)
    scale = np.where(high > low, high - low, 1.0)
    generated = np.nan_to_num(samples.detach().flatten(1).cpu().float().numpy())
    rows, width = max(len(generated), len(known)), known.shape[1]
    canvas = np.full((rows, 2 * width + GAP), 255, dtype=np.uint8)
    for left, values in ((0, generated), (width + GAP, known)):
        shares = np.clip((values - low) / scale, 0.0, 1.0)
        canvas[: len(values), left : left + width] = np.rint(255 * shares).astype(np.uint8)
    return canvas.repeat(max(1, SIDE // rows), axis=0).repeat(max(1, SIDE // canvas.shape[1]), axis=1)
