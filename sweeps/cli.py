"""Show the state of sweeps, use their results, and check the machines and servers that they need."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import import_module

from sweeps.engine.driver.outcome import outcome
from sweeps.engine.terminal.text import escaped

COMMANDS = {
    "ls": "list the sweeps of a storage with their progress and best scores",
    "best": "print the leaderboard and the best checkpoint of a sweep",
    "status": "show what each trial of a sweep does, its progress, and whether a driver runs the sweep",
    "report": "write a page with the best trial and all charts, a table of the trials, and the best settings",
    "confirm": "train the best trials again with fresh seeds, and score them on the test split",
    "extend": "train a trial on, beyond the budget of its sweep",
    "sample": "draw samples from a checkpoint: a picture of images, or rows of a table",
    "export": "write the best generator: weights, description, and a torch.export program",
    "promote": "register the best generator as a version of a model in MLflow, which can load and serve it",
    "data": "show how the columns and rows of a table are read, before anything is trained",
    "downstream": "measure how much generated rows help a classifier that is tested on real rows",
    "serve-ui": "show one or all sweeps in MLflow's web pages; Ctrl-C ends the server",
    "check-cluster": "check that a cluster's file is filled in, and that the files which it copies exist",
    "doctor": "check nodes, storage and servers, and say how to solve each problem",
    "drain": "save the trials of a node that is about to leave the cluster, and train them on other nodes",
}
"""Help text of each command, in the order of the help."""

WITHOUT_SWEEP = ("data", "serve-ui", "check-cluster", "doctor", "drain")
"""Commands to which `_parser` adds neither `--storage` nor `--script`, as they need no existing sweep."""

WITHOUT_LIMIT = ("serve-ui", "confirm", "extend", "drain")
"""Commands that start a server or a Ray cluster, whose processes would inherit a limit of memory."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The command line without the program's name; None for `sys.argv`.

    Returns:
        The command's own exit status, or that of `outcome` if the command raises an error.
    """
    given = sys.argv[1:] if arguments is None else arguments
    return outcome(lambda: _run(given), given, "")


def _run(arguments: Sequence[str]) -> int:
    from sweeps.commands.memory import half_of_memory
    from sweeps.commands.script import read_script

    given = _parser(arguments).parse_args(arguments)
    read_script(given.script)
    with escaped(), nullcontext() if arguments[0] in WITHOUT_LIMIT else half_of_memory():
        status: int | None = given.run(given)
    return status or 0


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser of all commands. It imports only the module of the command in `arguments`."""
    from sweeps.commands.script import add_script
    from sweeps.engine.plan.arguments import Parser, add_debug, add_storage

    parser = Parser(prog="sweeps", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, described in COMMANDS.items():
        own = commands.add_parser(name, help=described)
        if arguments[:1] == [name]:
            command = import_module(f"sweeps.commands.{name.replace('-', '_')}")
            command.add_options(own)
            own.set_defaults(run=command.run, script=None)
            if name not in WITHOUT_SWEEP:
                add_storage(own)
                add_script(own)
            add_debug(own)
    return parser


if __name__ == "__main__":
    sys.exit(main())
