"""Search the hyper-parameters of a GAN on MNIST, or on images of your own.

The default is a WGAN-GP; --preset chooses another GAN.
"""

from __future__ import annotations

import sys

from sweeps import MNIST, parse, run_script, run_sweep
from wgan_core import load_images, load_mnist


def main() -> None:
    options = parse("mnist", __doc__ or "", trials=12, budget=10_000, presets=MNIST)
    preset = MNIST[options.preset]
    dataset = load_images(options.data) if options.data is not None else load_mnist()
    run_sweep(options, dataset, preset.structure_for(dataset.sample_shape, options.networks), preset.space)


if __name__ == "__main__":
    sys.exit(run_script(main))
