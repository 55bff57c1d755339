"""Cohorts that several tests train, the data that they train on, and how far apart two states are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from wgan_core.config import Structure, Trial
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
