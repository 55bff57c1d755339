"""Programs: functions without arguments, over tensors that stay where they are, which are carried out again and again.

On a GPU a program is recorded as a CUDA graph and replayed: its hundreds of kernels are launched at once, which is what
a small network's update waits for otherwise. It must read nothing back from the device, allocate nothing that outlives
it, and write its results in place.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import torch

from wgan_core.backend.memory import is_out_of_memory
from wgan_core.errors import one_line

# How a GPU carries out updates: operation by operation, or recorded as CUDA graphs.
EXECUTIONS = EAGER, CAPTURED = "eager", "captured"
# Before a program is recorded, so that libraries have their workspaces and compiled kernels are compiled.
WARM_UPS = 3

Program = Callable[[], None]


class Recorder:
    """Makes functions programs of a device: on a GPU they are recorded, elsewhere they stay what they are."""

    def __init__(self, device: torch.device, is_captured: bool = True) -> None:
        self._records = is_captured and device.type == "cuda"
        if self._records:
            # Of their own: what the programs need only for a while they take from the same memory, one after the other,
            # and the libraries' workspaces of a stream are freed with any graph that was recorded on it.
            self._memory, self._stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()

    def program(self, function: Program, can_repeat: bool = False) -> Program:
        """It is recorded at its fourth call; the first three carry it out.

        can_repeat: to carry it out once more changes nothing, so it is recorded at the first.
        """
        return Captured(function, self._memory, self._stream, can_repeat) if self._records else function


class Captured:
    """A program on the current GPU."""

    def __init__(self, function: Program, memory: Any, stream: torch.cuda.Stream, can_repeat: bool) -> None:
        self._function, self._memory, self._stream = function, memory, stream
        self._warm_ups = WARM_UPS
        self._can_repeat = can_repeat
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self) -> None:
        """Raises what the function does, and `RuntimeError` if it cannot be recorded; the process is then lost."""
        while self._warm_ups > 0:
            self._warm_ups -= 1
            self._warm_up()
            if not self._can_repeat:
                return
        if self._graph is None:
            self._graph = self._recorded()
        self._graph.replay()

    def _warm_up(self) -> None:
        """Carry it out on the stream that it is to be recorded on, as CUDA asks for before a recording."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            self._function()
        current.wait_stream(self._stream)

    def _recorded(self) -> torch.cuda.CUDAGraph:
        current, graph = torch.cuda.current_stream(), torch.cuda.CUDAGraph()
        gc.collect()  # what is collected amid a recording would be freed on the device, which breaks it
        try:
            with torch.cuda.graph(graph, pool=self._memory, stream=self._stream):  # nothing is carried out
                self._function()
        except Exception as error:
            torch.cuda.set_stream(current)
            if is_out_of_memory(error):
                raise
            raise RuntimeError(
                f"an update must be one that CUDA can record; this one cannot be: {one_line(error)}: "
                "give --no-capture, without --compile"
            ) from error
        return graph
