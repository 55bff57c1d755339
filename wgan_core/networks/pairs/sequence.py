"""A convolutional pair for sequences (C, L), which is the conv pair in one dimension (after Radford et al. 2016)."""

from __future__ import annotations

from torch import nn

from wgan_core.config import Structure
from wgan_core.errors import UserError
from wgan_core.networks.layers import OUTPUTS, LeakyReLU, Reshape
from wgan_core.networks.pairs import checks

WIDTH = 32
HIDDEN = 256  # the value that an error message proposes; the default is no hidden layer
LEAST_LENGTH = 4


def _lengths(structure: Structure) -> tuple[int, int, int, int]:
    """Return a sample's channels and length, and its length after one and after two strided convolutions."""
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
    """Make a critic of two strided convolutions of 4 steps, LeakyReLU(.2) and a linear score, without normalisation.

    Args:
        width: Channels of the first layer; the second layer has twice as many.
        hidden: Units of a fully connected layer before the score (Chen et al. 2016, appendix C.1); 0 for no such layer.
            Without it, the score is a sum of terms that each see 10 steps.

    Raises:
        UserError: An option is out of its range, or the samples have another shape.
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
    """Make a generator of a linear layer and two strided transposed convolutions of 4 steps, with ReLU.

    A transposed convolution whose output length is odd adds a step at the end. So the lengths are those of the critic
    in reverse.

    Args:
        width: Channels of the last hidden layer; the layer before has twice as many.
        output: "linear" for samples without bounds, such as standardised data; "tanh" for samples in [-1, 1].
        hidden: Units of a fully connected layer before the linear layer (Chen et al. 2016, appendix C.1); 0 for no such
            layer.
        batch_norm: Whether the hidden layers are normalised over the batch.

    Raises:
        UserError: An option is out of its range, or the samples have another shape.
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
