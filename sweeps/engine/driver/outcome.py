"""How a command ends: its exit status, and one line on stderr if that is not 0."""

from __future__ import annotations

import atexit
import gc
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from sweeps.engine.plan.misused import REFUSED, BadArguments
from sweeps.engine.terminal.text import KEPT, fall_silent, spell_out
from wgan_core.errors import UserError, one_line, printable, shortened, without_secrets

FAILED, INTERRUPTED, NO_READER = 1, 130, 141
LONGEST = 6_000  # characters of an error that are shown
DEBUG, VARIABLE = "--debug", "WGAN_DEBUG"


class NoScore(Exception):
    """Every trial of a sweep failed."""


def outcome(
    act: Callable[[], int | None],
    arguments: Sequence[str],
    interrupted: str,
    foreseen: Callable[[Exception], str | None] = lambda _: None,
    told: Callable[[str], None] = lambda _: None,
) -> int:
    """Do it; the exit status: its own, 1 (an error), 2 (the person can mend it), 130 (interrupted), 141 (no reader).

    interrupted: what is said then. foreseen: what is said of an error, if it is known. told: is given the message too.
    """
    debug = DEBUG in arguments or os.environ.get(VARIABLE, "0") not in ("", "0")
    # Or the interpreter looks for garbage among all that torch and Ray have made (docs/log.md). Once, however many
    # commands a process carries out.
    atexit.unregister(gc.freeze)
    atexit.register(gc.freeze)
    spell_out()
    try:
        status = act() or 0
        sys.stdout.flush()
    except BrokenPipeError:
        fall_silent()
        return NO_READER
    except BadArguments as error:
        told(error.said)
        raise
    except KeyboardInterrupt:
        print(f"interrupted{interrupted}", file=sys.stderr)
        told(f"interrupted{interrupted}")
        return INTERRUPTED
    except Exception as error:
        if debug:
            lines = "".join(traceback.format_exception(error))
            print(printable(without_secrets(lines), KEPT), file=sys.stderr, end="")
        message = str(error) if isinstance(error, UserError) else foreseen(error) or _unforeseen(error, debug)
        message = shortened(without_secrets(message[:LONGEST]), LONGEST)
        print(f"error: {message}", file=sys.stderr)
        told(message)
        return REFUSED if isinstance(error, UserError) else FAILED
    return status


def _unforeseen(error: Exception, debug: bool) -> str:
    where = "the lines above show where" if debug else f"the same command with {DEBUG} shows where"
    return f"{one_line(error)}: this was not foreseen, so it is a bug, here or in a script of your own; {where}"
