"""Arguments that the sweep scripts and the commands share: the parser and its error, types of values, and places."""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from wgan_core.errors import UserError, printable, shortened, without_secrets

_AMOUNTS = ("--trials", "--lanes", "--cpus-per-trial", "--gpus-per-trial", "--max-concurrent", "--hours")
_MOST_DIGITS = 30
REFUSED = 2
"""Exit status for bad arguments, and for other errors that the user can correct."""


class BadArguments(SystemExit):
    """Bad arguments. The parser has already printed the message `said` on stderr."""

    def __init__(self, said: str) -> None:
        super().__init__(REFUSED)
        self.said = said


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """A formatter that adds defaults to the help. If a default is None or a bool, the option's own text explains it."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        said = action.default is None or isinstance(action.default, bool)
        return action.help if said else super()._get_help_string(action)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        """Fill each paragraph, but leave tables, whose lines are indented, as they are."""
        parts = text.strip().split("\n\n")
        fill = super()._fill_text
        return "\n\n".join(part if part.startswith("  ") else fill(part, width, indent) for part in parts)


class Parser(argparse.ArgumentParser):
    """An argument parser that prints an error as one line. Its subcommands get parsers of the same class."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=_Help, **settings)

    def error(self, message: str) -> NoReturn:
        said = printable(without_secrets(f"{' '.join(message.split())}: see {self.prog} --help"))
        print(f"error: {said}", file=sys.stderr)
        raise BadArguments(said)


def whole_number(text: str) -> int:
    """Parse an argument that is a whole number of at most 30 digits."""
    try:
        if len(text) > _MOST_DIGITS:
            raise ValueError
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a whole number in digits; given {shortened(text, 80)!r}") from None


def number(text: str) -> float:
    """Parse an argument that is a number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number such as 0.5; given {shortened(text, 80)!r}") from None


def names(text: str) -> list[str]:
    """Parse an argument that is a list of names, separated by commas. `"a, b",c` are two names, as in CSV."""
    try:
        rows = list(csv.reader([text], skipinitialspace=True))
    except csv.Error as error:
        raise argparse.ArgumentTypeError(f"must be names separated by commas; {error}") from error
    return [name.strip() for row in rows for name in row if name.strip()]


# The next functions read the environment after parsing. As defaults of arguments, its URIs and their passwords would
# appear in `--help`.


def storage_of(given: str | None) -> str:
    """Return the folder of all sweeps: the given one, else `$WGAN_STORAGE`, else `~/wgan-sweeps`.

    Raises:
        UserError: The given name is empty.
    """
    if given == "":
        raise UserError("--storage must name a folder; it is empty: leave it out for ~/wgan-sweeps, or give a path")
    return given or os.environ.get("WGAN_STORAGE") or str(Path.home() / "wgan-sweeps")


def study_storage_of(given: str | None) -> str | None:
    """Return the given URL of an Optuna storage, else `$WGAN_STUDY_STORAGE`, else None."""
    return os.environ.get("WGAN_STUDY_STORAGE") if given is None else given


def tracking_uri_given(given: str | None) -> str | None:
    """Return the given URI of an MLflow store, else `$MLFLOW_TRACKING_URI`, else None."""
    return os.environ.get("MLFLOW_TRACKING_URI") if given is None else given


def add_storage(parser: argparse._ActionsContainer) -> None:
    """Add `--storage` and `--study-storage`. `storage_of` and `study_storage_of` replace None by their defaults."""
    parser.add_argument(
        "--storage",
        help="folder of all sweeps: a local path, or a URI of a shared file system or object store "
        "(default: $WGAN_STORAGE, else ~/wgan-sweeps)",
    )
    parser.add_argument(
        "--study-storage",
        help="Optuna storage URL (default: $WGAN_STUDY_STORAGE, else study.db in the sweep's folder)",
    )


def add_tracking_uri(parser: argparse._ActionsContainer) -> None:
    """Add `--tracking-uri`. `tracking_uri_given` replaces None by its default."""
    parser.add_argument(
        "--tracking-uri",
        help="MLflow server or store; none: do not record in MLflow (default: $MLFLOW_TRACKING_URI, else mlflow.db in "
        "the storage folder)",
    )


def add_places(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where to keep files. No other option may hold a password."""
    group = parser.add_argument_group("places")
    add_storage(group)
    add_tracking_uri(group)


def without_places(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the arguments without those that say where to keep files.

    Such an argument may hold a password. In a sweep's file that somebody else wrote, it would also choose where the
    user's sweep reads and writes.

    Raises:
        BadArguments: An abbreviated option could be several of these, or an option lacks its value.
    """
    places = Parser(add_help=False)
    add_places(places)
    return tuple(places.parse_known_args(list(arguments))[1])


def without_amounts(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the arguments without the number of trials, and without those that say how much of the nodes to use,
    and for how long.

    In a sweep's file that somebody else wrote, they would choose the load of the user's machine.

    Raises:
        BadArguments: An abbreviated option could be several of these, or an option lacks its value.
    """
    amounts = Parser(add_help=False)
    for option in _AMOUNTS:
        amounts.add_argument(option)
    return tuple(amounts.parse_known_args(list(arguments))[1])


def add_debug(parser: argparse._ActionsContainer) -> None:
    """Add `--debug`, which `sweeps.engine.driver.outcome` reads."""
    parser.add_argument("--debug", action="store_true", help="show where an error arose (also: WGAN_DEBUG=1)")
