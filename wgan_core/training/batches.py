"""Random batches for the updates of K lanes, drawn in blocks so that drawing costs little beside an update."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from wgan_core.backend.kernels import compiled
from wgan_core.backend.ranks import ALONE, Ranks
from wgan_core.config import Structure
from wgan_core.data.dataset import to_model
from wgan_core.rules import draws
from wgan_core.rules.draws import Stream
from wgan_core.training.data import TrainingData
from wgan_core.training.step import CriticBatch

BLOCK = 16


class Blocks:
    """Blocks of random draws for K lanes. One block covers `BLOCK` consecutive update counts of each lane.

    The tensors keep their place in memory, because recorded CUDA graphs read them there.

    Args:
        draw: Returns the draws (K, BLOCK, N, ...) for the counts (K, BLOCK), for whole batches of N samples.
        device: Device of the draws.
        ranks: Ranks of the trial. Only this rank's part of the N samples is kept.
    """

    def __init__(
        self, draw: Callable[[Tensor], tuple[Tensor, ...]], device: torch.device, ranks: Ranks = ALONE
    ) -> None:
        self._draw, self._ranks = compiled(draw, device.type), ranks
        self._first: Tensor | None = None
        self._drawn: tuple[Tensor, ...] = ()

    def fill(self, counts: Tensor) -> None:
        """Draw for the counts (K,) and for the `BLOCK` - 1 counts after each."""
        updates = counts[:, None] + torch.arange(BLOCK, device=counts.device)
        drawn = [self._ranks.share(tensor, 2) for tensor in self._draw(updates)]
        if self._first is None:
            self._first, self._drawn = counts.clone(), tuple(tensor.contiguous() for tensor in drawn)
            return
        self._first.copy_(counts)
        for place, tensor in zip(self._drawn, drawn, strict=True):
            place.copy_(tensor)

    def at(self, counts: Tensor) -> list[Tensor]:
        """Return the draws for the counts (K,), each tensor (K, ...).

        Args:
            counts: Counts within the block that `fill` drew last.

        Raises:
            ValueError: `fill` was never called.
        """
        if self._first is None:
            raise ValueError("nothing is drawn yet: call fill first")
        lanes, at = torch.arange(len(counts), device=counts.device), counts - self._first
        return [tensor[lanes, at] for tensor in self._drawn]


class Batches:
    """Batches for the trials on K lanes.

    Real samples are drawn with replacement (Gulrajani et al. 2017, Algorithm 1, line 4). A full batch is all of the
    data in its order. If the networks take labels, a critic's fakes have the labels of its real samples. A generator's
    fakes have the labels of newly drawn rows. Conditions are drawn as labels are. Each rank draws whole batches and
    keeps its own part.

    Args:
        structure: The structure of all K trials.
        data: Real samples (M, ...) and their labels, on the training device.
        seeds: The trials' seeds (K,).
        ranks: Ranks of the trial.

    Raises:
        ValueError: `full_batch` is set, and the batch size is not the number of samples.
    """

    def __init__(self, structure: Structure, data: TrainingData, seeds: Tensor, ranks: Ranks = ALONE) -> None:
        self._structure, self._data, self._seeds = structure, data.samples, seeds
        self._labels = data.labels if structure.is_conditional else None
        if structure.full_batch and structure.batch_size != len(self._data):
            raise ValueError(f"a full batch of {len(self._data)} samples is no batch of {structure.batch_size}")
        self.for_critic = Blocks(self._draw_critic, data.device, ranks)
        self.for_generator = Blocks(self._draw_generator, data.device, ranks)

    def critic(self, updates: Tensor) -> CriticBatch:
        """Return the batch of each lane's next critic update, given its count of critic updates, (K,)."""
        index, z, weight = self.for_critic.at(updates)
        labels = None if self._labels is None else self._labels[index]
        return CriticBatch(to_model(self._data[index], self._structure.torch_dtype), z, weight, labels)

    def generator(self, updates: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return z (K, N, Z) and labels (K, N), or conditions (K, N, C), of each lane's next generator update.

        The labels are None if the networks take none. `updates` (K,) are the lanes' counts of generator updates.
        """
        z, *rows = self.for_generator.at(updates)
        return z, None if self._labels is None else self._labels[rows[0]]

    def _draw_critic(self, updates: Tensor) -> tuple[Tensor, ...]:
        size, dtype = self._structure.batch_size, self._structure.torch_dtype
        return (
            self._draw_rows(updates),
            self._draw_z(Stream.CRITIC_Z, updates),
            draws.uniform(self._seeds, Stream.INTERPOLATION, updates, size, dtype),
        )

    def _draw_rows(self, updates: Tensor) -> Tensor:
        size = self._structure.batch_size
        if self._structure.full_batch:
            return torch.arange(size, device=updates.device).expand(*updates.shape, size)
        return draws.indices(self._seeds, Stream.DATA, updates, size, len(self._data))

    def _draw_generator(self, updates: Tensor) -> tuple[Tensor, ...]:
        z = self._draw_z(Stream.GENERATOR_Z, updates)
        if self._labels is None:
            return (z,)
        size = self._structure.batch_size
        return z, draws.indices(self._seeds, Stream.GENERATOR_LABEL, updates, size, len(self._labels))

    def _draw_z(self, stream: Stream, updates: Tensor) -> Tensor:
        size, latent = self._structure.batch_size, self._structure.z_length
        drawn = draws.normal(self._seeds, stream, updates, size * latent, self._structure.torch_dtype)
        return drawn.unflatten(2, (size, latent))
