"""Programs: functions without arguments, over tensors that stay where they are, which are carried out again and again.

On a GPU a program is recorded as a CUDA graph and replayed: its hundreds of kernels are launched at once, which is what
a small network's update waits for otherwise. It must read nothing back from the device, allocate nothing that outlives
it, and write its results in place.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from typing import Any

import torch

from wgan_core.backend.kernels import cause_of
from wgan_core.backend.memory import is_out_of_memory

# Before a program is recorded, so that libraries have their workspaces and compiled kernels are compiled.
WARM_UPS = 3

_log = logging.getLogger(__name__)

Program = Callable[[], None]


class ProgramRecorder:
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
    """A program that is recorded as a CUDA graph on the current GPU, then replayed.

    If CUDA cannot record the program, each call carries it out operation by operation, after one warning.
    """

    def __init__(self, function: Program, memory: Any, stream: torch.cuda.Stream, can_repeat: bool) -> None:
        self._function, self._memory, self._stream = function, memory, stream
        self._warm_ups = WARM_UPS
        self._can_repeat = can_repeat
        self._replay: Program | None = None

    def __call__(self) -> None:
        """Carry out the program. Raises what its function raises."""
        while self._warm_ups > 0:
            self._warm_ups -= 1
            self._warm_up()
            if not self._can_repeat:
                return
        if self._replay is None:
            self._replay = self._recorded()
        self._replay()

    def _warm_up(self) -> None:
        """Carry out the program on the stream of its recording, as CUDA requires before a recording."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            self._function()
        current.wait_stream(self._stream)

    def _recorded(self) -> Program:
        """Return the replay of the recorded program, or the program's own function if CUDA cannot record it.

        Recording carries nothing out, so the function goes on from the same state.
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
