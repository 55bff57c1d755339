"""Which way a sweep is told."""

from __future__ import annotations

import os
import sys

from sweeps.engine.terminal.json_lines import JsonLines
from sweeps.engine.terminal.plain import Plain
from sweeps.engine.terminal.quiet import Quiet
from sweeps.engine.terminal.voice import Voice

# What TERM says of a terminal whose cursor cannot be moved.
NO_CURSOR = ("", "dumb", "unknown")


def voice_for(quiet: bool, json: bool) -> Voice:
    """As asked for, else a live view where somebody sits at a terminal that can show one, else plain lines."""
    if json:
        return JsonLines()
    if quiet:
        return Quiet()
    if _is_watched():
        from sweeps.engine.cluster.use import ClusterUse
        from sweeps.engine.terminal.live import LiveView

        return LiveView(ClusterUse().now)
    return Plain()


def _is_watched() -> bool:
    if not sys.stdout.isatty() or os.environ.get("TERM", "") in NO_CURSOR:
        return False
    # `ray submit` gives its program a terminal even if its own output goes to a file; that one has no size.
    return os.get_terminal_size(sys.stdout.fileno()).columns > 0
