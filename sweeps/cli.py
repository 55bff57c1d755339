"""The `sweeps` command: take away what a sweep found."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from sweeps.engine.leaderboard import checkpoint_of, leaderboard
from sweeps.engine.options import Parser, add_storage, whole_number
from sweeps.engine.plan import is_name
from sweeps.engine.results import open_results
from wgan_core import checkpoint as checkpoints
from wgan_core.checkpoint import Checkpoint
from wgan_core.config import Structure
from wgan_core.errors import UserError, one_line
from wgan_core.folder import Folder
from wgan_core.generator import PROGRAM, averaged_generator, program, write_generator
from wgan_core.loop import grid_labels
from wgan_core.pictures import grid_png, is_image

SNIPPET = """import torch
generator = torch.export.load("{program}").module()
samples = generator({inputs})  # {output}"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status: 0, or 2 with one line for what the person can mend."""
    given = _parser().parse_args(arguments)
    try:
        given.run(given)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="sweeps", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    best = commands.add_parser("best", help="the leaderboard and the best checkpoint of a sweep")
    best.add_argument("name", help="of the sweep")
    best.add_argument("--json", action="store_true", help="the best trial alone, as JSON")
    best.set_defaults(run=_best)

    sample = commands.add_parser("sample", help="a picture of samples from a sweep's best checkpoint, or from any")
    sample.add_argument(
        "source",
        metavar="NAME|CHECKPOINT",
        help="a sweep in --storage, for its best checkpoint; or a checkpoint's folder, a path or URI as `sweeps best` "
        "prints it",
    )
    sample.add_argument("--n", type=whole_number, default=64, help="samples; without --label as many of each class")
    sample.add_argument("--label", type=whole_number, help="the class, if the generator is told one (default: all)")
    sample.add_argument("--out", default="samples.png", help="PNG file to write")
    sample.add_argument("--seed", type=whole_number, default=0, help="of the samples")
    sample.set_defaults(run=_sample)

    export = commands.add_parser("export", help="the best generator: weights, description, a torch.export program")
    export.add_argument("name", help="of the sweep")
    export.add_argument("--out", required=True, help="folder to write; must not be there yet")
    export.set_defaults(run=_export)

    for command in (best, sample, export):
        add_storage(command)
    return parser


def _best(given: argparse.Namespace) -> None:
    results = open_results(given.storage, given.name, given.study_storage)
    if given.json:
        print(json.dumps(results.best_as_json(), indent=1))
        return
    print(leaderboard(results.plan, results.rows))
    print(f"\nreal against real {results.plan.floor:.4g} ({results.plan.objective})")
    print(f"best checkpoint   {checkpoint_of(results.folder, results.best)}")


def _sample(given: argparse.Namespace) -> None:
    if given.n < 1:
        raise UserError(f"--n must be a whole number >= 1; given {given.n}: give --n 64, for example")
    if not 0 <= given.seed < 2**63:
        raise UserError(f"--seed must be a whole number in [0, 2^63); given {given.seed}: give --seed 0, for example")
    found = _source(given)
    structure = found.structure
    if not is_image(structure.sample_shape):
        raise UserError(
            f"sweeps sample draws images; these samples have the shape {structure.sample_shape}: take `sweeps export` "
            "and its program, or look at the pictures in MLflow"
        )
    noise = torch.Generator().manual_seed(given.seed)
    told, columns = _told(structure, given.label, given.n)
    count = given.n if told is None else len(told)
    z = torch.randn(count, structure.latent_dim, generator=noise, dtype=structure.torch_dtype)
    generator = averaged_generator(found)
    picture = grid_png(generator(z) if told is None else generator(z, told), columns)
    try:
        Path(given.out).write_bytes(picture)
    except OSError as error:
        raise UserError(
            f"--out must be a file that can be written; {given.out}: {error.strerror}: "
            "name one in a folder that is there and yours"
        ) from error
    print(f"{count} samples in {given.out}")


def _told(structure: Structure, label: int | None, count: int) -> tuple[torch.Tensor | None, int | None]:
    """The labels of so many samples, if the generator is told any, and the columns of their picture: a row a class."""
    if label is not None and not structure.classes:
        raise UserError(f"--label needs a generator that is told classes; this one is not; given {label}: leave it out")
    if label is None:
        columns = max(1, count // structure.classes) if structure.classes else None
        return (grid_labels(structure, columns) if columns else None), columns
    if not 0 <= label < structure.classes:
        raise UserError(
            f"--label must be a class that the generator knows, 0 to {structure.classes - 1}; given {label}: "
            "name one of those"
        )
    return torch.full((count,), label), None


def _source(given: argparse.Namespace) -> Checkpoint:
    """The checkpoint in the folder that was named; the best of the sweep of that name, if the folder is none."""
    folder = Folder.at(given.source)
    if is_name(given.source) and not folder.exists(checkpoints.MANIFEST):
        results = open_results(given.storage, given.source, given.study_storage)
        folder = checkpoint_of(results.folder, results.best)
    return _read(folder)


def _read(folder: Folder) -> Checkpoint:
    try:
        return checkpoints.read(folder)
    except OSError as error:
        raise UserError(
            f"a checkpoint must be files that can be read; {folder}: {one_line(error)}: check --storage, or the path"
        ) from error


def _export(given: argparse.Namespace) -> None:
    results = open_results(given.storage, given.name, given.study_storage)
    out = Path(given.out)
    if out.exists():
        raise UserError(
            f"--out must name a folder that is not there yet, so that nothing is lost; {out} is: name another"
        )
    found = _read(checkpoint_of(results.folder, results.best))
    target = Folder.at(out)
    try:
        write_generator(target, found)
        target.write(PROGRAM, program(found))
        target.write("best.json", json.dumps(results.best_as_json(), indent=1).encode())
    except OSError as error:
        raise UserError(
            f"--out must be a folder that can be written; {out}: {one_line(error)}: name one in a folder that is yours"
        ) from error
    structure = found.structure
    output = f"({', '.join(map(str, (64, *structure.sample_shape)))})"
    inputs = f"torch.randn(64, {structure.latent_dim})"
    if structure.classes:
        inputs += f", torch.randint({structure.classes}, (64,))"
    print(f"wrote {out}; it needs torch alone:\n")
    print(SNIPPET.format(program=out / PROGRAM, inputs=inputs, output=output))


if __name__ == "__main__":
    sys.exit(main())
