"""stdout, whose reader may go."""

from __future__ import annotations

import os
import sys


def put(text: str) -> None:
    """Print at once. A reader that has gone, as `head` or a terminal that is closed, ends no sweep."""
    try:
        print(text, flush=True)
    except OSError:
        fall_silent()


def fall_silent() -> None:
    """Send what is printed from now on nowhere, and what Python itself flushes at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
