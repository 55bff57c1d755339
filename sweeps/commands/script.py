"""Option `--script`: the Python file that registers networks of your own."""

from __future__ import annotations

import argparse
import runpy
import sys
from pathlib import Path

from wgan_core.errors import UserError, one_line

# The name is not `__main__`, so that running the script starts no sweep.
RUN_NAME = "sweep_script"


def add_script(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--script", help="Python file to run first, which registers networks of your own")


def read_script(given: str | None) -> None:
    """Run the script, if one was given. Raise `UserError` if it does not exist or fails."""
    if given is None:
        return
    if not Path(given).is_file():
        raise UserError(f"--script must be a Python file; given {given!r}, which is none: check the path")
    sys.path.insert(0, str(Path(given).resolve().parent))  # Python does the same for the script it starts with.
    try:
        runpy.run_path(given, run_name=RUN_NAME)
    except Exception as error:
        raise UserError(
            f"--script must be a Python file that runs; {given} fails: {one_line(error)}: correct it"
        ) from error
