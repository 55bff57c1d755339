"""An example of a search over networks, data and a metric of one's own: points on a trefoil.

Copy it, and put your own in the place of each of the three parts. Networks are plain modules; as trials may be trained
side by side in one process (--lanes 4), their `forward` must be free of random draws and of decisions by value, and a
critic must score each sample by itself. A metric may be called from several threads of a process at once, so it must
change nothing that its calls share. To sample from such a sweep: `sweeps sample own --script sweeps/own.py`.
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
    """A hidden layer beside a way past it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.linear, self.activation = nn.LayerNorm(width), nn.Linear(width, width), LeakyReLU()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.linear(self.activation(self.norm(x)))


class Critic(nn.Module):
    """A point (N, 2), with its products of two coordinates, to a score (N,)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, width), Block(width), Block(width), nn.Linear(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.body(torch.cat([x, x * x, x.prod(1, keepdim=True)], dim=1))
        return scores.squeeze(1)


class Generator(nn.Module):
    """z (N, Z) to a point (N, 2)."""

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


# Where the file is read, so that `sweeps sample --script` knows the networks too.
register("trefoil", Pair(critic, generator, flat=True))


# The data


def draw_trefoil(count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(count, 2): points of a trefoil, at even speed of its parameter, with noise of .05 on each axis."""
    t = 2 * np.pi * rng.random(count)
    curve = np.stack([np.sin(t) + 2 * np.sin(2 * t), np.cos(t) - 2 * np.cos(2 * t)], axis=1)
    return (curve / 3 + 0.05 * rng.standard_normal((count, 2))).astype(np.float32)


def load_trefoil() -> Dataset:
    """50,000 points to train, 5,000 to validate, 5,000 to test."""
    rng = np.random.Generator(np.random.PCG64(3))
    train, validation, test = (Split(draw_trefoil(rows, rng), None) for rows in (50_000, 5_000, 5_000))
    return Dataset.of("trefoil", train, validation, test)


# The metric


def energy_distance(real: Tensor, fake: Tensor) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| of points (N, 2) (Székely and Rizzo 2013); 0 for equal laws; data units."""
    real, fake = real[:2000].double(), fake[:2000].double()
    pairs = len(real) * (len(real) - 1)
    within = sum(float(torch.cdist(side, side).sum()) / pairs for side in (real, fake))
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
