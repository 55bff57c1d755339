"""Arrays of any other shape, which are shown as rows of grey pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from wgan_core.kinds.canvas import GAP, SIDE, Pixels, png, to_draw
from wgan_core.kinds.kind import Kind


@dataclass(frozen=True)
class Arrays(Kind):
    """Samples of any shape, in [-1, 1]."""

    @property
    def in_picture(self) -> int:
        return 64

    def picture(self, samples: Tensor, real: Tensor, columns: int | None = None) -> bytes:
        return png(stripes(samples, to_draw(real, len(samples))))


def stripes(samples: Tensor, real: Tensor) -> Pixels:
    """Draw each sample as a row of grey: generated (N, ...) on the left, real (M, ...) on the right, as pixels (H, W).

    Each column ranges from black at its least real value to white at its greatest.
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
