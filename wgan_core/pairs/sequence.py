"""A convolutional pair for sequences (C, L): the conv pair with one axis (after Radford et al. 2016)."""

from __future__ import annotations

from torch import nn

from wgan_core.config import Structure
from wgan_core.errors import UserError
from wgan_core.layers import OUTPUTS, LeakyReLU, Reshape
from wgan_core.pairs import checks

WIDTH = 32


def _base(structure: Structure) -> tuple[int, int]:
    """Channels and the quarter length on which the pair starts."""
    shape = structure.sample_shape
    if len(shape) != 2 or shape[1] % 4:
        raise UserError(
            "the sequence networks take samples of shape (channels, length) whose length is a multiple of 4; given "
            f"samples of shape {shape}: cut or pad them to such a length, or take --networks mlp (any shape)"
        )
    return shape[0], shape[1] // 4


def sequence_critic(structure: Structure, width: int = WIDTH) -> nn.Module:
    """Two strided convolutions of 4 steps and a linear score; LeakyReLU(.2), without normalisation.

    width: channels of the first layer; the second has twice as many. Raises `UserError` for another width, and for
    samples of another shape.
    """
    channels, length = _base(structure)
    width = checks.width(width, WIDTH)
    return nn.Sequential(
        nn.Conv1d(channels, width, 4, stride=2, padding=1),
        LeakyReLU(),
        nn.Conv1d(width, 2 * width, 4, stride=2, padding=1),
        LeakyReLU(),
        Reshape(2 * width * length),
        nn.Linear(2 * width * length, 1),
        Reshape(),
    )


def sequence_generator(structure: Structure, width: int = WIDTH, output: str = "linear") -> nn.Module:
    """A linear layer and two strided transposed convolutions of 4 steps; batch-normalised, ReLU.

    width: channels of the last hidden layer; the one before has twice as many. output: "linear" for samples without
    bounds, as standardised data is; "tanh" for samples in [-1, 1]. Raises `UserError` for an option that is none of
    these, and for samples of another shape.
    """
    channels, length = _base(structure)
    width = checks.width(width, WIDTH)
    squash = checks.choice("output", output, OUTPUTS, "linear")
    return nn.Sequential(
        nn.Linear(structure.latent_dim, 2 * width * length, bias=False),
        Reshape(2 * width, length),
        nn.BatchNorm1d(2 * width),
        nn.ReLU(),
        nn.ConvTranspose1d(2 * width, width, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        nn.ConvTranspose1d(width, channels, 4, stride=2, padding=1),
        squash(),
    )
