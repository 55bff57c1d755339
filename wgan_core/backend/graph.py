"""Programs: functions without arguments, run many times over tensors that stay in place.

A GPU records a program as a CUDA graph and replays it. A replay launches hundreds of kernels at once; otherwise a small
network's update mostly waits for kernel launches. A program must read nothing back from the device, allocate nothing
that outlives it, and write its results in place.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import Any

import torch

from wgan_core.backend.kernels import cause_of
from wgan_core.backend.memory import is_out_of_memory

# Calls before a program is recorded, so that libraries allocate their workspaces and kernels are compiled.
WARM_UPS = 3

_log = logging.getLogger(__name__)

Program = Callable[[], None]


class ProgramRecorder:
    """Recorder of programs for one device. A GPU records them; other devices run the plain functions."""

    def __init__(self, device: torch.device, is_captured: bool = True) -> None:
        self._records = is_captured and device.type == "cuda"
        if self._records:
            # Programs run one after another, so one memory pool serves the temporary tensors of all. They need a stream
            # of their own, because freeing a graph also frees the libraries' workspaces of its recording stream.
            self._memory, self._stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream()

    def program(self, function: Program, can_repeat: bool = False) -> Program:
        """Return a program that runs the function. On a GPU its fourth call records it; the first three run it.

        Args:
            function: The function.
            can_repeat: Whether running the function once more changes nothing. Then its first call records it.
        """
        return Captured(function, self._memory, self._stream, can_repeat) if self._records else function


class Captured:
    """A program that is recorded as a CUDA graph on the current GPU, then replayed.

    If CUDA cannot record the program, one warning is logged and each call runs it operation by operation.
    """

    def __init__(self, function: Program, memory: Any, stream: torch.cuda.Stream, can_repeat: bool) -> None:
        self._function, self._memory, self._stream = function, memory, stream
        self._warm_ups = WARM_UPS
        self._can_repeat = can_repeat
        self._replay: Program | None = None

    def __call__(self) -> None:
        """Run the program. Raise any error of its function."""
        while self._warm_ups > 0:
            self._warm_ups -= 1
            self._warm_up()
            if not self._can_repeat:
                return
        if self._replay is None:
            self._replay = self._recorded()
        self._replay()

    def _warm_up(self) -> None:
        """Run the program on the recording stream, as CUDA requires before a recording."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            self._function()
        current.wait_stream(self._stream)

    def _recorded(self) -> Program:
        """Return the replay of the recorded program, or the program's own function if CUDA cannot record it.

        Recording runs nothing, so the function continues from the same state.
        """
        current, graph = torch.cuda.current_stream(), torch.cuda.CUDAGraph()
        gc.collect()  # a collection during the recording would free device memory, which breaks the recording
        try:
            with torch.cuda.graph(graph, pool=self._memory, stream=self._stream):
                self._function()
        except Exception as error:
            torch.cuda.set_stream(current)
            if is_out_of_memory(error):
                raise
            _log.warning(
                "updates are not recorded as CUDA graphs, so each update takes longer: CUDA must be able to record an "
                "update, and this one fails with %s: give --no-capture to leave recording out",
                cause_of(error),
            )
            return self._function
        return graph.replay
