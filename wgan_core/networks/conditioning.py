"""Networks with labels (Mirza and Osindero 2014): a label's code is appended to the sample or to the noise."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from wgan_core.config import Structure


class Conditional(nn.Module):
    """A network that takes x (N, ...) and labels (N,) in [0, classes), around an inner network of wider input.

    If `embedding` is above 0, a label's code is a learnt embedding of that length; otherwise it is one-hot. The code is
    appended to vectors as further entries. It is appended to images and sequences as further channels, constant over
    all positions. If `flat` is set, samples are flattened first.
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
        return (labels[:, None] == torch.arange(self.classes, device=labels.device)).to(dtype)


def widened(structure: Structure, flat: bool) -> tuple[Structure, Structure]:
    """Return the structures of the critic and the generator inside a `Conditional`, with input sizes plus the code."""
    length = structure.label_embedding or structure.classes
    shape = structure.sample_shape
    seen = (math.prod(shape) + length,) if flat else (shape[0] + length, *shape[1:])
    for_critic = replace(structure, sample_shape=seen, coding=None)
    return for_critic, replace(structure, latent_dim=structure.latent_dim + length)
