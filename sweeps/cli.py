"""The `sweeps` command: see how a sweep stands, take away what it found, and check what it runs on."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType

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
from sweeps.commands.script import add_script, read_script
from sweeps.engine.options import Parser, add_storage
from wgan_core.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status: 0, 2 with one line for what the person can mend, or the command's own."""
    given = _parser().parse_args(arguments)
    try:
        read_script(given.script)
        return given.run(given) or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> Parser:
    parser = Parser(prog="sweeps", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (ls, best, status, report, confirm, sample, export, promote, downstream):
        own = commands.add_parser(_name(command), help=command.HELP)
        command.add_options(own)
        add_storage(own)
        add_script(own)
        own.set_defaults(run=command.run)
    for without_sweep in (serve_ui, check_cluster, doctor, drain):
        own = commands.add_parser(_name(without_sweep), help=without_sweep.HELP)
        without_sweep.add_options(own)
        own.set_defaults(run=without_sweep.run, script=None)
    return parser


def _name(command: ModuleType) -> str:
    return command.__name__.rpartition(".")[2].replace("_", "-")


if __name__ == "__main__":
    sys.exit(main())
