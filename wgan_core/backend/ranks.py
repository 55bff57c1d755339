"""Ranks: R processes that train one trial together, data-parallel, each on its part of every batch.

Each rank holds the whole state, draws whole batches and takes its part of them. Gradients and logged quantities are
averaged over the ranks, so all ranks make the same update. With one process, `share` and `average` return their inputs,
`gather` adds an axis of length 1, and `agreed` calls the function.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

# Longest wait of a collective call for the other ranks. During training such calls follow within one update. While the
# first rank scores, the others wait in no call.
TIMEOUT_S = 120.0
# Number of updates between two agreements on whether to stop.
AGREE_EVERY = 8


class LostRank(Exception):
    """Error for a rank that died or did not reach the same point in time."""


class Ranks:
    """Methods of a rank, for a process that trains alone. `Group` has those of one of several ranks."""

    size = 1
    rank = 0

    def share(self, tensor: Tensor, dim: int) -> Tensor:
        """Return this rank's part of a tensor whose axis `dim` is the samples of a batch."""
        return tensor

    def average(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the mean of each tensor over the ranks, with the same bits on all. The ranks' shapes must be equal."""
        return list(tensors)

    def gather(self, tensor: Tensor) -> Tensor:
        """Return the tensors of all ranks, (R, ...). The gradient is that of the sum of all ranks' losses."""
        return tensor.unsqueeze(0)

    def agreed(self, asked: Callable[[], bool], updates: int) -> bool:
        """Return whether training must stop, with the same answer on all ranks.

        Several ranks ask the first one only before every eighth update. Between these updates the answer is False.

        Args:
            asked: Returns whether to stop. Only the first rank's function counts.
            updates: Number of updates that this call of `Cohort.advance` has made.
        """
        return asked()


ALONE = Ranks()


class Group(Ranks):
    """One of several ranks, in a process that has joined them. All ranks must make the same calls in the same order.

    If another rank does not, a call raises `LostRank`. On a GPU, calls return before this is known, and torch ends the
    process when the time is over.
    """

    def __init__(self) -> None:
        self.size, self.rank = dist.get_world_size(), dist.get_rank()

    def share(self, tensor: Tensor, dim: int) -> Tensor:
        """Return this rank's part of the samples.

        Raises:
            ValueError: The samples do not divide evenly, so the mean of the ranks' means would not be the mean.
        """
        count, rest = divmod(tensor.shape[dim], self.size)
        if rest:
            raise ValueError(f"{tensor.shape[dim]} samples do not divide over {self.size} ranks")
        return tensor.narrow(dim, self.rank * count, count)

    def average(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        # Use one buffer, because a call costs about as much for a bias as for a megabyte.
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        with self._together():
            dist.all_reduce(flat)
        parts = flat.div_(self.size).split([tensor.numel() for tensor in tensors])
        return [part.reshape(each.shape).to(each.dtype) for part, each in zip(parts, tensors, strict=True)]

    def gather(self, tensor: Tensor) -> Tensor:
        gathered: Tensor = _Gather.apply(tensor, self)  # type: ignore[no-untyped-call]
        return gathered

    def agreed(self, asked: Callable[[], bool], updates: int) -> bool:
        if updates % AGREE_EVERY:
            return False
        # The flag is on the CPU, so that nothing waits for a GPU.
        stop = torch.tensor(self.rank == 0 and asked(), dtype=torch.uint8)
        with self._together():
            dist.broadcast(stop, 0)
        return bool(stop)

    @contextmanager
    def _together(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise LostRank(
                f"rank {self.rank} of {self.size} has lost another, which died or did not come within "
                f"{TIMEOUT_S:.0f} s: {str(error).strip().splitlines()[0]}"
            ) from error


class _Gather(torch.autograd.Function):
    """A differentiable gather. `torch.distributed` itself gives no derivative."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Group) -> Tensor:
        ctx.group = group
        rows = [torch.empty_like(tensor, memory_format=torch.contiguous_format) for _ in range(group.size)]
        with group._together():
            dist.all_gather(rows, tensor.contiguous())
        return torch.stack(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        with ctx.group._together():
            dist.all_reduce(total)
        return total[ctx.group.rank], None


@contextmanager
def joined(meeting: Path, rank: int, size: int, device: torch.device) -> Iterator[Group]:
    """Join `size` ranks on this machine, over its loopback interface, for the duration of the context.

    After an error the process should end, because it may not be able to join other ranks.

    Args:
        meeting: Path of a file that does not exist yet, in a folder that all ranks write to.
        rank: This process's rank.
        size: Number of ranks.
        device: The training device.

    Raises:
        LostRank: The other ranks do not come.
    """
    os.environ.update({"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"})
    on_gpu = device.type == "cuda"
    try:
        dist.init_process_group(
            # Agreements use CPU tensors on every device.
            backend="cpu:gloo,cuda:nccl" if on_gpu else "gloo",
            store=dist.FileStore(str(meeting), size),  # type: ignore[attr-defined]
            rank=rank,
            world_size=size,
            timeout=timedelta(seconds=TIMEOUT_S),
            # Connect now rather than during the first update.
            device_id=torch.device("cuda", torch.cuda.current_device()) if on_gpu else None,
        )
    except RuntimeError as error:
        raise LostRank(
            f"rank {rank} of {size} has waited {TIMEOUT_S:.0f} s for the others to start: "
            f"{str(error).strip().splitlines()[0]}"
        ) from error
    try:
        yield Group()
    except BaseException:
        # On a GPU, destroying the group may wait for dead ranks. There the process should end.
        if not on_gpu:
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()
