"""Generators and critics as plain `nn.Module`s, and such a module as a function over lanes.

K lanes, N samples in a batch
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from wgan_core.config import Structure
from wgan_core.errors import UserError
from wgan_core.linear import fast_linear

Tensors = dict[str, Tensor]


class LeakyReLU(nn.Module):
    """x where x > 0, else slope * x, for a slope in [0, 1]; as a product with a constant.

    The second derivative is zero almost everywhere. torch's own activation propagates that zero
    through the whole network in a double backward, at the price of a real gradient; a product with
    a constant does not.
    """

    def __init__(self, slope: float = 0.2) -> None:
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sign(x.detach()).clamp(min=self.slope)


class Reshape(nn.Module):
    """(N, ...) -> (N, *shape)."""

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], *self.shape)


def mlp_critic(structure: Structure, widths: Sequence[int] = (512, 256)) -> nn.Module:
    """Flattened sample -> widths -> one score; LeakyReLU(.2)."""
    size = math.prod(structure.sample_shape)
    layers: list[nn.Module] = [Reshape(size)]
    for width in widths:
        layers += [nn.Linear(size, width), LeakyReLU()]
        size = width
    return nn.Sequential(*layers, nn.Linear(size, 1), Reshape())


def mlp_generator(structure: Structure, widths: Sequence[int] = (128, 256, 512, 1024)) -> nn.Module:
    """z -> widths -> a sample in [-1, 1]; LeakyReLU(.2); the hidden layers but first and last are batch-normalised."""
    layers: list[nn.Module] = []
    size = structure.latent_dim
    for position, width in enumerate(widths):
        normalised = 0 < position < len(widths) - 1
        # A bias before a normalisation has a gradient of zero, of which rounding makes noise that Adam amplifies.
        layers.append(nn.Linear(size, width, bias=not normalised))
        if normalised:
            layers.append(nn.BatchNorm1d(width))
        layers.append(LeakyReLU())
        size = width
    output = nn.Linear(size, math.prod(structure.sample_shape))
    return nn.Sequential(*layers, output, nn.Tanh(), Reshape(*structure.sample_shape))


def _conv_base(structure: Structure) -> tuple[int, int, int]:
    """Channels and the quarter size on which the convolutional pair starts."""
    shape = structure.sample_shape
    if len(shape) != 3 or shape[1] % 4 or shape[2] % 4:
        raise UserError(
            f"the conv networks take images whose height and width are multiples of 4; given samples of shape {shape}: "
            "take --networks mlp"
        )
    return shape[0], shape[1] // 4, shape[2] // 4


def conv_critic(structure: Structure, width: int = 32) -> nn.Module:
    """Two strided 4x4 convolutions and a linear score (after Radford et al. 2016), without normalisation."""
    channels, height, breadth = _conv_base(structure)
    return nn.Sequential(
        nn.Conv2d(channels, width, 4, stride=2, padding=1),
        LeakyReLU(),
        nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
        LeakyReLU(),
        Reshape(2 * width * height * breadth),
        nn.Linear(2 * width * height * breadth, 1),
        Reshape(),
    )


def conv_generator(structure: Structure, width: int = 32) -> nn.Module:
    """A linear layer and two strided 4x4 transposed convolutions (after Radford et al. 2016), batch-normalised."""
    channels, height, breadth = _conv_base(structure)
    return nn.Sequential(
        nn.Linear(structure.latent_dim, 2 * width * height * breadth, bias=False),
        Reshape(2 * width, height, breadth),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1),
        nn.Tanh(),
    )


@dataclass(frozen=True)
class Pair:
    """How a critic and a generator are made for a structure."""

    critic: Callable[[Structure], nn.Module]
    generator: Callable[[Structure], nn.Module]


PAIRS = {
    "mlp": Pair(mlp_critic, mlp_generator),
    "conv": Pair(conv_critic, conv_generator),
}


class Network:
    """An `nn.Module` as a function of its tensors, over a leading lane axis.

    The module gives the arithmetic and the names; its own tensors are never used. Only here are
    lanes vectorised. One lane goes the same way without the axis, since a vectorised call of one
    costs time and gains nothing.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module.to("meta")

    def __call__(
        self, parameters: Tensors, buffers: Tensors, x: Tensor, *, training: bool = True
    ) -> tuple[Tensor, Tensors]:
        """The outputs (K, N, ...) for inputs (K, N, ...), and the buffers after the call, new tensors."""
        self._module.train(training)
        if x.shape[0] > 1:
            return torch.func.vmap(self._forward)(parameters, buffers, x)
        with fast_linear(x):
            output, after = self._forward(_map(parameters, _first), _map(buffers, _first), _first(x))
        return output.unsqueeze(0), _map(after, lambda tensor: tensor.unsqueeze(0))

    def _forward(self, parameters: Tensors, buffers: Tensors, x: Tensor) -> tuple[Tensor, Tensors]:
        after = _map(buffers, torch.clone)
        return functional_call(self._module, {**parameters, **after}, (x,)), after


def _map(tensors: Mapping[str, Tensor], function: Callable[[Tensor], Tensor]) -> Tensors:
    return {name: function(tensor) for name, tensor in tensors.items()}


def _first(tensor: Tensor) -> Tensor:
    return tensor.squeeze(0)


def build(structure: Structure) -> tuple[nn.Module, nn.Module]:
    """The critic and the generator of a structure, freshly initialised from torch's global generator.

    Raises `UserError` for an unknown pair, and for batch normalisation in the critic.
    """
    pair = PAIRS.get(structure.networks)
    if pair is None:
        raise UserError(f"networks must be one of {', '.join(sorted(PAIRS))}; given {structure.networks!r}")
    critic, generator = pair.critic(structure), pair.generator(structure)
    for name, module in critic.named_modules():
        if isinstance(module, _BatchNorm):
            raise UserError(
                f"a critic under a gradient penalty must not normalise over the batch, since the penalty is on each "
                f"sample's own gradient; given batch normalisation at {name!r}: take layer normalisation"
            )
    return critic, generator


def initialise(structure: Structure, seed: int) -> tuple[nn.Module, nn.Module]:
    """The pair as a trial of this seed starts, on the CPU. torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed GPUs as well
        critic, generator = build(structure)
    return critic.to(structure.torch_dtype), generator.to(structure.torch_dtype)
