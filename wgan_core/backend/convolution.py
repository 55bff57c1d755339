"""Convolutions of which the penalty of K lanes takes no more than that of one.

A gradient penalty is derived at the weights through the critic's gradient at its inputs. torch computes that
derivative of a convolution group by group (`_convolution_double_backward`, torch 2.11 to 2.13), and vectorised lanes
are groups: a layer of K lanes takes K small convolutions. Here the gradient at the inputs is computed as what it is, a
transposed convolution, whose derivatives are one grouped operation each. Modules stay plain `nn.Conv2d`; inside
`with Convolutions():` theirs go this way.

One lane has no groups, and on a CPU, where large networks' lanes are not vectorised, torch's own way is the quicker one
(benchmarks/convolutions.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from wgan_core.backend.derivatives import asked

# By the number of a sample's axes beside its channels.
_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_CONVOLUTIONS = frozenset(_CONVOLVE.values())


class Geometry(NamedTuple):
    """What a convolution is told beside its tensors, a value an axis, in the order in which torch takes it."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


def fast_convolutions(x: Tensor) -> AbstractContextManager[object]:
    """A context in which a module computes its convolutions of lanes (K, N, ...) the fastest way that there is."""
    return Convolutions() if x.is_cuda and len(x) > 1 else nullcontext()


class Convolutions(TorchFunctionMode):
    """While this is entered, `F.conv1d`, `conv2d` and `conv3d` of a batch have the derivatives that this module says.

    Those whose padding has a name stay torch's.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        named = kwargs or {}
        if func in _CONVOLUTIONS and _is_known(*args, **named):
            return convolution(*args, **named)
        return func(*args, **named)


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
    geometry = Geometry(_each(stride, axes), _each(padding, axes), _each(dilation, axes), groups)
    found: Tensor = _Convolution.apply(x, weight, bias, geometry)  # type: ignore[no-untyped-call]
    return found


class _Convolution(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        return _CONVOLVE[weight.dim() - 2](x, weight, bias, *geometry)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, _, ctx.geometry = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        at_x, at_weight, at_bias, _ = asked(ctx)
        return (
            _at_input(gradient, weight, x.shape[2:], ctx.geometry) if at_x else None,
            _at_weight(gradient, x, weight, ctx.geometry) if at_weight else None,
            gradient.flatten(2).sum((0, 2)) if at_bias else None,
            None,
        )


def _at_input(gradient: Tensor, weight: Tensor, sides: Sequence[int], geometry: Geometry) -> Tensor:
    stride, padding, dilation, groups = geometry
    # What a stride has left over at the far end is in no window, and its gradient is zero.
    output_padding = [
        side - ((out - 1) * s - 2 * p + d * (size - 1) + 1)
        for side, out, size, s, p, d in zip(
            sides, gradient.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True
        )
    ]
    transposed = _TRANSPOSED[len(sides)]
    return transposed(gradient, weight, None, stride, padding, output_padding, groups, dilation)


def _at_weight(gradient: Tensor, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    stride, padding, dilation, groups = geometry
    no_output_padding, wanted = [0] * len(stride), (False, True, False)
    _, at_weight, _ = torch.ops.aten.convolution_backward(
        gradient, x, weight, None, stride, padding, dilation, False, no_output_padding, groups, wanted
    )
    return at_weight


def _is_known(
    x: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    stride: object = 1,
    padding: object = 0,
    *_: object,
    **__: object,
) -> bool:
    """Whether there is a batch, and the padding is numbers. What torch has other names for is not known."""
    if x is None or weight is None:
        return False
    return x.dim() == weight.dim() and not isinstance(padding, str)


def _each(value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    """One value an axis, of one for all or of as many."""
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * axes if len(values) == 1 else values
