"""Samples of any shape as rows of grey beside real rows."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from wgan_core.pictures.canvas import GAP, SIDE, Pixels


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
