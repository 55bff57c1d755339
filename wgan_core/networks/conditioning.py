"""Networks with labels or conditions (Mirza and Osindero 2014): their code is appended to the sample or the noise."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from wgan_core.config import Structure


class Conditional(nn.Module):
    """A network that takes x (N, ...) and labels (N,) in [0, classes), around an inner network of wider input.

    If `embedding` is above 0, a label's code is a learnt embedding of that length; otherwise it is one-hot. If
    `classes` is 0, the second input is conditions (N, K), which are their own code. The code is appended to vectors as
    further entries. It is appended to images and sequences as further channels, constant over all positions. If `flat`
    is set, samples are flattened first.
    """

    def __init__(self, inner: nn.Module, classes: int, embedding: int, flat: bool) -> None:
        super().__init__()
        self.inner, self.classes, self.flat = inner, classes, flat
        self.codes = nn.Embedding(classes, embedding) if embedding else None

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        code = self._code(labels, x.dtype)
        if self.flat:
            x = x.flatten(1)
        planes = code.reshape(*code.shape, *[1] * (x.dim() - 2)).expand(*code.shape, *x.shape[2:])
        return self.inner(torch.cat([x, planes], dim=1))

    def _code(self, labels: Tensor, dtype: torch.dtype) -> Tensor:
        if self.codes is not None:
            return self.codes(labels)
        if not self.classes:
            return labels.to(dtype)
        return (labels[:, None] == torch.arange(self.classes, device=labels.device)).to(dtype)


def blank_labels(structure: Structure, *shape: int) -> Tensor | None:
    """Return labels of zero, int64 (*shape), or mean conditions (*shape, K), or None if the networks take neither."""
    if structure.conditions is not None:
        return torch.zeros(*shape, structure.code_length, dtype=structure.torch_dtype)
    return torch.zeros(shape, dtype=torch.int64) if structure.classes else None


def widened(structure: Structure, flat: bool) -> tuple[Structure, Structure]:
    """Return the structures of the critic and the generator inside a `Conditional`, with input sizes plus the code."""
    length, shape = structure.code_length, structure.sample_shape
    seen = (math.prod(shape) + length,) if flat else (shape[0] + length, *shape[1:])
    for_critic = replace(structure, sample_shape=seen, coding=None)
    return for_critic, replace(structure, latent_dim=structure.latent_dim + length)
