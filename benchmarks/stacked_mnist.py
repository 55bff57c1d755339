"""StackedMNIST: the modes of 1,000 that a convolutional WGAN-GP finds, and their KL, beside published figures.

    python benchmarks/stacked_mnist.py [--updates N] [--seed 0] [--set lr_critic=2e-3 loss=wgan-lp] [--keep FOLDER]

The three colour channels of an image are three MNIST digits drawn at random, so there are 1,000 modes (Metz et al.
2017). A classifier of digits decides the mode of an image, one channel at a time. As published, 26,000 samples are
counted (Lin et al. 2018). The published KL is that of the generated modes from uniform ones, in nats. It stands in the
first column. The second column has the KL from the modes of the data, whose digits are not quite uniform. The third has
the KL of the data from the generated modes, which is infinite if a mode is missing. With 26,000 samples of the law
itself, the first KL would be .019 on average, because each mode has 26 samples only.

The networks are the pair `conv`. The generator that is counted is the average of the trial at its last update, as a
sweep would export it. The settings at the top of this file were found by hand (docs/log.md); --set changes them, by
the names of `Structure` and `Hyper`. Both learning rates fall to zero over the run. With --keep, an interrupted run
continues from its last report.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import cores
from torch import Tensor

from wgan_core.backend import process
from wgan_core.backend.process import processor
from wgan_core.config import PARAMETERS, Hyper, Structure, Trial, report_grid, trial_seed
from wgan_core.data.dataset import Split, to_model, to_pixels
from wgan_core.data.folder import Folder
from wgan_core.data.mnist import load_mnist
from wgan_core.metrics.digits import classify, digits_label
from wgan_core.training.checkpoint import Checkpoint, folder_name, keep, latest, write
from wgan_core.training.cohort import Cohort
from wgan_core.training.data import TrainingData
from wgan_core.training.samples import evaluation_z

STRUCTURE = Structure("conv", (3, 28, 28), batch_size=32, ema_decay=0.998)
HYPER = Hyper(lambda_gp=10.0, lr_critic=2e-3, lr_generator=2e-3, n_critic=3, beta1=0.5, beta2=0.9)
UPDATES, REPORTS = 14_000, 10
TRAINING_IMAGES, COUNTED = 128_000, 26_000
TRAINING_SEED, HELD_OUT_SEED = 0, 1
DIGITS, MODES = 10, 1000
PUBLISHED = {
    "WGAN-GP, cited by Huang et al. 2024": (959, 0.73),
    "PacGAN, Lin et al. 2018": (992, 0.28),
    "R3GAN, Huang et al. 2024": (1000, 0.029),
}

Figures = dict[str, float]


def stacked(split: Split, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return images uint8 (count, 3, 28, 28) of digits drawn with replacement, and their labels (count, 3)."""
    assert split.labels is not None
    rows = np.random.Generator(np.random.PCG64(seed)).integers(len(split), size=(count, 3))
    return torch.from_numpy(split.values[rows, 0]), torch.from_numpy(split.labels[rows])


def digits_of(images: Tensor) -> Tensor:
    """Return the digits (N, 3) that the shipped classifier sees in the channels of images uint8 (N, 3, 28, 28)."""
    parts = [classify(to_model(part.flatten(0, 1)[:, None], torch.float32)) for part in images.split(1000)]
    return torch.cat(parts).reshape(-1, 3)


def law_of(split: Split) -> Tensor:
    """Return the probabilities (1000,) of the modes of a split's digits, drawn independently."""
    assert split.labels is not None
    share = torch.bincount(torch.from_numpy(split.labels), minlength=DIGITS).double() / len(split)
    return torch.einsum("i,j,k->ijk", share, share, share).flatten()


def figures(digits: Tensor, law: Tensor) -> Figures:
    """Return what is counted of digits (N, 3), for data of this law (1000,)."""
    codes = digits @ torch.tensor([DIGITS**2, DIGITS, 1])
    share = torch.bincount(codes, minlength=MODES).double() / len(digits)
    uniform = torch.full_like(share, 1 / MODES)
    return {
        "modes": int((share > 0).sum()),
        "kl_uniform": kl(share, uniform),
        "kl_data": kl(share, law),
        "kl_of_data": kl(law, share),
    }


def kl(p: Tensor, q: Tensor) -> float:
    """Return the sum of p log(p / q) over the modes (1000,) with p > 0, in nats."""
    return float((p * (p / q).log())[p > 0].sum())


def changed(settings: Sequence[str], updates: int) -> tuple[Structure, Hyper]:
    """Return the settings of this file with these changes, each `name=value` with the value in JSON or as text."""
    structure, hyper = STRUCTURE, replace(HYPER, decay_updates=updates)
    for setting in settings:
        name, _, text = setting.partition("=")
        try:
            value = json.loads(text)
        except json.JSONDecodeError:
            value = text
        if name in PARAMETERS:
            hyper = replace(hyper, **{name: value})
        else:
            structure = replace(structure, **{name: value})
    return structure, hyper


def train(structure: Structure, trial: Trial, updates: int, law: Tensor, folder: Folder | None) -> Checkpoint:
    """Train a trial to the end, print the figures of each report, and return the last state with its figures."""
    images, _ = stacked(load_mnist().train, TRAINING_IMAGES, TRAINING_SEED)
    cohort = Cohort(structure, TrainingData(images), report_grid(updates, REPORTS))
    found = None if folder is None else latest(folder)
    if found is not None and (found.structure, found.trial) != (structure, trial):
        raise SystemExit(f"{folder} must hold a run of the same settings and updates; it holds {found.trial}")
    if found is None:
        cohort.add(trial)
    else:
        cohort.add(trial, found.state, found.critic_updates)
    z, seconds = evaluation_z(structure, COUNTED), found.seconds if found else 0.0
    while found is None or found.critic_updates < updates:
        (report,) = cohort.advance()
        if report.problem:
            raise SystemExit(f"training must stay finite: {report.problem}")
        seconds += report.seconds
        scores = figures(digits_of(to_pixels(cohort.samples(trial.number, z))), law)
        found = Checkpoint(
            trial, structure, report.critic_updates, cohort.state_of(trial.number), scores, round(seconds, 1)
        )
        print(f"  at {found.critic_updates}: {line(scores)}  after {seconds:.0f} s of training", flush=True)
        if folder is not None:
            write(folder, found)
            keep(folder, {folder_name(found.critic_updates)})
    return found


def line(scores: Figures) -> str:
    cells = (scores[name] for name in ("kl_uniform", "kl_data", "kl_of_data"))
    return f"{scores['modes']:>5g}" + "".join(f"{cell:>13.4f}" for cell in cells)


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--updates", type=int, default=UPDATES, help="critic updates (default: %(default)s)")
    add("--seed", type=int, default=0, help="of the weights and of all draws in training (default: %(default)s)")
    add("--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings other than those of this file")
    add("--threads", type=int, default=cores(), help="of torch (default: all cores, %(default)s)")
    add("--keep", type=Path, metavar="FOLDER", help="keep the last state here, and continue from it")
    add("--smoke", action="store_true", help="one update; the figures mean nothing")
    add("--json", type=Path, metavar="OUT", help="write the figures to this file as JSON")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    given = options_of(arguments)
    process.configure(given.threads)
    updates = 1 if given.smoke else given.updates
    structure, hyper = changed(given.set, updates)
    mnist, day = load_mnist(), datetime.now(UTC).date()
    law = law_of(mnist.train)
    print(
        f"{day}, {processor()}, threads: {given.threads}, Python {platform.python_version()}, torch {torch.__version__}"
    )
    print(f"{structure}\n{hyper}\nseed {given.seed}, {updates} critic updates, {digits_label()}", flush=True)
    images, labels = stacked(mnist.test, COUNTED, HELD_OUT_SEED)
    seen = digits_of(images)
    accuracy = {
        "a digit": float((seen == labels).double().mean()),
        "all three": float((seen == labels).all(1).double().mean()),
    }
    rows = {"held-out images, by label": figures(labels, law), "held-out images, by classifier": figures(seen, law)}
    folder = None if given.keep is None else Folder.at(given.keep)
    end = train(structure, Trial(0, trial_seed(given.seed, 0), hyper), updates, law, folder)
    rows[f"ours, {end.seconds / 60:.0f} minutes of training"] = end.scores
    print(f"\nthe classifier is right on held-out images: {json.dumps(accuracy)}")
    print(f"KL of {COUNTED} samples of the uniform law itself: {(MODES - 1) / (2 * COUNTED):.4f} on average")
    print(f"\n{'samples':<38}modes   KL(uniform)     KL(data)  KL(of data)")
    for name, (modes, published) in PUBLISHED.items():
        print(f"{name:<38}{modes:>5}{published:>13}")
    for name, scores in rows.items():
        print(f"{name:<38}{line(scores)}")
    if given.json:
        content: dict[str, Any] = {"accuracy": accuracy, "rows": rows, "updates": updates, "seconds": end.seconds}
        settings = {"structure": structure.as_json(), "trial": end.trial.as_json()}
        given.json.write_text(json.dumps({**content, **settings}, indent=1) + "\n")
        print(f"wrote {given.json}")


if __name__ == "__main__":
    main()
