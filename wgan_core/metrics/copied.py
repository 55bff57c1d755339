"""The share of samples that copy training samples.

A sample copies if it is much nearer to its nearest training sample than to the next one. Held-out samples show how
often that happens by chance. Meehan et al. 2020 compare distances to training samples in the same way, and the
authenticity of Alaa et al. 2022 divides them by a distance between training samples. Here the quotient of the two
nearest distances takes the place of both, so that samples in dense places and in thin ones count alike.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wgan_core.data.copies import first_equal
from wgan_core.data.dataset import Split, to_model
from wgan_core.metrics.metric import HeldOut, Metric, MetricSpec, SampleDraw
from wgan_core.metrics.names import COPIED_NAME
from wgan_core.metrics.wasserstein import Compact

# Share of the held-out samples that count as copies, by the choice of the threshold.
CHANCE = 0.005
# Samples in a score, held-out samples for the threshold, and training samples that may be copied.
SAMPLES, MOST_HELD_OUT, MOST_TRAINING = 256, 1_000, 50_000
LEAST_HELD_OUT = 200
TRAINING_SEED = 4
# Samples that are compared at once, to bound memory.
BLOCK = 64
# Training samples that are decoded at once, to bound memory.
AT_ONCE = 1_000
# On fewer axes, distances are taken by differences, because products lose the distances between close samples.
FEW_AXES = 16


def nearest(values: Tensor, training: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distance of each sample to its nearest training sample over that to the next one, and the nearest.

    Args:
        values: Samples (N, D).
        training: Different training samples (M, D), at least two.

    Returns:
        The quotients (N,), 0 to 1, and the indices of the nearest training samples, int64 (N,).
    """
    squares = training.square().sum(1)
    quotients, indices = [], []
    for part in values.split(BLOCK):
        if training.shape[1] <= FEW_AXES:
            squared = torch.cdist(part, training, compute_mode="donot_use_mm_for_euclid_dist").square_()
        else:
            squared = torch.addmm(squares, part, training.T, alpha=-2) + part.square().sum(1, keepdim=True)
        first, index = squared.min(1)
        second = squared.scatter_(1, index[:, None], math.inf).amin(1)
        # Rounding may lift or lower a distance of 0.
        quotients.append(first.clamp(min=0) / second.clamp(min=torch.finfo(squared.dtype).tiny))
        indices.append(index)
    return torch.cat(quotients).clamp(max=1).sqrt(), torch.cat(indices)


@dataclass(frozen=True)
class TrainingSide:
    """The training samples in a view, and the quotient below which a sample copies one of them.

    Attributes:
        view: The view of samples.
        centre: Mean (D,) of the training samples in the view. It is subtracted, because products of large numbers lose
            small distances.
        training: The training samples (M, D), centred.
        threshold: The quotient.
    """

    view: Compact
    centre: Tensor
    training: Tensor
    threshold: float

    def nearest(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Call `nearest` for samples (N, ...)."""
        return nearest(self.view.of(values) - self.centre, self.training)


class Copied(Metric[TrainingSide]):
    """The number of training samples that the first 256 samples copy, over 256.

    Each training sample counts once. So a generator that returns a few points near training samples has collapsed, and
    does not copy. At most 50,000 training samples are compared.
    """

    specs = (
        MetricSpec(
            COPIED_NAME,
            "how many training samples the samples copy, over the number of samples; a copy is much nearer to one "
            f"training sample than to the next; 0 to 1, {CHANCE} for samples that were not trained on",
            "minimize",
            frozenset({"train split", "held-out split", "sample size"}),
            "after Meehan et al. 2020 and Alaa et al. 2022",
            blind_to="anything but copying",
        ),
    )

    def suits(self, data: HeldOut) -> bool:
        # If held-out rows equal training rows by chance, as in tables of categories, copies say nothing.
        train, held_out = data.dataset.train, data.real.values[:MOST_HELD_OUT]
        if min(len(held_out), len(train)) < LEAST_HELD_OUT:
            return False
        known = _rows(train)
        samples = (to_model(torch.from_numpy(train.values[at]), torch.float32).numpy() for at in known)
        first = first_equal(itertools.chain(samples, held_out.numpy()))
        return int(np.count_nonzero(first[len(known) :] < len(known))) < _rank(len(held_out))

    def fit(self, data: HeldOut) -> TrainingSide:
        train, view = data.dataset.train, Compact.of_size(data.real.values)
        rows = _rows(train)
        # Equal training samples would have a quotient of 0 / 0.
        rows = rows[np.unique(first_equal(train.values[at] for at in rows))]
        blocks = np.array_split(rows, math.ceil(len(rows) / AT_ONCE))
        training = torch.cat([view.of(to_model(torch.from_numpy(train.values[at]), torch.float32)) for at in blocks])
        centre = training.mean(0)
        side = TrainingSide(view, centre, training - centre, 0.0)
        quotients, _ = side.nearest(data.real.values[:MOST_HELD_OUT])
        return replace(side, threshold=float(quotients.kthvalue(_rank(len(quotients))).values))

    def scores(self, real: TrainingSide, draws: Sequence[SampleDraw]) -> dict[str, float]:
        quotients, indices = real.nearest(torch.cat([drawn.values for drawn in draws])[:SAMPLES])
        copied = indices[quotients < real.threshold].unique()
        return {COPIED_NAME: len(copied) / len(quotients)}

    def entry(self, real: TrainingSide) -> dict[str, Any]:
        return {**real.view.protocol(), "samples": SAMPLES, "training_samples": len(real.training), "chance": CHANCE}


def _rank(count: int) -> int:
    """Return which of so many sorted quotients is the threshold: the share `CHANCE` of them, but at least the first."""
    return max(1, round(CHANCE * count))


def _rows(train: Split) -> NDArray[np.int64]:
    """Return the indices of at most 50,000 training samples."""
    return np.random.Generator(np.random.PCG64(TRAINING_SEED)).permutation(len(train))[:MOST_TRAINING]
