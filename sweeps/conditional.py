"""Search the hyper-parameters of a class-conditional GAN, on MNIST or on labelled images of your own.

Both networks get the class of each image as an input.
"""

from __future__ import annotations

import sys

from sweeps import CONDITIONAL, parse, run_script, run_sweep
from wgan_core import count_classes, load_images, load_mnist


def main() -> None:
    options = parse("conditional", __doc__ or "", trials=8, budget=10_000, presets=CONDITIONAL)
    preset = CONDITIONAL[options.preset]
    dataset = load_images(options.data) if options.data is not None else load_mnist()
    structure = preset.structure_for(dataset.sample_shape, options.networks, classes=count_classes(dataset))
    run_sweep(options, dataset, structure, preset.space)


if __name__ == "__main__":
    sys.exit(run_script(main))
