"""`sweeps confirm`: train the leaders of a sweep again with fresh seeds, by the script that searched."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

from sweeps.engine.confirmation import Asked
from sweeps.engine.options import storage_of
from sweeps.engine.plan import Started, read_started
from sweeps.engine.results import open_results
from wgan_core.errors import UserError

HELP = "train the leaders again with fresh seeds and score them on the test split"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="of the sweep")
    parser.add_argument("runs", nargs="?", default="3x3", metavar="LEADERSxSEEDS", help="how many of each")
    parser.add_argument(
        "--tracking-uri",
        help="MLflow server or store (default: $MLFLOW_TRACKING_URI, else the one that the sweep had)",
    )


def run(given: argparse.Namespace) -> int:
    """The exit status of the sweep's own script, which knows its data and its networks."""
    asked = Asked.read(given.runs)
    results = open_results(given.storage, given.name, given.study_storage)
    started = read_started(results.folder)
    script = started.script if given.script is None else given.script
    if not Path(script).is_file():
        raise UserError(
            f"the script that started {given.name!r} must be there to confirm it; {script or 'none'} is not: "
            f"give it with --script, or run it again with --confirm {asked}"
        )
    command = [sys.executable, script, *started.arguments, "--name", given.name, "--confirm", str(asked)]
    print(shlex.join(command), flush=True)
    with subprocess.Popen(command, env={**os.environ, **_places(given, started)}) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:  # the script is told as well, and saves what it has
                continue


def _places(given: argparse.Namespace, started: Started) -> dict[str, str]:
    """Where things are kept, by the environment: a command line that holds a password could be seen by others."""
    places = {
        "WGAN_STORAGE": storage_of(given.storage),
        "WGAN_STUDY_STORAGE": given.study_storage,
        "MLFLOW_TRACKING_URI": given.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or started.tracking_uri,
    }
    return {name: value for name, value in places.items() if value}
