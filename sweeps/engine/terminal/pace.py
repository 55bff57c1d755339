"""When a reader who cannot watch is told how a sweep stands."""

from __future__ import annotations

import math
import time

from sweeps.engine.terminal.view import View

LINE_EVERY_S = 15.0
# Even if nothing has changed, so that it is not taken to hang.
AT_LEAST_EVERY_S = 300.0


class Seldom:
    """Every 15 s if something has changed, and every five minutes if not."""

    def __init__(self) -> None:
        self._told_s = -math.inf
        self._told: object = ()

    def is_due(self, view: View | None) -> bool:
        """Whether to tell now; if so, the next time counts from here. None: there is no view."""
        now_s, stands = time.monotonic(), _stands(view)
        since_s = now_s - self._told_s
        if since_s < LINE_EVERY_S or (since_s < AT_LEAST_EVERY_S and stands == self._told):
            return False
        self._told_s, self._told = now_s, stands
        return True


def _stands(view: View | None) -> object:
    return None if view is None else [(row.number, row.state, row.step, row.session) for row in view.rows]
