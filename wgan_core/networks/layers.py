"""Layers and initial weights that the pairs share."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from wgan_core.data.coding import Coding

# Layers whose weights `normal_weights` draws. Normalisation layers are left out, because their weights start at one.
_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)


class LeakyReLU(nn.Module):
    """A leaky ReLU that costs nothing in a double backward: x where x > 0, else slope * x, for a slope in [0, 1].

    The second derivative is zero almost everywhere. In a double backward, torch's own activation propagates that zero
    through the whole network, at the price of a real gradient. A product of x with a constant does not. `forward` takes
    that product in one operation, the derivative of torch's own activation.
    """

    def __init__(self, slope: float = 0.2) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        product: Tensor = torch.ops.aten.leaky_relu_backward(x, x.detach(), self.slope, False)
        return product


class Reshape(nn.Module):
    """A reshape of each sample: (N, ...) -> (N, *shape)."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], *self.shape)


# Activations of hidden layers, by name. Each supports the double backward of a gradient penalty.
ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "leaky_relu": LeakyReLU,
    "relu": partial(LeakyReLU, 0.0),
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
}

# Activations of a generator's last layer, by name: tanh for data in [-1, 1], linear for data without bounds.
OUTPUTS: Mapping[str, Callable[[], nn.Module]] = {"tanh": nn.Tanh, "linear": nn.Identity}


def layer_norm(channels: int) -> nn.Module:
    """Make a layer normalisation of (N, channels, ...) over all axes but the batch, with a scale and shift per channel.

    The code of Gulrajani et al. 2017 uses this form of layer normalisation (Ba et al. 2016) after convolutions. In
    torch it is a group normalisation with one group.
    """
    return nn.GroupNorm(1, channels)


def normal_weights(module: nn.Module, sd: float | None) -> nn.Module:
    """Draw linear and convolutional weights anew from N(0, sd^2), set their biases to zero, and return the module.

    If `sd` is None, keep torch's own draws.
    """
    for layer in module.modules():
        if sd is not None and isinstance(layer, _WEIGHTED):
            nn.init.normal_(layer.weight, 0.0, sd)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module


def he_weights(module: nn.Module) -> nn.Module:
    """Draw weights of fully connected layers as the toy script of Gulrajani et al. 2017 does, and return the module.

    Draws are uniform. The variance is 2 / I in hidden layers (He et al. 2015) and 2 / (I + O) in the last layer (Glorot
    and Bengio 2010), for I inputs and O outputs. Biases are zero.
    """
    *hidden, last = (layer for layer in module.modules() if isinstance(layer, nn.Linear))
    for layer in hidden:
        nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
    nn.init.xavier_uniform_(last.weight)
    for layer in (*hidden, last):
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return module


# Initial weights of fully connected networks, by name: torch's own draws, or larger ones.
INITIAL: Mapping[str, Callable[[nn.Module], nn.Module]] = {"torch": lambda module: module, "he": he_weights}


def gumbel(normal: Tensor) -> Tensor:
    """Convert draws of the standard normal distribution to draws of the standard Gumbel distribution."""
    # `torch.special.log_ndtr` is the same, and slow under vmap. The bound keeps numbers beyond 13 finite in float32.
    tail = (torch.erfc(normal.abs() * math.sqrt(0.5)) / 2).clamp(min=torch.finfo(normal.dtype).tiny)
    return -(-torch.where(normal < 0, tail.log(), (-tail).log1p())).log()


class Categorical(nn.Module):
    """A generator with a softmax over the entries of each categorical column.

    The entries of a column are above 0 and sum to 1; in the limit they are one-hot. The outputs of a linear layer have
    no such bound. A critic could tell them from one-hot codes by that alone (Gulrajani et al. 2017, section 5.2, on
    discrete samples).

    With Gumbel noise at the softmax, an entry is the largest with the probability that the softmax without noise gives
    it (Jang et al. 2017). At a low temperature, the entries are then nearly one-hot.

    Args:
        inner: The generator of the softmax's inputs.
        coding: The columns of a sample.
        latent_dim: Length of the noise that `inner` gets, at the beginning of z. The Gumbel noise is computed from the
            rest.
        temperature: Temperature of the softmax; 0 for a softmax without noise.
    """

    def __init__(self, inner: nn.Module, coding: Coding, latent_dim: int = 0, temperature: float = 0.0) -> None:
        super().__init__()
        self.inner, self.runs, self.latent_dim, self.temperature = inner, coding.runs, latent_dim, temperature

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        z, noise = (z[:, : self.latent_dim], gumbel(z[:, self.latent_dim :])) if self.temperature else (z, z)
        samples: Tensor = self.inner(z) if labels is None else self.inner(z, labels)
        parts, end, used = [], 0, 0
        for run, width in self.runs:
            columns = samples[:, run]
            if self.temperature:
                columns = (columns + noise[:, used : used + run.stop - run.start]) / self.temperature
                used += run.stop - run.start
            columns = columns.unflatten(1, (-1, width))
            parts += [samples[:, end : run.start], columns.softmax(dim=2).flatten(1)]
            end = run.stop
        return torch.cat([*parts, samples[:, end:]], dim=1)
