"""A convolutional pair for sequences (C, L): the conv pair with one axis (after Radford et al. 2016)."""

from __future__ import annotations

from torch import nn

from wgan_core.config import Structure
from wgan_core.errors import UserError
from wgan_core.networks.layers import OUTPUTS, LeakyReLU, Reshape
from wgan_core.networks.pairs import checks

WIDTH = 32
HIDDEN = 256  # what an error proposes; none unless asked for
LEAST_LENGTH = 4


def _lengths(structure: Structure) -> tuple[int, int, int, int]:
    """Channels and length of a sample, and its length after one and after two strided convolutions."""
    shape = structure.sample_shape
    if len(shape) != 2 or shape[1] < LEAST_LENGTH:
        raise UserError(
            f"the sequence networks take samples of shape (channels, length) of at least {LEAST_LENGTH} steps; given "
            f"samples of shape {shape}: give longer sequences, or take --networks mlp (any shape)"
        )
    channels, length = shape
    return channels, length, length // 2, length // 4


def _hidden(value: object) -> int:
    return 0 if value == 0 and not isinstance(value, bool) else checks.width(value, HIDDEN, "hidden")


def sequence_critic(structure: Structure, width: int = WIDTH, hidden: int = 0) -> nn.Module:
    """Two strided convolutions of 4 steps and a linear score; LeakyReLU(.2), without normalisation.

    width: channels of the first layer; the second has twice as many. hidden: units of a fully connected layer before
    the score (Chen et al. 2016, appendix C.1), 0: none; without one the score is a sum over what stands in 10 steps
    each. Raises `UserError` for an option that is none of these, and for samples of another shape.
    """
    channels, _, _, quarter = _lengths(structure)
    width = checks.width(width, WIDTH)
    size = 2 * width * quarter
    between: list[nn.Module] = []
    if units := _hidden(hidden):
        between, size = [nn.Linear(size, units), LeakyReLU()], units
    return nn.Sequential(
        nn.Conv1d(channels, width, 4, stride=2, padding=1),
        LeakyReLU(),
        nn.Conv1d(width, 2 * width, 4, stride=2, padding=1),
        LeakyReLU(),
        Reshape(2 * width * quarter),
        *between,
        nn.Linear(size, 1),
        Reshape(),
    )


def sequence_generator(
    structure: Structure, width: int = WIDTH, output: str = "linear", hidden: int = 0, batch_norm: bool = True
) -> nn.Module:
    """A linear layer and two strided transposed convolutions of 4 steps; batch-normalised, ReLU.

    Each is a step longer at its end where the length is not a multiple of 4, so that its lengths are those of the
    critic in reverse.

    width: channels of the last hidden layer; the one before has twice as many. output: "linear" for samples without
    bounds, as standardised data is; "tanh" for samples in [-1, 1]. hidden: units of a fully connected layer before
    the linear one (Chen et al. 2016, appendix C.1), 0: none. batch_norm: normalise the hidden layers over the batch.
    Raises `UserError` for an option that is none of these, and for samples of another shape.
    """
    channels, length, half, quarter = _lengths(structure)
    width = checks.width(width, WIDTH)
    squash = checks.choice("output", output, OUTPUTS, "linear")
    norm, bias = (nn.BatchNorm1d, False) if checks.flag("batch_norm", batch_norm) else (nn.Identity, True)
    size = structure.latent_dim
    before: list[nn.Module] = []
    if units := _hidden(hidden):
        before, size = [nn.Linear(size, units, bias=bias), norm(units), nn.ReLU()], units
    return nn.Sequential(
        *before,
        nn.Linear(size, 2 * width * quarter, bias=bias),
        Reshape(2 * width, quarter),
        norm(2 * width),
        nn.ReLU(),
        nn.ConvTranspose1d(2 * width, width, 4, stride=2, padding=1, output_padding=half % 2, bias=bias),
        norm(width),
        nn.ReLU(),
        nn.ConvTranspose1d(width, channels, 4, stride=2, padding=1, output_padding=length % 2),
        squash(),
    )
