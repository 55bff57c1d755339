"""`sweeps sample`: draw a picture of generated images, or write a file of generated rows."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sweeps.commands.trained import check_count, check_seed, named_checkpoint
from sweeps.engine.plan.arguments import whole_number
from wgan_core.config import Structure
from wgan_core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

COUNT = 64
# Most classes that a picture shows if neither `--label` nor `--n` is given.
MOST = 1_000


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source",
        metavar="NAME|CHECKPOINT",
        help="a sweep in --storage, for its best checkpoint; or a checkpoint's folder, a path or URI as `sweeps best` "
        "prints it",
    )
    parser.add_argument(
        "--n",
        type=whole_number,
        help="number of samples; without --label, rounded down to equally many of each class, and at least one of each "
        f"(default: {COUNT}, or one of each class if there are more classes)",
    )
    parser.add_argument("--label", type=whole_number, help="class, for a conditional generator (default: all classes)")
    parser.add_argument(
        "--out",
        help="file to write: PNG of images, .parquet or .csv of rows (default: samples.png, or rows.parquet)",
    )
    parser.add_argument("--seed", type=whole_number, default=0, help="seed of the samples")


def run(given: argparse.Namespace) -> None:
    from wgan_core.kinds import kind_of
    from wgan_core.sampling.generator import sampler

    if given.n is not None:
        check_count(given.n)
    check_seed(given.seed)
    found = named_checkpoint(given)
    structure = found.structure
    if given.label is not None and not structure.classes:
        raise UserError(
            f"--label needs a generator that is told classes; this one is not; given {given.label}: leave it out"
        )
    told = _told(structure, given.label, given.n)
    count = len(told) if told is not None else given.n or COUNT
    kind = kind_of(structure.sample_shape, structure.coding)
    out = kind.export_path(given.out)
    # Each row of a picture shows one class.
    columns = count // structure.classes if structure.classes and given.label is None else None
    kind.export(sampler(found)(count, given.seed, told), out, columns)
    print(f"{count} {kind.exported} in {out}")


def _told(structure: Structure, label: int | None, count: int | None) -> Tensor | None:
    """Return the labels (N,) of the samples, or None if the generator is not conditional.

    Without `label`, each class gets the same number of samples, class after class. N is then `count` rounded down.
    """
    if not structure.classes:
        return None
    import torch

    from wgan_core.training.samples import grid_labels

    if label is None:
        if count is None:
            if structure.classes > MOST:
                raise UserError(
                    f"a picture of each class is for at most {MOST} classes; this generator knows "
                    f"{structure.classes}: give --label, or --n {structure.classes}"
                )
            count = max(COUNT, structure.classes)
        if count < structure.classes:
            raise UserError(
                f"--n must be at least the number of classes, {structure.classes}, without --label; given {count}: "
                f"give --n {structure.classes}, or one class by --label"
            )
        return grid_labels(structure, count // structure.classes)
    if not 0 <= label < structure.classes:
        raise UserError(
            f"--label must be a class that the generator knows, 0 to {structure.classes - 1}; given {label}: "
            "name one of those"
        )
    return torch.full((COUNT if count is None else count,), label)
