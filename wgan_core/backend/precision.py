"""How the products of training are computed: linear layers, convolutions and matrix products, and their derivatives.

Parameters, moments, averages, losses, penalties and whatever else is no product stay in the structure's dtype; so do
the samples of a generator that is looked at. So precisions compare by what they make of a training, and by nothing
else.

`torch.autocast` is not taken. Under vmap it leaves convolutions in float32, gives linear layers float32 or bfloat16
outputs by whether they have a bias, and batch normalisation then refuses the latter (torch 2.13): a lane would be
computed otherwise than the same trial alone. Its cache of cast weights would also have to be off, since parameters are
updated in place, and a cast made while a CUDA graph is captured lives in the graph's memory.
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
    """While this is entered, products of float32 tensors take operands rounded to bfloat16, and give float32.

    Rounding is a conversion of type, through which gradients pass as such products again, of any order.
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
    """Have this process's GPUs compute float32 products so from now on.

    float32 has to be asked for as well: torch lets convolutions take TF32 unless it is told otherwise.
    """
    _set(["tf32" if precision == TF32 else "ieee"] * len(_on_gpus()))


@contextmanager
def float32_on_gpus() -> Iterator[None]:
    """Within it this process's GPUs compute float32 products in float32."""
    before = [each.fp32_precision for each in _on_gpus()]
    set_on_gpus(FLOAT32)
    try:
        yield
    finally:
        _set(before)


def _set(precisions: Sequence[str]) -> None:
    # The older settings first: where they differ from the newer ones, torch tells neither, not even its exporter.
    of_products, *of_others = precisions
    torch.backends.cuda.matmul.allow_tf32 = of_products == "tf32"
    torch.backends.cudnn.allow_tf32 = "tf32" in of_others
    for each, precision in zip(_on_gpus(), precisions, strict=True):
        each.fp32_precision = precision


def _on_gpus() -> tuple[Any, ...]:
    # One by one: what is set for all of torch.backends does not reach the convolutions.
    cudnn: Any = torch.backends.cudnn  # whose types leave these out
    return torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn
