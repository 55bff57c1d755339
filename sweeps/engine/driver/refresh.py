"""The report of a sweep, made anew while the sweep runs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from sweeps.engine.results.results import Results
from sweeps.engine.tracking.tracker import Tracker
from wgan_core.errors import one_line

_log = logging.getLogger(__name__)

FIRST_S, LEAST_S = 20.0, 60.0
# It is made by a thirtieth of the time at most: trials want the processor more.
SHARE = 30.0


class Refresher:
    """Writes the report from a thread for as long as the block lasts.

    A report that cannot be written, whatever the reason, is worth a warning; it never ends a sweep.
    """

    def __init__(self, read: Callable[[], Results], tracker: Tracker) -> None:
        """read: how the sweep stands. tracker: brings the report to MLflow each time it was written."""
        self._read, self._tracker = read, tracker
        # What the last report was of.
        self._written: list[tuple[str, str, int]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="report", daemon=True)

    def __enter__(self) -> Refresher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(LEAST_S)  # one that hangs on a server must not hold up the end

    def _run(self) -> None:
        wait = FIRST_S
        while not self._stopping.wait(wait):
            wait = max(LEAST_S, SHARE * self.write())

    def write(self) -> float:
        """Write it now, if anything has changed or the sweep is over; the seconds that it took."""
        began = time.monotonic()
        try:
            from sweeps.engine.report.write import FILES, write_report  # whose charts take seconds to import

            results = self._read()
            standing = [(row.label, row.state, row.step) for row in results.all_rows]
            if standing != self._written or self._stopping.is_set():
                folder = write_report(results)
                self._tracker.publish(folder, [name for name in FILES if folder.exists(name)])
                self._written = standing
        except Exception as error:
            _log.warning("the sweep's report is not up to date: %s", one_line(error))
        return time.monotonic() - began
