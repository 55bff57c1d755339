"""The processes that train one trial together, data-parallel: R ranks, each on its part of every batch.

Each rank holds the whole state and draws whole batches, of which it takes its part; gradients and quantities are
averaged over the ranks, so all of them make the same update. One process is a rank of one, to which nothing of this
does anything.
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

# Within which every rank must come to the same point; between two such points lie parts of one update.
TIMEOUT_S = 120.0
# Updates after which ranks agree on whether to stop.
AGREE_EVERY = 8


class LostRank(Exception):
    """Another rank has died, or has not come to where this one is within the time that it has."""


class Ranks:
    """A process that trains alone; several are a `Group`."""

    size = 1
    rank = 0

    def share(self, tensor: Tensor, dim: int) -> Tensor:
        """This rank's part of a tensor whose axis `dim` is that of the samples of a batch."""
        return tensor

    def average(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The means over the ranks of tensors that each has of the same shapes; the same bits on all of them."""
        return list(tensors)

    def gather(self, tensor: Tensor) -> Tensor:
        """The tensors of all ranks, (R, ...), differentiable: a gradient is that of the sum of all ranks' losses."""
        return tensor.unsqueeze(0)

    def agreed(self, asked: Callable[[], bool], updates: int) -> bool:
        """Whether training is to stop, so many updates after it went on: as the first rank is told, on all alike."""
        return asked()


ALONE = Ranks()


class Group(Ranks):
    """One of several ranks, in a process that has joined them. All must make the same calls in the same order.

    Each raises `LostRank` if another rank does not. On a GPU a call returns before that is known: there torch ends the
    process when the time is over.
    """

    def __init__(self) -> None:
        self.size, self.rank = dist.get_world_size(), dist.get_rank()

    def share(self, tensor: Tensor, dim: int) -> Tensor:
        """Raises `ValueError` if the samples cannot be shared out evenly: a mean of means would not be the mean."""
        count, rest = divmod(tensor.shape[dim], self.size)
        if rest:
            raise ValueError(f"{tensor.shape[dim]} samples do not divide over {self.size} ranks")
        return tensor.narrow(dim, self.rank * count, count)

    def average(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        # In one buffer: a call costs about as much for a bias as for a megabyte.
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
        # On the CPU, so that nothing waits for a GPU.
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
    """What `torch.distributed` gathers, with the derivative that it does not give."""

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
    """Be one of `size` ranks on this machine, over its loopback, for as long as the block lasts.

    meeting: a file that none of them has made yet, in a folder that all of them write to. Raises `LostRank` if the
    others do not come. After an error a process should end: it may not be able to join others.
    """
    os.environ.update({"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"})
    on_gpu = device.type == "cuda"
    try:
        dist.init_process_group(
            # What is agreed upon is on the CPU everywhere.
            backend="cpu:gloo,cuda:nccl" if on_gpu else "gloo",
            store=dist.FileStore(str(meeting), size),  # type: ignore[attr-defined]
            rank=rank,
            world_size=size,
            timeout=timedelta(seconds=TIMEOUT_S),
            # Makes the connections now rather than amid the first update.
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
        # On a GPU that may wait for ranks that are no more: there the process is to end.
        if not on_gpu:
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()
