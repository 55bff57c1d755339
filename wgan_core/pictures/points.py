"""Points in the plane over real points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from wgan_core.pictures.canvas import BLUE, FRAME, GREY, MARGIN, SIDE, WHITE, Pixels


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
