"""DCGAN (Radford et al. 2016, section 3 and figure 1), for images of 28, 32 or 64 pixels.

As published, but for: 4x4 kernels in place of 5x5, which double and halve exactly; a width that is an option, where
theirs is 128; and a critic without batch normalisation, which a gradient penalty forbids.
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
    """The hidden layers from the image inwards: channels and kernel size of the convolution that leads there.

    Each halves the side, to 4 pixels in the end, and doubles the channels. A kernel of 3 takes 7 pixels to 4 and back.
    """
    levels: list[tuple[int, int]] = []
    while side > BASE:
        levels.append((width << len(levels), 3 if side % 2 else 4))
        side = (side + 1) // 2
    return levels


def dcgan_critic(
    structure: Structure, width: int = WIDTH, layer_norm: bool = False, initial_sd: float | None = INITIAL_SD
) -> nn.Module:
    """Strided convolutions down to 4x4 and a linear score; LeakyReLU(.2).

    width: channels of the first layer; each further one has twice as many. layer_norm: normalise all but the first over
    channels and pixels, per sample (Ba et al. 2016), as Gulrajani et al. 2017, section 4, recommend for critics.
    initial_sd: standard deviation of the initial weights, whose biases are zero; None: torch's own draws.

    Raises `UserError` for an option that is none of these, and for images of other sizes.
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


def dcgan_generator(structure: Structure, width: int = WIDTH, initial_sd: float | None = INITIAL_SD) -> nn.Module:
    """A linear layer to 4x4 and strided transposed convolutions up to a sample in [-1, 1]; batch-normalised, ReLU.

    width: channels of the last hidden layer; each one before has twice as many. initial_sd: as the critic's. Raises
    `UserError` as the critic does.
    """
    channels, side = checks.square_image(structure, "dcgan")
    levels = _levels(side, checks.width(width, WIDTH))[::-1]
    before = levels[0][0]
    layers: list[nn.Module] = [
        nn.Linear(structure.latent_dim, before * BASE * BASE, bias=False),
        Reshape(before, BASE, BASE),
    ]
    for (before, kernel), (after, _) in pairwise(levels):
        layers += [nn.BatchNorm2d(before), nn.ReLU(), _up(before, after, kernel, bias=False)]
    last, kernel = levels[-1]
    layers += [nn.BatchNorm2d(last), nn.ReLU(), _up(last, channels, kernel, bias=True), nn.Tanh()]
    return normal_weights(nn.Sequential(*layers), checks.initial_sd(initial_sd, INITIAL_SD))


def _up(before: int, after: int, kernel: int, bias: bool) -> nn.Module:
    return nn.ConvTranspose2d(before, after, kernel, stride=2, padding=1, bias=bias)
