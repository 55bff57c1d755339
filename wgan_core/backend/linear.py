"""Linear layers through oneDNN, on CPUs where torch's own choice is the slower one.

torch's CPU builds multiply float32 matrices with MKL, which on AMD processors keeps to 256-bit instructions. oneDNN,
which torch ships as well and takes for convolutions, uses the 512-bit ones that they have: about twice the rate
(docs/log.md). Modules stay plain `nn.Linear`; inside `with OneDnnLinear():` their products go this way, and so do those
of their first and second derivatives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from wgan_core.backend.derivatives import asked

# A product with fewer rows, columns or terms is too small for oneDNN, whose call alone takes 10 microseconds. Those of
# the derivatives have the same three sizes in another order.
LEAST = 32


def fast_linear(x: Tensor) -> AbstractContextManager[object]:
    """A context in which a module computes its linear layers the fastest way that there is for such inputs."""
    return OneDnnLinear() if x.device.type == "cpu" and onednn_is_faster() else nullcontext()


@cache
def onednn_is_faster() -> bool:
    """By what the processor is and not by a race, so that a trial goes on to the same bit on another such machine."""
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return wide and has_onednn() and _vendor() == "AuthenticAMD"


def has_onednn() -> bool:
    # The operator is torch's, but not part of its public interface: it may go.
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class OneDnnLinear(TorchFunctionMode):
    """While this is entered, `F.linear` of large float32 matrices on the CPU goes through oneDNN."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func is F.linear and not kwargs and _is_large(*args[:2]):
            return onednn_linear(*args)
        return func(*args, **(kwargs or {}))


def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b for float32 x (N, I), W (O, I) and b (O,). Its derivatives are such products again, of any order."""
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
    """gradient^T x for gradient (N, O), x (N, I), in memory as `weight` (O, I) is, so that sums of such are cheap."""
    if weight.is_contiguous():
        return onednn_linear(gradient.t(), x.t())
    return onednn_linear(x.t(), gradient.t()).t()


def _is_large(x: Tensor, weight: Tensor) -> bool:
    matrices = x.dim() == 2 and x.dtype == torch.float32 and x.device.type == "cpu"
    return matrices and min(*x.shape, len(weight)) >= LEAST


def _vendor() -> str:
    """The processor's maker, as Linux names it; empty where it cannot be told."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id")), "")
