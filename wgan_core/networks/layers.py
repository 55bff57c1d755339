"""Layers and initial weights that the pairs share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from wgan_core.data.coding import Coding

# Layers with weights; those of the normalisations start at one and stay out of what draws weights.
_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)


class LeakyReLU(nn.Module):
    """x where x > 0, else slope * x, for a slope in [0, 1]; as a product with a constant.

    The second derivative is zero almost everywhere. torch's own activation propagates that zero
    through the whole network in a double backward, at the price of a real gradient; a product with
    a constant does not. That product is the derivative of torch's own, which is one operation.
    """

    def __init__(self, slope: float = 0.2) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        product: Tensor = torch.ops.aten.leaky_relu_backward(x, x.detach(), self.slope, False)
        return product


class Reshape(nn.Module):
    """(N, ...) -> (N, *shape)."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], *self.shape)


# After hidden layers, by name. Each has the derivatives that a gradient penalty takes.
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

# After a generator's last layer, by name: for data in [-1, 1], and for data without bounds.
OUTPUTS: Mapping[str, Callable[[], nn.Module]] = {"tanh": nn.Tanh, "linear": nn.Identity}


def layer_norm(channels: int) -> nn.Module:
    """Normalisation of (N, channels, ...) over all but the batch, with a scale and a shift a channel.

    What the code of Gulrajani et al. 2017 has as layer normalisation (Ba et al. 2016) after convolutions: one group.
    """
    return nn.GroupNorm(1, channels)


def normal_weights(module: nn.Module, sd: float | None) -> nn.Module:
    """The module, its linear and convolutional weights drawn anew from N(0, sd^2) and their biases zero.

    None: as torch has drawn them.
    """
    for layer in module.modules():
        if sd is not None and isinstance(layer, _WEIGHTED):
            nn.init.normal_(layer.weight, 0.0, sd)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module


class Categorical(nn.Module):
    """A generator whose entries of each categorical column are made shares of one, by a softmax: one-hot in the limit.

    A linear layer has no such bound, and a critic would tell its samples from one-hot ones by that alone (Gulrajani et
    al. 2017, section 5.2, on discrete samples).
    """

    def __init__(self, inner: nn.Module, coding: Coding) -> None:
        super().__init__()
        self.inner, self.blocks = inner, coding.blocks

    def forward(self, z: Tensor, labels: Tensor | None = None) -> Tensor:
        samples: Tensor = self.inner(z) if labels is None else self.inner(z, labels)
        parts, end = [], 0
        for block in self.blocks:
            parts += [samples[:, end : block.start], samples[:, block].softmax(dim=1)]
            end = block.stop
        return torch.cat([*parts, samples[:, end:]], dim=1)
