"""How long something takes, what it must at least take, and how such times are put together."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from wgan_core.backend.linear import has_onednn, onednn_linear

CPU = torch.device("cpu")
# Large enough that a GPU is full and neither a call nor a cache counts.
SQUARES = (4096, 8192)
COPIED_BYTES = 2**30

Run = Callable[[int], None]


def seconds_of(run: Run, iterations: int, device: torch.device = CPU) -> float:
    """How long so many iterations take, until the device has done them."""
    wait_for(device)
    started = time.perf_counter()
    run(iterations)
    wait_for(device)
    return time.perf_counter() - started


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and quartiles; of one value, that value."""
    first, middle, third = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [*values] * 3
    return {"median": middle, "q1": first, "q3": third}


def rotated(arms: list[str], by: int) -> list[str]:
    by %= len(arms)
    return arms[by:] + arms[:by]


class Products(TorchDispatchMode):
    """Counts the floating-point operations of matrix products, backward passes included; `seen` is called with each.

    torch's FlopCounterMode is this and a tracker of modules, whose hooks do not work under `autograd.grad`.
    """

    def __init__(self, seen: Callable[[Sequence[Any], Any], None] = lambda operands, output: None) -> None:
        super().__init__()
        self.operations = 0
        self._seen = seen

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        if function is torch.ops.mkldnn._linear_pointwise.default:
            self.operations += 2 * output.numel() * args[0].shape[-1]
            self._seen(args, output)
        elif formula := flop_registry.get(function._overloadpacket):
            self.operations += formula(*args, **(kwargs or {}), out_val=output)
            self._seen(args, output)
        return output


def flops_of(run: Run) -> int:
    """Floating-point operations of the matrix products of one iteration."""
    with Products() as products:
        run(1)
    return products.operations


def matmul_rate(rows: int, inner: int, columns: int, seconds: float = 1.0) -> float:
    """The best rate on the CPU, in operations per second, of one product: of these sizes, or a large square."""
    best = 0.0
    for sizes in ((rows, inner, columns), (1024, 1024, 1024)):
        x, weight = torch.randn(sizes[0], sizes[1]), torch.randn(sizes[2], sizes[1])
        for product in (F.linear, onednn_linear) if has_onednn() else (F.linear,):
            best = max(best, 2 * sizes[0] * sizes[1] * sizes[2] / _least(lambda: product(x, weight), CPU, seconds))  # noqa: B023
    return best


def cuda_matmul_rates(device: torch.device, seconds: float = 1.0) -> dict[str, float]:
    """The best rates on a GPU, in operations per second, of large square products, by precision."""
    return {
        "fp32": _square_rate(device, torch.float32, "ieee", seconds),
        "tf32": _square_rate(device, torch.float32, "tf32", seconds),
        "bf16": _square_rate(device, torch.bfloat16, "ieee", seconds),
    }


def copy_rate(device: torch.device, seconds: float = 1.0) -> float:
    """The best rate, in bytes per second read and written, of a copy from the device's memory to itself."""
    source = torch.ones(COPIED_BYTES // 4, device=device)
    target = torch.empty_like(source)
    return 2 * COPIED_BYTES / _least(lambda: target.copy_(source), device, seconds)


def _square_rate(device: torch.device, dtype: torch.dtype, precision: str, seconds: float) -> float:
    best = 0.0
    with _products_in(precision):
        for side in SQUARES:
            x = torch.randn(side, side, device=device, dtype=dtype)
            best = max(best, 2 * side**3 / _least(lambda: x @ x, device, seconds))  # noqa: B023
    return best


@contextmanager
def _products_in(precision: str) -> Iterator[None]:
    """float32 products on a GPU in this precision: "ieee" or "tf32"."""
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = precision
    try:
        yield
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


def _least(product: Callable[[], Tensor], device: torch.device, seconds: float) -> float:
    """The shortest time of a call, in so many seconds of calls after a first one."""
    product()
    wait_for(device)
    least, until = float("inf"), time.perf_counter() + seconds
    while (started := time.perf_counter()) < until:
        product()
        wait_for(device)
        least = min(least, time.perf_counter() - started)
    return least
