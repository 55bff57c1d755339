"""Points in a plane, which are shown over real points in a scatter plot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from wgan_core.kinds.canvas import BLUE, FRAME, GREY, MARGIN, SIDE, WHITE, Pixels, png, to_draw
from wgan_core.kinds.kind import Kind


@dataclass(frozen=True)
class Points(Kind):
    """Points (2,) in a plane."""

    @property
    def in_picture(self) -> int:
        return 2_000

    def picture(self, samples: Tensor, real: Tensor, columns: int | None = None) -> bytes:
        return png(scatter(samples, to_draw(real)))


@dataclass(frozen=True)
class Axes:
    """Axes of a square picture.

    Attributes:
        low, high: The least and the greatest value on each axis, (2,).
        side: The picture's side, in pixels.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    side: int

    @classmethod
    def around(cls, real: NDArray[np.float64], side: int) -> Axes:
        """Return axes that span all real points (M, 2), with a margin."""
        low, high = real.min(axis=0), real.max(axis=0)
        margin = MARGIN * np.where(high > low, high - low, 1.0)
        return cls(low - margin, high + margin, side)

    def pixels(self, points: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the pixel row and column of each finite point of (N, 2).

        The second axis points up. A point outside the axes lies on the edge.
        """
        found = points[np.isfinite(points).all(axis=1)]
        share = np.clip((found - self.low) / (self.high - self.low), 0.0, 1.0)
        column, height = np.rint(share * (self.side - 3)).astype(np.int64).T + 1
        return self.side - 1 - height, column


def scatter(samples: Tensor, real: Tensor, side: int = SIDE) -> Pixels:
    """Draw generated points (N, 2), blue, over real points (M, 2), grey, as pixels (side, side, 3).

    The axes span the real points, and the corners state their range. A generated point outside is drawn on the edge. A
    point that is not finite is not drawn.
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
    """Add a frame, and write the coordinates of the lower left and upper right corners into them."""
    image = Image.fromarray(canvas)
    drawing, last = ImageDraw.Draw(image), axes.side - 1
    drawing.rectangle((0, 0, last, last), outline=FRAME)
    drawing.text((5, last - 16), point_text(axes.low), fill=FRAME)
    upper = point_text(axes.high)
    drawing.text((last - 5 - drawing.textlength(upper), 4), upper, fill=FRAME)
    return np.asarray(image)


def point_text(point: NDArray[np.float64]) -> str:
    return f"({point[0]:.3g}, {point[1]:.3g})"
