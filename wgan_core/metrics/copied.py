"""The share of samples that copy training samples.

A sample copies if it is much nearer to its nearest training sample than to the next one. Held-out samples show how
often that happens by chance. Meehan et al. 2020 compare distances to training samples in the same way, and the
authenticity of Alaa et al. 2022 divides them by a distance between training samples. Here the quotient of the two
nearest distances takes the place of both, so that samples in dense places and in thin ones count alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wgan_core.data.dataset import Split, to_model
from wgan_core.metrics.metric import HeldOut, Metric, MetricSpec, SampleDraw
from wgan_core.metrics.wasserstein import Compact

COPIED_NAME = "eval/copied"
# A trial with a larger share copies its training data. Of real samples that were not trained on, about .005 copy.
MOST_COPIED = 0.05
# Share of the held-out samples that count as copies, by the choice of the threshold.
CHANCE = 0.005
# Samples in a score, held-out samples for the threshold, and training samples that may be copied.
SAMPLES, MOST_HELD_OUT, MOST_TRAINING = 256, 1_000, 50_000
LEAST_HELD_OUT = 200
TRAINING_SEED = 4
# Samples that are compared at once, to bound memory.
BLOCK = 64
# On fewer axes, distances are taken by differences, because products lose the distances between close samples.
FEW_AXES = 16


def quotients(values: Tensor, training: Tensor) -> Tensor:
    """Return the distance of each sample to its nearest training sample over that to the next one: (N,), 0 to 1.

    Args:
        values: Samples (N, D).
        training: Different training samples (M, D), at least two.
    """
    squares = training.square().sum(1)
    found = []
    for part in values.split(BLOCK):
        if training.shape[1] <= FEW_AXES:
            squared = torch.cdist(part, training, compute_mode="donot_use_mm_for_euclid_dist").square_()
        else:
            squared = torch.addmm(squares, part, training.T, alpha=-2) + part.square().sum(1, keepdim=True)
        first, nearest = squared.min(1)
        second = squared.scatter_(1, nearest[:, None], math.inf).amin(1)
        found.append(first.clamp(min=0) / second)
    return torch.cat(found).sqrt()


@dataclass(frozen=True)
class TrainingSide:
    """The training samples (M, D) in a view, and the quotient below which a sample copies one of them."""

    view: Compact
    training: Tensor
    threshold: float


class Copied(Metric[TrainingSide]):
    """The share of the first 256 samples that copy one of at most 50,000 training samples."""

    specs = (
        MetricSpec(
            COPIED_NAME,
            "share of the samples that copy a training sample: those much nearer to one than to the next; 0 to 1, "
            f"{CHANCE} for samples that were not trained on",
            "minimize",
            frozenset({"train split", "held-out split", "sample size"}),
            "after Meehan et al. 2020 and Alaa et al. 2022",
            blind_to="anything but copying",
        ),
    )

    def suits(self, data: HeldOut) -> bool:
        # If a held-out row equals a training row by chance, as in tables of categories, copies say nothing.
        held_out = data.real.values[:MOST_HELD_OUT]
        if len(held_out) < LEAST_HELD_OUT or len(data.dataset.train) < LEAST_HELD_OUT:
            return False
        equal = np.isin(_rows(held_out.numpy()), _rows(_drawn(data.dataset.train).numpy()))
        return int(equal.sum()) < _rank(len(held_out))

    def fit(self, data: HeldOut) -> TrainingSide:
        view = Compact.of_size(data.real.values)
        # Equal training samples would have a quotient of 0 / 0.
        training = _drawn(data.dataset.train)
        _, kept = np.unique(_rows(training.numpy()), return_index=True)
        training = view.of(training[np.sort(kept)])
        found = quotients(view.of(data.real.values[:MOST_HELD_OUT]), training)
        return TrainingSide(view, training, float(found.kthvalue(_rank(len(found))).values))

    def scores(self, real: TrainingSide, draws: Sequence[SampleDraw]) -> dict[str, float]:
        values = torch.cat([drawn.values for drawn in draws])[:SAMPLES]
        copies = quotients(real.view.of(values), real.training) < real.threshold
        return {COPIED_NAME: float(copies.double().mean())}

    def entry(self, real: TrainingSide) -> dict[str, Any]:
        return {**real.view.protocol(), "samples": SAMPLES, "training_samples": len(real.training), "chance": CHANCE}


def _rank(count: int) -> int:
    """Return which of so many sorted quotients is the threshold: the share `CHANCE` of them, but at least the first."""
    return max(1, round(CHANCE * count))


def _drawn(train: Split) -> Tensor:
    """Return at most 50,000 training samples, as a network sees them."""
    rows = np.random.Generator(np.random.PCG64(TRAINING_SEED)).permutation(len(train))[:MOST_TRAINING]
    return to_model(torch.from_numpy(train.values[rows]), torch.float32)


def _rows(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return each row of values (N, ...) as one object of bytes, (N,), to compare whole rows."""
    flat = np.ascontiguousarray(values.reshape(len(values), -1))
    return flat.view(np.dtype((np.void, flat.dtype.itemsize * flat.shape[1])))[:, 0]
