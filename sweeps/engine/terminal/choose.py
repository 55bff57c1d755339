"""Choice of the reporter of a sweep."""

from __future__ import annotations

import os
import sys

from sweeps.engine.terminal.reporter import Reporter
from sweeps.engine.terminal.reporters import JsonLines, Plain, Quiet

# Values of TERM for terminals whose cursor cannot be moved.
NO_CURSOR = ("", "dumb", "unknown")


def reporter_for(quiet: bool, json: bool) -> Reporter:
    """Return the requested reporter. By default, return a live view on a capable terminal, else plain lines."""
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
    # `ray submit` gives its program a terminal even if its own output goes to a file. That terminal has no size.
    return os.get_terminal_size(sys.stdout.fileno()).columns > 0
