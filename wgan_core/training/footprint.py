"""Lower bounds of the memory that training one trial takes, computed without allocating it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import torch
from torch import Tensor, nn

from wgan_core.config import Structure
from wgan_core.networks.conditioning import blank_labels
from wgan_core.networks.network import build


def state_bytes(structure: Structure) -> int:
    """Return the bytes of both networks' weights, gradients, moments and buffers, and of the generator's average."""
    with torch.device("meta"):
        critic, generator = build(structure)
    count = 4 * _entries(critic.parameters()) + _entries(critic.buffers())
    count += 5 * _entries(generator.parameters()) + 2 * _entries(generator.buffers())
    return count * structure.torch_dtype.itemsize


def output_bytes(structure: Structure) -> int:
    """Return the bytes of all layers' outputs for one batch. An update keeps them until it has the gradients.

    Layers of a user's own networks that fail without values are not counted.
    """
    counts: list[int] = []
    with torch.device("meta"), torch.no_grad():
        for network, shape in zip(build(structure), (structure.sample_shape, (structure.z_length,)), strict=True):
            for module in network.modules():
                if not any(module.children()):
                    module.register_forward_hook(lambda _, __, output: counts.append(output.numel()))
            labels = blank_labels(structure, structure.batch_size)
            with suppress(Exception):
                network(torch.empty(structure.batch_size, *shape), *([] if labels is None else [labels]))
    return sum(counts) * structure.torch_dtype.itemsize


def footprint(structure: Structure) -> int:
    """Return the sum of `state_bytes` and `output_bytes`, by which structures are compared."""
    return state_bytes(structure) + output_bytes(structure)


def _entries(tensors: Iterable[Tensor | nn.Parameter]) -> int:
    return sum(tensor.numel() for tensor in tensors)
