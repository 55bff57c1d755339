"""What each update of a trial consumes, drawn in blocks so that the draws cost little beside the update."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from wgan_core import draws
from wgan_core.config import Structure
from wgan_core.data.dataset import to_model
from wgan_core.draws import Stream
from wgan_core.step import CriticBatch

BLOCK = 16


class _Blocks:
    """Draws of K lanes, each at its own count, made for the next `BLOCK` counts at a time."""

    def __init__(self, draw: Callable[[Tensor], tuple[Tensor, ...]], device: torch.device) -> None:
        self._draw, self._device = draw, device
        self._first: list[int] = []
        self._drawn: tuple[Tensor, ...] = ()

    def at(self, counts: Sequence[int]) -> list[Tensor]:
        """The draws for these counts, one a lane, each (K, ...)."""
        ahead = [count - first for count, first in zip(counts, self._first, strict=bool(self._first))]
        if not ahead or not all(0 <= position < BLOCK for position in ahead):
            self._first, ahead = list(counts), [0] * len(counts)
            updates = torch.tensor(self._first)[:, None] + torch.arange(BLOCK)
            self._drawn = self._draw(updates.to(self._device))
        lanes = torch.arange(len(counts), device=self._device)
        positions = torch.tensor(ahead, device=self._device)
        return [tensor[lanes, positions] for tensor in self._drawn]


class Batches:
    """Batches of the trials of these seeds, from data (M, ...) and labels (M,) on the device that trains.

    Real samples are drawn with replacement, as Gulrajani et al. 2017, Algorithm 1, line 4, asks; a full batch is all of
    the data in its order. Where networks are told labels, a critic's fakes have those of its reals, and a generator's
    those of rows drawn anew. Raises `ValueError` for full batches of another size than the data's.
    """

    def __init__(self, structure: Structure, data: Tensor, seeds: Sequence[int], labels: Tensor | None = None) -> None:
        self._structure, self._data = structure, data
        self._labels = labels if structure.classes else None
        if structure.full_batch and structure.batch_size != len(data):
            raise ValueError(f"a full batch of {len(data)} samples is no batch of {structure.batch_size}")
        self._seeds = torch.tensor(list(seeds), device=data.device)
        self._critic = _Blocks(self._draw_critic, data.device)
        self._generator = _Blocks(self._draw_generator, data.device)

    def critic(self, updates: Sequence[int]) -> CriticBatch:
        """The batch of each lane's next critic update, from its count of critic updates."""
        index, z, weight = self._critic.at(updates)
        labels = None if self._labels is None else self._labels[index]
        return CriticBatch(to_model(self._data[index], self._structure.torch_dtype), z, weight, labels)

    def generator(self, updates: Sequence[int]) -> Tensor:
        """z (K, N, Z) of each lane's next generator update, from its count of generator updates."""
        return self._generator.at(updates)[0]

    def generator_labels(self, updates: Sequence[int]) -> Tensor | None:
        """The labels (K, N) that go with `generator`; None where networks are told none."""
        return None if self._labels is None else self._labels[self._generator.at(updates)[1]]

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
        size, latent = self._structure.batch_size, self._structure.latent_dim
        drawn = draws.normal(self._seeds, stream, updates, size * latent, self._structure.torch_dtype)
        return drawn.unflatten(2, (size, latent))
