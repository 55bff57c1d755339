"""A small convolutional pair, for images whose sides are multiples of 4."""

from __future__ import annotations

from torch import nn

from wgan_core.config import Structure
from wgan_core.errors import UserError
from wgan_core.networks.layers import LeakyReLU, Reshape
from wgan_core.networks.pairs import checks

WIDTH = 32


def _base(structure: Structure) -> tuple[int, int, int]:
    """Return the channels, and a quarter of the height and of the width."""
    shape = structure.sample_shape
    if len(shape) != 3 or shape[1] % 4 or shape[2] % 4:
        raise UserError(
            f"the conv networks take images whose height and width are multiples of 4; given samples of shape {shape}: "
            "take --networks mlp"
        )
    return shape[0], shape[1] // 4, shape[2] // 4


def conv_critic(structure: Structure, width: int = WIDTH) -> nn.Module:
    """Make a critic of two strided 4x4 convolutions and a linear score, without normalisation.

    The design follows Radford et al. 2016.

    Args:
        width: Channels of the first layer; the second layer has twice as many.

    Raises:
        UserError: The width is out of its range, or a side of the images is no multiple of 4.
    """
    channels, height, breadth = _base(structure)
    width = checks.width(width, WIDTH)
    return nn.Sequential(
        nn.Conv2d(channels, width, 4, stride=2, padding=1),
        LeakyReLU(),
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
        LeakyReLU(),
        Reshape(2 * width * height * breadth),
        nn.Linear(2 * width * height * breadth, 1),
        Reshape(),
    )


def conv_generator(structure: Structure, width: int = WIDTH) -> nn.Module:
    """Make a generator of a linear layer and two strided 4x4 transposed convolutions, with batch normalisation.

    The design follows Radford et al. 2016.

    Args:
        width: Channels of the last hidden layer; the layer before has twice as many.

    Raises:
        UserError: The width is out of its range, or a side of the images is no multiple of 4.
    """
    channels, height, breadth = _base(structure)
    width = checks.width(width, WIDTH)
    return nn.Sequential(
        nn.Linear(structure.latent_dim, 2 * width * height * breadth, bias=False),
        Reshape(2 * width, height, breadth),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1),
        nn.Tanh(),
    )
