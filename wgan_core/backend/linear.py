"""Linear layers by oneDNN, on CPUs where it is faster than torch's own choice.

For float32 matrices, torch's CPU builds use MKL, which uses only 256-bit instructions on AMD processors. PyTorch also
ships oneDNN, for convolutions. Its kernels use these processors' 512-bit instructions, at about twice the rate
(docs/log.md). Modules stay plain `nn.Linear`; inside `with OneDnnLinear():` oneDNN computes their products and those of
their first and second derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from wgan_core.backend.derivatives import asked
from wgan_core.backend.process import cpu_field

# Least number of rows, columns and terms of a product: a call of oneDNN alone takes 10 microseconds. The derivatives'
# products have the same three sizes in another order.
LEAST = 32


def fast_linear(x: Tensor) -> AbstractContextManager[object]:
    """Return a context in which a module computes its linear layers the fastest way for such inputs."""
    return OneDnnLinear() if x.device.type == "cpu" and onednn_is_faster() else nullcontext()


@cache
def onednn_is_faster() -> bool:
    """Return whether oneDNN is faster on this processor.

    The answer depends on the processor's type, not on a timing, so equal machines continue a trial with the same bits.
    """
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return wide and has_onednn() and cpu_field("vendor_id") == "AuthenticAMD"


def has_onednn() -> bool:
    # The operator is not part of torch's public interface, so it may disappear.
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class OneDnnLinear(TorchFunctionMode):
    """A context in which oneDNN computes `F.linear` of large float32 matrices on the CPU."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func is F.linear and not kwargs and _is_large(*args[:2]):
            return onednn_linear(*args)
        return func(*args, **(kwargs or {}))


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute x W^T + b for float32 x (N, I), W (O, I) and b (O,).

    Its derivatives, of any order, are computed by this function too.
    """
    product: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
    return product


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
        return product

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = asked(ctx)
        return (
            onednn_linear(gradient, weight.t()) if of_x else None,
            _laid_out_as(weight, gradient, x) if of_weight else None,
            gradient.sum(0) if of_bias else None,
        )


def _laid_out_as(weight: Tensor, gradient: Tensor, x: Tensor) -> Tensor:
    """Compute gradient^T x for gradient (N, O) and x (N, I), in the memory layout of `weight` (O, I).

    Sums of tensors with one layout are cheap.
    """
    if weight.is_contiguous():
        return onednn_linear(gradient.t(), x.t())
    return onednn_linear(x.t(), gradient.t()).t()


def _is_large(x: Tensor, weight: Tensor) -> bool:
    matrices = x.dim() == 2 and x.dtype == torch.float32 and x.device.type == "cpu"
    return matrices and min(*x.shape, len(weight)) >= LEAST
