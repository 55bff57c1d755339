"""Convolutions whose gradient penalty takes as few operations for K lanes as for one lane.

A gradient penalty differentiates the critic's gradient at its inputs with respect to the weights. For a convolution,
torch computes that derivative group by group (`_convolution_double_backward`, torch 2.11 to 2.13). Vectorised lanes are
groups, so a layer of K lanes takes K small convolutions. This module computes the gradient at the inputs as a
transposed convolution, whose derivatives are one grouped operation each. Modules stay plain `nn.Conv2d`; inside
`with Convolutions():` their convolutions use this module.

For one lane, which has no groups, torch's own way is faster. It is also faster on a CPU, where the lanes of large
networks are not vectorised (benchmarks/convolutions.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from wgan_core.backend.derivatives import asked

# Keys are the number of a sample's axes besides its channels.
_CONVOLVE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
_CONVOLUTIONS = frozenset(_CONVOLVE.values())

Sides: TypeAlias = int | Sequence[int]


class Geometry(NamedTuple):
    """Non-tensor arguments of a convolution in torch's order. All but `groups` have one value per axis."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


def fast_convolutions(x: Tensor) -> AbstractContextManager[object]:
    """Return a context in which a module computes its convolutions of lanes (K, N, ...) the fastest way."""
    return Convolutions() if x.is_cuda and len(x) > 1 else nullcontext()


class Convolutions(TorchFunctionMode):
    """A context in which `F.conv1d`, `conv2d` and `conv3d` of a batch use this module's derivatives.

    Convolutions whose padding is given by name stay torch's.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        named = kwargs or {}
        if func in _CONVOLUTIONS and _is_known(*args, **named):
            return convolution(*args, **named)
        return func(*args, **named)


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None = None, *told: Any, **named: Any) -> Tensor:
    """Compute `F.conv1d`, `conv2d` or `conv3d` of x (N, C, ...), weight (O, C / groups, ...) and bias (O,).

    The other arguments are those of these functions: stride, padding, dilation and groups.
    """
    geometry = _geometry(weight.dim() - 2, *told, **named)
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
    # A stride may leave the last inputs in no window. Their gradient is zero, and output_padding adds it.
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
    """Return whether the input is a batch and the padding is numeric.

    A call that names its input as torch does (`input=`) is unknown.
    """
    if x is None or weight is None:
        return False
    return x.dim() == weight.dim() and not isinstance(padding, str)


def _geometry(axes: int, stride: Sides = 1, padding: Sides = 0, dilation: Sides = 1, groups: int = 1) -> Geometry:
    return Geometry(_each(stride, axes), _each(padding, axes), _each(dilation, axes), groups)


def _each(value: Sides, axes: int) -> tuple[int, ...]:
    """Return one value per axis, from a single value for all axes or from one value each."""
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * axes if len(values) == 1 else values
