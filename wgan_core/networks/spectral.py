"""Spectral normalisation of a critic's layers (Miyato et al. 2018), as a function of tensors that vmap can compute.

The arithmetic is that of `torch.nn.utils.parametrizations.spectral_norm`. That function writes its vectors with `out=`,
which vmap refuses.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from wgan_core.errors import UserError

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED, nn.Embedding)
# Steps of the power iteration at the start, as torch takes them, so that the first pass has a good estimate.
_INITIAL_STEPS = 15


class SpectralNorm(nn.Module):
    """A layer whose weight W is divided by an estimate of its largest singular value, u^T W v.

    Each pass in training mode takes one step of the power iteration, and keeps the vectors u and v in buffers. The
    gradient flows through u^T W v, and takes u and v as constants (Miyato et al. 2018, section 2.1).
    """

    u: Tensor
    v: Tensor

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        matrix = self._matrix().detach()
        u, v = (F.normalize(matrix.new_empty(size).normal_(), dim=0) for size in matrix.shape)
        for _ in range(_INITIAL_STEPS):
            u, v = _step(matrix, v)
        self.register_buffer("u", u)
        self.register_buffer("v", v)

    def forward(self, x: Tensor) -> Tensor:
        matrix, u, v = self._matrix(), self.u, self.v
        if self.training:
            u, v = _step(matrix.detach(), v)
            self.u.copy_(u)
            self.v.copy_(v)
        weight = self._weight / torch.dot(u, torch.mv(matrix, v))
        return cast("Tensor", functional_call(self.layer, {"weight": weight}, (x,)))

    @property
    def _weight(self) -> Tensor:
        return cast("Tensor", self.layer.weight)

    def _matrix(self) -> Tensor:
        """Return the weight as a matrix with one row for each output; a transposed convolution has them on axis 1."""
        weight = self._weight
        return (weight.transpose(0, 1) if isinstance(self.layer, _TRANSPOSED) else weight).flatten(1)


def spectral_norm(critic: nn.Module) -> nn.Module:
    """Normalise all linear, convolutional and embedding layers of a critic in place, and return it.

    Call it after the weights have their initial values.

    Raises:
        UserError: Another layer has a weight of two or more axes.
    """
    layers: list[nn.Module] = [module for module in critic.modules() if isinstance(module, _LAYERS)]
    made = {layer: SpectralNorm(layer) for layer in layers}
    for name, module in critic.named_modules():
        if module not in made and any(each.dim() > 1 for each in module.parameters(recurse=False)):
            raise UserError(
                "spectral_norm normalises the linear, convolutional and embedding layers of a critic; another layer, "
                f"{type(module).__name__} at {name!r}, has a weight: take it out, or leave out spectral_norm"
            )
    for parent in list(critic.modules()):
        for name, child in parent._modules.items():
            if child in made:
                parent._modules[name] = made[child]
    return made.get(critic, critic)


def has_spectral_norm(module: nn.Module) -> bool:
    return any(isinstance(layer, SpectralNorm) for layer in module.modules())


def _step(matrix: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Take one step of the power iteration for a matrix (R, C) from v (C,), and return u (R,) and v (C,)."""
    u = F.normalize(torch.mv(matrix, v), dim=0)
    return u, F.normalize(torch.mv(matrix.t(), u), dim=0)
