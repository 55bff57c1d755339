"""Search the hyper-parameters of a conditional GAN, on MNIST, on labelled images of your own, or given numbers.

Both networks get the class of each image as an input. With --condition A,B, they get the numbers in these columns of
a table or of images instead, standardised. The GAN of a table then generates the other columns. After the sweep,
`sweeps sample NAME --where A=1.5,B=2` draws samples for the values that you name.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from sweeps import CONDITIONAL, TABULAR, add_table_options, names, parse, run_script, run_sweep, table_options
from sweeps.engine.plan.table_options import TABLE_OPTIONS
from wgan_core import Dataset, Structure, UserError, count_classes, load_images, load_mnist, load_table
from wgan_core.data.images import has_images
from wgan_core.data.tables import BUNDLED

DATA = (
    "Parquet file or folder of images, Hugging Face layout (default: MNIST, fetched once into $WGAN_DATA, else "
    "wgan-sweeps in $XDG_CACHE_HOME or ~/.cache); with --condition also a table: a Parquet or CSV file or folder, or a "
    f"table of scikit-learn: {', '.join(BUNDLED)}"
)


def add_options(group: argparse._ArgumentGroup) -> None:
    """Add the options that describe the conditions and a table."""
    group.add_argument(
        "--condition",
        type=names,
        metavar="A,B",
        help="columns of numbers that both networks are told, in place of the class of an image",
    )
    add_table_options(group)


def load(data: str | None, condition: list[str], of_table: Mapping[str, Any]) -> Dataset:
    """Load MNIST, images, or, with conditions, a table or images. `of_table` has the options of tables."""
    if condition and data is not None and (data in BUNDLED or not has_images(data, tuple(BUNDLED))):
        return load_table(data, condition=condition, **table_options(of_table))
    given = [f"--{name.replace('_', '-')}" for name in TABLE_OPTIONS if of_table[name]]
    if given:
        raise UserError(
            f"options of tables need a table, whose conditions --condition names; given {', '.join(given)}: leave them "
            "out, or name a table and --condition"
        )
    if condition and data is None:
        raise UserError(
            f"--condition needs data with columns of numbers, and MNIST has none; given {','.join(condition)}: name a "
            "table or images by --data, or leave --condition out"
        )
    return load_mnist() if data is None else load_images(data, condition)


def main() -> None:
    options = parse(
        "conditional",
        __doc__ or "",
        trials=8,
        budget=10_000,
        presets=CONDITIONAL,
        data=DATA,
        own=add_options,
        named=("", *BUNDLED),
    )
    preset = CONDITIONAL[options.preset]
    dataset = load(options.data, options.own["condition"] or [], options.own)
    of_data: dict[str, Any] = {"conditions": dataset.conditions}
    if dataset.conditions is None:
        of_data["classes"] = count_classes(dataset)
    elif preset.structure.get("label_embedding"):
        raise UserError(
            f"--preset {options.preset} learns codes of labels, and --condition gives numbers; given both: take "
            f"--preset {next(iter(CONDITIONAL))}"
        )
    if dataset.coding is not None:
        # A table is small, and its networks are those of tabular.py.
        of_data |= {"coding": dataset.coding, "batch_size": min(Structure.batch_size, len(dataset.train))}
        if "networks" not in preset.structure:
            of_data |= TABULAR["wgan-gp"].structure
    # Rows need a smaller λ than images.
    space = TABULAR["wgan-gp"].space if dataset.coding is not None and options.preset == "wgan-gp" else preset.space
    run_sweep(options, dataset, preset.structure_for(dataset.sample_shape, options.networks, **of_data), space)


if __name__ == "__main__":
    sys.exit(run_script(main))
