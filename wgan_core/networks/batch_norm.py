"""Batch normalisation by the statistics of a whole batch that is split over several ranks.

torch's own `SyncBatchNorm` takes tensors on GPUs only. In shapes, N is the number of samples on this rank, R of ranks
and C of channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from wgan_core.backend.ranks import Ranks
from wgan_core.errors import UserError


class _Shared(_BatchNorm):
    """A batch normalisation over all ranks, with the parameter and buffer names of the layer that it replaces."""

    def __init__(self, layer: _BatchNorm, ranks: Ranks) -> None:
        super().__init__(
            layer.num_features,
            layer.eps,
            layer.momentum,
            layer.affine,
            layer.track_running_stats,
            device=torch.device("meta"),
        )
        self._ranks = ranks

    def _check_input_dim(self, input: Tensor) -> None:
        """Skip the check: the replaced layer made it when the networks were first tried."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (N, C, ...) -> (N, C, ...) over all ranks. In evaluation mode, use no other rank."""
        if not self.training:
            return super().forward(input)
        held = input if self.weight is None else self.weight
        wide = input.to(torch.promote_types(input.dtype, held.dtype))
        variance, mean = self._moments(wide)
        if self.track_running_stats:
            self._track(mean.detach(), variance.detach(), self._ranks.size * input.numel() // input.shape[1])
        shape = (1, -1, *[1] * (input.dim() - 2))
        scale = torch.rsqrt(variance + self.eps)
        centred = wide - mean.view(shape)
        if self.weight is None:
            return (centred * scale.view(shape)).to(input.dtype)
        scale = scale * self.weight
        return torch.addcmul(self.bias.view(shape), centred, scale.view(shape)).to(input.dtype)

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the uncorrected variance (C,) and the mean (C,) of the whole batch.

        All ranks hold equally many samples, and their moments are combined as in Chan et al. 1979. A mean of squares
        minus a squared mean would lose digits by cancellation.
        """
        axes = [axis for axis in range(x.dim()) if axis != 1]
        variances, means = self._ranks.gather(torch.stack(torch.var_mean(x, axes, correction=0))).unbind(1)
        mean = means.mean(0)
        return (variances + (means - mean).square()).mean(0), mean

    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Update the running statistics as torch does: the variance is corrected for the size of the whole batch."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        running = torch.stack([self.running_mean, self.running_var])
        seen = torch.stack([mean, variance * (count / (count - 1))]).to(running.dtype)
        # Without a momentum, torch keeps the plain average.
        share = 1 / self.num_batches_tracked.to(running.dtype) if self.momentum is None else self.momentum
        after = running + share * (seen - running)
        self.running_mean.copy_(after[0])
        self.running_var.copy_(after[1])


def over_ranks(module: nn.Module, ranks: Ranks) -> nn.Module:
    """Replace each batch normalisation by one over all ranks, on the meta device, and return the module.

    The module is changed in place. With a single rank, it is returned unchanged.
    """
    if ranks.size == 1:
        return module
    made = {layer: _Shared(layer, ranks) for layer in module.modules() if isinstance(layer, _BatchNorm)}
    for parent in list(module.modules()):
        for name, child in parent._modules.items():
            if isinstance(child, _BatchNorm):
                parent._modules[name] = made[child]
    return made.get(module, module)  # type: ignore[call-overload]


def check_over_ranks(module: nn.Module) -> None:
    """Raise `UserError` if a batch normalisation has its own forward, which `over_ranks` would ignore."""
    for name, layer in module.named_modules():
        if isinstance(layer, _BatchNorm) and type(layer).forward not in (_BatchNorm.forward, nn.SyncBatchNorm.forward):
            raise UserError(
                "a trial on several GPUs must normalise over the batch as torch does, for its statistics are those of "
                f"the whole batch; given {type(layer).__name__} at {name!r}, with a forward of its own: take "
                "torch.nn.BatchNorm2d, or give --gpus-per-trial 1"
            )
