"""`sweeps export`: write the best generator's weights, and a program that needs only torch."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from sweeps.commands.trained import best_checkpoint
from sweeps.engine.results.results import open_results
from wgan_core.data.folder import Folder
from wgan_core.errors import UserError, one_line

SNIPPET = """import torch
generator = torch.export.load("{program}").module()
samples = generator({inputs})  # {output}"""
BACK = """import json
from wgan_core.data.coding import Coding
coding = Coding.from_json(json.load(open("{description}"))["structure"]["coding"])
columns = coding.decode(samples)  # by name, in the data's own units"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="name of the sweep")
    parser.add_argument("--out", required=True, help="folder to write; it must not exist yet")


def run(given: argparse.Namespace) -> None:
    from wgan_core.sampling.generator import DESCRIPTION, PROGRAM, program, write_generator

    results = open_results(given.storage, given.name, given.study_storage)
    out = Path(given.out)
    if out.exists():
        raise UserError(
            f"--out must name a folder that is not there yet, so that nothing is lost; {out} is: name another"
        )
    found = best_checkpoint(results)
    # Export and describe first, as both may fail: then nothing has been written.
    exported, (inputs, output), target = program(found), results.program_use, Folder.at(out)
    try:
        write_generator(target, found)
        target.write(PROGRAM, exported)
        target.write("best.json", json.dumps(results.best_as_json(), indent=1).encode())
    except OSError as error:
        raise UserError(
            f"--out must be a folder that can be written; {out}: {one_line(error)}: name one in a folder that is yours"
        ) from error
    print(f"wrote {out}; it needs torch alone:\n")
    print(SNIPPET.format(program=out / PROGRAM, inputs=inputs, output=output))
    if found.structure.coding is not None:
        print("\nback to the data's columns, with this package, or by `sweeps sample --out rows.parquet`:\n")
        print(BACK.format(description=out / DESCRIPTION))
