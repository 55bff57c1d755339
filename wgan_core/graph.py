"""Programs: functions without arguments, over tensors that stay where they are, which are carried out again and again.

On a GPU a program is recorded as a CUDA graph and replayed: its hundreds of kernels are launched at once, which is what
a small network's update waits for otherwise. It must read nothing back from the device, allocate nothing that outlives
it, and write its results in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

# Before a program is recorded, so that libraries have their workspaces and compiled kernels are compiled.
WARM_UPS = 3

Program = Callable[[], None]


def programs(functions: Iterable[Program], device: torch.device, is_captured: bool = True) -> list[Program]:
    """The functions as programs of this device: on a GPU recorded after `WARM_UPS` calls, which count as all others."""
    if device.type != "cuda" or not is_captured:
        return list(functions)
    memory = torch.cuda.graph_pool_handle()
    return [Captured(function, memory) for function in functions]


class Captured:
    """A program on the current GPU. Its temporary tensors share `memory` with those of its companions."""

    def __init__(self, function: Program, memory: Any) -> None:
        self._function, self._memory, self._calls = function, memory, 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        if self._graph is None and self._calls < WARM_UPS:
            self._calls += 1
            self._warm_up()
            return
        if self._graph is None:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph, pool=self._memory):  # which records and carries nothing out
                self._function()
        self._graph.replay()

    def _warm_up(self) -> None:
        """Carry it out on a stream of its own, as CUDA asks for before a recording."""
        stream, current = torch.cuda.Stream(), torch.cuda.current_stream()
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            self._function()
        current.wait_stream(stream)
