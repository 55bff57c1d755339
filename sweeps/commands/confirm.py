"""`sweeps confirm`: train the leaders of a sweep again with fresh seeds, by running the sweep's script again."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import sweeps
from sweeps.engine.cluster.signals import sigterm_for
from sweeps.engine.plan.arguments import (
    AMOUNTS,
    add_tracking_uri,
    storage_of,
    study_storage_of,
    without,
    without_places,
)
from sweeps.engine.plan.confirmation_size import ConfirmationSize
from sweeps.engine.plan.plan import SweepStart, read_started
from sweeps.engine.results.results import Results, open_results, tracking_uri_of
from wgan_core.errors import UserError, printable

# The sweep scripts of this package.
SCRIPTS = ("mnist", "conditional", "tabular", "sequences", "gaussians", "own")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="name of the sweep")
    parser.add_argument("runs", nargs="?", default="3x3", metavar="LEADERSxSEEDS", help="leaders, and seeds of each")
    add_tracking_uri(parser)


def run(given: argparse.Namespace) -> int:
    """Run the sweep's own script, which knows its data and networks, and return its exit status."""
    asked = ConfirmationSize.read(given.runs)
    results = open_results(given.storage, given.name, given.study_storage)
    if (extends := results.plan.extends) is not None:
        raise UserError(
            f"a sweep must be a search to be confirmed; {given.name!r} extends trial {extends.trial} of "
            f"{extends.sweep!r}: run `sweeps confirm {extends.sweep}`"
        )
    options = ("--trials", str(results.plan.trials), "--name", given.name, "--confirm", str(asked))
    return run_script(given, results, options)


def run_script(given: argparse.Namespace, results: Results, options: Sequence[str], drop: Sequence[str] = ()) -> int:
    """Run the script of a sweep with its noted options and further ones, and return its exit status.

    Other people may be able to write to the storage. So noted options that name other places, or that choose the load
    of the user's machine, are dropped, and `_script` chooses the script.

    Args:
        given: The command line of a command, with `add_storage`, `add_script` and `add_tracking_uri`.
        results: The sweep.
        options: Options of the script, which replace noted ones of the same name.
        drop: Further noted options to drop.

    Raises:
        UserError: There is no script that may be run unasked.
    """
    started = read_started(results.folder)
    # The changes of a `--space` file are noted as `--set` and `--search`.
    noted = without(without_places(started.arguments), (*AMOUNTS, "--space", *drop))
    command = [sys.executable, *_script(given, started, shlex.join(options)), *noted, *options]
    print(printable(shlex.join(command)), flush=True)
    with subprocess.Popen(command, env={**os.environ, **_places(given, results)}) as process, sigterm_for(process):
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:  # The script gets the signal too, and saves its trials before it ends.
                continue


def _script(given: argparse.Namespace, started: SweepStart, options: str) -> list[str]:
    """Return the file to run, with Python's options for it.

    Other people may be able to write to the storage. So a script that the storage names runs only if it belongs to this
    package. Python's option `-P` then keeps the script's folder out of the import path. A script that the user names
    with `--script` keeps its folder there.

    Raises:
        UserError: The user names no script, and the one in the sweep's file is missing or not of this package.
    """
    if given.script is not None:
        return [str(Path(given.script).absolute())]
    ours = [str(Path(sweeps.__file__).with_name(f"{name}.py")) for name in SCRIPTS]
    if started.script in ours and Path(started.script).is_file():
        return ["-P", started.script]
    if not started.script:
        raise UserError(
            f"a script must have started {given.name!r} to be run again; none did: give one with --script, or run it "
            f"yourself with {options}"
        )
    raise UserError(
        f"the script that started {given.name!r} must be one of this package's to be run unasked; its folder names "
        f"{started.script}: if you trust that file, give it with --script, or run it with {options}"
    )


def _places(given: argparse.Namespace, results: Results) -> dict[str, str]:
    """Return the environment variables of the storage, the study and MLflow.

    These addresses may hold passwords, and other users could read them from a command line.
    """
    storage = storage_of(given.storage)
    places = {
        "WGAN_STORAGE": storage if "://" in storage else str(Path(storage).absolute()),
        "WGAN_STUDY_STORAGE": study_storage_of(given.study_storage),
        "MLFLOW_TRACKING_URI": tracking_uri_of(results.folder, given.tracking_uri),
    }
    return {name: value for name, value in places.items() if value}
