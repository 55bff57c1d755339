"""Scores that can be fooled on MNIST, and standard errors against repeated draws.

    python benchmarks/fooled.py [--draws 30]

The first table scores real images in place of generated ones: fresh ones, training images that are replayed, images
without the digit 4, and images that vary too little. The second compares the standard error of a score with the
deviation of the score over many draws.
"""

from __future__ import annotations

import argparse
import platform
import statistics
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wgan_core.backend import process
from wgan_core.backend.process import processor
from wgan_core.data.dataset import Split, to_model
from wgan_core.data.mnist import load_mnist
from wgan_core.metrics.digits import digits_label
from wgan_core.metrics.evaluator import Evaluator
from wgan_core.metrics.names import error_name

SHOWN = ("fid", "fid_infinity", "precision", "recall", "coverage", "spread", "copied")
OBJECTIVES = ("fid", "fid_infinity", "kid", "sliced_wasserstein")
SIZE = 5_000
NOISE = 0.2


def images(split: Split, rows: NDArray[np.int64]) -> Tensor:
    """Return rows of a split as a network sees them."""
    return to_model(torch.from_numpy(split.values[rows]), torch.float32)


def full(evaluator: Evaluator, stem: str) -> str:
    return next(spec.name for spec in evaluator.specs if spec.stem == f"eval/{stem}")


def fooled(evaluator: Evaluator, train: Split, test: Split) -> None:
    """Print the scores of real images that fool FID, or that miss something."""
    assert test.labels is not None
    # The first half of MNIST's test set is cleaner than the second.
    order = np.random.default_rng(0).permutation(len(test))
    fresh = images(test, order[:SIZE])
    mean = fresh.mean(0, keepdim=True)
    cases = {
        "5,000 fresh images": fresh,
        "500 training images, ten times": images(train, np.arange(SIZE) % 500),
        "5,000 training images": images(train, np.arange(SIZE)),
        "no 4": images(test, order[test.labels[order] != 4][:SIZE]),
        "shrunk to .7 about the mean": mean + 0.7 * (fresh - mean),
    }
    print(f"| samples | {' | '.join(SHOWN)} | coverage of the 4 |\n|{'---|' * (len(SHOWN) + 2)}")
    for name, samples in cases.items():
        scores = evaluator.scores(samples)
        cells = [f"{scores[full(evaluator, stem)]:.3g}" for stem in SHOWN]
        print(f"| {name} | {' | '.join(cells)} | {scores['class/4/coverage']:.2f} |", flush=True)


def errors(evaluator: Evaluator, train: Split, count: int) -> None:
    """Print mean, deviation and mean standard error of scores over draws of 5,000 training images."""
    noise = torch.Generator().manual_seed(0)
    kinds: dict[str, Callable[[Tensor], Tensor]] = {
        "real images, at the floor": lambda real: real,
        f"with noise of {NOISE}": lambda real: (real + NOISE * torch.randn(real.shape, generator=noise)).clamp(-1, 1),
    }
    print("\n| samples | score | mean | deviation over draws | mean standard error |\n|---|---|---|---|---|")
    for kind, changed in kinds.items():
        draws = [np.random.default_rng(seed).permutation(len(train))[:SIZE] for seed in range(count)]
        found = [evaluator.scores(changed(images(train, rows))) for rows in draws]
        for stem in OBJECTIVES:
            name = full(evaluator, stem)
            values, own = ([scores[each] for scores in found] for each in (name, error_name(name)))
            cells = (statistics.fmean(values), statistics.stdev(values), statistics.fmean(own))
            print(f"| {kind} | {stem} | {' | '.join(f'{each:.3g}' for each in cells)} |", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=30, help="draws of each kind in the second table (default: 30)")
    options = parser.parse_args(arguments)
    process.configure(threads=1)
    day = datetime.now(UTC).date()
    print(f"{day}, {processor()}, one thread, Python {platform.python_version()}, torch {torch.__version__}")
    mnist = load_mnist()
    evaluator = Evaluator.build(mnist, sample_size=SIZE)
    print(f"features: {digits_label()}; {SIZE} samples and {SIZE} validation images\n")
    fooled(evaluator, mnist.train, mnist.test)
    errors(evaluator, mnist.train, options.draws)


if __name__ == "__main__":
    main()
