"""The `sweeps` command: see how a sweep stands, take away what it found, and check what it runs on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from types import ModuleType

from sweeps.engine.driver.outcome import outcome
from sweeps.engine.terminal.letters import escaped


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is as `outcome` has it, or the command's own."""
    given = sys.argv[1:] if arguments is None else arguments
    return outcome(lambda: _run(given), given, "")


def _run(arguments: Sequence[str]) -> int:
    # Here, as it takes seconds: an interrupt meanwhile is one line too.
    from sweeps.commands.script import read_script

    given = _parser().parse_args(arguments)
    read_script(given.script)
    with escaped():
        status: int | None = given.run(given)
    return status or 0


def _parser() -> argparse.ArgumentParser:
    from sweeps.commands import (
        best,
        check_cluster,
        confirm,
        doctor,
        downstream,
        drain,
        export,
        ls,
        promote,
        report,
        sample,
        serve_ui,
        status,
    )
    from sweeps.commands.script import add_script
    from sweeps.engine.plan.options import Parser, add_debug, add_storage

    parser = Parser(prog="sweeps", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(command: ModuleType) -> argparse.ArgumentParser:
        own = commands.add_parser(command.__name__.rpartition(".")[2].replace("_", "-"), help=command.HELP)
        command.add_options(own)
        own.set_defaults(run=command.run, script=None)
        return own

    for command in (ls, best, status, report, confirm, sample, export, promote, downstream):
        own = add(command)
        add_storage(own)
        add_script(own)
        add_debug(own)
    for without_sweep in (serve_ui, check_cluster, doctor, drain):
        add_debug(add(without_sweep))
    return parser


if __name__ == "__main__":
    sys.exit(main())
