"""Multilayer perceptrons, for samples of any shape."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import nn

from wgan_core.config import Structure
from wgan_core.kinds import kind_of
from wgan_core.networks.layers import ACTIVATIONS, INITIAL, OUTPUTS, Reshape
from wgan_core.networks.pairs import checks

CRITIC_WIDTHS = (512, 256)
GENERATOR_WIDTHS = (128, 256, 512, 1024)


def mlp_critic(
    structure: Structure,
    widths: Sequence[int] = CRITIC_WIDTHS,
    activation: str = "leaky_relu",
    layer_norm: bool = False,
    initial: str = "torch",
) -> nn.Module:
    """Make a critic of fully connected layers: flattened sample -> widths -> one score.

    Args:
        widths: Units of the hidden layers, in order.
        activation: The activation of each hidden layer, a name in `wgan_core.networks.layers.ACTIVATIONS`; leaky_relu
            has a slope of 0.2.
        layer_norm: Whether each hidden layer is normalised over its units, per sample (Ba et al. 2016), before its
            activation; Gulrajani et al. 2017, section 4, recommend it for critics.
        initial: The initial weights, a name in `wgan_core.networks.layers.INITIAL`.

    Raises:
        UserError: An option is out of its range.
    """
    activate = checks.choice("activation", activation, ACTIVATIONS, "leaky_relu")
    normalised = checks.flag("layer_norm", layer_norm)
    drawn = checks.choice("initial", initial, INITIAL, "torch")
    size = math.prod(structure.sample_shape)
    layers: list[nn.Module] = [Reshape(size)]
    for width in checks.widths(widths, CRITIC_WIDTHS):
        layers.append(nn.Linear(size, width))
        if normalised:
            layers.append(nn.LayerNorm(width))
        layers.append(activate())
        size = width
    return drawn(nn.Sequential(*layers, nn.Linear(size, 1), Reshape()))


def mlp_generator(
    structure: Structure,
    widths: Sequence[int] = GENERATOR_WIDTHS,
    activation: str = "leaky_relu",
    output: str | None = None,
    batch_norm: bool | None = None,
    initial: str = "torch",
) -> nn.Module:
    """Make a generator of fully connected layers: z -> widths -> a sample.

    Args:
        widths: Units of the hidden layers, in order.
        activation: As for the critic.
        output: "tanh" for samples in [-1, 1], "linear" for samples without bounds. None means linear for tables and
            sequences, whose columns are standardised, and tanh for other data.
        batch_norm: Whether all hidden layers are normalised over the batch (Ioffe and Szegedy 2015). None means all but
            the first and the last hidden layer.
        initial: As for the critic.

    Raises:
        UserError: An option is out of its range.
    """
    activate = checks.choice("activation", activation, ACTIVATIONS, "leaky_relu")
    usual = kind_of(structure.sample_shape, structure.coding).output
    squash = checks.choice("output", usual if output is None else output, OUTPUTS, usual)
    everywhere = batch_norm if batch_norm is None else checks.flag("batch_norm", batch_norm)
    hidden = checks.widths(widths, GENERATOR_WIDTHS)
    drawn = checks.choice("initial", initial, INITIAL, "torch")
    layers: list[nn.Module] = []
    size = structure.latent_dim
    for position, width in enumerate(hidden):
        normalised = 0 < position < len(hidden) - 1 if everywhere is None else everywhere
        # A bias before a normalisation has no gradient but rounding noise, which Adam would amplify.
        layers.append(nn.Linear(size, width, bias=not normalised))
        if normalised:
            layers.append(nn.BatchNorm1d(width))
        layers.append(activate())
        size = width
    last = nn.Linear(size, math.prod(structure.sample_shape))
    return drawn(nn.Sequential(*layers, last, squash(), Reshape(*structure.sample_shape)))
