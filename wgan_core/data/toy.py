"""Toy data of two axes: two mixtures of Gaussians and a Swiss roll, drawn from a seed.

The laws and scalings are those of the toy script by the authors of Gulrajani et al. 2017 (`gan_toy.py`), with two
differences: the samples are drawn once, and the component of each sample of the 25 is drawn as well, where theirs has
4,000 of each.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wgan_core.data.dataset import Dataset, Split
from wgan_core.errors import UserError

TRAIN_ROWS, HELD_OUT_ROWS = 100_000, 10_000
TOY_SEED = 20_170_331


@dataclass(frozen=True, eq=False)
class Mixture:
    """Gaussians that are alike but for their centres, in equal shares.

    Attributes:
        centres: float64 (M, 2), in data units.
        sd: of each component on each axis, in data units.
    """

    centres: NDArray[np.float64]
    sd: float

    def draw(self, count: int, rng: np.random.Generator) -> Split:
        """Samples (count, 2), labelled with the index of their centre."""
        component = rng.integers(len(self.centres), size=count)
        values = self.centres[component] + self.sd * rng.standard_normal((count, 2))
        return Split(values.astype(np.float32), component)


def ring(count: int, radius: float) -> NDArray[np.float64]:
    """(count, 2): points at even angles on a circle around the origin, the first on the first axis."""
    angles = 2 * math.pi * np.arange(count) / count
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def grid(side: int, spacing: float) -> NDArray[np.float64]:
    """(side^2, 2): points of a square grid around the origin, row by row."""
    places = spacing * (np.arange(side) - (side - 1) / 2)
    return np.stack(np.meshgrid(places, places, indexing="ij"), axis=-1).reshape(-1, 2)


def draw_swiss_roll(count: int, rng: np.random.Generator) -> Split:
    """Samples (count, 2): the first and last axis of scikit-learn's `make_swiss_roll` with noise .25, divided by 7.5.

    A spiral (t cos t, t sin t), t uniform in [1.5 pi, 4.5 pi] (Marsland 2009, chapter 10, as scikit-learn has it).
    """
    t = 1.5 * math.pi * (1 + 2 * rng.random(count))
    rolled = np.stack([t * np.cos(t), t * np.sin(t)], axis=1) + 0.25 * rng.standard_normal((count, 2))
    return Split((rolled / 7.5).astype(np.float32), None)


MIXTURES: Mapping[str, Mixture] = {
    "8gaussians": Mixture(ring(8, 2.0) / 1.414, 0.02 / 1.414),
    "25gaussians": Mixture(grid(5, 2.0) / 2.828, 0.05 / 2.828),
}
DRAWS: Mapping[str, Callable[[int, np.random.Generator], Split]] = {
    **{name: mixture.draw for name, mixture in MIXTURES.items()},
    "swissroll": draw_swiss_roll,
}


def load_toy(name: str, seed: int = TOY_SEED) -> Dataset:
    """The toy data of this name: 100,000 samples to train, 10,000 to validate, 10,000 to test, float32 (N, 2).

    Samples of a mixture are labelled with the index of their centre in `MIXTURES[name].centres`.

    Raises `UserError` for an unknown name.
    """
    draw = DRAWS.get(name)
    if draw is None:
        raise UserError(
            f"toy data must be one of {', '.join(DRAWS)}; given {name!r}: give --data {next(iter(DRAWS))}, for example"
        )
    rng = np.random.Generator(np.random.PCG64(seed))
    train, validation, test = (draw(rows, rng) for rows in (TRAIN_ROWS, HELD_OUT_ROWS, HELD_OUT_ROWS))
    return Dataset.of(name, train, validation, test)
