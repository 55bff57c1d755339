"""Inputs and samples for looking at a generator: fixed z and labels for scores and for pictures."""

from __future__ import annotations

import torch
from torch import Tensor

from wgan_core.config import Structure, Trial
from wgan_core.rules import draws
from wgan_core.rules.draws import Stream
from wgan_core.training.state import TrainingState
from wgan_core.training.step import Step

EVALUATION_SEED = 20170331
# Seed of the final score on the test split: its noise must differ from the noise that chose the checkpoint.
TEST_SEED = 20170901
SAMPLE_BATCH = 500
# Draws of z that are made at a time.
MOST_DRAWS = 1 << 22


def draw_samples(
    step: Step,
    state: TrainingState,
    z: Tensor,
    labels: Tensor | None = None,
    device: torch.device = torch.device("cpu"),
) -> Tensor:
    """Return samples (N, ...) of a lane's averaged generator, on the CPU.

    Args:
        step: The structure's step.
        state: State of a single lane, on `device`.
        z: Inputs (N, Z).
        labels: Labels (N,) or conditions (N, C), if the generator takes any.
        device: Device that computes the samples.
    """
    parts = []
    for start in range(0, len(z), SAMPLE_BATCH):
        at = slice(start, start + SAMPLE_BATCH)
        told = None if labels is None else labels[None, at].to(device)
        parts.append(step.samples(state, z[None, at].to(device), told)[0])
    return torch.cat(parts).cpu()


def evaluation_z(structure: Structure, count: int, seed: int = EVALUATION_SEED) -> Tensor:
    """Return z (count, Z), with which every trial of every sweep is scored; `TEST_SEED` gives the test split's z."""
    return _z(structure, seed, Stream.EVALUATION_Z, count)


def evaluation_labels(structure: Structure, labels: Tensor, count: int, seed: int = EVALUATION_SEED) -> Tensor | None:
    """Draw the labels (count, ...) for `evaluation_z` from the data's (M, ...), or return None if there are none."""
    if not structure.is_conditional:
        return None
    at = torch.zeros(1, 1, dtype=torch.int64)
    rows = draws.indices(torch.tensor([seed]), Stream.EVALUATION_LABEL, at, count, len(labels))
    return labels[rows[0, 0]]


def grid_labels(structure: Structure, columns: int) -> Tensor | None:
    """Return the labels of a sample grid, with one row of `columns` samples per class, or None without classes."""
    return torch.arange(structure.classes).repeat_interleave(columns) if structure.classes else None


def grid_conditions(conditions: Tensor, count: int) -> Tensor:
    """Return conditions (count, C) of the data's (M, C): evenly spaced in the order of the first condition."""
    order = conditions[:, 0].argsort(stable=True)
    return conditions[order[torch.arange(count) * len(order) // count]]


def grid_z(structure: Structure, trial: Trial, count: int) -> Tensor:
    """Return z (count, Z) of a trial's sample grids, the same at every step."""
    return _z(structure, trial.seed, Stream.GRID_Z, count)


def _z(structure: Structure, seed: int, stream: Stream, count: int) -> Tensor:
    size, seeds = structure.z_length, torch.tensor([seed])
    # Philox takes several 8-byte numbers for each draw, and z of a table with Gumbel noise is long.
    parts = torch.arange(count)[None].split(max(1, MOST_DRAWS // size), dim=1)
    return torch.cat([draws.normal(seeds, stream, part, size, structure.torch_dtype)[0] for part in parts])
