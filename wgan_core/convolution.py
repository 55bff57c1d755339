"""Convolutions whose derivatives of second order are convolutions of all lanes at once.

A gradient penalty differentiates the critic's gradient at its inputs. torch has that gradient as one operation, whose
own derivative for the weights takes the groups one by one (`_convolution_double_backward`, torch 2.11 to 2.13), and
vectorised lanes are groups: K lanes would take K small convolutions a layer. Here the gradient at the inputs is
computed as what it is, a transposed convolution, whose derivatives are one grouped operation each. Modules stay plain
`nn.Conv2d`; inside `with Convolutions():` theirs go this way.

On a CPU, where large networks' lanes are not vectorised, torch's own way is the quicker one (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

# By the number of a sample's axes beside its channels.
_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_CONVOLUTIONS = frozenset(_CONVOLVE.values())


def fast_convolutions(x: Tensor) -> AbstractContextManager[object]:
    """A context in which a module computes its convolutions the fastest way that there is for such inputs."""
    return Convolutions() if x.is_cuda else nullcontext()


class Convolutions(TorchFunctionMode):
    """While this is entered, `F.conv1d`, `conv2d` and `conv3d` have the derivatives that this module says."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        if func in _CONVOLUTIONS and not kwargs and _is_plain(*args):
            return convolution(*args)
        return func(*args, **(kwargs or {}))


def convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """What `F.conv1d`, `conv2d` and `conv3d` compute of x (N, C, ...), weight (O, C / groups, ...) and bias (O,)."""
    axes = weight.dim() - 2
    told = (_each(stride, axes), _each(padding, axes), _each(dilation, axes), groups)
    found: Tensor = _Convolution.apply(x, weight, bias, *told)  # type: ignore[no-untyped-call]
    return found


class _Convolution(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, *told: Any) -> Tensor:
        return _CONVOLVE[weight.dim() - 2](x, weight, bias, *told)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _, *told = inputs
        ctx.save_for_backward(x, weight)
        ctx.told = told

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias, *_ = ctx.needs_input_grad
        return (
            _at_input(gradient, weight, x.shape[2:], *ctx.told) if of_x else None,
            _at_weight(gradient, x, weight, *ctx.told) if of_weight else None,
            gradient.flatten(2).sum((0, 2)) if of_bias else None,
            *[None] * len(ctx.told),
        )


def _at_input(
    gradient: Tensor,
    weight: Tensor,
    sides: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    # What a stride has left over at the far end is no part of any window, and its gradient is zero.
    left_over = [
        side - ((out - 1) * by - 2 * around + apart * (size - 1) + 1)
        for side, out, size, by, around, apart in zip(
            sides, gradient.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True
        )
    ]
    transposed = _TRANSPOSED[len(sides)]
    return transposed(gradient, weight, None, stride, padding, left_over, groups, dilation)


def _at_weight(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    wanted = (False, True, False)
    none = [0] * len(stride)
    found = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, stride, padding, dilation, False, none, groups, wanted
    )
    at_weight: Tensor = found[1]
    return at_weight


def _is_plain(x: Tensor, weight: Tensor, *told: Any) -> bool:
    """Whether there is a batch, and paddings are numbers."""
    return x.dim() == weight.dim() and not any(isinstance(each, str) for each in told)


def _each(value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    """One value an axis, of one for all or of as many."""
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * axes if len(values) == 1 else values
