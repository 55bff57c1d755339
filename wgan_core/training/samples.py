"""What a generator is asked for when it is looked at: fixed inputs to score it and to draw pictures of it."""

from __future__ import annotations

import torch
from torch import Tensor

from wgan_core.config import Structure, Trial
from wgan_core.rules import draws
from wgan_core.rules.draws import Stream
from wgan_core.training.state import TrainingState
from wgan_core.training.step import Step

EVALUATION_SEED = 20170331
# Of what is scored once, in the end: other noise than that by which a checkpoint was chosen.
TEST_SEED = 20170901
SAMPLE_BATCH = 500


def draw_samples(
    step: Step,
    state: TrainingState,
    z: Tensor,
    labels: Tensor | None = None,
    device: torch.device = torch.device("cpu"),
) -> Tensor:
    """Samples (N, ...) of a lane's averaged generator, on the CPU, for z (N, Z) and labels (N,).

    state: of a single lane, on `device`, on which they are worked out.
    """
    parts = []
    for start in range(0, len(z), SAMPLE_BATCH):
        at = slice(start, start + SAMPLE_BATCH)
        told = None if labels is None else labels[None, at].to(device)
        parts.append(step.samples(state, z[None, at].to(device), told)[0])
    return torch.cat(parts).cpu()


def evaluation_z(structure: Structure, count: int, seed: int = EVALUATION_SEED) -> Tensor:
    """z (count, Z) with which every trial of every sweep is scored; with `TEST_SEED`, on the test split."""
    return _z(structure, seed, Stream.EVALUATION_Z, count)


def evaluation_labels(structure: Structure, labels: Tensor, count: int, seed: int = EVALUATION_SEED) -> Tensor | None:
    """Labels (count,) that go with `evaluation_z`, drawn from those of the data (M,); None where none are told."""
    if not structure.classes:
        return None
    at = torch.zeros(1, 1, dtype=torch.int64)
    rows = draws.indices(torch.tensor([seed]), Stream.EVALUATION_LABEL, at, count, len(labels))
    return labels[rows[0, 0]]


def grid_labels(structure: Structure, columns: int) -> Tensor | None:
    """Labels of a trial's sample grids, a row of so many columns for each class; None where none are told."""
    return torch.arange(structure.classes).repeat_interleave(columns) if structure.classes else None


def grid_z(structure: Structure, trial: Trial, count: int) -> Tensor:
    """z (count, Z) of a trial's sample grids, the same at every step."""
    return _z(structure, trial.seed, Stream.GRID_Z, count)


def _z(structure: Structure, seed: int, stream: Stream, count: int) -> Tensor:
    updates = torch.arange(count)[None]
    return draws.normal(torch.tensor([seed]), stream, updates, structure.latent_dim, structure.torch_dtype)[0]
