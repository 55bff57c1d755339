"""`sweeps sample`: draw a picture of generated images, or write a file of generated rows."""

from __future__ import annotations

import argparse
import csv
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from sweeps.commands.trained import check_count, check_seed, named_checkpoint
from sweeps.engine.plan.arguments import number, whole_number
from wgan_core.config import Structure
from wgan_core.data.coding import Coding
from wgan_core.errors import UserError, listed, printable, quoted, shortened

if TYPE_CHECKING:
    from torch import Tensor

COUNT = 64
# Seconds between two lines of progress.
PROGRESS_S = 5.0
# Most classes that a picture shows if neither `--label` nor `--n` is given.
MOST = 1_000
# A condition is far if it is more standard deviations than this from the mean of the training data. Few values of a
# normal distribution are farther, and no value of a uniform one.
FAR = 4.0


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
        "--where",
        type=assignments,
        action="append",
        metavar="A=1.5,B=2",
        help="values that rows of a table shall have: cut=Ideal,age=30..40, and cut= for a missing one; or values of "
        "the conditions that the sweep was given by --condition, in the data's units; label=3 for a class; may be "
        "given several times",
    )
    parser.add_argument(
        "--out",
        help="file to write: PNG of images, .parquet or .csv of rows (default: samples.png, or rows.parquet)",
    )
    parser.add_argument("--seed", type=whole_number, default=0, help="seed of the samples")


def run(given: argparse.Namespace) -> None:
    from wgan_core.kinds import Table, kind_of
    from wgan_core.sampling.generator import sampler
    from wgan_core.sampling.matching import RowFilter, matching_samples

    if given.n is not None:
        check_count(given.n)
    check_seed(given.seed)
    asked = [each for several in given.where or () for each in several]
    found = named_checkpoint(given)
    structure = found.structure
    if given.label is not None and not structure.classes:
        raise UserError(
            f"--label needs a generator that is told classes; this one is not; given {given.label}: leave it out"
        )
    kind = kind_of(structure.sample_shape, structure.coding)
    out = kind.export_path(given.out)
    if asked and not structure.is_conditional:
        if structure.coding is None or not isinstance(kind, Table):
            raise UserError(
                f"--where needs a generator of a table, or one that is told conditions or classes; this one is not; "
                f"given {listed(asked)}: leave it out"
            )
        rows = RowFilter.of(structure.coding, _assigned(asked, structure.coding))
        count = given.n or COUNT
        kind.export(matching_samples(found, rows, count, given.seed, _progress(count)), out)
        print(f"{count} {kind.exported} in {out}")
        return
    where = _numbers(asked)
    values = {} if structure.conditions is None else _conditions(structure.conditions, where)
    label = _label(given.label, where) if structure.classes else None
    told = _repeated(values, given.n or COUNT) if values else _told(structure, label, given.n)
    count = len(told) if told is not None else given.n or COUNT
    # Each row of a picture shows one class.
    columns = count // structure.classes if structure.classes and label is None else None
    beside = {name: [value] * count for name, value in values.items()}
    kind.export(sampler(found)(count, given.seed, told), out, columns, beside)
    print(f"{count} {kind.exported} in {out}")


def assignments(text: str) -> list[str]:
    """Parse an argument that gives names their values, such as a=1.5,b=2. Quote a part with a comma as CSV does."""
    try:
        found = [part.strip() for row in csv.reader([text], skipinitialspace=True) for part in row]
    except csv.Error:
        found = []
    if not found or not all(part.partition("=")[0].strip() and "=" in part for part in found):
        raise argparse.ArgumentTypeError(
            f"must be NAME=VALUE, several with commas between; given {shortened(text, 80)!r}"
        )
    return found


def _assigned(asked: Sequence[str], coding: Coding) -> dict[str, str]:
    """Return the values of all `--where` by column. A name, and a value, may contain the sign `=`.

    Raises:
        UserError: A name is given twice.
    """
    known = {*(column.name for column in coding.columns), coding.label}
    found: dict[str, str] = {}
    for part in asked:
        splits = [(part[:at].strip(), part[at + 1 :].strip()) for at, sign in enumerate(part) if sign == "="]
        # The longest name that is known, else the shortest.
        name, value = next((each for each in reversed(splits) if each[0] in known), splits[0])
        if name in found:
            raise UserError(
                f"--where must give each column one value; given {quoted(found[name])} and {quoted(value)} for "
                f"{quoted(name)}: give one of them, or a range such as 30..40"
            )
        found[name] = value
    return found


def _progress(count: int) -> Callable[[int, int], None]:
    """Return a function that tells how many rows were drawn and found, every few seconds, on stderr."""
    last = time.monotonic()

    def told(drawn: int, found: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_S:
            last = time.monotonic()
            print(f"{drawn:,} rows drawn, {found:,} of {count:,} found", file=sys.stderr, flush=True)

    return told


def _numbers(asked: Sequence[str]) -> dict[str, float]:
    """Return the numbers of all `--where` by name. Raise `UserError` for a name given twice, or no finite number."""
    found: dict[str, float] = {}
    for part in asked:
        name, _, text = (each.strip() for each in part.rpartition("="))
        try:
            value = number(text)
        except argparse.ArgumentTypeError as error:
            raise UserError(f"argument --where: {error}: give --where {shortened(name, 80)}=0, for example") from error
        if name in found or not math.isfinite(value):
            raise UserError(
                f"--where must give each name one finite number; given {name}={value:g}"
                f"{f' beside {name}={found[name]:g}' if name in found else ''}: give --where {name}=0, for example"
            )
        found[name] = value
    return found


def _label(label: int | None, where: Mapping[str, float]) -> int | None:
    """Return the class that `--label` or `--where label=...` names, or None if neither does."""
    if not where:
        return label
    if label is not None or list(where) != ["label"] or not where["label"].is_integer():
        shown = ",".join(f"{name}={value:g}" for name, value in where.items())
        raise UserError(
            f"--where must name the class of a generator that is told classes, as label=3, and --label then be left "
            f"out; given {shown}{'' if label is None else f' and --label {label}'}: give --where label=0, for example"
        )
    return int(where["label"])


def _conditions(conditions: Coding, where: Mapping[str, float]) -> dict[str, float]:
    """Return the value of each condition, in order. Print a warning if one is far from the training data.

    Raises:
        UserError: A name is no condition, or a condition has no value.
    """
    known = {column.name: column for column in conditions.columns}
    if where.keys() != known.keys():
        odd = next((name for name in where if name not in known), None)
        lacking = [name for name in known if name not in where]
        example = ",".join(f"{column.name}={column.typical}" for column in conditions.columns)
        said = f"{odd!r}, which is none" if odd is not None else f"none for {listed(lacking)}"
        raise UserError(
            f"--where must give a value for each condition of this generator, {listed(known)}; given {said}: give "
            f"--where {quoted(example)}, for example, the means of the training data"
        )
    for column in conditions.columns:
        away = abs(where[column.name] - column.mean) / column.sd
        if away > FAR:
            given = f"{printable(column.name)}={where[column.name]:g}"
            print(
                f"warning: {given} is {away:.3g} standard deviations from the mean of the training data, "
                f"{column.mean:.4g}: samples for it are extrapolated",
                file=sys.stderr,
            )
    # A column of whole numbers stays one in the rows, if the values are whole.
    return {
        name: int(where[name]) if column.whole and where[name].is_integer() else where[name]
        for name, column in known.items()
    }


def _repeated(values: Mapping[str, float], count: int) -> Tensor:
    """Return conditions (count, C), the same for all samples."""
    import torch

    return torch.tensor([*values.values()], dtype=torch.float64).expand(count, -1)


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
