"""Search lambda, the learning rate, n_critic and the betas of a WGAN-GP on MNIST, or on images of your own."""

from __future__ import annotations

import sys

from sweeps.engine.options import parse
from sweeps.engine.run import run_script, run_sweep
from sweeps.engine.space import WGAN_GP
from wgan_core.config import Structure
from wgan_core.data.images import load_images
from wgan_core.data.mnist import load_mnist


def main() -> None:
    options = parse("mnist", __doc__ or "", trials=12, budget=10_000)
    dataset = load_images(options.data) if options.data is not None else load_mnist()
    run_sweep(options, dataset, Structure(options.networks, dataset.sample_shape), WGAN_GP)


if __name__ == "__main__":
    sys.exit(run_script(main))
