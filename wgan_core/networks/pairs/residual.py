"""A residual pair for images of 28, 32 or 64 pixels, after Gulrajani et al. 2017, appendix "CIFAR-10 ResNet
architecture", and their code, which is what is meant by "published" below.

At 32 pixels it is theirs, without the labels; at other sides it has as many blocks that resample as it takes. All
blocks have one width. Convolutions over one pixel come on the smaller side of a resampling, with which they commute.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from wgan_core.config import Structure
from wgan_core.networks.layers import ACTIVATIONS, Reshape
from wgan_core.networks.layers import layer_norm as normalisation
from wgan_core.networks.pairs import checks

WIDTH = 32
# The side on which the critic stops halving, and the blocks that follow there.
CRITIC_BASE = 8
PLAIN_BLOCKS = 2
GENERATOR_BASE = 4


class CriticBlock(nn.Module):
    """Two 3x3 convolutions, each after a ReLU, beside a shortcut; `down`: both halve the side by mean pooling.

    first: on the image itself, which no normalisation and no ReLU comes before.
    """

    def __init__(self, before: int, after: int, *, down: bool, normalised: bool, first: bool = False) -> None:
        super().__init__()
        middle = after if first else before
        self.down = down
        self.before = nn.Identity() if first else _activated(before, normalised)
        self.first = _weighted(nn.Conv2d(before, middle, 3, padding=1), math.sqrt(2))
        self.between = _activated(middle, normalised and not first)
        self.second = _weighted(nn.Conv2d(middle, after, 3, padding=1), math.sqrt(2))
        self.shortcut = _weighted(nn.Conv2d(before, after, 1)) if down or before != after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        residual = self.second(self.between(self.first(self.before(x))))
        if not self.down:
            return self.shortcut(x) + residual
        return self.shortcut(F.avg_pool2d(x, 2)) + F.avg_pool2d(residual, 2)


class GeneratorBlock(nn.Module):
    """Two 3x3 convolutions, each after batch normalisation and a ReLU, beside a shortcut; both double the side.

    Their biases would be constants a channel, which every normalisation after them takes out again: their gradient
    would be zero, of which rounding makes noise that Adam amplifies.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first_norm = nn.BatchNorm2d(width)
        self.first = _weighted(nn.Conv2d(width, width, 3, padding=1, bias=False), math.sqrt(2))
        self.second_norm = nn.BatchNorm2d(width)
        self.second = _weighted(nn.Conv2d(width, width, 3, padding=1, bias=False), math.sqrt(2))
        self.shortcut = _weighted(nn.Conv2d(width, width, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        residual = self.first(_doubled(F.relu(self.first_norm(x))))
        residual = self.second(F.relu(self.second_norm(residual)))
        return _doubled(self.shortcut(x)) + residual


def residual_critic(structure: Structure, width: int = WIDTH, layer_norm: bool = False) -> nn.Module:
    """Residual blocks, those that halve the side first, then a mean over pixels and a linear score; ReLU.

    width: channels of all blocks; published: 128. layer_norm: normalise before each ReLU of the blocks but the first,
    over channels and pixels, per sample (Ba et al. 2016); published for CIFAR-10: without.

    Raises `UserError` for an option that is none of these, and for images of other sizes.
    """
    channels, side = checks.square_image(structure, "residual")
    width, normalised = checks.width(width, WIDTH), checks.flag("layer_norm", layer_norm)
    halvings = _doublings(side, CRITIC_BASE)
    return nn.Sequential(
        CriticBlock(channels, width, down=True, normalised=normalised, first=True),
        *(CriticBlock(width, width, down=True, normalised=normalised) for _ in range(halvings - 1)),
        *(CriticBlock(width, width, down=False, normalised=normalised) for _ in range(PLAIN_BLOCKS)),
        ACTIVATIONS["relu"](),
        nn.AdaptiveAvgPool2d(1),
        Reshape(width),
        _weighted(nn.Linear(width, 1)),
        Reshape(),
    )


def residual_generator(structure: Structure, width: int = WIDTH) -> nn.Module:
    """A linear layer to 4x4 (7x7 for 28 pixels), residual blocks that double the side, and a 3x3 convolution to a
    sample in [-1, 1]; batch-normalised, ReLU.

    width: channels of all blocks; published: 128. Raises `UserError` as the critic does.
    """
    channels, side = checks.square_image(structure, "residual")
    width = checks.width(width, WIDTH)
    doublings = _doublings(side, GENERATOR_BASE)
    base = side >> doublings
    return nn.Sequential(
        _weighted(nn.Linear(structure.latent_dim, width * base * base)),
        Reshape(width, base, base),
        *(GeneratorBlock(width) for _ in range(doublings)),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        _weighted(nn.Conv2d(width, channels, 3, padding=1)),
        nn.Tanh(),
    )


def _doublings(side: int, base: int) -> int:
    """How often a side can be halved until it is odd or at most `base`."""
    return 0 if side % 2 or side <= base else 1 + _doublings(side // 2, base)


def _activated(width: int, normalised: bool) -> nn.Module:
    # The critic's ReLU is the one that costs nothing in the penalty's double backward.
    relu = ACTIVATIONS["relu"]()
    return nn.Sequential(normalisation(width), relu) if normalised else relu


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def _weighted(layer: nn.Conv2d | nn.Linear, gain: float = 1.0) -> nn.Module:
    """The layer with the published initial weights: Glorot's (2010), times a gain; its biases are zero."""
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
