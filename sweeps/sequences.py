"""Search the hyper-parameters of a GAN on sequences, such as time series, with one or more channels.

--data chooses the sequences. The default, sines, has sines of random amplitude, frequency and phase. membrane has
windows of a recorded membrane voltage. A path names sequences of your own.
"""

from __future__ import annotations

import argparse
import sys

from sweeps import SEQUENCES, names, parse, run_script, run_sweep
from wgan_core import UserError, load_membrane, load_sequences, load_sines

DEFAULT = "sines"
BUNDLED = {DEFAULT: load_sines, "membrane": load_membrane}
DATA = (
    f"{' or '.join(BUNDLED)} (default: {DEFAULT}), or a Parquet file or folder with columns of lists of numbers, all "
    "of one length; files train*, validation*, test* are those splits, else a tenth of the rows is held out for each "
    "of two"
)


def add_options(group: argparse._ArgumentGroup) -> None:
    """Add the options that describe files of sequences."""
    group.add_argument(
        "--columns",
        type=names,
        metavar="A,B",
        help="columns of lists, each a channel, or one of lists of lists (default: all that hold lists of numbers)",
    )


def main() -> None:
    options = parse(
        "sequences",
        __doc__ or "",
        trials=12,
        budget=6_000,
        presets=SEQUENCES,
        data=DATA,
        own=add_options,
        named=tuple(BUNDLED),
    )
    data = DEFAULT if options.data is None else options.data
    columns = options.own["columns"]
    if data in BUNDLED and columns is not None:
        raise UserError(f"--columns is for files; {data} has none: leave it out, or give --data PATH")
    dataset = BUNDLED[data]() if data in BUNDLED else load_sequences(data, columns)
    preset = SEQUENCES[options.preset]
    structure = preset.structure_for(dataset.sample_shape, options.networks, coding=dataset.coding)
    run_sweep(options, dataset, structure, preset.space)


if __name__ == "__main__":
    sys.exit(run_script(main))
