"""DCGAN (Radford et al. 2016, section 3 and figure 1), for images of 28, 32 or 64 pixels.

The pair differs from the published one in three points:

- Kernels are 4x4 instead of 5x5, because 4x4 kernels double and halve a side exactly.
- The width is an option; the published width is 128.
- The critic has no batch normalisation, because a gradient penalty forbids it.
"""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from wgan_core.config import Structure
from wgan_core.networks.layers import LeakyReLU, Reshape, normal_weights
from wgan_core.networks.layers import layer_norm as normalisation
from wgan_core.networks.pairs import checks

WIDTH = 64
INITIAL_SD = 0.02
BASE = 4


def _levels(side: int, width: int) -> list[tuple[int, int]]:
    """Return the channels and the kernel size of each strided convolution, from the image inwards.

    Each convolution halves the side, down to 4 pixels. Each one after the first doubles the channels. A kernel of 3
    takes 7 pixels to 4 and back.
    """
    levels: list[tuple[int, int]] = []
    while side > BASE:
        levels.append((width << len(levels), 3 if side % 2 else 4))
        side = (side + 1) // 2
    return levels


def dcgan_critic(
    structure: Structure, width: int = WIDTH, layer_norm: bool = False, initial_sd: float | None = INITIAL_SD
) -> nn.Module:
    """Make a critic of strided convolutions down to 4x4, LeakyReLU(.2) and a linear score.

    Args:
        width: Channels of the first layer; each further layer has twice as many as the layer before.
        layer_norm: Whether all layers but the first are normalised over channels and pixels, per sample (Ba et al.
            2016). Gulrajani et al. 2017, section 4, recommend it for critics.
        initial_sd: Standard deviation of the initial weights; biases start at zero. None keeps torch's own draws.

    Raises:
        UserError: An option is out of its range, or the images have another size.
    """
    channels, side = checks.square_image(structure, "dcgan")
    normalised = checks.flag("layer_norm", layer_norm)
    layers: list[nn.Module] = []
    for after, kernel in _levels(side, checks.width(width, WIDTH)):
        layers.append(nn.Conv2d(channels, after, kernel, stride=2, padding=1))
        if normalised and len(layers) > 1:
            layers.append(normalisation(after))
        layers.append(LeakyReLU())
        channels = after
    size = channels * BASE * BASE
    critic = nn.Sequential(*layers, Reshape(size), nn.Linear(size, 1), Reshape())
    return normal_weights(critic, checks.initial_sd(initial_sd, INITIAL_SD))


def dcgan_generator(
    structure: Structure, width: int = WIDTH, initial_sd: float | None = INITIAL_SD, batch_norm: bool = True
) -> nn.Module:
    """Make a generator of a linear layer to 4x4 and strided transposed convolutions with ReLU.

    Samples are in [-1, 1].

    Args:
        width: Channels of the last hidden layer; each layer before has twice as many as the next.
        initial_sd: As for the critic.
        batch_norm: Whether all layers but the last are normalised over the batch. The script of Gulrajani et al. 2017
            for MNIST leaves it out under a gradient penalty.

    Raises:
        UserError: An option is out of its range, or the images have another size.
    """
    channels, side = checks.square_image(structure, "dcgan")
    levels = _levels(side, checks.width(width, WIDTH))[::-1]
    normalised = checks.flag("batch_norm", batch_norm)
    before = levels[0][0]
    layers: list[nn.Module] = [
        # A bias before a normalisation has no gradient but rounding noise, which Adam would amplify.
        nn.Linear(structure.latent_dim, before * BASE * BASE, bias=not normalised),
        Reshape(before, BASE, BASE),
    ]
    for (before, kernel), (after, _) in pairwise(levels):
        layers += [*_activated(before, normalised), _up(before, after, kernel, bias=not normalised)]
    last, kernel = levels[-1]
    layers += [*_activated(last, normalised), _up(last, channels, kernel, bias=True), nn.Tanh()]
    return normal_weights(nn.Sequential(*layers), checks.initial_sd(initial_sd, INITIAL_SD))


def _activated(width: int, normalised: bool) -> list[nn.Module]:
    return [nn.BatchNorm2d(width), nn.ReLU()] if normalised else [nn.ReLU()]


def _up(before: int, after: int, kernel: int, bias: bool) -> nn.Module:
    return nn.ConvTranspose2d(before, after, kernel, stride=2, padding=1, bias=bias)
