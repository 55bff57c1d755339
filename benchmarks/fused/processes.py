"""P processes that share the device, each with the textbook loop of one trial."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from measuring import wait_for
from torch import Tensor
from wgan_gp import PAIRS, Textbook

from wgan_core.backend import process

READY, STOP = "ready", 0
START_S, STOP_S = 300.0, 10.0


class Processes:
    """They live until `close`, so that a block is not charged with their start."""

    def __init__(
        self, name: str, data: Tensor, n_critic: int, count: int, threads: int, precision: str, folder: Path
    ) -> None:
        """threads, precision: of each, as in `process.configure`. folder: where the data is laid for them to read.

        Raises `RuntimeError` if one ends before it has trained an update.
        """
        np.save(folder / "data.npy", data.cpu().numpy())
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for number in range(count):
            ours, theirs = context.Pipe()
            given = (theirs, name, folder / "data.npy", str(data.device), n_critic, threads, precision, number)
            process_ = context.Process(target=serve, args=given, daemon=True)
            process_.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process_)
        self._heard(START_S)

    def run(self, iterations: int) -> None:
        """So many of each."""
        for pipe in self._pipes:
            pipe.send(iterations)
        self._heard(None)

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.send(STOP)
        for each in self._processes:
            each.join(STOP_S)

    def _heard(self, within_s: float | None) -> None:
        """Wait until all have answered."""
        for number, pipe in enumerate(self._pipes):
            try:
                answered = pipe.poll(within_s) and pipe.recv() == READY
            except EOFError:
                answered = False
            if not answered:
                raise RuntimeError(f"process {number} of {len(self._pipes)} ended, or has not started")


def serve(
    pipe: Connection, name: str, data: Path, device: str, n_critic: int, threads: int, precision: str, seed: int
) -> None:
    """What each process does: train as many iterations as it is told, answer, wait for the next number."""
    process.configure(threads, precision=precision)
    torch.manual_seed(seed)
    textbook = Textbook(torch.from_numpy(np.load(data)).to(device), n_critic, PAIRS[name])
    iterations = 1
    while iterations != STOP:
        textbook.run(iterations)
        wait_for(textbook.data.device)
        pipe.send(READY)
        try:
            iterations = pipe.recv()
        except EOFError:  # the benchmark has ended
            return
