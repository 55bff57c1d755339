"""stdout, whose reader may go."""

from __future__ import annotations

import os
import sys

from sweeps.engine.terminal.letters import KEPT
from wgan_core.errors import printable


def put(text: str) -> None:
    """Print at once, with control characters written out.

    A reader that has gone, as `head` or a terminal that is closed, ends no sweep.
    """
    try:
        print(printable(text, KEPT), flush=True)
    except OSError:
        fall_silent()


def fall_silent() -> None:
    """Send what is printed from now on nowhere, and what Python itself flushes at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
