"""Exports of a trained generator: an `nn.Module`, its files, and a program that needs only torch."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from wgan_core.cache import keep_compiled_code_private
from wgan_core.config import Structure
from wgan_core.data.coding import Coding
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError, one_line
from wgan_core.kinds import kind_of
from wgan_core.networks.conditioning import blank_labels
from wgan_core.networks.network import build, loaded_generator
from wgan_core.training.checkpoint import Checkpoint

WEIGHTS = "generator.safetensors"
DESCRIPTION = "generator.json"
PROGRAM = "generator.pt2"
# Samples drawn per forward pass. The limit is low because layers are wider than the samples.
AT_ONCE = 5_000


def averaged_generator(checkpoint: Checkpoint) -> nn.Module:
    """Return the averaged generator in evaluation mode, on the CPU, from z (N, Z) to samples (N, ...).

    If the generator takes classes, it takes labels, int64 (N,), after z. If it takes conditions, it takes them after z
    in the data's own units, (N, C).
    """
    return _module(checkpoint.structure, {name: tensor[0] for name, tensor in checkpoint.state.average.items()})


def sampler(checkpoint: Checkpoint) -> Callable[..., Tensor]:
    """Return a function (count, seed, labels=None) that draws samples (count, ...) of the averaged generator.

    If the generator takes classes, the function needs labels (count,). If it takes conditions, the function needs them
    in the data's own units, (count, C).
    """
    generator, structure = averaged_generator(checkpoint), checkpoint.structure

    def draw(count: int, seed: int, labels: Tensor | None = None) -> Tensor:
        at_once = _fitting(structure, count)
        noise = torch.Generator().manual_seed(seed)
        z = torch.randn(count, structure.z_length, generator=noise, dtype=structure.torch_dtype)
        inputs = (z,) if labels is None else (z, labels)
        parts = zip(*(each.split(at_once) for each in inputs), strict=True)
        return torch.cat([generator(*part) for part in parts])

    return draw


def drawer(checkpoint: Checkpoint, kept: int, seed: int) -> Callable[[int], Tensor]:
    """Return a function (count) that draws the next samples (count, ...) of the averaged generator.

    The generator takes neither classes nor conditions. Equal calls in a row draw the same samples for the same seed.

    Raises:
        UserError: `kept` samples, which a caller keeps at most, do not fit in memory.
    """
    generator, structure = averaged_generator(checkpoint), checkpoint.structure
    at_once, noise = _fitting(structure, kept), torch.Generator().manual_seed(seed)

    def draw(count: int) -> Tensor:
        z = torch.randn(count, structure.z_length, generator=noise, dtype=structure.torch_dtype)
        return torch.cat([generator(part) for part in z.split(at_once)])

    return draw


def _fitting(structure: Structure, count: int) -> int:
    """Return how many of `count` samples to draw at a time, at most `AT_ONCE`.

    A checkpoint of a few MB can ask for samples, or have layers, that take more memory than there is.

    Raises:
        UserError: one sample, or all samples together, would take more than half of the available memory.
    """
    largest = 0

    def note(_: nn.Module, __: object, output: object) -> None:
        nonlocal largest
        if isinstance(output, Tensor):
            largest = max(largest, output.numel())

    with torch.device("meta"):
        shapes = build(structure)[1].eval()
        for module in shapes.modules():
            module.register_forward_hook(note)
        labels = blank_labels(structure, 1)
        with suppress(Exception):  # A generator of a user's may read values, which the meta device lacks.
            z = torch.zeros(1, structure.z_length, dtype=structure.torch_dtype)
            shapes(*([z] if labels is None else [z, labels]))
    half, size = psutil.virtual_memory().available // 2, structure.torch_dtype.itemsize
    # Beside a layer's output, its input and as much again while it is computed: the noise with the code of a label.
    each = size * (4 * max(1, largest) + 2 * structure.z_length + 3 * structure.code_length)
    at_once = min(AT_ONCE, count, half // each)
    # All of the noise, all samples, and what is made of them.
    together = count * (size * structure.z_length + kind_of(structure.sample_shape, structure.coding).row_bytes(size))
    if at_once < 1 or together > half:
        raise UserError(
            f"samples must fit in half of the available memory, {half:,} bytes, with their noise; {count} samples of "
            f"shape {structure.sample_shape} do not: ask for fewer"
        )
    return at_once


def _module(structure: Structure, tensors: dict[str, Tensor]) -> nn.Module:
    try:
        generator = loaded_generator(structure, tensors)
    except ValueError as error:
        raise UserError(
            f"a checkpoint's networks must be those that are known as {structure.networks!r}; its generator's weights "
            f"do not fit them: {one_line(error)}: give the script that trained it with --script"
        ) from error
    # Training converts all weights and statistics to the structure's dtype (`initialise`), and no counts.
    if any(each.is_floating_point() and each.dtype != structure.torch_dtype for each in tensors.values()):
        raise UserError(
            f"a checkpoint's weights must be of the dtype of its structure, {structure.dtype}; its generator's are "
            "not: take another checkpoint"
        )
    if structure.conditions is not None:
        generator = InUnits(generator, structure.conditions, structure.torch_dtype)
    return generator.eval().requires_grad_(False)


class InUnits(nn.Module):
    """A generator that takes conditions (N, C) in the data's own units, around one that takes standardised ones."""

    mean: Tensor
    sd: Tensor

    def __init__(self, inner: nn.Module, conditions: Coding, dtype: torch.dtype) -> None:
        super().__init__()
        self.inner, self.dtype = inner, dtype
        for name in ("mean", "sd"):
            values = [getattr(column, name) for column in conditions.columns]
            self.register_buffer(name, torch.tensor(values, dtype=torch.float64))

    def forward(self, z: Tensor, conditions: Tensor) -> Tensor:
        # Float32 would lose the digits of conditions beside a large mean.
        samples: Tensor = self.inner(z, ((conditions.double() - self.mean) / self.sd).to(self.dtype))
        return samples


def write_generator(folder: Folder, checkpoint: Checkpoint) -> None:
    """Write the averaged generator's weights and their description."""
    tensors = {name: tensor[0].contiguous().cpu() for name, tensor in checkpoint.state.average.items()}
    structure = checkpoint.structure
    told = f"; labels: int64 (N,) in [0, {structure.classes})" if structure.classes else ""
    if structure.conditions is not None:
        names = ", ".join(column.name for column in structure.conditions.columns)
        told = f"; conditions: float64 (N, {structure.code_length}), in the data's own units: {names}"
    description = {
        "structure": structure.as_json(),
        "trial": checkpoint.trial.as_json(),
        "critic_updates": checkpoint.critic_updates,
        "scores": checkpoint.scores,
        "input": f"z: {structure.dtype} (N, {structure.z_length}), drawn from N(0, 1){told}",
        "output": f"samples: (N, {', '.join(map(str, structure.sample_shape))}), scaled as the data was",
    }
    folder.write(WEIGHTS, save(tensors))
    folder.write(DESCRIPTION, json.dumps(description, indent=1).encode())


def read_generator(folder: Folder) -> nn.Module:
    """Return the generator that `write_generator` wrote, in evaluation mode.

    Raises:
        FileNotFoundError: A file is missing.
    """
    description: dict[str, Any] = json.loads(folder.read(DESCRIPTION))
    return _module(Structure.from_json(description["structure"]), load(folder.read(WEIGHTS)))


def program(checkpoint: Checkpoint) -> bytes:
    """Return the generator as a `torch.export` program for any batch size.

    Call it as `torch.export.load(...).module()(z)`, or with `(z, labels)` if the generator takes classes, or with
    `(z, conditions)` in the data's own units, float64, if it takes conditions.
    """
    keep_compiled_code_private()
    generator, structure = averaged_generator(checkpoint), checkpoint.structure
    example = [torch.zeros(2, structure.z_length, dtype=structure.torch_dtype)]
    if (labels := blank_labels(structure, 2)) is not None:
        # Float32 would lose the digits of conditions beside a large mean.
        example.append(labels if structure.conditions is None else labels.double())
    batch = torch.export.Dim("batch", min=1)
    exported = torch.export.export(generator, tuple(example), dynamic_shapes=tuple({0: batch} for _ in example))
    buffer = io.BytesIO()
    torch.export.save(exported, buffer)
    return buffer.getvalue()
