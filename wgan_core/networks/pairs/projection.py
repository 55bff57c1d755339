"""The residual pair of Miyato and Koyama 2018, for images of 28, 32 or 64 pixels.

The critic adds a projection of the image's features on an embedding of the label, and the generator's batch
normalisation has a scale and a shift for each label. Without classes, it is the residual pair of Miyato et al. 2018.
With conditions, linear maps of their values take the place of the embeddings.

The source is the authors' code for CIFAR-10; "published" below means that code. The pair differs from it in four
points:

- The widths are options; the published widths are 128 (critic) and 256 (generator).
- At 28 and 64 pixels it has as many resampling blocks as the side needs.
- Batch normalisation has torch's eps of 1e-5; the published one is 2e-5.
- The convolutions in the generator's blocks have no bias, because normalisation removes it.

The critic is normalised spectrally by the setting `spectral_norm` of the structure, as the critic of any pair.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from wgan_core.config import Structure
from wgan_core.networks.layers import ACTIVATIONS, Reshape
from wgan_core.networks.pairs import checks
from wgan_core.networks.pairs.residual import (
    CRITIC_BASE,
    GENERATOR_BASE,
    PLAIN_BLOCKS,
    CriticBlock,
    GeneratorBlock,
    count_doublings,
    weighted,
)

WIDTH = 32


class ProjectionCritic(nn.Module):
    """A critic psi(phi) + <embedding of the label, phi> of features phi (Miyato and Koyama 2018, section 3).

    The features (N, width) are the sum over pixels of what `blocks` return, (N, width, H, W). Of conditions (N, K), the
    embedding is a linear map.
    """

    def __init__(self, blocks: nn.Module, width: int, classes: int, conditions: int = 0) -> None:
        super().__init__()
        self.blocks = blocks
        self.score = weighted(nn.Linear(width, 1, bias=False))
        self.embedding: nn.Module | None = None
        if classes:
            self.embedding = weighted(nn.Embedding(classes, width))
        elif conditions:
            self.embedding = weighted(nn.Linear(conditions, width, bias=False))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        features = self.blocks(x).sum(dim=(2, 3))
        scores: Tensor = self.score(features).squeeze(1)
        if self.embedding is None:
            return scores
        return scores + (self.embedding(labels) * features).sum(1)


class ConditionalBatchNorm(nn.Module):
    """A batch normalisation with a learnt scale and shift for each label (Dumoulin et al. 2017).

    Of conditions (N, K), scale and shift are linear functions. They start as 1 and 0, whatever the label or conditions.
    """

    def __init__(self, channels: int, classes: int, conditions: int = 0) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale, self.shift = (_constant_map(classes, conditions, channels, start) for start in (1.0, 0.0))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        scale, shift = (each(labels)[:, :, None, None] for each in (self.scale, self.shift))
        normalised: Tensor = self.norm(x)
        return normalised * scale + shift


def _constant_map(classes: int, conditions: int, outputs: int, start: float) -> nn.Embedding | nn.Linear:
    """Make a map of labels or, if there are any, of conditions, whose outputs are `start` before training."""
    if not conditions:
        embedding = nn.Embedding(classes, outputs)
        nn.init.constant_(embedding.weight, start)
        return embedding
    layer = nn.Linear(conditions, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.constant_(layer.bias, start)
    return layer


class ProjectionGenerator(nn.Module):
    """A generator whose blocks get the labels or conditions, if there are any. The layers before and after do not."""

    def __init__(self, before: nn.Module, blocks: list[GeneratorBlock], after: nn.Module) -> None:
        super().__init__()
        self.before, self.blocks, self.after = before, nn.ModuleList(blocks), after

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        x: Tensor = self.before(z)
        for block in self.blocks:
            x = block(x) if labels is None else block(x, labels)
        samples: Tensor = self.after(x)
        return samples


def projection_critic(structure: Structure, width: int = WIDTH) -> nn.Module:
    """Make a critic of residual blocks with ReLU, a sum over pixels, a linear score and a projection on the label.

    Args:
        width: Channels of all blocks; the published width is 128.

    Raises:
        UserError: The width is out of its range, or the images have another size.
    """
    channels, side = checks.square_image(structure, "projection")
    width = checks.width(width, WIDTH)
    down = [True] * count_doublings(side, CRITIC_BASE) + [False] * PLAIN_BLOCKS
    blocks = nn.Sequential(
        *(
            CriticBlock(width if number else channels, width, down=halves, normalised=False, first=not number)
            for number, halves in enumerate(down)
        ),
        ACTIVATIONS["relu"](),
    )
    return ProjectionCritic(blocks, width, structure.classes, _count(structure))


def projection_generator(structure: Structure, width: int = WIDTH) -> nn.Module:
    """Make a generator of a linear layer to 4x4, residual blocks that double the side, and a 3x3 convolution.

    At 28 pixels the linear layer leads to 7x7. Samples are in [-1, 1].

    Args:
        width: Channels of all blocks; the published width is 256.

    Raises:
        UserError: The width is out of its range, or the images have another size.
    """
    channels, side = checks.square_image(structure, "projection")
    width = checks.width(width, WIDTH)
    count = count_doublings(side, GENERATOR_BASE)
    base = side >> count
    told = partial(ConditionalBatchNorm, classes=structure.classes, conditions=_count(structure))
    norm = told if structure.is_conditional else nn.BatchNorm2d
    return ProjectionGenerator(
        nn.Sequential(
            weighted(nn.Linear(structure.latent_dim, width * base * base)),
            Reshape(width, base, base),
        ),
        [GeneratorBlock(width, norm) for _ in range(count)],
        nn.Sequential(
            nn.BatchNorm2d(width),
            nn.ReLU(),
            weighted(nn.Conv2d(width, channels, 3, padding=1)),
            nn.Tanh(),
        ),
    )


def _count(structure: Structure) -> int:
    """Return the number of conditions."""
    return structure.code_length if structure.conditions is not None else 0
