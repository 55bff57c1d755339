"""End of a command: its exit status and, for an error, one line on stderr."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from sweeps.engine.cluster.signals import got_sigterm, sigterm_as_ctrl_c
from sweeps.engine.plan.arguments import REFUSED, BadArguments
from sweeps.engine.terminal.text import KEPT, discard_output, replace_unencodable
from wgan_core.errors import UserError, one_line, printable, shortened, without_secrets

FAILED, INTERRUPTED, NO_READER, TERMINATED = 1, 130, 141, 143
LONGEST = 6_000  # most characters of an error message to show
DEBUG, VARIABLE = "--debug", "WGAN_DEBUG"


class NoScore(Exception):
    """Every trial of a sweep failed."""


# The commands that run in this process, one within the other.
_commands: list[Callable[[], int | None]] = []


class LostRay(Exception):
    """A process of the sweep's own Ray died.

    Args:
        process: Its name.
    """

    def __init__(self, process: str) -> None:
        super().__init__(f"Ray's process {process} has died, by a signal or for want of memory")


def outcome(
    act: Callable[[], int | None],
    arguments: Sequence[str],
    interrupted: str,
    foreseen: Callable[[Exception], str | None] = lambda _: None,
    told: Callable[[str], None] = lambda _: None,
) -> int:
    """Call a command and return its exit status. Print an error in one line.

    Args:
        act: The command. It returns its exit status; None counts as 0.
        arguments: Command line arguments; `--debug` prints the traceback of an error.
        interrupted: Text to print after "interrupted" if the user presses Ctrl-C, and after "ended by SIGTERM".
        foreseen: Function that returns the message of an error that is no bug, and None for any other error.
        told: Callback that also receives the message.

    Returns:
        The status of `act`, or 1 (error), 2 (error that the user can fix), 130 (interrupted), 141 (broken pipe), 143
        (ended by SIGTERM).

    Raises:
        BadArguments: The command line has arguments that the command does not have.
    """
    debug = DEBUG in arguments or os.environ.get(VARIABLE, "0") not in ("", "0")
    # Without `gc.freeze`, Python searches all objects of torch and Ray for garbage at exit (docs/log.md). Unregister
    # first, so that a process that runs several commands freezes only once.
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
    replace_unencodable()
    _commands.append(act)
    try:
        with sigterm_as_ctrl_c():
            status = act() or 0
            sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
        return NO_READER
    except BadArguments as error:
        told(error.said)
        raise
    except KeyboardInterrupt:
        return _ended(interrupted, told)
    except Exception as error:
        if got_sigterm() and isinstance(
            error, LostRay
        ):  # the signal was for all processes of a job, and so for Ray's too
            return _ended(interrupted, told)
        if debug:
            lines = "".join(traceback.format_exception(error))
            print(printable(without_secrets(lines), KEPT), file=sys.stderr, end="")
        message = str(error) if isinstance(error, UserError) else foreseen(error) or _unforeseen(error, debug)
        message = shortened(without_secrets(message[:LONGEST]), LONGEST)
        print(f"error: {message}", file=sys.stderr)
        told(message)
        return REFUSED if isinstance(error, UserError) else FAILED
    finally:
        _commands.pop()
    return status


def _ended(interrupted: str, told: Callable[[str], None]) -> int:
    said = f"{'ended by SIGTERM' if got_sigterm() else 'interrupted'}{interrupted}"
    print(said, file=sys.stderr)
    told(said)
    return TERMINATED if got_sigterm() else INTERRUPTED


def leave(lost: str) -> None:
    """End this process at once because a process of its Ray has died, and calls of Ray do not return.

    A process that runs no command, such as a notebook, holds more than the sweep. It is left alone.
    """
    if not _commands:
        return
    said = "ended by SIGTERM" if got_sigterm() else f"error: {LostRay(lost)}"
    print(f"{said}: the same command again goes on from the last checkpoints", file=sys.stderr, flush=True)
    os._exit(TERMINATED if got_sigterm() else FAILED)


def _unforeseen(error: Exception, debug: bool) -> str:
    where = "the lines above show where" if debug else f"the same command with {DEBUG} shows where"
    return f"{one_line(error)}: this was not foreseen, so it is a bug, here or in a script of your own; {where}"
