"""Precision of the products in training: linear layers, convolutions, matrix products, and their derivatives.

Everything else stays in the structure's dtype: parameters, moments, averages, losses and penalties. So do the samples
that a generator draws for evaluation. A comparison of precisions therefore shows their effect on training alone.

This module does not use `torch.autocast`. Under vmap, autocast leaves convolutions in float32. It gives
linear layers float32 or bfloat16 outputs, depending on whether they have a bias, and batch normalisation refuses
bfloat16 (torch 2.13). A lane would thus differ from the same trial alone. Its cache of casts must be off as well, for
two reasons. Parameters are updated in place, and a cast made during CUDA graph capture lives in the graph's memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from wgan_core.backend.choices import FLOAT32, TF32

_PRODUCTS = frozenset(
    (
        *(F.linear, F.conv1d, F.conv2d, F.conv3d),
        *(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d),
        *(torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.mm, Tensor.mm, torch.bmm, Tensor.bmm),
    )
)


class Bfloat16Products(TorchFunctionMode):
    """A context in which products of float32 tensors round their operands to bfloat16 and return float32.

    Rounding is a type conversion, so gradients of any order pass through it as such products too.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        named = kwargs or {}
        if func not in _PRODUCTS or not any(map(_is_float32, (*args, *named.values()))):
            return func(*args, **named)
        return func(*map(_rounded, args), **{name: _rounded(value) for name, value in named.items()}).float()


def _is_float32(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.float32


def _rounded(value: Any) -> Any:
    return value.bfloat16() if _is_float32(value) else value


def set_on_gpus(precision: str) -> None:
    """Set the precision of float32 products on this process's GPUs.

    float32 needs a setting as well, because torch lets convolutions use TF32 by default.
    """
    _set(["tf32" if precision == TF32 else "ieee"] * len(_on_gpus()))


@contextmanager
def float32_on_gpus() -> Iterator[None]:
    """Compute float32 products in float32 on this process's GPUs while the context lasts."""
    before = [each.fp32_precision for each in _on_gpus()]
    set_on_gpus(FLOAT32)
    try:
        yield
    finally:
        _set(before)


def _set(precisions: Sequence[str]) -> None:
    # Set the older settings first. If they differ from the newer ones, torch and its exporter can read neither.
    of_products, *of_others = precisions
    torch.backends.cuda.matmul.allow_tf32 = of_products == "tf32"
    torch.backends.cudnn.allow_tf32 = "tf32" in of_others
    for each, precision in zip(_on_gpus(), precisions, strict=True):
        each.fp32_precision = precision


def _on_gpus() -> tuple[Any, ...]:
    # Set each one by itself, because a setting of all torch.backends does not reach the convolutions.
    cudnn: Any = torch.backends.cudnn  # torch's type stubs lack these attributes
    return torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn
