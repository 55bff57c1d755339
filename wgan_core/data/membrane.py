"""Windows of a recorded series: the membrane voltage of a firing cell, from Matplotlib's example data."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wgan_core.data.dataset import Dataset
from wgan_core.data.sequences import standardised
from wgan_core.data.splits import SPLITS
from wgan_core.errors import UserError

FILE = "matplotlib/mpl-data/sample_data/membrane.dat"
SHA256 = "ab795b429201a5bb575c6370d5e17090dfcfc317431aa9382f8e881366f43357"
LENGTH, STRIDE = 64, 2
# Steps of the recording in which the cell fires steadily, once in 144 steps. It adapts before and falters after.
STEADY = range(3_000, 7_100)
# Share of the steady steps for each split, in order of time, without the gaps between the splits.
SHARES = dict(zip(SPLITS, (0.6, 0.2, 0.2), strict=True))


def load_membrane() -> Dataset:
    """Load windows of 64 steps of the steady stretch, float32 (N, 1, 64), standardised.

    A window begins at every second step: 1,160 to train, 366 to validate and 366 to test. The splits follow each other
    in time, with a gap of 64 steps, so that no window is a neighbour of one in another split.

    Raises:
        UserError: The recording is missing or has other content.
    """
    voltage = recording()
    steps = len(STEADY) - LENGTH * (len(SPLITS) - 1)
    ends = STEADY.start + np.rint(steps * np.cumsum([0, *SHARES.values()])).astype(int)
    splits = {name: windows(voltage[LENGTH * at :][ends[at] : ends[at + 1]]) for at, name in enumerate(SPLITS)}
    return replace(standardised("membrane", splits, ["voltage"], [False]), overlapping=True)


def recording() -> NDArray[np.float64]:
    """Return all 12,000 steps of the recording, found without importing Matplotlib, which is slow."""
    try:
        file = Path(str(distribution("matplotlib").locate_file(FILE)))
        content = file.read_bytes()
    except (PackageNotFoundError, OSError) as error:
        raise UserError(
            f"the membrane data is in the files of Matplotlib; there are none: {error}: install matplotlib with pip"
        ) from error
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise UserError(f"{file} must be Matplotlib's recording; its content is another: install matplotlib again")
    return np.frombuffer(content, dtype="<f4").astype(np.float64)


def windows(series: NDArray[np.float64], length: int = LENGTH, stride: int = STRIDE) -> NDArray[np.float64]:
    """Return all windows (N, 1, length) of a series (T,) that begin at a multiple of `stride`."""
    return np.lib.stride_tricks.sliding_window_view(series, length)[::stride, None]
