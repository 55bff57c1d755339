"""Toy data in two dimensions: two mixtures of Gaussians and a Swiss roll, drawn from a seed.

The distributions and scalings are those of `gan_toy.py` by the authors of Gulrajani et al. 2017, with two differences.
All samples are drawn once. The component of each sample of the 25 Gaussians is random, where `gan_toy.py` draws 4,000
samples of each component.
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
    """Mixture of Gaussians with equal weights and equal standard deviations.

    Attributes:
        centres: Means of the components, float64 (M, 2), in data units.
        sd: Standard deviation of each component on each axis, in data units.
    """

    centres: NDArray[np.float64]
    sd: float

    def draw(self, count: int, rng: np.random.Generator) -> Split:
        """Draw samples (count, 2), labelled with the index of their centre."""
        component = rng.integers(len(self.centres), size=count)
        values = self.centres[component] + self.sd * rng.standard_normal((count, 2))
        return Split(values.astype(np.float32), component)


def ring(count: int, radius: float) -> NDArray[np.float64]:
    """Return points (count, 2) at even angles on a circle around the origin, the first on the first axis."""
    angles = 2 * math.pi * np.arange(count) / count
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def grid(side: int, spacing: float) -> NDArray[np.float64]:
    """Return the points (side^2, 2) of a square grid centred on the origin, row by row."""
    places = spacing * (np.arange(side) - (side - 1) / 2)
    return np.stack(np.meshgrid(places, places, indexing="ij"), axis=-1).reshape(-1, 2)


def draw_swiss_roll(count: int, rng: np.random.Generator) -> Split:
    """Draw samples (count, 2) like the first and last axis of scikit-learn's `make_swiss_roll`.

    The spiral is (t cos t, t sin t), t uniform in [1.5 pi, 4.5 pi] (Marsland 2009, chapter 10, as in scikit-learn).
    Noise of standard deviation 0.25 is added, and the sum is divided by 7.5.
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
    """Draw toy data, float32 (N, 2): 100,000 samples to train, 10,000 to validate and 10,000 to test.

    Samples of a mixture are labelled with the index of their centre in `MIXTURES[name].centres`.

    Raises:
        UserError: The name is not in `DRAWS`.
    """
    draw = DRAWS.get(name)
    if draw is None:
        raise UserError(
            f"toy data must be one of {', '.join(DRAWS)}; given {name!r}: give --data {next(iter(DRAWS))}, for example"
        )
    rng = np.random.Generator(np.random.PCG64(seed))
    train, validation, test = (draw(rows, rng) for rows in (TRAIN_ROWS, HELD_OUT_ROWS, HELD_OUT_ROWS))
    return Dataset.of(name, train, validation, test)
