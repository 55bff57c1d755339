"""Search the hyper-parameters of a GAN on the rows of a table: all rows, or the rows of one class.

The default table is breast-cancer. Without --label and --positive-class, its GAN learns the rows of malignant tumours.
After the sweep, `sweeps sample` writes generated rows. `sweeps downstream` measures how much they help a classifier.
"""

from __future__ import annotations

import argparse
import sys

from sweeps import TABULAR, add_table_options, parse, run_script, run_sweep, table_options
from sweeps.engine.plan.presets_tabular import TABLE_BUDGET, table_coding, table_structure
from wgan_core import UserError, load_table
from wgan_core.data.tables import BUNDLED

DEFAULT, DEFAULT_POSITIVE = "breast-cancer", "malignant"
TABLES = (
    f"Parquet or CSV file or folder, or a table of scikit-learn: {', '.join(BUNDLED)} (default: {DEFAULT}); "
    "files train*, validation*, test* are those splits, else a tenth of the rows is held out for each of two"
)


def add_options(group: argparse._ArgumentGroup) -> None:
    """Add the options that describe a table."""
    group.add_argument(
        "--label",
        help="column that tells classes apart (default: with --positive-class, the target of a table of scikit-learn)",
    )
    group.add_argument(
        "--positive-class",
        help="value of --label whose rows alone are learnt; without it, all rows and the label with them (default: of "
        f"{DEFAULT} without --label, {DEFAULT_POSITIVE})",
    )
    add_table_options(group)
    group.add_argument("--full-batch", action="store_true", help="each update sees all rows (default: the preset's)")


def main() -> None:
    options = parse(
        "tabular",
        __doc__ or "",
        trials=12,
        budget=TABLE_BUDGET,
        presets=TABULAR,
        data=TABLES,
        own=add_options,
        named=tuple(BUNDLED),
    )
    data = DEFAULT if options.data is None else options.data
    label, positive, drop = options.own["label"], options.own["positive_class"], options.own["drop"] or ()
    if label is None:
        positive = DEFAULT_POSITIVE if data == DEFAULT and positive is None else positive
        label = None if positive is None else BUNDLED.get(data)
        if label in drop:
            raise UserError(
                f"--drop must leave {label!r}: without --label it tells the classes of {data} apart, and the rows of "
                f"{positive} are learnt without it; given {','.join(drop)}: take it out of --drop, or name another "
                "--label"
            )
    preset = TABULAR[options.preset]
    dataset = load_table(data, label, positive, **table_options(options.own, table_coding(preset)))
    structure = table_structure(preset, dataset, options.networks, options.own["full_batch"])
    run_sweep(options.for_rows(len(dataset.train)), dataset, structure, preset.space)


if __name__ == "__main__":
    sys.exit(run_script(main))
