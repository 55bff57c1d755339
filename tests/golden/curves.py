"""Curves of short trainings with fixed data and initial weights, kept in this folder, one file a case.

    .venv/bin/python -m tests.golden.curves

writes the files anew. A change that is not meant to change an update must leave them as they are.

Data and initial weights come from `numpy.random.RandomState`, whose stream NumPy has frozen; torch may draw its own
another way in its next version.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wgan_core.config import Hyper, Structure, Trial
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData
from wgan_core.training.state import TrainingState

FOLDER = Path(__file__).parent
UPDATES = 50
SEED = 20_170_331
ROWS = 40
CPU = torch.device("cpu")

IMAGE, ROW = (1, 4, 4), (6,)
WIDTHS = {"critic": {"widths": [16, 12]}, "generator": {"widths": [8, 12, 10]}}

HYPER = Hyper(lambda_gp=10.0, lr_critic=2e-3, lr_generator=1e-3, n_critic=2, beta1=0.5, beta2=0.9)
ALTERNATING = replace(HYPER, lambda_gp=1.0, n_critic=1)


@dataclass(frozen=True)
class Case:
    """One training: images where samples have three axes, else rows of a table of floats."""

    loss: str
    hyper: Hyper
    optimiser: str = "adam"
    sample_shape: tuple[int, ...] = IMAGE

    @property
    def structure(self) -> Structure:
        return Structure(
            "mlp",
            self.sample_shape,
            latent_dim=5,
            batch_size=7,
            ema_decay=0.9,
            dtype="float64",
            loss=self.loss,
            optimiser=self.optimiser,
            network_options=WIDTHS,
        )


CASES = {
    "wgan-gp": Case("wgan-gp", HYPER),
    "wgan-gp-table": Case("wgan-gp", replace(HYPER, n_critic=5, beta1=0.0), sample_shape=ROW),
    "wgan-gp-sgd": Case("wgan-gp", replace(HYPER, beta1=0.9), "sgd"),
    "wgan-lp": Case("wgan-lp", replace(HYPER, decay_updates=60)),
    "wgan-clip": Case("wgan-clip", replace(HYPER, beta1=0.0, beta2=0.99, clip=0.1), "rmsprop"),
    "gan": Case("gan", ALTERNATING),
    "gan-saturating": Case("gan-saturating", ALTERNATING),
    "gan-r1": Case("gan-r1", ALTERNATING, sample_shape=ROW),
    "gan-r2": Case("gan-r2", ALTERNATING),
    "hinge": Case("hinge", ALTERNATING),
}

# By quantity, what the updates gave, in order; and some entries of the averaged generator's samples after the last.
Curves = dict[str, list[float]]


def run(case: Case) -> Curves:
    """The case trained anew, on the CPU in float64, one update a report."""
    random = np.random.RandomState(SEED)
    cohort = Cohort(case.structure, TrainingData(data(case, random)), range(1, UPDATES + 1))
    cohort.add(Trial(0, SEED, case.hyper), initial(case.structure, random))
    means = [cohort.advance()[0].means for _ in range(UPDATES)]
    z = torch.from_numpy(random.standard_normal((3, case.structure.latent_dim)))
    names = sorted(set().union(*means))
    return {
        **{name: [update[name] for update in means if name in update] for name in names},
        "samples": cohort.samples(0, z).flatten(1)[:, :6].flatten().tolist(),
    }


def data(case: Case, random: np.random.RandomState) -> Tensor:
    """uint8 pixels, darker from the first to the last, or rows of floats off the origin; ROWS of them."""
    drawn = random.random_sample((ROWS, *case.sample_shape))
    if case.sample_shape == ROW:
        return torch.from_numpy(drawn + np.linspace(-1, 1, ROW[0]))
    fading = np.linspace(256, 64, drawn[0].size).reshape(case.sample_shape)
    return torch.from_numpy((drawn * fading).astype(np.uint8))


def initial(structure: Structure, random: np.random.RandomState) -> TrainingState:
    """One lane: matrices of variance 3 / fan in, biases of zero, scales of one; the average starts at the generator."""
    state = TrainingState.initial(structure, 0, CPU)
    for name, tensor in parameters(state):
        if tensor[0].dim() > 1:
            tensor[0] = torch.from_numpy(random.standard_normal(tensor.shape[1:])) * (3 / tensor.shape[-1]) ** 0.5
        elif name.endswith("bias"):
            tensor.zero_()
    for name, tensor in state.generator.parameters.items():
        state.average[name].copy_(tensor)
    return state


def parameters(state: TrainingState) -> Iterator[tuple[str, Tensor]]:
    yield from state.critic.parameters.items()
    yield from state.generator.parameters.items()


def path(name: str) -> Path:
    return FOLDER / f"{name}.json"


def read(name: str) -> Curves:
    curves: Curves = json.loads(path(name).read_text(encoding="utf-8"))
    return curves


def write(name: str, curves: Curves) -> None:
    """To twelve digits: the last four are rounding's, and another machine would change them all."""
    rounded = {quantity: [float(f"{value:.12g}") for value in values] for quantity, values in curves.items()}
    path(name).write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    for name, case in CASES.items():
        write(name, run(case))
        print(path(name))
