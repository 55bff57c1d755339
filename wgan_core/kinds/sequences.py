"""Sequences, which are shown as blue lines beside grey lines of real sequences.

Lines are drawn larger and then averaged, which makes them smooth.

Shapes: N sequences, C channels, L steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from wgan_core.kinds.canvas import BLUE, FRAME, MARGIN, WHITE, Pixels, png, spread, to_draw
from wgan_core.kinds.kind import Kind

# In pixels: a panel's width and least height, and the least height of each channel in it.
WIDTH, ALONE, STACKED = 120, 64, 30
# In pixels: the space between panels, between the two halves, and above the panels.
SPACE, APART, HEAD = 8, 28, 20
COLUMNS, HEIGHT = 4, 480
SHOWN = 16  # channels at most
FINE = 3  # lines are drawn this many times larger, and then averaged
REAL, EDGE = (90, 90, 90), (225, 225, 225)

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Sequences(Kind):
    """Sequences (C, L). The coding has a column for each channel; it is None for data of a user's own."""

    @property
    def in_picture(self) -> int:
        """Number of generated sequences that fill a picture, in whole rows of `COLUMNS`."""
        return COLUMNS * max(1, HEIGHT // (_panel_height(self.sample_shape[0]) + SPACE))

    def picture(self, samples: Tensor, real: Tensor, columns: int | None = None) -> bytes:
        return png(lines(samples, to_draw(real), columns))


def lines(samples: Tensor, real: Tensor, columns: int | None = None) -> Pixels:
    """Draw generated sequences (N, C, L) on the left and as many real ones (M, C, L) on the right.

    A panel shows one sequence, with its first 16 channels below each other. A channel's axis is the range of all real
    values with a margin; the first panel states it. A step outside the axis is drawn on its edge. A step that is not
    finite is not drawn.

    Args:
        samples: Generated sequences.
        real: Real sequences, standardised.
        columns: The number of panels beside each other in each half.

    Returns:
        Pixels (H, W, 3).
    """
    channels = real.shape[1]
    real = real[:, :SHOWN]
    known, made = real.cpu().double().numpy(), samples.detach()[:, :SHOWN].cpu().double().numpy()
    columns = min(columns or COLUMNS, len(made))
    low, high = known.min(axis=(0, 2)), known.max(axis=(0, 2))
    margin = MARGIN * np.where(high > low, high - low, 1.0)
    low, high = low - margin, high + margin
    tall = _panel_height(known.shape[1])
    half = columns * (WIDTH + SPACE)
    rows = math.ceil(len(made) / columns)
    size = (2 * half + APART + SPACE, HEAD + rows * (tall + SPACE))
    fine = Image.new("RGB", (FINE * size[0], FINE * size[1]), WHITE)
    drawing = ImageDraw.Draw(fine)
    shown = spread(real, len(made)).cpu().double().numpy()
    for left, sequences, colour in ((SPACE, made, BLUE), (SPACE + half + APART, shown, REAL)):
        for index, sequence in enumerate(sequences):
            at = left + index % columns * (WIDTH + SPACE), HEAD + index // columns * (tall + SPACE)
            _panel(drawing, at, tall, (sequence - low[:, None]) / (high - low)[:, None], colour)
    picture = fine.resize(size, Image.Resampling.BOX)
    title = "generated" if channels <= SHOWN else f"generated, {SHOWN} of {channels} channels"
    _words(ImageDraw.Draw(picture), title, half, tall, (low, high))
    return np.asarray(picture)


def _panel_height(channels: int) -> int:
    return max(ALONE, STACKED * min(channels, SHOWN))


def _panel(
    drawing: ImageDraw.ImageDraw, at: tuple[int, int], tall: int, shares: Numbers, colour: tuple[int, ...]
) -> None:
    """Draw one sequence (C, L), as shares of each channel's axis, in a frame whose upper left corner is `at`."""
    left, top = at
    box = [FINE * left, FINE * top, FINE * (left + WIDTH) - 1, FINE * (top + tall) - 1]
    drawing.rectangle(box, outline=EDGE, width=FINE)
    track = tall / len(shares)
    for channel, share in enumerate(shares):
        if channel:
            edge = FINE * round(top + track * channel)
            drawing.line([box[0], edge, box[2], edge], fill=EDGE, width=FINE)
        across = FINE * (left + 2 + (WIDTH - 4) * np.linspace(0, 1, len(share)))
        down = FINE * (top + track * channel + 2 + (track - 4) * (1 - share.clip(0, 1)))
        for run in _finite_runs(share):
            drawing.line(list(zip(across[run], down[run], strict=True)), fill=colour, width=FINE, joint="curve")


def _finite_runs(values: Numbers) -> Iterator[slice]:
    """Yield the stretches of at least two consecutive finite values."""
    ends = np.flatnonzero(~np.isfinite(values))
    for start, end in zip([0, *(ends + 1)], [*ends, len(values)], strict=True):
        if end - start > 1:
            yield slice(start, end)


def _words(drawing: ImageDraw.ImageDraw, title: str, half: int, tall: int, ranges: tuple[Numbers, Numbers]) -> None:
    """Write the title of each half, and the range of each channel's axis in the first panel."""
    low, high = ranges
    drawing.text((SPACE, 4), title, fill=BLUE)
    drawing.text((SPACE + half + APART, 4), "real", fill=REAL)
    for channel, (least, most) in enumerate(zip(low, high, strict=True)):
        top, bottom = (round(tall * place / len(low)) + HEAD for place in (channel, channel + 1))
        drawing.text((SPACE + 4, top + 1), f"{most:.3g}", fill=FRAME)
        drawing.text((SPACE + 4, bottom - 14), f"{least:.3g}", fill=FRAME)
