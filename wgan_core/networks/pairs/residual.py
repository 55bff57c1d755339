"""A residual pair for images of 28, 32 or 64 pixels, after Gulrajani et al. 2017.

The source is their appendix "CIFAR-10 ResNet architecture" and their code; "published" below means that code. At 32
pixels the pair is the published one, without labels. At other sides it has as many resampling blocks as the side needs.
All blocks have the same width. 1x1 convolutions commute with resampling, so they run on the smaller image.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from wgan_core.config import Structure
from wgan_core.networks.layers import ACTIVATIONS, Reshape
from wgan_core.networks.layers import layer_norm as normalisation
from wgan_core.networks.pairs import checks

WIDTH = 32
# The critic halves the side to at most CRITIC_BASE pixels; PLAIN_BLOCKS blocks without resampling follow.
CRITIC_BASE = 8
PLAIN_BLOCKS = 2
GENERATOR_BASE = 4


class CriticBlock(nn.Module):
    """A residual block of two 3x3 convolutions, each after a ReLU, and a shortcut.

    If `down` is set, both paths halve the side by mean pooling. The `first` block takes the image itself, without a
    normalisation or ReLU before it, and normalises nothing.
    """

    def __init__(self, before: int, after: int, *, down: bool, normalised: bool, first: bool = False) -> None:
        super().__init__()
        middle = after if first else before
        self.down = down
        self.before = nn.Identity() if first else _activated(before, normalised)
        self.first = weighted(nn.Conv2d(before, middle, 3, padding=1), math.sqrt(2))
        self.between = _activated(middle, normalised and not first)
        self.second = weighted(nn.Conv2d(middle, after, 3, padding=1), math.sqrt(2))
        self.shortcut = weighted(nn.Conv2d(before, after, 1)) if down or before != after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        residual = self.second(self.between(self.first(self.before(x))))
        if not self.down:
            return self.shortcut(x) + residual
        return self.shortcut(F.avg_pool2d(x, 2)) + F.avg_pool2d(residual, 2)


class GeneratorBlock(nn.Module):
    """A residual block of two 3x3 convolutions, each after batch normalisation and ReLU, and a shortcut.

    `norm` makes the normalisations. Both paths double the side. The convolutions have no bias, because each later
    normalisation would remove it again. The gradient of such a bias would be only rounding noise, which Adam would
    amplify.
    """

    def __init__(self, width: int, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        self.first_norm = norm(width)
        self.first = weighted(nn.Conv2d(width, width, 3, padding=1, bias=False), math.sqrt(2))
        self.second_norm = norm(width)
        self.second = weighted(nn.Conv2d(width, width, 3, padding=1, bias=False), math.sqrt(2))
        self.shortcut = weighted(nn.Conv2d(width, width, 1, bias=False))

    def forward(self, x: Tensor, *labels: Tensor) -> Tensor:
        """Map (N, width, H, W) to (N, width, 2 H, 2 W). The normalisations get the labels (N,), if there are any."""
        residual = self.first(_doubled(F.relu(self.first_norm(x, *labels))))
        residual = self.second(F.relu(self.second_norm(residual, *labels)))
        return _doubled(self.shortcut(x)) + residual


def residual_critic(structure: Structure, width: int = WIDTH, layer_norm: bool = False) -> nn.Module:
    """Make a critic of residual blocks with ReLU, a mean over pixels and a linear score.

    The blocks that halve the side come first.

    Args:
        width: Channels of all blocks; the published width is 128.
        layer_norm: Whether each block but the first normalises before each ReLU, over channels and pixels, per sample
            (Ba et al. 2016). The published critic for CIFAR-10 has no normalisation.

    Raises:
        UserError: An option is out of its range, or the images have another size.
    """
    channels, side = checks.square_image(structure, "residual")
    width, normalised = checks.width(width, WIDTH), checks.flag("layer_norm", layer_norm)
    halvings = count_doublings(side, CRITIC_BASE)
    return nn.Sequential(
        CriticBlock(channels, width, down=True, normalised=normalised, first=True),
        *(CriticBlock(width, width, down=True, normalised=normalised) for _ in range(halvings - 1)),
        *(CriticBlock(width, width, down=False, normalised=normalised) for _ in range(PLAIN_BLOCKS)),
        ACTIVATIONS["relu"](),
        nn.AdaptiveAvgPool2d(1),
        Reshape(width),
        weighted(nn.Linear(width, 1)),
        Reshape(),
    )


def residual_generator(structure: Structure, width: int = WIDTH) -> nn.Module:
    """Make a generator of a linear layer to 4x4, residual blocks that double the side, and a 3x3 convolution.

    At 28 pixels the linear layer leads to 7x7. Layers have batch normalisation and ReLU, and samples are in [-1, 1].

    Args:
        width: Channels of all blocks; the published width is 128.

    Raises:
        UserError: The width is out of its range, or the images have another size.
    """
    channels, side = checks.square_image(structure, "residual")
    width = checks.width(width, WIDTH)
    doublings = count_doublings(side, GENERATOR_BASE)
    base = side >> doublings
    return nn.Sequential(
        weighted(nn.Linear(structure.latent_dim, width * base * base)),
        Reshape(width, base, base),
        *(GeneratorBlock(width) for _ in range(doublings)),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        weighted(nn.Conv2d(width, channels, 3, padding=1)),
        nn.Tanh(),
    )


def count_doublings(side: int, base: int) -> int:
    """Count how often a side can be halved until it is odd or at most `base`."""
    return 0 if side % 2 or side <= base else 1 + count_doublings(side // 2, base)


def _activated(width: int, normalised: bool) -> nn.Module:
    # This ReLU costs nothing in the penalty's double backward; torch's own would.
    relu = ACTIVATIONS["relu"]()
    return nn.Sequential(normalisation(width), relu) if normalised else relu


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


def weighted(layer: nn.Conv2d | nn.Linear | nn.Embedding, gain: float = 1.0) -> nn.Module:
    """Set the published initial weights (Glorot and Bengio 2010, times a gain) and zero biases; return the layer."""
    nn.init.xavier_uniform_(layer.weight, gain)
    if not isinstance(layer, nn.Embedding) and layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
