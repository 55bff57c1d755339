"""Cohorts that several tests train, the data that they train on, and how far apart two states are."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from wgan_core.config import Structure, Trial
from wgan_core.data.folder import Folder
from wgan_core.sampling.generator import averaged_generator, program, read_generator, write_generator
from wgan_core.training import checkpoint as checkpoints
from wgan_core.training.checkpoint import Checkpoint
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData


def pixels(shape: tuple[int, ...] = (1, 8, 8)) -> Tensor:
    """200 random images."""
    return torch.randint(0, 256, (200, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def cohort_of(
    structure: Structure,
    trials: Sequence[Trial],
    grid: Sequence[int],
    width: int | None = None,
    data: TrainingData | None = None,
) -> Cohort:
    """A cohort of these trials from their seeds, on `pixels` unless there are other data."""
    data = TrainingData(pixels(structure.sample_shape)) if data is None else data
    cohort = Cohort(structure, data, grid, width or len(trials))
    for trial in trials:
        cohort.add(trial)
    return cohort


def largest_difference(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> float:
    """Of all tensors of the first; NaN if one of them is."""
    return float(
        torch.stack([(each.double() - second[name].double()).abs().max() for name, each in first.items()]).max()
    )


def distance_from_alone(
    structure: Structure, trials: Sequence[Trial], updates: int, data: TrainingData | None = None
) -> float:
    """The largest difference between a trial beside the others and the same trial alone, after so many updates."""
    together = cohort_of(structure, trials, [updates], data=data)
    together.advance()
    found = []
    for trial in trials:
        alone = cohort_of(structure, [trial], [updates], data=data)
        alone.advance()
        ours, theirs = (cohort.state_of(trial.number).tensors() for cohort in (together, alone))
        found.append(largest_difference(ours, theirs))
    return float(torch.tensor(found, dtype=torch.float64).max())


def check_program(structure: Structure, trial: Trial, data: TrainingData, folder: Path) -> None:
    """A generator of three classes gives the same samples from its checkpoint, its files and its exported program."""
    cohort = cohort_of(structure, [trial], [3], data=data)
    cohort.advance()
    kept = Checkpoint(trial, structure, 3, cohort.state_of(0), {"eval/a": 1.0})
    found = checkpoints.read(checkpoints.write(Folder.at(folder), kept))
    assert found.structure == structure
    z, labels = torch.randn(7, structure.latent_dim), torch.arange(7) % 3
    expected = averaged_generator(found)(z, labels)
    torch.testing.assert_close(cohort.samples(0, z, labels), expected)
    write_generator(Folder.at(folder / "model"), found)
    torch.testing.assert_close(read_generator(Folder.at(folder / "model"))(z, labels), expected)
    loaded = torch.export.load(io.BytesIO(program(found))).module()
    torch.testing.assert_close(loaded(z, labels), expected)
