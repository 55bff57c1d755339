"""Where the device's time goes in our arm, kernel by kernel, as torch's profiler sees it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from fused.ours import Ours
from torch.profiler import ProfilerActivity, profile

# Draws are made for sixteen updates at once.
ITERATIONS = 32
ROWS = 25

# By a kernel's name, or an operator's on the CPU; the first that fits.
KINDS = (
    # As inductor names what it fuses: by the operators in it.
    ("optimiser", r"adam|multi_tensor|foreach|lerp.*where|where.*lerp"),
    ("draws", r"bitwise|rshift|philox|<long|long,|cos_kernel|log_kernel|aten::(__|cos|log|rshift)"),
    (
        "products",
        r"gemm|gemv|cutlass|xmma|nvjet|cublas|cudnn|conv|wgrad|dgrad|mm_|::mm|::addmm|::baddbmm|::bmm|linear_po",
    ),
    ("copies", r"memcpy|memset|copy_|copy_kernel|fill|index|gather|cat"),
)
REST = "other elementwise and sums"


def kind_of(name: str) -> str:
    return next((kind for kind, pattern in KINDS if re.search(pattern, name.lower())), REST)


def table(ours: Ours) -> str:
    """Shares of the kinds of kernels, then the kernels that take most, over some iterations."""
    device = ours.cohort.device
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    ours.run(2 * ITERATIONS)  # so that all is recorded
    with profile(activities=activities) as profiler:
        ours.run(ITERATIONS)
        if on_gpu:
            torch.cuda.synchronize(device)
    taken = [(event.key, event.count, _microseconds(event, on_gpu)) for event in profiler.key_averages()]
    rows = sorted((row for row in taken if row[2] > 0), key=lambda row: -row[2])
    return "\n".join([*_shares(rows), "", *_lines(rows)])


def _microseconds(event: Any, on_gpu: bool) -> float:
    if not on_gpu:
        return float(event.self_cpu_time_total)
    # An operator has its kernels' time too; only kernels themselves are on the device.
    return float(event.self_device_time_total) if event.device_type == torch.autograd.DeviceType.CUDA else 0.0


def _shares(rows: Sequence[tuple[str, int, float]]) -> list[str]:
    total, by_kind = sum(row[2] for row in rows), defaultdict(float)
    for name, _, taken in rows:
        by_kind[kind_of(name)] += taken
    lines = [f"{total / ITERATIONS / 1e3:.3f} ms an iteration in kernels"]
    return lines + [f"{taken / total:>7.1%}  {kind}" for kind, taken in sorted(by_kind.items(), key=lambda kv: -kv[1])]


def _lines(rows: Sequence[tuple[str, int, float]]) -> list[str]:
    total = sum(row[2] for row in rows)
    head = f"{'share':>7} {'ms an it.':>10} {'calls an it.':>12}  {'kind':<10} kernel"
    return [head] + [
        f"{taken / total:>7.1%} {taken / ITERATIONS / 1e3:>10.4f} {count / ITERATIONS:>12.1f}"
        f"  {kind_of(name)[:10]:<10} {name[:150]}"
        for name, count, taken in rows[:ROWS]
    ]
