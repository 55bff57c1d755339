"""Search the hyper-parameters of a GAN on points in the plane: 8 or 25 Gaussians, or a Swiss roll.

--data chooses the points: 8gaussians (the default), 25gaussians or swissroll.
"""

from __future__ import annotations

import sys

from sweeps import GAUSSIANS, parse, run_script, run_sweep
from wgan_core import load_toy
from wgan_core.data.toy import DRAWS

DEFAULT = "8gaussians"
POINTS = f"8gaussians, 25gaussians or swissroll (default: {DEFAULT})"


def main() -> None:
    options = parse(
        "gaussians",
        __doc__ or "",
        trials=12,
        budget=2_700,
        presets=GAUSSIANS,
        data=POINTS,
        named=tuple(DRAWS),
    )
    dataset = load_toy(DEFAULT if options.data is None else options.data)
    preset = GAUSSIANS[options.preset]
    run_sweep(options, dataset, preset.structure_for(dataset.sample_shape, options.networks), preset.space)


if __name__ == "__main__":
    sys.exit(run_script(main))
