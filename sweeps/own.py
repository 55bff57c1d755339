"""Search the hyper-parameters of a GAN on a trefoil: an example with networks, data and a metric of your own.

Copy this file, and replace the networks, the data and the metric with your own. The networks are ordinary PyTorch
modules. One process may train several trials side by side (--lanes 4). So `forward` must neither draw random numbers
nor branch on tensor values. A critic must score each sample independently of the other samples. Several threads may
call a metric at once, so it must not change any shared state. After the sweep, this command draws samples:
`sweeps sample own --script sweeps/own.py`.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sweeps import WGAN_GP, Preset, parse, run_script, run_sweep
from wgan_core import Dataset, LeakyReLU, OwnMetric, Pair, Split, Structure, register

# The networks


class Block(nn.Module):
    """A normalised hidden layer with a residual connection: (N, width) -> (N, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.linear, self.activation = nn.LayerNorm(width), nn.Linear(width, width), LeakyReLU()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.linear(self.activation(self.norm(x)))


class Critic(nn.Module):
    """A critic of points: (N, 2) -> scores (N,). It also sees the products x², y² and xy of the coordinates."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, width), Block(width), Block(width), nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.body(torch.cat([x, x * x, x.prod(1, keepdim=True)], dim=1))
        return scores.squeeze(1)


class Generator(nn.Module):
    """A generator of points: z (N, Z) -> (N, 2)."""

    def __init__(self, latent_dim: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(latent_dim, width), Block(width), Block(width), nn.Linear(width, 2))

    def forward(self, z: Tensor) -> Tensor:
        points: Tensor = self.body(z)
        return points


def critic(structure: Structure, width: int = 64) -> nn.Module:
    return Critic(width)


def generator(structure: Structure, width: int = 64) -> nn.Module:
    return Generator(structure.latent_dim, width)


# Register at import, not in `main`, so that `sweeps sample --script` knows the networks too.
register("trefoil", Pair(critic, generator, flat=True))


# The data


def draw_trefoil(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw points on a trefoil with a uniform curve parameter and Gaussian noise.

    Returns:
        Points (count, 2). The noise has a standard deviation of 0.05 on each axis.
    """
    t = 2 * np.pi * rng.random(count)
    curve = np.stack([np.sin(t) + 2 * np.sin(2 * t), np.cos(t) - 2 * np.cos(2 * t)], axis=1)
    return (curve / 3 + 0.05 * rng.standard_normal((count, 2))).astype(np.float32)


def load_trefoil() -> Dataset:
    """Return 50,000 points for training, 5,000 for validation and 5,000 for testing."""
    rng = np.random.Generator(np.random.PCG64(3))
    train, validation, test = (Split(draw_trefoil(rows, rng), None) for rows in (50_000, 5_000, 5_000))
    return Dataset.of("trefoil", train, validation, test)


# The metric


def energy_distance(real: Tensor, fake: Tensor) -> float:
    """Return 2 E|X - Y| - E|X - X'| - E|Y - Y'| (Székely and Rizzo 2013), estimated from points (N, 2), in data units.

    The expectation of the estimate is 0 if both sides have the same distribution.
    """
    real, fake = real[:2000].double(), fake[:2000].double()
    within = sum(float(torch.cdist(side, side).sum()) / (len(side) * (len(side) - 1)) for side in (real, fake))
    return 2 * float(torch.cdist(real, fake).mean()) - within


METRIC = OwnMetric("energy_distance", energy_distance, "energy distance of 2,000 points; data units, may be below 0")

# The search

PRESETS = {"trefoil": Preset("none: an example", WGAN_GP, {"networks": "trefoil", "latent_dim": 8, "batch_size": 256})}


def main() -> None:
    options = parse("own", __doc__ or "", trials=12, budget=5_000, presets=PRESETS, data=None)
    preset, dataset = PRESETS[options.preset], load_trefoil()
    structure = preset.structure_for(dataset.sample_shape, options.networks)
    run_sweep(options, dataset, structure, preset.space, metrics=[METRIC])


if __name__ == "__main__":
    sys.exit(run_script(main))
