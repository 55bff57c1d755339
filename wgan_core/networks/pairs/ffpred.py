"""The pair of FFPred-GAN (Wan and Jones 2020), which generates rows of protein features, for rows of any length.

Layers, slopes and initial weights are those of the published code. Rows and z have 258 entries there.
"""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from wgan_core.config import Structure
from wgan_core.networks.layers import LeakyReLU, Reshape, normal_weights
from wgan_core.networks.pairs import checks

CRITIC_WIDTH = 86
GENERATOR_WIDTH = 512
HIDDEN_LAYERS = 3
SLOPE = 0.01
INITIAL_SD = 0.02


class FFPredCritic(nn.Module):
    """A critic: flattened sample -> three hidden layers with LeakyReLU(.01) -> one score."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.flatten = Reshape(size)
        sizes = [size] + [width] * HIDDEN_LAYERS
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(before, after), LeakyReLU(SLOPE)) for before, after in pairwise(sizes)
        )
        self.score = nn.Sequential(nn.Linear(width, 1), Reshape())

    def hidden(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs (N, width) of the hidden layers, in order, for feature matching. Samples are (N, ...)."""
        x, found = self.flatten(x), []
        for layer in self.layers:
            x = layer(x)
            found.append(x)
        return tuple(found)

    def forward(self, x: Tensor) -> Tensor:
        return self.score(self.hidden(x)[-1])


def ffpred_critic(
    structure: Structure, width: int = CRITIC_WIDTH, initial_sd: float | None = INITIAL_SD
) -> FFPredCritic:
    """Make the critic D-86-86-86-1, where D is the length of a flattened sample.

    Args:
        width: Units of each hidden layer.
        initial_sd: Standard deviation of the initial weights; biases start at zero. None keeps torch's own draws, which
            are larger.

    Raises:
        UserError: An option is out of its range.
    """
    critic = FFPredCritic(math.prod(structure.sample_shape), checks.width(width, CRITIC_WIDTH))
    normal_weights(critic, checks.initial_sd(initial_sd, INITIAL_SD))
    return critic


def ffpred_generator(
    structure: Structure, width: int = GENERATOR_WIDTH, initial_sd: float | None = INITIAL_SD
) -> nn.Module:
    """Make the generator z-512-512-512-D with ReLU, ReLU, tanh and a linear output, so samples have no bounds.

    The published z is as long as a sample.

    Args:
        width: Units of each hidden layer.
        initial_sd: As for the critic.

    Raises:
        UserError: An option is out of its range.
    """
    width = checks.width(width, GENERATOR_WIDTH)
    generator = nn.Sequential(
        nn.Linear(structure.latent_dim, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.Tanh(),
        nn.Linear(width, math.prod(structure.sample_shape)),
        Reshape(*structure.sample_shape),
    )
    return normal_weights(generator, checks.initial_sd(initial_sd, INITIAL_SD))
